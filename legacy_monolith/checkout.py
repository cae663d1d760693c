"""Checkout: prices, stock, payment and order in one transaction. The knot that every seam leads to."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import accounts, products, stock
from .formats import order_ref, total, us_seconds
from .shop import Refused, Shop
from .web import reply, twins

PAID = 2
MAX_QTY = 999
MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Basket:
    """`lines` are (product id, quantity); `ship_to` is None for an order picked up in the shop."""

    lines: tuple[tuple[int, int], ...]
    card: str
    ship_to: str | None


def basket(body: Mapping[str, Any]) -> Basket:
    """Raises Refused for an empty basket, a quantity out of 1–999 or a delivery without an address."""
    lines = tuple((item["product_id"], item["qty"]) for item in body["items"])
    if not lines:
        raise Refused("basket is empty")
    for product_id, qty in lines:
        if type(product_id) is not int or not 0 < product_id <= MAX_ID:
            raise Refused(f"product {product_id!r} is not for sale")
        if type(qty) is not int or not 0 < qty <= MAX_QTY:
            raise Refused(f"qty {qty!r} is not between 1 and {MAX_QTY}")
    return Basket(lines, str(body["card"]), address(body))


def address(body: Mapping[str, Any]) -> str | None:
    """`street|city|zip`, the way the orders table keeps it."""
    if body.get("fulfilment", "delivery") == "pickup":
        return None
    parts = [str(body.get("ship_to", {}).get(name, "")).replace("|", " ") for name in ("street", "city", "zip")]
    if not all(parts):
        raise Refused("ship_to needs street, city and zip")
    return "|".join(parts)


def charge(connection: sqlite3.Connection, order_id: int, amount: float, card: str, now: float) -> None:
    """The card provider is pretended: `tok_ok` pays, every other token is declined."""
    if card != "tok_ok":
        raise Refused("card declined")
    connection.execute(
        "INSERT INTO payments (order_id, amount, card, status, at) VALUES (?, ?, ?, 'captured', ?)",
        (order_id, amount, card, int(now)),
    )


class Checkout:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def routes(self) -> list[Route]:
        return twins("/api/checkout", self.place, "POST")

    async def place(self, request: Request) -> Response:
        """`{"items":[{"product_id":7,"qty":2}],"card":"tok_ok","ship_to":{…},"fulfilment":"delivery"}`."""
        wanted = basket(await request.json())
        order_id, amount = await run_in_threadpool(self._place, request, wanted)
        return reply({"ok": True, "order_id": order_ref(order_id), "total": amount})

    def _place(self, request: Request, wanted: Basket) -> tuple[int, float]:
        now = self._shop.now()
        with self._shop.database.write() as connection:
            customer = accounts.signed_in(connection, request, now)
            lines = [(id_, qty, products.for_sale(connection, id_)["price"]) for id_, qty in wanted.lines]
            for product_id, qty, _price in lines:
                stock.reserve(connection, product_id, qty)
            amount = total([(price, qty) for _id, qty, price in lines])
            order_id = connection.execute(
                "INSERT INTO orders (customer_id, status, total, ship_to, order_date) VALUES (?, ?, ?, ?, ?)",
                (customer["id"], PAID, amount, wanted.ship_to, us_seconds(now)),
            ).lastrowid
            assert order_id is not None
            connection.executemany(
                "INSERT INTO order_items (order_id, product_id, qty, price) VALUES (?, ?, ?, ?)",
                [(order_id, *line) for line in lines],
            )
            charge(connection, order_id, amount, wanted.card, now)
        return order_id, amount
