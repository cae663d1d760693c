"""One connection to an endpoint of an upstream. Knows HTTP/1.1, no seam and no policy.

A connection carries one exchange at a time: `begin` writes the request head, a RequestBody pours its bytes into
`write_body`/`end_body`, `response` waits for the final head, `relay` pours the answer into a sink. A connection goes
back to the pool only when both messages ended cleanly; anything doubtful closes it, so that bytes after a response
can never answer another request (RFC 9112 6.3).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import ssl
from typing import Protocol, cast

import httptools

from proxy.errors import (
    ProxyError,
    ResponseStalled,
    ResponseTimeout,
    UpstreamProtocol,
    UpstreamReset,
)
from proxy.messages import Headers, ResponseHead
from proxy.wire.body import HIGH_WATER, Source, Upload
from proxy.wire.headers import Shape, Shapes, connection_tokens, trailer_lines
from proxy.wire.responder import Switched
from proxy.wire.secured import UNTIMED_S, SecuredTransport
from proxy.wire.timer import TimerWheel

_MAX_HEAD_BYTES = 256 * 1024
_MAX_HEADERS = 1000
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# llhttp has found the head well-formed (no bare CR or LF, a colon in each line), so this takes its fields in one call,
# where a callback a header costs 0.4 µs each. One excluded byte in place of three makes it a third faster.
_FIELD = re.compile(rb"\r\n([^:]++):[ \t]*+([^\r]*+)")
_MAX_INTERIM = 20  # 1xx answers before the final one
_CONTINUE_S = 1.0  # how long an upstream may leave `Expect: 100-continue` unanswered: old ones never answer it


def _stripped(name: bytes, value: bytes) -> bytes:
    """llhttp takes `chunked` before spaces, not before a tab, for the chunked coding: neither do we, so that both read
    one framing."""
    return value.rstrip(b" " if name.lower() == b"transfer-encoding" else b" \t")


def _passing(headers: Headers, shape: Shape) -> tuple[Headers, bool]:
    """The lines that go on, and whether a Date is among them."""
    lines, dated = list(shape.keep(headers)), shape.dated
    for position in shape.connections:
        named = connection_tokens(headers[position][1])
        if named:
            lines = [line for line in lines if line[0].lower() not in named]
            dated = dated and b"date" not in named
    return lines, dated


class Pool(Protocol):
    """Where the connection came from and may go back to."""

    wheel: TimerWheel
    body_s: float
    keepalive_s: float
    shapes: Shapes

    def put(self, connection: UpstreamConnection) -> None: ...
    def forget(self, connection: UpstreamConnection) -> None: ...


class ResponseSink(Protocol):
    """Where `relay` pours a response body. `source` is told when to pause and to resume."""

    source: Source | None

    @property
    def paused(self) -> bool: ...
    def write(self, data: bytes) -> None: ...


class Interim(Protocol):
    """Who hears of 1xx answers before the final one."""

    def interim(self, status: int, reason: bytes, headers: Headers) -> bool: ...


class _TrailerReader:
    """What the parser calls where trailers are wanted: the connection itself, with an ear for header lines. A callback
    a header costs 0.4 µs each, so only answers to clients that take trailers pay for it."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self.on_message_begin = connection.on_message_begin
        self.on_status = connection.on_status
        self.on_header = connection.hear_field
        self.on_headers_complete = connection.on_headers_complete
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete


