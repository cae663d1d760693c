"""The gateway's own tokens: that others accept them, whom they name, when they end, and what is published."""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from proxy.admission.auth_rules import IssuerRule
from proxy.admission.identity_token import IdentityMint, UnusableKey, key_of, load_key, new_key
from proxy.admission.keys import keys_in_jwks
from proxy.admission.token import read_jws, verify_token
from proxy.messages import Principal

NOW = 1_800_000_000
ALICE = Principal("alice", ("orders:read", "cart"), "shop", expires_s=NOW + 3600.0)
RULE = IssuerRule("fig", "https://fig.test", ("internal",), ("ES256",), leeway_s=0.0)
KEY, OLD = new_key(), new_key()


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def mint(clock: Clock | None = None, ttl_s: float = 60.0, *keys: ec.EllipticCurvePrivateKey) -> IdentityMint:
    return IdentityMint(keys or (KEY,), "https://fig.test", "internal", ttl_s, clock or Clock())


def part(token: bytes, number: int) -> dict[str, Any]:
    found = json.loads(urlsafe_b64decode(token.split(b".")[number] + b"=="))
    assert isinstance(found, dict)
    return found


def claims_of(principal: Principal) -> dict[str, Any]:
    return part(mint().token_for(principal), 1)


def pem(key: Any, form: s.PrivateFormat = s.PrivateFormat.PKCS8, password: bytes | None = None) -> bytes:
    cipher = s.BestAvailableEncryption(password) if password else s.NoEncryption()
    found: bytes = key.private_bytes(s.Encoding.PEM, form, cipher)
    return found


# --- what a token says -----------------------------------------------------------------------------------------------


def test_the_token_of_a_user() -> None:
    token = mint().token_for(ALICE)
    kid = ECKey.import_key(KEY).thumbprint()
    assert part(token, 0) == {"alg": "ES256", "typ": "at+jwt", "kid": kid}
    claims = part(token, 1)
    assert len(claims.pop("jti")) >= 22
    assert claims == {
        "iss": "https://fig.test",
        "aud": "internal",
        "iat": NOW,
        "exp": NOW + 60,
        "sub": "alice",
        "scope": "orders:read cart",
        "idp": "shop",
    }


@pytest.mark.parametrize(
    ("principal", "said"),
    [
        (Principal("7", session=True), {"sub": "7", "idp": "session"}),
        (Principal("", ("a",), api_key="ci"), {"sub": "api-key:ci", "scope": "a", "idp": "api_key", "client_id": "ci"}),
        (Principal("", (), "shop"), {"idp": "shop"}),
        (Principal("änna", (), "shop"), {"sub": "änna", "idp": "shop"}),
        (Principal("ci", (), "shop"), {"sub": "ci", "idp": "shop"}),
        (Principal("api-key:ci", (), "shop"), {"sub": "user:api-key:ci", "idp": "shop"}),
        (Principal("user:api-key:ci", session=True), {"sub": "user:user:api-key:ci", "idp": "session"}),
        (Principal("user:ci", (), "shop"), {"sub": "user:ci", "idp": "shop"}),
        (Principal("my-api-key:ci", (), "shop"), {"sub": "my-api-key:ci", "idp": "shop"}),
    ],
)
def test_whom_a_token_names(principal: Principal, said: dict[str, str]) -> None:
    claims = claims_of(principal)
    assert {name: claims[name] for name in claims.keys() - {"iss", "aud", "iat", "exp", "jti"}} == said


likely = st.from_regex(r"(user:|api-key:){0,3}[ab]?", fullmatch=True).filter(bool)


@given(likely, likely)
def test_two_who_differ_never_have_one_subject(one: str, other: str) -> None:
    found = {claims_of(Principal(name, (), "shop"))["sub"] for name in (one, other)}
    assert len(found) == len({one, other})
    assert claims_of(Principal("", (), api_key=one))["sub"] not in found


# --- who accepts it --------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)
scopes = st.lists(st.from_regex(r"[!#-\[\]-~]{1,8}", fullmatch=True), max_size=4, unique=True).map(tuple)
principals = st.builds(
    Principal, texts, scopes, st.just("shop"), expires_s=st.none() | st.floats(NOW + 1, NOW + 200)
) | st.builds(Principal, texts, scopes, session=st.just(True))


