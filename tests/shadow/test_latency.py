"""Whether the candidate is as quick as the control."""

from __future__ import annotations

import random

import pytest

from proxy.shadow.latency import TAIL, Latency, median_ratio, slower, tail_limit_s
from proxy.shadow.sequential import Counts, Paired


@pytest.mark.parametrize(
    ("this_s", "other_s", "is_slower"),
    [(0.030, 0.010, False), (0.031, 0.010, True), (0.119, 0.100, False), (0.121, 0.100, True), (1.19, 1.0, False)],
)
def test_slower_is_by_a_fifth_and_by_20_ms(this_s: float, other_s: float, is_slower: bool) -> None:
    assert slower(this_s, other_s) == is_slower


def test_the_limit_of_the_tail() -> None:
    assert tail_limit_s(0.5) == pytest.approx(0.6)
    assert tail_limit_s(0.5, slo_s=2.0) == 2.0


def test_each_request_with_both_controls_is_entered() -> None:
    latency = Latency()
    latency = latency.observe(0.1, 0.1, 0.1, 0.5)  # all alike
    assert latency == Latency(Paired(0, 0), Counts(1, 0))
    latency = latency.observe(0.1, 0.1, 0.9, 0.5)  # the candidate alone, and beyond the limit
    assert latency == Latency(Paired(1, 0), Counts(2, 1))
    latency = latency.observe(0.1, 0.3, 0.3, 0.5)  # the control than itself
    assert latency == Latency(Paired(1, 1), Counts(3, 1))
    latency = latency.observe(0.1, 0.3, 0.9, 0.5)  # both: says nothing about who is worse
    assert latency == Latency(Paired(1, 1), Counts(4, 2))
    assert latency + latency == Latency(Paired(2, 2), Counts(8, 4))


def test_a_quick_candidate_is_ready_after_141_answers() -> None:
    assert TAIL.needed == 141
    assert not Latency(tail=Counts(140)).ready
    assert Latency(tail=Counts(141)).ready


def test_the_median_ratio_and_what_holds_it() -> None:
    assert median_ratio([]) is None
    few = median_ratio([2.0, 1.0, 1.5, 1.2])
    assert few is not None
    assert (few.n, few.low, few.high) == (4, None, None)
    assert few.median == pytest.approx(1.35)
    many = median_ratio([float(number) for number in range(100, 0, -1)])
    assert many is not None
    assert (many.n, many.median, many.low, many.high) == (100, 50.5, 40.0, 61.0)


def test_the_interval_of_the_median_holds_it_in_19_of_20() -> None:
    rng = random.Random(6)
    held = 0
    for _ in range(1_000):
        ratio = median_ratio([rng.expovariate(1.0) for _ in range(25)])
        assert ratio is not None and ratio.low is not None and ratio.high is not None
        held += ratio.low <= 0.6931 <= ratio.high
    assert 940 <= held <= 975  # 95.7 % by the binomial, and three standard errors
