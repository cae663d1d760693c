"""The gateway as the sample sees it: its tokens, and the address where its keys are."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from proxy.admission.identity_token import IdentityMint, new_key
from proxy.messages import Principal

JWKS = "http://gateway.test/.well-known/jwks.json"
ISSUER = "https://gateway.test"
AUDIENCE = "corner-shop"


class Gateway:
    """`keys` are those that it has, the first signs; `down` makes its address fail, `document` answers instead."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.keys = [new_key()]
        self.fetches = 0
        self.down = False
        self.document: bytes | None = None
        self.transport = httpx.MockTransport(self._answer)
        self._clock = clock

    def token(
        self,
        subject: str,
        *scopes: str,
        issuer: str = ISSUER,
        audience: str = AUDIENCE,
        ends_s: float | None = None,
    ) -> str:
        mint = IdentityMint(self.keys, issuer, audience, 60, self._clock)
        return mint.token_for(Principal(subject, scopes, "idp", expires_s=ends_s)).decode()

    def vouching(self, subject: str, *scopes: str) -> dict[str, str]:
        return {"x-fig-identity": self.token(subject, *scopes)}

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url) == JWKS
        self.fetches += 1
        if self.down:
            raise httpx.ConnectError("refused", request=request)
        keys = IdentityMint(self.keys, ISSUER, AUDIENCE, 60, self._clock).jwks()
        return httpx.Response(200, content=keys if self.document is None else self.document)