@given(principals, st.floats(1, 300), st.floats(0, 0.99))
def test_a_verifier_that_is_given_the_published_keys_accepts_it(
    principal: Principal, ttl_s: float, late: float
) -> None:
    one = mint(Clock(NOW + late), ttl_s, KEY, OLD)
    token, keys = one.token_for(principal), keys_in_jwks(one.jwks())
    found = verify_token(token, RULE, keys, NOW + late, ("idp", "jti"))
    assert (found.subject, found.scopes, found.issuer) == (principal.subject, principal.scopes, "fig")
    assert found.expires_s is not None and found.expires_s <= NOW + late + ttl_s
    assert principal.expires_s is None or found.expires_s <= principal.expires_s
    decoded = jwt.decode(token.decode(), KeySet.import_key_set(json.loads(one.jwks())), algorithms=["ES256"])
    assert decoded.claims["sub"] == principal.subject and decoded.claims["idp"] == found.claims["idp"]
    jwt.JWTClaimsRegistry(now=NOW, iss={"essential": True}, aud={"value": "internal"}).validate(decoded.claims)


@settings(max_examples=300)
@given(st.integers(0, 10**9))
def test_every_signature_has_its_full_length(number: int) -> None:
    """Half a signature in 128 begins with a zero, which must not be lost."""
    token = mint().token_for(Principal(str(number), (), "shop"))
    assert len(read_jws(token).signature) == 64


# --- when it ends, and when there is a new one -----------------------------------------------------------------------


def test_a_token_is_used_again_until_half_of_its_life_is_over() -> None:
    clock = Clock(NOW + 0.7)
    one = mint(clock)
    first = one.token_for(ALICE)
    clock.now = NOW + 29.9
    assert one.token_for(Principal("alice", ALICE.scopes, "shop", "", ALICE.expires_s, {"plan": "gold"})) == first
    clock.now = NOW + 30
    second = one.token_for(ALICE)
    assert part(second, 1)["exp"] == NOW + 90 and part(second, 1)["jti"] != part(first, 1)["jti"]


@pytest.mark.parametrize(
    "other",
    [
        Principal("bob", ALICE.scopes, "shop", expires_s=ALICE.expires_s),
        Principal("alice", ("cart",), "shop", expires_s=ALICE.expires_s),
        Principal("alice", ALICE.scopes, "other", expires_s=ALICE.expires_s),
        Principal("alice", ALICE.scopes, "shop", expires_s=None),
        Principal("alice", ALICE.scopes, session=True, expires_s=ALICE.expires_s),
        Principal("", ALICE.scopes, api_key="alice", expires_s=ALICE.expires_s),
    ],
)
def test_nobody_is_given_the_token_of_another(other: Principal) -> None:
    one = mint()
    first = part(one.token_for(ALICE), 1)
    second = part(one.token_for(other), 1)
    assert first["jti"] != second["jti"]
    nobody = part(one.token_for(Principal(other.subject, other.scopes, expires_s=other.expires_s)), 1)
    assert nobody["jti"] != second["jti"]


def test_a_token_ends_with_its_principal_and_is_kept_until_then() -> None:
    clock = Clock(NOW)
    one = mint(clock)
    brief = Principal("alice", (), "shop", expires_s=NOW + 20.9)
    first = one.token_for(brief)
    assert part(first, 1)["exp"] == NOW + 20
    clock.now = NOW + 19.9
    assert one.token_for(brief) == first
    # Within the leeway of its issuer the principal still comes in; its token says when it ended.
    clock.now = NOW + 25
    assert one.token_for(brief) == first
    clock.now = NOW + 30
    late = one.token_for(brief)
    assert late != first and part(late, 1)["exp"] == NOW + 20


def test_a_clock_that_was_put_back_finds_no_token_of_the_future() -> None:
    clock = Clock(NOW)
    one = mint(clock)
    one.token_for(ALICE)
    clock.now = NOW - 10
    assert part(one.token_for(ALICE), 1)["iat"] == NOW - 10


@given(
    st.floats(1, 300),
    st.none() | st.floats(0, 400),
    st.lists(st.floats(0, 200), min_size=1, max_size=12).map(sorted),
)
def test_on_any_schedule_a_token_has_half_of_its_life_or_ends_with_its_principal(
    ttl_s: float, left_s: float | None, times: list[float]
) -> None:
    clock = Clock()
    one = mint(clock, ttl_s)
    principal = Principal("alice", (), "shop", expires_s=None if left_s is None else NOW + left_s)
    end = math.inf if left_s is None else math.floor(NOW + left_s)
    for passed in times:
        clock.now = NOW + passed
        claims = part(one.token_for(principal), 1)
        assert claims["iat"] <= clock.now and claims["exp"] <= min(end, clock.now + ttl_s)
        assert claims["exp"] == end or claims["exp"] - clock.now >= ttl_s / 2 - 2  # whole seconds: one for each end


