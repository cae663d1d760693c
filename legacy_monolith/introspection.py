"""Whose session a cookie is, for the gateway (token introspection, RFC 7662). Not for the public."""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import accounts
from .shop import Shop
from .web import came_through_a_proxy

INACTIVE = {"active": False}
SCOPES = ["orders:read", "orders:write"]
STAFF_SCOPES = ["catalog:write"]


class Introspection:
    """`token` is the bearer token that the gateway shows. An empty one is none: then only this machine may ask."""

    def __init__(self, shop: Shop, token: str) -> None:
        self._shop = shop
        self._token = token.encode()

    def routes(self) -> list[Route]:
        return [Route("/internal/session/introspect", self.introspect, methods=["POST"])]

    async def introspect(self, request: Request) -> Response:
        """`{"sid": …}` → `{"active": true, "sub": "7", "scopes": […], "exp": …}`, `exp` in seconds since the epoch."""
        if came_through_a_proxy(request):
            raise HTTPException(404)
        if not self._is_known(request):
            raise HTTPException(401, headers={"www-authenticate": "Bearer"})
        question = await request.json()
        answer = await run_in_threadpool(self._answer, question["sid"])
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    def _is_known(self, request: Request) -> bool:
        if self._token:
            shown = request.headers.get("authorization", "")
            return hmac.compare_digest(shown.encode("latin-1"), b"Bearer " + self._token)
        return request.client is not None and ip_address(request.client.host).is_loopback

    def _answer(self, sid: object) -> dict[str, Any]:
        """To be asked about is to be in use: pages that have moved away never come here with the cookie themselves."""
        if not isinstance(sid, str) or not sid.isascii() or not accounts.touch(self._shop, sid):
            return INACTIVE
        with self._shop.database.read() as connection:
            row = connection.execute(
                "SELECT c.id, c.staff, s.seen FROM sessions s JOIN customers c ON c.id = s.customer_id WHERE s.sid = ?",
                (sid,),
            ).fetchone()
        if row is None:
            return INACTIVE
        scopes = [*SCOPES, *(STAFF_SCOPES if row["staff"] else [])]
        return {"active": True, "sub": str(row["id"]), "scopes": scopes, "exp": row["seen"] + accounts.IDLE_S}
