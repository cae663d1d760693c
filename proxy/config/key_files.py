"""The files of public keys, and of shared secrets, that issuers name: can they be read, and do they hold a key that one
of the issuer's algorithms could use. Opens no connection, and checks no signature.

What a PEM file holds is told by the object identifiers in it (RFC 3279 2.3, RFC 5480 2.1.1, RFC 8410 3).
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proxy.config import certificates
from proxy.config.door import HMAC
from proxy.config.finding import Finding
from proxy.config.model import Issuer, Settings

_KEYS = ("jwks_file", "key_file")
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_ED25519 = ("EdDSA", "Ed25519")
_FITTING: dict[str, tuple[str, ...]] = {
    "RSA": _RSA,
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": _ED25519,
}
"""Kinds of keys, and the algorithms that use them."""
_IDENTIFIERS = {
    "RSA": "2a864886f70d010101",
    "P-256": "2a8648ce3d030107",
    "P-384": "2b81040022",
    "P-521": "2b81040023",
    "Ed25519": "2b6570",
}
_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Shortest secrets (RFC 7518 3.2)."""
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----")


def check(settings: Settings, folder: Path) -> Iterator[Finding]:
    """Everything that is wrong with the files; paths count from `folder`."""
    for at, path in _signing(settings, folder):
        text = certificates.read(at, path)
        if isinstance(text, Finding):
            yield text
        elif problem := _private_problem(text):
            yield Finding(at, "FIG146", f"{path} {problem}")
    for at, issuer, path in _named(settings, folder):
        text = certificates.read(at, path)
        if isinstance(text, Finding):
            yield text
            continue
        problem = _pem_problem(text, issuer) if at.endswith(".key_file") else _set_problem(text, issuer)
        if problem is not None:
            needs = (f"{at.rpartition('.')[0]}.algorithms",)
            yield Finding(at, "FIG146", f"{path} {problem}", needs=needs)


def files(settings: Settings, folder: Path) -> Iterator[Path]:
    """What takes part in the configuration, whether it is there or not."""
    yield from (path for _, path in _signing(settings, folder))
    yield from (path for _, _, path in _named(settings, folder))


def resolved(settings: Settings, folder: Path) -> Settings:
    """The same settings with absolute paths."""
    issuers = {name: _resolved(issuer, folder) for name, issuer in settings.auth.issuers.items()}
    changes: dict[str, object] = {"issuers": issuers}
    identity = settings.auth.identity
    if identity.token is not None and identity.token.key_files:
        paths = tuple(str((folder / file).absolute()) for file in identity.token.key_files)
        token = identity.token.model_copy(update={"key_files": paths})
        changes["identity"] = identity.model_copy(update={"token": token})
    return settings.model_copy(update={"auth": settings.auth.model_copy(update=changes)})


def _resolved(issuer: Issuer, folder: Path) -> Issuer:
    given = {key: str((folder / getattr(issuer, key)).absolute()) for key in _KEYS if getattr(issuer, key)}
    return issuer.model_copy(update=given) if given else issuer


def _named(settings: Settings, folder: Path) -> Iterator[tuple[str, Issuer, Path]]:
    for name, issuer in settings.auth.issuers.items():
        for key in _KEYS:
            if file := getattr(issuer, key):
                yield f"auth.issuers.{name}.{key}", issuer, folder / file


def _signing(settings: Settings, folder: Path) -> Iterator[tuple[str, Path]]:
    token = settings.auth.identity.token
    for i, file in enumerate(() if token is None else token.key_files):
        yield f"auth.identity.token.key_files[{i}]", folder / file


def _private_problem(text: str) -> str | None:
    """Of the key that fig signs with. Nothing of it is repeated."""
    cure = "make one with `openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt`"
    if "ENCRYPTED PRIVATE KEY-----" in text:
        return "has a passphrase: write it without one, readable for fig only"
    found = next((body for label, body in _BLOCK.findall(text) if label in ("PRIVATE KEY", "EC PRIVATE KEY")), None)
    if found is None:
        return f"holds no private key in PEM: {cure}"
    try:
        der = b64decode("".join(found.split()), validate=True)
    except ValueError:
        return f"holds a private key that cannot be read: {cure}"
    return None if _identifier(_IDENTIFIERS["P-256"]) in der else f"holds no key on P-256: {cure}"


