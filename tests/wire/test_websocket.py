"""WebSocket through a running fig, in clear text and with TLS on both sides of it: the `websockets` client and server,
and raw sockets for what those never do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import random
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.load import Background
from tests.support.origin import Connection, Origin
from tests.support.tls import Authority, Files, server_context
from tests.support.wire import OK, Serve, access_line, get, metric, quiet, until

CONFIG = """
version: 1
server: {{listen: "{data}", {tls}timeouts: {{{timeouts}}}, drain: {{delay_s: 0, timeout_s: 10}}}}
admin: {{listen: "{admin}"}}
store: "memory:"
telemetry: {{access_log: json}}
upstreams:
  monolith: {{endpoints: ["{scheme}://127.0.0.1:{legacy}"]{ca}}}
  chat: {{endpoints: ["{scheme}://127.0.0.1:{extracted}"]{ca}}}
default: monolith
seams:
  chat:
    routes: [{{path: /chat/**}}]
    extracted: chat
    stage: extracted
    force: {{header: x-fig-force, allow_from: [127.0.0.0/8]}}
"""

MIB = 1 << 20
FLOOD = b"f" * 40_000
KEY = base64.b64encode(b"0123456789abcdef").decode("ascii")
ACCEPT = base64.b64encode(hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode("ascii")


class Between(Fig):
    """`trusts`: what its clients need for TLS; None where it serves clear text."""

    def __init__(self, folder: Path, text: str, trusts: ssl.SSLContext | None) -> None:
        super().__init__(folder, text)
        self.trusts = trusts


class Chat:
    """A WebSocket server that echoes. Text commands: `who`, `vanish`, `ping`, `parts`, `flood`, `deaf`. A handshake
    with the path `/chat/late` is answered when `late` is set.

    `closed`: path, close code and monotonic time of each connection that ended. `flooded`: messages sent by `flood`.
    """

    def __init__(self, name: str, files: Files | None) -> None:
        self.name = name
        self.port = 0
        self.tls = None if files is None else server_context(files)
        self.closed: list[tuple[str, int | None, float]] = []
        self.flooded = 0
        self.asked = asyncio.Event()
        self.late = asyncio.Event()
        self._server: Server

    async def start(self) -> Chat:
        self._server = await serve(
            self._answer,
            "127.0.0.1",
            0,
            ssl=self.tls,
            process_request=self._wait,
            select_subprotocol=lambda _, offered: next((name for name in offered if name == "chat"), None),
            max_size=2 * MIB,
            ping_interval=None,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    def codes(self, path: str) -> list[int | None]:
        return [code for where, code, _ in self.closed if where == path]

    async def _wait(self, _: ServerConnection, request: Request) -> None:
        if request.path == "/chat/late":
            self.asked.set()
            await self.late.wait()

    async def _answer(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        try:
            while True:
                await self._one(socket, await socket.recv())
        except ConnectionClosed:
            await socket.wait_closed()
            self.closed.append((socket.request.path, socket.close_code, time.monotonic()))

    async def _one(self, socket: ServerConnection, message: str | bytes) -> None:
        if message == "who":
            await socket.send(self.name)
        elif message == "vanish":
            socket.transport.abort()
        elif message == "ping":
            await (await socket.ping(b"from the server"))
            await socket.send("ponged")
        elif message == "parts":
            await socket.send(["a", "b" * 70_000, "", "c"])
        elif message == "flood":
            while True:
                await socket.send(FLOOD)
                self.flooded += 1
        elif message == "deaf":
            socket.transport.pause_reading()
            await asyncio.sleep(1)
            socket.transport.resume_reading()
        else:
            await socket.send(message)


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    running = Background()
    yield running
    running.close()


@pytest.fixture(scope="module", params=[False, True], ids=["clear", "tls"])
def authority(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Authority | None:
    """There where both sides of fig speak TLS."""
    return Authority(tmp_path_factory.mktemp("pki")) if request.param else None


@pytest.fixture(scope="module")
def chats(background: Background, authority: Authority | None) -> Iterator[tuple[Chat, Chat]]:
    """The monolith's server and the extracted one's."""
    files = None if authority is None else authority.issue("chat")
    both = (background.run(Chat("legacy", files).start()), background.run(Chat("extracted", files).start()))
    yield both
    for chat in both:
        background.run(chat.stop())


Start = Callable[[str], Between]


@pytest.fixture(scope="module")
def start(
    chats: tuple[Chat, Chat], authority: Authority | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Starts a fig between the client and both servers, with these timeouts."""
    figs: list[Between] = []
    scheme, tls, ca, trusts = "http", "", "", None
    if authority is not None:
        files = authority.issue("fig")
        scheme, tls = "https", f"tls: {{certificate: {files.certificate}, key: {files.key}}}, "
        ca, trusts = f", tls: {{ca: {authority.file}}}", authority.client_context()

    def begin(timeouts: str) -> Between:
        text = CONFIG.format(
            data="{data}",
            admin="{admin}",
            timeouts=timeouts,
            scheme=scheme,
            tls=tls,
            ca=ca,
            legacy=chats[0].port,
            extracted=chats[1].port,
        )
        figs.append(Between(tmp_path_factory.mktemp("websocket"), text, trusts))
        figs[-1].start()
        return figs[-1]

    yield begin
    for running in figs:
        running.stop()
        for word in ("Traceback", "Exception", "SSL connection is closed"):
            assert word not in running.errors(), running.errors()


@pytest.fixture(scope="module")
def between(start: Start) -> Between:
    return start("")


def joined(fig: Between, path: str, **settings: Any) -> connect:
    """A client's connection through fig."""
    settings = {"max_size": 2 * MIB, "ping_interval": None, "proxy": None, "ssl": fig.trusts, **settings}
    return connect(f"{'ws' if fig.trusts is None else 'wss'}://127.0.0.1:{fig.port}{path}", **settings)


async def close_code(socket: ClientConnection, timeout_s: float = 5.0) -> int | None:
    """The code with which the connection ends within the time, nothing else arriving."""
    async with asyncio.timeout(timeout_s):
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        await socket.wait_closed()
    return socket.close_code


def labelled(fig: Fig, name: str, **labels: str) -> float:
    """A metric with these labels; 0 when there is none."""
    for line in fig.call("GET", "/metrics").text.splitlines():
        if line.startswith(f"{name}{{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


# --- messages --------------------------------------------------------------------------------------------------------


def messages(count: int, seed: int) -> list[bytes]:
    """1 B to 1 MiB, small ones far more often; half of each compresses, half does not."""
    rng = random.Random(seed)
    noise = rng.randbytes(MIB)
    sizes = [1, 125, 126, 127, 65535, 65536, MIB] + [int(2 ** (20 * rng.random() ** 4)) for _ in range(count)]
    return [_message(size, rng.randrange(MIB), noise) for size in sizes[:count]]


def _message(size: int, at: int, noise: bytes) -> bytes:
    return (noise[at : at + size // 2] + b"compress me " * (size // 12 + 1))[:size]


async def echoed(fig: Between, sent: Sequence[bytes], compression: str | None) -> None:
    """Send all without waiting, read at the same time: the same messages must come back."""
    async with joined(fig, "/chat/echo", compression=compression) as socket:
        assert bool(socket.protocol.extensions) is (compression is not None)

        async def send() -> None:
            for message in sent:
                await socket.send(message)

        sending = asyncio.create_task(send())
        for message in sent:
            assert await socket.recv() == message
        await sending


@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages_of_every_size_go_both_ways_at_once(
    between: Between, background: Background, compression: str | None
) -> None:
    background.run(echoed(between, messages(300, 1), compression))
    assert until(lambda: quiet(between))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_messages(between: Between, background: Background) -> None:
    async def all_of_them() -> None:
        for turn in range(25):
            sent = messages(1000, turn)
            await asyncio.gather(*[echoed(between, sent, "deflate" if lane % 2 else None) for lane in range(4)])

    background.run(all_of_them(), 1700)


def test_a_subprotocol_is_agreed_by_the_ends(between: Between, background: Background) -> None:
    async def run() -> None:
        async with joined(between, "/chat/sub", subprotocols=["other", "chat"]) as socket:
            assert socket.subprotocol == "chat"
        async with joined(between, "/chat/sub") as socket:
            assert socket.subprotocol is None

    background.run(run())


def test_fragments_arrive_whole_in_both_directions(between: Between, background: Background) -> None:
    async def run() -> None:
        async with joined(between, "/chat/parts") as socket:
            await socket.send([b"x", b"", b"y" * 100_000, b"z"])
            assert await socket.recv() == b"x" + b"y" * 100_000 + b"z"
            await socket.send("parts")
            # the last, empty one is how `websockets` ends a message of parts
            assert [part async for part in socket.recv_streaming()] == ["a", "b" * 70_000, "", "c", ""]

    background.run(run())


def test_pings_are_answered_by_the_other_end(between: Between, background: Background) -> None:
    async def run() -> None:
        async with joined(between, "/chat/ping") as socket:
            assert await asyncio.wait_for(await socket.ping(b"from the client"), 5) >= 0
            await socket.send("ping")
            assert await asyncio.wait_for(socket.recv(), 5) == "ponged"

    background.run(run())


# --- who does not read -----------------------------------------------------------------------------------------------


async def settled_flood(chat: Chat) -> None:
    """Until the server can send no more."""
    last, still = -1, 0
    while still < 10:
        still = still + 1 if chat.flooded == last else 0
        last = chat.flooded
        await asyncio.sleep(0.03)


def test_a_client_that_does_not_read_stops_the_server_and_pins_little(
    between: Between, background: Background, chats: tuple[Chat, Chat]
) -> None:
    count = 20

    async def run() -> None:
        before = between.rss_bytes()
        async with contextlib.AsyncExitStack() as stack:
            sockets = []
            for _ in range(count):
                socket = await stack.enter_async_context(joined(between, "/chat/flood", max_queue=1, compression=None))
                stack.callback(socket.transport.abort)
                await socket.send("flood")
                sockets.append(socket)
            await settled_flood(chats[1])
            # uvloop takes 256 KiB for what is read, encrypted, of each TLS connection
            assert between.rss_bytes() - before < count * (MIB if between.trusts is None else 2 * MIB)
            held = chats[1].flooded
            for _ in range(200):  # what was held up goes on
                assert await sockets[0].recv() == FLOOD
            await settled_flood(chats[1])
            assert chats[1].flooded > held

    background.run(run())
    assert until(lambda: quiet(between))


def test_a_server_that_does_not_read_stops_the_client(between: Between, background: Background) -> None:
    async def run() -> int:
        sent = 0
        async with joined(between, "/chat/deaf", compression=None) as socket:
            await socket.send("deaf")
            with contextlib.suppress(TimeoutError):
                while sent < 64 * MIB:
                    await asyncio.wait_for(socket.send(FLOOD), 0.5)
                    sent += len(FLOOD)
            socket.transport.abort()
        return sent

    before = between.rss_bytes()
    assert background.run(run()) < 64 * MIB
    assert between.rss_bytes() - before < 2 * MIB
    assert until(lambda: quiet(between))


# --- the end ---------------------------------------------------------------------------------------------------------


def test_a_close_with_its_code_and_reason_passes(
    between: Between, background: Background, chats: tuple[Chat, Chat]
) -> None:
    async def run() -> None:
        async with joined(between, "/chat/bye") as socket:
            await socket.close(4321, "enough")
            assert (socket.close_code, socket.close_reason) == (4321, "enough")

    background.run(run())
    assert until(lambda: chats[1].codes("/chat/bye") == [4321])


def test_a_client_that_vanishes_releases_the_server(
    between: Between, background: Background, chats: tuple[Chat, Chat]
) -> None:
    async def run() -> float:
        socket = await joined(between, "/chat/gone")
        await socket.send("who")
        assert await socket.recv() == "extracted"
        socket.transport.abort()
        return time.monotonic()

    left_at = background.run(run())
    assert until(lambda: chats[1].codes("/chat/gone") == [1006])
    assert chats[1].closed[-1][2] - left_at < 1
    assert until(lambda: quiet(between))
    assert metric(between, "fig_tunnels") == 0


def test_a_server_that_vanishes_releases_the_client(between: Between, background: Background) -> None:
    async def run() -> None:
        async with joined(between, "/chat/crash") as socket:
            await socket.send("vanish")
            assert await close_code(socket, 1.0) == 1006

    background.run(run())
    assert until(lambda: quiet(between))


def test_a_rollback_ends_the_tunnels_of_the_extracted_side_only(
    between: Between, background: Background, chats: tuple[Chat, Chat]
) -> None:
    def path(who: str) -> str:
        return f"/chat/rollback-{who}"

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with (
            joined(between, path("extracted")) as moved,
            joined(between, path("legacy"), additional_headers={"X-Fig-Force": "legacy"}) as kept,
            joined(between, "/elsewhere") as other,
        ):
            for socket, name in ((moved, "extracted"), (kept, "legacy"), (other, "legacy")):
                await socket.send("who")
                assert await socket.recv() == name
            answer = await loop.run_in_executor(
                None, lambda: between.call("POST", "/api/seams/chat/rollback", reason="test")
            )
            assert answer.status_code == 200
            assert await close_code(moved) == 1001
            for socket in (kept, other):
                await socket.send("who")
                assert await socket.recv() == "legacy"
            async with joined(between, path("after")) as later:
                await later.send("who")
                assert await later.recv() == "legacy"

    before = labelled(between, "fig_tunnels_ended_total", seam="chat", side="extracted", end="rollback")
    try:
        background.run(run())
    finally:
        assert between.call("POST", "/api/seams/chat/resume", reason="test").status_code == 200
    assert until(lambda: chats[1].codes(path("extracted")) == [1001])
    assert until(lambda: chats[0].codes(path("legacy")) == [1000])
    assert labelled(between, "fig_tunnels_ended_total", seam="chat", side="extracted", end="rollback") == before + 1


@contextlib.contextmanager
def resumed(fig: Fig) -> Iterator[None]:
    try:
        yield
    finally:
        assert fig.call("POST", "/api/seams/chat/resume", reason="test").status_code == 200


def roll_back(fig: Fig) -> None:
    assert fig.call("POST", "/api/seams/chat/rollback", reason="test").status_code == 200


def test_a_rollback_between_the_request_and_the_101_ends_that_tunnel(
    between: Between, background: Background, chats: tuple[Chat, Chat]
) -> None:
    async def run() -> None:
        chats[1].late.clear()
        joining = asyncio.ensure_future(joined(between, "/chat/late").__aenter__())
        await chats[1].asked.wait()
        await asyncio.to_thread(roll_back, between)
        chats[1].late.set()
        assert await close_code(await joining) == 1001

    with resumed(between):
        background.run(run())
    assert until(lambda: chats[1].codes("/chat/late") == [1001])
    assert until(lambda: quiet(between))


def test_a_rollback_lets_a_client_that_did_not_read_end_its_message(
    between: Between, background: Background, chats: tuple[Chat, Chat]
) -> None:
    async def run() -> None:
        async with joined(between, "/chat/stalled", max_queue=1, compression=None) as socket:
            await socket.send("flood")
            await settled_flood(chats[1])
            await asyncio.to_thread(roll_back, between)
            with pytest.raises(ConnectionClosed):
                while True:
                    assert await asyncio.wait_for(socket.recv(), 5) == FLOOD
            assert socket.close_code == 1001

    with resumed(between):
        background.run(run())
    assert until(lambda: chats[1].codes("/chat/stalled") == [1001])
    assert until(lambda: quiet(between))


def test_a_drain_ends_all_tunnels_with_1001(start: Start, background: Background, chats: tuple[Chat, Chat]) -> None:
    fig = start("")

    async def run() -> None:
        async with joined(fig, "/chat/drain") as first, joined(fig, "/drain") as second:
            await first.send("who")
            await first.recv()
            fig.signal(signal.SIGTERM)
            assert await close_code(first) == 1001
            assert await close_code(second) == 1001

    background.run(run())
    assert fig.process is not None
    assert fig.process.wait(5) == 0
    assert until(lambda: chats[1].codes("/chat/drain") == [1001])
    assert until(lambda: chats[0].codes("/drain") == [1001])


def test_silence_and_age_are_configured(start: Start, background: Background) -> None:
    fig = start("tunnel_idle_s: 0.6, tunnel_max_s: 1.5")

    async def talk(socket: ClientConnection) -> float:
        since = time.monotonic()
        while True:
            try:
                await socket.send("x")
                await socket.recv()
            except ConnectionClosed:
                assert socket.close_code == 1001
                return time.monotonic() - since
            await asyncio.sleep(0.1)

    async def run() -> None:
        async with joined(fig, "/chat/silent") as silent, joined(fig, "/chat/talking") as talking:
            since = time.monotonic()
            lasts = asyncio.create_task(talk(talking))
            assert await close_code(silent) == 1001
            assert 0.5 < time.monotonic() - since < 1.4
            assert 1.4 < await lasts < 3

    background.run(run())
    for end in ("idle", "age"):
        assert until(lambda end=end: labelled(fig, "fig_tunnels_ended_total", seam="chat", end=end) == 1)


# --- what is counted -------------------------------------------------------------------------------------------------


def test_a_tunnel_is_counted_and_has_one_access_line(between: Between, background: Background) -> None:
    labels = {"seam": "chat", "side": "extracted"}

    def moved(direction: str) -> float:
        return labelled(between, "fig_tunnel_bytes_total", **labels, direction=direction)

    async def run() -> None:
        async with joined(between, "/chat/counted", compression=None) as socket:
            await socket.send(b"x" * 1000)
            await socket.recv()
            open_now = await asyncio.to_thread(labelled, between, "fig_tunnels", **labels)
            assert open_now == 1

    bytes_in, bytes_out = moved("in"), moved("out")
    answered = labelled(between, "fig_requests_total", **labels, code="101")
    background.run(run())
    line = access_line(between, "/chat/counted")
    assert line["status"] == 101
    assert (line["bytes_in"], line["bytes_out"]) == (1008 + 8, 1004 + 4)  # the message and the Close
    assert (moved("in") - bytes_in, moved("out") - bytes_out) == (1016, 1008)
    assert labelled(between, "fig_tunnels", **labels) == 0
    assert labelled(between, "fig_requests_total", **labels, code="101") == answered + 1


# --- the switch, on raw sockets --------------------------------------------------------------------------------------


def upgrade(target: str = "/ws", *lines: str, protocol: str = "websocket") -> bytes:
    head = [
        f"GET {target} HTTP/1.1",
        "Host: proxy.test",
        "Connection: Upgrade",
        f"Upgrade: {protocol}",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *lines,
    ]
    return ("\r\n".join(head) + "\r\n\r\n").encode("ascii")


def switching(*lines: str) -> bytes:
    return ("\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines]) + "\r\n\r\n").encode("ascii")


MATCHING = switching("Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Accept: {ACCEPT}")


@pytest.mark.parametrize(
    ("status", "extra"), [("200 OK", ""), ("401 Unauthorized", "WWW-Authenticate: Basic realm=x\r\n"), ("426 No", "")]
)
def test_an_upgrade_may_be_answered_plainly(origin: Origin, client: RawClient, status: str, extra: str) -> None:
    def behave(connection: Connection) -> None:
        assert connection.read() is not None
        connection.send(f"HTTP/1.1 {status}\r\n{extra}Content-Length: 5\r\n\r\nplain".encode("ascii"))
        while connection.read() is not None:
            connection.send(OK)

    origin.behave = behave
    for request, expected in ((upgrade(), b"plain"), (get("/after"), b"ok")):
        client.send(request)
        answer = client.answer()
        assert answer.body == expected
    assert len(origin.connections) == 1
    assert origin.requests[0].value("upgrade") == "websocket"
    assert origin.requests[1].value("upgrade") is None


def test_a_426_says_to_what(origin: Origin, client: RawClient) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nContent-Length: 0\r\n\r\n")

    origin.behave = behave
    answer = client.get("/")
    assert answer.status == 426
    assert answer.value("upgrade") == "websocket"


@pytest.mark.parametrize(
    "answer",
    [
        switching("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        switching("Connection: Upgrade", "Upgrade: websocket"),
        switching("Connection: Upgrade", "Upgrade: other", f"Sec-WebSocket-Accept: {ACCEPT}"),
        switching("Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}"),
        switching("Upgrade: websocket", f"Sec-WebSocket-Accept: {ACCEPT}"),
    ],
    ids=["other accept", "no accept", "other protocol", "no protocol", "no connection option"],
)
def test_a_switch_that_was_not_asked_for_is_a_502(origin: Origin, client: RawClient, answer: bytes) -> None:
    closed: list[bool] = []

    def behave(connection: Connection) -> None:
        if connection.read_head() is not None:
            connection.send(answer)
            closed.append(connection.wait_closed(3))

    origin.behave = behave
    client.send(upgrade())
    reply = client.answer()
    assert reply.status == 502
    assert json.loads(reply.body)["reason"] == "upstream_protocol"
    assert until(lambda: closed == [True])


def test_no_byte_of_the_client_goes_on_before_the_switch(origin: Origin, client: RawClient) -> None:
    before: list[bytes] = []
    early, late = b"\x82\x82\x00\x00\x00\x00hi", b"\x82\x81\x00\x00\x00\x00!"

    def behave(connection: Connection) -> None:
        assert connection.read_head() is not None
        connection.sock.settimeout(0.3)
        try:
            before.append(connection.buffer + connection.sock.recv(100))
        except TimeoutError:
            before.append(connection.buffer)
        connection.sock.settimeout(5)
        connection.send(MATCHING + b"\x82\x03you")
        while len(connection.buffer) < len(early + late):
            connection.buffer += connection.recv()
        connection.send(b"\x82\x02" + connection.buffer[6:8])

    origin.behave = behave
    client.send(upgrade() + early)
    answer = client.answer()
    assert answer.status == 101
    assert answer.values("upgrade") == ["websocket"]
    assert answer.value("sec-websocket-accept") == ACCEPT
    client.send(late)
    client.ends()
    assert client.buffer == b"\x82\x03you\x82\x02hi"
    assert before == [b""]


def test_what_follows_a_pipelined_upgrade_waits_for_the_answer_to_that(origin: Origin, client: RawClient) -> None:
    early = b"\x82\x82\x00\x00\x00\x00hi"
    answered = threading.Event()

    def behave(connection: Connection) -> None:
        assert connection.read() is not None
        connection.send(OK)
        assert connection.read() is not None
        answered.wait(5)
        connection.send(MATCHING)
        while len(connection.buffer) < 2 * len(early) and not connection.eof:
            connection.buffer += connection.recv()
        connection.send(b"\x82\x04%b" % (connection.buffer[6:8] + connection.buffer[14:16]))

    origin.behave = behave
    client.send(get("/before") + upgrade() + early)
    assert client.answer().body == b"ok"
    client.send(early)
    assert until(lambda: len(origin.requests) == 2)
    answered.set()
    assert client.answer().status == 101
    client.ends()
    assert client.buffer == b"\x82\x04hihi"


def test_what_follows_an_upgrade_on_a_last_request_goes_on_too(origin: Origin, client: RawClient) -> None:
    early = b"\x82\x82\x00\x00\x00\x00hi"
    sent = threading.Event()

    def behave(connection: Connection) -> None:
        assert connection.read_head() is not None
        sent.wait(5)
        time.sleep(0.05)  # fig has read them by now
        connection.send(MATCHING)
        while len(connection.buffer) < len(early) and not connection.eof:
            connection.buffer += connection.recv()
        connection.send(b"\x82\x02" + connection.buffer[6:8])

    origin.behave = behave
    client.send(upgrade().replace(b"Connection: Upgrade", b"Connection: close, Upgrade"))
    assert until(lambda: len(origin.requests) == 1)
    client.send(early)
    sent.set()
    assert client.answer().status == 101
    client.ends(2)
    assert client.buffer == b"\x82\x02hi"


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "426 No"])
@pytest.mark.parametrize("protocol", ["websocket", "h2c", ""])
def test_what_follows_a_refused_upgrade_is_http(origin: Origin, client: RawClient, status: str, protocol: str) -> None:
    def behave(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            body = request.target.encode()
            line = "200 OK" if request.target == "/plain" else status
            connection.send(f"HTTP/1.1 {line}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    origin.behave = behave
    first, second = upgrade("/first", protocol=protocol), upgrade("/second", protocol=protocol)
    requests = get("/plain") + first + get("/plain") + second + first + get("/plain")
    client.send(requests[:-60])  # the end comes apart
    time.sleep(0.02)
    client.send(requests[-60:])
    expected = ["/plain", "/first", "/plain", "/second", "/first", "/plain"]
    assert [client.answer().body.decode() for _ in expected] == expected
    assert [request.target for request in origin.requests] == expected
    assert len(origin.connections) == 1


def test_bytes_that_are_no_http_after_a_refused_upgrade_are_a_400(origin: Origin, client: RawClient) -> None:
    client.send(upgrade() + b"\x82\x82\x00\x00\x00\x00hi")
    assert client.answer().status == 200
    assert client.answer().status == 400
    assert client.ends()
    assert [request.target for request in origin.requests] == ["/ws"]


def test_a_protocol_that_is_not_configured_is_not_asked_for(origin: Origin, client: RawClient) -> None:
    client.send(upgrade(protocol="h2c"))
    assert client.answer().status == 200
    assert client.get("/after").status == 200
    assert origin.requests[0].value("upgrade") is None


def test_another_configured_protocol_may_end_one_direction_only(serve: Serve, origin: Origin) -> None:
    fig = serve(("  limits:", "  upgrades: [websocket, raw]\n  limits:"))
    seen = threading.Event()

    def behave(connection: Connection) -> None:
        assert connection.read_head() is not None
        connection.send(switching("Connection: Upgrade", "Upgrade: raw"))
        while not connection.eof:
            connection.buffer += connection.recv()
        seen.set()
        connection.send(b"heard " + connection.buffer)

    origin.behave = behave
    with RawClient(fig.address) as client:
        client.send(upgrade(protocol="raw"))
        assert client.answer().status == 101
        client.send(b"all of it")
        client.half_close()
        assert seen.wait(5)
        client.ends()
        assert client.buffer == b"heard all of it"
    assert until(lambda: quiet(fig))
    assert labelled(fig, "fig_tunnels_ended_total", end="client") == 1
