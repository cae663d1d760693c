"""Anti-corruption layer: the monolith's product on one side, ours on the other. The only file that knows its quirks.

float price → cents · "Y"/"N" → bool · csv tags → list · one img or none → images · shop time to the minute ← epoch ·
absent field ↔ None · refusal as 200 `{"ok":false}` · pages of 20 in id order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from .domain import Money, Product

SHOP_ZONE = ZoneInfo("America/New_York")
PAGE_SIZE = 20
MAX_OFFSET = 2**63 - 1


class Untranslatable(ValueError):
    """An exported row that is no product. The text names the row and the field."""


def product_from_export(row: Mapping[str, Any]) -> Product:
    try:
        return Product(
            id=int(row["id"]),
            sku=str(row["sku"]),
            name=str(row["name"]),
            description=row["descr"],
            category=str(row["category"]),
            tags=tuple(row["tags"].split(",")) if row["tags"] else (),
            images=() if row["img"] is None else (row["img"],),
            active=row["active"] == "Y",
            price=Money(cents(row["price"])),
            updated_at=int(row["updated"]),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as why:
        raise Untranslatable(f"exported product {row.get('id')!r}: {why!r}") from why


def cents(price: float) -> int:
    """19.99 → 1999, and 20.089999999999996 → 2009: by decimal digits, for int(19.99 * 100) is 1998."""
    return int((Decimal(repr(price)) * 100).quantize(Decimal(1), ROUND_HALF_UP))


def legacy_product(product: Product) -> dict[str, Any]:
    fields = {
        "id": product.id,
        "sku": product.sku,
        "name": product.name,
        "descr": product.description,
        "price": product.price.amount / 100,
        "category": product.category,
        "tags": ",".join(product.tags),
        "img": product.images[0] if product.images else None,
        "active": "Y" if product.active else "N",
        "updated": datetime.fromtimestamp(product.updated_at, SHOP_ZONE).strftime("%m/%d/%Y %H:%M"),
    }
    return {name: value for name, value in fields.items() if value is not None}


def legacy_page(products: Sequence[Product], total: int) -> dict[str, Any]:
    return {"items": [legacy_product(product) for product in products], "total": total}


def legacy_refusal(why: str) -> dict[str, Any]:
    return {"ok": False, "error": why}


def legacy_offset(page: str | None) -> int:
    """Raises ValueError where the monolith shows its error page; a page before the first is the first."""
    offset = max(int(page or 1) - 1, 0) * PAGE_SIZE
    if offset > MAX_OFFSET:
        raise ValueError(f"page {page} lies beyond what SQLite can count")
    return offset


def legacy_id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
