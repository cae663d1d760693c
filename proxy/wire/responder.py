"""Writes one answer to a client, framed anew (RFC 9112 6). Knows no upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from proxy.messages import Headers
from proxy.wire.body import RequestBody, Source
from proxy.wire.copy import AnswerCopy

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Downstream(Protocol):
    """The connection that the answer goes to."""

    @property
    def draining(self) -> bool: ...
    @property
    def write_paused(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    def writelines(self, data: tuple[bytes, ...]) -> None: ...
    def cut(self) -> None: ...
    def hand_over(self) -> tuple[asyncio.Transport | None, bytes]: ...
    def given_away_lost(self, exc: Exception | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Switched:
    """A connection after a switch of protocols. `early` was read behind the head; `stalled`: its transport has said
    `pause_writing`; `lost` is told of the end."""

    transport: asyncio.Transport
    early: bytes
    stalled: bool
    lost: Callable[[Exception | None], None]


class Responder:
    """Writes one answer. After `start` nothing else can become the answer; `cut` makes a broken one visible. `copy`,
    where there is one, gets what the client gets."""

    __slots__ = (
        "_body",
        "_chunked",
        "_edge",
        "_head_only",
        "_http10",
        "bytes_out",
        "close",
        "copy",
        "source",
        "started",
        "status",
        "until_close",
    )

    def __init__(
        self, edge: Downstream, body: RequestBody | None, *, head_only: bool, http10: bool, close: bool
    ) -> None:
        self._edge = edge
        self._body = body
        self._head_only = head_only
        self._http10 = http10
        self._chunked = False
        self.close = close
        self.copy: AnswerCopy | None = None
        self.source: Source | None = None
        self.started = False
        self.until_close = False  # the end of the connection is the end of the body
        self.status = 0
        self.bytes_out = 0

    def start(
        self, status: int, reason: bytes, headers: Headers, length: int | None, body: bytes = b"", *, last: bool = False
    ) -> None:
        """Send the head, framed anew, with the first body bytes. `length` None: chunks for HTTP/1.1, until close for
        1.0. `last`: `body` is all of it."""
        self.started = True
        self.status = status
        edge, copy = self._edge, self.copy
        if copy is not None:
            copy.start(status, headers)
        if edge.draining or (last and self._body is not None and not self._body.ended):
            self.close = True  # RFC 9112 9.3: read the whole body or close
        bodyless = self._head_only or status in (204, 304)
        parts = [b"HTTP/1.1 %d %b\r\n" % (status, reason)]
        parts += [b"%b: %b\r\n" % line for line in headers]
        if length is not None:
            if status != 204:  # RFC 9110 8.6
                parts.append(b"Content-Length: %d\r\n" % length)
        elif not bodyless:
            if self._http10:
                self.close = self.until_close = True
            else:
                self._chunked = True
                parts.append(b"Transfer-Encoding: chunked\r\n")
        if self.close:
            parts.append(b"Connection: close\r\n\r\n")
        elif self._http10:
            parts.append(b"Connection: keep-alive\r\n\r\n")
        else:
            parts.append(b"\r\n")
        if body and not bodyless:
            self.bytes_out += len(body)
            if copy is not None:
                copy.feed(body)
            if self._chunked:
                parts.append(b"%x\r\n" % len(body))
                parts.append(body)
                parts.append(b"\r\n0\r\n\r\n" if last else b"\r\n")
            else:
                parts.append(body)
        elif last and self._chunked:
            parts.append(b"0\r\n\r\n")
        edge.write(b"".join(parts))

    def interim(self, status: int, reason: bytes, headers: Headers) -> bool:
        """Relay a 1xx answer (RFC 9110 15.2), never to HTTP/1.0. False where it cannot go out any more."""
        if self.started or self._http10:
            return False
        lines = b"".join([b"%b: %b\r\n" % line for line in headers])
        self._edge.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines))
        return True

    def switch(self, reason: bytes, headers: Headers, protocol: bytes) -> Switched | None:
        """Send 101 and give the connection away (RFC 9110 15.2.2). None where the client has gone."""
        self.started = True
        self.close = True
        self.status = 101
        lines = b"".join([b"%b: %b\r\n" % line for line in headers])
        self._edge.write(b"HTTP/1.1 101 %b\r\n%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (reason, lines, protocol))
        transport, early = self._edge.hand_over()
        if transport is None:
            return None
        return Switched(transport, early, self._edge.write_paused, self._edge.given_away_lost)

    @property
    def paused(self) -> bool:
        return self._edge.write_paused

    def write(self, data: bytes) -> None:
        self.bytes_out += len(data)
        if self.copy is not None:
            self.copy.feed(data)
        if self._chunked:
            self._edge.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            self._edge.write(data)

    def end(self, trailers: Headers) -> None:
        """The body given to `write` is complete. `trailers` are for a client that takes them."""
        if self._chunked:
            self._edge.write(b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % line for line in trailers]))

    def cut(self) -> None:
        """Close without a clean end, so that the client sees a truncated message (RFC 9112 8)."""
        self._edge.cut()
