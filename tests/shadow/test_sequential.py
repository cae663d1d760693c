"""The tests that may be looked at after every sample: their figures, and that counts are enough."""

from __future__ import annotations

import random
from fractions import Fraction
from math import exp, inf, isfinite, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.shadow.sequential import Counts, Paired, Regression, Sprt, from_log

RATES = st.sampled_from([0.01, 0.005, 0.001, 0.0001, 0.2])
COUNTS = st.builds(lambda clean, k: Counts(clean + k, k), st.integers(0, 50_000), st.integers(0, 60))


@pytest.mark.parametrize(
    ("p0", "needed", "cost"), [(0.01, 332, 254), (0.005, 664, 510), (0.001, 3327, 2557), (0.0001, 33285, 25583)]
)
def test_clean_comparisons_needed_and_the_cost_of_a_mismatch(p0: float, needed: int, cost: int) -> None:
    test = Sprt.tolerating(p0)
    assert (test.needed, test.cost) == (needed, cost)
    assert test.ready(Counts(needed))
    assert not test.ready(Counts(needed - 1))


@given(RATES, COUNTS)
def test_what_is_to_go_is_exactly_what_is_missing(p0: float, counts: Counts) -> None:
    test = Sprt.tolerating(p0)
    more = test.to_go(counts)
    assert test.ready(counts + Counts(more))
    assert more == 0 or not test.ready(counts + Counts(more - 1))
    assert (more == 0) == test.ready(counts)


@given(RATES, COUNTS)
def test_a_clean_comparison_helps_and_a_mismatch_hurts(p0: float, counts: Counts) -> None:
    test, regression = Sprt.tolerating(p0), Regression(p0)
    clean, mismatch = counts.observe(False), counts.observe(True)
    assert test.score(mismatch) < test.score(counts) < test.score(clean)
    assert regression.log_e(clean) < regression.log_e(counts) < regression.log_e(mismatch)
    assert test.to_go(clean) <= test.to_go(counts) <= test.to_go(mismatch)
    assert test.percent(mismatch) <= test.percent(counts) <= test.percent(clean)


@given(st.lists(st.booleans(), max_size=80), st.sampled_from([Fraction(1, 1000), Fraction(1, 50), Fraction(1, 4)]))
def test_counts_give_the_product_over_the_samples_in_their_order(samples: list[bool], p0: Fraction) -> None:
    """Multiplied one sample at a time with exact fractions, against what n and k alone give."""
    counts = Counts()
    s = Fraction(1)
    products = [Fraction(1)] * 3
    supposed = [min(m * p0, Fraction(9, 10)) for m in (3, 10, 100)]
    for mismatch in samples:
        counts = counts.observe(mismatch)
        s *= Fraction(1, 10) if mismatch else (1 - p0 / 10) / (1 - p0)
        products = [
            product * (worse / p0 if mismatch else (1 - worse) / (1 - p0))
            for product, worse in zip(products, supposed, strict=True)
        ]
    assert exp(Sprt.tolerating(float(p0)).score(counts)) == pytest.approx(float(s), rel=1e-9)
    assert exp(Regression(float(p0)).log_e(counts)) == pytest.approx(float(sum(products) / 3), rel=1e-9)


@given(st.permutations([True] * 4 + [False] * 6), st.permutations([True] * 4 + [False] * 6))
def test_the_order_of_samples_does_not_matter(these: list[bool], those: list[bool]) -> None:
    ends = set()
    for samples in (these, those):
        counts = Counts()
        for mismatch in samples:
            counts = counts.observe(mismatch)
        ends.add((Sprt.tolerating(0.01).score(counts), Regression(0.01).log_e(counts)))
    assert len(ends) == 1


@given(COUNTS, COUNTS, COUNTS)
def test_counts_of_parts_can_be_added_in_any_grouping(a: Counts, b: Counts, c: Counts) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert Sprt.tolerating(0.01).score(a + b) == pytest.approx(
        Sprt.tolerating(0.01).score(a) + Sprt.tolerating(0.01).score(b), abs=1e-9
    )


