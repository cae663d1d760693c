"""The identity token as the monolith and the catalog read it: a module each, and the same rules."""

from __future__ import annotations

import asyncio
import hmac
import json
from base64 import urlsafe_b64encode

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from extracted_services.catalog import identity as of_the_catalog
from legacy_monolith import identity as of_the_monolith
from proxy.admission.identity_token import new_key
from tests.sample.gateway import AUDIENCE, ISSUER, JWKS, Gateway


@pytest.fixture(params=[of_the_monolith, of_the_catalog], ids=["monolith", "catalog"])
def module(request):
    return request.param


@pytest.fixture
def gateway(clock):
    return Gateway(clock)


@pytest.fixture
def read(module, gateway, clock, run):
    identities = module.Identities(module.Rule(JWKS, ISSUER, AUDIENCE), gateway.transport, clock, clock)
    return lambda *values: run(identities.read(list(values)))


def test_a_token_of_the_gateway_says_who_calls_and_what_he_may_do(read, gateway):
    found = read(gateway.token("7", "orders:write", "catalog:write"))
    assert (found.subject, found.scopes) == ("7", {"orders:write", "catalog:write"})
    assert read(gateway.token("api-key:x")).scopes == frozenset()


def test_nobody_is_vouched_for_without_exactly_one_token(read, gateway):
    token = gateway.token("7")
    assert read() is None
    assert read(token, token) is None
    assert read(f"{token},{token}") is None


def test_the_token_of_another_gateway_or_for_others_is_none(read, gateway, clock):
    stranger = Gateway(clock)
    assert read(gateway.token("7")) is not None
    for token in (
        stranger.token("7"),
        gateway.token("7", issuer="https://other.test"),
        gateway.token("7", audience="other"),
        gateway.token("7", ends_s=clock() - 31),
        gateway.token(""),  # an API key is somebody, a token without a subject nobody
    ):
        assert read(token) is None


def test_a_token_ends(read, gateway, clock):
    token = gateway.token("7")
    clock.advance(60 + 29)
    assert read(token) is not None
    clock.advance(1)
    assert read(token) is None


def _spoilt(token):
    head, payload, signature = token.split(".")
    other = urlsafe_b64encode(b'{"sub":"1"}').rstrip(b"=").decode()
    none = urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    yield from (f"{head}.{other}.{signature}", f"{none}.{payload}.", f"{head}.{payload}.", f"{head}.{payload}")
    yield from ("", ".", "..", "x", "a.b.c", "é.é.é", "\ud800", token[:-1], token + ".", "x" * 100_000)
    yield from (
        f"{urlsafe_b64encode(text).rstrip(b'=').decode()}.{payload}.{signature}" for text in (b"[]", b"{}", b"1")
    )


def test_what_is_no_token_is_nobody_and_breaks_nothing(read, gateway):
    for token in _spoilt(gateway.token("7")):
        assert read(token) is None, token[:80]


def test_the_public_key_is_no_secret_to_sign_with(read, gateway, clock):
    key = ECKey.import_key(gateway.keys[0])
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "7", "exp": int(clock()) + 60}
    kid = json.loads(_keys(gateway))["keys"][0]["kid"]
    good = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": kid}, claims, key)
    assert read(good).subject == "7"
    signed = f"{_part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': kid})}.{_part(claims)}"
    mac = hmac.digest(key.as_pem(private=False), signed.encode(), "sha256")  # as no good library would sign
    assert read(f"{signed}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}") is None
    for header, changed in (
        ({"typ": "JWT"}, {}),
        ({}, {"exp": None}),
        ({}, {"exp": "soon"}),
        ({}, {"sub": 7}),
        ({}, {"scope": ["catalog:write"]}),
        ({}, {"nbf": int(clock()) + 60}),
    ):
        kept = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        spoilt = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": kid, **header}, kept, key)
        assert read(spoilt) is None, (header, changed)


def _part(members):
    return urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=").decode()


def _keys(gateway):
    return gateway.transport.handler(httpx.Request("GET", JWKS)).content


def test_keys_are_fetched_once_and_kept(read, gateway, clock):
    assert gateway.fetches == 0
    for _ in range(5):
        read(gateway.token("7"))
    assert gateway.fetches == 1
    clock.advance(301)
    gateway.down = True
    assert read(gateway.token("7")) is not None  # the old ones do until there are new ones
    assert gateway.fetches == 2


def test_a_new_key_is_fetched_when_a_token_names_it(read, gateway, clock):
    read(gateway.token("7"))
    clock.advance(5)
    gateway.keys.insert(0, new_key())
    assert read(gateway.token("8")).subject == "8"
    assert gateway.fetches == 2


def test_made_up_keys_make_few_fetches(read, gateway, clock):
    read(gateway.token("7"))
    stranger = Gateway(clock)
    for _ in range(50):
        stranger.keys = [new_key()]
        assert read(stranger.token("7")) is None
        clock.advance(0.1)
    assert gateway.fetches <= 2


def test_a_crowd_waits_for_one_fetch(module, gateway, clock, run):
    identities = module.Identities(module.Rule(JWKS, ISSUER, AUDIENCE), gateway.transport, clock, clock)

    async def crowd():
        return await asyncio.gather(*(identities.read([gateway.token(str(number))]) for number in range(20)))

    assert [found.subject for found in run(crowd())] == [str(number) for number in range(20)]
    assert gateway.fetches == 1


@pytest.mark.parametrize(
    "document", [b"", b"<html>", b"[]", b"{}", b'{"keys":[]}', b'{"keys":[{"kty":"EC"}]}', b"null"]
)
def test_without_keys_nothing_can_be_said_and_they_are_asked_for_again(module, read, gateway, clock, document):
    gateway.document = document
    with pytest.raises(module.NoKeys, match=JWKS):
        read(gateway.token("7"))
    gateway.document = None
    with pytest.raises(module.NoKeys):
        read(gateway.token("7"))
    clock.advance(5)
    assert read(gateway.token("7")).subject == "7"


def test_the_environment_says_whose_tokens_are_taken(module):
    assert module.rule_of({}, "SHOP") is None
    environ = {"SHOP_IDENTITY_JWKS": JWKS, "SHOP_IDENTITY_ISSUER": ISSUER, "SHOP_IDENTITY_AUDIENCE": AUDIENCE}
    assert module.rule_of(environ, "SHOP") == module.Rule(JWKS, ISSUER, AUDIENCE)
    assert module.rule_of(environ, "CATALOG") is None
    for missing in ("ISSUER", "AUDIENCE"):
        with pytest.raises(ValueError, match="SHOP_IDENTITY_AUDIENCE"):
            module.rule_of({**environ, f"SHOP_IDENTITY_{missing}": ""}, "SHOP")
    with pytest.raises(ValueError, match="http://"):
        module.rule_of({**environ, "SHOP_IDENTITY_JWKS": "/var/keys.json"}, "SHOP")
