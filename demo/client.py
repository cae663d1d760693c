"""A keep-alive HTTP/1.1 client on asyncio streams: small, so that the demo measures fig and not its own client.

Knows `Content-Length` bodies only; the shop and fig send nothing else here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

HOST = "127.0.0.1"
TIMEOUT_S = 10.0

_NO_FIELDS: Mapping[str, str] = MappingProxyType({})


class NoAnswer(Exception):
    """No complete answer came: refused, cut or too late. Says which."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`fields` have lower-case names; of repeated ones the last."""

    status: int
    fields: Mapping[str, str]
    body: bytes


class Connection:
    """One connection to a port of this machine, opened at the first request and again after it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, target: str, fields: Mapping[str, str] = _NO_FIELDS, body: bytes = b"") -> Answer:
        """Raises NoAnswer; never tries twice."""
        complete = False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._exchange(_head(method, target, self._port, fields, body) + body)
            complete = answer.fields.get("connection", "").lower() != "close"
            return answer
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise NoAnswer(f"{method} {target}: {error or type(error).__name__}") from error
        finally:
            if not complete:
                self.close()

    async def _exchange(self, request: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        pairs = (line.partition(":") for line in lines)
        fields = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        return Answer(int(status.split(" ")[1]), fields, body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _head(method: str, target: str, port: int, fields: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}:{port}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
