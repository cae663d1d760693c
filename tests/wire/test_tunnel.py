"""The tunnel on real sockets: a client and an origin on raw TCP, the clock moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvloop
from websockets.frames import Frame, Opcode

from proxy.wire.body import HIGH_WATER
from proxy.wire.timer import TimerWheel
from proxy.wire.tunnel import End, Tunnel

SERVER_CLOSE = b"\x88\x02\x03\xe9"
HELD = HIGH_WATER + 256 * 1024  # a full buffer and one read of uvloop's


class Clock:
    """The loop as a tunnel uses it, with a time that `pass_` moves on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wheel: TimerWheel) -> None:
        self._loop, self.wheel, self._passed = loop, wheel, 0.0
        self.create_future = loop.create_future

    def time(self) -> float:
        return self._loop.time() + self._passed

    def pass_(self, seconds: float) -> None:
        self._passed += seconds
        self.wheel.advance(self.time())


class Former(asyncio.Protocol):
    """What read the heads: limits the buffer, stops reading."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.lost: list[Exception | None] = []
        self.stalled = False
        transport.set_write_buffer_limits(high=HIGH_WATER)
        transport.pause_reading()

    def pause_writing(self) -> None:
        self.stalled = True

    def resume_writing(self) -> None:
        self.stalled = False

    def eof_received(self) -> bool:
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Peer:
    """The far end of one side."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.sock, data), 5)

    async def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, count - len(data)), 5)
            assert part, f"ended after {data!r}"
            data += part
        return data

    async def rest(self) -> bytes:
        """Everything until the end of the stream. ConnectionResetError when it is cut."""
        parts = []
        while part := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 1 << 20), 5):
            parts.append(part)
        return b"".join(parts)

    async def fill(self) -> int:
        """Send until nobody takes any more; how much was taken."""
        sent, quiet = 0, 0
        while quiet < 20:
            try:
                sent += self.sock.send(b"x" * (1 << 16))
                quiet = 0
                await asyncio.sleep(0)
            except BlockingIOError:
                quiet += 1
                await asyncio.sleep(0.01)
        return sent

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


async def until(condition: Callable[[], bool]) -> None:
    """AssertionError when it does not come true within 5 s."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come true")


class Rig:
    def __init__(self, clock: Clock, client: Peer, origin: Peer, formers: tuple[Former, Former]) -> None:
        self.clock, self.client, self.origin, self.formers = clock, client, origin, formers
        self.tunnel: Tunnel
        self.lost: list[str] = []
        self.task: asyncio.Task[End]

    def open(self, from_client: bytes = b"", from_upstream: bytes = b"", **settings: Any) -> None:
        self.tunnel = Tunnel(
            self.formers[0].transport,
            self.formers[1].transport,
            loop=self.clock,
            wheel=self.clock.wheel,
            client_lost=lambda exc: self.lost.append("client"),
            upstream_lost=lambda exc: self.lost.append("upstream"),
            **{"websocket": True, "idle_s": 3600.0, "max_s": None, **settings},
        )
        client, origin = self.formers
        self.tunnel.start(from_client, from_upstream, client_stalled=client.stalled, upstream_stalled=origin.stalled)
        self.task = asyncio.get_running_loop().create_task(self.tunnel.run())

    async def end(self) -> End:
        end = await asyncio.wait_for(self.task, 5)
        assert sorted(self.lost) == ["client", "upstream"]
        return end

    async def relayed(self, bytes_in: int = 0, bytes_out: int = 0) -> None:
        """Until this much has gone through."""
        await until(lambda: (self.tunnel.bytes_in, self.tunnel.bytes_out) == (bytes_in, bytes_out))

    async def stalled(self) -> None:
        """Until the client does not take any more."""
        await until(lambda: self.formers[0].transport.get_write_buffer_size() > HIGH_WATER)


async def pair() -> tuple[Peer, Former]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    _, former = await asyncio.get_running_loop().connect_accepted_socket(Former, near)
    return Peer(far), former


@contextlib.asynccontextmanager
async def rigged(**settings: Any) -> AsyncIterator[Rig]:
    (client, near_client), (origin, near_origin) = await pair(), await pair()
    rig = Rig(Clock(asyncio.get_running_loop(), TimerWheel()), client, origin, (near_client, near_origin))
    if settings.pop("opened", True):
        rig.open(**settings)
    try:
        yield rig
    finally:
        for peer in (client, origin):
            peer.sock.close()
        for former in rig.formers:
            former.transport.abort()
        await asyncio.sleep(0)


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs the test on uvloop; an error that only the loop hears of fails it too."""

    @functools.wraps(test)
    def run(**parameters: Any) -> None:
        heard: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: heard.append(context))
            runner.run(test(**parameters))
        assert not heard, heard

    return run


