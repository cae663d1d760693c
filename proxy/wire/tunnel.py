"""The tunnel of an upgraded connection: bytes both ways until a side, a timer or fig ends it.

Knows no HTTP and no seam. Of WebSocket it knows where frames begin and end (RFC 6455 5.2) and the Close frame, so that
fig's own Close (1001, going away; 1008 where the credential has ended) falls between two frames; payloads, reserved
bits and opcodes pass as they are."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from enum import Enum, auto
from typing import Literal

from proxy.wire.timer import TimerWheel

End = Literal["client", "upstream", "idle", "age", "expired", "drain", "rollback"]
"""Who or what ended a tunnel. `client` and `upstream`: that side closed first, or was reset."""

_FRAME_S = 5.0  # for the rest of a frame that is half forwarded when fig closes
_GOODBYE_S = 2.0  # for the peer's Close after fig's
_FLUSH_S = 5.0  # for what is buffered when a transport closes
_LOOK_S = 15.0  # the longest sleep of the idle timer: the wheel keeps an ended tunnel no longer than this

_NO_LINGER = struct.pack("ii", 1, 0)

_CLOSE = 0x8
_GOING_AWAY = b"\x03\xe9"  # 1001, RFC 6455 7.4.1
_POLICY = b"\x03\xf0"  # 1008


class FrameScanner:
    """Follows the frames of one direction without touching a byte (RFC 6455 5.2).

    `closed`: a Close frame has passed completely. A length of 2^63 or more, which 5.2 forbids, is no case of its own:
    that frame never ends, its receiver has to fail the connection, and fig's own Close becomes a cut.

    Costs 0.1 µs a small frame, 0.3 µs one of 126 bytes and more, 0.1 µs a chunk inside a big one.
    """

    __slots__ = ("_closing", "_head", "_left", "closed")

    def __init__(self) -> None:
        self._head = b""  # the begun header of the next frame: at most 9 bytes, never while `_left`
        self._left = 0  # bytes still to come of the frame under way, its mask included
        self._closing = False  # the frame under way is a Close
        self.closed = False

    @property
    def boundary(self) -> bool:
        """Whether everything fed so far ends exactly between two frames."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        at, size = self._left, len(data)
        if at > size:
            self._left = at - size
            return
        if self._closing:
            self._closing, self.closed = False, True
        if self._head:
            data = self._head + data
            size = len(data)
        while at + 2 <= size:
            second = data[at + 1]
            length, payload = second & 0x7F, at + 2
            if length > 125:
                payload += 2 if length == 126 else 8
                if payload > size:
                    break
                length = int.from_bytes(data[at + 2 : payload], "big")
            is_close = data[at] & 0x0F == _CLOSE
            at = payload + length + (second >> 7 << 2)
            if is_close:
                self._closing = at > size
                self.closed = self.closed or at <= size
        self._head = data[at:]
        self._left = max(0, at - size)

    def cut_at_boundary(self, data: bytes) -> tuple[bytes, bytes]:
        """Feed only what ends the frame under way, if one is; that part of `data` and the rest, not fed."""
        at = 0
        while self._head and at < len(data):
            self.feed(data[at : at + 1])
            at += 1
        end = min(at + self._left, len(data))
        self.feed(data[at:end])
        return data[:end], data[end:]


class _Stage(Enum):
    """What one side of a tunnel may still be sent."""

    OPEN = auto()  # whatever the other side sends
    FRAME = auto()  # the rest of the frame under way, then fig's Close
    GOODBYE = auto()  # nothing after the Close; the peer's own is awaited
    CLOSING = auto()  # what is buffered
    LOST = auto()


