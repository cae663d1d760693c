"""An issuer changes its keys under load: whoever signs with a key that is published is never turned away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.fig import Fig
from tests.support.load import Background, NamedOrigin
from tests.support.origin import Origin
from tests.support.publisher import Publisher
from tests.support.tokens import AUDIENCE, ISSUER, b64, public_members, signature
from tests.support.wire import metric

CONFIG = """
version: 1
server: {listen: "{data}"}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
upstreams: {origin: {endpoints: ["ORIGIN"]}}
default: origin
auth:
  issuers:
    shop:
      issuer: "https://issuer.test"
      audience: proxy-api
      jwks_url: "KEYS"
      cooldown_s: PAUSE
      refresh_s: REFRESH
      timeout_s: TIME
seams:
  api: {routes: [{path: /api/**}], auth: {issuers: [shop]}}
"""
CONNECTIONS = 4
BATCH = 25


class Issuer:
    """Signs with its newest key that may be used, and publishes what `published` lists."""

    def __init__(self) -> None:
        self.publisher = Publisher(b"")
        self.origin = Origin(self.publisher)
        self.published: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.signing = self.add()
        self.issued = 0

    def add(self) -> str:
        """Publish one more key, and do not sign with it yet; its name."""
        name = f"k{len(self.published) and int(list(self.published)[-1][1:]) + 1}"
        self.published[name] = ec.generate_private_key(ec.SECP256R1())
        self._publish()
        return name

    def retire(self) -> None:
        """Publish nothing but the key that signs."""
        self.published = {self.signing: self.published[self.signing]}
        self._publish()

    def token(self) -> str:
        """Fresh: no cache has seen it."""
        self.issued += 1
        now = int(time.time())
        header = {"alg": "ES256", "typ": "at+jwt", "kid": self.signing}
        claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 60, "sub": "alice", "jti": self.issued}
        signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{signed}.{b64(signature(self.published[self.signing], signed.encode(), 'ES256'))}"

    def _publish(self) -> None:
        keys = [{**public_members(key), "kid": name, "alg": "ES256"} for name, key in self.published.items()]
        self.publisher.publish(json.dumps({"keys": keys}).encode())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.origin.close()


@pytest.fixture
def origin(background: Background) -> Iterator[NamedOrigin]:
    made = NamedOrigin("origin")
    background.run(made.listen())
    yield made
    background.run(made.close())


def _config(issuer: Issuer, origin: NamedOrigin, pause_s: float, refresh_s: float = 300) -> str:
    text = CONFIG.replace("ORIGIN", origin.url).replace("KEYS", f"{issuer.origin.url}/jwks.json")
    return (
        text.replace("PAUSE", str(pause_s)).replace("REFRESH", str(refresh_s)).replace("TIME", str(min(refresh_s, 5)))
    )


def _request(token: str) -> bytes:
    return f"GET /api/x HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


async def _answered(reader: asyncio.StreamReader) -> int:
    """The status of one answer, read to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
    return int(head.split(" ")[1])


async def _status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> int:
    writer.write(_request(token))
    return await _answered(reader)


class Clients:
    """Some connections on which batches of requests are pipelined, each with a token of its own."""

    def __init__(self, fig: Fig, issuer: Issuer) -> None:
        self.statuses: dict[int, int] = {}
        self._fig = fig
        self._issuer = issuer

    async def ask(self, requests: int) -> None:
        """That many, spread over the connections. All are answered when it returns."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._one(requests // CONNECTIONS))

    async def _one(self, requests: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._fig.port)
        for _ in range(requests // BATCH):
            tokens = [self._issuer.token() for _ in range(BATCH)]
            writer.write(b"".join(map(_request, tokens)))
            for _ in tokens:
                status = await _answered(reader)
                self.statuses[status] = self.statuses.get(status, 0) + 1
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("requests", [4_000, pytest.param(20_000, marks=pytest.mark.soak)])
def test_no_token_is_refused_while_keys_come_and_go(
    issuer: Issuer, origin: NamedOrigin, background: Background, tmp_path: Path, requests: int
) -> None:
    """A new key signs in the moment in which it is published, and the old one is gone as soon as it signs no more."""
    rotations = 20
    with Fig(tmp_path, _config(issuer, origin, 10)) as fig:
        clients = Clients(fig, issuer)

        async def load() -> None:
            for _ in range(rotations):
                await clients.ask(requests // rotations // 2)
                issuer.signing = issuer.add()
                await clients.ask(requests // rotations // 2)
                issuer.retire()

        background.run(load(), 100)
        assert clients.statuses == {200: requests}
        assert issuer.issued == requests
        assert len(origin.arrivals) == requests
        assert len(issuer.origin.requests) == 1 + rotations
        assert metric(fig, "fig_auth_total") == requests


def test_strangers_cannot_make_a_rotation_fail(
    issuer: Issuer, origin: NamedOrigin, background: Background, tmp_path: Path
) -> None:
    """They keep the pause between two fetches going all the time; the issuer publishes a key one pause ahead."""
    pause_s = 0.2
    with Fig(tmp_path, _config(issuer, origin, pause_s)) as fig:
        clients, refused = Clients(fig, issuer), [0]

        async def strangers() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", fig.port)
            _, payload, tail = issuer.token().split(".")
            try:
                while True:
                    refused[0] += 1
                    kid = b64(json.dumps({"alg": "ES256", "kid": f"x{refused[0]}"}).encode())
                    assert await _status(reader, writer, f"{kid}.{payload}.{tail}") == 401
            finally:
                writer.close()

        async def load() -> None:
            attack = asyncio.create_task(strangers())
            for _ in range(5):
                fresh = issuer.add()
                began = time.monotonic()
                while time.monotonic() - began < pause_s * 1.25:
                    await clients.ask(CONNECTIONS * BATCH)
                issuer.signing = fresh
                await clients.ask(CONNECTIONS * BATCH)
                issuer.retire()
            attack.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await attack

        background.run(load(), 100)
        assert set(clients.statuses) == {200}
        assert refused[0] > 50
        assert len(origin.arrivals) == clients.statuses[200]


def test_a_withdrawn_key_is_good_for_nothing_after_the_next_fetch(
    issuer: Issuer, origin: NamedOrigin, background: Background, tmp_path: Path
) -> None:
    """Not even for a token that was good a moment ago, and is remembered."""
    with Fig(tmp_path, _config(issuer, origin, 0.1, refresh_s=0.3)) as fig:
        clients = Clients(fig, issuer)
        old, leaked = issuer.token(), issuer.signing
        stolen = issuer.published[leaked]

        async def status(token: str) -> int:
            reader, writer = await asyncio.open_connection("127.0.0.1", fig.port)
            try:
                return await _status(reader, writer, token)
            finally:
                writer.close()

        assert background.run(status(old)) == 200
        issuer.signing = issuer.add()
        issuer.retire()
        deadline = time.monotonic() + 3
        while background.run(status(old)) == 200:
            assert time.monotonic() < deadline, "a withdrawn key stays in use"
            time.sleep(0.02)
        assert background.run(status(old)) == 401
        issuer.published[leaked] = stolen
        now, issuer.signing = issuer.signing, leaked
        assert background.run(status(issuer.token())) == 401
        issuer.signing = now
        background.run(clients.ask(CONNECTIONS * BATCH))
        assert clients.statuses == {200: CONNECTIONS * BATCH}
