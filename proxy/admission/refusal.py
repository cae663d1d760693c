"""Why a request may not come in: status, cause word, and the challenge that the answer carries (RFC 6750 3). Pure.

A client learns no more than that its token is missing, expired, invalid or too weak: which check failed is `reason`,
for the log and the metrics alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cause = Literal["unauthenticated", "forbidden"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """`status` 401, 403 or 503. `challenge` is the WWW-Authenticate value, empty: none. `retry_after_s` with 503 only.

    `reason` is one of: no_credential too_long malformed type critical algorithm issuer claims audience expired
    not_yet_valid unknown_key signature api_key session scope no_keys no_session key_awaited.
    """

    status: int
    cause: Cause
    reason: str
    detail: str
    challenge: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Challenge:
    """What is asked for. `bearer`: tokens are taken; `api_key_header`: the field for API keys, `cookie` the one of a
    session, empty where none is.

    API keys and sessions have no registered scheme, and a 401 must name one (RFC 9110 15.5.2): `ApiKey` with the
    field's name, `Session` with the cookie's.
    """

    bearer: bool
    api_key_header: str = ""
    cookie: str = ""

    def missing(self) -> Refusal:
        """No credential at all, so no error code either (RFC 6750 3.1)."""
        return self._unauthenticated("no_credential", "A credential is required.", "")

    def invalid(self, reason: str) -> Refusal:
        """The token, or the API key, is not good."""
        if reason == "api_key":
            return self._unauthenticated(reason, "The API key is not valid.", "")
        if reason == "session":
            return self._unauthenticated(reason, "The session has ended.", "")
        said = "The access token expired" if reason == "expired" else "The access token is not valid"
        return self._unauthenticated(reason, f"{said}.", f' error="invalid_token", error_description="{said}"')

    def insufficient(self, scopes: tuple[str, ...], token: bool) -> Refusal:
        """The credential is good and may not do this; `scopes` would be needed. An API key cannot be exchanged for
        one with more scopes, so `token` alone is challenged."""
        challenge = f'Bearer error="insufficient_scope", scope="{" ".join(scopes)}"' if token else ""
        return Refusal(403, "forbidden", "scope", "The credential lacks a scope that is required here.", challenge)

    def keyless(self, retry_after_s: float) -> Refusal:
        """Nobody can say whether the token is good: no key of its issuer could be had."""
        detail = "Tokens cannot be verified at the moment."
        return Refusal(503, "unauthenticated", "no_keys", detail, "", retry_after_s)

    def sessionless(self) -> Refusal:
        """Nobody can say whose session it is: the monolith does not answer."""
        return Refusal(503, "unauthenticated", "no_session", "Sessions cannot be verified at the moment.", "", 1.0)

    def awaited(self) -> Refusal:
        """Observed only: the key is being fetched, and nobody waits for it. Says nothing about the token."""
        return Refusal(401, "unauthenticated", "key_awaited", "The key of the token is being fetched.")

    def _unauthenticated(self, reason: str, detail: str, error: str) -> Refusal:
        schemes = [f"Bearer{error}"] if self.bearer else []
        if self.api_key_header:
            schemes.append(f'ApiKey header="{self.api_key_header}"')
        if self.cookie:
            schemes.append(f'Session cookie="{self.cookie}"')
        return Refusal(401, "unauthenticated", reason, detail, ", ".join(schemes))
