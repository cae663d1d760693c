"""Public keys that verify signatures: what of a JWK set or a PEM file can be used, and which key fits a token. Pure.

Only public members are taken over. A symmetric key counts in a file only: in a published document it is no secret. A
key that cannot be used is left out, so that one entry of an unknown kind never costs the others (RFC 7517 5)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from proxy.admission.auth_rules import KEY_KINDS

MOST_KEYS = 100
MOST_TRIES = 8  # keys that one token is tried with: it may name none

_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}
_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}  # the shortest (RFC 7518 3.2)
_CURVES = frozenset(curve for _, curve in KEY_KINDS.values() if curve)
_LEAST_RSA_BYTES, _MOST_RSA_BYTES = 256, 1024  # RFC 7518 3.3; above, one verification takes milliseconds
_MOST_EXPONENT_BYTES = 8
_LONGEST_KID = 1024
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)

Jose = RSAKey | ECKey | OKPKey | OctKey


class UnusableKeys(Exception):
    """The document has no key to use. The text says why."""


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """`algorithm` empty: any that its kind serves. `kid` None: it has no name, and may fit a token that names one."""

    kid: str | None
    algorithm: str
    kind: tuple[str, str]
    jose: Jose
    thumbprint: str  # RFC 7638: equal for equal keys

    def serves(self, algorithm: str) -> bool:
        """A name that is in no table is served by no key, and a short secret serves no long hash."""
        if self.algorithm not in ("", algorithm) or self.kind != KEY_KINDS.get(algorithm):
            return False
        return not isinstance(self.jose, OctKey) or len(self.jose.raw_value) >= _SECRET_BYTES[algorithm]


class KeySet:
    """Some keys, found by name and algorithm. Never changed."""

    def __init__(self, keys: Iterable[VerifyKey] = ()) -> None:
        self._all = tuple(keys)
        self._named: dict[str | None, tuple[VerifyKey, ...]] = {}
        for key in self._all:
            self._named[key.kid] = (*self._named.get(key.kid, ()), key)
        self.marks = frozenset((key.kid, key.algorithm, key.thumbprint) for key in self._all)

    def __len__(self) -> int:
        return len(self._all)

    def candidates(self, kid: str | None, algorithm: str) -> tuple[VerifyKey, ...]:
        """The keys that a token with this `kid` and `alg` may be signed with: those of that name, else those without a
        name; all for a token that names none. `kid` is an index into this set and nothing else (RFC 8725 3.10)."""
        keys = self._all if kid is None else self._named.get(kid, ()) or self._named.get(None, ())
        return tuple(key for key in keys if key.serves(algorithm))[:MOST_TRIES]


def keys_in(document: bytes) -> tuple[VerifyKey, ...]:
    """Of a file: a JWK set, or PEM with any number of public keys and certificates. Raises UnusableKeys."""
    if document.lstrip().startswith(b"-----BEGIN"):
        return keys_in_pem(document)
    return keys_in_jwks(document, secrets=True)


def keys_in_jwks(document: bytes, *, secrets: bool = False) -> tuple[VerifyKey, ...]:
    """The usable keys of a JWK set (RFC 7517 5), at least one; symmetric ones only where `secrets`. Raises
    UnusableKeys."""
    try:
        found = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise UnusableKeys("it is not JSON") from None
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise UnusableKeys("it is not a JWK set")
    if len(entries) > MOST_KEYS:
        raise UnusableKeys(f"it has more than {MOST_KEYS} keys")
    found_keys = (key for entry in entries if (key := _from_jwk(entry)) is not None)
    keys = tuple(key for key in found_keys if secrets or key.kind[0] != "oct")
    if not keys:
        raise UnusableKeys("none of its keys can verify a signature")
    return keys


def keys_in_pem(document: bytes) -> tuple[VerifyKey, ...]:
    """One key for each PUBLIC KEY or CERTIFICATE block, without a name. Raises UnusableKeys, also where one of the
    blocks cannot be used: who wrote this file is there to mend it."""
    blocks = [(found[1], found[0]) for found in _PEM.finditer(document)]
    if not blocks or len(blocks) > MOST_KEYS:
        raise UnusableKeys(f"it has not between 1 and {MOST_KEYS} PEM blocks")
    return tuple(_from_pem(label.decode("ascii"), block) for label, block in blocks)


def _from_jwk(entry: Any) -> VerifyKey | None:
    if not isinstance(entry, dict) or not _is_for_verifying(entry):
        return None
    kind, kid, algorithm = entry.get("kty"), entry.get("kid"), entry.get("alg", "")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= _LONGEST_KID):
        return None
    if not isinstance(kind, str) or kind not in _MEMBERS or (algorithm != "" and algorithm not in KEY_KINDS):
        return None
    members = {name: entry.get(name) for name in _MEMBERS[kind]}
    if not all(isinstance(value, str) for value in members.values()):
        return None
    key = _imported(kind, {"kty": kind, **members})
    if key is None or (algorithm and not key.serves(algorithm)):
        return None
    return VerifyKey(kid, algorithm, key.kind, key.jose, key.thumbprint)


def _is_for_verifying(entry: dict[str, Any]) -> bool:
    """RFC 7517 4.2 and 4.3, and no `alg` that is not a text."""
    operations = entry.get("key_ops")
    verifies = operations is None or (isinstance(operations, list) and "verify" in operations)
    return verifies and entry.get("use") in (None, "sig") and isinstance(entry.get("alg", ""), str)


def _imported(kind: str, members: dict[str, Any]) -> VerifyKey | None:
    """A key without a name, or None where the members make none that is strong enough and on its curve."""
    try:
        if kind == "RSA":
            return _rsa(members)
        if kind == "oct":
            secret = OctKey.import_key(members)
            return VerifyKey(None, "", (kind, ""), secret, secret.thumbprint())
        if members["crv"] not in _CURVES:
            return None
        jose = ECKey.import_key(members) if kind == "EC" else OKPKey.import_key(members)
        return VerifyKey(None, "", (kind, members["crv"]), jose, jose.thumbprint())
    except Exception:  # whatever a library finds wrong with a key from outside: it is left out
        return None


def _rsa(members: dict[str, Any]) -> VerifyKey | None:
    modulus = urlsafe_b64decode(members["n"] + "===").lstrip(b"\0")
    exponent = urlsafe_b64decode(members["e"] + "===").lstrip(b"\0")
    if not _LEAST_RSA_BYTES <= len(modulus) <= _MOST_RSA_BYTES or len(exponent) > _MOST_EXPONENT_BYTES:
        return None
    if modulus[0] < 0x80 and len(modulus) == _LEAST_RSA_BYTES:
        return None
    jose = RSAKey.import_key(members)
    return VerifyKey(None, "", ("RSA", ""), jose, jose.thumbprint())


def _from_pem(label: str, block: bytes) -> VerifyKey:
    if "PRIVATE" in label:
        raise UnusableKeys("it has a private key: give the public one, `openssl pkey -pubout` prints it")
    try:
        public = load_pem_x509_certificate(block).public_key() if "CERT" in label else load_pem_public_key(block)
    except Exception:
        raise UnusableKeys(f"its block {label} cannot be read") from None
    if isinstance(public, RSAPublicKey):
        key = _imported("RSA", dict(RSAKey.import_key(public).as_dict())) if public.key_size >= 2048 else None
    elif isinstance(public, EllipticCurvePublicKey):
        key = _imported("EC", dict(ECKey.import_key(public).as_dict()))
    elif isinstance(public, Ed25519PublicKey):
        key = _imported("OKP", dict(OKPKey.import_key(public).as_dict()))
    else:
        key = None
    if key is None:
        raise UnusableKeys(
            f"its block {label} is not RSA of 2048 to 8192 bits, EC on P-256, P-384 or P-521, or Ed25519"
        )
    return key
