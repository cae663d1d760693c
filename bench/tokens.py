"""An issuer of tokens: one key, its key set, and one good token for each user. Knows no proxy."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import cached_property

from joserfc import jwt
from joserfc.jwk import RSAKey

ISSUER = "https://id.bench.test"
AUDIENCE = "bench"
ALGORITHM = "RS256"
USERS = 1000
_GOOD_FOR_S = 24 * 3600


class Issuer:
    """`jwks` is its key set (RFC 7517) as JSON. Making it takes some tenths of a second, its tokens as much again."""

    def __init__(self) -> None:
        self._key = RSAKey.generate_key(2048, {"kid": "bench", "use": "sig", "alg": ALGORITHM})
        self.jwks = json.dumps({"keys": [self._key.as_dict(private=False)]})

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """For user-1 to user-USERS, in this order; they outlive any run."""
        return tuple(self._token(f"user-{user}") for user in range(1, USERS + 1))

    @cached_property
    def bearer(self) -> Mapping[str, str]:
        """The header lines of a request with a good token."""
        return {"Authorization": f"Bearer {self._token('user-1')}"}

    def _token(self, subject: str) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "exp": now + _GOOD_FOR_S,
            "scope": "catalog:read orders:read orders:write",
        }
        return jwt.encode({"alg": ALGORITHM, "kid": "bench"}, claims, self._key)
