"""The server side of the wire: a uvicorn protocol class that turns bytes into requests and answers into bytes.

Knows HTTP/1.1, no seam: each request is given to `Edge.handler`, one at a time; pipelined ones wait in order. llhttp
parses; what it leaves to its caller is checked in `head.py` (exactly one valid Host, the version, the target, head
size, transfer coding), because an ASGI app sees a request too late.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import socket
import ssl
import struct
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol, cast

import httptools
import uvicorn
from uvicorn.server import ServerState

from proxy.config.model import Limits, ServerTimeouts
from proxy.errors import (
    BadRequest,
    BodyCut,
    BodyTimeout,
    ClientGone,
    HeadTimeout,
    HeadTooLarge,
    Overloaded,
    ProxyError,
    TargetTooLong,
    UnknownMethod,
)
from proxy.messages import Headers, RequestHead
from proxy.wire.body import HIGH_WATER, RequestBody
from proxy.wire.head import read_head
from proxy.wire.headers import trailer_lines
from proxy.wire.responder import CONTINUE, Responder
from proxy.wire.timer import TimerWheel

_METHOD_TOKEN = re.compile(rb"\s*[!#$%&'*+\-.^_`|~0-9A-Za-z]+ ")

_MAX_WAITING = 16  # pipelined requests that are parsed ahead
_SLICE = 4096  # parsed at a time between messages, so that one read cannot become thousands of waiting requests
_LINGER_BYTES = 256 * 1024
_LINGER_S = 2.0
_BODY_SPAN_BYTES = 1024
_HALF_CLOSED_SPAN_S = 0.5
_LOOK_S = 0.5


class Handler(Protocol):
    """The gateway as the edge sees it."""

    async def handle(self, request: RequestHead, body: RequestBody, responder: Responder) -> None:
        """Answer one request. Raises nothing but CancelledError, which means that the client has gone."""

    def reject(self, error: ProxyError, peer: str, responder: Responder) -> None:
        """Answer what never became a request."""


class Edge:
    """What all connections of one listener share. `limits`, `timeouts` and `tls` are replaced whole by a reload.

    `idle` keeps the connections that wait for a request, longest idle first; `deserted` is set while there are none.
    With `tls`, which is there from the start or never, the connections are of `SecureEdgeProtocol`, which counts
    `handshakes_failed`.
    """

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        timeouts: ServerTimeouts,
        wheel: TimerWheel,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.timeouts = timeouts
        self.wheel = wheel
        self.tls = tls
        self.handshakes_failed = 0
        self.draining = False
        self.leaving = False  # a connection without a request is let go
        self.connections: set[EdgeProtocol] = set()
        self.idle: dict[EdgeProtocol, None] = {}
        self.deserted = asyncio.Event()
        self.deserted.set()

    def admit(self, connection: EdgeProtocol) -> bool:
        """Count a new connection. At the limit the longest idle one makes room; False when all are active."""
        if len(self.connections) >= self.limits.max_connections:
            longest_idle = next(iter(self.idle), None)
            if longest_idle is None:
                return False
            longest_idle.close()
        self.connections.add(connection)
        self.deserted.clear()
        return True

    def forget(self, connection: EdgeProtocol) -> None:
        self.idle.pop(connection, None)
        self.connections.discard(connection)
        if not self.connections:
            self.deserted.set()

    def close_idle(self) -> None:
        self.leaving = True
        for connection in list(self.idle):
            connection.close()


@dataclass(slots=True)
class _Turn:
    request: RequestHead
    body: RequestBody
    close: bool


class EdgeProtocol(asyncio.Protocol):
    """One client connection. Built by uvicorn's Server as `(config, server_state, app_state, _loop)`."""

    __slots__ = (
        "_answered_mark",
        "_asked",
        "_body",
        "_body_length",
        "_body_mark",
        "_busy",
        "_close_after",
        "_framing_fed",
        "_half_closed",
        "_head_due",
        "_head_fed",
        "_headers",
        "_held",
        "_in_head",
        "_lingered",
        "_lingering",
        "_loop",
        "_muted",
        "_no_body",
        "_parser",
        "_peer",
        "_reading",
        "_ready",
        "_reprime",
        "_responder",
        "_rest",
        "_scheme",
        "_server_state",
        "_stopped",
        "_task",
        "_trailer_bytes",
        "_trailers",
        "_transport",
        "_unsent",
        "_url",
        "_waiting",
        "_write_paused",
        "deadline",
        "filed",
        "shared",
    )

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.shared: Edge = config.loaded_app
        self._server_state = server_state
        self._loop = _loop or asyncio.get_event_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._no_body: RequestBody | None = None
        self._waiting: deque[_Turn | ProxyError] = deque()
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._busy = False  # a turn is being answered, or waits
        self._responder: Responder | None = None
        self._body: RequestBody | None = None  # of the message that is being parsed
        self._body_mark = 0
        self._body_length = 0
        self._held = False  # what follows an Upgrade request is HTTP only if the protocol is not switched
        self._rest = b""  # read but not parsed yet
        self._reading = True
        self._stopped = False  # nothing more is parsed
        self._lingering = False
        self._lingered = 0
        self._close_after = False  # the message that is being parsed is the last one
        self._in_head = False
        self._head_due: float | None = None
        self._head_fed = 0
        self._muted = False
        self._reprime: bytes | None = None
        self._framing_fed = 0  # since the last byte of a body
        self._trailer_bytes = 0
        self._trailers: Headers = []
        self._url = b""
        self._headers: Headers = []
        self._peer = ""
        self._scheme = "http"
        self._write_paused = False
        self._unsent = 0
        self._half_closed = False
        self._answered_mark = 0
        self._asked = 0
        self.deadline: float | None = None
        self.filed: float | None = None

    # --- asyncio.Protocol --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's own class is none by inheritance
        transport.set_write_buffer_limits(high=HIGH_WATER)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else "unix"
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # typed for uvicorn's own protocols
        if self.shared.admit(self):
            self.shared.idle[self] = None
            self._arm(self.shared.timeouts.head_s)
        else:
            self._turn_away()

    def _turn_away(self) -> None:
        self._reject(Overloaded())

    def data_received(self, data: bytes) -> None:
        if self._stopped:
            self._discard(len(data))
            return
        if len(data) <= _SLICE and not self._rest and len(self._waiting) < _MAX_WAITING and not self._held:
            self._feed(data)  # nearly always: the loop of `_parse` costs as much again
        else:
            self._rest = self._rest + data if self._rest else data
        if self._held:
            self._set_reading(len(self._rest) <= HIGH_WATER)
        elif self._rest:
            self._parse()

    def eof_received(self) -> bool:
        if self._body is not None:
            self._body.fail(BodyCut())
        if self._scheme == "https" or self._lingering:  # uvloop's TLS ends both directions at once
            return False
        # A client may close its direction only and still read the answers that it is owed (RFC 9112 9.6).
        self._stopped = True
        if not self._busy:
            return False
        self._half_closed = True
        self._answered_mark = self._responder.bytes_out if self._responder is not None else 0
        self._watch()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._stopped = True
        self.shared.forget(self)
        self._server_state.connections.discard(self)
        self._waiting.clear()
        self._rest = b""
        if self._body is not None:
            self._body.fail(ClientGone())
        if self._task is not None:
            self._task.cancel()
        self._parser = None  # breaks the reference cycle with its callbacks
        self.shared.wheel.drop(self)

    def pause_writing(self) -> None:
        self._write_paused = True
        assert self._transport is not None
        self._unsent = self._transport.get_write_buffer_size()
        self._arm(self.shared.timeouts.write_s)
        if self._responder is not None and self._responder.source is not None:
            self._responder.source.pause()

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._lingering:
            self._linger()
            return
        self.deadline = None
        if self._busy:  # a turn may wait for this
            self._wake()
        if self in self.shared.idle:
            self._arm(self.shared.timeouts.keepalive_s)
        self._watch()
        if self._responder is not None and self._responder.source is not None:
            self._responder.source.resume()

    # --- parsing -----------------------------------------------------------------------------------------------------

    def _parse(self) -> None:
        """Feed what was read: a slice at a time between messages, whole inside a body."""
        while self._rest and not self._stopped and not self._held:
            if len(self._waiting) >= _MAX_WAITING:
                self._set_reading(False)
                self._head_due = None  # fig is what it waits for, not the client
                self._disarm()
                return
            size = _SLICE if self._body is None else max(_SLICE, self._body_length - self._body.received)
            if len(self._rest) <= size:
                data, self._rest = self._rest, b""
            else:
                data, self._rest = self._rest[:size], self._rest[size:]
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        body, received = self._body, 0
        if body is None:
            self._head_fed += len(data)
        else:
            received = body.received
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            a_token = self._head_fed > len(data) or _METHOD_TOKEN.match(data)
            self._reject(UnknownMethod() if a_token else BadRequest("The method is not a token."))
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._reject(cause if isinstance(cause, ProxyError) else BadRequest())
        except httptools.HttpParserError as error:
            self._reject(BadRequest(f"{error}."))
        if self._in_head and self._head_fed > self.shared.limits.max_head_bytes:
            self._reject(TargetTooLong() if len(self._url) * 2 > self._head_fed else HeadTooLarge())
        if body is not None and self._body is body:
            self._bound_framing(len(data), moved=body.received > received)
        if self._in_head or self._body is not None:
            self._watch()

    def _bound_framing(self, fed: int, *, moved: bool) -> None:
        """httptools gathers a trailer line however long and copies it with each read: a flood of one stops the loop."""
        self._framing_fed = 0 if moved else self._framing_fed + fed
        if self._framing_fed > self.shared.limits.max_head_bytes:
            self._reject(HeadTooLarge("The trailers or the chunk extensions are too large."))

    def _pass_upgrade(self, rest: bytes) -> None:
        """llhttp ends an Upgrade request at its head. What follows waits where the protocol may be switched; else it
        goes on as HTTP/1.1 (RFC 9110 7.8), and where that is a body, a parser that has just read a head with the same
        framing takes over.
        """
        self._rest = rest + self._rest
        if self._reprime is None:
            return
        framing, self._reprime = self._reprime, None
        self._parser = httptools.HttpRequestParser(self)
        self._muted = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)

    def on_message_begin(self) -> None:
        if self._muted:
            return
        self._in_head = True
        self._url = b""
        self._headers = []
        self._trailer_bytes = 0

    def on_url(self, url: bytes) -> None:
        if not self._muted:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body is None:
            self._headers.append((name, value.strip(b" \t")))
        elif not self._muted:  # trailers never join the headers (RFC 9110 6.5.1)
            self._trailers.append((name, value.strip(b" \t")))
            self._trailer_bytes += len(name) + len(value) + 4
            if self._trailer_bytes > self.shared.limits.max_head_bytes:
                raise HeadTooLarge("The trailers are too large.")

    def on_headers_complete(self) -> None:
        if self._muted:
            self._muted = False
            return
        assert self._parser is not None
        request = read_head(
            self._parser.get_method().decode("ascii"),
            self._url,
            self._parser.get_http_version(),
            self._headers,
            self.shared.limits,
            fed=self._head_fed,
            peer=self._peer,
            scheme=self._scheme,
        )
        self._in_head = False
        self._head_due = None
        self._head_fed = 0
        if not self._write_paused:
            self.deadline = None
        self._close_after = not self._parser.should_keep_alive()
        body = self._no_body if request.length == 0 and self._no_body is not None else self._start_body(request)
        if b"upgrade" in request.fields and self._parser.should_upgrade():
            self._note_upgrade(request)
        self._enqueue(_Turn(request, body, self._close_after))

    def _note_upgrade(self, request: RequestHead) -> None:
        length = request.length
        if length != 0:
            self._reprime = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        elif not request.http10:  # RFC 9110 7.8: an Upgrade in HTTP/1.0 is ignored
            request.upgrade = request.fields[b"upgrade"].lower()
            self._held = request.upgrade != b""

    def on_body(self, data: bytes) -> None:
        body = self._body
        assert body is not None
        body.feed(data)

    def on_message_complete(self) -> None:
        if self._reprime is not None:
            return  # llhttp's early end of an Upgrade request: the body is still to come
        if self._body is not None:
            body, self._body = self._body, None
            if self._trailers:
                body.trailers = trailer_lines(self._trailers, self._headers)
            body.end()
            self._disarm()
            self._set_reading(True)
        if self._close_after and not self._held:  # RFC 9112 9.6: nothing after it is processed
            self._stopped = True
            self._rest = b""

    def _start_body(self, request: RequestHead) -> RequestBody:
        if request.length == 0:
            if self._no_body is None:
                self._no_body = RequestBody(self)
                self._no_body.ended = True
            return self._no_body
        self._body = body = RequestBody(self, self.shared.limits.max_body_bytes)
        self._body_length = request.length or 4 * _SLICE  # chunked: the end is not known
        self._body_mark = 0
        self._framing_fed = 0
        self._trailers = []
        body.withheld = request.expects_continue
        return body

    # --- one request after another -----------------------------------------------------------------------------------

    def _enqueue(self, turn: _Turn | ProxyError) -> None:
        self._waiting.append(turn)
        if self._task is None:
            self._task = self._loop.create_task(self._serve())
        else:
            self._wake()
        if not self._busy:
            self._busy = True
            self.shared.idle.pop(self, None)

    def _wake(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    async def _serve(self) -> None:
        """Answer one turn after another. One task a connection, from its first request on: one a request would cost
        2 µs more, since asyncio enters each task in a WeakSet."""
        while True:
            if not self._waiting:
                self._await_request()
                self._ready = self._loop.create_future()
                await self._ready
            while self._write_paused:  # a client that does not read its answers gets no more of them
                self._ready = self._loop.create_future()
                await self._ready
            if self._transport is None or self._transport.is_closing():
                return
            turn = self._waiting.popleft()
            if isinstance(turn, ProxyError):
                responder = Responder(self, None, head_only=False, http10=False, close=True)
                self.shared.handler.reject(turn, self._peer, responder)
                self._finish_and_close()
                return
            request, body = turn.request, turn.body
            responder = Responder(
                self, body, head_only=request.method == "HEAD", http10=request.http10, close=turn.close
            )
            self._responder = responder
            self._answered_mark = -1
            try:
                await self.shared.handler.handle(request, body, responder)
            finally:
                self._responder = None
                if not responder.started:
                    self.cut()
            if not body.ended:
                body.detach()
                self._stopped = True
            if request.upgrade:  # not that of a later one
                self._held = False
            if responder.close or (self._stopped and not self._waiting):
                self._finish_and_close()
                return
            if not self._reading:
                self._set_reading(True)
            if self._rest:
                self._parse()
            if self._half_closed or self._in_head or self._body is not None:
                self._watch()
            if self._waiting:
                await asyncio.sleep(0)  # pipelined requests that fig answers by itself never keep others waiting

    def _await_request(self) -> None:
        self._busy = False
        if not self._in_head and self._body is None:
            if self.shared.leaving:
                self._finish_and_close()
                return
            self.shared.idle[self] = None
            if not self._write_paused:
                self._arm(self.shared.timeouts.keepalive_s)

    def _reject(self, error: ProxyError) -> None:
        """Nothing more is parsed. The error answers the message that is being read, after all before it."""
        if self._stopped:
            return
        self._stopped = True
        self._in_head = False
        self._rest = b""
        self._disarm()
        if self._body is not None:
            self._body.fail(error)  # its request has been handed out: the handler answers
        else:
            self._enqueue(error)

    # --- writing -----------------------------------------------------------------------------------------------------

    @property
    def write_paused(self) -> bool:
        return self._write_paused

    @property
    def draining(self) -> bool:
        return self.shared.draining

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def writelines(self, data: tuple[bytes, ...]) -> None:
        if self._transport is not None:
            self._transport.writelines(data)

    def send_continue(self) -> None:
        """The client of the request that is being answered may send its body (RFC 9110 10.1.1)."""
        self.write(CONTINUE)
        self._watch()

    def hand_over(self) -> tuple[asyncio.Transport | None, bytes]:
        """Give the connection away after a switch of protocols: its transport and what was read beyond the request.

        The transport is None where the client has gone. The new owner tells `given_away_lost` when it is closed.
        """
        rest, self._rest = self._rest, b""
        self._stopped = True
        self.deadline = None
        self._parser = None
        return self._transport, rest

    def given_away_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.shared.forget(self)
        self._server_state.connections.discard(self)
        self.shared.wheel.drop(self)

    def cut(self) -> None:
        if self._transport is not None:
            self._stopped = True
            self._waiting.clear()
            if self._responder is not None and self._responder.until_close:  # only a reset shows that bytes are missing
                with (
                    contextlib.suppress(OSError),  # it has just been closed
                    socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as sock,
                ):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._stopped = True
            self.shared.idle.pop(self, None)
            self._close()

    def _close(self) -> None:
        """uvloop waits without end for the unsent bytes of a closed transport: `write_s` bounds that."""
        assert self._transport is not None
        self._unsent = self._transport.get_write_buffer_size()
        if self._unsent:
            self._write_paused = True
            self._arm(self.shared.timeouts.write_s)
        self._transport.close()

    def shutdown(self) -> None:
        """uvicorn's call at the end of its life: idle connections close, active ones after their answer."""
        if self in self.shared.idle:
            self.close()

    def _finish_and_close(self) -> None:
        """Close so that the answer survives: with bytes still arriving, a plain close would reset it away
        (RFC 9112 9.6), so only our direction is closed and the rest is read off for a while."""
        self._stopped = True
        self._waiting.clear()
        if self._transport is None or self._transport.is_closing():
            return
        unread = self._body is not None or self._rest
        self._rest = b""
        if not (unread or not self._reading):
            self._close()
            return
        self._lingering = True
        self._set_reading(True)
        self._transport.write_eof()
        self._linger()

    def _linger(self) -> None:
        """The client has its answer to take first, in `write_s` a part of it at least."""
        assert self._transport is not None
        self._unsent = self._transport.get_write_buffer_size()
        self._arm(self.shared.timeouts.write_s if self._unsent else _LINGER_S)

    def _discard(self, count: int) -> None:
        self._lingered += count
        if self._lingering and self._lingered > _LINGER_BYTES and self._transport is not None:
            self._transport.abort()

    # --- flow control and timer --------------------------------------------------------------------------------------

    def pause_body(self) -> None:
        self._set_reading(False)
        if not self._write_paused:
            self._arm(_LOOK_S)  # the client owes nothing now, but it may leave

    def resume_body(self) -> None:
        self._disarm()
        self._set_reading(True)
        self._watch()

    def _set_reading(self, reading: bool) -> None:
        if reading != self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _arm(self, timeout_s: float) -> None:
        self.shared.wheel.arm(self, self._loop.time() + timeout_s)

    def _disarm(self) -> None:
        """Forget what the client owes; while a write is stalled the timer is that one's."""
        if not self._write_paused:
            self.deadline = None

    def _watch(self) -> None:
        """Start the timer of what the client owes: the rest of a head, absolute; or body bytes, by span."""
        if self._write_paused or self._transport is None:
            return
        if self._half_closed:
            started = self._responder is not None and self._responder.started
            self._arm(_HALF_CLOSED_SPAN_S if started else _HALF_CLOSED_SPAN_S / 2)
        if self._stopped:
            return
        if self._in_head:
            if self._head_due is None:
                self._head_due = self._loop.time() + self.shared.timeouts.head_s
                self.shared.idle.pop(self, None)
            self.shared.wheel.arm(self, self._head_due)
        elif self._body is not None and self._reading and self.deadline is None and not self._body.withheld:
            self._body_mark = self._body.received
            self._arm(self.shared.timeouts.body_s)

    def expire(self, now: float) -> None:
        self.deadline = None
        if self._transport is None:
            return
        if self._lingering:
            if self._transport.get_write_buffer_size() < self._unsent:
                self._linger()
            else:
                self._transport.abort()
        elif self._write_paused:
            self._expire_write()
        elif self._half_closed:
            self._expire_half_closed()
        elif self._body is not None and self._reading:
            self._expire_body(self._body)
        elif self._body is not None:
            self._look_for_reset()
        elif self._in_head:
            self._reject(HeadTimeout())
        elif not self._busy:
            self.close()

    def _expire_write(self) -> None:
        assert self._transport is not None
        unsent = self._transport.get_write_buffer_size()
        if not unsent or unsent >= self._unsent:
            self.cut()
        else:
            self._unsent = unsent
            self._arm(self.shared.timeouts.write_s)

    def _expire_half_closed(self) -> None:
        """A FIN does not say whether the client still reads; bytes that go out do, since a reset comes back. So one
        that waits for its head is asked by an interim answer, which it must be able to skip (RFC 9110 15.2), ever more
        seldom; where that cannot be, a span without any byte is taken for a client that has left: it never holds an
        upstream."""
        responder = self._responder
        sent = responder.bytes_out if responder is not None else 0
        if self._reset():
            self.cut()
        elif responder is not None and responder.interim(100, b"Continue", []):
            self._asked += 1
            self._arm(_HALF_CLOSED_SPAN_S / 2 * 2 ** max(0, self._asked - 2))
        elif sent > self._answered_mark:
            self._answered_mark = sent
            self._arm(_HALF_CLOSED_SPAN_S)
        else:
            self.cut()

    def _look_for_reset(self) -> None:
        """While an upstream holds the upload up nothing is read, and so nothing heard of a client that has left."""
        if self._reset():
            self.cut()
        else:
            self._arm(_LOOK_S)

    def _reset(self) -> bool:
        """Whether the client has reset the connection; the loop does not listen after a FIN or with reading paused."""
        assert self._transport is not None
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)  # errors are always told
        return bool(poll.poll(0))

    def _expire_body(self, body: RequestBody) -> None:
        """In each span at least min(1 KiB, what is left) must have come."""
        if body.received - self._body_mark >= _BODY_SPAN_BYTES:
            self._watch()
        else:
            self._reject(BodyTimeout())
