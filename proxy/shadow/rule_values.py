"""The values that rules take by path: tolerances, coercions, the order of arrays. Knows no path and no document."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, get_args

from proxy.shadow.places import Coercion


def wrong(rule: str, value: object, cure: str) -> ValueError:
    return ValueError(f"compare.{rule}: {value!r} is no value for it; {cure}")


def _number(rule: str, path: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"compare.{rule}: {value!r} at {path} is no tolerance; give a number, 0 or more")
    return Decimal(str(value))


def _read_numeric(rule: str, path: str, value: object) -> tuple[Decimal, Decimal]:
    if not isinstance(value, Mapping) or not value or set(value) - {"abs", "rel"}:
        raise ValueError(f"compare.{rule}: {value!r} at {path} is no tolerance; give {CURES[rule]}")
    return _number(rule, path, value.get("abs", 0)), _number(rule, path, value.get("rel", 0))


def _read_datetime(rule: str, path: str, value: object) -> Decimal:
    if value is True or value is None:
        return Decimal(0)
    if not isinstance(value, Mapping) or set(value) - {"tolerance_s"}:
        raise ValueError(f"compare.{rule}: {value!r} at {path} is no tolerance; give {CURES[rule]}")
    return _number(rule, path, value.get("tolerance_s", 0))


def _read_coerce(rule: str, path: str, value: object) -> str:
    if value not in get_args(Coercion):
        raise ValueError(f"compare.{rule}: {value!r} at {path} is unknown; give {CURES[rule]}")
    return str(value)


def _read_unordered(rule: str, path: str, value: object) -> bool | str:
    if not isinstance(value, (bool, str)) or value == "":
        raise ValueError(f"compare.{rule}: {value!r} at {path} is unknown; give {CURES[rule]}")
    return value


CURES: Final[Mapping[str, str]] = {
    "numeric": "{abs: NUMBER} or {rel: NUMBER} or both",
    "datetime": "{tolerance_s: SECONDS}",
    "coerce": "decimal, string or boolean",
    "unordered": "true, or the name of the member by which elements are aligned",
}
READERS: Final[Mapping[str, Callable[[str, str, object], object]]] = {
    "numeric": _read_numeric,
    "datetime": _read_datetime,
    "coerce": _read_coerce,
    "unordered": _read_unordered,
}
