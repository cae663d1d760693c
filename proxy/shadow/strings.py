"""When two JSON strings mean the same under the settings of their place. Knows no document."""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from decimal import Decimal
from typing import Any, Final

from proxy.shadow.numbers import Exact
from proxy.shadow.places import Coercion, Form, Settings

_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,6})?", re.ASCII)
_MOMENT: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,30}))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))", re.ASCII
)  # RFC 3339 5.6, and ISO 8601 without seconds
_FLAGS: Final = {"true": True, "false": False, "1": True, "0": False}


def coerced(value: Any, to: Coercion) -> Any:
    """`value` as `to`, or as it is where it cannot be read as that."""
    if to == "decimal" and isinstance(value, str) and not isinstance(value, Exact):
        text = value.strip()
        return Exact(text) if _NUMBER.fullmatch(text) else value
    if to == "string" and type(value) in (int, float, bool):
        return repr(value).lower() if isinstance(value, bool) else repr(value)
    if to == "string" and isinstance(value, Exact):
        return str(value)
    if to == "boolean" and type(value) in (int, str):
        return _FLAGS.get(str(value).strip().lower(), value)
    return value


def unicode_form(text: str, form: Form) -> str:
    return unicodedata.normalize(form, text)


def strings_equal(one: str, other: str, settings: Settings) -> bool:
    """By code point, but for the Unicode form and the time tolerance of `settings`."""
    if settings.unicode is not None:
        one, other = unicode_form(one, settings.unicode), unicode_form(other, settings.unicode)
    if one == other:
        return True
    if settings.datetime is None:
        return False
    left, right = moment(one), moment(other)
    return left is not None and right is not None and abs(left - right) <= settings.datetime


def moment(text: str) -> Decimal | None:
    """Seconds since 1970 of a date and time with its offset; None for any other text, also for a time without one:
    it is no instant."""
    match = _MOMENT.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        return None
    year, month, day, hour, minute = (int(match[group]) for group in range(1, 6))
    second = int(match[6] or 0)
    if hour > 24 or minute > 59 or second > 60:
        return None
    try:
        days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return None
    whole = days * 86400 + hour * 3600 + minute * 60 + second
    if match[9]:
        offset = int(match[10]) * 3600 + int(match[11]) * 60
        whole -= offset if match[9] == "+" else -offset
    return whole + Decimal(f"0.{match[7] or 0}")
