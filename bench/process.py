"""A child process on a core of its own, with a certain end. Knows no proxy."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import cpu

_ROOT = Path(__file__).resolve().parent.parent
_START_S = 20.0
_STOP_S = 5.0
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def find(program: str) -> str | None:
    """The program's path, looked for where daemons are kept too."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_SBIN}")


def free_port() -> int:
    """A loopback port that nothing listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One running command. `core` None: not pinned. What it writes goes to NAME.log in `folder`."""

    def __init__(self, name: str, argv: Sequence[str], folder: Path, core: int | None) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        prefix = () if core is None else ("taskset", "--cpu-list", str(core))
        with self.log.open("wb") as log:
            self._child = subprocess.Popen(
                [*prefix, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_python_path())},
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def wait_until_answers(self, port: int, path: str, headers: Mapping[str, str] | None = None) -> None:
        """Until GET answers 200. Raises RuntimeError with the process's own words when it does not come up."""
        deadline = time.monotonic() + _START_S
        while not _answers(port, path, headers or {}):
            if self._child.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self._child.returncode}: {self._last_words()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not answer after {_START_S:g} s: {self._last_words()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to the whole tree where that does not end it."""
        tree = cpu.tree(self.pid)
        self._child.terminate()
        try:
            self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            for pid in tree:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._child.wait()

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:].strip() or "(it said nothing)"


def _python_path() -> list[str]:
    inherited = os.environ.get("PYTHONPATH")
    # Inherited first: `make bench` has the compiled fig there.
    return [inherited, str(_ROOT)] if inherited else [str(_ROOT)]


def _answers(port: int, path: str, headers: Mapping[str, str]) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers={"x-user-id": "ready", **headers})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
