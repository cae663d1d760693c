"""A line of figs that succeed one another: whose turn it is, and what they said."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.fig import Fig
from tests.support.wire import until

_TAKEN = re.compile(r"process (\d+) has taken over")


class Line:
    """The figs that came of one. `pid` is the one that serves; `close` ends whatever is left."""

    def __init__(self, fig: Fig) -> None:
        assert fig.process is not None
        self.fig = fig
        self.pids = [fig.process.pid]

    @property
    def pid(self) -> int:
        return self.pids[-1]

    def hand_over(self, timeout_s: float = 20.0) -> int:
        """SIGUSR2, and wait until another process serves; its pid."""
        count = len(self.pids)
        os.kill(self.pid, signal.SIGUSR2)
        assert until(lambda: len(self._taken()) == count, timeout_s), self.fig.errors()
        self.pids.append(self._taken()[-1])
        return self.pid

    def _taken(self) -> list[int]:
        return [int(pid) for pid in _TAKEN.findall(self.fig.errors())]

    def ended(self, pid: int, timeout_s: float = 15.0) -> bool:
        return until(lambda: not alive(pid), timeout_s)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        for pid in self.pids:
            if not self.ended(pid, 10):
                os.kill(pid, signal.SIGKILL)
        assert self.fig.process is not None
        self.fig.process.wait(5)


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# What a service manager does before it becomes the service: the sockets from descriptor 3 on, and LISTEN_PID its own.
_ACTIVATE = """
import os, sys
fds = list(map(int, sys.argv[1].split(",")))
high = [os.dup2(fd, 100 + place) for place, fd in enumerate(fds)]  # first out of each other's way
for place, fd in enumerate(high):
    os.dup2(fd, 3 + place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Activated:
    """Holds the sockets, as systemd does, and starts a fig on them; `names` become LISTEN_FDNAMES."""

    def __init__(self, fig: Fig, *sockets: socket.socket, names: str = "") -> None:
        self.fig = fig
        self.sockets = sockets
        self.env = {"LISTEN_FDNAMES": names} if names else {}

    def spawn(self, **env: str) -> subprocess.Popen[bytes]:
        fds = [one.fileno() for one in self.sockets]
        command = [sys.executable, "-c", _ACTIVATE, ",".join(map(str, fds))]
        command += ["-m", "proxy.cli.main", "serve", str(self.fig.config)]
        with (self.fig.folder / "out.log").open("ab") as out, (self.fig.folder / "err.log").open("ab") as err:
            return subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
                env={**os.environ, **self.fig.env, **self.env, **env},
            )

    def start(self, **env: str) -> Activated:
        self.fig.process = self.spawn(**env)
        said = self.fig.errors().count(" serves on ")
        assert until(lambda: self.fig.errors().count(" serves on ") > said, 20), self.fig.errors()
        return self

    def close(self) -> None:
        self.fig.stop()
        for one in self.sockets:
            one.close()


def held(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition stays true for the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.02)
    return True