class UpstreamConnection(asyncio.Protocol):
    """One TCP connection to an endpoint."""

    __slots__ = (
        "_accept",
        "_body_open",
        "_chunked_out",
        "_chunks",
        "_complete",
        "_error",
        "_exchange",
        "_framing_fed",
        "_has_body",
        "_head",
        "_head_only",
        "_heard",
        "_interim",
        "_keep",
        "_loop",
        "_named",
        "_parser",
        "_paused",
        "_pool",
        "_raw",
        "_reason",
        "_sink",
        "_stall_s",
        "_stalled",
        "_trailers",
        "_transport",
        "_unsent",
        "_until_close",
        "_upgrade",
        "_upload",
        "_waiter",
        "_withheld",
        "answered",
        "deadline",
        "filed",
        "idle_since",
        "keepalive_s",
        "reused",
    )

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._upload: Upload | None = None
        self._heard: Interim | None = None
        self._exchange = False
        self._stalled = False  # the transport has said `pause_writing`
        self.reused = False
        self.keepalive_s = pool.keepalive_s
        self.idle_since = 0.0
        self.deadline: float | None = None
        self.filed: float | None = None
        self._reset()

    def _reset(self) -> None:
        self._head: ResponseHead | None = None
        self._raw = b""  # what was read of the head
        self._reason = b""
        self._chunks: list[bytes] = []
        self._sink: ResponseSink | None = None
        self._error: ProxyError | None = None
        self._complete = False  # the response message has ended
        self._has_body = False
        self._body_open = False  # our request body has not ended
        self._chunked_out = False
        self._head_only = False
        self._until_close = False
        self._keep = True
        self._interim = 0
        self._trailers: Headers | None = None  # None: not wanted
        self._named: Headers = []  # the head, where trailers are wanted: its Connection holds for them too
        self._framing_fed = 0  # since the last byte of the body
        self._withheld = False  # the client holds its body back until the upstream, or time, says go on
        self._upgrade = b""
        self._accept: bytes | None = None
        self._paused = False
        self._stall_s = 0.0
        self._unsent = 0
        self.answered = False  # any byte of an answer came

    # --- the exchange, called by the forwarding task -------------------------------------------------------------

    def begin(self, head: bytes, *, head_only: bool, body: bool, chunked: bool, heard: Interim | None = None) -> None:
        """Start an exchange. `body`: `write_body`/`end_body` follow; `chunked`: their bytes are framed as chunks.
        `heard` is told of interim answers."""
        if self.reused:
            self._reset()
        self._exchange = True
        self._heard = heard
        self._head_only = head_only
        self._has_body = self._body_open = body
        self._chunked_out = chunked
        if self._transport is None or self._transport.is_closing():  # reset between accept and now
            self._fail(UpstreamReset())
            return
        self._transport.write(head)

    def expect_trailers(self) -> None:
        """Keep the trailers of the answer. Call right after `begin`, as `expect_upgrade`."""
        self._trailers = []
        self._parser = httptools.HttpResponseParser(_TrailerReader(self))

    def expect_upgrade(self, protocol: bytes, accept: bytes | None) -> None:
        """A 101 may answer: one that names `protocol` and, for WebSocket, has `accept` (RFC 6455 4.1)."""
        self._upgrade, self._accept = protocol, accept

    async def response(self, timeout_s: float) -> ResponseHead:
        """The final response head. The timer runs from the last request byte; while the body is still going out
        only progress counts (the edge's own body timer watches the client)."""
        self._stall_s = timeout_s
        if self._head is None and self._error is None:
            if not self._body_open:
                self._pool.wheel.arm(self, self._loop.time() + timeout_s)
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self.deadline = None
        if self._error is not None and not (self._head is not None and self._head.status >= 400 and self._body_open):
            raise self._error  # a refusal cut short on its way past our body still tells the client why
        assert self._head is not None
        return self._head

    def take_buffered(self) -> tuple[bytes, bool]:
        """Body bytes that came with the head, and whether they are the whole body."""
        chunks, self._chunks = self._chunks, []
        return (chunks[0] if len(chunks) == 1 else b"".join(chunks)), self._complete

    @property
    def trailers(self) -> Headers:
        """Of an answer that has ended: its trailer lines that may go on, where they were asked for."""
        return trailer_lines(self._trailers, self._named) if self._trailers else []

    def hand_over(self) -> Switched:
        """Give the connection away after a 101; `early` was read behind that head. Raises UpstreamReset."""
        if self._transport is None or self._transport.is_closing():
            raise UpstreamReset
        return Switched(self._transport, b"".join(self._chunks), self._stalled, self.connection_lost)

    async def relay(self, sink: ResponseSink, stall_s: float) -> None:
        """Pour the rest of the body into `sink`. Raises when the body ends before its time."""
        self._stall_s = stall_s
        self._sink = sink
        sink.source = self
        if sink.paused:  # what was written before `source` was set has filled the client's buffer already
            self.pause()
        try:
            self._flush()
            if not self._complete and self._error is None:
                if not self._paused:
                    self._resume_reading()
                self._waiter = self._loop.create_future()
                await self._waiter
            if self._error is not None:
                raise self._error
        finally:
            self._waiter = None
            self.deadline = None
            sink.source = None
            self._sink = None

    def finish(self) -> None:
        """Give the connection back: to the pool when both messages ended cleanly, else to nobody."""
        self._exchange = False
        self.deadline = None
        self._upload = None
        transport = self._transport
        if self._trailers is not None:
            self._parser = httptools.HttpResponseParser(self)
        if (
            not self._complete
            or self._body_open
            or self._error is not None
            or transport is None
            or transport.is_closing()
            or (self._has_body and transport.get_write_buffer_size())
        ):
            self.abort()
        elif self._keep:
            self._pool.put(self)
        else:
            self.close()

    def close(self) -> None:
        """Leave a connection that owes nothing, over TLS with a goodbye (RFC 9112 9.8)."""
        if self._transport is None or self._transport.get_write_buffer_size():
            self.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def stale(self) -> bool:
        """Whether the peer has closed an idle connection, or spoken on it: asked of the kernel for 2 µs, since the loop
        may not have heard of it yet."""
        assert self._transport is not None
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)
        return bool(poll.poll(0))

    @property
    def closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    @property
    def busy(self) -> bool:
        return self._exchange

    # --- request body sink -----------------------------------------------------------------------------------------

    def open_body(self, upload: Upload) -> None:
        self._upload = upload
        if upload.withheld:
            self._withheld = True
            self._pool.wheel.arm(self, self._loop.time() + _CONTINUE_S)

    def write_body(self, data: bytes) -> None:
        if self._transport is None or self._error is not None:
            return
        self._withheld = False
        if self._chunked_out:
            self._transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            self._transport.write(data)

    def end_body(self, trailers: Headers) -> None:
        if self._transport is None or self._error is not None:
            return
        self._body_open = False
        self._upload = None
        if self._chunked_out:
            self._transport.write(b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % line for line in trailers]))
        if self._waiter is not None and not self._paused:
            self._pool.wheel.arm(self, self._loop.time() + self._stall_s)

    def abort_body(self, error: ProxyError) -> None:
        """The client's body will never be complete: close without a last chunk, so that it cannot look complete."""
        self._fail(error)
        self.abort()

    # --- flow control ------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        self._paused = True
        self.deadline = None  # the client is slow, not the upstream
        if not self.closing and not self._complete:  # a complete one goes to the pool, which must hear its end
            assert self._transport is not None
            self._transport.pause_reading()

    def resume(self) -> None:
        self._paused = False
        self._resume_reading()

    def _resume_reading(self) -> None:
        if self.closing or self._complete:
            return
        assert self._transport is not None
        self._transport.resume_reading()
        if self._sink is not None:
            self._pool.wheel.arm(self, self._loop.time() + self._stall_s)

    def pause_writing(self) -> None:
        self._stalled = True
        if self._upload is not None:
            self._upload.pause()
            assert self._transport is not None
            self._unsent = self._transport.get_write_buffer_size()
            self._pool.wheel.arm(self, self._loop.time() + self._pool.body_s)

    def resume_writing(self) -> None:
        self._stalled = False
        self._unsent = 0
        if self._body_open:
            self.deadline = None
            if self._sink is not None and not self._paused:
                self._pool.wheel.arm(self, self._loop.time() + self._stall_s)
        if self._upload is not None:
            self._upload.resume()

    # --- timer -------------------------------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        self.deadline = None
        if not self._exchange or self._transport is None:
            return
        if self._withheld:
            self._proceed()
        if self._body_open and not (self._upload is not None and self._upload.withheld):
            # An upstream that still takes bytes is not cut, nor one that waits for the client (the edge times that; a
            # client that keeps its body back after a final head is timed by nobody else).
            unsent = self._transport.get_write_buffer_size()
            if not self._unsent or unsent < self._unsent:
                self._unsent = unsent if self._unsent else 0
                self._pool.wheel.arm(self, now + self._pool.body_s)
                return
        self._fail(ResponseTimeout() if self._head is None else ResponseStalled())
        self.abort()

    # --- asyncio.Protocol --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's own class is none by inheritance
        transport.set_write_buffer_limits(high=HIGH_WATER)

    async def secure(self, context: ssl.SSLContext, server_name: str) -> None:
        """Speak TLS from now on. `server_name`, a name or an IP address, must stand in the peer's certificate. Raises
        OSError (ssl.SSLError is one)."""
        raw = self._transport
        if raw is None or raw.is_closing():  # it spoke first, or was reset
            raise ConnectionResetError
        try:
            tls = await self._loop.start_tls(
                raw,
                self,
                context,
                server_hostname=server_name,
                ssl_handshake_timeout=UNTIMED_S,
                ssl_shutdown_timeout=UNTIMED_S,
            )
        except BaseException:
            raw.abort()
            raise
        if tls is None or raw.is_closing():
            raise ConnectionResetError
        self._transport = SecuredTransport(raw, tls)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        if not self._exchange or self._complete:
            self._keep = False  # bytes that nobody asked for
            self.abort()
            return
        self.answered = True
        if self._head is None:
            self._raw = self._raw + data if self._raw else data.lstrip(b"\r\n")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._head is not None and self._head.status == 101:
                self._chunks.append(data[upgrade.args[0] :])
            else:
                self._fail(UpstreamProtocol("The upstream switched protocols unasked."))
        except httptools.HttpParserError as error:
            self._keep = False
            if not self._complete:
                ours = error.__context__
                self._fail(ours if isinstance(ours, ProxyError) else UpstreamProtocol())
        if self._head is None and len(self._raw) > _MAX_HEAD_BYTES:
            self._fail(UpstreamProtocol("The upstream's response head is too large."))
        elif not self._complete and self._head is not None:
            self._framing_fed = 0 if self._chunks else self._framing_fed + len(data)
            if self._framing_fed > _MAX_HEAD_BYTES:
                self._fail(UpstreamProtocol("The upstream's trailers or chunk extensions are too large."))
        if self._error is not None or self._complete:
            self.deadline = None
        self._flush()

    def _flush(self) -> None:
        """Hand on what was parsed from one read; without a sink hold this one read and stop reading."""
        if self._sink is None:
            if self._head is not None and not self._complete and not self.closing:
                assert self._transport is not None
                self._transport.pause_reading()
            return
        if self._chunks:
            chunks, self._chunks = self._chunks, []
            if not self._complete:
                self._pool.wheel.arm(self, self._loop.time() + self._stall_s)
            self._sink.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if self._complete:
            self._wake()

    def eof_received(self) -> bool:
        """The upstream has closed: over TLS with close_notify, without one there is only `connection_lost`, so that a
        body which lasts until close cannot be cut short unseen (RFC 9112 9.8)."""
        if self._exchange and not self._complete and self._error is None:
            if self._until_close and self._head is not None:
                self._complete = True
                self._flush()
                self._wake()
            else:
                self._fail(UpstreamReset())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self._has_body and self._head is None and self._error is None:
            self._rescue()
        self._pool.forget(self)
        self._keep = False
        if self._exchange and not self._complete and self._error is None:
            self._fail(UpstreamReset())
        self._transport = None
        self._pool.wheel.drop(self)

    def _rescue(self) -> None:
        """An upstream that has said its last word while our body was still on its way (a 413, say) closes, and our
        next write fails, the one that ends the body too. uvloop ends the transport on that and would drop the answer
        that the kernel still holds; here its descriptor is still open."""
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        if sock is None or self._transport.get_extra_info("sslcontext"):
            return
        with contextlib.suppress(OSError):
            while self._error is None and (data := os.read(sock.fileno(), HIGH_WATER)):
                self.data_received(data)
            self.eof_received()

    def _fail(self, error: ProxyError) -> None:
        if self._error is None:
            self._error = error
        self._keep = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self.deadline = None  # here, since the wheel may turn before who waits goes on
            self._waiter.set_result(None)

    # --- httptools callbacks -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            raise UpstreamProtocol("Bytes follow the response.")

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_headers_complete(self) -> None:
        status, raw = self._parser.get_status_code(), self._raw
        # llhttp also takes RTSP, ICE, and HTTP of other versions.
        if status < 100 or not raw.startswith(b"HTTP/1.") or (self._reason != b"OK" and _CONTROL.search(self._reason)):
            raise UpstreamProtocol("The upstream sent an invalid status line.")
        end = raw.find(b"\r\n\r\n")
        headers: Headers = _FIELD.findall(raw, 0, end)
        self._raw = b""
        if end > _MAX_HEAD_BYTES or len(headers) > _MAX_HEADERS:
            raise UpstreamProtocol("The upstream's response head is too large.")
        if raw.find(b" \r\n", 0, end + 2) >= 0 or raw.find(b"\t\r\n", 0, end + 2) >= 0:  # not through the body as well
            headers = [(name, _stripped(name, value)) for name, value in headers]  # RFC 9112 5.1
        if status < 200:
            self._take_interim(status, headers, raw[end + 4 :])
            return
        self._withheld = False  # whatever it says now is no leave to go on
        if self._trailers:
            self._trailers = []  # its own lines were heard as well
            self._named = headers
        self._head = self._read_head(status, headers)
        if self._head_only or status in (204, 304):
            self._finish_bodyless()
        if self._sink is None:
            self._wake()

    def _take_interim(self, status: int, headers: Headers, rest: bytes) -> None:
        """Relay it, as RFC 9110 15.2 asks, but a 100 only to a client that waits for one, once."""
        if status == 101:
            self._switch(headers)
            return
        self._interim += 1
        if self._interim > _MAX_INTERIM:
            raise UpstreamProtocol("The upstream sent too many interim responses.")
        if status == 100:
            self._proceed()
        elif self._heard is not None:
            self._heard.interim(status, self._reason, _passing(headers, self._shape(headers))[0])
        self._raw = rest.lstrip(b"\r\n")  # as before the first answer: llhttp skips them too
        self._reason = b""

    def _proceed(self) -> None:
        self._withheld = False
        if self._upload is not None:
            self._upload.proceed()

    def _switch(self, headers: Headers) -> None:
        """101: only as it was asked for."""
        fields: dict[bytes, bytes] = {}
        for name, value in headers:
            low = name.lower()
            fields[low] = fields[low] + b", " + value if low in fields else value
        if (
            not self._upgrade
            or fields.get(b"upgrade", b"").lower() != self._upgrade
            or b"upgrade" not in connection_tokens(fields.get(b"connection", b""))
            or (self._accept is not None and self._accept != (fields.get(b"sec-websocket-accept") or None))
        ):
            raise UpstreamProtocol("The upstream switched protocols, but not as it was asked to.")
        self._head = self._read_head(101, headers)
        self._keep = False
        assert self._transport is not None
        self._transport.pause_reading()  # what follows belongs to whoever takes the connection over
        self._wake()

    def _read_head(self, status: int, headers: Headers) -> ResponseHead:
        shape = self._shape(headers)
        lines, dated = _passing(headers, shape)
        length: int | None = None
        if shape.length >= 0:
            length = int(headers[shape.length][1])  # llhttp has checked digits, range and uniqueness
        elif shape.coding < 0:
            self._until_close = True
        elif headers[shape.coding][1].lower() != b"chunked" or self._parser.get_http_version() != "1.1":
            raise UpstreamProtocol("The upstream used an unknown transfer coding.")  # in 1.0 all are (RFC 9112 6.1)
        if shape.keepalive >= 0:
            self._note_keepalive(headers[shape.keepalive][1])
        self._keep = self._parser.should_keep_alive()
        return ResponseHead(status, self._reason, lines, length, dated, shape.located)

    def _shape(self, headers: Headers) -> Shape:
        return self._pool.shapes[tuple([name for name, _ in headers])]

    def _note_keepalive(self, value: bytes) -> None:
        """`Keep-Alive: timeout=N`: leave a second before the upstream does (RFC 2068 19.7.1.1, still in wide use)."""
        for part in value.split(b","):
            key, _, seconds = part.strip().partition(b"=")
            if key.lower() == b"timeout" and seconds.isdigit():
                self.keepalive_s = max(0.0, min(float(seconds[:9]) - 1.0, 600.0))

    def _finish_bodyless(self) -> None:
        """HEAD: llhttp does not know that no body follows, so its state is thrown away with the parser."""
        self._complete = True
        if self._head_only:
            self._parser = httptools.HttpResponseParser(self)

    def hear_field(self, name: bytes, value: bytes) -> None:
        """For trailers, see `_TrailerReader`: lines of the head are heard too, and forgotten at its end."""
        assert self._trailers is not None
        self._trailers.append((name, value.strip(b" \t")))
        if len(self._trailers) > _MAX_HEADERS:
            raise UpstreamProtocol("The upstream's trailers are too many.")

    def on_body(self, data: bytes) -> None:
        if self._head_only or self._head is None:
            raise UpstreamProtocol("A response to HEAD, or an interim one, had a body.")
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        if self._head is not None:
            self._complete = True
