"""Every case of `cases/jwt_cases.json` as its client would send it to a running fig, and issuers that publish nonsense.

Whoever is refused reaches no upstream, gets no 5xx but the 503 that a case names, learns nothing of the parser, and
leaves no token in any log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Answer, RawClient
from tests.support.fig import Fig, free_port
from tests.support.key_server import answered
from tests.support.origin import Origin
from tests.support.publisher import Publisher
from tests.support.tokens import CASES, Keyring, b64, case_token

CONFIG = """
version: 1
server: {listen: "{data}", limits: {max_head_bytes: 262144}}  # JWT-089 is longer than what heads may be by default
admin: {listen: "{admin}", token: "operators-only"}
store: "memory:"
telemetry: {access_log: json}
upstreams: {origin: {endpoints: ["ORIGIN"]}}
default: origin
auth:
  identity: {subject: x-user-id, scopes: x-user-scopes}
  issuers: {ISSUERS}
seams:
  admin: {routes: [{path: /admin}], auth: {issuers: [shop], all_scopes: ["orders:read"]}}
"""
ISSUER = (
    '{{issuer: "https://issuer.test", audience: {audience}, jwks_url: "{url}", algorithms: [RS256, ES256],'
    " leeway_s: 30, timeout_s: 1.5, cooldown_s: {cooldown}}}"
)
SEAM = '  {name}: {{routes: [{{path: "/{name}"}}], auth: {{issuers: [{name}], all_scopes: ["orders:read"]}}}}\n'

LIVE = [case for case in CASES["cases"] if case["group"] != "jwks" and case["id"] != "JWT-046"]
PARSERS = (b"orjson", b"joserfc", b"base64", b"Traceback", b"json.", b"Expecting", b"padding", b"cryptography")
GOOD = next(case for case in CASES["cases"] if case["id"] == "JWT-001")
OCT = next(case for case in CASES["cases"] if case["id"] == "JWT-144")

Case = Mapping[str, Any]


@dataclass
class Door:
    """A fig that guards `/admin`, and `/NAME` with an issuer of that name. `sent` are all tokens that clients sent."""

    fig: Fig
    origin: Origin
    keyring: Keyring
    issuers: dict[str, Origin]
    publishers: dict[str, Publisher]
    sent: list[str] = field(default_factory=list)

    def token(self, case: Case = GOOD, name: str = "shop") -> str:
        """For the issuer of that name; empty where the case has none."""
        changed = case if name == "shop" else {**case, "claims": {**case["claims"], "aud": _audience(name)}}
        token = case_token(changed, self.keyring, int(time.time())) or ""
        self.sent.append(token)
        return token

    def get(self, path: str, token: str) -> Answer:
        with RawClient(self.fig.address) as client:
            return client.get(path, f"Authorization: Bearer {token}")


def _audience(name: str) -> str:
    return "proxy-api" if name == "shop" else name


BAD_ANSWERS = {
    "html": answered(b"<html><body>Sign in</body></html>", "200 OK", "Content-Type: text/html"),
    "ten_megabytes": answered(b'{"keys":[' + b" " * 10_000_000 + b"]}"),
    "empty": answered(b'{"keys":[]}'),
    "wrong_type": answered(b'{"keys":[{"kty":"EC","kid":"rsa1","alg":"RS256","n":"AQAB","e":"AQAB"}]}'),
    "no_key": answered(b'{"keys":[7,null,{"kty":["RSA"]},"rsa1"]}'),
    "array": answered(b'[{"keys":[]}]'),
    "error": answered(b"{}", "500 Oops"),
    "compressed": answered(b"\x1f\x8b" + bytes(100), "200 OK", "Content-Encoding: gzip"),
    "noise": bytes(range(256)) * 20,
}


@pytest.fixture(scope="module")
def inside() -> Iterator[Origin]:
    """What an issuer points to that nobody outside may reach."""
    origin = Origin()
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def door(keyring: Keyring, inside: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    twins = [keyring.jwk("rsa1"), keyring.jwk("ec1", kid="rsa1"), keyring.jwk("rsa2", kid="rsa1")]
    moved = answered(b"", "302 Found", f"Location: {inside.url}/jwks.json")
    publishers = {
        **{name: Publisher(answered(keyring.jwks())) for name in ("shop", "kept", "hangs", "crowd")},
        **{name: Publisher(answer) for name, answer in BAD_ANSWERS.items()},
        "moved": Publisher(moved),
        "twins": Publisher(answered(json.dumps({"keys": twins}).encode())),
        "secret": Publisher(answered(keyring.jwks("oct1"))),
    }
    issuers = {name: Origin(publisher) for name, publisher in publishers.items()}
    urls = {name: f"{origin.url}/jwks.json" for name, origin in issuers.items()}
    urls["down"] = f"http://127.0.0.1:{free_port()}/jwks.json"
    cooldowns = {"kept": 0.05, "crowd": 0.5}
    listed = ", ".join(
        f"{name}: {ISSUER.format(url=url, audience=_audience(name), cooldown=cooldowns.get(name, 10))}"
        for name, url in urls.items()
    )
    origin = Origin()
    text = CONFIG.replace("ORIGIN", origin.url).replace("ISSUERS", listed)
    text += "".join(SEAM.format(name=name) for name in urls)
    with Fig(tmp_path_factory.mktemp("jwt"), text, {"NO_PROXY": "*"}) as fig:
        made = Door(fig, origin, keyring, issuers, publishers)
        yield made
    _assert_nothing_in_logs(fig.folder, made.sent)
    for publisher in publishers.values():
        publisher.open.set()
    for one in (origin, *issuers.values()):
        one.close()


def _assert_nothing_in_logs(folder: Path, tokens: list[str]) -> None:
    logs = (folder / "out.log").read_text() + (folder / "err.log").read_text()
    assert "Traceback" not in logs
    assert '"path":"/admin?access_token=***"' in logs.replace(" ", "")  # the lines are there at all
    parts = {part for token in tokens for part in token.split(".")[1:] if len(part) > 20}
    assert len(parts) > 50
    assert not [part for part in parts if part[:60] in logs]


# --- the cases -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LIVE, ids=lambda case: case["id"])
def test_case(door: Door, case: Case) -> None:
    before = len(door.origin.requests)
    began = time.monotonic()
    answer = _answer(door, case, door.token(case))
    assert time.monotonic() - began < 1
    arrived = [request for request in door.origin.requests[before:] if request.target != "/public"]
    expected = case["expect"]
    assert answer.status in expected["status"], (case["desc"], answer.status, answer.body)
    assert answer.status < 500
    if answer.status >= 400:
        assert not arrived
        assert not [word for word in PARSERS if word in answer.body]
    else:
        assert len(arrived) == 1
        assert not set(expected.get("upstream_absent", ())) & {name for name, _ in arrived[0].fields}
        assert arrived[0].values("x-user-id") == ["alice"]
        assert arrived[0].values("x-user-scopes") == ["orders:read"]
    if answer.status in (401, 403) and case["id"] != "JWT-136":
        challenge = answer.value("www-authenticate") or ""
        assert challenge.startswith(expected.get("www_authenticate", "Bearer")), challenge


def _answer(door: Door, case: Case, token: str) -> Answer:
    """The first answer to what the case sends; for JWT-134 also that nothing of the body became a request."""
    transport = case.get("transport") or {"headers": [["Authorization", "Bearer {token}"]]}
    filled = {"{token}": token, "{{x*1048576}}": "x" * 1048576}

    def fill(text: str) -> str:
        for mark, value in filled.items():
            text = text.replace(mark, value)
        return text

    on_admin = transport.get("path") == "<admin api>"
    path = "/api/seams" if on_admin else "/admin"
    query = f"?{fill(transport['query'])}" if "query" in transport else ""
    method, body = transport.get("method", "GET"), fill(transport.get("body", "")).encode()
    lines = [f"{name}: {fill(value)}" for name, value in transport["headers"]]
    if transport.get("websocket"):
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    text = "\r\n".join([f"{method} {path}{query} HTTP/1.1", "Host: proxy.test", *lines, "", ""])
    with RawClient(("127.0.0.1", door.fig.admin_port) if on_admin else door.fig.address) as client:
        client.send(text.encode("latin-1") + body)
        if "then_pipelined" in transport:
            client.send(f"{transport['then_pipelined']} HTTP/1.1\r\nHost: proxy.test\r\n\r\n".encode())
        answer = client.answer(head_only=method == "HEAD")
        if "then_pipelined" in transport:
            following = client.head()
            assert following is None or following.status == 200
        return answer


def test_a_hundred_unknown_kids_cost_two_fetches_at_most(door: Door) -> None:
    case = next(case for case in CASES["cases"] if case["id"] == "JWT-046")
    asked, before = len(door.issuers["shop"].requests), len(door.origin.requests)
    with RawClient(door.fig.address) as client:
        for _ in range(case["expect"]["repeat"]):
            answer = client.get("/admin", f"Authorization: Bearer {door.token(case)}")
            assert answer.status == 401
            assert (answer.value("www-authenticate") or "").startswith("Bearer")
    assert len(door.issuers["shop"].requests) - asked <= case["expect"]["jwks_fetches_max"]
    assert len(door.origin.requests) == before


def test_a_token_of_100_kb_is_refused_before_anything_is_read_of_it(door: Door) -> None:
    before, token = len(door.origin.requests), door.token()
    assert door.get("/admin", f"{token}{'x' * 100_000}").status == 401
    assert door.get("/admin", f"{token}{'x' * 300_000}").status == 431  # longer than a head may be
    assert len(door.origin.requests) == before


# --- issuers at fault ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["down", "moved", *BAD_ANSWERS])
def test_an_issuer_that_never_had_a_key_lets_nobody_in(door: Door, inside: Origin, name: str) -> None:
    before = len(door.origin.requests)
    token = door.token(GOOD, name)
    began = time.monotonic()
    answer = door.get(f"/{name}", token)
    assert answer.status == 503
    assert answer.value("retry-after")
    assert time.monotonic() - began < 1
    assert json.loads(answer.body)["reason"] == "unauthenticated"
    assert (len(door.origin.requests), len(inside.requests)) == (before, 0)
    assert door.get("/admin", door.token()).status == 200  # one issuer is no concern of another


@pytest.mark.parametrize("name", [*BAD_ANSWERS, "moved"])
def test_a_bad_answer_keeps_the_keys_that_were_good(door: Door, inside: Origin, name: str) -> None:
    time.sleep(0.06)  # the pause of this issuer
    asked = len(door.issuers["kept"].requests)
    door.publishers["kept"].answer = door.publishers[name].answer
    token = door.token({**GOOD, "header": {"kid": f"after-{name}"}}, "kept")
    assert door.get("/kept", token).status == 401
    assert len(door.issuers["kept"].requests) == asked + 1
    assert door.get("/kept", door.token(GOOD, "kept")).status == 200
    assert not inside.requests


def test_an_issuer_that_hangs_holds_up_nobody_whose_key_is_known(door: Door) -> None:
    before = len(door.origin.requests)
    publisher, asked = door.publishers["hangs"], len(door.issuers["hangs"].requests)
    publisher.open.clear()
    case = next(case for case in CASES["cases"] if case["id"] == "JWT-139")
    unknown, good = door.token(case, "hangs"), door.token(GOOD, "hangs")
    began = time.monotonic()
    with RawClient(door.fig.address) as waiting, RawClient(door.fig.address) as second:
        for client in (waiting, second):
            client.send(f"GET /hangs HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer {unknown}\r\n\r\n".encode())
        slowest = 0.0
        with RawClient(door.fig.address) as known:
            while time.monotonic() - began < 1:
                sent = time.monotonic()
                assert known.get("/hangs", f"Authorization: Bearer {good}").status == 200
                slowest = max(slowest, time.monotonic() - sent)
        passed = len(door.origin.requests)
        assert waiting.answer().status in case["expect"]["status"]
        assert second.answer().status in case["expect"]["status"]
    assert (time.monotonic() - began) * 1000 < case["expect"]["max_ms"]
    assert slowest < 0.75  # the fetch takes 1.5 s
    assert passed > before + 5
    assert len(door.origin.requests) == passed
    assert len(door.issuers["hangs"].requests) == asked + 1  # however many wait


def test_a_symmetric_key_of_a_public_document_is_none(door: Door) -> None:
    token, before = door.token(OCT), len(door.origin.requests)
    assert door.get("/admin", token).status == 401
    assert door.get("/secret", door.token(OCT, "secret")).status == 401
    assert door.get("/secret", door.token(GOOD, "secret")).status == 503  # it is all that this issuer publishes
    assert len(door.origin.requests) == before


def test_of_keys_with_one_name_the_one_that_fits_is_taken(door: Door) -> None:
    now = time.time()
    tokens = [
        door.keyring.token(now, aud="twins"),
        door.keyring.token(now, "rsa2", {"kid": "rsa1"}, aud="twins"),
        door.keyring.token(now, "ec1", {"kid": "rsa1", "alg": "ES256"}, aud="twins"),
    ]
    door.sent += tokens
    assert [door.get("/twins", token).status for token in tokens] == [200, 200, 200]
    stranger = door.keyring.token(now, "attacker", {"kid": "rsa1"}, aud="twins")
    assert door.get("/twins", stranger).status == 401


def test_thousands_of_unknown_kids_cost_one_fetch_each_pause(door: Door) -> None:
    """And those whose key is known pass in the middle of it."""
    asked, before = len(door.issuers["crowd"].requests), len(door.origin.requests)
    good = door.token(GOOD, "crowd")
    _, payload, tail = good.split(".")
    began, count, passed = time.monotonic(), 0, 0
    with RawClient(door.fig.address) as client:
        while count < 2000 or time.monotonic() - began < 1.2:
            heads = [b64(json.dumps({"alg": "RS256", "kid": f"k{count + n}"}).encode()) for n in range(100)]
            tokens = [good, *(f"{head}.{payload}.{tail}" for head in heads)]
            lines = [f"GET /crowd HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer {token}\r\n\r\n" for token in tokens]
            client.send("".join(lines).encode())
            assert [client.answer().status for _ in tokens] == [200] + [401] * 100
            count, passed = count + 100, passed + 1
    elapsed = time.monotonic() - began
    assert 1 <= len(door.issuers["crowd"].requests) - asked <= elapsed / 0.5 + 1
    assert len(door.origin.requests) == before + passed
