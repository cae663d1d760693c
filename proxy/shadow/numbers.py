"""JSON numbers without loss. Knows nothing of documents.

Decoded trees hold an `int`, a `float` only where the text was the shortest that gives it back (so equal floats are
equal decimals), and an `Exact` for any other number.
"""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Context, Decimal, InvalidOperation
from typing import Final


class Exact(str):
    """The text of a number of which an int or a float would lose something: 1.10, 1e400, a sum with 5,000 digits."""

    __slots__ = ()


class Constant(str):
    """NaN, Infinity or -Infinity: no JSON, but some writers send it. Equal where the token is equal."""

    __slots__ = ()


Number = int | float | Exact

_QUIET: Final = Context(prec=60, traps=[])  # a difference too great is Infinity, one that is none is NaN


def read_float(text: str) -> float | Exact:
    """What the text of a JSON number with a fraction or an exponent becomes."""
    number = float(text)
    return number if repr(number) == text else Exact(text)


def read_int(text: str) -> int | Exact:
    """For integers of more digits than Python converts."""
    return int(text) if len(text) <= 4000 else Exact(text)


def number_text(number: Number) -> str:
    """As it stood in the document."""
    return number if isinstance(number, Exact) else repr(number)


def to_decimal(number: Number) -> Decimal | None:
    """The exact value; None where the exponent is beyond what a Decimal holds."""
    try:
        return Decimal(number if type(number) is int else number_text(number))
    except InvalidOperation:
        return None


def number_key(number: Number) -> Hashable:
    """Equal, and of equal hash, exactly for numbers of equal value."""
    if type(number) is int:
        return number
    decimal = to_decimal(number)
    return decimal if decimal is not None else ("number", number_text(number))


def numbers_equal(one: Number, other: Number) -> bool:
    return one == other if type(one) is type(other) is int else number_key(one) == number_key(other)


def within(one: Number, other: Number, absolute: Decimal, relative: Decimal) -> bool:
    """Whether the two are no further apart than `absolute`, or than `relative` times the greater magnitude."""
    left, right = to_decimal(one), to_decimal(other)
    if left is None or right is None:
        return False
    apart = _QUIET.abs(_QUIET.subtract(left, right))
    if not apart.is_finite():
        return False
    return apart <= absolute or apart <= _QUIET.multiply(relative, _QUIET.max_mag(left, right).copy_abs())
