"""Further attempts: how many, how soon, and what an upstream says about it."""

from __future__ import annotations

import calendar
import random
from email.utils import formatdate
from fractions import Fraction
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstreams.retry import RetryBudget, backoff_s, retry_after_s

HUNDREDTHS = 10_000  # of a percent in a whole request

# A request with its percentage in hundredths, or None for a further attempt that is asked for.
ASKED = st.lists(st.none() | st.sampled_from([0, 1, 2000, 5700, 10_000]) | st.integers(0, HUNDREDTHS), max_size=60)


def test_a_budget_starts_with_three_attempts() -> None:
    budget = RetryBudget()
    assert [budget.withdraw() for _ in range(5)] == [True, True, True, False, False]
    assert (budget.attempts, budget.refused, budget.tokens) == (3, 2, 0.0)


@pytest.mark.parametrize(("percent", "requests"), [(20, 5), (100, 1), (0.01, 10_000), (7, 15), (0.57, 176)])
def test_requests_earn_further_attempts(percent: float, requests: int) -> None:
    budget = RetryBudget()
    for _ in range(3):
        budget.withdraw()
    for _ in range(requests - 1):
        budget.deposit(percent)
    assert not budget.withdraw()
    budget.deposit(percent)
    assert budget.withdraw()


def test_nothing_is_saved_up_beyond_three() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget.deposit(20)
    assert budget.tokens == 3.0
    assert sum(budget.withdraw() for _ in range(100)) == 3


@pytest.mark.parametrize("percent", [0.0, 0.0099])
def test_less_than_a_hundredth_of_a_percent_earns_nothing(percent: float) -> None:
    budget = RetryBudget()
    budget.withdraw()
    for _ in range(20_000):
        budget.deposit(percent)
    assert budget.tokens == 2.0


def test_what_is_sent_on_credit_costs_nothing_once_it_is_answered() -> None:
    budget = RetryBudget()
    for _ in range(10_000):
        assert budget.borrow()
        budget.give_back()
    assert budget.tokens == 3.0


def test_unanswered_credit_is_a_debt_that_requests_pay_first() -> None:
    budget = RetryBudget()
    assert [budget.borrow() for _ in range(8)] == [True] * 8
    assert budget.tokens == -5.0
    for _ in range(29):
        budget.deposit(20)
        assert not budget.withdraw()
    budget.deposit(20)
    assert budget.withdraw()


def test_credit_is_not_endless() -> None:
    budget = RetryBudget()
    assert sum(budget.borrow() for _ in range(2_000)) == 515


@given(ASKED)
def test_over_any_stretch_there_are_at_most_so_many_attempts(asked: list[int | None]) -> None:
    budget, granted, shares = RetryBudget(), [], []
    for share in asked:
        if share is None:
            granted.append(int(budget.withdraw()))
            shares.append(0)
        else:
            budget.deposit(share / 100)
            granted.append(0)
            shares.append(share)
    for begin in range(len(asked)):
        for end in range(begin, len(asked) + 1):
            assert sum(granted[begin:end]) * HUNDREDTHS <= sum(shares[begin:end]) + 3 * HUNDREDTHS
    assert budget.attempts == sum(granted)
    assert budget.attempts + budget.refused == asked.count(None)


@given(ASKED)
def test_no_attempt_is_refused_that_was_earned(asked: list[int | None]) -> None:
    budget, tokens = RetryBudget(), Fraction(3)
    for share in asked:
        if share is None:
            assert budget.withdraw() == (tokens >= 1)
            tokens -= tokens >= 1
        else:
            budget.deposit(share / 100)
            tokens = min(Fraction(3), tokens + Fraction(share, HUNDREDTHS))
        assert budget.tokens == float(tokens)


