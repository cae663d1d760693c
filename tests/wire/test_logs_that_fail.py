"""A log that is full, stuck or gone: requests go on, and what is lost is counted."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Origin
from tests.support.wire import Serve, metric, until

TO_A_PIPE = 'exec "$@" >"$0" 2>"$0"'


def _slowest(fig: Fig, count: int, target: str = "/") -> float:
    spans = []
    with RawClient(fig.address) as client:
        for _ in range(count):
            started = time.monotonic()
            assert client.get(target).status in (200, 502)
            spans.append(time.monotonic() - started)
    return max(spans)


def test_a_full_disk_drops_access_lines_and_nothing_else(serve: Serve, origin: Origin) -> None:
    fig = serve()
    assert fig.process is not None
    size = (fig.folder / "out.log").stat().st_size
    resource.prlimit(fig.process.pid, resource.RLIMIT_FSIZE, (max(size, 1), resource.RLIM_INFINITY))
    assert _slowest(fig, 100) < 1
    assert _slowest(fig, 5, "/dead/x") < 1
    assert until(lambda: metric(fig, "fig_access_log_dropped_total") >= 100)
    resource.prlimit(fig.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with RawClient(fig.address) as client:
        assert client.get("/room-again").status == 200
    assert until(lambda: (fig.folder / "out.log").read_text().endswith("}\n"))
    assert json.loads((fig.folder / "out.log").read_text().splitlines()[-1])["path"] == "/room-again"


@pytest.fixture
def piped(serve: Serve, tmp_path: Path) -> Iterator[tuple[Fig, int]]:
    """A fig whose standard output and error are one pipe, and the end of it that nobody reads."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fig = serve()
    fig.stop()
    yield fig.start(("sh", "-c", TO_A_PIPE, str(pipe))), reader
    with contextlib.suppress(OSError):
        os.close(reader)


def test_a_reader_that_is_stuck_and_then_gone_holds_nobody_up(piped: tuple[Fig, int], origin: Origin) -> None:
    fig, reader = piped
    target = "/" + "x" * 8000
    assert _slowest(fig, 30, target) < 1  # more than the pipe takes
    for _ in range(20):  # its words go the same way
        assert fig.call("POST", "/api/seams/small/rollback", reason="x" * 900).status_code == 200
        assert fig.call("POST", "/api/seams/small/resume", reason="x" * 900).status_code == 200
    assert _slowest(fig, 700, target) < 1  # more than fig keeps
    assert metric(fig, "fig_access_log_dropped_total") > 0
    os.close(reader)
    assert _slowest(fig, 30) < 1
    before = metric(fig, "fig_access_log_dropped_total")
    assert _slowest(fig, 10) < 1
    assert until(lambda: metric(fig, "fig_access_log_dropped_total") >= before + 10)
