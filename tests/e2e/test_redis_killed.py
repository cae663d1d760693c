"""What a Redis that dies, hangs and comes back does to the requests of a running proxy. A real server, real signals."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Answer, RawClient
from tests.support.fig import Fig
from tests.support.load import Background, NamedOrigin
from tests.support.redis_server import RedisServer
from tests.support.wire import metric, until

TIMEOUT_S = 0.05
ADDED_P99_S = 0.005
SLACK_S = 0.05  # of a busy machine, beyond what requests without a limit have to bear at the same time
ROUNDS, ROUND_S = 5, 0.4
BURST = 10_000
CONFIG = """
version: 1
server: {listen: "{data}", trusted_proxies: [127.0.0.0/8]}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
rate_limits: {store: "REDIS", timeout_s: TIMEOUT, on_error: ON_ERROR}
upstreams:
  old: {endpoints: ["OLD"]}
default: old
seams:
  limited: {routes: [{path: /limited/**}], rate_limit: [{name: wide, requests: 100000, window_s: 1, by: client_ip}]}
  few: {routes: [{path: /few/**}], rate_limit: [{name: few, requests: 3, window_s: 600, by: client_ip}]}
  many:
    routes: [{path: /many/**}]
    rate_limit: [{name: many, requests: 10000, window_s: 1000000, by: client_ip}]
"""


@dataclass(frozen=True)
class Asked:
    """One request; times on the monotonic clock. `status` 0: it got no answer."""

    sent: float
    waited: float
    status: int
    head: str


@dataclass
class Pair:
    """Clients that ask with a limit and without one, turn by turn, so that both meet the same machine. `beside`: those
    of others that never wait for a limit, so that no delay of the machine itself goes unseen."""

    port: int
    limited: list[Asked] = field(default_factory=list)
    free: list[Asked] = field(default_factory=list)
    beside: list[Asked] = field(default_factory=list)
    stopping: bool = False

    async def run(self) -> None:
        limited, free, beside = ("/limited/x", self.limited), ("/free/x", self.free), ("/free/x", self.beside)
        clients = [self._client(limited, free) for _ in range(4)] + [self._client(beside) for _ in range(2)]
        await asyncio.gather(*clients)

    async def _client(self, *turns: tuple[str, list[Asked]]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            while not self.stopping:
                for path, asked in turns:
                    asked.append(await self._ask(reader, writer, path))
                    await asyncio.sleep(0.003)
        finally:
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> Asked:
        sent = time.monotonic()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n".encode())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            head += (await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))).decode()
        except (OSError, asyncio.IncompleteReadError) as error:
            self.stopping = True
            return Asked(sent, time.monotonic() - sent, 0, repr(error))
        return Asked(sent, time.monotonic() - sent, int(head.split(" ")[1]), head)


@dataclass
class Stage:
    redis: RedisServer
    fig: Fig

    def up(self) -> bool:
        return metric(self.fig, "fig_rate_limit_store_up") == 1

    def down(self) -> bool:
        return not self.up()

    def get(self, target: str, client: str) -> Answer:
        with RawClient(self.fig.address) as asking:
            return asking.get(target, f"X-Forwarded-For: {client}")


class Stages:
    def __init__(self, folder: Path, origin: str, stack: ExitStack) -> None:
        self._folder = folder
        self._origin = origin
        self._stack = stack

    def stage(self, on_error: str, timeout_s: float = TIMEOUT_S) -> Stage:
        redis = RedisServer(self._folder)
        self._stack.callback(redis.kill)
        text = CONFIG.replace("REDIS", redis.url).replace("OLD", self._origin).replace("ON_ERROR", on_error)
        fig = self._stack.enter_context(Fig(self._folder, text.replace("TIMEOUT", f"{timeout_s:g}")))
        made = Stage(redis, fig)
        assert until(made.up)
        return made


@pytest.fixture
def stages(sides: tuple[NamedOrigin, NamedOrigin], tmp_path: Path) -> Iterator[Stages]:
    with ExitStack() as stack:
        yield Stages(tmp_path, sides[0].url, stack)
    errors = (tmp_path / "err.log").read_text()
    assert "Traceback" not in errors, errors


def _p99(asked: Sequence[Asked]) -> float:
    waited = sorted(one.waited for one in asked)
    return waited[int(len(waited) * 0.99)]


def _between(asked: Sequence[Asked], began: float, ended: float) -> list[Asked]:
    return [one for one in asked if began <= one.sent < ended]


def _remaining(answer: Answer, name: str) -> int:
    return int((answer.value("ratelimit") or "").removeprefix(f'"{name}";r=').partition(";")[0])


def _gone(fig: Fig) -> float:
    """Requests whose client left before the answer."""
    lines = fig.call("GET", "/metrics").text.splitlines()
    mark = 'fig_rejected_total{cause="client_gone"} '
    return sum(float(line.removeprefix(mark)) for line in lines if line.startswith(mark))


def _problem(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)
    return found


def _added_p99(pair: Pair) -> float:
    """What a limit adds to the slowest of a hundred, in seconds: the median of some rounds."""
    added = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        time.sleep(ROUND_S)
        ended = time.monotonic()
        added.append(_p99(_between(pair.limited, began, ended)) - _p99(_between(pair.free, began, ended)))
    return statistics.median(added)


def _few(stage: Stage, on_error: str, client: str) -> None:
    """Four requests where the limit is three, while Redis is away."""
    answers = [stage.get("/few/x", client) for _ in range(4)]
    expected = {"allow": [200] * 4, "local": [200, 200, 200, 429], "deny": [503] * 4}[on_error]
    assert [answer.status for answer in answers] == expected
    if on_error == "local":
        assert [_remaining(answer, "few") for answer in answers] == [2, 1, 0, 0]
    else:
        assert {answer.value("ratelimit") for answer in answers} == {None}
    if on_error == "deny":
        assert _problem(answers[0])["reason"] == "limits_unavailable"
        assert int(answers[0].value("retry-after") or 0) >= 1


@pytest.mark.parametrize("on_error", ["allow", "local", "deny"])
def test_redis_dies_and_hangs_under_load_and_comes_back(stages: Stages, background: Background, on_error: str) -> None:
    stage = stages.stage(on_error)
    redis, pair = stage.redis, Pair(stage.fig.port)
    running = background.start(pair.run())
    time.sleep(0.5)
    assert {one.status for one in pair.limited} == {200}

    troubled: list[tuple[float, float]] = []
    for trouble, cure in ((redis.kill, redis.start), (redis.hang, redis.go_on)):
        began = time.monotonic()
        trouble()
        assert until(stage.down)
        if trouble == redis.kill:
            added_s = _added_p99(pair)
            assert added_s <= ADDED_P99_S, f"{added_s * 1000:.1f} ms"
        _few(stage, on_error, "198.51.100.1" if trouble == redis.kill else "198.51.100.2")
        cure()
        assert until(stage.up)
        troubled.append((began, time.monotonic()))
        # It counts again, where there was nothing left: neither of the key nor of the script.
        client = f"192.0.2.{len(troubled)}"
        answers = [stage.get("/few/x", client) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        kept = redis.keys()
        assert any(b":few:" in key for key in kept)
    time.sleep(0.3)
    pair.stopping = True
    running.result(10)

    free = pair.free + pair.beside
    asked = pair.limited + free
    assert not [one.head for one in asked if one.status == 0]
    assert {one.status for one in free} == {200}
    if on_error == "deny":
        refused = [one for one in pair.limited if one.status != 200]
        assert all(
            any(one.sent + one.waited >= began and one.sent <= end for began, end in troubled) for one in refused
        )
        assert {one.status for one in refused} == {503}
        assert all('"limits_unavailable"' in one.head and "retry-after: " in one.head for one in refused)
    else:
        assert {one.status for one in pair.limited} == {200}
    longest_s = max(one.waited for one in pair.limited)
    assert longest_s <= TIMEOUT_S + SLACK_S + max(one.waited for one in free)


def test_a_thousand_clients_that_leave_in_the_middle_leave_no_answer_behind(stages: Stages) -> None:
    stage = stages.stage("deny", timeout_s=20)
    known = [stage.get("/many/x", "198.51.100.1") for _ in range(5)]
    assert [_remaining(answer, "many") for answer in known] == [BURST - n for n in (1, 2, 3, 4, 5)]

    stage.redis.hang()
    try:
        for turn in range(10):
            leaving = [RawClient(stage.fig.address) for _ in range(100)]
            for client in leaving:
                client.send(b"GET /many/x HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n")
            time.sleep(0.05)
            for client in leaving:
                client.reset() if turn % 2 else client.sock.close()
        assert until(lambda: _gone(stage.fig) == 1000)
    finally:
        stage.redis.go_on()

    for number in range(50):
        answers = [stage.get("/many/x", f"192.0.2.{number}") for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        assert [_remaining(answer, "many") for answer in answers] == [BURST - 1, BURST - 2]
    # They were in the middle of a command: Redis has counted them.
    assert BURST - 1006 <= _remaining(stage.get("/many/x", "198.51.100.1"), "many") <= BURST - 906
    assert metric(stage.fig, "fig_rate_limit_store_up") == 1
