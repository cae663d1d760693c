"""What a value looks like: its JSON type and its format class. Knows no path and no rule; the time is passed in.

A format class is what may not change where a value may: an id stays an id, a time a time. `classify` names the one
class of a value; `could_be` asks whether a value could be of a given class, because a random hex token now and then
has digits alone, and a random decimal no fraction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from types import NoneType
from typing import Final

from proxy.shadow.numbers import Constant, Exact

NEAR_S: Final = 300.0
"""How many seconds from the question a time is `datetime_now`, an epoch number `epoch_now`."""

TYPES: Final[Mapping[type, str]] = {
    dict: "object", list: "array", str: "string", bool: "boolean", NoneType: "null",
    int: "number", float: "number", Exact: "number", Constant: "constant",
}  # fmt: skip

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")  # RFC 9110 5.6.7
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_INT = re.compile(r"-?\d{1,15}", re.ASCII)  # as text; a longer run of digits is a token
_DECIMAL = re.compile(r"-?\d+\.\d+(?:[eE][+-]?\d+)?", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{8,}|[0-9A-F]{8,}")
_TOKEN = re.compile(r"[A-Za-z0-9_\-+/=.~]{8,}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://\S+")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}\.[^@\s.]{2,}")
_LONGEST = 4096  # beyond it a string is text, whatever it looks like


def type_of(value: object) -> str:
    """null, boolean, number, constant (NaN, Infinity), string, array or object."""
    found = TYPES.get(type(value))
    if found is None:
        found = next((name for kind, name in TYPES.items() if isinstance(value, kind)), "opaque")
    return found


def classify(value: object, now: float | None = None) -> str:
    """The format class of a decoded JSON value or a text: the JSON type for what has no finer one; of numbers `int`,
    `decimal`, `epoch_now`; of strings `empty uuid datetime datetime_now date int decimal hex token url email text`.
    `now`: seconds since 1970, without it nothing is near now."""
    name = type_of(value)
    if name == "string":
        return _classify_text(str(value), now)
    if name != "number":
        return name
    if type(value) is not int:
        return "decimal"
    return "epoch_now" if _is_epoch(value, now) else "int"


def _classify_text(text: str, now: float | None) -> str:
    if not text:
        return "empty"
    if len(text) > _LONGEST:
        return "text"
    if text[0].isdigit() or text[0] == "-":
        if _INT.fullmatch(text):
            return "int"
        if _DATETIME.fullmatch(text):
            return "datetime_now" if _is_near(text, now) else "datetime"
        if _DATE.fullmatch(text):
            return "date"
        if _DECIMAL.fullmatch(text):
            return "decimal"
    if _UUID.fullmatch(text):
        return "uuid"
    if _HEX.fullmatch(text) and any(letter.isdigit() for letter in text):
        return "hex"
    if _URL.fullmatch(text):
        return "url"
    if _EMAIL.fullmatch(text):
        return "email"
    if _HTTP_DATE.fullmatch(text):
        return "datetime_now" if _is_near(text, now) else "datetime"
    return "token" if _is_token(text) else "text"


def _is_token(text: str) -> bool:
    """Sixteen or more letters of an alphabet for random strings, not all of one kind: a long word is none."""
    if len(text) < 16 or not _TOKEN.fullmatch(text):
        return False
    return any(sign.isdigit() for sign in text) or (text[1:].lower() != text[1:] and text.upper() != text)


def could_be(value: object, format_: str, now: float | None = None) -> bool:
    """Whether `value` could have come from a source whose values are of the class `format_`."""
    own = classify(value, now)
    if own == format_:
        return True
    if type_of(value) == "number":
        return format_ == "decimal"
    if type_of(value) != "string":
        return False
    text = str(value)
    if format_ == "text":
        return own != "empty"
    if format_ == "token":
        return _TOKEN.fullmatch(text) is not None and own not in ("uuid", "datetime", "datetime_now", "date")
    if format_ == "decimal":
        return own == "int"
    if format_ == "datetime":
        return own == "datetime_now"
    return format_ == "hex" and _HEX.fullmatch(text) is not None


def _is_epoch(value: object, now: float | None) -> bool:
    if now is None or type(value) is not int:
        return False
    return abs(value - now) <= NEAR_S or abs(value - now * 1000) <= NEAR_S * 1000


def _is_near(text: str, now: float | None) -> bool:
    """A time without an offset is taken for near now at whatever hour of the day its zone makes of it."""
    if now is None:
        return False
    try:
        if text.endswith(" GMT"):
            moment = datetime.strptime(text[5:-4] + " +0000", "%d %b %Y %H:%M:%S %z")
        else:
            moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is not None:
            return abs(moment.timestamp() - now) <= NEAR_S
        away = (moment - datetime(1970, 1, 1)).total_seconds() - now
    except (ValueError, OverflowError):
        return False
    quarter = 900  # every offset in use is a multiple of a quarter of an hour, at most 14 hours
    return abs(away) <= 14 * 3600 + NEAR_S and abs(away - round(away / quarter) * quarter) <= NEAR_S
