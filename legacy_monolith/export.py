"""Tables page by page, raw, for the backfill of an extracted service. Not for the public."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .shop import Shop
from .web import came_through_a_proxy

DEFAULT_LIMIT = 100
MAX_LIMIT = 500

# Table → key and columns. Secrets stay here: no password, no session, no card token.
EXPORTS = {
    "products": ("id", "id, sku, name, descr, price, category, tags, img, active, updated, updated_by"),
    "stock": ("product_id", "product_id, on_hand, reserved"),
    "customers": ("id", "id, email, name, phone, vip, staff, created, last_login"),
    "orders": ("id", "id, customer_id, status, total, ship_to, order_date"),
    "order_items": ("id", "id, order_id, product_id, qty, price"),
    "payments": ("id", "id, order_id, amount, status, at"),
}


class Export:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def routes(self) -> list[Route]:
        return [Route("/internal/export/{table}", self.page, methods=["GET"])]

    def page(self, request: Request) -> Response:
        """`?after_pk=&limit=` → `{"table", "rows", "next"}`; `next` is the following `after_pk`, null at the end."""
        table = request.path_params["table"]
        if table not in EXPORTS or came_through_a_proxy(request):
            raise HTTPException(404)
        key, columns = EXPORTS[table]
        after_pk = int(request.query_params.get("after_pk") or 0)
        limit = min(max(int(request.query_params.get("limit") or DEFAULT_LIMIT), 1), MAX_LIMIT)
        query = f"SELECT {columns} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?"
        with self._shop.database.read() as connection:
            rows = [dict(row) for row in connection.execute(query, (after_pk, limit))]
        return JSONResponse({"table": table, "rows": rows, "next": rows[-1][key] if len(rows) == limit else None})
