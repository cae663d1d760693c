"""A WebSocket that a token let in ends with the token, with Close 1008 to both sides; and without one none begins."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.support.fig import Fig
from tests.support.tokens import Keyring
from tests.support.wire import access_line, until

CONFIG = """
version: 1
server: {listen: "{data}"}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: json}
upstreams: {chat: {endpoints: ["http://127.0.0.1:CHAT"]}}
default: chat
auth:
  identity: {subject: x-user-id}
  issuers:
    shop: {issuer: "https://issuer.test", audience: proxy-api, jwks_file: keys.json, leeway_s: 0}
    late: {issuer: "https://late.test", audience: proxy-api, jwks_file: keys.json, leeway_s: 30}
seams:
  chat: {routes: [{path: /chat/**}], auth: {issuers: [shop, late]}}
  watched: {routes: [{path: /watched/**}], auth: {issuers: [shop], mode: observe}}
"""


@dataclass
class Ended:
    """A connection as the server saw it end. `at` is a wall-clock time."""

    path: str
    code: int | None
    at: float


class Chat:
    """A WebSocket server that echoes; `joined` are the paths and users of those that came, `ended` how they left."""

    def __init__(self) -> None:
        self.joined: list[tuple[str, str | None]] = []
        self.ended: list[Ended] = []
        self._server = serve(self._talk, "127.0.0.1", 0)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        path = socket.request.path
        self.joined.append((path, socket.request.headers.get("x-user-id")))
        try:
            while True:
                socket.send(socket.recv())
        except ConnectionClosed:
            self.ended.append(Ended(path, socket.close_code, time.time()))

    def code(self, path: str) -> int | None:
        assert until(lambda: any(one.path == path for one in self.ended))
        return next(one.code for one in self.ended if one.path == path)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(5)


@pytest.fixture(scope="module")
def chat() -> Iterator[Chat]:
    made = Chat()
    yield made
    made.close()


@pytest.fixture(scope="module")
def fig(chat: Chat, keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fig]:
    folder = tmp_path_factory.mktemp("expiry")
    (folder / "keys.json").write_bytes(keyring.jwks("rsa1"))
    with Fig(folder, CONFIG.replace("CHAT", str(chat.port))) as running:
        yield running
    assert "Traceback" not in running.errors()


def _join(fig: Fig, path: str, token: str | None) -> ClientConnection:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return connect(f"ws://127.0.0.1:{fig.port}{path}", additional_headers=headers, proxy=None)


def _ends(socket: ClientConnection) -> tuple[int | None, float]:
    """Talks all the time, until it is closed: with which code, and when."""
    try:
        while True:
            socket.send("still here")
            assert socket.recv(timeout=5) == "still here"
            time.sleep(0.01)
    except ConnectionClosed:
        return socket.close_code, time.time()


def test_a_tunnel_ends_when_its_token_does(fig: Fig, chat: Chat, keyring: Keyring) -> None:
    expires_s = int(time.time()) + 2
    with _join(fig, "/chat/short", keyring.token(time.time(), exp=expires_s)) as socket:
        code, at = _ends(socket)
    assert code == 1008
    assert 0 <= at - expires_s < 1.5
    assert chat.code("/chat/short") == 1008
    assert ("/chat/short", "alice") in chat.joined
    line = access_line(fig, "/chat/short")
    assert line["status"] == 101


def test_a_silent_tunnel_ends_as_well(fig: Fig, chat: Chat, keyring: Keyring) -> None:
    expires_s = time.time() + 0.8
    with _join(fig, "/chat/silent", keyring.token(time.time(), exp=expires_s)) as socket:
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=5)
        assert 0 <= time.time() - expires_s < 1.5
        assert socket.close_code == 1008
    assert chat.code("/chat/silent") == 1008


def test_a_tunnel_whose_token_lives_on_is_left_alone(fig: Fig, chat: Chat, keyring: Keyring) -> None:
    with _join(fig, "/chat/long", keyring.token(time.time(), exp=int(time.time()) + 3600)) as socket:
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            socket.send("x")
            assert socket.recv(timeout=5) == "x"
            time.sleep(0.05)
    assert chat.code("/chat/long") == 1000


@pytest.mark.parametrize("kind", ["none", "expired", "stranger", "garbage"])
def test_without_a_good_token_no_tunnel_begins(fig: Fig, chat: Chat, keyring: Keyring, kind: str) -> None:
    now = time.time()
    tokens = {
        "none": None,
        "expired": keyring.token(now, exp=int(now) - 1),
        "stranger": keyring.token(now, "attacker", {"kid": "rsa1"}),
        "garbage": "abc",
    }
    before = len(chat.joined)
    with pytest.raises(InvalidStatus) as refused:
        _join(fig, "/chat/x", tokens[kind])
    assert refused.value.response.status_code == 401
    assert refused.value.response.headers["www-authenticate"].startswith("Bearer")
    assert json.loads(refused.value.response.body or b"")["reason"] == "unauthenticated"
    assert len(chat.joined) == before


def test_a_token_that_only_leeway_lets_in_keeps_no_tunnel(fig: Fig, chat: Chat, keyring: Keyring) -> None:
    now = time.time()
    with _join(fig, "/chat/late", keyring.token(now, iss="https://late.test", exp=int(now) - 5)) as socket:
        code, at = _ends(socket)
    assert (code, chat.code("/chat/late")) == (1008, 1008)
    assert at - now < 2


def test_where_it_is_only_observed_nothing_ends(fig: Fig, chat: Chat, keyring: Keyring) -> None:
    expires_s = time.time() + 0.6
    with (
        _join(fig, "/watched/short", keyring.token(time.time(), exp=expires_s)) as socket,
        _join(fig, "/watched/nobody", None) as stranger,
    ):
        while time.time() < expires_s + 1.2:
            for one in (socket, stranger):
                one.send("x")
                assert one.recv(timeout=5) == "x"
            time.sleep(0.02)
    assert (chat.code("/watched/short"), chat.code("/watched/nobody")) == (1000, 1000)
