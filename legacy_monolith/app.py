"""Puts the modules together into one ASGI app."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import accounts
from .checkout import Checkout
from .export import Export
from .identity import HEADER, Identities, NoKeys
from .introspection import Introspection
from .orders import Orders
from .products import Products
from .shop import Refused, Shop
from .stock import Stock
from .web import error_page, refusal

POWERED_BY = "CornerShop/2.3"
MODULES = (accounts.Accounts, Products, Stock, Checkout, Orders, Export)


class LegacyReplies:
    """Outermost: X-Powered-By on every reply, and the session cookie again as long as its session lives."""

    def __init__(self, app: ASGIApp, shop: Shop) -> None:
        self._app = app
        self._shop = shop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        sid = Request(scope).cookies.get(accounts.COOKIE, "")
        alive = bool(sid) and await run_in_threadpool(self._touch, sid)

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-powered-by"] = POWERED_BY
                if alive and "set-cookie" not in headers:  # a login has set a newer one
                    headers["set-cookie"] = accounts.set_cookie(sid)
            await send(message)

        return await self._app(scope, receive, send_marked)

    def _touch(self, sid: str) -> bool:
        try:
            return accounts.touch(self._shop, sid)
        except sqlite3.Error:
            return False  # the page itself will meet the same trouble, and it has an error page to show


class Vouched:
    """Whom the gateway vouches for is told to `accounts.signed_in`. A token that is not good says nothing."""

    def __init__(self, app: ASGIApp, identities: Identities) -> None:
        self._app = app
        self._identities = identities

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        values = Request(scope).headers.getlist(HEADER) if scope["type"] == "http" else []
        if values:
            with suppress(NoKeys):
                identity = await self._identities.read(values)
                if identity is not None:
                    scope[accounts.SUBJECT] = identity.subject
        await self._app(scope, receive, send)


class Probes:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def routes(self) -> list[Route]:
        return [Route("/healthz", self.alive), Route("/readyz", self.ready)]

    async def alive(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def ready(self, _request: Request) -> Response:
        try:
            with self._shop.database.read() as connection:
                connection.execute("SELECT 1 FROM products LIMIT 1").fetchone()
        except sqlite3.Error as why:
            return JSONResponse({"status": "unready", "error": f"shop database: {why}"}, status_code=503)
        return JSONResponse({"status": "ok"})


def create_app(shop: Shop, identities: Identities | None = None, introspection_token: str = "") -> ASGIApp:
    """Without `identities` nobody is known but by session."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        shop.database.close()

    routes = [route for module in (*MODULES, Probes) for route in module(shop).routes()]
    routes += Introspection(shop, introspection_token).routes()
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={Refused: refusal, 500: error_page})
    return LegacyReplies(app if identities is None else Vouched(app, identities), shop)
