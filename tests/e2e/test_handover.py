"""A restart that nobody notices: by SIGUSR2, on sockets of a service manager, and with everything that can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_migration import Sides, side_of, text
from tests.support.client import RawClient
from tests.support.fig import Fig, free_port
from tests.support.handover import Activated, Line, alive, held
from tests.support.load import Background, Load
from tests.support.wire import settled, until

NEW_CONNECTIONS = "Connection: close\r\n"


def soak(*values: Any) -> Any:
    """A parameter of long runs only."""
    return pytest.param(*values, marks=pytest.mark.soak)


@pytest.fixture
def line(tmp_path: Path, config: str) -> Iterator[Line]:
    made = Line(Fig(tmp_path, text(config, 100)).start())
    yield made
    made.close()
    assert "Traceback" not in made.fig.errors()


class Traffic:
    """Half of the clients keep their connections, half open one for each request."""

    def __init__(self, background: Background, port: int, clients: int = 40) -> None:
        self.loads = [Load(port, clients // 2), Load(port, clients // 2, headers=NEW_CONNECTIONS)]
        self._running = background.start(self._run())

    async def _run(self) -> None:
        await asyncio.gather(*(load.run() for load in self.loads))

    @property
    def answered(self) -> int:
        return sum(len(load.done) for load in self.loads)

    def more(self, count: int = 200) -> bool:
        wanted = self.answered + count
        return until(lambda: self.answered >= wanted, 10)

    def end(self, sides: Sides) -> None:
        """AssertionError if anything was lost, at the clients or between them and the origins."""
        for load in self.loads:
            load.stopping = True
        self._running.result(10)
        for load in self.loads:
            assert (load.failures, load.refused_connects, load.not_accepted) == ([], 0, 0)
        assert self.answered == sum(len(side.arrivals) for side in sides)


def _successor(pid: int) -> int | None:
    """The child that is starting, if any. A child that only loads configuration is none."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) if entry.name.isdigit() else 0
            if parent == pid and b"serve" in (entry / "cmdline").read_bytes().split(b"\0"):
                return int(entry.name)
    return None


def _with_argument(word: str) -> list[int]:
    """The processes that run with it, but for those that only wait to be reaped."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return [pid for pid in found if alive(pid)]


def _ticks(pid: int) -> int:
    """Processor time so far."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def _rolled_back(fig: Fig) -> bool:
    return fig.call("GET", "/api/seams/api").json()["rolled_back"] is not None


def test_three_handovers_under_load_lose_nothing(line: Line, sides: Sides, background: Background) -> None:
    traffic = Traffic(background, line.fig.port)
    for _ in range(3):
        assert traffic.more(100)
        before = line.pid
        line.hand_over()
        assert traffic.more()
        assert line.ended(before)
    traffic.end(sides)
    assert line.fig.process is not None
    assert line.fig.process.wait(5) == 0


@pytest.mark.parametrize("wait_s", [soak(0.0), soak(0.2), 0.35])
def test_a_rollback_during_a_handover_is_in_force_at_once_and_afterwards(
    line: Line, sides: Sides, background: Background, wait_s: float
) -> None:
    traffic = Traffic(background, line.fig.port, 20)
    assert traffic.more()
    os.kill(line.pid, signal.SIGUSR2)
    time.sleep(wait_s)
    refusals = []
    while (answer := line.fig.call("POST", "/api/seams/api/rollback", reason="now")).status_code != 200:
        refusals.append(answer.json()["reason"])
        assert len(refusals) < 500
    answered = time.monotonic()
    assert answer.json()["durable"]
    assert set(refusals) <= {"draining"}
    assert until(lambda: "has taken over" in line.fig.errors(), 20)
    line.pids += line._taken()
    assert traffic.more()
    assert line.ended(line.pids[0])
    assert _rolled_back(line.fig)
    traffic.end(sides)
    assert [one for one in sides[1].arrivals if one.sent > answered] == []


