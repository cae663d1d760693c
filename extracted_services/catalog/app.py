"""The catalog over HTTP: the monolith's routes in its shape (acl.py) and `/v2`. Knows no rule and no SQL."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import acl
from .domain import Invalid, Product
from .identity import HEADER, Identities, NoKeys
from .service import Catalog, NoSuchProduct, NotBackfilled, StaleVersion

WRITE = "catalog:write"
ETAG = re.compile(r'(?:W/)?"[^"]*"')


def etag(version: int) -> str:
    return f'"v{version}"'


def versions(if_match: str) -> frozenset[int] | None:
    """None for `*`. Weak and foreign tags match nothing (RFC 9110 section 13.1.1)."""
    if if_match.strip() == "*":
        return None
    strong = (re.fullmatch(r'"v([1-9]\d{0,8})"', tag) for tag in ETAG.findall(if_match))
    return frozenset(int(tag[1]) for tag in strong if tag)


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """RFC 9457."""
    body = {"status": status, "detail": detail}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def representation(product: Product) -> dict[str, Any]:
    return {
        "id": str(product.id),
        "name": product.name,
        "description": product.description,
        "images": product.images,
        "attributes": {"sku": product.sku, "tags": product.tags, "active": product.active},
        "category": product.category,
        "price": {"amount": product.price.amount, "currency": product.price.currency},
    }


class Compatible:
    """The routes of the seam, as the monolith answers them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def routes(self) -> list[Route]:
        pages = {"/api/products": self.listing, "/api/products/{id}": self.one, "/api/search": self.search}
        return [Route(path + slash, page) for path, page in pages.items() for slash in ("", "/")]

    def listing(self, request: Request) -> Response:
        category = request.query_params.get("category") or None
        return self._page(request, lambda limit, offset: self._catalog.in_category(category, limit, offset))

    def search(self, request: Request) -> Response:
        words = request.query_params.get("q", "")
        return self._page(request, lambda limit, offset: self._catalog.search(words, limit, offset))

    def one(self, request: Request) -> Response:
        try:
            product = self._catalog.product(acl.legacy_id(request.path_params["id"]))
        except NoSuchProduct as why:
            return JSONResponse(acl.legacy_refusal(str(why)))
        return JSONResponse(acl.legacy_product(product))

    def _page(self, request: Request, find: Callable[[int, int], tuple[Sequence[Product], int]]) -> Response:
        page = request.query_params.get("page")
        try:
            offset = acl.legacy_offset(page)
        except ValueError:
            # The monolith crashes here; a client error is the better answer, and a known difference.
            return JSONResponse(acl.legacy_refusal(f"page {page!r} is not a page number"), status_code=400)
        products, total = find(acl.PAGE_SIZE, offset)
        return JSONResponse(acl.legacy_page(products, total))


class Current:
    """`/v2`: our own shape, with versions. With `identities` only whom the gateway vouches for may write."""

    def __init__(self, catalog: Catalog, identities: Identities | None) -> None:
        self._catalog = catalog
        self._identities = identities

    def routes(self) -> list[Route]:
        return [Route("/v2/products/{id}", self.read), Route("/v2/products/{id}", self.write, methods=["PUT"])]

    def read(self, request: Request) -> Response:
        product = self._catalog.product(acl.legacy_id(request.path_params["id"]))
        return JSONResponse(representation(product), headers={"etag": etag(product.version)})

    async def write(self, request: Request) -> Response:
        """Fields that are left out keep their value. Without If-Match 428 (RFC 6585)."""
        if self._identities is not None and (refused := await self._refusal(request, self._identities)):
            return refused
        if "if-match" not in request.headers:
            return problem(428, "send If-Match with the ETag that you read")
        try:
            change = json.loads(await request.body())
        except (ValueError, RecursionError):
            return problem(400, "the body is not JSON")
        if not isinstance(change, dict):
            return problem(422, "the body is not an object")
        wanted = versions(request.headers["if-match"])
        product_id = acl.legacy_id(request.path_params["id"])
        product = await run_in_threadpool(self._catalog.change, product_id, wanted, change)
        return JSONResponse(representation(product), headers={"etag": etag(product.version)})

    async def _refusal(self, request: Request, identities: Identities) -> Response | None:
        identity = await identities.read(request.headers.getlist(HEADER))
        if identity is None:
            # To the client of the gateway it says what that one asks for; our header is not his to send.
            return problem(
                401, f"come through the gateway: {HEADER} is missing or not good", {"www-authenticate": "Bearer"}
            )
        if WRITE not in identity.scopes:
            return problem(403, f"scope {WRITE} is needed")
        return None


class Probes:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def routes(self) -> list[Route]:
        return [Route("/healthz", self.alive), Route("/readyz", self.ready)]

    async def alive(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def ready(self, _request: Request) -> Response:
        """503 until a backfill has come to its end."""
        ready = self._catalog.is_ready()
        return JSONResponse({"status": "ok" if ready else "backfilling"}, status_code=200 if ready else 503)


async def not_found(_request: Request, why: Exception) -> Response:
    return problem(404, str(why))


async def invalid(_request: Request, why: Exception) -> Response:
    return problem(422, str(why))


async def stale(_request: Request, why: Exception) -> Response:
    assert isinstance(why, StaleVersion)
    return problem(412, str(why), {"etag": etag(why.current)})


async def no_keys(_request: Request, why: Exception) -> Response:
    return problem(503, str(why), {"retry-after": "5"})


async def not_backfilled(_request: Request, why: Exception) -> Response:
    return problem(503, str(why), {"retry-after": "1"})


def create_app(
    catalog: Catalog,
    fill: Callable[[], Awaitable[None]] | None = None,
    close: Callable[[], None] = lambda: None,
    identities: Identities | None = None,
) -> Starlette:
    """`fill` runs beside the server from its start; `close` is called once at its end. Without `identities` whoever
    reaches the service may write.
    """
    pages = (Compatible(catalog), Current(catalog, identities), Probes(catalog))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        filling = asyncio.ensure_future(fill()) if fill else None
        try:
            yield
        finally:
            if filling:
                filling.cancel()
                with suppress(asyncio.CancelledError):
                    await filling
            close()

    return Starlette(
        routes=[route for part in pages for route in part.routes()],
        lifespan=lifespan,
        exception_handlers={
            NoSuchProduct: not_found,
            Invalid: invalid,
            StaleVersion: stale,
            NotBackfilled: not_backfilled,
            NoKeys: no_keys,
        },
    )
