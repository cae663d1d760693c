"""Orders after checkout: read and cancel. Reads products for names, gives stock and payments back on cancel."""

from __future__ import annotations

import sqlite3
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import accounts, stock
from .formats import order_id, order_ref
from .shop import Refused, Shop
from .web import reply, twins

SHIPPED, CANCELLED = 4, 6


def lines(connection: sqlite3.Connection, order: sqlite3.Row) -> list[dict[str, Any]]:
    rows = connection.execute(
        "SELECT i.product_id, p.name, i.qty, i.price FROM order_items i JOIN products p ON p.id = i.product_id"
        " WHERE i.order_id = ? ORDER BY i.id",
        (order["id"],),
    )
    return [dict(row) for row in rows]


def view(connection: sqlite3.Connection, order: sqlite3.Row) -> dict[str, Any]:
    """`paid` is absent when nothing is captured, `shipTo` when the order is picked up."""
    paid = connection.execute(
        "SELECT at FROM payments WHERE order_id = ? AND status = 'captured'", (order["id"],)
    ).fetchone()
    fields = {
        "order_id": order_ref(order["id"]),
        "customerId": order["customer_id"],
        "status": order["status"],
        "orderDate": order["order_date"],
        "paid": paid and paid["at"],
        "total": order["total"],
        "shipTo": order["ship_to"],
        "lines": lines(connection, order),
    }
    return {name: value for name, value in fields.items() if value is not None}


def owned(connection: sqlite3.Connection, request: Request, now: float) -> sqlite3.Row:
    """The order that the path names. Raises Refused alike for an unknown one and for somebody else's."""
    customer = accounts.signed_in(connection, request, now)
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM orders WHERE id = ? AND customer_id = ?",
        (order_id(request.path_params["ref"]), customer["id"]),
    ).fetchone()
    if row is None:
        raise Refused("no such order")
    return row


class Orders:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def routes(self) -> list[Route]:
        return [
            *twins("/api/orders", self.listing),
            *twins("/api/orders/{ref}", self.one),
            *twins("/api/orders/{ref}/cancel", self.cancel, "POST"),
        ]

    def listing(self, request: Request) -> Response:
        with self._shop.database.read() as connection:
            customer = accounts.signed_in(connection, request, self._shop.now())
            rows = connection.execute("SELECT * FROM orders WHERE customer_id = ? ORDER BY rowid", (customer["id"],))
            return JSONResponse({"orders": [view(connection, row) for row in rows.fetchall()]})

    def one(self, request: Request) -> Response:
        with self._shop.database.read() as connection:
            return JSONResponse(view(connection, owned(connection, request, self._shop.now())))

    def cancel(self, request: Request) -> Response:
        with self._shop.database.write() as connection:
            order = owned(connection, request, self._shop.now())
            if order["status"] >= SHIPPED:
                raise Refused("order is already shipped or cancelled")
            for line in lines(connection, order):
                stock.release(connection, line["product_id"], line["qty"])
            connection.execute("UPDATE payments SET status = 'refunded' WHERE order_id = ?", (order["id"],))
            connection.execute("UPDATE orders SET status = ? WHERE id = ?", (CANCELLED, order["id"]))
        return reply({"ok": True})