def test_a_rollback_by_the_successor_binds_the_old_one_while_it_drains(line: Line, sides: Sides) -> None:
    """A connection that was there before asks the old process as long as it drains."""
    sides[1].delay_s = 0.2
    with RawClient(line.fig.address) as early:
        early.send(b"GET /api/1 HTTP/1.1\r\nHost: shop.test\r\n\r\nGET /api/2 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        assert until(lambda: len(sides[1].arrivals) == 1)
        sides[1].delay_s = 2
        assert early.answer().body == b"extracted"
        assert until(lambda: len(sides[1].arrivals) == 2)
        with RawClient(line.fig.address) as half:
            half.send(b"GET /api/3 HTTP/1.1\r\nHost: shop")
            line.hand_over()
            assert line.fig.call("POST", "/api/seams/api/rollback", reason="now").status_code == 200
            half.send(b".test\r\n\r\n")
            assert half.answer().body == b"legacy"
        assert alive(line.pids[0])
        assert early.answer().body == b"extracted"


def _bad_file(line: Line, config: str) -> None:
    line.fig.write(text(config, 100).replace("stage: canary", "stage: flying"))


def _another_store(line: Line, config: str) -> None:
    line.fig.write(text(config, 100, "sqlite:var/other.db"))


def _another_port(line: Line, config: str) -> None:
    line.fig.write(text(config, 100).replace("{data}", f"127.0.0.1:{free_port()}"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_bad_file, "ended with status 3"),
        soak(_another_store, "`store` has"),
        (_another_port, "server.listen has changed from 127.0.0.1"),
    ],
)
def test_a_successor_that_cannot_start_leaves_the_old_one_serving(
    line: Line, sides: Sides, background: Background, config: str, change: Callable[[Line, str], None], reason: str
) -> None:
    traffic = Traffic(background, line.fig.port, 10)
    change(line, config)
    os.kill(line.pid, signal.SIGUSR2)
    assert until(lambda: "handover failed, this process keeps serving" in line.fig.errors(), 20)
    assert reason in line.fig.errors()
    assert traffic.more()
    assert line.fig.call("POST", "/api/seams/api/rollback", reason="now").json()["durable"]
    traffic.end(sides)
    line.fig.write(text(config, 100))
    line.hand_over()
    assert _rolled_back(line.fig)


def test_a_successor_that_is_killed_leaves_the_old_one_serving(line: Line) -> None:
    os.kill(line.pid, signal.SIGUSR2)
    assert until(lambda: _successor(line.pid) is not None)
    os.kill(_successor(line.pid) or 0, signal.SIGKILL)
    assert until(lambda: "handover failed, this process keeps serving: process" in line.fig.errors())
    assert line.fig.shift("api", 40).status_code == 200
    line.hand_over()
    assert line.fig.call("GET", "/api/seams/api").json()["percent"] == 40


def test_a_file_that_changes_while_the_successor_starts_takes_effect(line: Line, config: str) -> None:
    os.kill(line.pid, signal.SIGUSR2)
    assert until(lambda: _successor(line.pid) is not None)
    successor = _successor(line.pid) or 0
    os.kill(line.pid, signal.SIGSTOP)  # with the file loaded, the successor waits for the store
    settled(lambda: _ticks(successor), 0.3)
    line.fig.write(text(config, 37))
    os.kill(line.pid, signal.SIGHUP)
    os.kill(line.pid, signal.SIGCONT)
    assert until(lambda: len(line._taken()) == 1, 10)
    line.pids += line._taken()
    assert until(lambda: line.fig.call("GET", "/api/seams/api").json()["percent"] == 37)


@pytest.mark.parametrize("wait_s", [0.001, soak(0.002), soak(0.004), soak(0.1), soak(0.25)])
def test_a_stop_during_a_handover_ends_both(line: Line, tmp_path: Path, wait_s: float) -> None:
    with (tmp_path / "var" / "fig.db.lock").open() as lock:
        os.kill(line.pid, signal.SIGUSR2)
        time.sleep(wait_s)
        os.kill(line.pid, signal.SIGTERM)
        assert line.ended(line.pid)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert _with_argument(str(line.fig.config)) == []
    assert "keeps serving" not in line.fig.errors()