def frame(data: bytes, opcode: Opcode = Opcode.BINARY, *, mask: bool) -> bytes:
    return Frame(opcode, data).serialize(mask=mask)


def unmasked(close: bytes) -> bytes:
    """The payload of a short masked Close."""
    assert close[:2] == b"\x88\x82", close
    return bytes(byte ^ key for byte, key in zip(close[6:8], close[2:6], strict=False))


# --- relaying --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("websocket", [True, False])
@on_uvloop
async def test_bytes_go_both_ways_first_those_that_were_read_already(websocket: bool) -> None:
    async with rigged(opened=False) as rig:
        early_in, early_out = frame(b"early", mask=True), frame(b"first", mask=False)
        rig.open(early_in, early_out, websocket=websocket)
        more_in, more_out = frame(b"y" * 70_000, mask=True), frame(b"z" * 70_000, mask=False)
        await rig.client.send(more_in)
        await rig.origin.send(more_out)
        assert await rig.origin.read(len(early_in + more_in)) == early_in + more_in
        assert await rig.client.read(len(early_out + more_out)) == early_out + more_out
        assert rig.tunnel.bytes_in == len(early_in + more_in)
        assert rig.tunnel.bytes_out == len(early_out + more_out)


@pytest.mark.parametrize("reader", ["client", "origin"])
@pytest.mark.parametrize("websocket", [True, False])
@on_uvloop
async def test_a_peer_that_does_not_read_stops_the_reading_of_the_other(reader: str, websocket: bool) -> None:
    async with rigged(websocket=websocket) as rig:
        slow, fast = (rig.client, rig.origin) if reader == "client" else (rig.origin, rig.client)
        near = rig.formers[reader == "origin"].transport
        sent = await fast.fill()
        assert HIGH_WATER < near.get_write_buffer_size() <= HELD
        await slow.send(b"\x81\x00")  # the other direction goes on
        assert await fast.read(2) == b"\x81\x00"
        got = 0
        while got < sent:
            got += len(await slow.read(min(1 << 20, sent - got)))
        await fast.send(b"xyz")
        assert await slow.read(3) == b"xyz"


@on_uvloop
async def test_bytes_read_already_count_towards_the_buffer() -> None:
    async with rigged(opened=False) as rig:
        filled = b"x" * 8_000_000
        rig.formers[0].transport.write(filled)
        rig.open(websocket=False)
        before = rig.formers[0].transport.get_write_buffer_size()
        assert before > HIGH_WATER
        await rig.origin.fill()
        assert rig.formers[0].transport.get_write_buffer_size() <= before
        assert rig.tunnel.bytes_out == 0
        assert await rig.client.read(len(filled)) == filled
        assert await rig.client.read(1000) == b"x" * 1000


@on_uvloop
async def test_a_buffer_above_the_limit_that_nobody_was_told_of_is_read_on() -> None:
    """So TLS looks while TCP below it is full: its own buffer is not, and it will not say `resume_writing`."""
    async with rigged(opened=False) as rig:
        near, filled = rig.formers[0].transport, b"x" * 8_000_000
        near.set_write_buffer_limits(high=1 << 24)
        near.write(filled)
        rig.open()
        assert near.get_write_buffer_size() > HIGH_WATER
        await rig.origin.send(b"\x82\x02ok")
        assert await rig.client.read(len(filled) + 4) == filled + b"\x82\x02ok"


@on_uvloop
async def test_a_small_buffer_that_was_told_of_is_waited_for() -> None:
    """It was above the limit and has drained a bit: `pause_writing` is not said again."""
    async with rigged(opened=False) as rig:
        near, written = rig.formers[0].transport, 0
        near.set_write_buffer_limits(high=1)
        while not near.get_write_buffer_size():
            near.write(b"x" * 16_384)
            written += 16_384
        assert rig.formers[0].stalled
        rig.open(websocket=False)
        sent = await rig.origin.fill()
        assert near.get_write_buffer_size() <= HELD
        assert len(await rig.client.read(written + sent)) == written + sent


