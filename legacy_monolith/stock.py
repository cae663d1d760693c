"""What is on the shelf. Checkout reserves and cancel releases, each inside its own transaction."""

from __future__ import annotations

import sqlite3

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .shop import Refused, Shop
from .web import reply, twins


def reserve(connection: sqlite3.Connection, product_id: int, qty: int) -> None:
    """Raises Refused when fewer than `qty` are free. Test and take are one statement, so nothing is sold twice."""
    done = connection.execute(
        "UPDATE stock SET reserved = reserved + ? WHERE product_id = ? AND on_hand - reserved >= ?",
        (qty, product_id, qty),
    )
    if done.rowcount == 0:
        raise Refused(f"product {product_id} is out of stock")


def release(connection: sqlite3.Connection, product_id: int, qty: int) -> None:
    connection.execute("UPDATE stock SET reserved = reserved - ? WHERE product_id = ?", (qty, product_id))


class Stock:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def routes(self) -> list[Route]:
        return twins("/api/stock/{sku}", self.one)

    def one(self, request: Request) -> Response:
        with self._shop.database.read() as connection:
            row = connection.execute(
                "SELECT p.sku, s.on_hand, s.reserved FROM stock s JOIN products p ON p.id = s.product_id"
                " WHERE p.sku = ?",
                (request.path_params["sku"],),
            ).fetchone()
        if row is None:
            raise Refused("no such sku")
        return reply(dict(row))
