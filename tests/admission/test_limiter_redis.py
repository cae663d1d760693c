"""The limiter in Redis, against a real server: exact across two proxies, and never a burden when Redis is."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.connection import Connection

from proxy.admission.limiter_memory import MemoryLimiter
from proxy.admission.limiter_redis import OnError, RedisLimiter, _debts, _Script
from proxy.admission.rate_limit import Asked, Limit, Verdict, settle
from tests.support.limits import BruteForce, brute_force_check
from tests.support.redis_server import RedisServer
from tests.support.slow_tcp import SlowTcp

TIMEOUT_S = 0.25  # generous: the machine is busy, and what is measured is who waits, not how fast it is
SLACK_S = 0.15
WIDE = Limit("wide", 1_000_000, 1, 1_000_000)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis(shared: RedisServer) -> RedisServer:
    shared.command("FLUSHALL")
    return shared


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """One that a test may kill."""
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@asynccontextmanager
async def _limiter(
    url: str, on_error: OnError = "allow", *, changes: list[bool] | None = None, ready: bool = True
) -> AsyncIterator[RedisLimiter]:
    told = [] if changes is None else changes
    limiter = RedisLimiter(
        url,
        timeout_s=TIMEOUT_S,
        on_error=on_error,
        local=MemoryLimiter(),
        changed=lambda tripped, _why: told.append(tripped),
    )
    limiter.start()
    try:
        if ready:
            await _until(lambda: limiter._link is not None)
        yield limiter
    finally:
        await limiter.close()


async def _until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not happen"
        await asyncio.sleep(0.01)


def _sockets() -> int:
    """Open ones of this process."""
    return sum("socket:" in str(Path(entry.path).resolve()) for entry in os.scandir("/proc/self/fd"))


async def _check(limiter: RedisLimiter, asked: Sequence[Asked]) -> Verdict:
    verdict = limiter.check(asked, time.monotonic())
    return verdict if isinstance(verdict, Verdict) else await verdict


def _outcome(verdict: Verdict) -> str:
    (result,) = verdict.results
    return result.outcome


def _key(name: str) -> str:
    return f"{{fig:test}}:{name}"


# --- what it says ----------------------------------------------------------------------------------------------------


def test_the_burst_passes_and_then_one_is_told_when_to_come_again(redis: RedisServer) -> None:
    limit = Limit("x", 5, 50, 5)

    async def story() -> list[Verdict]:
        async with _limiter(redis.url) as limiter:
            return [await _check(limiter, [(limit, _key("k"))]) for _ in range(6)]

    verdicts = asyncio.run(story())
    assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False]
    assert [verdict.results[0].remaining for verdict in verdicts] == [4, 3, 2, 1, 0, 0]
    assert 9 < verdicts[-1].retry_after_s <= 10
    assert 49 < verdicts[-1].results[0].reset_s <= 50
    assert verdicts[-1].violated == ("x",)
    with redis.client() as client:
        assert 49_000 < client.pttl(_key("k")) <= 50_002  # gone when it is of no use any more
    assert redis.keys() == [_key("k").encode()] or sorted(redis.keys()) == [b"{fig:}:probe", _key("k").encode()]


def test_several_limits_are_all_or_nothing(redis: RedisServer) -> None:
    narrow, wide, seen = Limit("narrow", 1, 60, 1), Limit("wide", 100, 60, 100), Limit("seen", 1, 60, 1, "observe")
    asked: list[Asked] = [(wide, _key("wide")), (narrow, _key("narrow")), (seen, _key("seen"))]

    async def story() -> tuple[list[Verdict], dict[tuple[str, str], int]]:
        async with _limiter(redis.url) as limiter:
            verdicts = [await _check(limiter, asked) for _ in range(4)]
            verdicts += [await _check(limiter, [asked[0], asked[2]]) for _ in range(2)]
            return verdicts, limiter.outcomes

    verdicts, outcomes = asyncio.run(story())
    assert [verdict.allowed for verdict in verdicts] == [True, False, False, False, True, True]
    assert [[result.remaining for result in verdict.results] for verdict in verdicts] == [
        [99, 0, 0],
        [99, 0, 0],
        [99, 0, 0],
        [99, 0, 0],
        [98, 0],
        [97, 0],
    ]
    assert outcomes == {
        ("wide", "allowed"): 3,
        ("narrow", "allowed"): 1,
        ("seen", "allowed"): 1,
        ("narrow", "limited"): 3,
        ("seen", "observed"): 5,
    }


def test_a_limit_of_0_blocks_without_asking(redis: RedisServer) -> None:
    none, unseen = Limit("none", 0, 60, 1), Limit("unseen", 0, 60, 1, "observe")

    async def story() -> None:
        async with _limiter(redis.url) as limiter:
            blocked = limiter.check([(WIDE, _key("w")), (none, _key("n"))], 0.0)
            assert isinstance(blocked, Verdict) and not blocked.allowed
            assert (blocked.violated, blocked.retry_after_s) == (("none",), 60.0)
            alone = limiter.check([(unseen, _key("u"))], 0.0)
            assert isinstance(alone, Verdict) and alone.allowed
            both = await _check(limiter, [(unseen, _key("u")), (WIDE, _key("w")), (unseen, _key("u"))])
            assert [result.outcome for result in both.results] == ["observed", "allowed", "observed"]
            assert limiter.outcomes == {("none", "limited"): 1, ("unseen", "observed"): 3, ("wide", "allowed"): 1}

    asyncio.run(story())


limits = st.builds(
    lambda requests, window_us, burst, mode: Limit("x", requests, window_us / 1_000_000, burst, mode),
    st.one_of(st.integers(1, 9), st.sampled_from([7, 60, 1000, 10**9])),
    st.sampled_from([1, 3, 1000, 333_333, 1_000_000, 7_000_000, 60_000_000]),
    st.integers(1, 6),
    st.sampled_from(["enforce", "observe"]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(limits, min_size=1, max_size=3),
    st.lists(
        st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 10**6), st.integers(0, 10**8)), min_size=1, max_size=30
    ),
)
def test_the_script_agrees_with_the_model(redis: RedisServer, several: list[Limit], gaps: list[int]) -> None:
    """The script itself on the server, but for its clock, which the test sets (and for expiry, which has another)."""
    source = files("proxy.state").joinpath("lua/gcra.lua").read_bytes()
    for own, ours in (
        (b"redis.call('TIME')", b"redis.call('MGET', 'seconds', 'micros')"),
        (b", 'PX', expires_ms)", b")"),
    ):
        assert source.count(own) == 1
        source = source.replace(own, ours)
    asked: list[Asked] = [(limit, _key(str(n))) for n, limit in enumerate(several)]
    models = [BruteForce(limit) for limit in several]
    now_us = 1_800_000_000_999_990
    connection = Connection(port=redis.port, protocol=2)
    script = _Script(source)
    with redis.client() as client:
        client.flushdb()
        for gap in gaps:
            now_us += gap
            client.mset({"seconds": now_us // 1_000_000, "micros": now_us % 1_000_000})
            connection.send_packed_command([script.command(script.call(asked))])
            debts = _debts(asked, connection.read_response(disable_decoding=True))
            verdict = settle(several, debts)
            assert verdict.allowed == brute_force_check(models, now_us * 1000)
            assert [result.remaining for result in verdict.results] == [
                model.remaining(now_us * 1000) for model in models
            ]
    connection.disconnect()


def test_new_numbers_and_a_clock_set_back_leave_nobody_out_for_longer_than_the_burst(redis: RedisServer) -> None:
    old, new = Limit("x", 1000, 100, 1000), Limit("x", 3, 0.3, 1)

    async def story() -> None:
        async with _limiter(redis.url) as limiter:
            while (await _check(limiter, [(old, _key("k"))])).allowed:
                pass
            late = await _check(limiter, [(new, _key("k"))])
            assert not late.allowed and late.retry_after_s <= 0.1
            await asyncio.sleep(late.retry_after_s)
            assert (await _check(limiter, [(new, _key("k"))])).allowed
            with redis.client() as client:
                seconds, _ = client.time()
                client.set(_key("k"), f"{(seconds + 10**6) * 10**6}:0")
            late = await _check(limiter, [(new, _key("k"))])
            assert not late.allowed and late.retry_after_s <= 0.1
            await asyncio.sleep(late.retry_after_s)
            assert (await _check(limiter, [(new, _key("k"))])).allowed

    asyncio.run(story())


# --- two proxies -----------------------------------------------------------------------------------------------------


def test_two_proxies_on_one_redis_let_through_what_one_would(redis: RedisServer) -> None:
    limit = Limit("per-user", 60, 1.5, 20)

    async def greedy(limiter: RedisLimiter, until: float, passed: list[float]) -> None:
        while time.monotonic() < until:
            asked_at = time.monotonic()
            if (await _check(limiter, [(limit, _key("greedy"))])).allowed:
                passed.append(asked_at)

    async def modest(limiter: RedisLimiter, until: float) -> list[bool]:
        allowed = []
        while time.monotonic() < until:
            allowed.append((await _check(limiter, [(limit, _key("modest"))])).allowed)
            await asyncio.sleep(0.05)
        return allowed

    async def story() -> None:
        async with _limiter(redis.url) as one, _limiter(redis.url) as other:
            passed: list[float] = []
            begin = time.monotonic()
            until = begin + 3.0
            other_client = asyncio.create_task(modest(one, until))
            await asyncio.gather(*(greedy(limiter, until, passed) for limiter in (one, other) for _ in range(4)))
            took = time.monotonic() - begin
            assert len(passed) <= limit.burst + int(took * limit.requests / limit.window_s)
            assert len(passed) >= limit.burst + int((until - begin) * limit.requests / limit.window_s) - 2
            seen = await other_client
            assert all(seen) and len(seen) > 20
            assert not {outcome for _, outcome in (*one.outcomes, *other.outcomes)} - {"allowed", "limited"}

    asyncio.run(story())


def test_one_write_a_turn_of_the_loop(redis: RedisServer) -> None:
    async def story() -> None:
        async with _limiter(redis.url) as limiter:
            before = redis.command("INFO", "stats")["total_reads_processed"]
            verdicts = await asyncio.gather(*(_check(limiter, [(WIDE, _key(str(n)))]) for n in range(100)))
            reads = redis.command("INFO", "stats")["total_reads_processed"] - before
            assert all(_outcome(verdict) == "allowed" for verdict in verdicts)
            assert reads < 10, f"{reads} reads for 100 checks"

    asyncio.run(story())


# --- Redis in trouble ------------------------------------------------------------------------------------------------


class _Load:
    """Requests all the time, on `width` keys of their own: what each was told, and how long it waited."""

    def __init__(self, limiter: RedisLimiter, width: int = 8) -> None:
        self.outcomes: Counter[str] = Counter()
        self.longest_s = 0.0
        self.refused = 0
        self.unavailable = 0
        self._limiter = limiter
        self._tasks = [asyncio.create_task(self._ask(n)) for n in range(width)]

    async def _ask(self, number: int) -> None:
        while True:
            begin = time.monotonic()
            verdict = await _check(self._limiter, [(WIDE, _key(str(number)))])
            self.longest_s = max(self.longest_s, time.monotonic() - begin)
            self.outcomes[_outcome(verdict)] += 1
            self.refused += not verdict.allowed
            self.unavailable += verdict.unavailable
            await asyncio.sleep(0.001)

    def since(self) -> Counter[str]:
        """What was told since the last call."""
        outcomes, self.outcomes = self.outcomes, Counter()
        return outcomes

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results


@pytest.mark.parametrize("on_error", ["allow", "deny", "local"])
@pytest.mark.parametrize("trouble", ["killed", "hangs"])
def test_redis_goes_away_under_load_and_comes_back(own: RedisServer, on_error: OnError, trouble: str) -> None:
    changes: list[bool] = []

    async def story() -> _Load:
        async with _limiter(own.url, on_error, changes=changes) as limiter:
            load = _Load(limiter)
            await asyncio.sleep(0.2)
            assert set(load.since()) == {"allowed"}
            (own.kill if trouble == "killed" else own.hang)()
            await _until(lambda: limiter.tripped)
            await asyncio.sleep(0.05)
            load.since()
            load.longest_s = 0.0
            await asyncio.sleep(0.5)
            assert load.longest_s < SLACK_S  # nobody waits: a check is a matter of microseconds
            assert isinstance(limiter.check([(WIDE, _key("x"))], time.monotonic()), Verdict)
            told = {"allow": "error_allowed", "deny": "error_denied", "local": "error_local"}[on_error]
            assert set(load.since()) == {told}
            (own.start if trouble == "killed" else own.go_on)()
            await _until(lambda: not limiter.tripped)
            await asyncio.sleep(0.05)
            load.since()
            await asyncio.sleep(0.2)
            assert set(load.since()) == {"allowed"}
            await load.stop()
            return load

    load = asyncio.run(story())
    assert load.longest_s < TIMEOUT_S + SLACK_S
    assert load.unavailable == load.refused
    assert (load.refused > 0) is (on_error == "deny")
    assert changes == [True, False]


def test_nobody_waits_longer_than_the_timeout_while_it_hangs(own: RedisServer) -> None:
    """Also those that asked one by one: each of the first three waits its time, and then nobody does."""

    async def story() -> None:
        async with _limiter(own.url) as limiter:
            assert _outcome(await _check(limiter, [(WIDE, _key("k"))])) == "allowed"
            own.hang()
            waits = []
            for _ in range(6):
                begin = time.monotonic()
                assert _outcome(await _check(limiter, [(WIDE, _key("k"))])) == "error_allowed"
                waits.append(time.monotonic() - begin)
            assert all(TIMEOUT_S - 0.01 <= wait < TIMEOUT_S + SLACK_S for wait in waits[:3])
            assert all(wait < 0.05 for wait in waits[3:])
            own.go_on()

    asyncio.run(story())


def test_a_server_that_is_always_too_slow_is_as_one_that_is_away(redis: RedisServer) -> None:
    async def story() -> None:
        async with SlowTcp(redis.port) as relay, _limiter(f"redis://127.0.0.1:{relay.port}", "local") as limiter:
            relay.delay_s = TIMEOUT_S + 0.2
            load = _Load(limiter)
            await _until(lambda: limiter.tripped)
            load.since()
            await asyncio.sleep(1.0)  # some probes are late
            assert limiter.tripped and set(load.since()) == {"error_local"}
            relay.delay_s = 0.0
            await _until(lambda: not limiter.tripped)
            await asyncio.sleep(0.05)
            load.since()
            await asyncio.sleep(0.1)
            assert set(load.since()) == {"allowed"}
            await load.stop()
            assert load.longest_s < TIMEOUT_S + SLACK_S

    asyncio.run(story())


def test_more_than_the_sockets_hold_does_not_hold_up_the_recovery(own: RedisServer) -> None:
    """The server reads nothing any more, so that the writing itself hangs."""

    async def story() -> None:
        async with _limiter(own.url) as limiter:
            sockets = _sockets()
            own.hang()
            asked = [limiter.check([(WIDE, _key(f"{n}-{'x' * 1000}"))], 0.0) for n in range(10_000)]
            assert all(isinstance(one, asyncio.Future) for one in asked)
            told = await asyncio.gather(*(one for one in asked if isinstance(one, asyncio.Future)))
            assert {_outcome(verdict) for verdict in told} == {"error_allowed"}
            assert limiter.tripped
            await _until(lambda: _sockets() < sockets)  # nothing lingers until the server reads on
            own.go_on()
            await _until(lambda: not limiter.tripped)
            assert _outcome(await _check(limiter, [(WIDE, _key("k"))])) == "allowed"

    asyncio.run(story())


def test_redis_is_away_at_the_start(own: RedisServer) -> None:
    own.kill()

    async def story() -> None:
        async with _limiter(own.url, ready=False) as limiter:
            assert _outcome(await _check(limiter, [(WIDE, _key("k"))])) == "error_allowed"
            await _until(lambda: limiter.tripped)
            own.start()
            await _until(lambda: not limiter.tripped)
            assert _outcome(await _check(limiter, [(WIDE, _key("k"))])) == "allowed"

    asyncio.run(story())


def test_a_restart_with_an_empty_script_cache_costs_nobody_an_error(own: RedisServer) -> None:
    """Killed and back before anybody asked: the closed connection is found, and the script is brought anew."""

    async def story() -> None:
        async with _limiter(own.url) as limiter:
            assert _outcome(await _check(limiter, [(WIDE, _key("k"))])) == "allowed"
            own.kill()
            own.start()
            await _until(lambda: limiter._link is not None and not limiter.tripped)
            assert _outcome(await _check(limiter, [(WIDE, _key("k"))])) == "allowed"

    asyncio.run(story())


def test_a_flushed_script_is_brought_anew(redis: RedisServer) -> None:
    limit = Limit("x", 1, 1000, 1000)

    async def story() -> None:
        async with _limiter(redis.url) as limiter:
            asked = 0
            for _ in range(20):
                await asyncio.to_thread(redis.command, "SCRIPT", "FLUSH")
                verdicts = await asyncio.gather(*(_check(limiter, [(limit, _key("k"))]) for _ in range(10)))
                asked += len(verdicts)
                assert all(_outcome(verdict) == "allowed" for verdict in verdicts)
                # What was asked again was counted once all the same.
                assert min(verdict.results[0].remaining for verdict in verdicts) == 1000 - asked

    asyncio.run(story())


def test_connections_that_are_closed_under_load_are_no_outage(redis: RedisServer) -> None:
    async def story() -> None:
        changes: list[bool] = []
        async with _limiter(redis.url, "deny", changes=changes) as limiter:
            load = _Load(limiter)
            for _ in range(10):
                await asyncio.sleep(0.03)
                await asyncio.to_thread(redis.command, "CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(0.1)
            await load.stop()
            assert set(load.outcomes) == {"allowed"}
            assert changes == []

    asyncio.run(story())


@pytest.mark.parametrize("delay_s", [0.02, 0.1])
def test_slow_answers_in_time_are_answers(redis: RedisServer, delay_s: float) -> None:
    async def story() -> None:
        async with SlowTcp(redis.port) as relay, _limiter(f"redis://127.0.0.1:{relay.port}") as limiter:
            relay.delay_s = delay_s
            load = _Load(limiter)
            await asyncio.sleep(0.6)
            await load.stop()
            assert set(load.outcomes) == {"allowed"}
            assert load.longest_s >= delay_s

    asyncio.run(story())


def test_answers_that_are_too_late_go_to_nobody(redis: RedisServer) -> None:
    """Redis has counted them. Whoever asks next gets his own answer, not theirs."""
    limit = Limit("x", 1, 1000, 100)

    async def story() -> None:
        changes: list[bool] = []
        async with (
            SlowTcp(redis.port) as relay,
            _limiter(f"redis://127.0.0.1:{relay.port}", changes=changes) as limiter,
        ):
            relay.delay_s = TIMEOUT_S + 0.1
            late = await asyncio.gather(*(_check(limiter, [(limit, _key("late"))]) for _ in range(2)))
            assert [_outcome(verdict) for verdict in late] == ["error_allowed"] * 2
            relay.delay_s = 0.15
            mine = await _check(limiter, [(limit, _key("mine"))])
            assert (_outcome(mine), mine.results[0].remaining) == ("allowed", 99)
            assert changes == []  # two were not enough
            assert (await _check(limiter, [(limit, _key("late"))])).results[0].remaining == 97
            relay.delay_s = TIMEOUT_S + 0.1
            late = await asyncio.gather(*(_check(limiter, [(limit, _key("late"))]) for _ in range(2)))
            assert [_outcome(verdict) for verdict in late] == ["error_allowed"] * 2
            assert not limiter.tripped  # not in a row

    asyncio.run(story())


def test_who_leaves_before_his_question_is_sent_is_not_counted(redis: RedisServer) -> None:
    limit = Limit("x", 1, 1000, 100)

    async def story() -> None:
        async with _limiter(redis.url) as limiter:
            for _ in range(10):
                gone = limiter.check([(limit, _key("k"))], 0.0)
                assert isinstance(gone, asyncio.Future) and gone.cancel()
            assert (await _check(limiter, [(limit, _key("k"))])).results[0].remaining == 99

    asyncio.run(story())


def test_a_thousand_that_leave_in_the_middle_leave_no_answer_behind(redis: RedisServer) -> None:
    """Cancelled before, while and after the command is under way; in between others ask, each on a key of his own with
    a history of its own, so that an answer of somebody else would show."""
    limit = Limit("x", 1, 100_000, 10_000)

    async def story() -> None:
        async with SlowTcp(redis.port) as relay, _limiter(f"redis://127.0.0.1:{relay.port}") as limiter:
            relay.delay_s = 0.01
            asked: Counter[int] = Counter()

            async def stay(number: int) -> None:
                asked[number] += 1
                verdict = await _check(limiter, [(limit, _key(f"stays-{number}"))])
                assert verdict.results[0].outcome == "allowed"
                assert verdict.results[0].remaining == 10_000 - asked[number]

            for number in range(50):  # each key its own count
                for _ in range(number % 5):
                    await stay(number)
            cancelled = 0
            for turn in range(50):
                leaving = [asyncio.create_task(_check(limiter, [(limit, _key("leaves"))])) for _ in range(20)]
                staying = asyncio.create_task(stay(turn))
                await asyncio.sleep((turn % 4) * 0.003)
                for task in leaving:
                    cancelled += task.cancel()
                await asyncio.gather(*leaving, return_exceptions=True)
                await staying
                await stay((turn * 7) % 50)
            assert cancelled >= 900
            assert not limiter.tripped
            assert set(limiter.outcomes) == {("x", "allowed")}

    asyncio.run(story())


@pytest.mark.parametrize(
    ("words", "undo"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("ACL", "SETUSER", "default", "-evalsha", "-eval"), ("ACL", "SETUSER", "default", "+@all")),
    ],
)
def test_a_server_that_refuses_to_write_is_as_one_that_is_away(
    own: RedisServer, words: tuple[str, ...], undo: tuple[str, ...]
) -> None:
    async def story() -> None:
        async with _limiter(own.url) as limiter:
            assert _outcome(await _check(limiter, [(WIDE, _key("k"))])) == "allowed"
            own.command(*words)
            for n in range(3):
                assert _outcome(await _check(limiter, [(WIDE, _key(f"k{n}"))])) == "error_allowed"
            assert limiter.tripped
            await asyncio.sleep(0.5)
            assert limiter.tripped
            own.command(*undo)
            await _until(lambda: not limiter.tripped)
            assert _outcome(await _check(limiter, [(WIDE, _key("k"))])) == "allowed"

    asyncio.run(story())


def test_what_is_no_redis_is_as_one_that_is_away() -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(http, "127.0.0.1", 0)
        async with _limiter(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", "deny", ready=False) as limiter:
            verdict = await _check(limiter, [(WIDE, _key("k"))])
            assert (verdict.allowed, verdict.unavailable, verdict.violated) == (False, True, ())
            await _until(lambda: limiter.tripped)
        server.close()

    asyncio.run(story())


def test_deny_does_not_refuse_for_a_limit_that_is_only_observed(own: RedisServer) -> None:
    own.kill()

    async def story() -> None:
        seen = Limit("seen", 1, 1, 1, "observe")
        async with _limiter(own.url, "deny", ready=False) as limiter:
            await _until(lambda: limiter.tripped)
            assert (await _check(limiter, [(seen, _key("s"))])).allowed
            both = await _check(limiter, [(seen, _key("s")), (WIDE, _key("w"))])
            assert not both.allowed and both.unavailable
            assert [result.outcome for result in both.results] == ["error_allowed", "error_denied"]

    asyncio.run(story())


def test_local_applies_the_whole_limit_in_this_process(own: RedisServer) -> None:
    own.kill()

    async def story() -> None:
        async with _limiter(own.url, "local", ready=False) as limiter:
            await _until(lambda: limiter.tripped)
            limit = Limit("x", 1, 1000, 3)
            told = [await _check(limiter, [(limit, _key("k"))]) for _ in range(5)]
            assert [_outcome(verdict) for verdict in told] == ["error_local"] * 3 + ["limited"] * 2
            assert [verdict.allowed for verdict in told] == [True] * 3 + [False] * 2
            assert not told[-1].unavailable and told[-1].retry_after_s > 990
            blocked = await _check(limiter, [(Limit("none", 0, 1, 1), _key("n"))])
            assert not blocked.allowed

    asyncio.run(story())


def test_who_waits_at_the_end_is_answered(redis: RedisServer) -> None:
    async def story() -> None:
        async with SlowTcp(redis.port) as relay:
            async with _limiter(f"redis://127.0.0.1:{relay.port}", "deny") as limiter:
                relay.silent = True
                waiting = [asyncio.create_task(_check(limiter, [(WIDE, _key("k"))])) for _ in range(3)]
                await asyncio.sleep(0.05)
            assert [(await task).unavailable for task in waiting] == [True] * 3
            assert (await _check(limiter, [(WIDE, _key("k"))])).unavailable

    asyncio.run(story())


def test_it_leaves_no_connection_behind(redis: RedisServer) -> None:
    async def story() -> None:
        before = len(redis.command("CLIENT", "LIST"))
        for _ in range(5):
            async with _limiter(redis.url) as limiter:
                await _check(limiter, [(WIDE, _key("k"))])
        await _until(lambda: len(redis.command("CLIENT", "LIST")) <= before)

    asyncio.run(story())


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://127.0.0.1:6379?nonsense=1", "127.0.0.1:6379"])
def test_a_url_that_is_none_is_told(url: str) -> None:
    with pytest.raises(ValueError, match="Redis URL"):
        RedisLimiter(url, timeout_s=0.05, on_error="allow", local=MemoryLimiter(), changed=lambda *_: None)