@pytest.mark.parametrize(
    ("attempt", "most_s"), [(1, 0.025), (2, 0.05), (3, 0.1), (4, 0.2), (5, 0.25), (6, 0.25), (10, 0.25)]
)
def test_a_pause_is_anywhere_up_to_its_limit(attempt: int, most_s: float) -> None:
    rng = random.Random(1)
    pauses = [backoff_s(attempt, rng) for _ in range(4000)]
    assert 0 <= min(pauses) < most_s * 0.01
    assert most_s * 0.99 < max(pauses) <= most_s
    assert sum(pauses) / len(pauses) == pytest.approx(most_s / 2, rel=0.05)


NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120.0),
        (b"0", 0.0),
        (b"007", 7.0),
        (b" \t3 ", 3.0),
        (b"9" * 30, 1e30),
        (b"9" * 60_000, inf),
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        (b"Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        (b"Sun, 06 Nov 1994 08:49:36 GMT", 0.0),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (b"Mon, 01 Jan 0001 00:00:00 GMT", 0.0),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799 - NOW),
        (b"Sunday, 06-Nov-94 08:49:38 GMT", 1.0),
        (b"Wednesday, 06-Nov-96 08:49:37 GMT", 2 * 365 * 86400 + 86400.0),
        (b"Sun Nov  6 08:49:47 1994", 10.0),
        (b"Wed Nov 16 08:49:37 1994", 864000.0),
        (b"Thu, 29 Feb 1996 00:00:00 GMT", 825552000 - NOW),
        (b"Sat, 31 Dec 1994 23:59:60 GMT", 788918400 - NOW),
    ],
)
def test_what_an_upstream_asks_for(value: bytes, seconds: float) -> None:
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b" ",
        b"-1",
        b"+1",
        b"1.5",
        b"1e3",
        b"1_000",
        b"0x10",
        b"120, 60",
        b"1 2",
        b"soon",
        b"inf",
        b"nan",
        b"\xb2",
        "٣".encode(),
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 06 nov 1994 08:49:37 GMT",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 94 08:49:37 GMT",
        b"Son, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT\n",
        b"Sun, 06 Nov 1994 24:00:00 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Thu, 31 Nov 1994 08:49:37 GMT",
        b"Wed, 29 Feb 1995 00:00:00 GMT",
        b"Sat, 01 Jan 0000 00:00:00 GMT",
        b"Sun, 06-Nov-94 08:49:37 GMT",
        b"Sunday, 06-Nov-1994 08:49:37 GMT",
        b"Sun Nov 6 08:49:37 1994",
        b"Sun Nov  6 08:49:37 1994 GMT",
    ],
)
def test_what_is_neither_a_delay_nor_a_date(value: bytes | None) -> None:
    assert retry_after_s(value, NOW) is None


@pytest.mark.parametrize(
    ("this_year", "digits", "year"),
    [(2026, 26, 2026), (2026, 76, 2076), (2026, 77, 1977), (2026, 0, 2000), (2099, 0, 2100), (2000, 99, 1999)],
)
def test_a_year_of_two_digits_is_at_most_fifty_ahead(this_year: int, digits: int, year: int) -> None:
    """Seen from a moment before that year, where it lies ahead (RFC 9110 5.6.7)."""
    now = calendar.timegm((this_year, 1, 1, 0, 0, 0))
    wait_s = retry_after_s(b"Sunday, 02-Jan-%02d 00:00:00 GMT" % digits, now)
    assert wait_s == max(0, calendar.timegm((year, 1, 2, 0, 0, 0)) - now)


@given(now=st.integers(0, 4_000_000_000), ahead=st.integers(0, 4_000_000_000))
def test_a_date_is_read_as_it_is_written(now: int, ahead: int) -> None:
    assert retry_after_s(formatdate(now + ahead, usegmt=True).encode("ascii"), now) == ahead


@given(st.binary(max_size=40) | st.from_regex(rb"(Sun|Sunday,?) [\d\w :-]{0,30}( GMT)?", fullmatch=True))
def test_nothing_that_an_upstream_sends_breaks_it(value: bytes) -> None:
    seconds = retry_after_s(value, NOW)
    assert seconds is None or seconds >= 0