def test_the_least_recently_used_goes_first() -> None:
    one = IdentityMint((KEY,), "https://fig.test", "internal", 60.0, Clock(), most=3)
    people = [Principal(name, (), "shop") for name in "abcd"]
    tokens = [one.token_for(person) for person in people[:3]]
    assert one.token_for(people[0]) == tokens[0]
    one.token_for(people[3])
    assert one.token_for(people[0]) == tokens[0] and one.token_for(people[2]) == tokens[2]
    assert one.token_for(people[1]) != tokens[1]


# --- keys ------------------------------------------------------------------------------------------------------------


def test_what_is_published_is_public() -> None:
    published = json.loads(mint(None, 60.0, KEY, OLD, KEY).jwks())
    assert list(published) == ["keys"] and len(published["keys"]) == 2
    for entry, key in zip(published["keys"], (KEY, OLD), strict=True):
        jose = ECKey.import_key(key)
        assert entry == {**jose.as_dict(private=False), "kid": jose.thumbprint(), "alg": "ES256", "use": "sig"}
        assert "d" not in entry


def test_a_rotation_refuses_nobody() -> None:
    """The new key is published before it signs, and the old one after it has signed."""
    before, beside, after = (mint(None, 60.0, *keys) for keys in ((OLD, KEY), (KEY, OLD), (KEY,)))
    for signer, published in ((before, before), (before, beside), (beside, before), (beside, after)):
        verify_token(signer.token_for(ALICE), RULE, keys_in_jwks(published.jwks()), NOW)


def test_a_mint_that_could_mint_nothing_good_is_refused() -> None:
    with pytest.raises(ValueError, match="P-256"):
        IdentityMint((), "https://fig.test", "internal", 60.0)
    with pytest.raises(ValueError, match="P-256"):
        mint(None, 60.0, KEY, ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(ValueError, match="at least 1"):
        mint(None, 0.5)


@pytest.mark.parametrize("form", [s.PrivateFormat.PKCS8, s.PrivateFormat.TraditionalOpenSSL])
def test_a_key_is_read(tmp_path: Path, form: s.PrivateFormat) -> None:
    path = tmp_path / "new.pem"
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    for head in (b"", parameters if form is s.PrivateFormat.TraditionalOpenSSL else b"\n"):
        path.write_bytes(head + pem(KEY, form))
        assert load_key(path).private_numbers() == KEY.private_numbers()


def _unusable() -> list[tuple[bytes, str]]:
    p384, of_rsa = ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)
    public = KEY.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    openssl = s.PrivateFormat.TraditionalOpenSSL
    return [
        (b"", "no private key in PEM: `openssl genpkey"),
        (b"hunter2", "no private key in PEM"),
        (public, "no private key in PEM"),
        (pem(p384), "not EC on P-256: `openssl genpkey"),
        (pem(of_rsa), "not EC on P-256"),
        (pem(KEY, s.PrivateFormat.PKCS8, b"secret"), "with a password"),
        (pem(KEY, openssl, b"secret"), "with a password"),
        (pem(KEY)[:-60], "cannot be read"),
        (pem(KEY).replace(b"M", b"N"), "cannot be read"),
        (b"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n", "cannot be read"),
    ]


@pytest.mark.parametrize(
    ("document", "said"), _unusable(), ids=lambda value: value[:24] if isinstance(value, str) else ""
)
def test_what_is_no_key_to_sign_with_is_refused(document: bytes, said: str) -> None:
    with pytest.raises(UnusableKey, match=said) as error:
        key_of(document)
    assert "hunter2" not in str(error.value)


def test_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableKey, match=r"absent\.pem cannot be read: No such file"):
        load_key(tmp_path / "absent.pem")
    (tmp_path / "empty.pem").write_bytes(b"")
    with pytest.raises(UnusableKey, match=r"empty\.pem has no private key"):
        load_key(tmp_path / "empty.pem")


def test_a_key_of_the_process_is_its_own() -> None:
    assert new_key().private_numbers() != new_key().private_numbers()
