"""Exact bounds, held against scipy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]
from scipy.special import betainc  # type: ignore[import-untyped]

from proxy.shadow.interval import at_least, clopper_pearson, exceeds, incomplete_beta, median_ranks

RATES = [
    (0, 1),
    (1, 1),
    (0, 2995),
    (1, 2995),
    (2, 5),
    (7, 9),
    (50, 100),
    (99, 100),
    (13, 3890),
    (3, 10**7),
    (10**6, 10**7),
]


@given(st.floats(0.5, 5_000), st.floats(0.5, 5_000), st.floats(0, 1))
def test_the_incomplete_beta_function_is_scipys(a: float, b: float, x: float) -> None:
    assert incomplete_beta(a, b, x) == pytest.approx(float(betainc(a, b, x)), rel=1e-8, abs=1e-12)


@given(st.integers(1, 500), st.integers(0, 500), st.floats(1e-6, 1 - 1e-6))
def test_the_binomial_tail_is_scipys(n: int, k: int, p: float) -> None:
    assert at_least(k, n, p) == pytest.approx(float(stats.binom.sf(k - 1, n, p)), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(("k", "n"), RATES)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_the_interval_is_that_of_clopper_and_pearson(k: int, n: int, confidence: float) -> None:
    wanted = stats.binomtest(k, n).proportion_ci(confidence, method="exact")
    assert clopper_pearson(k, n, confidence) == pytest.approx((wanted.low, wanted.high), rel=2e-6, abs=1e-12)


@given(st.integers(0, 300), st.integers(1, 300))
def test_the_interval_of_small_counts_is_too(k: int, n: int) -> None:
    if k > n:
        k, n = n, k
    wanted = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(k, n) == pytest.approx((wanted.low, wanted.high), rel=1e-8, abs=1e-12)


def test_nothing_counted_bounds_nothing() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_no_rate_is_no_interval() -> None:
    with pytest.raises(ValueError, match="3 of 2"):
        clopper_pearson(3, 2)


def test_the_rule_of_three() -> None:
    """How many clean samples an exact one-sided bound needs, looked at once: 2995 for 0.1 %."""
    assert clopper_pearson(0, 2995, 0.9)[1] < 0.001 < clopper_pearson(0, 2994, 0.9)[1]


@given(st.integers(1, 400), st.data())
def test_a_bound_exceeds_what_scipys_bound_exceeds(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    share = data.draw(st.sampled_from([0.001, 0.005, 0.1, 0.5]))
    assert exceeds(k, n, share) == (stats.beta.ppf(0.05, k, n - k + 1) > share)


def test_two_in_71_exceed_half_a_percent_and_two_in_72_do_not() -> None:
    assert exceeds(2, 71, 0.005)
    assert not exceeds(2, 72, 0.005)


@pytest.mark.parametrize("n", [*range(1, 60), 1000, 10_001])
def test_the_ranks_around_a_median_are_the_closest_that_hold_it(n: int) -> None:
    ranks = median_ranks(n)
    if ranks is None:
        assert n < 6
        return
    low, high = ranks
    assert low + high == n - 1
    assert stats.binom.cdf(low, n, 0.5) <= 0.025
    assert stats.binom.cdf(low + 1, n, 0.5) > 0.025
