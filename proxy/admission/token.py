"""A compact JWS (RFC 7515 7.1) to a verified Principal, or the reason why not. Pure: no I/O, the time is passed in.

Everything that a header says is checked against what the issuer's rule allows, and nothing in it is followed: `jwk`,
`jku`, `x5u` and `x5c` are not read, `kid` is an index, `alg` must be pinned and fit the key (RFC 8725). Cheap checks
come before dear ones: size, encoding, JSON, claims, and only then a key is looked for and the signature tried.
"""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from joserfc.jws import JWSRegistry

from proxy.admission.auth_rules import KEY_KINDS, IssuerRule, is_scope
from proxy.admission.keys import VerifyKey
from proxy.messages import Principal

MOST_BYTES = 8192

_TYPES = frozenset(("jwt", "at+jwt"))  # RFC 7519 5.1, RFC 9068 2.1; compared without letter case (RFC 7515 4.1.9)
_CHANGES_PAYLOAD = ("zip", "b64", "enc")  # RFC 7516 4.1.3, RFC 7797 3: never part of what is read here
_JOSE_NAMES = {"EdDSA": "Ed25519"}  # RFC 9864 renamed it
_REGISTRY = JWSRegistry(algorithms=sorted({_JOSE_NAMES.get(name, name) for name in KEY_KINDS}))


class Unfit(Exception):
    """The token is not good. The text is a `reason` of Refusal."""


@dataclass(frozen=True, slots=True)
class Jws:
    """A compact JWS whose header was checked and whose signature was not. `signed` is what the signature is of."""

    algorithm: str
    kid: str | None
    payload: bytes
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """Well-formed, and nothing more: whoever sent it may have written all of it."""

    jws: Jws
    issuer: str
    claims: Mapping[str, Any]


def read_jws(compact: bytes) -> Jws:
    """Raises Unfit: too_long, malformed, type or critical."""
    if len(compact) > MOST_BYTES:
        raise Unfit("too_long")
    parts = compact.split(b".")
    if len(parts) != 3:
        raise Unfit("malformed")
    algorithm, kid = _read_header(_object(_decoded(parts[0])))
    return Jws(algorithm, kid, _decoded(parts[1]), parts[0] + b"." + parts[1], _decoded(parts[2]))


def read_token(compact: bytes) -> Token:
    """Raises Unfit: as read_jws, or claims."""
    jws = read_jws(compact)
    claims = _object(jws.payload)
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise Unfit("claims")
    return Token(jws, issuer, claims)


def check_claims(token: Token, rule: IssuerRule, now_s: float) -> None:
    """All that needs no key. `now_s` is in seconds since 1970. Raises Unfit: algorithm, issuer, audience, claims,
    expired or not_yet_valid (RFC 7519 4.1, RFC 8725 3.8 to 3.10)."""
    if token.jws.algorithm not in rule.algorithms:
        raise Unfit("algorithm")
    if token.issuer != rule.issuer:
        raise Unfit("issuer")
    claims = token.claims
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not any(isinstance(name, str) and name in rule.audience for name in named):
        raise Unfit("audience")
    if "exp" not in claims:
        raise Unfit("claims")
    if now_s >= _date(claims["exp"]) + rule.leeway_s:
        raise Unfit("expired")
    if any(name in claims and _date(claims[name]) > now_s + rule.leeway_s for name in ("nbf", "iat")):
        raise Unfit("not_yet_valid")


def check_signature(jws: Jws, keys: Iterable[VerifyKey]) -> None:
    """One of the keys has signed it. Raises Unfit: signature."""
    for key in keys:
        if key.serves(jws.algorithm) and _signed_by(jws, key):
            return
    raise Unfit("signature")


def principal_of(token: Token, rule: IssuerRule, wanted: Iterable[str] = ()) -> Principal:
    """As whom the bearer of a token comes in that was checked; `wanted` claims go along. Raises Unfit: claims."""
    claims = token.claims
    subject = claims.get("sub", "")
    if not isinstance(subject, str) or subject != subject.strip() or not _is_one_line(subject):
        raise Unfit("claims")
    texts = {name: text for name in wanted if (text := _as_text(claims.get(name))) is not None}
    return Principal(subject, _scopes(claims, rule.scope_claims), rule.name, "", _date(claims["exp"]), texts)


def verify_token(
    compact: bytes, rule: IssuerRule, keys: Iterable[VerifyKey], now_s: float, wanted: Iterable[str] = ()
) -> Principal:
    """All of it, where the keys are at hand. Raises Unfit."""
    token = read_token(compact)
    check_claims(token, rule, now_s)
    check_signature(token.jws, keys)
    return principal_of(token, rule, wanted)


def _read_header(header: Mapping[str, Any]) -> tuple[str, str | None]:
    """`alg` and `kid`. `crit` names what must be understood, and nothing is (RFC 7515 4.1.11)."""
    if "crit" in header:
        raise Unfit("critical")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or not (kid is None or isinstance(kid, str)):
        raise Unfit("malformed")
    if any(name in header for name in _CHANGES_PAYLOAD):
        raise Unfit("malformed")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        raise Unfit("type")
    return algorithm, kid


def _decoded(part: bytes) -> bytes:
    """Base64url without padding (RFC 7515 2). Written back it must be the same: no other alphabet, no white space, no
    bits that were set and ignored, so that a token has one spelling only."""
    try:
        raw = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise Unfit("malformed") from None
    if urlsafe_b64encode(raw).rstrip(b"=") != part:
        raise Unfit("malformed")
    return raw


def _object(raw: bytes) -> dict[str, Any]:
    """A JSON object whose members are all named once, at any depth.

    orjson goes first: it refuses what the standard library lets pass (NaN, infinity, lone surrogates, depth beyond
    1,024), and cannot see a member that comes twice.
    """
    try:
        found = orjson.loads(raw)
        if isinstance(found, dict):
            return dict(json.loads(raw, object_pairs_hook=_once))
    except (ValueError, RecursionError):
        pass
    raise Unfit("malformed")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member comes twice")
    return members


def _date(value: Any) -> float:
    """A NumericDate (RFC 7519 2): a finite number, not a text, not a truth value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit("claims")
    try:
        seconds = float(value)
    except OverflowError:
        raise Unfit("claims") from None
    if not math.isfinite(seconds):
        raise Unfit("claims")
    return seconds


def _signed_by(jws: Jws, key: VerifyKey) -> bool:
    algorithm = _REGISTRY.get_alg(_JOSE_NAMES.get(jws.algorithm, jws.algorithm))
    try:
        algorithm.check_key(key.jose)
        return algorithm.verify(jws.signed, jws.signature, key.jose) is True
    except Exception:  # a signature that a library cannot even read is none, whatever it says
        return False


def _scopes(claims: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """Of these claims, a text with spaces (RFC 8693 4.2) or a list. What is no scope is left out."""
    found: dict[str, None] = {}
    for claim in names:
        value = claims.get(claim)
        listed = value.split(" ") if isinstance(value, str) else value
        if isinstance(listed, list):
            found.update((item, None) for item in listed if isinstance(item, str) and is_scope(item))
    return tuple(found)


def _is_one_line(text: str) -> bool:
    return not any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in text)


def _as_text(value: Any) -> str | None:
    """A claim as a selector reads it; None where it is no text, whole number or truth value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) else None
