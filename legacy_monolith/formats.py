"""How Corner Shop writes times, ids and money: three time formats and no rounding. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

SHOP_ZONE = ZoneInfo("America/New_York")


def us_minutes(epoch_s: float) -> str:
    """`11/23/2026 04:32`, shop time."""
    return datetime.fromtimestamp(epoch_s, SHOP_ZONE).strftime("%m/%d/%Y %H:%M")


def us_seconds(epoch_s: float) -> str:
    """`11/22/2026 18:01:00`, shop time."""
    return datetime.fromtimestamp(epoch_s, SHOP_ZONE).strftime("%m/%d/%Y %H:%M:%S")


def sql_seconds(epoch_s: float) -> str:
    """`2026-11-23 04:32:10`, UTC."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def order_ref(order_id: int) -> str:
    """`ORD-000042`."""
    return f"ORD-{order_id:06d}"


def order_id(ref: str) -> int | None:
    return whole_number(ref.removeprefix("ORD-")) if ref.startswith("ORD-") else None


def whole_number(text: str) -> int | None:
    """None for what is no id: anything but ASCII digits, or more of them than SQLite's integers hold."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def total(lines: list[tuple[float, int]]) -> float:
    """Sum of price x quantity in binary floating point, noise included: 0.1 + 0.2 is 0.30000000000000004."""
    result = 0.0
    for price, qty in lines:
        result += price * qty
    return result