class _Leg(asyncio.Protocol):
    """One side of a tunnel: its transport, and the frames that come from it."""

    __slots__ = (
        "_lost",
        "_tunnel",
        "_wheel",
        "deadline",
        "eof",
        "filed",
        "frames",
        "other",
        "relayed",
        "side",
        "stage",
        "transport",
    )

    other: _Leg

    def __init__(
        self,
        tunnel: Tunnel,
        side: Literal["client", "upstream"],
        transport: asyncio.Transport,
        lost: Callable[[Exception | None], None],
    ) -> None:
        self._tunnel = tunnel
        self._wheel = tunnel.wheel
        self._lost = lost
        self.side = side
        self.transport = transport
        self.stage = _Stage.OPEN
        self.eof = False
        self.frames = FrameScanner() if tunnel.websocket else None
        self.relayed = 0  # bytes from here that the other transport took
        self.deadline: float | None = None
        self.filed: float | None = None

    def take_over(self) -> None:
        """A transport that is closing already keeps its former protocol, which then hears of the loss itself."""
        if self.transport.is_closing():
            self.stage = _Stage.LOST
        else:
            self.transport.set_protocol(self)

    # --- relaying ----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.other.stage is _Stage.OPEN:
            self._tunnel.touch()
            self.relay(data)
        elif self.frames is not None:
            self._end_frame(self.frames, data)

    def relay(self, data: bytes) -> None:
        if self.frames is not None:
            self.frames.feed(data)
        self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.write(data)
            self.relayed += len(data)

    def pause_writing(self) -> None:
        if self.stage in (_Stage.OPEN, _Stage.FRAME):
            self.other.set_reading(False)

    def resume_writing(self) -> None:
        self._tunnel.touch()
        self.other.set_reading(True)

    def set_reading(self, reading: bool) -> None:
        if self.eof or self.transport.is_closing():
            return  # libuv leaves reading on after an end undefined
        if reading:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    # --- the end, asked for by fig -----------------------------------------------------------------------------------

    def part(self) -> None:
        """Say Close as soon as the bytes sent here so far end between two frames; without frames just close."""
        if self.other.frames is None:
            self.finish()
        elif self.other.frames.boundary:
            self._say_goodbye()
        else:
            self.stage = _Stage.FRAME
            self._arm(_FRAME_S)

    def _end_frame(self, frames: FrameScanner, data: bytes) -> None:
        """Of what comes after fig's decision only the rest of the frame under way is forwarded; a Close is noted."""
        if self.other.stage is _Stage.FRAME:
            rest, data = frames.cut_at_boundary(data)
            self._pass_on(rest)
            if frames.boundary:
                self.other._say_goodbye()
        frames.feed(data)
        if frames.closed and self.stage is _Stage.GOODBYE:
            self.finish()

    def _say_goodbye(self) -> None:
        assert self.frames is not None and self.other.frames is not None
        self.stage = _Stage.GOODBYE
        if not self.other.frames.closed:
            self.transport.write(_close_frame(self._tunnel.close_code, masked=self.side == "upstream"))
        self.other.set_reading(True)  # nothing more is written here that could stall: its Close must be noticed
        if self.frames.closed:
            self.finish()
        else:
            self._arm(_GOODBYE_S)

    def finish(self) -> None:
        """Close after what is buffered."""
        if self.stage in (_Stage.CLOSING, _Stage.LOST):
            return
        self.stage = _Stage.CLOSING
        self._arm(_FLUSH_S)
        self.transport.close()

    def abort(self) -> None:
        """Close at once, so that the peer can see that something is missing.

        With frames the missing Close tells it. Without, uvloop's FIN would look like a proper end: it must be a reset.
        """
        if self.stage is _Stage.LOST:
            return
        self.stage = _Stage.CLOSING
        self.deadline = None
        sock = self.transport.get_extra_info("socket")
        if self.frames is None and sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    def _arm(self, timeout_s: float) -> None:
        self._wheel.arm(self, self._tunnel.loop.time() + timeout_s)

    def expire(self, now: float) -> None:
        self.deadline = None
        if self.stage is _Stage.GOODBYE and self.other.stage is _Stage.FRAME:
            self._arm(_GOODBYE_S)  # the other side still waits for the end of a frame from here
        elif self.stage is _Stage.GOODBYE:
            self.finish()
        else:
            self.abort()

    # --- the end, met ------------------------------------------------------------------------------------------------

    def eof_received(self) -> bool:
        """True keeps the transport open for writing: half-closed, where the protocol and both transports know that."""
        self.eof = True
        if self.stage is not _Stage.OPEN:
            self.finish()
            return False
        other = self.other
        if self.frames is None and not other.eof and self._half_closes(self) and self._half_closes(other):
            other.transport.write_eof()
            return True
        self._tunnel.settle(other.side if other.eof else self.side)
        self.finish()
        other.finish()
        return False

    @staticmethod
    def _half_closes(leg: _Leg) -> bool:
        return not leg.transport.is_closing() and leg.transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stage = _Stage.LOST
        self.deadline = None
        self._tunnel.settle(self.side)
        if self.other.stage is _Stage.FRAME:
            self.other.abort()
        elif self.other.stage is _Stage.OPEN:
            # TLS without close_notify comes as a loss without an error. WebSocket frames tell by themselves whether
            # they are complete; other protocols may not, so the other side must see that this was no proper end.
            if exc is not None or self.frames is None:
                self.other.abort()
            else:
                self.other.finish()
        self._tunnel.leg_lost()
        self._lost(exc)


