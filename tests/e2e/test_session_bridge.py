"""The session bridge: the monolith's opaque cookie becomes an identity that both sides believe. One fig, real sockets,
and the log of who was asked as witness."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.support.client import Answer, RawClient
from tests.support.fig import Fig
from tests.support.origin import Behaviour, Connection, Origin, resetting, saying
from tests.support.tokens import AUDIENCE, ISSUER, Keyring
from tests.support.wire import until

CACHE_S = 1.5
TIMEOUT_S = 0.6
MOST_ASKED = 64  # questions in the air, proxy/admission/session.py
CONFIG = """
version: 1
server: {listen: "{data}", debug_headers: true}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
auth:
  issuers: {shop: {issuer: "ISSUER", audience: "AUDIENCE", key_file: rsa1.pem, algorithms: [RS256]}}
  identity:
    subject: x-user-id
    scopes: x-user-scopes
    token: {issuer: fig.test, audience: inside, public_path: /.well-known/inside.json}
  session: {cookie: SHOPSESSID, upstream: accounts, path: /internal/session, token: t0k, cache_s: CACHE, timeout_s: 0.6}
upstreams:
  old: {endpoints: ["OLD"]}
  new: {endpoints: ["NEW"]}
  accounts: {endpoints: ["ACCOUNTS"]}
