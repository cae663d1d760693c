"""The door: every shared case gives its status, which credential counts, API keys, observing, the cache of tokens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission.api_key import api_key_of
from proxy.admission.auth import Authenticator, Issuer, Verdict
from proxy.admission.auth_rules import ApiKeyRule, AuthRule, IssuerRule
from proxy.admission.jwks import RemoteKeys, StaticKeys
from proxy.admission.keys import keys_in_jwks
from proxy.admission.token_cache import LONGEST_S, TokenCache
from proxy.config.model import Limits
from proxy.errors import Rejected
from proxy.messages import Principal, RequestHead
from proxy.wire.head import read_head
from tests.support.key_server import answered, key_server
from tests.support.tokens import AUDIENCE, CASES, ISSUER, Keyring, case_token

NOW = 1_800_000_000
URL = "https://id.test/jwks.json"
PROTECTED = AuthRule(("shop",), (), frozenset({"orders:read"}))
ANY = AuthRule(("shop",))
WYCHEPROOF = json.loads((Path(__file__).parent.parent / "cases" / "wycheproof_jws.json").read_text())
INVALID = [test for group in WYCHEPROOF["testGroups"] for test in group["tests"] if test["result"] == "invalid"]
PARTNER, OTHER = api_key_of(bytes(range(32))), api_key_of(bytes(32))


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def issuer_rule(name: str = "shop", **fields: Any) -> IssuerRule:
    return IssuerRule(
        **{"name": name, "issuer": ISSUER, "audience": (AUDIENCE,), "algorithms": ("RS256", "ES256"), **fields}
    )


def door(keyring: Keyring, *names: str, clock: Clock | None = None, cache: TokenCache | None = None) -> Authenticator:
    """With static keys, and two API keys."""
    keys = StaticKeys(keys_in_jwks(keyring.jwks(*names)))
    return Authenticator(
        {"shop": Issuer(issuer_rule(), keys)},
        [ApiKeyRule("partner", PARTNER.sha256, ("catalog:read",)), ApiKeyRule("other", OTHER.sha256)],
        clock=clock or Clock(),
        cache=cache,
    )


@contextlib.asynccontextmanager
async def remote_door(url: str = URL, **fields: Any) -> AsyncIterator[tuple[Authenticator, RemoteKeys]]:
    rule = issuer_rule(jwks_url=url, **fields)
    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=None)) as client:
        keys = RemoteKeys(rule, client)
        yield Authenticator({"shop": Issuer(rule, keys)}, clock=Clock()), keys


def request(*headers: tuple[str, str], method: str = "GET", target: str = "/admin") -> RequestHead:
    lines = [
        (b"Host", b"shop.test"),
        *((name.encode(), value.encode("latin-1").strip(b" \t")) for name, value in headers),
    ]
    limits = Limits(max_head_bytes=4_000_000)
    return read_head(method, target.encode(), "1.1", lines, limits, fed=0, peer="203.0.113.1", scheme="http")


def bearer(token: str) -> RequestHead:
    return request(("Authorization", f"Bearer {token}"))


def asked(authenticator: Authenticator, head: RequestHead, rule: AuthRule = ANY) -> Verdict:
    return asyncio.run(authenticator.authenticate(head, rule))


def admitted(verdict: Verdict) -> Principal:
    assert verdict.refusal is None and not verdict.refused and verdict.principal is not None
    return verdict.principal


def status(verdict: Verdict) -> int:
    return 200 if verdict.refusal is None else verdict.refusal.status


# --- the shared cases ------------------------------------------------------------------------------------------------

# With a source of keys of their own, below; JWT-136 asks the admin port, which takes no such token.
_APART = {"JWT-046", "JWT-137", "JWT-139", "JWT-140", "JWT-141", "JWT-145", "JWT-136"}
PLAIN = [case for case in CASES["cases"] if case["id"] not in _APART]


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: str(case["id"]))
def test_shared_cases(keyring: Keyring, case: dict[str, Any]) -> None:
    token = case_token(case, keyring, NOW)
    transport = case.get("transport", {})
    lines = transport.get("headers", [["Authorization", "Bearer {token}"]] if token is not None else [])
    target = "/admin"
    if "query" in transport:
        target += f"?{transport['query'].replace('{token}', token or '')}"
    headers = [(name, value.replace("{token}", token or "")) for name, value in lines]
    verdict = asked(door(keyring), request(*headers, method=transport.get("method", "GET"), target=target), PROTECTED)
    expected = case["expect"]
    assert status(verdict) in expected["status"]
    assert verdict.refused is (status(verdict) != 200)
    if "www_authenticate" in expected:
        assert verdict.refusal is not None and verdict.refusal.challenge.startswith(expected["www_authenticate"])
    if verdict.refusal is not None:
        said = verdict.refusal.challenge + verdict.refusal.detail
        assert not token or token not in said


def test_no_case_is_left_out() -> None:
    assert len(PLAIN) + len(_APART) == CASES["count"]


def test_a_hundred_unknown_names(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    """JWT-046: all are refused, and the source is asked once beside the first time."""
    route = respx_mock.get(URL).respond(200, content=keyring.jwks("rsa1"))
    (case,) = (case for case in CASES["cases"] if case["id"] == "JWT-046")

    async def run() -> None:
        async with remote_door() as (authenticator, keys):
            await keys.refresh()
            for _ in range(case["expect"]["repeat"]):
                verdict = await authenticator.authenticate(bearer(case_token(case, keyring, NOW) or ""), PROTECTED)
                assert status(verdict) == 401 and verdict.refusal is not None
                assert verdict.refusal.reason == "unknown_key"
        assert route.call_count <= case["expect"]["jwks_fetches_max"]

    asyncio.run(run())


def test_a_source_that_is_down_at_the_start(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    """JWT-137: nobody can say whether the token is good, so it is neither let in nor called bad."""
    respx_mock.get(URL).mock(side_effect=httpx.ConnectError("refused"))

    async def run() -> None:
        async with remote_door() as (authenticator, _):
            for _ in range(2):  # the second within the cooldown
                verdict = await authenticator.authenticate(bearer(keyring.token(NOW)), PROTECTED)
                assert verdict.refusal is not None and verdict.refused
                assert (verdict.refusal.status, verdict.refusal.cause) == (503, "unauthenticated")
                assert verdict.refusal.challenge == "" and verdict.refusal.retry_after_s == 5.0
                assert verdict.outcome == "no_keys"
            assert status(await authenticator.authenticate(bearer("a.b.c"), PROTECTED)) == 401  # bad in any case

    asyncio.run(run())


def test_a_source_that_hangs_while_an_unknown_name_arrives(keyring: Keyring) -> None:
    """JWT-139: one fetch with a time limit; whoever has a known key does not notice."""

    async def run() -> None:
        async with (
            key_server(answered(keyring.jwks("rsa1"))) as source,
            remote_door(source.url, timeout_s=0.4) as (
                authenticator,
                keys,
            ),
        ):
            await keys.refresh()
            source.hold.clear()
            unknown = keyring.token(NOW, header={"kid": "nope"})
            began = time.monotonic()
            waiting = [asyncio.create_task(authenticator.authenticate(bearer(unknown), PROTECTED)) for _ in range(50)]
            await asyncio.sleep(0)
            known = await authenticator.authenticate(bearer(keyring.token(NOW)), PROTECTED)
            assert admitted(known) and time.monotonic() - began < 0.3
            verdicts = await asyncio.gather(*waiting)
            assert time.monotonic() - began < 3
            assert {status(verdict) for verdict in verdicts} == {401}
            assert len(source.asked) == 2

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(200, html="<html>"), httpx.Response(302, headers={"Location": "http://127.0.0.1:9/"})],
    ids=["JWT-140", "JWT-141"],
)
def test_a_bad_answer_keeps_the_keys(respx_mock: respx.MockRouter, keyring: Keyring, answer: httpx.Response) -> None:
    """JWT-140: HTML. JWT-141: a redirect, which is not followed (respx would refuse another address)."""
    respx_mock.get(URL).side_effect = [httpx.Response(200, content=keyring.jwks("rsa1")), answer]

    async def run() -> None:
        async with remote_door() as (authenticator, keys):
            await keys.refresh()
            await keys.refresh()
            assert keys.failure is not None
            assert admitted(await authenticator.authenticate(bearer(keyring.token(NOW)), PROTECTED)).subject == "alice"

    asyncio.run(run())


def test_two_keys_of_one_name(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    """JWT-145: the algorithm of the token decides."""
    twins = {"keys": [keyring.jwk("ec1", kid="rsa1"), keyring.jwk("rsa1")]}
    respx_mock.get(URL).respond(200, json=twins)

    async def run() -> None:
        async with remote_door() as (authenticator, _):
            assert admitted(await authenticator.authenticate(bearer(keyring.token(NOW)), PROTECTED)).subject == "alice"

    asyncio.run(run())


@pytest.mark.parametrize("test", INVALID, ids=lambda test: str(test["tcId"]))
def test_every_invalid_vector_is_401(keyring: Keyring, test: dict[str, Any]) -> None:
    token = test["jws"] if isinstance(test["jws"], str) else json.dumps(test["jws"])
    verdict = asked(door(keyring), bearer(token), PROTECTED)
    assert status(verdict) == 401 and verdict.refusal is not None
    assert verdict.refusal.challenge.startswith("Bearer")


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126) | st.just(" "), max_size=300))
def test_any_authorization_is_refused_and_nothing_is_raised(keyring: Keyring, value: str) -> None:
    authenticator = door(keyring, "rsa1")
    for said in (value, f"Bearer {value}", f"bearer{value}"):
        assert status(asked(authenticator, request(("Authorization", said)), PROTECTED)) == 401


# --- rotation --------------------------------------------------------------------------------------------------------


def test_rotation_under_load_refuses_nobody_wrongly(keyring: Keyring) -> None:
    """Every 500 requests a new key is published and, once tokens are signed with it, the one before is withdrawn."""

    async def run() -> None:
        async with key_server(answered(b"")) as source, remote_door(source.url) as (authenticator, keys):
            wrong: list[Verdict] = []
            for turn in range(12):
                kid, signer = f"key-{turn}", ("rsa1", "rsa2")[turn % 2]
                source.answer = answered(json.dumps({"keys": [keyring.jwk(signer, kid=kid)]}).encode())
                tokens = [keyring.token(NOW, signer, {"kid": kid}, sub=f"u{user}") for user in range(5)]
                heads = [bearer(token) for token in tokens]
                for _ in range(10):
                    verdicts = await asyncio.gather(
                        *(authenticator.authenticate(heads[number % 5], PROTECTED) for number in range(50))
                    )
                    wrong += [verdict for verdict in verdicts if verdict.refusal is not None]
            assert wrong == []
            assert len(source.asked) == 12 and keys.version == 12

    asyncio.run(run())


def test_a_token_of_a_withdrawn_key_is_no_longer_let_in(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    """Though it was verified before, and is still in the cache."""
    respx_mock.get(URL).side_effect = [
        httpx.Response(200, content=keyring.jwks("rsa1")),
        httpx.Response(200, content=keyring.jwks("rsa2")),
        httpx.Response(200, content=keyring.jwks("rsa2")),
    ]

    async def run() -> None:
        async with remote_door() as (authenticator, keys):
            head = bearer(keyring.token(NOW))
            assert admitted(await authenticator.authenticate(head, ANY))
            await keys.refresh()
            assert status(await authenticator.authenticate(head, ANY)) == 401

    asyncio.run(run())


def test_keys_without_names_rotate_too(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    nameless = [{**keyring.jwk(name), "kid": None} for name in ("rsa1", "rsa2")]
    respx_mock.get(URL).side_effect = [httpx.Response(200, json={"keys": [jwk]}) for jwk in nameless]

    async def run() -> None:
        async with remote_door() as (authenticator, keys):
            for name in ("rsa1", "rsa2"):
                head = bearer(keyring.token(NOW, name, {"kid": None}))
                assert admitted(await authenticator.authenticate(head, ANY)).subject == "alice"
            assert keys.fetches == 2

    asyncio.run(run())


# --- which credential counts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("Bearer", "malformed"),
        ("Bearer   ", "malformed"),
        ("Bearer x, Bearer y", "malformed"),
        ("Basic YTpi", "no_credential"),
        ("Bearer\t{token}", "no_credential"),
        ("Bearer,{token}", "no_credential"),
        ("DPoP {token}", "no_credential"),
        ("{token}", "no_credential"),
        ("Bearer {token} x", "malformed"),
        ("Bearer  {token} ", None),
        ("bEaReR {token}", None),
    ],
)
def test_the_authorization_line(keyring: Keyring, value: str, reason: str | None) -> None:
    verdict = asked(door(keyring), request(("Authorization", value.replace("{token}", keyring.token(NOW)))))
    if reason is None:
        assert admitted(verdict).subject == "alice"
    else:
        assert verdict.refusal is not None and verdict.refusal.reason == reason


def test_two_authorization_lines_never_reach_the_door(keyring: Keyring) -> None:
    token = keyring.token(NOW)
    with pytest.raises(Rejected):
        request(("Authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}"))
    head = bearer(token)
    head.fields[b"authorization"] += b", Bearer " + token.encode()  # and were they joined, they were no token
    assert status(asked(door(keyring), head)) == 401


@pytest.mark.parametrize(
    ("header", "value", "rule", "challenge"),
    [
        ("x", "y", ANY, "Bearer"),
        (
            "Authorization",
            "Bearer x",
            ANY,
            'Bearer error="invalid_token", error_description="The access token is not valid"',
        ),
        ("x", "y", AuthRule((), ("partner",)), 'ApiKey header="x-api-key"'),
        ("X-API-Key", "wrong", AuthRule((), ("partner",)), 'ApiKey header="x-api-key"'),
        ("x", "y", AuthRule(("shop",), ("partner",)), 'Bearer, ApiKey header="x-api-key"'),
        ("X-API-Key", PARTNER.text, AuthRule((), ("partner",), frozenset({"x"})), ""),
    ],
)
def test_challenges(keyring: Keyring, header: str, value: str, rule: AuthRule, challenge: str) -> None:
    verdict = asked(door(keyring), request((header, value)), rule)
    assert verdict.refusal is not None and verdict.refusal.challenge == challenge


def test_an_expired_token_is_called_so(keyring: Keyring) -> None:
    verdict = asked(door(keyring), bearer(keyring.token(NOW - 1000)))
    assert verdict.refusal is not None and verdict.refusal.reason == "expired"
    assert verdict.refusal.challenge == 'Bearer error="invalid_token", error_description="The access token expired"'


def test_where_both_are_sent_the_token_decides(keyring: Keyring) -> None:
    both = AuthRule(("shop",), ("partner",))
    key = ("x-api-key", PARTNER.text)
    good, bad = ("Authorization", f"Bearer {keyring.token(NOW)}"), ("Authorization", "Bearer x.y.z")
    authenticator = door(keyring)
    assert admitted(asked(authenticator, request(good, key), both)).subject == "alice"
    assert status(asked(authenticator, request(bad, key), both)) == 401
    assert admitted(asked(authenticator, request(("Authorization", "Basic YTpi"), key), both)).api_key == "partner"
    assert admitted(asked(authenticator, request(bad, key), AuthRule((), ("partner",)))).api_key == "partner"
    assert admitted(asked(authenticator, request(good, ("x-api-key", "junk")), ANY)).subject == "alice"


def test_a_token_of_an_issuer_that_the_route_does_not_take(keyring: Keyring) -> None:
    authenticator = door(keyring)
    head = bearer(keyring.token(NOW))
    assert admitted(asked(authenticator, head, ANY))
    assert status(asked(authenticator, head, AuthRule(("elsewhere",)))) == 401
    assert status(asked(authenticator, head, AuthRule((), ("partner",)))) == 401


def test_two_issuers_of_one_name_that_differ_in_audience(keyring: Keyring) -> None:
    keys = StaticKeys(keys_in_jwks(keyring.jwks("rsa1")))
    rules = [issuer_rule("web", audience=("web", "both")), issuer_rule("app", audience=("app", "both"))]
    authenticator = Authenticator({rule.name: Issuer(rule, keys) for rule in rules}, clock=Clock())
    all_of_them = AuthRule(("web", "app"))
    assert admitted(asked(authenticator, bearer(keyring.token(NOW, aud="app")), all_of_them)).issuer == "app"
    assert status(asked(authenticator, bearer(keyring.token(NOW, aud="third")), all_of_them)) == 401
    both = bearer(keyring.token(NOW, aud="both"))
    for _ in range(2):
        assert admitted(asked(authenticator, both, AuthRule(("web",)))).issuer == "web"
        assert admitted(asked(authenticator, both, AuthRule(("app",)))).issuer == "app"


# --- scopes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "all_scopes", "any_scope", "needed"),
    [
        ("a b", "a b", "", None),
        ("a", "a b", "", "a b"),
        ("a", "", "a b", None),
        ("c", "", "b a", "a b"),
        ("a", "a", "b", "a b"),
        ("a b", "a", "b a", None),
        ("", "", "", None),
        ("A", "a", "", "a"),
    ],
)
def test_scopes(keyring: Keyring, held: str, all_scopes: str, any_scope: str, needed: str | None) -> None:
    rule = AuthRule(("shop",), (), frozenset(all_scopes.split()), frozenset(any_scope.split()))
    authenticator = door(keyring)
    for claims in ({"scope": held}, {"scope": None, "scp": held.split()}):
        verdict = asked(authenticator, bearer(keyring.token(NOW, **claims)), rule)
        if needed is None:
            assert admitted(verdict).subject == "alice"
        else:
            assert verdict.refused and verdict.refusal is not None and verdict.outcome == "forbidden"
            assert (verdict.refusal.status, verdict.refusal.cause) == (403, "forbidden")
            assert verdict.refusal.challenge == f'Bearer error="insufficient_scope", scope="{needed}"'


# --- API keys --------------------------------------------------------------------------------------------------------


def test_an_api_key_is_32_random_bytes_and_known_by_its_hash() -> None:
    assert PARTNER.text == "fig_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert PARTNER.sha256 == sha256(PARTNER.text.encode()).hexdigest()
    with pytest.raises(ValueError, match="32 random bytes, not of 16"):
        api_key_of(bytes(16))


def test_api_keys(keyring: Keyring) -> None:
    authenticator = door(keyring)
    partner = AuthRule((), ("partner",), frozenset({"catalog:read"}))
    assert admitted(asked(authenticator, request(("X-Api-Key", PARTNER.text)), partner)) == Principal(
        "", ("catalog:read",), "", "partner"
    )
    for wrong in (OTHER.text, PARTNER.text + "x", PARTNER.text[:-1], PARTNER.sha256, "", "x" * 2000):
        verdict = asked(authenticator, request(("X-Api-Key", wrong)), partner)
        assert verdict.refusal is not None and (verdict.refusal.status, verdict.refusal.reason) == (401, "api_key")
    verdict = asked(authenticator, request(("X-Api-Key", OTHER.text)), AuthRule((), ("other",), frozenset({"a"})))
    assert status(verdict) == 403


def test_two_lines_with_a_key_are_none(keyring: Keyring) -> None:
    head = request(("x-api-key", PARTNER.text), ("x-api-key", PARTNER.text))
    assert status(asked(door(keyring), head, AuthRule((), ("partner",)))) == 401


def test_the_field_of_the_key_is_configured(keyring: Keyring) -> None:
    authenticator = Authenticator({}, [ApiKeyRule("partner", PARTNER.sha256)], api_key_header="X-Partner")
    rule = AuthRule((), ("partner",))
    assert admitted(asked(authenticator, request(("x-partner", PARTNER.text)), rule)).api_key == "partner"
    assert status(asked(authenticator, request(("x-api-key", PARTNER.text)), rule)) == 401


@pytest.mark.parametrize("text", [PARTNER.text, PARTNER.sha256.upper(), PARTNER.sha256[:-1], ""])
def test_a_hash_that_is_none_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="API key partner: sha256 is not 64") as error:
        ApiKeyRule("partner", text)
    assert not text or text not in str(error.value)


# --- observing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "outcome", "known"),
    [
        ([], "would_unauthenticated", False),
        ([("Authorization", "Bearer x.y.z")], "would_unauthenticated", False),
        ([("Authorization", "Bearer {token}")], "would_forbidden", True),
    ],
)
def test_observe_refuses_nothing_and_says_what_it_would_have(
    keyring: Keyring, headers: list[tuple[str, str]], outcome: str, known: bool
) -> None:
    rule = AuthRule(("shop",), (), frozenset({"orders:write"}), mode="observe")
    lines = [(name, value.replace("{token}", keyring.token(NOW))) for name, value in headers]
    verdict = asked(door(keyring), request(*lines), rule)
    assert not verdict.refused and verdict.refusal is not None
    assert verdict.outcome == outcome and (verdict.principal is not None) is known


def test_observe_lets_the_good_ones_be_good(keyring: Keyring) -> None:
    verdict = asked(door(keyring), bearer(keyring.token(NOW)), AuthRule(("shop",), mode="observe"))
    assert admitted(verdict).subject == "alice" and verdict.outcome == "ok"


def test_observe_waits_for_no_key(keyring: Keyring) -> None:
    async def run() -> None:
        async with (
            key_server(answered(keyring.jwks("rsa1"))) as source,
            remote_door(source.url) as (authenticator, keys),
        ):
            source.hold.clear()
            rule, head = AuthRule(("shop",), mode="observe"), bearer(keyring.token(NOW))
            for _ in range(10):
                verdict = authenticator.check(head, rule)
                assert verdict is not None and not verdict.refused and verdict.outcome == "would_key_awaited"
            source.hold.set()
            await keys.refresh()
            verdict = authenticator.check(head, rule)
            assert verdict is not None and admitted(verdict).subject == "alice"
            assert len(source.asked) == 1

    asyncio.run(run())


# --- the cache -------------------------------------------------------------------------------------------------------


def test_a_cached_token_ends_with_its_exp_and_leeway(keyring: Keyring) -> None:
    clock = Clock()
    authenticator = door(keyring, clock=clock)
    head = bearer(keyring.token(NOW, exp=NOW + 20))
    assert admitted(asked(authenticator, head)).expires_s == NOW + 20
    clock.now = NOW + 49.999
    assert admitted(asked(authenticator, head))
    clock.now = NOW + 50
    assert status(asked(authenticator, head)) == 401


def test_the_cache_is_bounded_and_keeps_what_is_used(keyring: Keyring) -> None:
    clock = Clock()
    cache = TokenCache(most=3)
    authenticator = door(keyring, clock=clock, cache=cache)
    tokens = [keyring.token(NOW, sub=f"u{number}") for number in range(4)]
    for number in (0, 1, 2, 0, 3):
        assert admitted(asked(authenticator, bearer(tokens[number])))
    assert len(cache) == 3
    kept = [cache.find(token.encode(), NOW) is not None for token in tokens]
    assert kept == [True, False, True, True]
    cache.clear()
    assert len(cache) == 0


def test_bad_tokens_displace_nobody(keyring: Keyring) -> None:
    cache = TokenCache(most=3)
    authenticator = door(keyring, cache=cache)
    good = keyring.token(NOW)
    assert admitted(asked(authenticator, bearer(good)))
    for number in range(10):
        assert (
            status(asked(authenticator, bearer(keyring.token(NOW, "attacker", {"kid": "rsa1"}, sub=str(number)))))
            == 401
        )
    assert len(cache) == 1 and cache.find(good.encode(), NOW) is not None


def test_what_is_cached_is_verified_again_after_a_while(keyring: Keyring) -> None:
    cache = TokenCache()
    authenticator = door(keyring, cache=cache)
    token = keyring.token(NOW)
    assert admitted(asked(authenticator, bearer(token)))
    assert cache.find(token.encode(), NOW + LONGEST_S - 1) is not None
    assert cache.find(token.encode(), NOW + LONGEST_S) is None


def test_a_cached_token_costs_a_hash(keyring: Keyring) -> None:
    """A few microseconds; the bound is wide enough for a busy machine, and half of what a signature alone takes."""
    authenticator = door(keyring)
    head = bearer(keyring.token(NOW))
    assert admitted(asked(authenticator, head, PROTECTED))
    best = min(_timed(authenticator, head) for _ in range(30))
    assert best < 15e-6


def _timed(authenticator: Authenticator, head: RequestHead) -> float:
    before = time.perf_counter()
    for _ in range(200):
        authenticator.check(head, PROTECTED)
    return (time.perf_counter() - before) / 200
