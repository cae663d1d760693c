"""Who may write to the catalog, where it is told whose word counts."""

from __future__ import annotations

import pytest

from extracted_services.catalog.app import create_app
from extracted_services.catalog.identity import Identities, Rule
from extracted_services.catalog.service import Catalog
from tests.sample.gateway import AUDIENCE, ISSUER, JWKS, Gateway

CHEAPER = {"price": {"amount": 1500, "currency": "USD"}}


@pytest.fixture
def gateway(clock):
    return Gateway(clock)


@pytest.fixture
def guarded(open_browser, filled, clock, gateway):
    identities = Identities(Rule(JWKS, ISSUER, AUDIENCE), gateway.transport, clock, clock)
    return open_browser(create_app(Catalog(filled, clock), identities=identities))


def put(browser, headers, if_match="*"):
    return browser.put("/v2/products/7", json=CHEAPER, headers={"if-match": if_match, **headers})


def test_who_has_the_scope_may_write(guarded, gateway):
    reply = put(guarded, gateway.vouching("1", "orders:write", "catalog:write"))
    assert (reply.status_code, reply.json()["price"]["amount"]) == (200, 1500)


def test_who_is_known_but_lacks_the_scope_may_not(guarded, gateway):
    for scopes in ((), ("catalog:read",), ("catalog:writer", "xcatalog:write")):
        reply = put(guarded, gateway.vouching("7", *scopes))
        assert reply.status_code == 403
        assert reply.headers["content-type"] == "application/problem+json"
        assert "catalog:write" in reply.json()["detail"]
    assert guarded.get("/v2/products/7").json()["price"]["amount"] == 1999


def test_who_is_unknown_may_not(guarded, gateway, clock):
    stranger = Gateway(clock)
    for headers in ({}, {"x-fig-identity": "nonsense"}, stranger.vouching("1", "catalog:write")):
        reply = put(guarded, headers)
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
    assert guarded.put("/v2/products/9999", content=b"no JSON").status_code == 401  # before anything else is looked at
    assert guarded.get("/v2/products/7").json()["price"]["amount"] == 1999


def test_without_keys_it_cannot_tell_and_says_when_to_come_back(guarded, gateway, clock):
    gateway.down = True
    reply = put(guarded, gateway.vouching("1", "catalog:write"))
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
    gateway.down = False
    clock.advance(5)
    assert put(guarded, gateway.vouching("1", "catalog:write")).status_code == 200


def test_reading_needs_nobodys_word(guarded, gateway):
    for path in ("/v2/products/7", "/api/products/7", "/api/products", "/api/search?q=mug", "/readyz"):
        assert guarded.get(path).status_code == 200
    assert gateway.fetches == 0


def test_without_the_setting_whoever_reaches_it_may_write(catalog):
    assert put(catalog, {}).status_code == 200
