"""Tokens: the shared vectors of others, what rules pin, and that no mutation of a good token is ever good."""

from __future__ import annotations

import hmac
import json
import time
import warnings
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.admission.auth_rules import IssuerRule
from proxy.admission.keys import KeySet, UnusableKeys, keys_in, keys_in_jwks
from proxy.admission.token import MOST_BYTES, Unfit, check_signature, read_jws, verify_token
from proxy.messages import Principal
from tests.support.tokens import AUDIENCE, ISSUER, Keyring, b64, public_members, signature, standard_base64

NOW = 1_800_000_000
RULE = IssuerRule("shop", ISSUER, (AUDIENCE, "second"), ("RS256", "ES256"))
WYCHEPROOF = json.loads((Path(__file__).parent.parent / "cases" / "wycheproof_jws.json").read_text())
VECTORS = [(group, test) for group in WYCHEPROOF["testGroups"] for test in group["tests"]]
# Its key says PS256 and the token PS384; a symmetric key; and "ES521", which is no algorithm.
_PINNED_AWAY = ("rfc7520", "rfc7520WithKeyOps")


def public(keyring: Keyring, *names: str) -> KeySet:
    return KeySet(keys_in_jwks(keyring.jwks(*names)))


def verified(token: str, keyring: Keyring, rule: IssuerRule = RULE, now: float = NOW, *wanted: str) -> Principal:
    compact = token.encode("latin-1")
    keys = public(keyring)
    return verify_token(compact, rule, keys.candidates(read_jws(compact).kid, read_jws(compact).algorithm), now, wanted)


def refused(token: str, keyring: Keyring, rule: IssuerRule = RULE, now: float = NOW) -> str:
    with pytest.raises(Unfit) as unfit:
        verified(token, keyring, rule, now)
    return str(unfit.value)


# --- vectors of others -----------------------------------------------------------------------------------------------


def _group_keys(group: dict[str, Any]) -> KeySet:
    try:
        return KeySet(keys_in_jwks(json.dumps({"keys": [group.get("public") or group["private"]]}).encode()))
    except UnusableKeys:
        return KeySet()


@pytest.mark.parametrize(("group", "test"), VECTORS, ids=lambda value: str(value.get("tcId", "")))
def test_wycheproof(group: dict[str, Any], test: dict[str, Any]) -> None:
    """A valid one is good wherever fig would use its key, so the invalid ones fail for a reason of their own."""
    key = group.get("public") or group["private"]
    good = test["result"] == "valid" and key["kty"] != "oct" and key.get("alg") != "ES521"
    if group["comment"] in _PINNED_AWAY and "PS384" in str(_header(test["jws"])):
        good = False
    try:
        jws = read_jws(test["jws"].encode())
        check_signature(jws, _group_keys(group).candidates(jws.kid, jws.algorithm))
    except Unfit:
        assert not good
    else:
        assert good


def _header(compact: str) -> bytes:
    return urlsafe_b64decode(compact.partition(".")[0] + "===")


def test_all_invalid_vectors_are_there() -> None:
    assert sum(test["result"] == "invalid" for _, test in VECTORS) == 355


# --- what a good token says ------------------------------------------------------------------------------------------


def test_a_good_token_says_who_comes(keyring: Keyring) -> None:
    token = keyring.token(NOW, scope="orders:read orders:read cart", tenant=7, vip=True, roles=["a"], plan="gold")
    principal = verified(token, keyring, RULE, NOW, "sub", "tenant", "vip", "roles", "plan", "absent")
    claims = {"sub": "alice", "tenant": "7", "vip": "true", "plan": "gold"}
    assert principal == Principal("alice", ("orders:read", "cart"), "shop", "", NOW + 300.0, claims)


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": None}, ()),
        ({"scope": ""}, ()),
        ({"scope": "b  a"}, ("b", "a")),
        ({"scope": ["b", "a", 7, None]}, ("b", "a")),
        ({"scope": None, "scp": "a b"}, ("a", "b")),
        ({"scope": None, "scp": ["a"], "scopes": ["b", "a"]}, ("a", "b")),
        ({"scope": 7, "scp": {"a": 1}}, ()),
        ({"scope": 'a\r\nX-Admin: 1 q"uote back\\slash ä b'}, ("1", "b")),
        ({"scope": "a\tb c"}, ("c",)),
    ],
)
def test_scopes(keyring: Keyring, claims: dict[str, Any], scopes: tuple[str, ...]) -> None:
    assert verified(keyring.token(NOW, header=None, **claims), keyring).scopes == scopes


