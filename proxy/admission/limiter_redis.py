"""Debts in Redis, exact across replicas: one script call for all limits of a request, one write for all requests of a
turn of the event loop, by the clock of the Redis server.

Redis may be slow, hang or be gone, and no request waits longer for it than `timeout_s`: then `on_error` decides. After
three such requests in a row, or a connection that is refused, nobody waits at all until a probe, which is a whole check
of a key of its own, has been answered in time:

    asking ── 3 late or failed, or no connection ──► tripped ── a probe in time ──► asking

`on_error`: `allow` lets everything pass; `deny` refuses what an enforced limit cannot be asked about; `local` has
another limiter apply the whole limit in this process. A limit of 0 blocks in any case.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Literal

from redis.asyncio.connection import ConnectionPool
from redis.exceptions import NoScriptError, ResponseError

from proxy.admission.limiter_memory import MemoryLimiter
from proxy.admission.rate_limit import Asked, Limit, Result, Verdict, count, settle
from proxy.admission.redis_link import Connection, RedisLink

OnError = Literal["allow", "deny", "local"]

_TRIPPED_BY = 3  # requests in a row
_TRIES = 3  # of one request: the script was flushed, or an idle connection closed by the server
_CONNECT_S = 1.0  # TLS and a server far away take their time, and no request waits longer than timeout_s for it
_FIRST_PROBE_S = 0.1
_LAST_PROBE_S = 2.0  # the pause before a probe doubles up to this
_STALL_S = 0.02  # a timer this late means that the loop stood still, and answers may lie unread
_GRACE_S = 0.005

_MOST_LIMITS = 10_000  # remembered over reloads

_PROBE: tuple[Asked, ...] = ((Limit("probe", 1, 0.001, 1, "observe"), "{fig:}:probe"),)


class RedisLimiter:
    """`url`: redis://, rediss:// or unix://, as redis-py reads them. `changed(tripped, why)` is told when it trips and
    when it has recovered; `why` may name the server's address. Call `start` in the loop, and `close` at the end."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        on_error: OnError,
        local: MemoryLimiter,
        changed: Callable[[bool, str], None],
    ) -> None:
        """Raises ValueError for a URL that cannot be one."""
        self.outcomes: dict[tuple[str, str], int] = {}
        self.tripped = False
        self._pool = _pool_of(url)
        self._timeout_s = timeout_s
        self._on_error = on_error
        self._local = local
        self._changed = changed
        self._script = _Script(files("proxy.state").joinpath("lua/gcra.lua").read_bytes())
        self._queue: list[_Check] = []  # not sent yet
        self._waiting: deque[_Check] = deque()  # in the order of their deadlines, answered ones too
        self._timer: asyncio.TimerHandle | None = None
        self._spared = False
        self._failures = 0  # in a row
        self._link: RedisLink[_Check] | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Connect, and stay connected. Does not wait: Redis may be down now."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="fig-redis")

    async def close(self) -> None:
        """Whoever waits still is answered as `on_error` says, and so is who asks later."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        link = self._link
        if link is not None:
            link.close()
            await link.ended()
        self._give_up()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def check(self, asked: Sequence[Asked], now_s: float) -> Verdict | asyncio.Future[Verdict]:
        """As `Limiter.check`. `now_s` is for the `local` limiter alone. To cancel the future is to leave: its answer is
        thrown away."""
        verdict = _without_asking(asked)
        if verdict is not None:
            count(self.outcomes, verdict)
            return verdict
        loop = self._loop
        if self.tripped or self._task is None or loop is None:
            return self.unanswered(asked, now_s)
        one = _Check(self, asked, now_s, self._script.call(asked), loop.time() + self._timeout_s, loop.create_future())
        self._waiting.append(one)
        if self._timer is None:
            self._timer = loop.call_at(one.deadline, self._expire)
        self._enqueue(one)
        return one.future

    # --- what becomes of a check -------------------------------------------------------------------------------------

    def answer(self, asked: Sequence[Asked], debts: Sequence[int]) -> Verdict:
        """Redis has told, in time."""
        self._failures = 0
        verdict = settle([limit for limit, _ in asked], debts)
        count(self.outcomes, verdict)
        return verdict

    def unanswered(self, asked: Sequence[Asked], now_s: float) -> Verdict:
        """Redis does not tell: as `on_error` says."""
        if self._on_error == "local":
            verdict = self._local.settle(asked, now_s)
            for result in verdict.results:
                if result.outcome == "allowed":
                    result.outcome = "error_local"
        else:
            denied = self._on_error == "deny" and any(limit.enforced for limit, _ in asked)
            results = [
                Result(limit, "error_denied" if denied and limit.enforced else "error_allowed", False, -1)
                for limit, _ in asked
            ]
            verdict = Verdict(not denied, results, denied)
        count(self.outcomes, verdict)
        return verdict

    def ask_again(self, one: _Check) -> bool:
        """False: it was asked often enough."""
        one.tries += 1
        if one.tries >= _TRIES or self.tripped or self._task is None:
            return False
        self._enqueue(one)
        return True

    def script_lost(self) -> None:
        """Redis has restarted, or somebody flushed its scripts."""
        self._script.known = False

    def failed(self, requests: int, why: str) -> None:
        """So many more got no good answer."""
        self._failures += requests
        if self._failures >= _TRIPPED_BY and not self.tripped:
            self._trip(why)

    def _enqueue(self, one: _Check) -> None:
        self._queue.append(one)
        if self._link is not None:
            self._link.wake()

    # --- deadlines ---------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        """One timer for all: they all have the same patience, so the first to ask is the first to give up."""
        loop, waiting = self._loop, self._waiting
        assert loop is not None
        now = loop.time()
        self._timer = None
        if waiting and now - waiting[0].deadline >= _STALL_S and not self._spared:
            self._spared = True
            self._timer = loop.call_later(_GRACE_S, self._expire)
            return
        self._spared = False
        late = 0
        while waiting and (waiting[0].future.done() or waiting[0].deadline <= now):
            late += waiting.popleft().give_up()
        if waiting:
            self._timer = loop.call_at(waiting[0].deadline, self._expire)
        if late:
            self.failed(late, f"no answer within {self._timeout_s:g} s")

    def _give_up(self) -> None:
        """Nobody waits any longer."""
        self._queue.clear()
        while self._waiting:
            self._waiting.popleft().give_up()

    # --- the connection ----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """The only one who connects. Ends by `close` only."""
        pause_s = _FIRST_PROBE_S
        while True:
            if self.tripped:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PROBE_S)
            try:
                link = self._link = await self._connect()
            except Exception as error:  # of the network, of Redis, or of the client in the face of what is no Redis
                self._trip(_text(error))
                continue
            pause_s = _FIRST_PROBE_S
            self._recover()
            await link.ended()
            self._link = None

    async def _connect(self) -> RedisLink[_Check]:
        """With a probe, which is a check like any other: a server that answers PING may still refuse to write."""
        connection: Connection = self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await connection.connect()
            async with asyncio.timeout(self._timeout_s):
                await self._probe(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return RedisLink(connection, self._take, self._lost)

    async def _probe(self, connection: Connection) -> None:
        self._script.known = False
        await connection.send_packed_command(self._script.command(self._script.call(_PROBE)), check_health=False)
        _debts(_PROBE, await connection.read_response(disable_decoding=True))

    def _take(self) -> list[_Check]:
        """What the link is to ask next; who has left meanwhile is not asked about."""
        batch = [one for one in self._queue if not one.future.done()]
        self._queue.clear()
        for one in batch:
            one.command = self._script.command(one.call)
        return batch

    def _lost(self, owed: Sequence[_Check], error: Exception | None) -> None:
        """The link has ended. Who waits on it asks on the next one: at worst he is counted twice."""
        self._link = None
        failed = sum(one.give_up() for one in owed if not one.future.done() and not self.ask_again(one))
        if failed:
            self.failed(failed, "the connection was closed" if error is None else _text(error))

    def _trip(self, why: str) -> None:
        was, self.tripped = self.tripped, True
        link = self._link
        self._give_up()
        if link is not None:
            link.close()
        if not was:
            self._changed(True, why)

    def _recover(self) -> None:
        was, self.tripped = self.tripped, False
        self._failures = 0
        if was:
            self._changed(False, "a probe was answered")


Call = tuple[bytes, bytes]


class _Check:
    """One request that waits for its answer."""

    def __init__(
        self,
        limiter: RedisLimiter,
        asked: Sequence[Asked],
        now_s: float,
        call: Call,
        deadline: float,
        future: asyncio.Future[Verdict],
    ) -> None:
        self.command = b""
        self.call = call
        self.deadline = deadline
        self.future = future
        self.tries = 0
        self._limiter = limiter
        self._asked = asked
        self._now_s = now_s

    def answered(self, reply: bytes | ResponseError) -> None:
        limiter = self._limiter
        if isinstance(reply, NoScriptError):
            limiter.script_lost()
            if self.future.done() or limiter.ask_again(self):
                return
        if isinstance(reply, ResponseError):
            limiter.failed(self.give_up(), _text(reply))
            return
        debts = _debts(self._asked, reply)
        if not self.future.done():
            self.future.set_result(limiter.answer(self._asked, debts))

    def give_up(self) -> int:
        """1 where somebody waited still."""
        if self.future.done():
            return 0
        self.future.set_result(self._limiter.unanswered(self._asked, self._now_s))
        return 1


class _Script:
    """The Lua script, and calls of it in RESP. `known`: the server has it, so that its hash is enough."""

    def __init__(self, source: bytes) -> None:
        self.known = False
        self._by_source = _bulk(b"EVAL") + _bulk(source)
        self._by_hash = _bulk(b"EVALSHA") + _bulk(sha1(source).hexdigest().encode("ascii"))
        self._numbers: dict[Limit, bytes] = {}

    def call(self, asked: Sequence[Asked]) -> Call:
        """What stands before and after the script."""
        limits = [(limit, key) for limit, key in asked if limit.requests]
        after = [_bulk(b"%d" % len(limits))]
        after += [_bulk(key.encode()) for _, key in limits]
        after += [self._arguments(limit) for limit, _ in limits]
        return b"*%d\r\n" % (3 + 7 * len(limits)), b"".join(after)

    def command(self, call: Call) -> bytes:
        """The first one after a loss brings the source, and those after it find it there."""
        script = self._by_hash if self.known else self._by_source
        self.known = True
        return call[0] + script + call[1]

    def _arguments(self, limit: Limit) -> bytes:
        known = self._numbers.get(limit)
        if known is not None:
            return known
        cost, cost_part = divmod(limit.window_ns // 1000, limit.requests)
        most, most_part = divmod(limit.burst_ns // 1000, limit.requests)
        numbers = (limit.requests, cost, cost_part, most, most_part, int(limit.enforced))
        if len(self._numbers) >= _MOST_LIMITS:
            self._numbers.clear()
        packed = self._numbers[limit] = b"".join([_bulk(b"%d" % number) for number in numbers])
        return packed


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def _debts(asked: Sequence[Asked], reply: object) -> list[int]:
    """Of what the script said, in the unit of rate_limit.py. Raises ValueError where the script did not say that."""
    if not isinstance(reply, bytes):
        raise ValueError("not the answer of the script")
    numbers = iter([int(number) for number in reply.split()])
    debts = []
    for limit, _ in asked:
        if limit.requests:
            whole = next(numbers, -1)
            debts.append((whole * limit.requests + next(numbers, -1)) * 1000)
        else:
            debts.append(0)
    if min(debts) < 0 or next(numbers, None) is not None:
        raise ValueError("the answer of the script to another call")
    return debts


def _without_asking(asked: Sequence[Asked]) -> Verdict | None:
    """Where Redis need not be asked: a limit of 0 blocks, or all of them would if they were enforced. Else None."""
    others = False
    for limit, _ in asked:
        if limit.requests:
            others = True
        elif limit.enforced:
            return Verdict(False, [_unasked(limit) for limit, _ in asked])
    return None if others else settle([limit for limit, _ in asked], [0] * len(asked))


def _unasked(limit: Limit) -> Result:
    if limit.requests:
        return Result(limit, "spared", False, -1)
    return Result(limit, "limited" if limit.enforced else "observed", True, 0)


def _pool_of(url: str) -> ConnectionPool:
    """Of which single connections are taken only. Answers are waited for without end: the limiter has the clock."""
    pool = ConnectionPool.from_url(url, protocol=2, driver_info=None)
    pool.connection_kwargs.update(socket_timeout=None, socket_connect_timeout=None, health_check_interval=0)
    try:
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"a Redis URL with a parameter that nobody knows: {error}") from None
    return pool


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