def test_the_mean_factor_is_one_where_the_rate_is_what_is_tolerated() -> None:
    """What Ville's inequality needs: the expectation of each factor under the hypothesis, and below it beyond."""
    for p0 in (0.0001, 0.001, 0.01, 0.2):
        test, regression = Sprt.tolerating(p0), Regression(p0)
        s = [exp(test.score(Counts(1, k))) for k in (0, 1)]
        r = [exp(regression.log_e(Counts(1, k))) for k in (0, 1)]
        assert (1 - p0) * s[0] + p0 * s[1] == pytest.approx(1.0)
        assert (1 - p0) * r[0] + p0 * r[1] == pytest.approx(1.0)
        assert (1 - 2 * p0) * s[0] + 2 * p0 * s[1] < 1.0
        assert (1 - p0 / 2) * r[0] + p0 / 2 * r[1] < 1.0
    e = [exp(Paired(b, 1 - b).log_e) for b in (0, 1)]
    assert sum(e) / 2 == pytest.approx(1.0)


def test_the_score_is_not_clamped() -> None:
    test = Sprt.tolerating(0.001)
    bad = Counts(100, 100)
    assert test.score(bad) == pytest.approx(-100 * log(10))
    assert test.percent(bad) == 0.0
    assert test.to_go(bad) == pytest.approx(100 * test.loss / test.gain + 3327, abs=2)


@pytest.mark.parametrize("k", [0, 1, 10_000, 10**7])
def test_ten_million_samples_neither_overflow_nor_vanish(k: int) -> None:
    counts = Counts(10**7, k)
    figures = [Sprt.tolerating(0.001).score(counts), Regression(0.001).log_e(counts), Paired(k, 10**7 - k).log_e]
    assert all(isfinite(figure) for figure in figures)
    assert Sprt.tolerating(0.001).ready(counts) == (k < 3000)
    assert (Regression(0.001).log_e(counts) >= log(100)) == (k == 10**7)


def test_samples_after_ten_million_still_count() -> None:
    """No sum is kept that they could vanish in."""
    test, counts = Sprt.tolerating(0.0001), Counts(10**7, 391)
    assert not test.ready(counts)
    assert test.to_go(counts) - test.to_go(counts.observe(False)) == 1


def test_a_log_that_no_float_holds_reads_as_infinite() -> None:
    assert from_log(log(100)) == pytest.approx(100)
    assert from_log(5e7) == inf
    assert from_log(-5e7) == 0.0


def test_a_rate_that_is_capped() -> None:
    """100 times 2 % is supposed as 90 %: a mismatch counts 45 times, not 100."""
    assert exp(Regression(0.02).log_e(Counts(1, 1))) == pytest.approx((3 + 10 + 45) / 3)


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_paired_process_is_the_mean_of_three_products(b: int, c: int) -> None:
    exact = sum((2 * q) ** b * (2 - 2 * q) ** c for q in (Fraction(3, 5), Fraction(3, 4), Fraction(9, 10))) / Fraction(
        3
    )
    assert Paired(b, c).log_e == pytest.approx(log(exact.numerator) - log(exact.denominator), abs=1e-9)


def test_ten_strays_of_the_candidate_alone_are_enough_and_nine_are_not() -> None:
    assert Paired(9, 0).log_e < log(100) <= Paired(10, 0).log_e


@given(st.integers(0, 99), st.integers(0, 99))
def test_strays_of_the_candidate_incriminate_those_of_the_control_excuse(b: int, c: int) -> None:
    paired = Paired(b, c)
    assert paired.observe(False, False) == paired.observe(True, True) == paired
    assert paired.observe(True, False) == Paired(b + 1, c)
    assert paired.observe(False, True) == Paired(b, c + 1)
    assert Paired(b, c + 1).log_e < Paired(b + 1, c).log_e


def test_the_order_of_pairs_does_not_matter() -> None:
    rng = random.Random(5)
    pairs = [(rng.random() < 0.5, rng.random() < 0.4) for _ in range(300)]
    ends = set()
    for _ in range(5):
        rng.shuffle(pairs)
        paired = Paired()
        for candidate, control in pairs:
            paired = paired.observe(candidate, control)
        ends.add(paired)
    assert len(ends) == 1


@pytest.mark.parametrize("n_k", [(1, 2), (-1, 0), (3, -1)])
def test_impossible_counts_are_refused(n_k: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot have been counted"):
        Counts(*n_k)


@pytest.mark.parametrize(
    ("p0", "p1", "alpha"), [(0.0, 0.0, 0.05), (0.1, 0.1, 0.05), (0.1, 0.2, 0.05), (0.1, 0.01, 1.0)]
)
def test_a_test_of_nothing_is_refused(p0: float, p1: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="tests nothing"):
        Sprt(p0, p1, alpha)


def test_a_tolerated_rate_that_nothing_exceeds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"p0 = 0\.9"):
        Regression(0.9)


def test_pairs_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot have been counted"):
        Paired(0, -1)