def test_a_stop_of_all_after_a_handover_lets_requests_finish(line: Line, sides: Sides) -> None:
    """A service manager stops every process of the service, also the one that drains already."""
    sides[1].delay_s = 1.5
    with RawClient(line.fig.address) as client:
        client.send(b"GET /api/slow HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        assert until(lambda: len(sides[1].arrivals) == 1)
        line.hand_over()
        for pid in line.pids:
            os.kill(pid, signal.SIGTERM)
        assert client.answer().body == b"extracted"


@pytest.mark.parametrize("wait_s", [0.0, soak(0.1), soak(0.2), soak(0.3)])
def test_a_successor_serves_where_the_old_one_is_killed_meanwhile(line: Line, wait_s: float) -> None:
    assert line.fig.call("POST", "/api/seams/api/rollback", reason="now").json()["durable"]
    os.kill(line.pid, signal.SIGUSR2)
    assert until(lambda: _successor(line.pid) is not None)
    line.pids.append(_successor(line.pid) or 0)
    time.sleep(wait_s)
    os.kill(line.pids[0], signal.SIGKILL)
    assert until(lambda: line.fig.errors().count(" serves on ") == 2, 10), line.fig.errors()
    assert _rolled_back(line.fig)
    assert line.fig.call("POST", "/api/seams/api/resume", reason="again").status_code == 200


def test_a_store_that_the_successor_cannot_read_is_taken_back(line: Line, tmp_path: Path) -> None:
    assert line.fig.shift("api", 40).status_code == 200
    store, aside = tmp_path / "var" / "fig.db", tmp_path / "aside"
    aside.mkdir()
    for part in store.parent.glob("fig.db*"):
        if part.suffix != ".lock":
            part.rename(aside / part.name)
    store.write_bytes(b"this is not a database" * 100)
    os.kill(line.pid, signal.SIGUSR2)
    assert until(lambda: "the store cannot be opened again" in line.fig.errors(), 20)
    refused = line.fig.shift("api", 50)
    assert (refused.status_code, refused.json()["reason"]) == (503, "store")
    rolled = line.fig.call("POST", "/api/seams/api/rollback", reason="now")
    assert (rolled.status_code, rolled.json()["durable"]) == (200, False)
    with httpx.Client(trust_env=False) as client:
        assert side_of(line.fig, "u", client) == "legacy"
    for part in aside.iterdir():
        part.replace(store.parent / part.name)
    assert until(lambda: "handover failed, this process keeps serving" in line.fig.errors())
    assert until(lambda: "rollback of seam api is durable" in line.fig.errors())
    line.hand_over()
    assert _rolled_back(line.fig)


def test_a_rollback_that_is_in_memory_only_is_not_left_behind(line: Line, tmp_path: Path) -> None:
    lock = sqlite3.connect(tmp_path / "var" / "fig.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    assert line.fig.call("POST", "/api/seams/api/rollback", reason="now").json()["durable"] is False
    os.kill(line.pid, signal.SIGUSR2)
    assert until(lambda: "handover refused: a rollback is in memory only" in line.fig.errors())
    lock.execute("ROLLBACK")
    lock.close()
    assert until(lambda: "is durable" in line.fig.errors())
    line.hand_over()
    assert _rolled_back(line.fig)


@pytest.mark.soak
def test_a_store_in_memory_that_holds_something_is_not_left_behind(tmp_path: Path, config: str) -> None:
    line = Line(Fig(tmp_path, text(config, 100, "memory:")).start())
    try:
        line.hand_over()
        assert line.fig.shift("api", 40).status_code == 200
        os.kill(line.pid, signal.SIGUSR2)
        assert until(lambda: "handover refused: `store: memory:`" in line.fig.errors())
        assert line.fig.call("GET", "/api/seams/api").json()["percent"] == 40
    finally:
        line.close()


def test_a_drain_lets_go_of_the_store_and_sends_changes_to_the_next_process(
    line: Line, sides: Sides, config: str, tmp_path: Path
) -> None:
    sides[1].delay_s = 2
    (tmp_path / "next").mkdir()
    with RawClient(line.fig.address) as client:
        client.send(b"GET /api/slow HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        assert until(lambda: len(sides[1].arrivals) == 1)
        os.kill(line.pid, signal.SIGTERM)
        assert until(lambda: line.fig.call("GET", "/readyz").status_code == 503)
        refused = line.fig.call("POST", "/api/seams/api/rollback", reason="now")
        assert (refused.status_code, refused.json()["reason"]) == (503, "draining")
        assert "var/rollback/SEAM" in refused.json()["detail"]
        with Fig(tmp_path / "next", text(config, 100, f"sqlite:{tmp_path}/var/fig.db")) as following:
            assert alive(line.pid)
            assert following.shift("api", 40).status_code == 200
        assert client.answer().body == b"extracted"


@contextlib.contextmanager
def _activated(folder: Path, config: str, names: str = "") -> Iterator[Activated]:
    fig = Fig(folder, text(config, 100))
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2)]
    configured = fig.port
    fig.port, fig.admin_port = (one.getsockname()[1] for one in (reversed(listeners) if names else listeners))
    made = Activated(fig, *listeners, names=names)
    try:
        yield made
    finally:
        made.close()
    assert f"serves on 127.0.0.1:{fig.port} (inherited), admin on 127.0.0.1:{fig.admin_port}" in fig.errors()
    assert str(configured) not in fig.errors()
    assert "Traceback" not in fig.errors()


def test_a_stop_and_a_start_on_inherited_sockets_lose_nothing(
    tmp_path: Path, config: str, sides: Sides, background: Background
) -> None:
    with _activated(tmp_path, config) as activated:
        activated.start()
        traffic = Traffic(background, activated.fig.port)
        for _ in range(2):
            assert traffic.more()
            assert activated.fig.stop() == 0
            activated.start()
        assert traffic.more()
        traffic.end(sides)


@pytest.mark.soak
def test_a_handover_passes_inherited_sockets_on(
    tmp_path: Path, config: str, sides: Sides, background: Background
) -> None:
    with _activated(tmp_path, config, "admin:data") as activated:
        line = Line(activated.start().fig)
        traffic = Traffic(background, activated.fig.port, 10)
        line.hand_over()
        assert traffic.more()
        os.kill(line.pid, signal.SIGTERM)
        assert all(map(line.ended, line.pids))
        assert activated.fig.stop() == 0
        activated.start()
        assert traffic.more()
        traffic.end(sides)


@pytest.mark.parametrize(
    ("names", "cure"),
    [("data:data", "FileDescriptorName="), ("", "no listening TCP socket"), ("admin:other", "named `data`")],
)
def test_what_cannot_be_inherited_stops_the_start_with_the_cure(
    tmp_path: Path, config: str, names: str, cure: str
) -> None:
    fig = Fig(tmp_path, text(config, 100))
    with socket.socket() as silent, socket.socket() as other:
        assert Activated(fig, silent, other, names=names).spawn().wait(10) == 3
    assert cure in fig.errors()


def test_an_inherited_admin_socket_beyond_loopback_takes_a_token(tmp_path: Path, config: str) -> None:
    fig = Fig(tmp_path, text(config, 100))
    with socket.create_server(("127.0.0.1", 0)) as data, socket.create_server(("0.0.0.0", 0)) as admin:
        assert Activated(fig, data, admin).spawn().wait(10) == 3
    assert "admin.token" in fig.errors()


class Manager:
    """A service manager's end of sd_notify: what it was told, line by line."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)
        self.told: list[str] = []

    def heard(self, line: str) -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.told += self._socket.recv(4096).decode().splitlines()
        return any(one.startswith(line) for one in self.told)

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: Any) -> None:
        self._socket.close()


def test_a_service_manager_hears_who_serves(tmp_path: Path, config: str) -> None:
    with Manager(tmp_path) as manager:
        # Seldom: nobody reads during the handover, and the kernel keeps ten datagrams.
        env = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "2000000"}
        line = Line(Fig(tmp_path, text(config, 100), env).start())
        try:
            assert until(lambda: manager.heard("WATCHDOG=1"))
            assert manager.told[0] == "READY=1"
            manager.told.clear()
            line.hand_over()
            assert until(lambda: manager.heard("READY=1"), 20)
            told = [one.partition("=")[0] for one in manager.told if one != "WATCHDOG=1"]
            assert told == ["RELOADING", "MONOTONIC_USEC", "MAINPID", "READY"]
            assert f"MAINPID={line.pid}" in manager.told
            assert line.ended(line.pids[0])
            manager.told.clear()
            assert until(lambda: manager.heard("WATCHDOG=1"))
        finally:
            line.close()
        assert manager.heard("STOPPING=1")


@pytest.mark.soak
def test_ten_handovers_at_500_requests_a_second_lose_nothing(line: Line, sides: Sides, background: Background) -> None:
    traffic = Traffic(background, line.fig.port)
    started = time.monotonic()
    for _ in range(10):
        assert traffic.more(6000)
        line.hand_over()
    assert traffic.more(2000)
    seconds = time.monotonic() - started
    traffic.end(sides)
    print(f"{traffic.answered} requests in {seconds:.1f} s, 10 handovers, 0 lost")
    assert traffic.answered >= 50_000
    assert traffic.answered / seconds >= 500


@pytest.mark.soak
def test_a_successor_that_hangs_is_given_up(line: Line) -> None:
    os.kill(line.pid, signal.SIGUSR2)
    assert until(lambda: _successor(line.pid) is not None)
    hanging = _successor(line.pid) or 0
    os.kill(hanging, signal.SIGSTOP)
    assert held(lambda: "handover failed" not in line.fig.errors(), 25)
    assert until(lambda: "the successor was not ready within 30 s" in line.fig.errors(), 15)
    assert not alive(hanging)
    assert line.fig.shift("api", 40).status_code == 200
