from __future__ import annotations

import pytest

from proxy.shadow.formats import classify, could_be, type_of
from proxy.shadow.numbers import Constant, Exact

NOW = 1_760_000_000.0  # 2025-10-09T08:53:20Z


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "boolean"),
        (1, "int"),
        (1.5, "decimal"),
        (Exact("1.10"), "decimal"),
        (Constant("NaN"), "constant"),
        ([1], "array"),
        ({}, "object"),
        (1_760_000_100, "epoch_now"),
        (1_760_000_000_123, "epoch_now"),
        (1_760_009_999, "int"),
        ("", "empty"),
        ("17", "int"),
        ("-17", "int"),
        ("1.50", "decimal"),
        ("1234567890123456", "hex"),
        ("3f2c8c1e-1111-4a4a-8b8b-000000000001", "uuid"),
        ("2025-10-09T08:53:21Z", "datetime_now"),
        ("2025-10-09T10:53:21+02:00", "datetime_now"),
        ("2025-10-09T10:53:21", "datetime_now"),
        ("2025-10-09T10:30:50", "datetime"),
        ("2025-10-08T08:53:21Z", "datetime"),
        ("2025-13-41T08:53:21Z", "datetime"),
        ("Thu, 09 Oct 2025 08:53:21 GMT", "datetime_now"),
        ("Mon, 01 Jan 2024 00:00:00 GMT", "datetime"),
        ("2024-01-01", "date"),
        ("deadbeef", "text"),
        ("deadbee1", "hex"),
        ("https://shop.example/x?y", "url"),
        ("a@b.example", "email"),
        ("eyJhbGciOiJIUzI1NiJ9.e30.Zm9v", "token"),
        ("internationalization", "text"),
        ("Internationalization", "text"),
        ("hello world", "text"),
        ("x" * 5000, "text"),
    ],
)
def test_classes(value: object, expected: str) -> None:
    assert classify(value, NOW) == expected


def test_without_a_time_nothing_is_near_now() -> None:
    assert classify("2025-10-09T08:53:21Z") == "datetime"
    assert classify(1_760_000_000) == "int"


@pytest.mark.parametrize(
    ("value", "format_", "expected"),
    [
        ("12345678", "hex", True),
        ("abcdefab", "hex", True),
        ("abc", "hex", False),
        ("null", "hex", False),
        (12345678, "hex", False),
        ("abcdefghijklmnop", "token", True),
        ("3f2c8c1e-1111-4a4a-8b8b-000000000001", "token", False),
        ("", "text", False),
        ("17", "text", True),
        (None, "text", False),
        (10, "decimal", True),
        (1.5, "int", False),
        ("10", "decimal", True),
        ("2025-10-09T08:53:21Z", "datetime", True),
        ("2020-10-09T08:53:21Z", "datetime_now", False),
    ],
)
def test_what_could_come_from_the_same_source(value: object, format_: str, expected: bool) -> None:
    assert could_be(value, format_, NOW) is expected


def test_types() -> None:
    assert [type_of(value) for value in (True, 1, "1", b"1")] == ["boolean", "number", "string", "opaque"]
