"""What the configuration asks of a client: issuers of tokens, API keys, and what a seam demands. Pure.

Every algorithm stands for one kind of key, so that a token can never choose how its issuer's key is used, and no issuer
has both public keys and shared secrets. `none` is not in the table: an issuer with it cannot even be written down
(RFC 8725 3.1, 3.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

Mode = Literal["enforce", "observe"]

# Key type and curve by algorithm name (RFC 7518 3.1, RFC 8037 3.1, RFC 9864).
KEY_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
    "HS256": ("oct", ""),
    "HS384": ("oct", ""),
    "HS512": ("oct", ""),
}

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 3.3


@dataclass(frozen=True, slots=True)
class IssuerRule:
    """Who signs tokens, and how they must look. Times in seconds.

    `name` is the one of the configuration, `issuer` and `audience` are compared exactly with `iss` and `aud` (any of
    them). Keys come from `jwks_url`, or are given to its key set. `leeway_s` is for clocks that differ; `refresh_s` the
    longest life of a withdrawn key; `stale_s` how long keys are used whose source fails; `cooldown_s` the pause after a
    fetch for an unknown key that brought none; `timeout_s` a fetch as a whole, near enough. `scope_claims` hold scopes.
    """

    name: str
    issuer: str
    audience: tuple[str, ...]
    algorithms: tuple[str, ...]
    jwks_url: str | None = None
    leeway_s: float = 30.0
    refresh_s: float = 300.0
    stale_s: float = 86_400.0
    cooldown_s: float = 5.0
    timeout_s: float = 2.0
    scope_claims: tuple[str, ...] = ("scope", "scp", "scopes")

    def __post_init__(self) -> None:
        """Raises ValueError for a rule that would let everybody in, or nobody."""
        unknown = [name for name in self.algorithms if name not in KEY_KINDS]
        if unknown or not self.algorithms:
            listed = ", ".join(KEY_KINDS)
            raise ValueError(f"issuer {self.name}: algorithms {unknown} are not allowed; choose of {listed}")
        secret = [name for name in self.algorithms if KEY_KINDS[name][0] == "oct"]
        if secret and (len(secret) < len(self.algorithms) or self.jwks_url is not None):
            raise ValueError(
                f"issuer {self.name}: {secret[0]} takes a shared secret, which neither stands beside public keys nor is"
                " published: make an issuer of its own, with a file"
            )
        if not self.issuer or not self.audience or not all(self.audience):
            raise ValueError(f"issuer {self.name}: `issuer` and `audience` must not be empty")
        problem = url_problem(self.jwks_url) if self.jwks_url is not None else None
        if problem is not None:
            raise ValueError(f"issuer {self.name}: jwks_url {problem}")


@dataclass(frozen=True, slots=True)
class ApiKeyRule:
    """A key that is known by its hash only: `sha256` of the whole text that a client sends, 64 lower-case hex digits.
    No two names may have one hash."""

    name: str
    sha256: str
    scopes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError where `sha256` is no hash; its text is not repeated, for it may be the key itself."""
        if _SHA256.fullmatch(self.sha256) is None:
            raise ValueError(
                f"API key {self.name}: sha256 is not 64 lower-case hex digits; `fig key new` prints a key and its hash"
            )


@dataclass(frozen=True, slots=True)
class AuthRule:
    """What a seam or route asks: a token of one of `issuers` or one of `api_keys` (names), or a `session` of the
    monolith; all of `all_scopes`, and at least one of `any_scope` unless that is empty. `observe` reports and refuses
    nothing."""

    issuers: tuple[str, ...] = ()
    api_keys: tuple[str, ...] = ()
    all_scopes: frozenset[str] = field(default_factory=frozenset)
    any_scope: frozenset[str] = field(default_factory=frozenset)
    mode: Mode = "enforce"
    session: bool = False


def is_scope(text: str) -> bool:
    """Whether it can be one scope (RFC 6749 3.3): visible ASCII without quote and backslash."""
    return _SCOPE.fullmatch(text) is not None


def url_problem(url: str) -> str | None:
    """Why keys are not fetched from there; None where they are. Names are not resolved."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"{url!r} is not a URL"
    if not host or parts.scheme not in ("http", "https"):
        return f"{url!r} is neither https://HOST/PATH nor http:// on loopback"
    if parts.username is not None or parts.password is not None:
        return "has a user name or password in it; serve the keys without, they are public"
    if parts.scheme == "http" and not _is_loopback(host):
        return f"{url!r} is http:// and not on loopback: whoever is between could add a key of his own; use https://"
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