default: old
seams:
  shop:
    routes: [{path: /shop/**}]
    extracted: new
    stage: canary
    percent: 50
    sticky_by: [jwt.sub]
    auth: {issuers: [shop], session: true}
  orders: {routes: [{path: /orders/**}], auth: {session: true, all_scopes: ["orders:read"]}}
  watched: {routes: [{path: /watched/**}], auth: {session: true, mode: observe}}
"""


class Accounts:
    """What the monolith knows of its sessions. `delay_s` before each answer."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {}
        self.delay_s = 0.0
        self.origin = Origin(self.answer)

    def answer(self, connection: Connection) -> None:
        while (request := connection.read()) is not None:
            time.sleep(self.delay_s)
            user = self.users.get(json.loads(request.body)["sid"])
            body = json.dumps({"active": False} if user is None else {"active": True, **user}).encode()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def log_in(self, sid: str, sub: str, **members: Any) -> None:
        self.users[sid] = {"sub": sub, **members}

    def questions(self, sid: str) -> int:
        return sum(1 for request in list(self.origin.requests) if request.body == b'{"sid":"%b"}' % sid.encode())


@dataclass
class Stage:
    fig: Fig
    old: Origin
    new: Origin
    accounts: Accounts
    keyring: Keyring
    _numbers: Iterator[int]

    def sid(self) -> str:
        return f"s3ss10n-{next(self._numbers)}"

    def target(self, seam: str = "shop") -> str:
        return f"/{seam}/{next(self._numbers)}"

    def get(self, target: str, sid: str | None, *lines: str) -> Answer:
        cookie = [] if sid is None else [f"Cookie: theme=dark; SHOPSESSID={sid}; SHOPSESSID2=no"]
        with RawClient(self.fig.address) as client:
            return client.get(target, *cookie, *lines)

    def hits(self, target: str) -> int:
        return sum(1 for origin in (self.old, self.new) for request in origin.requests if request.target == target)

    def auth(self, outcome: str) -> float:
        mark = f'fig_auth_total{{outcome="{outcome}"}} '
        lines = self.fig.call("GET", "/metrics").text.splitlines()
        return sum(float(line.removeprefix(mark)) for line in lines if line.startswith(mark))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, keyring: Keyring) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("sessions")
    (folder / "rsa1.pem").write_bytes(keyring.pem("rsa1"))
    old, new, accounts = Origin(), Origin(), Accounts()
    text = CONFIG.replace("ISSUER", ISSUER).replace("AUDIENCE", AUDIENCE).replace("CACHE", f"{CACHE_S:g}")
    for name, origin in (("OLD", old), ("NEW", new), ("ACCOUNTS", accounts.origin)):
        text = text.replace(f'"{name}"', f'"{origin.url}"')
    with Fig(folder, text) as fig:
        yield Stage(fig, old, new, accounts, keyring, count())
        assert "Traceback" not in fig.errors(), fig.errors()
        assert "s3ss10n" not in fig.errors()  # no cookie stands in a log
    for origin in (old, new, accounts.origin):
        origin.close()


@pytest.fixture
def stage(shared: Stage) -> Stage:
    shared.accounts.delay_s = 0.0
    shared.accounts.origin.reset(shared.accounts.answer)
    return shared


def test_a_session_becomes_an_identity_for_both_sides(stage: Stage) -> None:
    keys = KeySet.import_key_set(json.loads(stage.get("/.well-known/inside.json", None).body))
    sides = set()
    for number in range(16):
        sid, target, user = stage.sid(), stage.target(), f"user-{number}"
        stage.accounts.log_in(sid, user, scope="cart:write orders:read")
        answer = stage.get(target, sid, "X-User-Id: evil", "X_User_Id: evil", "X-Fig-Identity: evil")
        assert answer.status == 200
        assert stage.get(target, sid).value("x-fig-side") == answer.value("x-fig-side")  # sticky by jwt.sub
        sides.add(answer.value("x-fig-side"))
        origin = stage.new if answer.value("x-fig-side") == "extracted" else stage.old
        request = next(request for request in origin.requests if request.target == target)
        assert b"evil" not in request.head
        assert request.values("x-user-id") == [user]
        assert request.values("x-user-scopes") == ["cart:write orders:read"]
        assert f"SHOPSESSID={sid}" in (request.value("cookie") or "")  # the monolith goes on with its own
        claims = jwt.decode(request.value("x-fig-identity") or "", keys, algorithms=["ES256"]).claims
        assert (claims["iss"], claims["aud"], claims["sub"], claims["idp"]) == ("fig.test", "inside", user, "session")
        assert stage.accounts.questions(sid) == 1
    assert sides == {"legacy", "extracted"}


def test_the_question(stage: Stage) -> None:
    sid = stage.sid()
    stage.accounts.log_in(sid, "alice")
    assert stage.get(stage.target(), sid).status == 200
    (asked,) = stage.accounts.origin.requests
    assert asked.line == "POST /internal/session HTTP/1.1"
    assert json.loads(asked.body) == {"sid": sid}
    assert (asked.value("authorization"), asked.value("content-type")) == ("Bearer t0k", "application/json")
    assert asked.value("cookie") is None


def test_fifty_first_requests_are_one_question_and_it_is_remembered(stage: Stage) -> None:
    sid, target = stage.sid(), stage.target()
    stage.accounts.log_in(sid, "alice")
    stage.accounts.delay_s = 0.2
    clients = [RawClient(stage.fig.address) for _ in range(50)]
    for client in clients:
        client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\nCookie: SHOPSESSID={sid}\r\n\r\n".encode())
    assert {client.answer().status for client in clients} == {200}
    for client in clients:
        client.sock.close()
    assert (stage.accounts.questions(sid), stage.hits(target)) == (1, 50)
    assert {stage.get(target, sid).status for _ in range(20)} == {200}
    assert stage.accounts.questions(sid) == 1


def test_who_leaves_leaves_the_question_to_the_others(stage: Stage) -> None:
    sid, target = stage.sid(), stage.target()
    stage.accounts.log_in(sid, "alice")
    stage.accounts.delay_s = 0.3
    with RawClient(stage.fig.address) as first, RawClient(stage.fig.address) as second:
        for client in (first, second):
            client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\nCookie: SHOPSESSID={sid}\r\n\r\n".encode())
            assert until(lambda: stage.accounts.questions(sid) == 1)
        first.reset()
        assert second.answer().status == 200
    assert (stage.accounts.questions(sid), stage.hits(target)) == (1, 1)


@pytest.mark.parametrize("cookie", ["s3ss10n-nobody", "", "x" * 5000, '"s3ss10n quoted"', "s3ss10n\x80"])
def test_without_a_session_there_is_no_way_in(stage: Stage, cookie: str) -> None:
    target = stage.target()
    answer = stage.get(target, cookie)
    assert (answer.status, json.loads(answer.body)["reason"]) == (401, "unauthenticated")
    assert 'Session cookie="SHOPSESSID"' in (answer.value("www-authenticate") or "")
    assert stage.hits(target) == 0


def test_scopes_of_a_session(stage: Stage) -> None:
    weak, strong, target = stage.sid(), stage.sid(), stage.target("orders")
    stage.accounts.log_in(weak, "weak", scope="cart:write")
    stage.accounts.log_in(strong, "strong", scopes=["orders:read"])
    assert stage.get(target, weak).status == 403
    assert stage.get(target, strong).status == 200
    assert stage.hits(target) == 1


def test_a_bad_token_is_refused_whatever_cookie_stands_beside_it(stage: Stage) -> None:
    sid, target = stage.sid(), stage.target()
    stage.accounts.log_in(sid, "alice")
    good = stage.keyring.token(time.time(), sub="bob")
    for token in ("abc", "", f"{good[:-6]}AAAAAA", stage.keyring.token(time.time(), exp=int(time.time()) - 100)):
        assert stage.get(target, sid, f"Authorization: Bearer {token}").status == 401
    assert (stage.hits(target), stage.accounts.questions(sid)) == (0, 0)
    assert stage.get(target, sid, f"Authorization: Bearer {good}").status == 200
    asked = [request for origin in (stage.old, stage.new) for request in origin.requests if request.target == target]
    assert [request.value("x-user-id") for request in asked] == ["bob"]
    assert stage.accounts.questions(sid) == 0


def test_a_logout_takes_effect_after_cache_s_and_a_login_too(stage: Stage) -> None:
    sid, stranger, target = stage.sid(), stage.sid(), stage.target()
    stage.accounts.log_in(sid, "alice")
    began = time.monotonic()
    assert stage.get(target, sid).status == 200
    assert stage.get(target, stranger).status == 401
    del stage.accounts.users[sid]
    stage.accounts.log_in(stranger, "bob")
    known = stage.get(target, sid).status
    assert known == 200 or time.monotonic() - began > CACHE_S
    time.sleep(max(0.0, began + CACHE_S + 0.1 - time.monotonic()))
    assert stage.get(target, sid).status == 401
    assert stage.get(target, stranger).status == 200


def hanging(connection: Connection) -> None:
    connection.read()
    connection.wait_closed(10)


def html(connection: Connection) -> None:
    saying(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")(connection)


@pytest.mark.parametrize(
    "trouble",
    [
        resetting,
        hanging,
        html,
        saying(b'HTTP/1.1 500 X\r\nContent-Length: 15\r\n\r\n{"active":false}'),
        saying(b"HTTP/1.1 302 X\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b" " * 70_000),
        saying(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"active":true', close=True),
    ],
    ids=["resets", "hangs", "html", "500", "302", "endless", "broken off"],
)
def test_a_monolith_in_trouble_is_no_end_of_the_session(stage: Stage, trouble: Behaviour) -> None:
    known, sid, target = stage.sid(), stage.sid(), stage.target()
    for one in (known, sid):
        stage.accounts.log_in(one, "alice")
    assert stage.get(target, known).status == 200
    unknown = stage.auth("no_session")
    stage.accounts.origin.reset(trouble)
    sent = time.monotonic()
    answer = stage.get(target, sid)
    assert time.monotonic() - sent <= TIMEOUT_S + 0.5
    assert (answer.status, answer.value("www-authenticate")) == (503, None)
    assert int(answer.value("retry-after") or 0) >= 1
    assert stage.auth("no_session") == unknown + 1
    assert stage.get(target, known).status == 200  # from what is remembered
    assert stage.hits(target) == 2


def test_a_monolith_that_recovers_is_asked_again(stage: Stage) -> None:
    sid, target = stage.sid(), stage.target()
    stage.accounts.log_in(sid, "alice")
    stage.accounts.origin.reset(resetting)
    assert {stage.get(target, sid).status for _ in range(20)} == {503}
    assert len(stage.accounts.origin.requests) <= 4  # it is not asked again and again meanwhile
    stage.accounts.origin.reset(stage.accounts.answer)
    assert until(lambda: stage.get(target, sid).status == 200, 3)


def test_invented_cookies_do_not_turn_the_gateway_against_the_monolith(stage: Stage) -> None:
    target = stage.target()
    stage.accounts.origin.reset(hanging)
    clients = [RawClient(stage.fig.address) for _ in range(3 * MOST_ASKED)]
    for client in clients:
        client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\nCookie: SHOPSESSID={stage.sid()}\r\n\r\n".encode())
    assert {client.answer().status for client in clients} == {503}
    for client in clients:
        client.sock.close()
    assert len(stage.accounts.origin.connections) <= 2 * MOST_ASKED
    assert len(stage.accounts.origin.requests) <= 2 * MOST_ASKED  # some may have come when the first had been given up
    assert stage.hits(target) == 0


def test_a_monolith_that_closes_its_connections_costs_nobody_anything(stage: Stage) -> None:
    body = b'{"active":true,"sub":"alice"}'
    one = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    stage.accounts.origin.reset(saying(one, close=True))
    assert [stage.get(stage.target(), stage.sid()).status for _ in range(20)] == [200] * 20


def test_observe_asks_and_refuses_nothing(stage: Stage) -> None:
    sid, target = stage.sid(), stage.target("watched")
    stage.accounts.log_in(sid, "alice")
    assert [stage.get(target, one).status for one in (None, stage.sid(), sid)] == [200] * 3
    stage.accounts.origin.reset(resetting)
    assert stage.get(target, stage.sid()).status == 200
    told = [request.value("x-user-id") for request in stage.old.requests if request.target == target]
    assert told == [None, None, "alice", None]


def test_a_reload_forgets_no_session(stage: Stage) -> None:
    sid, target = stage.sid(), stage.target()
    stage.accounts.log_in(sid, "alice")
    began = time.monotonic()
    assert stage.get(target, sid).status == 200
    text = stage.fig.config.read_text()
    stage.fig.write(text.replace("percent: 50", "percent: 40"))
    assert stage.fig.call("POST", "/api/reload").status_code == 200
    assert stage.get(target, sid).status == 200
    assert stage.accounts.questions(sid) == 1 or time.monotonic() - began > CACHE_S
    stage.fig.write(text)
    assert stage.fig.call("POST", "/api/reload").status_code == 200


def test_a_monolith_that_is_gone_is_told_at_once(stage: Stage) -> None:
    """The last test here: nobody listens on that port any more."""
    sid, target = stage.sid(), stage.target()
    stage.accounts.log_in(sid, "alice")
    stage.accounts.origin.close()
    sent = time.monotonic()
    answer = stage.get(target, sid)
    assert (answer.status, json.loads(answer.body)["status"]) == (503, 503)
    assert int(answer.value("retry-after") or 0) >= 1
    assert time.monotonic() - sent < TIMEOUT_S
    assert stage.hits(target) == 0
