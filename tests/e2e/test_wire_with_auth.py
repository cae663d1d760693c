"""Asking for a credential changes nothing on the wire: the requests that the fuzz tests begin with, sound and broken,
are answered and forwarded as without, byte for byte but for the credential."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.keyed import keyed
from tests.support.mutate import seeds
from tests.support.origin import Connection, Origin

KEY = b"X-API-Key: let-me-in"
CONFIG = """
version: 1
server: {listen: "{data}", timeouts: {head_s: 0.5, body_s: 0.5, write_s: 1, keepalive_s: 0.25}}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
upstreams: {origin: {endpoints: ["ORIGIN"], timeouts: {connect_s: 1, response_s: 2, body_s: 2}}}
default: origin
auth: {api_keys: {keys: {client: {sha256: "HASH"}, other: {sha256: "OTHER"}}}}
seams:
  all: {routes: [{path: /**}], AUTH}
  admin: {routes: [{path: /admin/**}], auth: {api_keys: [other]}}
"""
AUTH = "auth: {api_keys: [client]}"
ACL = (
    "/admin",
    "/admin/",
    "/admin/x",
    "//admin/x",
    "/public/../admin/x",
    "/public/%2e%2e/admin/x",
    "/public/%2E%2e%2fadmin/x",
    "/public/..%2fadmin/x",
    "/%61dmin/x",
    "/public/..;/admin/x",
    "/admin;a=b/x",
    "/ADMIN/x",
    "http://proxy.test/admin/x",
    "/x/../../admin/x",
)
# What differs between any two exchanges, and what fig's own errors say of the place of a fault.
_VOLATILE = re.compile(
    rb'(?mi)^(?:x-request-id|traceparent|date|via): [^\r]*\r\n|"request_id":"[^"]*"|"detail":"[^"]*"'
)


@dataclass
class Pair:
    """The same fig twice: one lets in everybody, one who has the key; below `/admin` neither does."""

    open: Fig
    guarded: Fig
    behind_open: Origin
    behind_guarded: Origin


def _recording(connection: Connection) -> None:
    """One exchange a connection: nothing that is left over of one can be taken for a part of the next."""
    if (request := connection.read()) is not None:
        body = b"" if request.line.startswith("HEAD ") else b"ok"
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n" + body)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    origins = Origin(_recording), Origin(_recording)
    texts = [CONFIG.replace("ORIGIN", origin.url) for origin in origins]
    texts = [
        text.replace("HASH", sha256(b"let-me-in").hexdigest()).replace("OTHER", sha256(b"other").hexdigest())
        for text in texts
    ]
    with (
        Fig(tmp_path_factory.mktemp("open"), texts[0].replace("AUTH", "owner: nobody")) as first,
        Fig(tmp_path_factory.mktemp("guarded"), texts[1].replace("AUTH", AUTH)) as second,
    ):
        yield Pair(first, second, *origins)
    for fig in (first, second):
        assert "Traceback" not in fig.errors()
    for origin in origins:
        origin.close()


def _said(fig: Fig, data: bytes) -> bytes:
    """All that is answered until fig closes: it does when the next head is late."""
    with RawClient(fig.address, timeout_s=5) as client:
        client.send(data)
        while client._more():
            pass
        said = _VOLATILE.sub(b"", client.buffer)
        return re.sub(rb"Content-Length: \d+", b"", said) if b"application/problem+json" in said else said


def _saw(origin: Origin) -> list[tuple[bytes, bytes]]:
    return sorted((_VOLATILE.sub(b"", request.head), request.body) for request in origin.requests)


def test_every_seed_is_answered_and_forwarded_as_without(pair: Pair) -> None:
    requests = seeds("requests")
    with ThreadPoolExecutor(32) as pool:
        without = list(pool.map(lambda data: _said(pair.open, data), requests))
        within = list(pool.map(lambda data: _said(pair.guarded, keyed(data, KEY)), requests))
    assert len(requests) > 200
    assert sum(answer.startswith(b"HTTP/1.1 200") for answer in within) > 70
    for data, expected, answer in zip(requests, without, within, strict=True):
        assert answer == expected, data[:300]
    assert _saw(pair.behind_guarded) == _saw(pair.behind_open)
    assert not [request for request in pair.behind_guarded.requests if b"let-me-in" in request.head]


def test_without_the_key_no_seed_reaches_the_origin(pair: Pair) -> None:
    pair.behind_guarded.reset(_recording)
    sent = seeds("requests")
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda data: _said(pair.guarded, data), sent))
    by_fig_itself = [data for data, answer in zip(sent, answers, strict=True) if answer[9:12] == b"200"]
    assert all(data.startswith(b"OPTIONS") and b"Max-Forwards: 0" in data for data in by_fig_itself)
    statuses = {answer[9:12] for answer in answers if answer}
    assert not [status for status in statuses if status.startswith(b"5") and status not in (b"501", b"505", b"508")]
    time.sleep(0.1)
    assert not pair.behind_guarded.requests


@pytest.mark.parametrize("target", ACL)
def test_a_credential_for_the_rest_opens_no_spelling_of_what_asks_for_another(pair: Pair, target: str) -> None:
    pair.behind_guarded.reset(_recording)
    with RawClient(pair.guarded.address) as client:
        assert client.get("/public/x", KEY.decode()).status == 200
    with RawClient(pair.guarded.address) as client:
        assert client.get(target, KEY.decode()).status in (400, 401)
    assert [request.target for request in pair.behind_guarded.requests] == ["/public/x"]
