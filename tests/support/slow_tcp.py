"""A TCP relay between a client and a server that can be slow, silent or gone, one direction at a time."""

from __future__ import annotations

import asyncio
from types import TracebackType


class SlowTcp:
    """Listens on `port`. `delay_s` is added to what the server says; `silent` swallows it."""

    def __init__(self, target_port: int) -> None:
        self.delay_s = 0.0
        self.silent = False
        self.port = 0
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> SlowTcp:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Close every connection."""
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        to_server: asyncio.StreamWriter | None = None
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
            up = asyncio.create_task(self._up(reader, to_server))
            try:
                await self._down(from_server, writer)
            finally:
                up.cancel()
                await asyncio.wait([up])
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            if to_server is not None:
                to_server.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65536):
            if self.silent:
                continue
            if self.delay_s:
                loop.call_later(self.delay_s, _say, writer, data)
            else:
                _say(writer, data)


def _say(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.transport.is_closing():
        writer.write(data)
