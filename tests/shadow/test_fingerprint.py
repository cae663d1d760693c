"""When two requests are the same one, and how often it may count."""

from __future__ import annotations

import pytest

from proxy.shadow.fingerprint import HourlyCap, fingerprint

KEY = b"k" * 32
WHOLE: dict[str, str | bytes] = {"method": "GET", "path": b"/a", "query": b"x=1&y=2", "body": b"", "subject": b"ann"}


def mark(**changes: str | bytes) -> str:
    parts = {**WHOLE, **changes}
    return fingerprint(KEY, **parts)  # type: ignore[arg-type]


def test_the_same_request_has_the_same_fingerprint() -> None:
    assert mark() == mark()
    assert len(mark()) == 16


def test_the_order_of_query_parameters_does_not_matter() -> None:
    assert mark(query=b"y=2&x=1") == mark()


@pytest.mark.parametrize(
    "change", [{"method": "HEAD"}, {"path": b"/b"}, {"query": b"x=1"}, {"body": b"{}"}, {"subject": b"bob"}]
)
def test_everything_else_does(change: dict[str, str | bytes]) -> None:
    assert mark(**change) != mark()


def test_no_part_passes_for_the_end_of_the_one_before() -> None:
    assert mark(path=b"/a", query=b"b") != mark(path=b"/ab", query=b"")
    assert mark(body=b"an", subject=b"n") != mark(body=b"a", subject=b"nn")


def test_another_key_gives_another_fingerprint() -> None:
    assert fingerprint(b"other", "GET", b"/a", b"", b"", b"") != fingerprint(KEY, "GET", b"/a", b"", b"", b"")


def test_five_in_an_hour_count_and_the_next_hour_begins_anew() -> None:
    cap = HourlyCap()
    assert [cap.admit("a", 3600.0 + second) for second in range(7)] == [True] * 5 + [False] * 2
    assert cap.admit("b", 3610.0)
    assert not cap.admit("a", 7199.9)
    assert cap.admit("a", 7200.0)
    assert repr(cap) == "<HourlyCap 1 fingerprints>"


def test_a_clock_that_is_set_back_grants_nothing() -> None:
    cap = HourlyCap()
    for _ in range(5):
        cap.admit("a", 7200.0)
    assert not cap.admit("a", 3600.0)
    assert not cap.admit("a", 7300.0)


def test_memory_is_bounded_and_what_is_known_still_counts() -> None:
    cap = HourlyCap()
    assert all(cap.admit(str(number), 1.0) for number in range(200_000))
    assert not cap.admit("one more", 2.0)
    assert cap.admit("7", 2.0)
    assert cap.admit("one more", 3601.0)
