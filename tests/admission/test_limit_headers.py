"""RateLimit-Policy, RateLimit and Retry-After, byte for byte."""

from __future__ import annotations

import pytest

from proxy.admission.limit_headers import limit_fields, policy_value
from proxy.admission.limiter_memory import MemoryLimiter
from proxy.admission.rate_limit import Limit, Result, Verdict


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (Limit("per-user", 100, 60, 100), b'"per-user";q=100;w=60'),
        (Limit("daily", 1000, 86_400, 10), b'"daily";q=1000;w=86400'),
        (Limit("none", 0, 60, 1), b'"none";q=0;w=60'),
        # The window must be a whole number of seconds, and not 0.
        (Limit("half", 10, 0.5, 10), b'"half";q=20;w=1'),
        (Limit("odd", 10, 1.5, 10), b'"odd";q=13;w=2'),
        (Limit('a"b\\c\né', 1, 1, 1), b'"a\\"b\\\\c??";q=1;w=1'),
    ],
)
def test_the_policy(limit: Limit, said: bytes) -> None:
    assert policy_value([limit]) == said


def test_observed_limits_are_not_told_of() -> None:
    seen = Limit("seen", 1, 60, 1, "observe")
    assert policy_value([seen, Limit("held", 1, 60, 1), Limit("too", 2, 60, 1)]) == b'"held";q=1;w=60, "too";q=2;w=60'
    assert policy_value([seen]) == b""
    limiter = MemoryLimiter()
    assert limit_fields([limiter.check([(seen, "k")], 0.0)]) == []
    assert limit_fields([limiter.check([(seen, "k")], 0.0)]) == []


def test_what_is_left_and_when_it_is_more() -> None:
    limiter, limit = MemoryLimiter(), Limit("x", 60, 60, 3)
    said = [limit_fields([limiter.check([(limit, "k")], 0.0)]) for _ in range(4)]
    assert said == [
        [(b"RateLimit", b'"x";r=2;t=1')],
        [(b"RateLimit", b'"x";r=1;t=2')],
        [(b"RateLimit", b'"x";r=0;t=1')],
        [(b"RateLimit", b'"x";r=0;t=1'), (b"Retry-After", b"1")],
    ]


@pytest.mark.parametrize(
    ("now_s", "wait"), [(0.0, b"10"), (0.000_000_001, b"10"), (0.5, b"10"), (9.0, b"1"), (9.999, b"1")]
)
def test_the_wait_is_rounded_up(now_s: float, wait: bytes) -> None:
    limiter, limit = MemoryLimiter(), Limit("x", 1, 10, 1)
    limiter.check([(limit, "k")], 0.0)
    assert dict(limit_fields([limiter.check([(limit, "k")], now_s)]))[b"Retry-After"] == wait
    assert limiter.check([(limit, "k")], now_s + int(wait)).allowed


def test_several_limits_and_both_checks_of_a_request_make_one_field() -> None:
    limiter = MemoryLimiter()
    address, user = Limit("address", 100, 60, 50), Limit("user", 1, 30, 1)
    verdicts = [limiter.check([(address, "a")], 0.0), limiter.check([(user, "u")], 0.0)]
    assert limit_fields(verdicts) == [(b"RateLimit", b'"address";r=49;t=1, "user";r=0;t=30')]
    verdicts = [limiter.check([(address, "a")], 0.0), limiter.check([(user, "u")], 0.0)]
    # Retry-After must not lie before the end of a window that is told of, so the other has none.
    assert limit_fields(verdicts) == [(b"RateLimit", b'"address";r=48, "user";r=0;t=30'), (b"Retry-After", b"30")]


def test_a_limit_that_blocks() -> None:
    verdict = MemoryLimiter().check([(Limit("none", 0, 60, 1), "k")], 0.0)
    assert limit_fields([verdict]) == [(b"RateLimit", b'"none";r=0;t=60'), (b"Retry-After", b"60")]


def test_what_the_store_did_not_tell_is_left_out() -> None:
    limit = Limit("x", 1, 1, 1)
    assert limit_fields([Verdict(True, [Result(limit, "error_allowed", False, -1)])]) == []
    assert limit_fields([Verdict(False, [Result(limit, "error_denied", False, -1)], True)]) == []
