"""Tokens for tests: signing keys, well-formed tokens, and the concrete token of each case in `cases/jwt_cases.json`."""

from __future__ import annotations

import hmac
import json
import os
import re
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

CASES = json.loads((Path(__file__).parent.parent / "cases" / "jwt_cases.json").read_text())
ENVIRONMENT = CASES["environment"]
ISSUER: str = ENVIRONMENT["issuer"]
AUDIENCE: str = ENVIRONMENT["audience"]
PUBLISHED = ("rsa1", "rsa2", "ec1", "ps1", "enc1", "ops1", "oct1")

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_PUBLIC = serialization.PublicFormat
_ENCODING = serialization.Encoding

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | bytes


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


class Keyring:
    """The keys that the cases name. Making it takes about half a second."""

    def __init__(self) -> None:
        names = ("rsa1", "rsa2", "ps1", "enc1", "ops1", "attacker")
        self.keys: dict[str, Key] = {name: rsa.generate_private_key(65537, 2048) for name in names}
        self.keys["ec1"] = ec.generate_private_key(ec.SECP256R1())
        self.keys["oct1"] = b"k" * 32

    def jwk(self, name: str, **members: Any) -> dict[str, Any]:
        extras: dict[str, dict[str, Any]] = {
            "ps1": {"alg": "PS256", "use": "sig"},
            "enc1": {"use": "enc"},
            "ops1": {"key_ops": ["encrypt"]},
            "oct1": {"alg": "HS256"},
            "ec1": {"alg": "ES256", "use": "sig"},
        }
        extra = extras.get(name, {"alg": "RS256", "use": "sig"})
        return {**public_members(self.keys[name]), "kid": name, **extra, **members}

    def jwks(self, *names: str) -> bytes:
        """A JWK set, of all published keys where none is named."""
        return json.dumps({"keys": [self.jwk(name) for name in names or PUBLISHED]}).encode()

    def pem(self, name: str, form: serialization.PublicFormat = _PUBLIC.SubjectPublicKeyInfo) -> bytes:
        key = self.keys[name]
        assert not isinstance(key, bytes)
        encoding = _ENCODING.OpenSSH if form is _PUBLIC.OpenSSH else _ENCODING.PEM
        return key.public_key().public_bytes(encoding, form)

    def sign(self, name: str, signed: str, algorithm: str = "RS256") -> bytes:
        return signature(self.keys[name], signed.encode(), algorithm)

    def token(self, now: float, name: str = "rsa1", header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A good token that ends in 300 s; claims that are None are left out, and so are members of the header."""
        head = _without_none({**ENVIRONMENT["default_header"], "kid": name, **(header or {})})
        defaults = {**ENVIRONMENT["default_claims"], "iat": int(now), "exp": int(now) + 300}
        signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(_without_none({**defaults, **claims})).encode())}"
        return f"{signed}.{b64(self.sign(name, signed, head['alg']))}"


def public_members(key: Key) -> dict[str, Any]:
    """As in a JWK, without a name."""
    if isinstance(key, bytes):
        return {"kty": "oct", "k": b64(key)}
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": _integer(numbers.n), "e": _integer(numbers.e)}
    point = key.public_key().public_numbers()
    size = (key.curve.key_size + 7) // 8
    curve = {256: "P-256", 384: "P-384", 521: "P-521"}[key.curve.key_size]
    return {"kty": "EC", "crv": curve, "x": b64(point.x.to_bytes(size, "big")), "y": b64(point.y.to_bytes(size, "big"))}


def signature(key: Key, signed: bytes, algorithm: str) -> bytes:
    digest = _HASHES.get(algorithm[-3:], hashes.SHA256())
    if isinstance(key, bytes):
        return hmac.digest(key, signed, "sha256")
    if isinstance(key, rsa.RSAPrivateKey):
        if algorithm.startswith("PS"):
            return key.sign(signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        return key.sign(signed, padding.PKCS1v15(), digest)
    size = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def case_token(case: Mapping[str, Any], keyring: Keyring, now: int) -> str | None:
    """The token of a case, None where it has none."""
    if case["sign"] == "absent":
        return None
    if case["sign"] == "jwe":
        return ".".join(map(b64, (b'{"alg":"RSA-OAEP","enc":"A128GCM"}', b"x" * 256, b"i" * 12, b"c" * 40, b"t" * 16)))
    header = _merged(ENVIRONMENT["default_header"], case["header"])
    claims = _merged(ENVIRONMENT["default_claims"], case["claims"])
    if header.get("kid") == "random":
        header["kid"] = os.urandom(6).hex()
    if "jwk" in header:
        header["jwk"] = keyring.jwk("attacker", kid="rsa1")
    mutation = case.get("mutate") or ""
    head, payload = _written(header, now), _payload(mutation, header, claims, now)
    if mutation.startswith("re-encode header"):
        head = json.dumps(header, indent=2).encode()
    signed = f"{b64(head)}.{b64(payload)}"
    return _mutated(mutation, signed, _case_signature(case["sign"], header, signed, keyring), claims, now)


def _payload(mutation: str, header: Mapping[str, Any], claims: dict[str, Any], now: int) -> bytes:
    replaced = {"payload = [1,2]": b"[1,2]", "payload = hello": b"hello", 'payload = "[" * 100000': b"[" * 100_000}
    if mutation in replaced:
        return replaced[mutation]
    filler = {"claim filler 20 kB, correctly signed": 20_000, "claim filler 1 MB": 1_000_000}.get(mutation, 0)
    payload = _written({**claims, "f": "x" * filler} if filler else claims, now)
    if "zip" in header:
        deflate = zlib.compressobj(wbits=-15)
        return deflate.compress(payload) + deflate.flush()
    return payload


def _case_signature(how: str, header: Mapping[str, Any], signed: str, keyring: Keyring) -> bytes:
    if how == "none":
        return b""
    if how == "ecdsa-zero":
        return bytes(64)
    if how == "ecdsa-der":
        key = keyring.keys["ec1"]
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    if how == "ps1-as-RS256":
        return keyring.sign("ps1", signed, "RS256")
    if how.startswith("hmac:"):
        return hmac.digest(_confused_secret(how.removeprefix("hmac:"), keyring), signed.encode(), "sha256")
    name = how
    if how == "good":
        kid = header.get("kid")
        name = kid if isinstance(kid, str) and kid in keyring.keys else "rsa1"
    return keyring.sign(name, signed, header["alg"] if isinstance(header.get("alg"), str) else "RS256")


def _confused_secret(what: str, keyring: Keyring) -> bytes:
    key = keyring.keys["rsa1"]
    assert isinstance(key, rsa.RSAPrivateKey)
    modulus = key.public_key().public_numbers().n
    secrets = {
        "rsa1.public.pem": keyring.pem("rsa1"),
        "rsa1.public.ssh": keyring.pem("rsa1", _PUBLIC.OpenSSH),
        "rsa1.jwk.n": modulus.to_bytes(256, "big"),
        "": b"",
    }
    return secrets[what]


def _mutated(mutation: str, signed: str, raw: bytes, claims: dict[str, Any], now: int) -> str:
    token = f"{signed}.{b64(raw)}"
    if not mutation or mutation.startswith(("re-encode", "payload =", "claim filler")):
        return token
    head, payload, tail = token.split(".")
    changed = {
        "drop the signature and its dot": signed,
        'token + "."': f"{token}.",
        '""': "",
        '".."': "..",
        "sub -> admin, keep signature": f"{head}.{b64(_written({**claims, 'sub': 'admin'}, now))}.{tail}",
        "pad all parts": ".".join(part + "=" * (-len(part) % 4 or 4) for part in (head, payload, tail)),
        "change the last char so that the decoded bytes are equal": token[:-1]
        + _ALPHABET[_ALPHABET.index(token[-1]) ^ 1],
    }
    return changed[mutation]


def _merged(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return _without_none({**defaults, **changes})


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _written(members: Mapping[str, Any], now: int) -> bytes:
    """As JSON. `raw:X` goes unquoted, `now+N` is computed, `null` and a quoted number mean themselves."""
    parts = []
    for name, value in members.items():
        text = value[4:] if isinstance(value, str) and value.startswith("raw:") else json.dumps(_value(value, now))
        parts.append(f"{json.dumps(name)}:{text}")
    return f"{{{','.join(parts)}}}".encode()


def _value(value: Any, now: int) -> Any:
    if not isinstance(value, str):
        return value
    if relative := re.fullmatch(r"now([+-][\d.]+)?", value):
        return now + float(relative[1] or 0)
    if quoted := re.fullmatch(r'"(\d+)"', value):
        return quoted[1]
    return None if value == "null" else value


def _integer(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def standard_base64(raw: bytes) -> str:
    """With `+` and `/`, which no token has."""
    return b64encode(raw).rstrip(b"=").decode()