@pytest.mark.parametrize(
    "subject", ["a\r\nX-Admin: 1", "a\x00", "\x7f", "a\x85b", " admin", "admin\u2003", 7, None, ["a"]]
)
def test_a_subject_that_no_header_field_carries_unchanged_is_refused(keyring: Keyring, subject: Any) -> None:
    claims: dict[str, Any] = {"sub": subject}
    token = keyring.token(NOW, **claims) if subject is not None else _null_subject(keyring)
    assert refused(token, keyring) == "claims"


def _null_subject(keyring: Keyring) -> str:
    return _signed(keyring, json.dumps({"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 9, "sub": None}).encode())


_HEADER = b'{"alg":"RS256","kid":"rsa1"}'


def _signed(keyring: Keyring, payload: bytes, header: bytes = _HEADER) -> str:
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(keyring.sign('rsa1', signed))}"


def test_a_subject_is_not_required_and_may_have_any_letters(keyring: Keyring) -> None:
    assert verified(keyring.token(NOW, sub=None), keyring).subject == ""
    assert verified(keyring.token(NOW, sub="Jürgen 李"), keyring).subject == "Jürgen 李"


# --- claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": NOW - 30}, "expired"),  # leeway 30 s: valid while now < exp + leeway
        ({"exp": NOW - 29}, None),
        ({"exp": None}, "claims"),
        ({"exp": True}, "claims"),
        ({"exp": str(NOW + 300)}, "claims"),
        ({"exp": [NOW + 300]}, "claims"),
        ({"exp": 10**300}, None),
        ({"nbf": NOW + 30}, None),
        ({"nbf": NOW + 31}, "not_yet_valid"),
        ({"nbf": "0"}, "claims"),
        ({"iat": NOW + 31}, "not_yet_valid"),
        ({"iat": False}, "claims"),
        ({"iat": None}, None),
        ({"aud": ["x", "second"]}, None),
        ({"aud": ["x", 7, None]}, "audience"),
        ({"aud": {AUDIENCE: 1}}, "audience"),
        ({"aud": AUDIENCE.upper()}, "audience"),
        ({"aud": None}, "audience"),
        ({"iss": ISSUER.upper()}, "issuer"),
        ({"iss": [ISSUER]}, "claims"),
        ({"iss": None}, "claims"),
    ],
)
def test_claims(keyring: Keyring, claims: dict[str, Any], reason: str | None) -> None:
    token = keyring.token(NOW, **claims)
    if reason is None:
        assert verified(token, keyring).subject == "alice"
    else:
        assert refused(token, keyring) == reason


@pytest.mark.parametrize(
    "payload",
    [
        '{"iss":"I","aud":"A","exp":9999999999,"exp":1}',
        '{"iss":"I","iss":"I","aud":"A","exp":9999999999}',
        '{"iss":"I","aud":"A","exp":9999999999,"x":{"a":1,"a":1}}',
        '{"iss":"I","aud":"A","exp":9999999999,"x":[{"\\u0061":1,"a":1}]}',
        '{"iss":"I","aud":"A","exp":NaN}',
        '{"iss":"I","aud":"A","exp":Infinity}',
        '{"iss":"I","aud":"A","exp":1e400}',
        '{"iss":"I","aud":"A","exp":9999999999,"sub":"\\ud800"}',
        '\ufeff{"iss":"I","aud":"A","exp":9999999999}',
        '{"iss":"I","aud":"A","exp":9999999999}x',
        '{"iss":"I","aud":"A","exp":' + "9" * 5000 + "}",
        '{"iss":"I","aud":"A","exp":9999999999,"x":' + "[" * 2500 + "]" * 2500 + "}",
        '"{}"',
        "",
    ],
)
def test_a_payload_with_two_readings_or_none_is_malformed(keyring: Keyring, payload: str) -> None:
    said = payload.replace('"I"', f'"{ISSUER}"').replace('"A"', f'"{AUDIENCE}"')
    assert refused(_signed(keyring, said.encode()), keyring) == "malformed"


# --- header ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"typ": "JWT"}, None),
        ({"typ": "jwt"}, None),
        ({"typ": "application/at+JWT"}, None),
        ({"typ": None}, None),
        ({"typ": "dpop+jwt"}, "type"),
        ({"typ": "logout+jwt"}, "type"),
        ({"typ": ["JWT"]}, "type"),
        ({"crit": ["b64"], "b64": True}, "critical"),
        ({"crit": []}, "critical"),
        ({"b64": True}, "malformed"),
        ({"zip": "DEF"}, "malformed"),
        ({"alg": "RS512"}, "algorithm"),  # the key could do it; the issuer's rule does not allow it
        ({"alg": "PS256"}, "algorithm"),
        ({"kid": 7}, "malformed"),
        ({"kid": "../../rsa1"}, "signature"),
        ({"jku": "http://127.0.0.1:9/x", "x5u": "http://127.0.0.1:9/x"}, None),
        ({"cty": "JWT"}, None),
    ],
)
def test_headers(keyring: Keyring, header: dict[str, Any], reason: str | None) -> None:
    token = keyring.token(NOW, header=header)
    if reason is None:
        assert verified(token, keyring).subject == "alice"
    else:
        assert refused(token, keyring) == reason


