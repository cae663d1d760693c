"""CORS through a running fig: what a page of another origin gets to, on routes that take some methods only and over
WebSocket."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from hashlib import sha256

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin
from tests.support.wire import OK

CONFIG = """
version: 1
server: {listen: "{data}", trusted_proxies: [127.0.0.1/32]}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
upstreams: {origin: {endpoints: ["ORIGIN"]}}
default: origin
auth: {api_keys: {keys: {page: {sha256: "HASH"}}}}
seams:
  pages:
    routes: [{path: /pages/**, methods: [GET, PUT]}]
    cors: {allow_origins: ["https://shop.example"], allow_methods: [GET, PUT]}
    auth: {api_keys: [page]}
    access: {deny: [192.0.2.0/24]}
  others: {routes: [{path: /pages/**, methods: [PATCH]}]}
"""
SHOP, EVIL = "Origin: https://shop.example", "Origin: https://evil.example"
HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {base64.b64encode(b'0123456789abcdef').decode()}",
    "X-API-Key: let me in",
)
SWITCHED = (
    b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: BACScCJPNqyz+UBoqMH89VmURoA=\r\n\r\n"
)


def _answer(connection: Connection) -> None:
    while (request := connection.read_head()) is not None:
        connection.read_body(request)
        if request.value("upgrade") is not None:
            connection.send(SWITCHED)
            connection.wait_closed(10)
            return
        connection.send(OK)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    origin = Origin(_answer)
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def fig(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fig]:
    text = CONFIG.replace("ORIGIN", origin.url).replace("HASH", sha256(b"let me in").hexdigest())
    with Fig(tmp_path_factory.mktemp("cors"), text) as running:
        yield running
    assert "Traceback" not in running.errors()


def test_a_preflight_goes_by_the_method_that_it_asks_for(fig: Fig, origin: Origin) -> None:
    before = len(origin.requests)
    with RawClient(fig.address) as client:
        for line, allowed in ((SHOP, ["https://shop.example"]), (EVIL, [])):
            answer = client.get("/pages/1", line, "Access-Control-Request-Method: PUT", method="OPTIONS")
            assert (answer.status, answer.values("access-control-allow-origin")) == (204, allowed)
        assert len(origin.requests) == before
        # Nobody at the gateway answers for these: another seam's method, none's, and no preflight.
        for lines in ((SHOP, "Access-Control-Request-Method: PATCH"), (SHOP, "Access-Control-Request-Method: X"), ()):
            assert client.get("/pages/1", *lines, method="OPTIONS").status == 200
    assert len(origin.requests) == before + 3


def test_a_preflights_word_opens_nothing_to_other_requests(fig: Fig, origin: Origin) -> None:
    before = len(origin.requests)
    with RawClient(fig.address) as client:
        for method in ("GET", "PUT"):
            answer = client.get("/pages/1", SHOP, "Access-Control-Request-Method: PATCH", method=method)
            assert answer.status == 401
    assert len(origin.requests) == before


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((), 101),
        ((SHOP,), 101),
        (("Origin: https://proxy.test",), 101),  # a page of this host
        (("Origin: https://front.test", "X-Forwarded-Host: front.test"), 101),
        ((EVIL,), 403),
        (("Origin: null",), 403),
        ((SHOP, EVIL), 403),
    ],
)
def test_a_page_of_an_origin_that_is_not_listed_opens_no_websocket(
    fig: Fig, origin: Origin, lines: tuple[str, ...], status: int
) -> None:
    before = len(origin.requests)
    with RawClient(fig.address) as client:
        head = "\r\n".join(("GET /pages/ws HTTP/1.1", "Host: proxy.test", *HANDSHAKE, *lines, "", ""))
        client.send(head.encode())
        assert client.sock.recv(12) == f"HTTP/1.1 {status}".encode()
    assert len(origin.requests) == before + (status == 101)
