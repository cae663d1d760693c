"""What the tests of the wire share: requests, scripts, counters, and waiting for a condition instead of for a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from tests.support.fig import Fig
from tests.support.origin import Behaviour, Connection

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Serve(Protocol):
    """Starts a fig with the configuration of the wire's tests, each `(old, new)` text replaced in it."""

    def __call__(self, *changes: tuple[str, str]) -> Fig: ...


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: proxy.test\r\n\r\n".encode("latin-1")


def post(target: str, length: int, *lines: str) -> bytes:
    """The head of an upload of `length` bytes."""
    extra = "".join(f"{line}\r\n" for line in lines)
    return f"POST {target} HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: {length}\r\n{extra}\r\n".encode("latin-1")


def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    """Whether the condition comes true within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def settled(progress: Callable[[], int], quiet_s: float = 0.2, timeout_s: float = 5.0) -> int:
    """What the counter stands at once it has not moved for `quiet_s`. AssertionError when it never rests."""
    deadline = time.monotonic() + timeout_s
    last, since = progress(), time.monotonic()
    while time.monotonic() - since < quiet_s:
        assert time.monotonic() < deadline, f"still moving after {timeout_s} s at {last}"
        time.sleep(0.01)
        if (now := progress()) != last:
            last, since = now, time.monotonic()
    return last


def metric(fig: Fig, name: str) -> float:
    """The sum of a metric over its labels."""
    lines = fig.call("GET", "/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def quiet(fig: Fig) -> bool:
    """Whether no request and no client connection is left."""
    return metric(fig, "fig_in_flight") == 0 and metric(fig, "fig_connections") == 0


def access_line(fig: Fig, target: str) -> dict[str, Any]:
    """The access line of the request with this target. AssertionError when none comes within 3 s."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        written = (fig.folder / "out.log").read_text()
        for text in written[: written.rfind("\n") + 1].splitlines():  # the last one may be half there
            entry: dict[str, Any] = json.loads(text)
            if entry["path"] == target:
                return entry
        time.sleep(0.02)
    raise AssertionError(f"no access line for {target}")


class LogTail:
    """The error log of a fig from where it was last looked at."""

    def __init__(self, fig: Fig) -> None:
        self._path = fig.folder / "err.log"
        self._seen = 0

    def check(self) -> None:
        """AssertionError where an exception has been logged since."""
        size = self._path.stat().st_size
        if size == self._seen:
            return
        with self._path.open("rb") as log:
            log.seek(self._seen)
            fresh = log.read(size - self._seen).decode()
        self._seen = size
        assert "Traceback" not in fresh, fresh
        assert "Exception" not in fresh, fresh


class BySize:
    """A script: `/123` is answered with 123 bytes; `sent` counts what the kernel took."""

    def __init__(self) -> None:
        self.sent = 0

    def __call__(self, connection: Connection) -> None:
        while (request := connection.read()) is not None:
            left = int(request.target.rpartition("/")[2])
            connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
            while left:
                count = connection.sock.send(b"x" * min(left, 1 << 18))
                left -= count
                self.sent += count


def slow(seconds: float) -> Behaviour:
    """A script: `/slow` is answered after that time, everything else at once."""

    def behave(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            time.sleep(seconds if request.target == "/slow" else 0)
            connection.send(OK)

    return behave