def test_a_header_member_that_comes_twice_is_refused(keyring: Keyring) -> None:
    payload = json.dumps({"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 9}).encode()
    assert verified(_signed(keyring, payload), keyring).issuer == "shop"
    assert refused(_signed(keyring, payload, b'{"alg":"none","kid":"rsa1","alg":"RS256"}'), keyring) == "malformed"


def test_the_alphabet_of_plain_base64_is_refused(keyring: Keyring) -> None:
    payload = json.dumps({"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 9, "x": "?>~ÿþ" * 9}, ensure_ascii=False)
    plain = standard_base64(payload.encode())
    assert set("+/") & set(plain)
    signed = f"{b64(_HEADER)}.{plain}"
    assert refused(f"{signed}.{b64(keyring.sign('rsa1', signed))}", keyring) == "malformed"


def test_8_KiB_are_read_and_not_one_byte_more(keyring: Keyring) -> None:
    token = keyring.token(NOW)
    filler = "x" * ((MOST_BYTES - len(token)) * 3 // 4 - 12)
    longest = max((keyring.token(NOW, f=filler + "x" * more) for more in range(9)), key=_fits)
    assert MOST_BYTES - 4 < len(longest) <= MOST_BYTES
    assert verified(longest, keyring).subject == "alice"
    with pytest.raises(Unfit, match="too_long"):
        read_jws(b"a" * (MOST_BYTES + 1))


def _fits(token: str) -> int:
    return len(token) if len(token) <= MOST_BYTES else -1


def test_a_token_of_100_KB_costs_nothing(keyring: Keyring) -> None:
    token = keyring.token(NOW, f="x" * 100_000).encode()
    before = time.perf_counter()
    for _ in range(1000):
        with pytest.raises(Unfit, match="too_long"):
            read_jws(token)
    assert time.perf_counter() - before < 0.5


# --- algorithms and keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["none", "None", "A128KW", "ES256K", ""])
def test_what_cannot_be_pinned_cannot_be_configured(algorithm: str) -> None:
    with pytest.raises(ValueError, match="issuer shop: algorithms"):
        IssuerRule("shop", ISSUER, (AUDIENCE,), ("RS256", algorithm))


@pytest.mark.parametrize(
    ("algorithms", "jwks_url"),
    [(("HS256", "RS256"), None), (("ES256", "HS512"), None), (("HS256",), "https://id.example/jwks")],
)
def test_a_shared_secret_stands_beside_no_public_key_and_is_never_fetched(
    algorithms: tuple[str, ...], jwks_url: str | None
) -> None:
    with pytest.raises(ValueError, match="takes a shared secret"):
        IssuerRule("shop", ISSUER, (AUDIENCE,), algorithms, jwks_url)


@pytest.mark.parametrize(("algorithm", "size"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_shared_secret_verifies_only_where_it_is_long_enough_and_from_a_file(algorithm: str, size: int) -> None:
    def document(secret: bytes) -> bytes:
        return json.dumps({"keys": [{"kty": "oct", "k": b64(secret)}]}).encode()

    secret = bytes(range(size))
    signed = f"{b64(json.dumps({'alg': algorithm}).encode())}.{b64(b'{}')}"
    mac = hmac.new(secret, signed.encode(), f"sha{algorithm[2:]}").digest()
    jws = read_jws(f"{signed}.{b64(mac)}".encode())
    check_signature(jws, KeySet(keys_in(document(secret))).candidates(None, algorithm))
    with pytest.raises(Unfit, match="signature"):
        check_signature(jws, KeySet(keys_in(document(secret[:-1] + b"x"))).candidates(None, algorithm))
    assert not KeySet(keys_in(document(secret[:-1]))).candidates(None, algorithm)  # RFC 7518 3.2
    with pytest.raises(UnusableKeys):
        keys_in_jwks(document(secret))


@pytest.mark.parametrize(
    "rule",
    [{"algorithms": ()}, {"audience": ()}, {"audience": ("",)}, {"issuer": ""}],
    ids=["no algorithm", "no audience", "empty audience", "no issuer"],
)
def test_a_rule_that_asks_nothing_cannot_be_configured(rule: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"name": "shop", "issuer": ISSUER, "audience": (AUDIENCE,), "algorithms": ("RS256",)}
    with pytest.raises(ValueError, match="issuer shop"):
        IssuerRule(**{**fields, **rule})


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"])
def test_every_algorithm_verifies_with_its_own_kind_of_key_only(keyring: Keyring, algorithm: str) -> None:
    curves: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    keyring_keys: dict[str, Any] = {name: ec.generate_private_key(curve) for name, curve in curves.items()}
    own = keyring_keys.get(algorithm, keyring.keys["rsa1"])
    keys = KeySet(keys_in_jwks(json.dumps({"keys": [public_members(own)]}).encode()))
    others = [keyring.keys["rsa1"], *keyring_keys.values()]
    signed = f"{b64(json.dumps({'alg': algorithm}).encode())}.{b64(b'{}')}"
    good = read_jws(f"{signed}.{b64(signature(own, signed.encode(), algorithm))}".encode())
    check_signature(good, keys.candidates(None, algorithm))
    for other in others:
        foreign = KeySet(keys_in_jwks(json.dumps({"keys": [public_members(other)]}).encode()))
        if foreign.marks != keys.marks:
            with pytest.raises(Unfit, match="signature"):
                check_signature(good, foreign.candidates(None, algorithm))


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
def test_edwards_curves_by_both_names(algorithm: str) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(private.public_key().public_bytes_raw()), "alg": algorithm}
    keys = KeySet(keys_in_jwks(json.dumps({"keys": [jwk]}).encode()))
    signed = f"{b64(json.dumps({'alg': algorithm}).encode())}.{b64(b'{}')}"
    jws = read_jws(f"{signed}.{b64(private.sign(signed.encode()))}".encode())
    check_signature(jws, keys.candidates(None, algorithm))
    with pytest.raises(Unfit, match="signature"):
        check_signature(jws, keys.candidates(None, "ES256"))


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "oct", "k": "AAAA"},
        {"kty": "rsa"},
        {"kty": ["RSA"]},
        {"kty": None},
        {"use": "enc"},
        {"use": ["sig"]},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"key_ops": []},
        {"alg": "RS257"},
        {"alg": "HS256"},
        {"alg": "ES256"},
        {"alg": ["RS256"]},
        {"alg": None},
        {"kid": 7},
        {"kid": ""},
        {"n": None},
        {"n": ""},
        {"n": "é"},
        {"e": "AQ"},  # 1: everything is its own signature
        {"e": "Ag"},  # even
        {"e": "A" * 100},
        {"n": "AQAB"},
    ],
)
def test_a_key_that_cannot_be_used_is_left_out(keyring: Keyring, change: dict[str, Any]) -> None:
    document = {"keys": [{**keyring.jwk("rsa1"), **change}, keyring.jwk("rsa2"), 7, None, {}]}
    keys = keys_in_jwks(json.dumps(document).encode())
    assert [key.kid for key in keys] == ["rsa2"]
    with pytest.raises(UnusableKeys, match="none of its keys"):
        keys_in_jwks(json.dumps({"keys": document["keys"][:1]}).encode())


@pytest.mark.parametrize("bits", [1024, 2047])
def test_short_rsa_keys_are_left_out(keyring: Keyring, bits: int) -> None:
    number = (1 << (bits - 1)) + 1
    members = {"kty": "RSA", "n": b64(number.to_bytes((bits + 7) // 8, "big")), "e": "AQAB"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that joserfc warns does not keep it from using the key
        with pytest.raises(UnusableKeys):
            keys_in_jwks(json.dumps({"keys": [members]}).encode())


def test_a_point_off_the_curve_is_left_out(keyring: Keyring) -> None:
    members = {**keyring.jwk("ec1"), "y": b64(b"\x01" * 32)}
    with pytest.raises(UnusableKeys):
        keys_in_jwks(json.dumps({"keys": [members]}).encode())


def test_private_members_of_a_published_key_are_not_taken_over(keyring: Keyring) -> None:
    (key,) = keys_in_jwks(json.dumps({"keys": [keyring.jwk("rsa1", d="AQAB", p="AQ", q="AQ")]}).encode())
    assert not key.jose.is_private


@pytest.mark.parametrize(
    "document",
    [b"", b"<html>", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b"\xff", b'{"keys":[' + b"{}," * 100 + b"{}]}"],
)
def test_what_is_no_key_set(document: bytes) -> None:
    with pytest.raises(UnusableKeys):
        keys_in(document)


def test_keys_are_found_by_name_and_algorithm(keyring: Keyring) -> None:
    twins = [keyring.jwk("rsa1", kid="k"), keyring.jwk("ec1", kid="k"), {**public_members(keyring.keys["rsa2"])}]
    keys = KeySet(keys_in_jwks(json.dumps({"keys": twins}).encode()))
    assert [key.kind for key in keys.candidates("k", "RS256")] == [("RSA", "")]
    assert [key.kind for key in keys.candidates("k", "ES256")] == [("EC", "P-256")]
    assert [key.kid for key in keys.candidates("other", "RS256")] == [None]
    assert [key.kid for key in keys.candidates(None, "RS256")] == ["k", None]
    assert keys.candidates("k", "HS256") == keys.candidates("k", "none") == ()


def test_a_token_without_kid_is_tried_with_few_keys(keyring: Keyring) -> None:
    many = [keyring.jwk("rsa1", kid=str(number)) for number in range(100)]
    assert len(KeySet(keys_in_jwks(json.dumps({"keys": many}).encode())).candidates(None, "RS256")) == 8


def test_pem_files(keyring: Keyring) -> None:
    keys = KeySet(keys_in(b"\n" + keyring.pem("rsa1") + keyring.pem("ec1")))
    token = keyring.token(NOW).encode()
    jws = read_jws(token)
    assert verify_token(token, RULE, keys.candidates(jws.kid, jws.algorithm), NOW).subject == "alice"
    assert len(keys) == 2


@pytest.mark.parametrize("what", ["private", "short", "curve", "garbage", "none", "cut"])
def test_a_pem_file_that_cannot_be_used_says_why(keyring: Keyring, what: str) -> None:
    def pem(key: Any) -> bytes:
        return bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))

    own: Any = keyring.keys["ec1"]
    private = own.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    documents = {
        "private": (private, "private key"),
        "short": (pem(rsa.generate_private_key(65537, 1024)), "RSA of 2048"),
        "curve": (pem(ec.generate_private_key(ec.SECP256K1())), "EC on P-256"),
        "garbage": (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read"),
        "none": (b"-----BEGIN nothing", "PEM blocks"),
        "cut": (keyring.pem("rsa1")[:100], "PEM blocks"),
    }
    document, said = documents[what]
    with pytest.raises(UnusableKeys, match=said):
        keys_in(document)


# --- mutations -------------------------------------------------------------------------------------------------------

_MUTATION = st.lists(
    st.tuples(st.floats(0, 0.9999), st.sampled_from(["put", "drop", "insert", "swap"]), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


@given(_MUTATION)
@settings(max_examples=400, deadline=None)
def test_no_mutation_of_a_good_token_is_good(keyring: Keyring, mutation: list[tuple[float, str, int]]) -> None:
    good = keyring.token(NOW).encode()
    changed = bytearray(good)
    for where, how, byte in mutation:
        _mutate(changed, int(where * len(changed)), how, byte)
    if bytes(changed) == good:
        return
    keys = public(keyring)
    with pytest.raises(Unfit):
        jws = read_jws(bytes(changed))
        verify_token(bytes(changed), RULE, keys.candidates(jws.kid, jws.algorithm), NOW)


def _mutate(token: bytearray, at: int, how: str, byte: int) -> None:
    if how == "put":
        token[at] = byte
    elif how == "drop":
        del token[at]
    elif how == "insert":
        token.insert(at, byte)
    else:
        token[at], token[-1 - at] = token[-1 - at], token[at]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([ISSUER, AUDIENCE, NOW]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip", "jwk", "x5c"]), _JSON | st.just("RS256")
)
_CLAIMS = st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "scope", "scp", "x"]), _JSON)


@given(_HEADERS, _CLAIMS)
@settings(max_examples=300, deadline=None)
def test_whatever_a_signed_token_says_it_is_good_or_unfit(
    keyring: Keyring, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    head = {"alg": "RS256", "kid": "rsa1", **header}
    said = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 300, **claims}
    token = _signed(keyring, json.dumps(said).encode(), json.dumps(head).encode())
    keys = public(keyring, "rsa1")
    try:
        principal = verify_token(token.encode(), RULE, keys.candidates("rsa1", "RS256"), NOW, ("x", "sub"))
    except Unfit:
        return
    assert head["alg"] == "RS256" and said["iss"] == ISSUER and "crit" not in head
    principal.subject.encode()
    assert not set("\r\n\0") & set(principal.subject + "".join(principal.scopes))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_nothing_else_is_raised(compact: bytes) -> None:
    with pytest.raises(Unfit):
        verify_token(compact, RULE, (), NOW)
