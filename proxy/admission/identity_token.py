"""The identity bridge: the gateway's own short-lived token for its upstreams, so that they trust one issuer whoever
vouched for the client (a JWT of RFC 9068's kind, signed ES256). Opens no connection; knows no request.

Minting takes about
40 µs, and the token of one principal is used again until half of its life is over.
"""

from __future__ import annotations

import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from proxy.messages import Principal

MOST_ENTRIES = 10_000

_P256 = "secp256r1"
_BYTES = 32  # of a coordinate, and of each half of a signature (RFC 7518 3.4, 6.2.1.2)
_CURE = "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` prints one"
_LIKE_API_KEY = re.compile(r"(user:)*api-key:")


class UnusableKey(Exception):
    """The file has no key to sign with. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class _Minted:
    """Given out from `from_s` until before `until_s`, in seconds since 1970."""

    token: bytes
    from_s: float
    until_s: float


class IdentityMint:
    """The first of `keys` signs; the others are published too, so that what they signed, or will sign, is accepted
    while keys are changed. All are on P-256. `ttl_s` is in seconds; `clock` gives seconds since 1970."""

    def __init__(
        self,
        keys: Sequence[ec.EllipticCurvePrivateKey],
        issuer: str,
        audience: str,
        ttl_s: float,
        clock: Callable[[], float] = time.time,
        most: int = MOST_ENTRIES,
    ) -> None:
        """Raises ValueError without a key, for one on another curve, and for a token that lives less than a second."""
        if not keys or any(key.curve.name != _P256 for key in keys):
            raise ValueError("identity tokens are signed with a key on P-256")
        if ttl_s < 1:
            raise ValueError(f"an identity token of {ttl_s:g} s would be over when it arrives: write at least 1")
        published = {jwk["kid"]: jwk for jwk in map(_jwk, keys)}
        self._document = orjson.dumps({"keys": list(published.values())})
        self._key = keys[0]
        self._head = _base64(orjson.dumps({"alg": "ES256", "typ": "at+jwt", "kid": next(iter(published))}))
        self._ecdsa = ec.ECDSA(SHA256())
        self._issuer = issuer
        self._audience = audience
        self._ttl_s = ttl_s
        self._clock = clock
        self._most = most
        self._entries: dict[tuple[object, ...], _Minted] = {}

    def jwks(self) -> bytes:
        """The public keys as a JWK set (RFC 7517 5)."""
        return self._document

    def token_for(self, principal: Principal) -> bytes:
        """A compact JWS (RFC 7515 7.1) that ends with the principal, and after `ttl_s` at the latest. It has at least
        half of `ttl_s` left, or as much as the principal has."""
        # Of the principal, what is in the token: `claims` are for selectors.
        mark = (
            principal.subject,
            principal.scopes,
            principal.issuer,
            principal.api_key,
            principal.session,
            principal.expires_s,
        )
        now_s = self._clock()
        minted = self._entries.pop(mark, None)
        if minted is None or not minted.from_s <= now_s < minted.until_s:
            minted = self._mint(principal, now_s)
            if len(self._entries) >= self._most:
                del self._entries[next(iter(self._entries))]
        self._entries[mark] = minted  # the least recently used is the first
        return minted.token

    def _mint(self, principal: Principal, now_s: float) -> _Minted:
        """Whole seconds, rounded down: `iat` is never ahead, and `exp` never late."""
        issued_s = int(now_s)
        ends_s = full_s = int(issued_s + self._ttl_s)
        if principal.expires_s is not None and principal.expires_s < ends_s:
            ends_s = int(principal.expires_s)
        claims: dict[str, str | int] = {
            "iss": self._issuer,
            "aud": self._audience,
            "iat": issued_s,
            "exp": ends_s,
            "jti": secrets.token_urlsafe(16),
            **_who(principal),
        }
        # One that ends with its principal is kept as long as any other: a new one would end no later.
        return _Minted(self._sign(orjson.dumps(claims)), issued_s, full_s - self._ttl_s / 2)

    def _sign(self, payload: bytes) -> bytes:
        text = self._head + b"." + _base64(payload)
        r, s = decode_dss_signature(self._key.sign(text, self._ecdsa))
        return text + b"." + _base64(r.to_bytes(_BYTES, "big") + s.to_bytes(_BYTES, "big"))


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key that lives as long as the process: other replicas and the next start have another one."""
    return ec.generate_private_key(ec.SECP256R1())


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Of a PEM file. Raises UnusableKey, which names the file."""
    try:
        return key_of(path.read_bytes())
    except OSError as error:
        raise UnusableKey(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    except UnusableKey as error:
        raise UnusableKey(f"{path} {error}") from None


def key_of(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A private key on P-256, without a password. Raises UnusableKey; nothing of the text is repeated."""
    if b"PRIVATE KEY-----" not in pem:
        raise UnusableKey(f"has no private key in PEM: {_CURE}")
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise UnusableKey("has a key with a password: `openssl pkey` writes it without") from None
    except Exception:  # whatever a library finds wrong with it
        raise UnusableKey(f"has a private key that cannot be read: {_CURE}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != _P256:
        raise UnusableKey(f"has a private key that is not EC on P-256: {_CURE}")
    return key


def _who(principal: Principal) -> dict[str, str]:
    """`sub`, `scope`, `idp` (who vouched for it) and, for an API key, `client_id`."""
    if principal.api_key:
        who = {"sub": f"api-key:{principal.api_key}", "idp": "api_key", "client_id": principal.api_key}
    else:
        who = {"idp": "session" if principal.session else principal.issuer}
        if principal.subject:
            who["sub"] = _user(principal.subject)
    if principal.scopes:
        who["scope"] = " ".join(principal.scopes)
    return who


def _user(subject: str) -> str:
    """A user called like a key must not become that key, nor like another user that was renamed here."""
    return f"user:{subject}" if _LIKE_API_KEY.match(subject) else subject


def _jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The public half (RFC 7518 6.2.1); `kid` is the thumbprint (RFC 7638 3), of members in alphabetical order."""
    point = key.public_key().public_numbers()
    x, y = _base64(point.x.to_bytes(_BYTES, "big")).decode(), _base64(point.y.to_bytes(_BYTES, "big")).decode()
    members = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    kid = _base64(sha256(orjson.dumps(members)).digest()).decode()
    return {**members, "kid": kid, "alg": "ES256", "use": "sig"}


def _base64(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")
