"""GCRA against hand-written expectations, and against a model that tries every stretch of time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.admission.limiter_memory import MemoryLimiter
from proxy.admission.rate_limit import Asked, Limit, Mode, problem_of, settle
from tests.support.limits import BruteForce, brute_force_check

limits = st.builds(
    lambda requests, window_us, burst, mode: Limit("x", requests, window_us / 1_000_000, burst, mode),
    st.one_of(st.integers(1, 9), st.sampled_from([0, 7, 60, 1000])),
    st.sampled_from([1, 3, 1000, 333_333, 1_000_000, 7_000_000, 60_000_000]),
    st.integers(1, 6),
    st.sampled_from(["enforce", "observe"]),
)
# Gaps in nanoseconds: none, single ones around the exact moment, and long ones.
gaps = st.lists(
    st.one_of(st.just(0), st.integers(0, 5), st.integers(0, 10**6), st.integers(0, 10**9), st.integers(0, 10**11)),
    min_size=1,
    max_size=40,
)


# By hand, as throttled and redis-cell tell it: allowed, remaining, seconds until all is back, seconds until the next.
@pytest.mark.parametrize(
    ("arrivals", "expected"),
    [
        ([0.0], [(True, 4, 1.0, 0.0)]),
        ([0.0] * 5, [(True, 4 - n, 1.0 + n, 0.0 if n < 4 else 1.0) for n in range(5)]),
        ([0.0] * 6, [*[(True, 4 - n, 1.0 + n, 0.0 if n < 4 else 1.0) for n in range(5)], (False, 0, 5.0, 1.0)]),
        (
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.9, 1.0, 1.0],
            [
                *[(True, 4 - n, 1.0 + n, 0.0 if n < 4 else 1.0) for n in range(5)],
                (False, 0, 4.8, 0.8),
                (False, 0, 4.1, 0.1),
                (True, 0, 5.0, 1.0),
                (False, 0, 5.0, 1.0),
            ],
        ),
        ([0.0, 0.0, 3.0, 30.0], [(True, 4, 1.0, 0.0), (True, 3, 2.0, 0.0), (True, 4, 1.0, 0.0), (True, 4, 1.0, 0.0)]),
    ],
)
def test_one_a_second_five_at_once(arrivals: list[float], expected: list[tuple[bool, int, float, float]]) -> None:
    limiter, limit = MemoryLimiter(), Limit("x", 1, 1, 5)
    said = []
    for now_s in arrivals:
        verdict = limiter.check([(limit, "k")], now_s)
        (result,) = verdict.results
        said.append((verdict.allowed, result.remaining, round(result.reset_s, 9), round(result.retry_after_s, 9)))
    assert said == expected


def test_a_steady_client_at_the_rate_is_never_refused_and_nothing_drifts() -> None:
    """One third of a second is no whole number of nanoseconds, nor of anything else."""
    limiter, limit = MemoryLimiter(), Limit("x", 3, 1, 2)
    for second in range(20_000):
        for third_ns in (0, 333_333_333, 666_666_667):  # as near to thirds as nanoseconds come
            verdict = limiter.check([(limit, "k")], second + third_ns / 1e9)
            assert verdict.allowed
            assert verdict.results[0].debt <= limit.window_ns + 2
    assert [limiter.check([(limit, "k")], 20_000.000_000_001).allowed for _ in range(3)] == [True, True, False]


def test_the_whole_burst_is_back_on_the_exact_instant() -> None:
    limiter, limit = MemoryLimiter(), Limit("x", 7, 1, 7)
    for second in range(1000):
        assert [limiter.check([(limit, "k")], float(second)).allowed for _ in range(8)] == [True] * 7 + [False]


@pytest.mark.parametrize(("requests", "window_s", "burst"), [(10, 1, 10), (100, 60, 100), (1, 3600, 1), (1000, 0.5, 3)])
def test_a_greedy_client_gets_the_burst_and_the_rate(requests: int, window_s: float, burst: int) -> None:
    limiter, limit = MemoryLimiter(), Limit("x", requests, window_s, burst)
    step_s = window_s / requests / 4
    passed = sum(limiter.check([(limit, "k")], n * step_s).allowed for n in range(4000))
    bound = burst + int(3999 * step_s * requests / window_s + 1e-9)
    assert bound - 1 <= passed <= bound


@settings(max_examples=400)
@given(limits, gaps)
def test_it_agrees_with_the_model(limit: Limit, gaps: list[int]) -> None:
    limiter, model, now_ns = MemoryLimiter(), BruteForce(limit), 0
    for gap in gaps:
        now_ns += gap
        verdict = limiter.check([(limit, "k")], now_ns / 1e9)
        (result,) = verdict.results
        room = model.would_pass(now_ns)
        assert verdict.allowed == (room or limit.mode == "observe")
        assert result.short == (not room)
        assert brute_force_check([model], now_ns) == verdict.allowed
        assert result.remaining == model.remaining(now_ns)
        if limit.requests and not room:
            wait_ns = result.retry_after_ns
            assert model.would_pass(now_ns + wait_ns) and not model.would_pass(now_ns + wait_ns - 1)
        if limit.requests:
            assert model.remaining(now_ns + result.reset_ns) == limit.burst
    assert model.keeps_the_bound()


@settings(max_examples=300)
@given(st.lists(limits, min_size=2, max_size=4), gaps)
def test_several_limits_are_all_or_nothing(several: list[Limit], gaps: list[int]) -> None:
    named = [Limit(f"l{n}", one.requests, one.window_s, one.burst, one.mode) for n, one in enumerate(several)]
    asked: list[Asked] = [(limit, "k") for limit in named]
    limiter, models, now_ns = MemoryLimiter(), [BruteForce(limit) for limit in named], 0
    for gap in gaps:
        now_ns += gap
        verdict = limiter.check(asked, now_ns / 1e9)
        assert verdict.allowed == brute_force_check(models, now_ns)
        assert [result.remaining for result in verdict.results] == [model.remaining(now_ns) for model in models]


def test_a_refused_request_takes_nothing_from_the_others() -> None:
    limiter = MemoryLimiter()
    narrow, wide = Limit("narrow", 1, 60, 1), Limit("wide", 100, 60, 100)
    asked: list[Asked] = [(wide, "k"), (narrow, "k")]
    first = limiter.check(asked, 0.0)
    assert [result.outcome for result in first.results] == ["allowed", "allowed"]
    for _ in range(50):
        refused = limiter.check(asked, 0.0)
        assert not refused.allowed and refused.violated == ("narrow",)
        assert [result.remaining for result in refused.results] == [99, 0]
    assert limiter.outcomes == {("wide", "allowed"): 1, ("narrow", "allowed"): 1, ("narrow", "limited"): 50}


def test_an_observed_limit_refuses_nothing_and_counts_what_it_would() -> None:
    limiter = MemoryLimiter()
    observed, enforced = Limit("seen", 1, 60, 1, "observe"), Limit("held", 3, 60, 3)
    verdicts = [limiter.check([(observed, "k"), (enforced, "k")], 0.0) for _ in range(5)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False, False]
    assert verdicts[-1].violated == ("held",)
    assert limiter.outcomes == {
        ("seen", "allowed"): 1,
        ("held", "allowed"): 3,
        ("seen", "observed"): 4,
        ("held", "limited"): 2,
    }


@pytest.mark.parametrize(("mode", "passes"), [("enforce", False), ("observe", True)])
def test_zero_requests_block(mode: Mode, passes: bool) -> None:
    limiter, limit = MemoryLimiter(), Limit("none", 0, 60, 100, mode)
    for now_s in (0.0, 1e6):
        verdict = limiter.check([(limit, "k")], now_s)
        assert verdict.allowed is passes and verdict.results[0].short and verdict.results[0].remaining == 0
        assert verdict.results[0].retry_after_s == 60.0
    assert limiter.outcomes == {("none", "limited" if mode == "enforce" else "observed"): 2}


def test_the_wait_is_the_longest_of_those_that_refuse() -> None:
    limiter = MemoryLimiter()
    asked: list[Asked] = [
        (Limit("a", 1, 10, 1), "k"),
        (Limit("b", 1, 30, 1), "k"),
        (Limit("c", 1, 90, 1, "observe"), "k"),
    ]
    assert limiter.check(asked, 0.0).retry_after_s == 0.0
    assert limiter.check(asked, 0.0).retry_after_s == 30.0


@pytest.mark.parametrize(
    ("requests", "window_s", "burst", "said"),
    [
        (-1, 1, 1, "0 blocks"),
        (10**10, 1, 1, "not between 0 and"),
        (1, 0, 1, "window_s 0"),
        (1, float("nan"), 1, "window_s nan"),
        (1, float("inf"), 1, "window_s inf"),
        (1, 1, 0, "write requests: 0"),
        (1, 1, -5, "burst -5"),
        (1, 10**9, 2, "lower burst"),
    ],
)
def test_what_is_no_limit_is_told_with_the_cure(requests: int, window_s: float, burst: int, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Limit("odd", requests, window_s, burst)
    assert str(caught.value).startswith("limit odd: ")
    assert problem_of(1, 1, 1) is None


def test_settle_asks_for_one_debt_a_limit() -> None:
    with pytest.raises(ValueError):
        settle([Limit("x", 1, 1, 1)], [])
