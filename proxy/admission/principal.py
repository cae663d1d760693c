"""As whom a request came in. Knows no token: whoever verified it made this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever the credential speaks for.

    `subject` is the verified `sub`, empty for an API key: a key called like a user must not become that user. It has no
    control characters and no white space around it, so that a header field carries it unchanged (in UTF-8). `scopes`
    are in the order of the token, each once. One of `issuer` and `api_key` is a name of the configuration, the other
    empty. `expires_s` is `exp` without leeway, seconds since 1970 (UTC); None: never. `claims` has, as text, those
    scalar claims that selectors read.
    """

    subject: str
    scopes: tuple[str, ...] = ()
    issuer: str = ""
    api_key: str = ""
    expires_s: float | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
