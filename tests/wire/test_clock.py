"""The wall clock jumps an hour: no timer, pool or suppression goes by it."""

from __future__ import annotations

import ast
import asyncio
import json
import random
import socket
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import uvloop

from proxy.config.load import load
from proxy.events import Event
from proxy.gateway import Gateway
from proxy.routing.table import check
from proxy.runtime import Runtime
from proxy.snapshot import Snapshot
from proxy.state.memory import MemoryStore
from proxy.telemetry.access_log import AccessLog, ErrorLog
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.seen import SeenShare
from proxy.upstreams.tunnels import Tunnels
from proxy.wire.edge import Edge
from proxy.wire.server import DataServer, DrainTimes
from proxy.wire.timer import TimerWheel
from tests.support.client import RawClient
from tests.support.doors import make_doors
from tests.support.fig import free_port
from tests.support.mirror import no_mirror
from tests.support.origin import Origin
from tests.support.upstreams import make_breaker, make_upstream
from tests.support.wire import slow

HOUR = 3600.0
CONFIG = """
version: 1
server: {{listen: 127.0.0.1:{data}, timeouts: {{head_s: 5, keepalive_s: 5}}}}
admin: {{listen: 127.0.0.1:{admin}}}
store: "memory:"
upstreams:
  origin: {{endpoints: ["{origin}"], timeouts: {{connect_s: 1, response_s: 2, body_s: 2}}}}
  nobody: {{endpoints: ["http://127.0.0.1:{closed}"]}}
default: origin
seams: {{dead: {{legacy: nobody, routes: [{{path: /dead}}]}}}}
"""
PLACES = ("wire", "upstreams", "routing", "telemetry/seen.py")


class Wall:
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class Proxy:
    """What `fig serve` builds, with a wall clock of its own, on a loop in a thread."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        self.port = free_port()
        path = folder / "fig.yaml"
        path.write_text(
            CONFIG.format(data=self.port, admin=free_port(), origin=origin.url, closed=free_port()), encoding="utf-8"
        )
        self.loaded = load(path, {}, checks=(check,))
        self.wall = Wall()
        self.metrics = Metrics("1", lambda: 0)
        self.seen = SeenShare(self.metrics, time.monotonic())
        self.lines: list[bytes] = []
        self.errors: list[bytes] = []
        self.started = threading.Event()
        self.thread = threading.Thread(target=lambda: uvloop.run(self._serve()))
        self.thread.start()
        assert self.started.wait(10)

    async def _serve(self) -> None:
        wheel = TimerWheel()

        def ignore(_: Event | Snapshot) -> None:
            """Nobody is told."""

        store = MemoryStore()
        runtime = Runtime(
            self.loaded,
            {},
            store,
            load=self._load,
            make_upstream=partial(make_upstream, wheel=wheel),
            make_breaker=make_breaker,
            make_doors=make_doors,
            emit=ignore,
            on_swap=ignore,
        )
        access_log = AccessLog("json", self.lines.append)
        error_log = ErrorLog(self.errors.append, self.wall)
        tunnels = Tunnels(wheel)
        gateway = Gateway(
            runtime,
            self.metrics,
            access_log,
            error_log,
            tunnels,
            no_mirror(),
            via=b"1.1 fig-t",
            rng=random.Random(1),
            clock=self.wall,
        )
        settings = self.loaded.settings.server
        edge = Edge(gateway, settings.limits, settings.timeouts, wheel)
        self.server = DataServer(edge, lambda: DrainTimes(0, 1), tunnels.leave, lambda error: None)
        self.upstreams = runtime.upstreams
        loop = asyncio.get_running_loop()
        wheel.start(loop)
        listener = await loop.run_in_executor(None, _listen, self.port)
        loop.call_soon(self.started.set)
        await self.server.serve([listener])
        runtime.close()
        wheel.stop()
        access_log.close(1)

    async def _load(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


def _listen(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


@pytest.mark.parametrize("jump_s", [pytest.param(HOUR, marks=pytest.mark.soak), -HOUR])
def test_a_wall_clock_that_jumps_moves_no_timer(tmp_path: Path, jump_s: float) -> None:
    origin = Origin(slow(0.6))
    proxy = Proxy(tmp_path, origin)
    try:
        with RawClient(("127.0.0.1", proxy.port)) as client:
            assert client.get("/before").status == 200
            for _ in range(3):
                assert client.get("/dead").status == 502
            client.send(b"GET /slow HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
            time.sleep(0.2)
            proxy.wall.ahead_s += jump_s
            assert client.answer().status == 200
            time.sleep(0.3)  # some ticks and a kept connection at rest on both sides
            assert client.get("/after").status == 200
            for _ in range(3):
                assert client.get("/dead").status == 502
        seen = proxy.seen.seen("default", time.monotonic())
        assert (seen.requests, seen.window_s < 10) == (3, True)
        assert proxy.upstreams["origin"].reconnects == 0
        assert len(origin.connections) == 1
    finally:
        proxy.close()
        origin.close()
    lines = [json.loads(line) for batch in proxy.lines for line in batch.splitlines()]
    assert [line["path"] for line in lines] == ["/before", *["/dead"] * 3, "/slow", "/after", *["/dead"] * 3]
    assert all(0 <= line["dur_ms"] < 2000 for line in lines)
    told = [json.loads(line) for line in proxy.errors]
    assert [line["cause"] for line in told] == ["connect_failed"] * 2  # one a jump at most: never silent, never a flood
    assert told[1]["suppressed"] == 2


def test_nothing_that_times_asks_the_wall_clock() -> None:
    root = Path(__file__).parents[2] / "proxy"
    files = [file for place in PLACES for file in (sorted((root / place).rglob("*.py")) or [root / place])]
    assert len(files) > 15
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
                assert node.attr != "time", f"{file}:{node.lineno}"