# --- fig's own end ---------------------------------------------------------------------------------------------------


async def said_goodbye(rig: Rig, end: End) -> None:
    """Both sides get 1001 and nothing else, answer it, and are let go."""
    assert await rig.client.read(4) == SERVER_CLOSE
    assert unmasked(await rig.origin.read(8)) == SERVER_CLOSE[2:]
    await rig.client.send(frame(b"\x03\xe9", Opcode.CLOSE, mask=True))
    await rig.origin.send(frame(b"\x03\xe9", Opcode.CLOSE, mask=False))
    assert await rig.client.rest() == b""
    assert await rig.origin.rest() == b""
    assert await rig.end() == end


@on_uvloop
async def test_silence_ends_a_tunnel_and_any_byte_postpones_it() -> None:
    async with rigged(idle_s=10.0) as rig:
        for relayed in range(2, 8, 2):
            rig.clock.pass_(7)
            await rig.client.send(b"\x81\x80")
            await rig.relayed(relayed)
        rig.clock.pass_(9)
        assert not rig.task.done()
        rig.clock.pass_(1.3)
        await rig.origin.read(6)
        await said_goodbye(rig, "idle")


@on_uvloop
async def test_a_stalled_write_counts_as_silence() -> None:
    async with rigged(idle_s=60.0, websocket=False) as rig:
        await rig.origin.fill()
        rig.clock.pass_(61)
        rig.clock.pass_(6)  # the client does not take what is buffered either
        assert await rig.end() == "idle"


@on_uvloop
async def test_an_age_ends_a_busy_tunnel() -> None:
    async with rigged(idle_s=60.0, max_s=100.0) as rig:
        rig.clock.pass_(50)
        await rig.client.send(b"\x81\x00")
        await rig.relayed(2)
        rig.clock.pass_(49)
        assert not rig.task.done()
        rig.clock.pass_(2)
        await rig.origin.read(2)
        await said_goodbye(rig, "age")


@on_uvloop
async def test_the_first_reason_stays_and_nothing_is_said_twice() -> None:
    async with rigged() as rig:
        rig.tunnel.close("rollback")
        rig.tunnel.close("drain")
        await said_goodbye(rig, "rollback")


@on_uvloop
async def test_every_masked_close_has_a_key_of_its_own() -> None:
    keys = set()
    for _ in range(3):
        async with rigged() as rig:
            rig.tunnel.close("drain")
            keys.add((await rig.origin.read(8))[2:6])
    assert len(keys) == 3


@pytest.mark.parametrize("begun", [1, 3, 9, 13, 14, 40_000])
@on_uvloop
async def test_a_close_waits_for_the_end_of_a_frame_and_drops_the_next(begun: int) -> None:
    async with rigged() as rig:
        upload, download = frame(b"u" * 70_000, mask=True), frame(b"d" * 70_000, mask=False)
        await rig.client.send(upload[:begun])
        await rig.origin.send(download[:begun])
        await rig.relayed(begun, begun)
        rig.tunnel.close("drain")
        await rig.client.send(upload[begun:] + frame(b"dropped", mask=True))
        await rig.origin.send(download[begun:] + frame(b"dropped", mask=False))
        assert await rig.client.read(len(download)) == download
        assert await rig.origin.read(len(upload)) == upload
        await said_goodbye(rig, "drain")
        assert (rig.tunnel.bytes_in, rig.tunnel.bytes_out) == (len(upload), len(download))


@on_uvloop
async def test_a_stalled_peer_gets_the_whole_frame_before_the_close() -> None:
    async with rigged() as rig:
        download = frame(b"d" * 30_000_000, mask=False)
        sending = asyncio.get_running_loop().create_task(rig.origin.send(download))
        await rig.stalled()
        rig.tunnel.close("drain")
        assert await rig.client.read(len(download)) == download
        await sending
        await said_goodbye(rig, "drain")


@on_uvloop
async def test_a_close_is_noticed_also_where_the_other_side_does_not_read() -> None:
    async with rigged(opened=False) as rig:
        rig.formers[0].transport.write(b"x" * 8_000_000)
        rig.open()
        rig.tunnel.close("drain")
        assert unmasked(await rig.origin.read(8)) == SERVER_CLOSE[2:]
        await rig.origin.send(frame(b"\x03\xe9", Opcode.CLOSE, mask=False))
        assert await rig.origin.rest() == b""
        assert rig.lost == ["upstream"]


