"""A server of key sets on loopback that behaves as badly as it is told, and counts who asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class KeyServer:
    """`answer` is the whole response, `hold` cleared makes the next ones wait; `asked` the request heads so far."""

    url: str = ""
    answer: bytes = b""
    drip: bool = False
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[bytes] = field(default_factory=list)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            await self.hold.wait()
            for piece in [bytes([one]) for one in self.answer] if self.drip else [self.answer]:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.02 if self.drip else 0)
            writer.write_eof()
            await reader.read()
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def answered(body: bytes, status: str = "200 OK", *lines: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *lines, "", ""]
    return "\r\n".join(head).encode() + body


@contextlib.asynccontextmanager
async def key_server(answer: bytes) -> AsyncIterator[KeyServer]:
    told = KeyServer(answer=answer)
    told.hold.set()
    server = await asyncio.start_server(told.accept, "127.0.0.1", 0)
    told.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    try:
        yield told
    finally:
        server.close()
        for task in told.serving:
            task.cancel()
        await asyncio.gather(*told.serving, return_exceptions=True)
        await server.wait_closed()
