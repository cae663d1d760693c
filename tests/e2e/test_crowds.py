"""Crowds of clients that want nothing, or never finish asking: little memory, short stay, and others notice nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client import RawClient
from tests.support.crowd import Crowd, allow_files, connect
from tests.support.fig import Fig
from tests.support.load import Background, Load, NamedOrigin

CONFIG = """
version: 1
server: {listen: "{data}", timeouts: {head_s: HEAD_S, keepalive_s: 600}}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
upstreams: {origin: {endpoints: ["ORIGIN"]}}
default: origin
"""
MIB = 1024 * 1024


class Scene:
    """A fig, an origin that can take load, and a steady load of others."""

    def __init__(self, folder: Path, head_s: float) -> None:
        self.background = Background()
        self.origin = NamedOrigin("ok")
        self.background.run(self.origin.listen())
        self.fig = Fig(folder, CONFIG.replace("ORIGIN", self.origin.url).replace("HEAD_S", str(head_s)))
        self.fig.start()

    def p99_while(self, step: Callable[[], None]) -> float:
        """99th percentile in seconds of what 8 others see while `step` runs. AssertionError when one of them fails."""
        load = Load(self.fig.port, 8)
        running = self.background.start(load.run())
        step()
        load.stopping = True
        running.result(30)
        assert load.failures == []
        seconds = sorted(one.received - one.sent for one in load.done)
        return seconds[int(len(seconds) * 0.99)]

    def close(self) -> None:
        self.fig.stop()
        self.background.run(self.origin.close())
        self.background.close()
        assert "Traceback" not in self.fig.errors()


def _idle(folder: Path, count: int) -> float:
    """KiB of resident memory that an idle kept connection costs."""
    allow_files(count + 500)
    scene = Scene(folder, 600)
    try:
        with RawClient(scene.fig.address) as client:
            assert client.get().status == 200
        before = scene.fig.rss_bytes()
        socks = connect(scene.fig.port, count)
        try:
            for sock in socks:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
                assert sock.recv(4096).startswith(b"HTTP/1.1 200")
            grown = scene.fig.rss_bytes() - before
            with RawClient(scene.fig.address) as client:
                assert client.get("/new").status == 200
        finally:
            for sock in socks:
                sock.close()
        print(f"{count} idle connections: + {grown / MIB:.1f} MiB")
        return grown / 1024 / count
    finally:
        scene.close()


def _slow(folder: Path, each: int, head_s: float) -> tuple[list[float], float, float]:
    """Seconds after which the slow ones were gone, and the p99 of others without and with them."""
    allow_files(4 * each + 500)
    scene = Scene(folder, head_s)
    crowd: list[Crowd] = []

    def besiege() -> None:
        crowd.append(Crowd(scene.fig.port, each, each))
        crowd[0].run(15 - (time.monotonic() - crowd[0].began))

    try:
        alone = scene.p99_while(lambda: threading.Event().wait(min(10.0, 5 * head_s)) and None)
        beside = scene.p99_while(besiege)
        assert crowd[0].left == 0
        print(f"{2 * each} slow clients gone after {min(crowd[0].gone):.1f}-{max(crowd[0].gone):.1f} s; "
              f"p99 of others {alone * 1e3:.1f} ms without, {beside * 1e3:.1f} ms with them")  # fmt: skip
        return crowd[0].gone, alone, beside
    finally:
        for one in crowd:
            one.close()
        scene.close()


def test_an_idle_connection_costs_a_few_kib(tmp_path: Path) -> None:
    assert _idle(tmp_path, 1000) < 15


def test_slow_clients_are_gone_at_head_s(tmp_path: Path) -> None:
    gone, _, _ = _slow(tmp_path, 50, 1.0)
    assert len(gone) == 100
    assert min(gone) > 0.5
    assert max(gone) < 3


@pytest.mark.soak
def test_ten_thousand_idle_connections_grow_rss_by_at_most_150_mib(tmp_path: Path) -> None:
    assert _idle(tmp_path, 10_000) * 10_000 / 1024 <= 150


@pytest.mark.soak
def test_two_thousand_slow_clients_are_gone_in_15_s_and_others_hardly_notice(tmp_path: Path) -> None:
    gone, alone, beside = _slow(tmp_path, 1000, 10.0)
    assert len(gone) == 2000
    assert max(gone) <= 15
    assert beside <= 1.5 * alone + 0.001