@on_uvloop
async def test_a_frame_that_does_not_end_is_cut() -> None:
    async with rigged() as rig:
        begun = frame(b"d" * 1000, mask=False)[:500]
        await rig.origin.send(begun)
        assert await rig.client.read(500) == begun
        rig.tunnel.close("drain")
        assert unmasked(await rig.origin.read(8)) == SERVER_CLOSE[2:]
        rig.clock.pass_(4.8)
        assert not rig.lost
        rig.clock.pass_(0.4)
        assert await rig.client.rest() == b""
        assert rig.lost == ["client"]
        rig.clock.pass_(2.2)
        assert await rig.origin.rest() == b""
        assert await rig.end() == "drain"


@pytest.mark.parametrize("half", [False, True])
@on_uvloop
async def test_a_direction_that_carried_a_close_gets_no_second_one(half: bool) -> None:
    async with rigged() as rig:
        close = frame(b"\x03\xe8bye", Opcode.CLOSE, mask=True)
        now, later = (close[:8], close[8:]) if half else (close, b"")
        await rig.client.send(now)
        await rig.relayed(len(now))
        rig.tunnel.close("drain")
        await rig.client.send(later)
        assert await rig.client.read(4) == SERVER_CLOSE
        assert await rig.client.rest() == b""
        await rig.origin.send(frame(b"\x03\xe8", Opcode.CLOSE, mask=False))
        assert await rig.origin.rest() == close
        assert await rig.end() == "drain"


@on_uvloop
async def test_a_peer_that_does_not_answer_a_close_is_let_go_after_two_seconds() -> None:
    async with rigged() as rig:
        rig.tunnel.close("drain")
        for _ in range(5):  # what still comes is read off and changes nothing
            await rig.client.send(frame(b"x" * 100_000, mask=True))
        rig.clock.pass_(1.9)
        await asyncio.sleep(0.01)
        assert not rig.lost
        rig.clock.pass_(0.3)
        assert await rig.client.rest() == SERVER_CLOSE
        assert len(await rig.origin.rest()) == 8
        assert await rig.end() == "drain"


@pytest.mark.parametrize("websocket", [True, False])
@on_uvloop
async def test_a_peer_that_never_takes_what_is_buffered_is_cut(websocket: bool) -> None:
    async with rigged(websocket=websocket) as rig:
        block = frame(b"d" * 16_000_000, mask=False)
        sending = asyncio.get_running_loop().create_task(rig.origin.send(block))
        await rig.stalled()
        rig.tunnel.close("drain")
        for _ in range(4):
            await asyncio.sleep(0.01)
            rig.clock.pass_(5.2)
        assert await rig.end() == "drain"
        sending.cancel()


@on_uvloop
async def test_a_tunnel_without_frames_is_closed_after_what_is_buffered() -> None:
    async with rigged(websocket=False) as rig:
        sent = b"x" * 60_000
        await rig.origin.send(sent)
        await rig.relayed(0, len(sent))
        rig.tunnel.close("drain")
        assert await rig.client.rest() == sent
        assert await rig.origin.rest() == b""
        assert await rig.end() == "drain"


# --- the peers' end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaver", ["client", "origin"])
@on_uvloop
async def test_a_peer_that_closes_takes_the_other_with_it_after_its_last_byte(leaver: str) -> None:
    async with rigged() as rig:
        gone, left = (rig.client, rig.origin) if leaver == "client" else (rig.origin, rig.client)
        last = frame(b"x" * 3_000_000, mask=leaver == "client")
        sending = asyncio.get_running_loop().create_task(gone.send(last))
        assert await left.read(len(last) - 100) == last[:-100]
        await sending
        gone.half_close()
        assert await left.rest() == last[-100:]
        assert await gone.rest() == b""
        assert await rig.end() == ("client" if leaver == "client" else "upstream")