class Tunnel:
    """Relays between two transports whose write buffers are limited, at most one read ahead of that.

    `idle_s`: the longest time without a byte in either direction, also where a peer does not read. `max_s`: the longest
    life, `expires_s` what is left of the credential's. `client_lost`, `upstream_lost`: called once each from the leg's
    `connection_lost`; not for a transport that was closing before `start`, whose former protocol hears of it.

    Without `websocket` a side's end is passed on as a half-close, where both transports can (TLS cannot).
    """

    __slots__ = (
        "_age_due",
        "_client",
        "_done",
        "_end",
        "_expires_due",
        "_expires_s",
        "_idle_s",
        "_max_s",
        "_touched",
        "_upstream",
        "deadline",
        "filed",
        "loop",
        "websocket",
        "wheel",
    )

    def __init__(
        self,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        *,
        loop: asyncio.AbstractEventLoop,
        wheel: TimerWheel,
        websocket: bool,
        idle_s: float,
        max_s: float | None,
        expires_s: float | None = None,
        client_lost: Callable[[Exception | None], None],
        upstream_lost: Callable[[Exception | None], None],
    ) -> None:
        self.loop = loop
        self.wheel = wheel
        self.websocket = websocket
        self._idle_s = idle_s
        self._max_s = max_s
        self._expires_s = expires_s
        self._age_due = self._expires_due = float("inf")
        self._touched = 0.0
        self._end: End | None = None
        self._done: asyncio.Future[None] = loop.create_future()
        self._client = _Leg(self, "client", client, client_lost)
        self._upstream = _Leg(self, "upstream", upstream, upstream_lost)
        self._client.other, self._upstream.other = self._upstream, self._client
        self.deadline: float | None = None
        self.filed: float | None = None

    @property
    def bytes_in(self) -> int:
        """Bytes relayed from the client."""
        return self._client.relayed

    @property
    def bytes_out(self) -> int:
        """Bytes relayed to the client; fig's own Close is not counted."""
        return self._upstream.relayed

    def start(
        self,
        from_client: bytes,
        from_upstream: bytes,
        *,
        client_stalled: bool = False,
        upstream_stalled: bool = False,
    ) -> None:
        """Take both transports over, forward what was read already, resume reading.

        `…_stalled`: that transport has said `pause_writing` to its former protocol, so it will say `resume_writing` and
        nothing before. Its buffer does not tell: it may be fuller (over TLS) or have drained since.
        """
        now = self._touched = self.loop.time()
        if self._max_s is not None:
            self._age_due = now + self._max_s
        if self._expires_s is not None:
            self._expires_due = now + self._expires_s
        legs = (self._client, self._upstream)
        for leg in legs:
            leg.take_over()
        self._client.set_reading(not upstream_stalled)
        self._upstream.set_reading(not client_stalled)
        self._client.relay(from_client)
        self._upstream.relay(from_upstream)
        for leg in legs:
            if leg.stage is _Stage.LOST:
                self.settle(leg.side)
                leg.other.finish()
                self.leg_lost()
        self._watch(now)

    async def run(self) -> End:
        """Until both transports are closed. Cancelled: both are aborted."""
        try:
            await self._done
        except asyncio.CancelledError:
            self._client.abort()
            self._upstream.abort()
            raise
        assert self._end is not None
        return self._end

    @property
    def close_code(self) -> bytes:
        """What fig's own Close says."""
        return _POLICY if self._end == "expired" else _GOING_AWAY

    def close(self, end: End) -> None:
        """Ask for the end, after `start`. The first reason stays; a tunnel that is ending already is left alone."""
        if self._end is None:
            self.settle(end)
            self._client.part()
            self._upstream.part()

    # --- called by the legs and the wheel ----------------------------------------------------------------------------

    def touch(self) -> None:
        self._touched = self.loop.time()

    def settle(self, end: End) -> None:
        if self._end is None:
            self._end = end
            self.deadline = None

    def leg_lost(self) -> None:
        if self._client.stage is self._upstream.stage is _Stage.LOST and not self._done.done():
            self._done.set_result(None)

    def _watch(self, now: float) -> None:
        if self._end is None:
            due = min(self._touched + self._idle_s, self._age_due, self._expires_due, now + _LOOK_S)
            self.wheel.arm(self, due)

    def expire(self, now: float) -> None:
        self.deadline = None
        if self._expires_due <= now:
            self.close("expired")
        elif self._age_due <= now:
            self.close("age")
        elif self._touched + self._idle_s <= now:
            self.close("idle")
        self._watch(now)


def _close_frame(code: bytes, *, masked: bool) -> bytes:
    """A Close with this code (RFC 6455 5.5.1); towards a server masked with a fresh key (5.3)."""
    if not masked:
        return b"\x88\x02" + code
    key = os.urandom(4)
    return b"\x88\x82" + key + bytes(byte ^ mask for byte, mask in zip(code, key, strict=False))