def _pem_problem(text: str, issuer: Issuer) -> str | None:
    if "PRIVATE KEY-----" in text:
        return "holds a private key, which only the issuer may have: write its public key there, and make it a new one"
    if "BEGIN CERTIFICATE-----" in text:
        return "holds a certificate: take the key out of it with `openssl x509 -pubkey -noout`"
    blocks = [(label, body) for label, body in _BLOCK.findall(text) if label.endswith("PUBLIC KEY")]
    if not blocks:
        return "holds no public key in PEM: it begins -----BEGIN PUBLIC KEY-----"
    if len(blocks) > 1:
        return f"holds {len(blocks)} public keys: put them into a `jwks_file`, where each has a kid"
    label, body = blocks[0]
    kind = "RSA" if label == "RSA PUBLIC KEY" else _kind(body)
    if kind is None:
        return "holds no key that any algorithm uses: RSA, P-256, P-384, P-521 or Ed25519"
    if set(issuer.algorithms).isdisjoint((*_FITTING[kind], *HMAC)):  # of HMAC `door` says that no PEM file has it
        listed = ", ".join(issuer.algorithms)
        return f"holds a key of kind {kind}, for {' '.join(_FITTING[kind])}, and `algorithms` are {listed}: change one"
    return None


def _kind(body: str) -> str | None:
    try:
        der = b64decode("".join(body.split()), validate=True)
    except ValueError:
        return None
    head = der[:40]  # the algorithm comes before the key
    kinds = (kind for kind, number in _IDENTIFIERS.items() if _identifier(number) in head)
    return next(kinds, None) if der[:1] == b"\x30" else None


def _identifier(number: str) -> bytes:
    """In DER."""
    return bytes((6, len(number) // 2)) + bytes.fromhex(number)


def _set_problem(text: str, issuer: Issuer) -> str | None:
    """Of a JWK set (RFC 7517 5), whose other members and unknown keys are passed over. Nothing of it is repeated."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return 'is no JSON: write a key set, {"keys": [...]}'
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        return 'is no key set: write {"keys": [...]}'
    if not any(isinstance(key, dict) and _usable(key, issuer.algorithms) for key in keys):
        listed = " or ".join(issuer.algorithms)
        return f"has no key for {listed} among its {len(keys)}: see their `kty`, `crv`, `alg`, `use` and `key_ops`"
    return None


def _usable(key: dict[str, Any], algorithms: tuple[str, ...]) -> bool:
    operations = key.get("key_ops", ["verify"])
    if key.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return False
    fitting = _fitting(key)
    return any(name in fitting and key.get("alg", name) == name for name in algorithms)


def _fitting(key: dict[str, Any]) -> tuple[str, ...]:
    match key.get("kty"):
        case "RSA":
            return _RSA if _are_texts(key, "n", "e") else ()
        case "EC" if _are_texts(key, "x", "y"):
            return _FITTING.get(str(key.get("crv")), ()) if str(key.get("crv")).startswith("P-") else ()
        case "OKP":
            return _ED25519 if key.get("crv") == "Ed25519" and _are_texts(key, "x") else ()
        case "oct" if _are_texts(key, "k"):
            size = _size(key["k"])
            return tuple(name for name, least in _SECRET_BYTES.items() if size >= least)
    return ()


def _are_texts(key: dict[str, Any], *members: str) -> bool:
    return all(isinstance(key.get(member), str) for member in members)


def _size(secret: str) -> int:
    """In bytes; 0 for what is not base64url."""
    try:
        return len(urlsafe_b64decode(secret + "=" * (-len(secret) % 4)))
    except ValueError:
        return 0
