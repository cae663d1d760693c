"""fig as its users run it: `fig serve` in a process of its own, on free loopback ports."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

_PORTS = cycle(range(10_000, 30_000))
for _ in range(random.SystemRandom().randrange(20_000)):  # two runs at a time begin at different ones
    next(_PORTS)


def free_port() -> int:
    """Nobody listens there. Below those that the kernel gives to connections and to whoever listens on port 0, and not
    the same for a long time: nobody takes it before it is used."""
    for port in _PORTS:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("there is always a next port")


class Fig:
    """A configuration file in `folder` and the process that serves it.

    `{data}` and `{admin}` in the text become the ports. Standard output and error go to files in `folder`.
    """

    def __init__(self, folder: Path, text: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = self.admin_port = free_port()
        while self.admin_port == self.port:
            self.admin_port = free_port()
        self.config = folder / "fig.yaml"
        self.env = env or {}
        self.write(text)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, text: str) -> None:
        text = text.replace("{data}", f"127.0.0.1:{self.port}").replace("{admin}", f"127.0.0.1:{self.admin_port}")
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.config)

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def start(self, prefix: tuple[str, ...] = ()) -> Fig:
        """Start and wait until it is ready. AssertionError with its own words if it does not come up."""
        command = [*prefix, sys.executable, "-m", "proxy.cli.main", "serve", str(self.config)]
        with (self.folder / "out.log").open("ab") as out, (self.folder / "err.log").open("ab") as err:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env={**os.environ, **self.env}
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"fig ended with {self.process.returncode}:\n{self.errors()}"
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.admin}/readyz", trust_env=False, timeout=2).status_code == 200:
                    return self
            time.sleep(0.02)
        raise AssertionError(f"fig is not ready after 20 s:\n{self.errors()}")

    def errors(self) -> str:
        return (self.folder / "err.log").read_text()

    def call(self, method: str, path: str, **json: Any) -> httpx.Response:
        """One admin call; keyword arguments become the JSON body of a write."""
        with httpx.Client(trust_env=False, timeout=10, verify=False) as client:  # loading CAs takes 28 ms a call
            if method == "GET":
                return client.get(f"{self.admin}{path}")
            return client.request(method, f"{self.admin}{path}", json=json)

    def shift(self, seam: str, percent: float) -> httpx.Response:
        return self.call("POST", f"/api/seams/{seam}/shift", percent=percent, reason="test")

    def rss_bytes(self) -> int:
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS line")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM and wait; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(5)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(5)

    def __enter__(self) -> Fig:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
