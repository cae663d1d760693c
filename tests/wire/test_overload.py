"""Descriptors that run out, a loop that stands still, a data port that is full: nobody inside is hurt by it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.load import Background, Load, NamedOrigin
from tests.support.origin import Connection, Origin
from tests.support.wire import OK, Serve, get, metric, slow, until

FEW = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
LONG = (("keepalive_s: 2", "keepalive_s: 30"), ("head_s: 1", "head_s: 30"), ("response_s: 1,", "response_s: 20,"))


def _cpu_s(fig: Fig) -> float:
    assert fig.process is not None
    user, system = Path(f"/proc/{fig.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def few(serve: Serve) -> Fig:
    """A fig that may have 64 descriptors."""
    fig = serve(*LONG)
    fig.stop()
    return fig.start(FEW)


class Regulars:
    """Clients that were there first and go on asking, each on one connection."""

    def __init__(self, fig: Fig, count: int) -> None:
        self.counts: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(fig,)) for _ in range(count)]
        for thread in self._threads:
            thread.start()
        assert self.more()

    def _ask(self, fig: Fig) -> None:
        with RawClient(fig.address) as client:
            while not self._stop.is_set():
                try:
                    self.counts[str(client.get("/").status)] += 1
                except (AssertionError, OSError):
                    self.counts["lost"] += 1
                    return
                time.sleep(0.002)

    def more(self, count: int = 50) -> bool:
        wanted = self.counts["200"] + count
        return until(lambda: self.counts["200"] >= wanted, 10)

    def end(self) -> Counter[str]:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
        return self.counts


@contextlib.contextmanager
def _flood(fig: Fig, count: int, data: bytes) -> Iterator[list[socket.socket]]:
    flood = []
    for _ in range(count):
        sock = socket.create_connection(fig.address, timeout=20)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a flood leaves at once
        sock.sendall(data)
        flood.append(sock)
    try:
        yield flood
    finally:
        for sock in flood:
            sock.close()


@pytest.mark.parametrize(
    "asks", [pytest.param(b"", marks=pytest.mark.soak, id="silent"), pytest.param(get("/slow"), id="asking")]
)
def test_a_flood_beyond_the_descriptors_waits_and_hurts_nobody(few: Fig, origin: Origin, asks: bytes) -> None:
    origin.behave = slow(1.0)
    regulars = Regulars(few, 3)
    with _flood(few, 200, asks):
        before, started = _cpu_s(few), time.monotonic()
        assert regulars.more(100)
        time.sleep(max(0.0, 0.7 - (time.monotonic() - started)))
        assert (_cpu_s(few) - before) / (time.monotonic() - started) < 0.6
        with httpx.Client(trust_env=False, timeout=2) as client:
            assert client.get(f"{few.admin}/readyz").status_code == 200
    with RawClient(few.address) as late:
        assert late.get("/").status == 200
    assert set(regulars.end()) == {"200"}
    assert until(lambda: metric(few, "fig_connections") == 0)


def test_everybody_in_a_flood_is_answered_in_the_end(few: Fig, origin: Origin) -> None:
    origin.behave = slow(0.02)
    request = b"GET /slow HTTP/1.1\r\nHost: proxy.test\r\nConnection: close\r\n\r\n"
    with _flood(few, 200, request) as flood:
        said = Counter(sock.recv(4096)[:12] for sock in flood)
    assert said == {b"HTTP/1.1 200": 200}


def test_descriptors_that_run_out_meanwhile_cost_answers_but_no_process(serve: Serve, origin: Origin) -> None:
    fig = serve(*LONG)
    assert fig.process is not None
    pid = fig.process.pid
    origin.behave = lambda connection: (connection.read(), connection.send(OK), None)[-1]
    with RawClient(fig.address) as inside:
        assert inside.get("/").status == 200
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        refused = inside.get("/")
        assert (refused.status, b"connect_failed" in refused.body) == (502, True)
        with RawClient(fig.address) as outside:
            outside.send(get("/"))
            before = _cpu_s(fig)
            time.sleep(0.5)
            assert _cpu_s(fig) - before < 0.2
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            assert outside.answer().status == 200
        assert inside.get("/").status == 200
    assert metric(fig, "fig_accept_errors_total") >= 1
    assert '"cause":"accept"' in fig.errors()


def test_a_stalled_loop_expires_nobody_whose_bytes_lie_waiting(serve: Serve, origin: Origin) -> None:
    fig = serve()
    asked, answer = threading.Semaphore(0), threading.Event()

    def behave(connection: Connection) -> None:
        while connection.read() is not None:
            asked.release()
            answer.wait(10)
            connection.send(OK)

    origin.behave = behave
    clients = [RawClient(fig.address) for _ in range(20)]
    half = RawClient(fig.address)
    for client in clients:
        client.send(get("/"))
    half.send(b"GET / HTTP/1.1\r\n")
    for _ in clients:
        assert asked.acquire(timeout=5)
    fig.signal(signal.SIGSTOP)
    answer.set()
    half.send(b"Host: proxy.test\r\n\r\n")
    time.sleep(1.3)  # beyond response_s and head_s
    fig.signal(signal.SIGCONT)
    assert {client.answer().status for client in (*clients, half)} == {200}
    assert metric(fig, "fig_event_loop_stalls_total") >= 1
    assert metric(fig, "fig_event_loop_lag_seconds") > 1
    for client in (*clients, half):
        client.sock.close()


def test_the_admin_port_answers_within_a_second_while_the_data_port_is_full(tmp_path: Path) -> None:
    background, origin = Background(), NamedOrigin("origin")
    background.run(origin.listen())
    config = f"""
version: 1
server: {{listen: "{{data}}"}}
admin: {{listen: "{{admin}}", token: right}}
store: "memory:"
telemetry: {{access_log: "off"}}
upstreams: {{origin: {{endpoints: ["{origin.url}"]}}}}
default: origin
"""
    with Fig(tmp_path, config) as fig:
        load = Load(fig.port, 256)
        running = background.start(load.run())
        stop, tried = threading.Event(), Counter[int]()

        def knock() -> None:
            with httpx.Client(trust_env=False, timeout=5) as client:
                while not stop.is_set():
                    headers = {"Authorization": "Bearer wrong"}
                    tried[client.get(f"{fig.admin}/api/seams", headers=headers).status_code] += 1

        knocking = [threading.Thread(target=knock) for _ in range(4)]
        for thread in knocking:
            thread.start()
        assert until(lambda: len(load.done) > 1000, 20)
        spans = []
        with httpx.Client(trust_env=False, timeout=5, headers={"Authorization": "Bearer right"}) as client:
            for path in ("/healthz", "/readyz", "/metrics", "/api/upstreams", "/api/seams") * 4:
                started = time.monotonic()
                assert client.get(f"{fig.admin}{path}").status_code == 200
                spans.append(time.monotonic() - started)
        stop.set()
        load.stopping = True
        for thread in knocking:
            thread.join(10)
        running.result(20)
    background.run(origin.close())
    background.close()
    assert max(spans) < 1
    assert set(tried) == {401}
    assert load.failures == []
