"""Tests that may be looked at after every sample (Wald 1945; Ville 1939). Pure: knows no seam, no clock, no store.

Each multiplies one factor a sample whose mean is at most 1 if the hypothesis holds. By Ville's inequality such a
product ever reaches 1/alpha with probability at most alpha, however often one looks and whenever one stops.

**Counts are enough.** A sample has two outcomes, so a product has two different factors, u for the one and v for the
other. Factors commute: after n samples of which k had the first outcome the product is u^k * v^(n-k), whatever their
order. That holds for each product of a mean over products, and so for the mean. Nothing else need be kept, counts of
two places can be added, and no rounding error builds up. Everything is done in logarithms: 10^7 samples neither
overflow nor vanish.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, exp, inf, log, log1p
from typing import Self

_MULTIPLES = (3.0, 10.0, 100.0)  # of the tolerated rate: slightly, clearly and utterly broken
_MOST = 0.9  # of a rate that is supposed
_PAIRED = (0.6, 0.75, 0.9)  # shares of the discordant pairs that are the candidate's


@dataclass(frozen=True, slots=True)
class Counts:
    """`n` samples, `k` of which had the outcome that one fears. Sums of counts are counts."""

    n: int = 0
    k: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.k <= self.n:
            raise ValueError(f"{self.k} of {self.n} cannot have been counted: give 0 <= k <= n")

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.n + other.n, self.k + other.k)

    def observe(self, feared: bool) -> Counts:
        return Counts(self.n + 1, self.k + feared)


@dataclass(frozen=True, slots=True)
class Sprt:
    """Shows that a rate lies below `p0`: S = k ln(p1/p0) + (n-k) ln((1-p1)/(1-p0)), shown at S >= ln(1/alpha).

    `p1` is the rate for which it is quickest. Valid for every true rate >= p0: the factor's mean falls with the rate
    and is 1 at p0. S is never clamped, which would void that: what is bad costs what it costs.
    """

    p0: float
    p1: float
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not 0.0 < self.p1 < self.p0 < 1.0 or not 0.0 < self.alpha < 1.0:
            raise ValueError(f"{self} tests nothing: give 0 < p1 < p0 < 1 and 0 < alpha < 1")

    @classmethod
    def tolerating(cls, p0: float, alpha: float = 0.05) -> Self:
        """`p0` is the rate of mismatches that is tolerated; quickest for a tenth of it."""
        return cls(p0, p0 / 10.0, alpha)

    @property
    def goal(self) -> float:
        """What S must reach."""
        return -log(self.alpha)

    @property
    def gain(self) -> float:
        """What one clean sample adds to S."""
        return log1p(-self.p1) - log1p(-self.p0)

    @property
    def loss(self) -> float:
        """What one feared sample takes from S, above 0."""
        return log(self.p0 / self.p1)

    @property
    def needed(self) -> int:
        """Clean samples from nothing to the goal."""
        return self.to_go(Counts())

    @property
    def cost(self) -> int:
        """How many clean samples make up for one feared one, rounded."""
        return round(self.loss / self.gain)

    def score(self, counts: Counts) -> float:
        """S."""
        return (counts.n - counts.k) * self.gain - counts.k * self.loss

    def ready(self, counts: Counts) -> bool:
        return self.score(counts) >= self.goal

    def to_go(self, counts: Counts) -> int:
        """Clean samples until ready, if no feared one comes; 0 where it is."""
        if self.ready(counts):
            return 0
        more = max(1, ceil((self.goal - self.score(counts)) / self.gain))
        # The division may err by one where the goal is met exactly; `ready` is what counts.
        while not self.ready(counts + Counts(more)):
            more += 1
        while more > 1 and self.ready(counts + Counts(more - 1)):
            more -= 1
        return more

    def percent(self, counts: Counts) -> float:
        """Of the way to the goal, for a meter: 0 to 100, where S itself knows no bounds."""
        return max(0.0, min(100.0, 100.0 * self.score(counts) / self.goal))


@dataclass(frozen=True, slots=True)
class Regression:
    """Shows that a rate lies above `p0`: R = mean over m in {3, 10, 100} of products of p_m/p0 for a mismatch and
    (1-p_m)/(1-p0) for a match, with p_m = m*p0 but at most 0.9. A mean of three such products is another (none need be
    chosen beforehand); if the rate is at most p0, R ever reaches 100 in at most 1 of 100 runs."""

    p0: float

    def __post_init__(self) -> None:
        if not 0.0 < self.p0 < _MOST:
            raise ValueError(f"p0 = {self.p0} leaves no worse rate to suppose: give 0 < p0 < {_MOST}")

    def log_e(self, counts: Counts) -> float:
        """ln R, 0 where nothing was counted."""
        return _log_mean(
            counts.k * log(worse / self.p0) + (counts.n - counts.k) * (log1p(-worse) - log1p(-self.p0))
            for worse in (min(m * self.p0, _MOST) for m in _MULTIPLES)
        )


@dataclass(frozen=True, slots=True)
class Paired:
    """Whether the candidate strays more often than the control does by itself. Of requests with first control, second
    control and candidate: `b` where the candidate alone differs from the first control, `c` where the second control
    alone does. The rest says nothing (McNemar 1947).

    If the candidate is no worse, b ~ Bin(b+c, 1/2) at most. E = mean over q in {.6, .75, .9} of (2q)^b (2-2q)^c.
    """

    b: int = 0
    c: int = 0

    def __post_init__(self) -> None:
        if self.b < 0 or self.c < 0:
            raise ValueError(f"{self} cannot have been counted: give b and c >= 0")

    def __add__(self, other: Paired) -> Paired:
        return Paired(self.b + other.b, self.c + other.c)

    def observe(self, candidate: bool, control: bool) -> Paired:
        """One request: whether each of the two differs from the first control."""
        if candidate == control:
            return self
        return Paired(self.b + candidate, self.c + control)

    @property
    def log_e(self) -> float:
        """ln E, 0 where nothing was counted."""
        return _log_mean(self.b * log(2.0 * q) + self.c * log(2.0 - 2.0 * q) for q in _PAIRED)


def _log_mean(logs: Iterable[float]) -> float:
    """ln of the mean of what has these logarithms."""
    values = tuple(logs)
    top = max(values)
    return top + log(sum(exp(value - top) for value in values) / len(values))


def from_log(value: float) -> float:
    """e^value for people to read: infinite where no float holds it."""
    return exp(value) if value < 709.0 else inf
