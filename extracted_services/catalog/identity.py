"""Whom the gateway vouches for: the short-lived token that it sends along (a JWT of RFC 9068, signed ES256).

It says who calls and what he may do, however he came in there. The keys are fetched when the first token comes, again
when a token names an unknown one, and every five minutes. Knows no product.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet

HEADER = "x-fig-identity"
FRESH_S = 300.0
COOLDOWN_S = 5.0  # so often at most a fetch begins, whatever tokens say
FETCH_S = 2.0
LEEWAY_S = 30


class NoKeys(Exception):
    """The keys could not be fetched yet, so nothing can be said about any token."""


@dataclass(frozen=True, slots=True)
class Identity:
    subject: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """Whose tokens are taken: `jwks` is the URL of the keys, the others what tokens must say."""

    jwks: str
    issuer: str
    audience: str


def rule_of(environ: Mapping[str, str], prefix: str) -> Rule | None:
    """Of PREFIX_IDENTITY_JWKS, _ISSUER and _AUDIENCE; None where no JWKS is named. Raises ValueError."""
    jwks, issuer, audience = (environ.get(f"{prefix}_IDENTITY_{name}", "") for name in ("JWKS", "ISSUER", "AUDIENCE"))
    if not jwks:
        return None
    if not jwks.startswith(("http://", "https://")):
        raise ValueError(f"{prefix}_IDENTITY_JWKS={jwks}: write an http:// or https:// address")
    if not issuer or not audience:
        raise ValueError(
            f"{prefix}_IDENTITY_JWKS is set: set {prefix}_IDENTITY_ISSUER and {prefix}_IDENTITY_AUDIENCE too,"
            " to `issuer` and `audience` of the gateway's auth.identity.token"
        )
    return Rule(jwks, issuer, audience)


class Identities:
    """`clock` gives seconds since 1970, `monotonic` those that pauses are measured in."""

    def __init__(
        self,
        rule: Rule,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rule = rule
        self._transport = transport
        self._clock = clock
        self._monotonic = monotonic
        self._keys: KeySet | None = None
        self._failure = ""
        self._fetched_at = self._tried_at = float("-inf")
        self._one_fetch = asyncio.Lock()

    async def read(self, values: list[str]) -> Identity | None:
        """Of the values of the header: None unless there is exactly one, and good. Raises NoKeys."""
        if len(values) != 1:
            return None
        if self._monotonic() - self._fetched_at > FRESH_S:
            await self._fetch()
        try:
            return self._verified(values[0])
        except InvalidKeyIdError:
            await self._fetch()
        try:
            return self._verified(values[0])
        except InvalidKeyIdError:
            return None

    def _verified(self, token: str) -> Identity | None:
        """Raises NoKeys, or InvalidKeyIdError where none of the keys is the one that it names."""
        if self._keys is None:
            raise NoKeys(f"no identity keys from {self._rule.jwks} yet: {self._failure}")
        try:
            read = jwt.decode(token, self._keys, algorithms=["ES256"])
            if read.header.get("typ") != "at+jwt":
                return None
            self._claims().validate(read.claims)
            subject, scope = read.claims["sub"], read.claims.get("scope", "")
        except InvalidKeyIdError:
            raise
        except Exception:  # a token that a library cannot even read is none, whatever it says
            return None
        if not isinstance(subject, str) or not isinstance(scope, str):
            return None
        return Identity(subject, frozenset(scope.split()))

    def _claims(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=int(self._clock()),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._rule.issuer},
            aud={"essential": True, "value": self._rule.audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    async def _fetch(self) -> None:
        """Once for all who wait. Where it fails the keys stay as they are."""
        async with self._one_fetch:
            if self._monotonic() - self._tried_at < COOLDOWN_S:
                return
            self._tried_at = self._monotonic()
            try:
                self._keys = await self._ask()
                self._fetched_at = self._tried_at
            except Exception as why:  # whatever is wrong with it, it is tried again after the pause
                self._failure = repr(why)

    async def _ask(self) -> KeySet:
        # A client a call: one that was cut off in the middle leaves a slot of its pool taken for good (httpx 0.28.1).
        client = httpx.AsyncClient(transport=self._transport, timeout=FETCH_S, trust_env=False)
        async with asyncio.timeout(FETCH_S), client:
            reply = await client.get(self._rule.jwks)
            return KeySet.import_key_set(reply.raise_for_status().json())
