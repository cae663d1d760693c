"""The door in the life of a request: who is turned away, in which order, and what upstreams get to see. One fig, real
sockets, and the origins' own logs as witnesses."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256
from itertools import count
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.support.client import Answer, RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin, Request, resetting
from tests.support.tokens import AUDIENCE, ISSUER, Keyring
from tests.support.wire import OK, metric, until

CONFIG = """
version: 1
server: {listen: "{data}", debug_headers: true, trusted_proxies: [127.0.0.0/8]}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
auth:
  issuers:
    shop: {issuer: "ISSUER", audience: "AUDIENCE", jwks_url: "KEYS/jwks.json", algorithms: [RS256]}
  identity:
    subject: x-user-id
    scopes: x-user-scopes
    token: {issuer: fig.test, audience: inside, ttl_s: 60, public_path: /.well-known/inside.json}
  api_keys:
    keys:
      partner: {sha256: "PARTNER", scopes: ["a:read"], rate_limit: [{name: contract, requests: 3, window_s: 600}]}
      other: {sha256: "OTHER", scopes: ["a:read"]}
      weak: {sha256: "WEAK", scopes: ["b:read"]}
upstreams:
  old: {endpoints: ["OLD"]}
  new: {endpoints: ["NEW"]}
default: old
seams:
  order:
    routes: [{path: /order/**}]
    extracted: new
    stage: extracted
    access: {deny: [203.0.113.0/24]}
    auth: {issuers: [shop], all_scopes: ["order:read"]}
    rate_limit:
      - {name: per-ip, requests: 3, window_s: 600, by: client_ip}
      - {name: per-user, requests: 1, window_s: 600, by: jwt.sub}
  open: {routes: [{path: /open/**}], extracted: new, stage: extracted}
  guarded:
    routes: [{path: /guarded/**}]
    extracted: new
    stage: extracted
    auth: {issuers: [shop]}
  sticky:
    routes: [{path: /sticky/**}]
    extracted: new
    stage: canary
    percent: 50
    sticky_by: [jwt.sub]
    auth: {issuers: [shop]}
  mirrored: {routes: [{path: /mirrored/**}], extracted: new, stage: shadow, shadow: {ANY}}
  mirrored-guarded:
    routes: [{path: /mirrored-guarded/**}]
    extracted: new
    stage: shadow
    shadow: {ANY}
    auth: {issuers: [shop], api_keys: [other]}
  retried:
    routes: [{path: /retried/**}]
    extracted: new
    stage: extracted
    retry: {retries: 1, on: [connect, reset]}
    auth: {issuers: [shop], api_keys: [other]}
  fallen:
    routes: [{path: /fallen/**}]
    extracted: new
    stage: extracted
    fallback: legacy
    auth: {issuers: [shop], api_keys: [other]}
  partners-a:
    routes: [{path: /partners-a/**}]
    extracted: new
    stage: extracted
    auth: {api_keys: [partner, other, weak], all_scopes: ["a:read"]}
  partners-b:
    routes: [{path: /partners-b/**}]
    auth: {api_keys: [partner]}
  blocked: {routes: [{path: /blocked/**}], rate_limit: [{name: closed, requests: 0, window_s: 60}]}
  steady: {routes: [{path: /steady/**}], rate_limit: [{name: steady, requests: 5, window_s: 600, by: client_ip}]}
  watched:
    routes: [{path: /watched/**}]
    auth: {issuers: [shop], all_scopes: ["watched:read"], mode: observe}
    rate_limit: [{name: watching, requests: 1, window_s: 600, by: client_ip, mode: observe}]
  networks:
    routes: [{path: /networks/**}]
    access: {allow: [10.0.0.0/8, "2001:db8::/32"], deny: [10.66.0.0/16]}
  pages:
    routes: [{path: /pages/**}]
    extracted: new
    stage: extracted
    cors:
      allow_origins: ["https://shop.example"]
      allow_methods: [GET, PUT]
      allow_headers: [authorization]
      expose_headers: [x-total-count]
      allow_credentials: true
      max_age_s: 60
    auth: {issuers: [shop]}
    rate_limit: [{name: pages, requests: 2, window_s: 600, by: client_ip}]
  upload: {routes: [{path: /upload/**, max_body_bytes: 100}, {path: /upload/large/**}]}
  later: {routes: [{path: /later/**}], extracted: new, stage: extracted}
"""
ANY = "sample_percent: 100, max_per_s: null, control_percent: 100"
SECRETS = {"PARTNER": "fig_partner", "OTHER": "fig_other", "WEAK": "fig_weak"}
EVIL = (
    "X-User-Id: evil",
    "X-USER-ID: evil",
    "x_user_id: evil",
    "X-User_Id: evil",
    "X_USER_ID: evil",
    "X-User-Scopes: evil",
    "X_User_Scopes: evil",
    "x-user_scopes: evil",
    "X-Fig-Identity: evil",
    "X-FIG-IDENTITY: evil",
    "X_Fig_Identity: evil",
)
HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {b64encode(b'0123456789abcdef').decode()}",
)
FAILURE = b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"
PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\n"
    b"access-control-expose-headers: x-secret\r\nX-Total-Count: 7\r\n\r\nok"
)
ACCEPTED = b"Sec-WebSocket-Accept: BACScCJPNqyz+UBoqMH89VmURoA=\r\n"


class Upstream(Origin):
    """Answers as the path asks for; keeps what arrived, trailers in the body."""

    def __init__(self, name: str) -> None:
        super().__init__(self._answer)
        self.name = name
        self._seen: set[str] = set()

    def _answer(self, connection: Connection) -> None:
        while (request := connection.read_head()) is not None:
            if request.value("transfer-encoding") == "chunked":
                while not connection.buffer.endswith(b"\r\n\r\n") and not connection.eof:
                    connection.buffer += connection.recv()
                request.body, connection.buffer = connection.buffer, b""
            else:
                connection.read_body(request)
            kind = request.target.split("/")[1]
            if kind == "retried" and request.target not in self._seen:
                self._seen.add(request.target)
                connection.reset()
                return
            failing = kind == "fallen" and self.name == "new"
            if request.value("upgrade") is not None and not failing:
                connection.send(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + ACCEPTED + b"\r\n")
                connection.wait_closed(10)
                return
            connection.send(FAILURE if failing else PAGE if kind == "pages" else OK)

    def heads(self, target: str) -> list[Request]:
        return [request for request in self.requests if request.target == target]


@dataclass
class Stage:
    fig: Fig
    old: Upstream
    new: Upstream
    keys: Origin
    keyring: Keyring
    text: str
    _clients: Iterator[int]
    _targets: Iterator[int]

    def client(self) -> str:
        """The address of a client that has not been seen yet, as a header line."""
        number = next(self._clients)
        return f"X-Forwarded-For: 198.51.{number // 250}.{number % 250 + 1}"

    def target(self, seam: str) -> str:
        return f"/{seam}/{next(self._targets)}"

    def bearer(self, **claims: Any) -> str:
        return f"Authorization: Bearer {self.keyring.token(time.time(), **claims)}"

    def get(self, target: str, *lines: str, method: str = "GET") -> Answer:
        """On a connection of its own, by a client of its own unless the lines name one."""
        if not any(line.startswith("X-Forwarded-For") for line in lines):
            lines = (self.client(), *lines)
        with RawClient(self.fig.address) as client:
            return client.get(target, *lines, method=method)

    def hits(self, target: str) -> int:
        return len(self.old.heads(target)) + len(self.new.heads(target))

    def counted(self, line: str) -> float:
        """The value of one metric, labels included; 0 where it is not there."""
        for text in self.fig.call("GET", "/metrics").text.splitlines():
            name, _, value = text.rpartition(" ")
            if name == line:
                return float(value)
        return 0.0

    def auth(self, outcome: str) -> float:
        return self.counted(f'fig_auth_total{{outcome="{outcome}"}}')

    def limit(self, name: str, outcome: str) -> float:
        return self.counted(f'fig_rate_limit_total{{limit="{name}",outcome="{outcome}"}}')

    def reload(self, *changes: tuple[str, str]) -> None:
        """The configuration with each old text replaced by the new one takes effect."""
        text = self.text
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} is not in the configuration once"
            text = text.replace(old, new)
        self.fig.write(text)
        answer = self.fig.call("POST", "/api/reload")
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, keyring: Keyring) -> Iterator[Stage]:
    published = keyring.jwks("rsa1")

    def publish(connection: Connection) -> None:
        while connection.read() is not None:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(published)
            connection.send(head + published)

    old, new, keys = Upstream("old"), Upstream("new"), Origin(publish)
    values = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "KEYS": keys.url, "OLD": old.url, "NEW": new.url, "ANY": ANY}
    values |= {name: sha256(secret.encode()).hexdigest() for name, secret in SECRETS.items()}
    text = CONFIG
    for name, value in values.items():
        for mark in (f'"{name}"', f"{{{name}}}", f'"{name}/'):
            text = text.replace(mark, mark.replace(name, value))
    with Fig(tmp_path_factory.mktemp("door"), text) as fig:
        yield Stage(fig, old, new, keys, keyring, text, count(), count())
        assert "Traceback" not in fig.errors(), fig.errors()
    for origin in (old, new, keys):
        origin.close()


@pytest.fixture
def reloaded(stage: Stage) -> Iterator[Callable[..., None]]:
    yield stage.reload
    stage.reload()


def problem(answer: Answer) -> dict[str, Any]:
    assert answer.value("content-type") == "application/problem+json"
    found: dict[str, Any] = json.loads(answer.body)
    assert found["status"] == answer.status
    assert found["request_id"] == answer.value("x-request-id")
    return found


# --- the order -------------------------------------------------------------------------------------------------------


def test_networks_come_first_then_limits_by_client_then_credentials_then_scopes(stage: Stage) -> None:
    client, asked_before = stage.client(), stage.auth("unauthenticated") + stage.auth("forbidden")
    good = stage.bearer(sub="orders", scope="order:read")

    away = stage.get("/order/away", good, "X-Forwarded-For: 203.0.113.9")
    assert (away.status, problem(away)["reason"]) == (403, "forbidden")
    assert (away.value("ratelimit"), away.value("www-authenticate")) == (None, None)

    for remaining, line, status, reason in (
        (2, "X-Nothing: 1", 401, "unauthenticated"),
        (1, "Authorization: Bearer abc", 401, "unauthenticated"),
        (0, stage.bearer(sub="orders", scope="order:write"), 403, "forbidden"),
    ):
        answer = stage.get("/order/1", client, line)
        assert (answer.status, problem(answer)["reason"]) == (status, reason)
        assert f'"per-ip";r={remaining}' in (answer.value("ratelimit") or "")
        assert (answer.value("www-authenticate") or "").startswith("Bearer")
    many = stage.get("/order/1", client, good)
    assert (many.status, problem(many)["violated-policies"]) == (429, ["per-ip"])
    # Who is over his limit is not asked for a credential, and nobody that was refused reached an upstream.
    assert stage.auth("unauthenticated") + stage.auth("forbidden") == asked_before + 3
    assert stage.hits("/order/1") + stage.hits("/order/away") == 0


def test_limits_by_principal_come_after_the_credential_and_follow_the_user(stage: Stage) -> None:
    weak, good = stage.bearer(sub="bob", scope="x"), stage.bearer(sub="bob", scope="order:read")
    for _ in range(3):  # what is refused before costs the user nothing
        assert stage.get("/order/bob", weak).status == 403
    first = stage.get("/order/bob", good)
    assert first.status == 200
    assert '"per-user";r=0' in ", ".join(first.values("ratelimit"))
    second = stage.get("/order/bob", good)  # from another address
    assert (second.status, problem(second)["violated-policies"]) == (429, ["per-user"])
    assert stage.get("/order/bob", stage.bearer(sub="eve", scope="order:read")).status == 200
    assert stage.hits("/order/bob") == 2


# --- limits ----------------------------------------------------------------------------------------------------------


def test_what_a_client_is_told_of_its_limit(stage: Stage) -> None:
    client = stage.client()
    for remaining in (4, 3, 2, 1):
        answer = stage.get("/steady/x", client)
        assert (answer.status, answer.value("retry-after")) == (200, None)
        assert answer.value("ratelimit-policy") == '"steady";q=5;w=600'
        assert (answer.value("ratelimit") or "").startswith(f'"steady";r={remaining};t=')
    last = stage.get("/steady/x", client)
    assert last.status == 200
    assert (last.value("ratelimit") or "").startswith('"steady";r=0;t=')
    refused = stage.get("/steady/x", client)
    told = problem(refused)
    assert (refused.status, told["reason"], told["violated-policies"]) == (429, "rate_limited", ["steady"])
    assert told["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert refused.value("ratelimit-policy") == '"steady";q=5;w=600'
    again_s = int(refused.value("retry-after") or 0)
    assert 110 <= again_s <= 120  # one request comes back every 120 s
    assert refused.value("ratelimit") == f'"steady";r=0;t={again_s}'
    assert stage.hits("/steady/x") == 5
    assert stage.get("/steady/x").status == 200  # another client


def test_a_64_of_ipv6_is_one_client(stage: Stage) -> None:
    statuses = [
        stage.get("/steady/v6", f"X-Forwarded-For: 2001:db8:0:7:{n:x}::{n:x}").status for n in (1, 2, 3, 4, 5, 6)
    ]
    assert statuses == [200] * 5 + [429]
    assert stage.get("/steady/v6", "X-Forwarded-For: 2001:db8:0:8::1").status == 200


def test_an_address_that_an_untrusted_hop_claims_is_not_believed(stage: Stage) -> None:
    """The last address before the trusted proxy counts, whatever stands to the left of it."""
    hop = stage.client().removeprefix("X-Forwarded-For: ")
    statuses = [stage.get("/steady/hop", f"X-Forwarded-For: 192.0.2.{n}, {hop}").status for n in range(6)]
    assert statuses == [200] * 5 + [429]


def test_a_limit_of_0_blocks(stage: Stage) -> None:
    answer = stage.get("/blocked/x")
    assert (answer.status, problem(answer)["violated-policies"]) == (429, ["closed"])
    assert answer.value("ratelimit-policy") == '"closed";q=0;w=60'
    assert int(answer.value("retry-after") or 0) >= 1
    assert stage.hits("/blocked/x") == 0


def test_observe_counts_and_refuses_nothing(stage: Stage) -> None:
    client, target = stage.client(), stage.target("watched")
    names = ("would_unauthenticated", "would_forbidden", "ok", "unauthenticated", "forbidden")
    before = {name: stage.auth(name) for name in names}
    observed, limited = stage.limit("watching", "observed"), stage.limit("watching", "limited")
    lines = (
        "X-Nothing: 1",
        "Authorization: Bearer abc",
        stage.bearer(sub="weak", scope="x"),
        stage.bearer(sub="strong", scope="watched:read"),
    )
    answers = [stage.get(target, client, line, "X-User-Id: evil") for line in lines]
    assert [answer.status for answer in answers] == [200] * 4
    assert all(answer.value("ratelimit") is None and answer.value("retry-after") is None for answer in answers)
    after = {name: stage.auth(name) - before[name] for name in names}
    assert after == {"would_unauthenticated": 2, "would_forbidden": 1, "ok": 1, "unauthenticated": 0, "forbidden": 0}
    assert (stage.limit("watching", "observed"), stage.limit("watching", "limited")) == (observed + 3, limited)
    # Who is known is told of, though he may not; what he says of himself is not.
    assert [request.value("x-user-id") for request in stage.old.heads(target)] == [None, None, "weak", "strong"]


# --- API keys --------------------------------------------------------------------------------------------------------


def test_an_api_key_has_scopes_and_one_limit_over_all_seams(stage: Stage) -> None:
    key = f"X-API-Key: {SECRETS['PARTNER']}"
    a, b = stage.target("partners-a"), stage.target("partners-b")
    answers = [stage.get(target, key) for target in (a, b, a, b, a)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.value("ratelimit-policy") for answer in answers] == ['"contract";q=3;w=600'] * 5
    assert [(answer.value("ratelimit") or "")[:14] for answer in answers[:3]] == [
        f'"contract";r={n}' for n in (2, 1, 0)
    ]
    assert problem(answers[3])["violated-policies"] == ["contract"]
    assert stage.hits(a) + stage.hits(b) == 3
    assert stage.get(a, f"X-API-Key: {SECRETS['OTHER']}").status == 200

    weak = stage.get(a, f"X-API-Key: {SECRETS['WEAK']}")
    assert (weak.status, weak.value("www-authenticate")) == (403, None)
    for wrong in ("fig_nobody", "", SECRETS["OTHER"]):  # the last one is no key of this seam
        answer = stage.get(b, f"X-API-Key: {wrong}")
        assert (answer.status, answer.value("www-authenticate")) == (401, 'ApiKey header="x-api-key"')
    assert stage.get(f"{b}?x-api-key={SECRETS['PARTNER']}").status == 401


def test_an_api_key_goes_no_further_than_fig_and_passes_where_it_is_not_figs(stage: Stage) -> None:
    secret = SECRETS["OTHER"]
    for seam, legs in (("partners-a", 1), ("mirrored-guarded", 3), ("retried", 2), ("fallen", 2)):
        target = stage.target(seam)
        assert stage.get(target, f"X-API-Key: {secret}").status == 200
        assert until(lambda target=target, legs=legs: stage.hits(target) == legs)  # type: ignore[misc]
        for request in (*stage.old.heads(target), *stage.new.heads(target)):
            assert secret.encode() not in request.head
            assert request.value("x-user-id") is None  # a key is no user
    target = stage.target("open")
    assert stage.get(target, f"X-API-Key: {secret}").status == 200
    assert stage.new.heads(target)[0].value("x-api-key") == secret


# --- identity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seam", "legs", "known"),
    [
        ("nowhere", 1, False),
        ("open", 1, False),
        ("mirrored", 3, False),
        ("guarded", 1, True),
        ("mirrored-guarded", 3, True),
        ("retried", 2, True),
        ("fallen", 2, True),
    ],
)
@pytest.mark.parametrize("upgrades", [False, True], ids=["plain", "websocket"])
def test_what_a_client_says_of_itself_reaches_no_leg(
    stage: Stage, seam: str, legs: int, known: bool, upgrades: bool
) -> None:
    target = stage.target(seam)
    lines = [*EVIL, *(HANDSHAKE if upgrades else ())]
    if known:
        lines.append(stage.bearer(sub="alice", scope="a:read a:write"))
    if upgrades and seam.startswith("mirrored"):
        legs = 1  # nobody upgrades only to compare
    assert stage.get(target, *lines).status == (101 if upgrades else 200)
    assert until(lambda: stage.hits(target) == legs), stage.hits(target)
    for request in (*stage.old.heads(target), *stage.new.heads(target)):
        assert b"evil" not in request.head.lower()
        if known:
            assert request.values("x-user-id") == ["alice"]
            assert request.values("x-user-scopes") == ["a:read a:write"]
            assert len(request.values("x-fig-identity")) == 1
        else:
            names = {name.replace("_", "-") for name, _ in request.fields}
            assert names.isdisjoint(("x-user-id", "x-user-scopes", "x-fig-identity"))


@pytest.mark.parametrize("seam", ["nowhere", "open", "guarded"])
def test_nor_do_the_trailers_of_a_request(stage: Stage, seam: str) -> None:
    target = stage.target(seam)
    lines = "".join(f"{line}\r\n" for line in EVIL)
    with RawClient(stage.fig.address) as client:
        client.send(
            f"POST {target} HTTP/1.1\r\nHost: x\r\n{stage.bearer()}\r\nTransfer-Encoding: chunked\r\n\r\n"
            f"2\r\nhi\r\n0\r\nX-Sum: 1\r\n{lines}\r\n".encode()
        )
        assert client.answer().status == 200
    request = (stage.old.heads(target) + stage.new.heads(target))[0]
    assert b"evil" not in request.body.lower()
    assert b"X-Sum: 1" in request.body  # trailers do pass


def test_a_connection_field_cannot_take_the_identity_away(stage: Stage) -> None:
    target = stage.target("guarded")
    named = "Connection: x-user-id, x-user-scopes, x-fig-identity, authorization, close"
    assert stage.get(target, named, stage.bearer(sub="alice")).status == 200
    assert stage.new.heads(target)[0].values("x-user-id") == ["alice"]
    assert stage.get(target, "Connection: authorization", "Authorization: Bearer abc").status == 401


def test_the_identity_token_is_good_by_the_published_keys(stage: Stage) -> None:
    published = stage.get("/.well-known/inside.json")
    assert (published.status, published.value("content-type")) == (200, "application/jwk-set+json")
    assert stage.fig.call("GET", "/.well-known/jwks.json").content == published.body
    assert stage.hits("/.well-known/inside.json") == 0
    keys = KeySet.import_key_set(json.loads(published.body))
    assert not any(key.is_private for key in keys.keys)

    target = stage.target("guarded")
    assert stage.get(target, stage.bearer(sub="alice", scope="a:read a:write")).status == 200
    token = jwt.decode(stage.new.heads(target)[0].value("x-fig-identity") or "", keys, algorithms=["ES256"])
    claims = token.claims
    assert token.header["typ"] == "at+jwt"
    assert (claims["iss"], claims["aud"], claims["sub"], claims["idp"]) == ("fig.test", "inside", "alice", "shop")
    assert claims["scope"] == "a:read a:write"
    assert 0 < claims["exp"] - claims["iat"] <= 60
    assert abs(claims["iat"] - time.time()) < 5

    target = stage.target("partners-a")
    assert stage.get(target, f"X-API-Key: {SECRETS['OTHER']}").status == 200
    token = jwt.decode(stage.new.heads(target)[0].value("x-fig-identity") or "", keys, algorithms=["ES256"])
    assert (token.claims["sub"], token.claims["client_id"]) == ("api-key:other", "other")


def test_a_user_stays_on_one_side_whatever_token_he_comes_with(stage: Stage) -> None:
    sides: dict[str, set[str | None]] = {}
    for user in [f"user-{n}" for n in range(40)]:
        for _ in range(2):
            answer = stage.get("/sticky/x", stage.bearer(sub=user, jti=os.urandom(4).hex()), "X-User-Id: evil")
            assert answer.status == 200
            sides.setdefault(user, set()).add(answer.value("x-fig-side"))
    for user, seen in sides.items():
        digest = blake2b(user.encode(), key=b"sticky", digest_size=8).digest()
        moved = int.from_bytes(digest, "big") % 10000 < 5000
        assert seen == {"extracted" if moved else "legacy"}
    assert len({side for seen in sides.values() for side in seen}) == 2


# --- upgrades --------------------------------------------------------------------------------------------------------


def test_an_upgrade_needs_a_token_and_ends_with_it(stage: Stage) -> None:
    target = stage.target("guarded")
    assert stage.get(target, *HANDSHAKE).status == 401
    assert stage.hits(target) == 0
    ends = int(time.time()) + 2
    with RawClient(stage.fig.address) as client:
        answer = client.get(target, *HANDSHAKE, stage.bearer(exp=ends))
        assert answer.status == 101
        frame = client.sock.recv(4)
        assert ends - 0.5 <= time.time() <= ends + 2
    assert (frame[:1], frame[2:]) == (b"\x88", b"\x03\xf0")  # Close, 1008


# --- CORS and networks -----------------------------------------------------------------------------------------------

ORIGIN = "Origin: https://shop.example"


def test_a_preflight_is_answered_at_the_gateway(stage: Stage) -> None:
    client, target = stage.client(), stage.target("pages")
    for _ in range(4):  # it costs nothing of the limit, and needs no token
        answer = stage.get(target, client, ORIGIN, "Access-Control-Request-Method: PUT", method="OPTIONS")
        assert answer.status == 204
        assert answer.values("access-control-allow-origin") == ["https://shop.example"]
        assert answer.value("access-control-allow-methods") == "GET, PUT"
        assert answer.value("access-control-allow-headers") == "authorization"
        assert answer.value("access-control-allow-credentials") == "true"
        assert answer.value("access-control-max-age") == "60"
        assert "Origin" in (answer.value("vary") or "")
    for line, method in ((ORIGIN, "DELETE"), ("Origin: https://evil.example", "PUT"), ("Origin: null", "PUT")):
        answer = stage.get(target, line, f"Access-Control-Request-Method: {method}", method="OPTIONS")
        assert (answer.status, answer.value("access-control-allow-methods")) == (204, None)
        assert answer.value("access-control-allow-origin") is None
    assert stage.get(target, ORIGIN, method="OPTIONS").status == 401  # no preflight
    assert stage.hits(target) == 0


def test_figs_refusals_can_be_read_by_the_page_and_the_upstreams_word_is_replaced(stage: Stage) -> None:
    client, target = stage.client(), stage.target("pages")
    refused = stage.get(target, client, ORIGIN)
    answered = stage.get(target, client, ORIGIN, stage.bearer())
    limited = stage.get(target, client, ORIGIN, stage.bearer())
    assert [answer.status for answer in (refused, answered, limited)] == [401, 200, 429]
    for answer in (refused, answered, limited):
        assert answer.values("access-control-allow-origin") == ["https://shop.example"]
        assert answer.values("access-control-expose-headers") == ["x-total-count"]
        assert answer.values("access-control-allow-credentials") == ["true"]
        assert "Origin" in answer.values("vary")
    assert answered.value("x-total-count") == "7"
    for line in ("Origin: https://evil.example", "X-Nothing: 1"):
        answer = stage.get(target, line, stage.bearer())
        assert answer.status == 200
        assert not [name for name, _ in answer.fields if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("10.1.2.3", 200),
        ("2001:db8::7", 200),
        ("10.66.1.1", 403),
        ("::ffff:10.66.1.1", 403),
        ("192.0.2.1", 403),
        ("10.1.2.3, 192.0.2.1", 403),
        ("192.0.2.1, 10.1.2.3", 200),
        ("10.1.2.3, 127.0.0.1", 200),
        ("nonsense", 403),
    ],
)
def test_networks_go_by_the_address_that_trusted_proxies_tell(stage: Stage, client: str, status: int) -> None:
    target = stage.target("networks")
    assert stage.get(target, f"X-Forwarded-For: {client}").status == status
    assert stage.hits(target) == (status == 200)


# --- bodies ----------------------------------------------------------------------------------------------------------


def test_a_route_has_its_own_bound_for_bodies(stage: Stage) -> None:
    def post(target: str, framing: str, body: bytes) -> Answer:
        with RawClient(stage.fig.address) as client:
            client.send(f"POST {target} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode() + body)
            return client.answer()

    fits, large, chunked = stage.target("upload"), stage.target("upload"), stage.target("upload")
    assert post(fits, "Content-Length: 100", b"x" * 100).status == 200
    refused = post(large, "Content-Length: 101", b"x" * 101)
    assert (refused.status, problem(refused)["reason"]) == (413, "body_too_large")
    assert stage.hits(large) == 0
    pieces = b"".join(b"32\r\n" + b"x" * 50 + b"\r\n" for _ in range(3))
    refused = post(chunked, "Transfer-Encoding: chunked", pieces + b"0\r\n\r\n")
    assert (refused.status, problem(refused)["reason"]) == (413, "body_too_large")
    assert post("/upload/large/x", "Content-Length: 500", b"x" * 500).status == 200


# --- reloads ---------------------------------------------------------------------------------------------------------

LATER = "later: {routes: [{path: /later/**}], extracted: new, stage: extracted"


def test_auth_that_a_reload_adds_protects_the_next_request_and_others_keep_what_they_had(
    stage: Stage, reloaded: Callable[..., None]
) -> None:
    steady, target, good = stage.client(), stage.target("later"), stage.bearer()
    assert [stage.get("/steady/x", steady).status for _ in range(4)] == [200] * 4
    assert stage.get(stage.target("guarded"), good).status == 200
    fetched = len(stage.keys.requests)
    with RawClient(stage.fig.address) as client:
        assert client.get(target).status == 200
        reloaded((LATER, LATER + ", auth: {issuers: [shop]}"))
        assert client.get(target).status == 401  # on the connection that was open before
        assert client.get(target, good).status == 200
    assert stage.hits(target) == 2
    assert [stage.get("/steady/x", steady).status for _ in range(2)] == [200, 429]
    assert stage.get(stage.target("guarded"), good).status == 200
    assert len(stage.keys.requests) == fetched


def test_new_numbers_of_a_limit_keep_the_debts(stage: Stage, reloaded: Callable[..., None]) -> None:
    client = stage.client()
    assert [stage.get("/steady/x", client).status for _ in range(4)] == [200] * 4  # 4 * 120 s of debt, out of 600 s
    reloaded(("name: steady, requests: 5", "name: steady, requests: 10"))  # each costs 60 s now: 120 s are left
    answers = [stage.get("/steady/x", client) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].value("ratelimit-policy") == '"steady";q=10;w=600'
    assert (answers[0].value("ratelimit") or "").startswith('"steady";r=1;t=')
    assert stage.get("/steady/x").status == 200


def test_auth_that_a_reload_removes_is_gone_and_an_invalid_reload_changes_nothing(
    stage: Stage, reloaded: Callable[..., None]
) -> None:
    target = stage.target("guarded")
    assert stage.get(target).status == 401
    stage.fig.write(stage.text.replace("auth: {issuers: [shop]}", "auth: {issuers: [shopp]}"))
    assert stage.fig.call("POST", "/api/reload").status_code == 422
    assert stage.get(target).status == 401
    reloaded((f"{GUARDED}auth: {{issuers: [shop]}}\n", GUARDED.rstrip(" ")))
    assert stage.get(target, "X-User-Id: evil").status == 200
    assert stage.new.heads(target)[0].value("x-user-id") is None


GUARDED = """  guarded:
    routes: [{path: /guarded/**}]
    extracted: new
    stage: extracted
    """


def test_new_numbers_of_an_issuer_keep_its_keys_while_it_is_away(stage: Stage, reloaded: Callable[..., None]) -> None:
    target, good, publish = stage.target("guarded"), stage.bearer(), stage.keys.behave
    assert stage.get(target, good).status == 200
    stage.keys.reset(resetting)
    try:
        reloaded(("algorithms: [RS256]}", "algorithms: [RS256], leeway_s: 31}"))
        assert stage.get(target, good).status == 200
    finally:
        stage.keys.reset(publish)


def test_nothing_of_it_was_an_error_of_figs(stage: Stage) -> None:
    assert metric(stage.fig, "fig_auth_total") > 0
    assert stage.counted('fig_rejected_total{cause="internal"}') == 0
