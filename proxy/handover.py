"""A running fig hands its ports and its store to a successor of the same command line, without a gap.

    the old one                        the successor
      starts it ───────────────────────► loads and validates the configuration
        ◄───────────── prepared STORE ──
      lets go of the store
        ── go ─────────────────────────► opens the store, builds everything
        ◄──────────────────────── ready ─
      accepts no more                                    (from here on there is no way back)
        ── yours ──────────────────────► accepts
      drains   ◄────── rollback SEAM ─── until the old one has ended

At no time do both have the store. The old one serves data until `ready`; what cannot be accepted between `ready` and
`yours` waits in the kernel. If the successor ends or is late before `ready`, the old one takes the store back. Both
talk lines over a socket pair. Knows neither store nor HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

from proxy.inherit import HANDOVER, promise

READY_S = 30.0


class HandoverFailed(Exception):
    """Says why the successor did not come to be."""


class Successor:
    """The process to come, as the old one sees it. `store` is known once it is `prepared`."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @property
    def pid(self) -> int:
        return self._process.pid

    @staticmethod
    async def start(data: socket.socket, admin: socket.socket, kept: bool) -> Successor:
        """The same interpreter, arguments, environment and folder. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            fds = (data.fileno(), admin.fileno(), theirs.fileno())
            environ = {key: value for key, value in os.environ.items() if key != "WATCHDOG_PID"}
            try:
                # asyncio's own would kill the child as this process ends.
                process = subprocess.Popen(  # noqa: ASYNC220  a millisecond
                    [sys.executable, *sys.orig_argv[1:]],
                    pass_fds=fds,
                    env={**environ, HANDOVER: promise(*fds, kept)},
                )
            except OSError:
                ours.close()
                raise
        try:
            return Successor(process, *await asyncio.open_unix_connection(sock=ours))
        except BaseException:  # cancelled: nobody else knows of the process
            process.kill()
            process.wait()
            ours.close()
            raise

    async def prepared(self) -> str:
        """Wait for its configuration; the store that it names. Raises HandoverFailed."""
        return (await self._hear("prepared")).removeprefix("prepared ")

    async def ready(self) -> None:
        """Let it have the store and wait until it could serve. Raises HandoverFailed."""
        self._writer.write(b"go\n")
        await self._hear("ready")

    def yours(self) -> None:
        self._writer.write(b"yours\n")

    async def rollbacks(self) -> AsyncIterator[str]:
        """The seams that it rolls back while the old one drains."""
        while line := await self._line():
            yield line.removeprefix("rollback ")

    async def end(self) -> None:
        """It has failed: make sure that nothing of it is left."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        self._writer.close()

    async def _hear(self, word: str) -> str:
        line = await self._line()
        if line.startswith(word):
            return line
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, 5)
        status = self._process.returncode
        raise HandoverFailed(f"process {self.pid} ended with status {status} before it was {word}; see its error above")

    async def _line(self) -> str:
        with contextlib.suppress(ConnectionError):
            return (await self._reader.readline()).decode().rstrip("\n")
        return ""


class Predecessor:
    """The old process, as its successor sees it. If it dies, the successor serves."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._draining = False
        self._reader = reader
        self._writer = writer

    @staticmethod
    async def meet(channel: socket.socket) -> Predecessor:
        return Predecessor(*await asyncio.open_unix_connection(sock=channel))

    async def give_store(self, store: str) -> None:
        """Returns when the old one has let go of `store`."""
        await self._ask(f"prepared {store}")

    async def give_way(self) -> None:
        """Returns when the old one accepts no more."""
        await self._ask("ready")
        self._draining = True

    def tell_rollback(self, seam: str) -> None:
        """It still answers requests on connections of its own."""
        if self._draining and not self._writer.is_closing():
            self._writer.write(f"rollback {seam}\n".encode())

    async def _ask(self, line: str) -> None:
        if self._writer.is_closing():
            return  # uvloop raises on a write to what has ended
        self._writer.write(f"{line}\n".encode())
        with contextlib.suppress(ConnectionError):
            await self._reader.readline()
