"""A store that cannot be written: no move towards extracted, every rollback, and traffic as if nothing were."""

from __future__ import annotations

import resource
import sqlite3
import time
from pathlib import Path

import httpx

from tests.e2e.test_migration import side_of, text
from tests.support.fig import Fig


def test_a_locked_store_refuses_moves_and_lets_rollbacks_through(tmp_path: Path, config: str) -> None:
    with Fig(tmp_path, text(config, 100)) as fig, httpx.Client(trust_env=False) as client:
        lock = sqlite3.connect(tmp_path / "var" / "fig.db", isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        refused = fig.shift("api", 50)
        assert (refused.status_code, refused.json()["reason"]) == (503, "store")
        assert fig.call("GET", "/api/seams/api").json()["override"] is None
        assert side_of(fig, "u", client) == "extracted"
        started = time.monotonic()
        rolled = fig.call("POST", "/api/seams/api/rollback", reason="now")
        assert time.monotonic() - started < 2
        assert (rolled.status_code, rolled.json()["durable"], rolled.json()["percent"]) == (200, False, 0)
        assert side_of(fig, "u", client) == "legacy"
        lock.execute("ROLLBACK")
        lock.close()
        deadline = time.monotonic() + 5
        while "durable" not in fig.errors():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert 'fig_store_errors_total{store="sqlite"}' in fig.call("GET", "/metrics").text
        fig.kill()
        fig.start()
        assert side_of(fig, "u", client) == "legacy"


def test_a_full_disk_refuses_moves_and_lets_rollbacks_through(tmp_path: Path, config: str) -> None:
    with Fig(tmp_path, text(config, 100)) as fig, httpx.Client(trust_env=False) as client:
        assert fig.shift("api", 90).status_code == 200
        assert fig.process is not None
        resource.prlimit(fig.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        assert fig.shift("api", 100).status_code == 503
        assert fig.call("GET", "/api/seams/api").json()["percent"] == 90
        rolled = fig.call("POST", "/api/seams/api/rollback", reason="now")
        assert (rolled.status_code, rolled.json()["durable"]) == (200, False)
        assert [side_of(fig, f"u{number}", client) for number in range(20)] == ["legacy"] * 20
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(fig.process.pid, resource.RLIMIT_FSIZE, unlimited)
        deadline = time.monotonic() + 5
        while fig.call("GET", "/api/seams/api").json()["rolled_back"] is None or not _written(tmp_path):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        fig.kill()
        fig.start()
        assert side_of(fig, "u", client) == "legacy"


def _written(folder: Path) -> bool:
    with sqlite3.connect(folder / "var" / "fig.db") as reader:
        rows = reader.execute("SELECT count(*) FROM history WHERE action = 'rollback'").fetchone()
    reader.close()
    return bool(rows[0])


def test_a_store_that_cannot_be_read_stops_the_start_with_the_cure(tmp_path: Path, config: str) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "fig.db").write_bytes(b"this is not a database" * 100)
    fig = Fig(tmp_path, text(config, 100))
    try:
        fig.start()
    except AssertionError as error:
        assert "fig ended with 3" in str(error)
        assert "fig.db" in str(error)
    else:
        fig.stop()
        raise AssertionError("fig started without its latches")


def test_a_taken_port_stops_the_start_and_names_the_key(tmp_path: Path, config: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with Fig(tmp_path / "a", text(config, 0)) as first:
        second = Fig(tmp_path / "b", text(config, 0))
        second.port = first.port
        second.write(text(config, 0))
        try:
            second.start()
        except AssertionError as error:
            assert "fig ended with 3" in str(error)
            assert "server.listen" in str(error)
        else:
            second.stop()
            raise AssertionError("two figs share a port")