@pytest.mark.parametrize("websocket", [True, False])
@pytest.mark.parametrize("leaver", ["client", "origin"])
@on_uvloop
async def test_after_a_reset_the_other_side_can_see_that_something_is_missing(leaver: str, websocket: bool) -> None:
    async with rigged(websocket=websocket) as rig:
        gone, left = (rig.client, rig.origin) if leaver == "client" else (rig.origin, rig.client)
        await left.send(b"\x81\x7f")
        assert await gone.read(2) == b"\x81\x7f"
        gone.reset()
        assert await rig.end() == ("client" if leaver == "client" else "upstream")
        if websocket:  # the missing Close tells
            assert await left.rest() == b""
        else:
            with pytest.raises(ConnectionResetError):
                await left.rest()


@pytest.mark.parametrize("websocket", [True, False])
@on_uvloop
async def test_what_is_buffered_is_not_delivered_after_a_reset(websocket: bool) -> None:
    async with rigged(opened=False) as rig:
        near, written = rig.formers[0].transport, 0
        while not near.get_write_buffer_size():
            near.write(b"x" * 16_384)
            written += 16_384
            await asyncio.sleep(0)
        rig.open(websocket=websocket)
        rig.origin.reset()
        assert await rig.end() == "upstream"
        if websocket:
            assert len(await rig.client.rest()) < written
        else:
            with pytest.raises(ConnectionResetError):
                await rig.client.rest()


@pytest.mark.parametrize("websocket", [True, False])
@on_uvloop
async def test_a_loss_without_an_end_is_a_proper_one_only_where_frames_tell(websocket: bool) -> None:
    """So TLS without close_notify looks."""
    async with rigged(websocket=websocket) as rig:
        rig.formers[1].transport.abort()
        assert await rig.end() == "upstream"
        if websocket:
            assert await rig.client.rest() == b""
        else:
            with pytest.raises(ConnectionResetError):
                await rig.client.rest()


@pytest.mark.parametrize("first", ["client", "origin"])
@on_uvloop
async def test_without_frames_a_side_may_end_its_direction_only(first: str) -> None:
    async with rigged(websocket=False, idle_s=60.0) as rig:
        one, other = (rig.client, rig.origin) if first == "client" else (rig.origin, rig.client)
        await one.send(b"request")
        one.half_close()
        assert await other.rest() == b"request"
        await other.send(b"answer")
        assert await one.read(6) == b"answer"
        rig.clock.pass_(50)
        assert not rig.task.done()
        other.half_close()
        assert await one.rest() == b""
        assert await rig.end() == ("client" if first == "client" else "upstream")


@on_uvloop
async def test_a_half_closed_tunnel_can_fall_silent_too() -> None:
    async with rigged(websocket=False, idle_s=60.0) as rig:
        rig.client.half_close()
        assert await rig.origin.rest() == b""
        rig.clock.pass_(61)
        assert await rig.end() == "idle"


@on_uvloop
async def test_a_peer_that_leaves_while_its_frame_is_waited_for_cuts_the_other() -> None:
    async with rigged() as rig:
        await rig.origin.send(frame(b"d" * 1000, mask=False)[:500])
        await rig.client.read(500)
        rig.tunnel.close("rollback")
        rig.origin.half_close()
        assert await rig.client.rest() == b""  # no Close: the frame is not whole
        assert await rig.end() == "rollback"


@on_uvloop
async def test_a_side_that_had_closed_its_direction_before_the_start_has_ended() -> None:
    async with rigged(opened=False) as rig:
        rig.client.half_close()
        await asyncio.sleep(0.05)
        rig.open(from_upstream=frame(b"hello", mask=False))
        assert await rig.client.rest() == frame(b"hello", mask=False)
        assert await rig.end() == "client"


@on_uvloop
async def test_a_side_that_was_closing_before_the_start_ends_the_tunnel() -> None:
    async with rigged(opened=False) as rig:
        rig.formers[1].transport.close()
        rig.open(b"lost", frame(b"hello", mask=False))
        assert await rig.client.rest() == frame(b"hello", mask=False)
        assert await asyncio.wait_for(rig.task, 5) == "upstream"
        assert rig.formers[1].lost == [None]
        assert rig.lost == ["client"]
        assert rig.tunnel.bytes_in == 0


@on_uvloop
async def test_a_cancelled_run_aborts_both_sides() -> None:
    async with rigged() as rig:
        await asyncio.sleep(0)
        await rig.origin.fill()
        rig.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rig.task
        for peer in (rig.client, rig.origin):
            with contextlib.suppress(ConnectionResetError):
                await peer.rest()
        assert sorted(rig.lost) == ["client", "upstream"]
