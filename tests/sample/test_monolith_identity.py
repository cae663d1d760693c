"""The monolith behind the gateway: sessions that it tells of, and callers whom the gateway vouches for."""

from __future__ import annotations

import httpx
import pytest

from legacy_monolith.accounts import IDLE_S
from legacy_monolith.app import create_app
from legacy_monolith.identity import Identities, Rule
from legacy_monolith.shop import Shop
from proxy.admission.session import principal_in
from tests.sample.gateway import AUDIENCE, ISSUER, JWKS, Gateway

ASK = "/internal/session/introspect"
STRANGER = {"ok": False, "error": "not logged in"}


@pytest.fixture
def gateway(clock):
    return Gateway(clock)


@pytest.fixture
def vouched(open_browser, database, clock, gateway):
    identities = Identities(Rule(JWKS, ISSUER, AUDIENCE), gateway.transport, clock, clock)
    return open_browser(create_app(Shop(database, clock, lambda: "sid-1"), identities))


# --- whose session it is ---------------------------------------------------------------------------------------------


def test_a_session_is_told_of_by_customer_scopes_and_end(browser, clock):
    browser.login("ada")
    reply = browser.post(ASK, json={"sid": "sid-1"})
    assert reply.json() == {
        "active": True,
        "sub": "7",
        "scopes": ["orders:read", "orders:write"],
        "exp": int(clock.now) + IDLE_S,
    }
    assert reply.headers["cache-control"] == "no-store"
    browser.login("grace")
    assert browser.post(ASK, json={"sid": "sid-2"}).json()["scopes"][-1] == "catalog:write"


def test_the_gateway_understands_the_answer(browser):
    browser.login("ada")
    principal = principal_in(browser.post(ASK, json={"sid": "sid-1"}).content)
    assert (principal.subject, principal.scopes) == ("7", ("orders:read", "orders:write"))
    assert principal_in(browser.post(ASK, json={"sid": "sid-9"}).content) is None


@pytest.mark.parametrize("sid", ["", "forged", "sid-1 ", "SID-1", "é", "\x00", None, 1, ["sid-1"], {"sid": "sid-1"}])
def test_of_any_other_it_says_only_that_there_is_none(browser, sid):
    browser.login("ada")
    assert browser.post(ASK, json={"sid": sid}).json() == {"active": False}
    assert browser.post(ASK, content=b'{"sid": "\\ud800"}').json() == {"active": False}


def test_an_ended_session_is_none(browser, clock):
    browser.login("ada")
    clock.advance(IDLE_S)
    assert browser.post(ASK, json={"sid": "sid-1"}).json() == {"active": False}


def test_to_be_asked_about_prolongs_a_session(browser, open_browser, monolith, clock):
    browser.login("ada")
    gateway = open_browser(monolith)  # without her cookie
    for _ in range(3):
        clock.advance(IDLE_S - 1)
        assert gateway.post(ASK, json={"sid": "sid-1"}).json()["exp"] == int(clock.now) + IDLE_S
    assert browser.get("/api/me").json()["name"] == "Ada"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
def test_what_came_through_a_proxy_finds_nothing_there(browser, header):
    browser.login("ada")
    assert browser.post(ASK, json={"sid": "sid-1"}, headers={header: "127.0.0.1"}).status_code == 404


def test_without_a_token_only_this_machine_may_ask(run, monolith):
    def ask(peer):
        transport = httpx.ASGITransport(monolith, client=(peer, 4711))
        client = httpx.AsyncClient(transport=transport, base_url="http://shop.test")
        return run(client.post(ASK, json={"sid": "x"})).status_code

    assert [ask(peer) for peer in ("127.0.0.1", "127.3.2.1", "::1")] == [200] * 3
    assert [ask(peer) for peer in ("10.0.0.1", "2001:db8::1")] == [401] * 2


def test_with_a_token_its_bearer_may_ask_from_anywhere(run, database, clock):
    app = create_app(Shop(database, clock, lambda: "sid"), introspection_token="let-me-ask")

    def ask(peer, **headers):
        transport = httpx.ASGITransport(app, client=(peer, 4711))
        client = httpx.AsyncClient(transport=transport, base_url="http://shop.test")
        return run(client.post(ASK, json={"sid": "x"}, headers=headers)).status_code

    assert ask("10.0.0.1", authorization="Bearer let-me-ask") == 200
    assert ask("127.0.0.1") == 401
    for wrong in ("Bearer let-me-as", "Bearer let-me-ask!", "Bearer", "let-me-ask", "Basic let-me-ask"):
        assert ask("127.0.0.1", authorization=wrong) == 401


# --- whom the gateway vouches for ------------------------------------------------------------------------------------


def test_a_customer_is_known_by_the_gateways_word(vouched, gateway):
    assert vouched.get("/api/me", headers=gateway.vouching("7")).json()["name"] == "Ada"
    assert vouched.get("/api/me").json() == STRANGER


def test_every_page_that_asks_who_calls_takes_it(vouched, gateway):
    ada, grace = gateway.vouching("7"), gateway.vouching("1")
    assert vouched.get("/api/orders", headers=ada).json()["orders"]
    assert vouched.put("/api/products/7", json={"price": 21.5}, headers=ada).json()["error"] == "staff only"
    assert vouched.put("/api/products/7", json={"price": 21.5}, headers=grace).json() == {"ok": True}
    order = {"items": [{"product_id": 7, "qty": 1}], "card": "tok_ok", "fulfilment": "pickup"}
    assert vouched.post("/api/checkout", json=order, headers=ada).json()["ok"] is True


def test_the_cookie_does_not_speak_for_somebody_else(vouched, gateway):
    vouched.login("ada")
    assert vouched.get("/api/me", headers=gateway.vouching("8")).json()["name"] == "John"
    for subject in ("api-key:partner-a", "4711", "07", "7 ", "x"):
        assert vouched.get("/api/me", headers=gateway.vouching(subject)).json() == STRANGER


def test_a_token_that_is_not_good_says_nothing_and_the_cookie_counts(vouched, gateway):
    vouched.login("ada")
    good = gateway.token("8")
    for headers in (
        [("x-fig-identity", "nonsense")],
        [("x-fig-identity", gateway.token("8", audience="others"))],
        [("x-fig-identity", good), ("x-fig-identity", good)],
    ):
        assert vouched.get("/api/me", headers=headers).json()["name"] == "Ada"


def test_a_gateway_that_cannot_be_asked_locks_nobody_out(vouched, gateway):
    vouched.login("ada")
    gateway.down = True
    assert vouched.get("/api/me", headers=gateway.vouching("8")).json()["name"] == "Ada"


def test_without_the_setting_nothing_changes(browser, gateway):
    assert browser.get("/api/me", headers=gateway.vouching("7")).json() == STRANGER
    browser.login("ada")
    assert browser.get("/api/me", headers=gateway.vouching("8")).json()["name"] == "Ada"
    assert gateway.fetches == 0
