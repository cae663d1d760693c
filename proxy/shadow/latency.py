"""Is the candidate as quick as the control? Pure: durations come in, in seconds; counts go out.

The candidate is held against the *second* control, which was asked at the same moment and finds the same warm caches;
the first control against the second tells how much that strays by itself. All of it holds at the sampled load only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.shadow.interval import median_ranks
from proxy.shadow.sequential import Counts, Paired, Sprt

_RATIO = 1.2

SLACK_S: Final = 0.02
"""What nobody notices."""

TAIL: Final = Sprt(p0=0.07, p1=0.05)
"""A twentieth of the control's own answers lie beyond its 95th percentile; two in a hundred more are tolerated. About
880 samples if both are equal, 210 if 2 % of the candidate's lie beyond."""


def slower(this_s: float, other_s: float) -> bool:
    """By more than a fifth and by more than 20 ms."""
    return this_s > max(_RATIO * other_s, other_s + SLACK_S)


def tail_limit_s(legacy_p95_s: float, slo_s: float = 0.0) -> float:
    """Beyond which an answer of the candidate belongs to its tail; `slo_s` 0 where nothing was promised."""
    return max(_RATIO * legacy_p95_s, slo_s)


@dataclass(frozen=True, slots=True)
class Latency:
    """`paired`: who was slower than the control before it, the candidate or the second control. `tail`: the candidate's
    answers and how many of them took longer than the limit. Sums of such evidence are evidence."""

    paired: Paired = field(default_factory=Paired)
    tail: Counts = field(default_factory=Counts)

    def __add__(self, other: Latency) -> Latency:
        return Latency(self.paired + other.paired, self.tail + other.tail)

    def observe(self, control_s: float, second_s: float, candidate_s: float, limit_s: float) -> Latency:
        """One request with both controls. `limit_s` is that of `tail_limit_s`."""
        return Latency(
            self.paired.observe(candidate=slower(candidate_s, second_s), control=slower(second_s, control_s)),
            self.tail.observe(candidate_s > limit_s),
        )

    @property
    def ready(self) -> bool:
        return TAIL.ready(self.tail)


@dataclass(frozen=True, slots=True)
class MedianRatio:
    """Of candidate to second control; `low` and `high` hold it with 95 %, None where there are fewer than 6."""

    n: int
    median: float
    low: float | None
    high: float | None


def median_ratio(ratios: Sequence[float]) -> MedianRatio | None:
    """None where there is no ratio."""
    if not ratios:
        return None
    ordered, n = sorted(ratios), len(ratios)
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2.0
    ranks = median_ranks(n)
    if ranks is None:
        return MedianRatio(n, median, None, None)
    return MedianRatio(n, median, ordered[ranks[0]], ordered[ranks[1]])
