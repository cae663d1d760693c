"""Products and search. Checkout reads prices through `for_sale`; cron writes this table past the module."""

from __future__ import annotations

import math
import sqlite3
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import accounts
from .formats import us_minutes, whole_number
from .shop import Refused, Shop
from .web import reply, twins

PAGE_SIZE = 20
MAX_PRICE = 100_000.0
COLUMNS = ("id", "sku", "name", "descr", "price", "category", "tags", "img", "active")


def for_sale(connection: sqlite3.Connection, product_id: int) -> sqlite3.Row:
    """Raises Refused when the product is unknown or no longer sold."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM products WHERE id = ? AND active = 'Y'", (product_id,)
    ).fetchone()
    if row is None:
        raise Refused(f"product {product_id} is not for sale")
    return row


def view(row: sqlite3.Row) -> dict[str, Any]:
    fields = {name: row[name] for name in COLUMNS if row[name] is not None}
    return {**fields, "updated": us_minutes(row["updated"])}


def pattern(words: str) -> str:
    """LIKE pattern for `words` anywhere, with no wildcards of the caller's (ESCAPE '!')."""
    for special in "!%_":
        words = words.replace(special, "!" + special)
    return f"%{words}%"


class Products:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def routes(self) -> list[Route]:
        return [
            *twins("/api/products", self.listing),
            *twins("/api/products/{id}", self.one),
            *twins("/api/products/{id}", self.change, "PUT"),
            *twins("/api/search", self.search),
        ]

    def listing(self, request: Request) -> Response:
        """`?category=&page=` → one page in rowid order. A page that is no number ends on the error page."""
        category = request.query_params.get("category") or None
        return self._page(request, "(? IS NULL OR category = ?)", (category, category))

    def search(self, request: Request) -> Response:
        """`?q=&page=`: the text anywhere in name or description, case ignored for ASCII letters."""
        like = pattern(request.query_params.get("q", ""))
        return self._page(request, "(name LIKE ? ESCAPE '!' OR descr LIKE ? ESCAPE '!')", (like, like))

    def one(self, request: Request) -> Response:
        product_id = whole_number(request.path_params["id"])
        with self._shop.database.read() as connection:
            row = connection.execute("SELECT * FROM products WHERE id = ?", (product_id,)).fetchone()
        if row is None:
            raise Refused("no such product")
        return reply(view(row))

    async def change(self, request: Request) -> Response:
        """`{"price": 21.5}`, staff only."""
        price = (await request.json())["price"]
        await run_in_threadpool(self._reprice, request, price)
        return reply({"ok": True})

    def _page(self, request: Request, where: str, values: tuple[Any, ...]) -> Response:
        page = int(request.query_params.get("page") or 1)
        query = f"FROM products WHERE active = 'Y' AND {where}"
        with self._shop.database.read() as connection:
            total = connection.execute(f"SELECT count(*) {query}", values).fetchone()[0]
            rows = connection.execute(
                f"SELECT * {query} ORDER BY rowid LIMIT ? OFFSET ?", (*values, PAGE_SIZE, (page - 1) * PAGE_SIZE)
            ).fetchall()
        return JSONResponse({"items": [view(row) for row in rows], "total": total})

    def _reprice(self, request: Request, price: object) -> None:
        if isinstance(price, bool) or not isinstance(price, int | float):
            raise Refused("price is not a number")
        if not (math.isfinite(price) and 0 < price <= MAX_PRICE):
            raise Refused(f"price is not between 0 and {MAX_PRICE:.0f}")
        with self._shop.database.write() as connection:
            staff = accounts.signed_in(connection, request, self._shop.now())
            if not staff["staff"]:
                raise Refused("staff only")
            done = connection.execute(
                "UPDATE products SET price = ?, updated = ?, updated_by = ? WHERE id = ?",
                (price, int(self._shop.now()), staff["email"], whole_number(request.path_params["id"])),
            )
            if done.rowcount == 0:
                raise Refused("no such product")
