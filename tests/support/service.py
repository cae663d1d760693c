"""A service that can fail: it dies, comes back, hangs, resets or answers what its script says, and keeps a log."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Ask:
    """One whole request. `identity` is what the client wrote in X-Id."""

    method: str
    target: str
    identity: str
    body: bytes


Script = Callable[[Ask, "Service"], Awaitable[bytes | None]]
"""The whole answer, or None to reset the connection."""


def answer(status: int = 200, body: bytes = b"ok", *lines: str) -> bytes:
    extra = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


async def well(_: Ask, service: Service) -> bytes:
    return answer(200, service.name.encode())


@dataclass
class Service:
    """`log` has every request that was read whole, `at_once` the most that were under way together."""

    name: str
    script: Script = well
    log: list[Ask] = field(default_factory=list)
    at_once: int = 0
    port: int = 0
    under_way: int = 0

    def __post_init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hits(self) -> int:
        return len(self.log)

    async def start(self) -> None:
        """Listen; again on the same port after `die`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def die(self) -> None:
        """As kill -9 leaves it: nobody listens, every connection is reset."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            self._reset(writer)
        for _ in range(100):  # they are closed in the next turns of the loop, and it may end then
            if not self._writers:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                ask = await self._read(reader)
                self.log.append(ask)
                self.under_way += 1
                self.at_once = max(self.at_once, self.under_way)
                try:
                    said = await self._said(ask, reader)
                finally:
                    self.under_way -= 1
                if said is None:
                    self._reset(writer)
                    return
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _said(self, ask: Ask, reader: asyncio.StreamReader) -> bytes | None:
        """What the script says, unless the client leaves first."""
        work = asyncio.ensure_future(self.script(ask, self))
        left = asyncio.ensure_future(reader.read(1))  # nobody pipelines here: only an end can come
        try:
            await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ConnectionResetError
            return await work
        finally:
            for task in (work, left):
                task.cancel()
            await asyncio.gather(work, left, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> Ask:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        values = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
        body = await reader.readexactly(int(values.get("content-length", "0")))
        method, target, _ = line.split(" ")
        return Ask(method, target, values.get("x-id", ""), body)
