"""Exact bounds for a rate and for a median. Pure arithmetic: knows neither what is counted nor why.

Clopper and Pearson (Biometrika 26, 1934) for the rate: the share p whose binomial tail is as heavy as the confidence
leaves over. The tail is the regularised incomplete beta function, here by Lentz's continued fraction (Press et al.,
"Numerical Recipes", 6.4). Such an interval describes: who looks at it again and again until it suits him is wrong far
more often than it says, so nothing is decided by it but whether a path is noise.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, lgamma, log, log1p

_TINY = 1e-300
_CLOSE = 1e-15
_NARROW = 1e-12  # of the upper end: where a bisection ends


def incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), the distribution function of Beta(a, b) at x; a and b above 0, x from 0 to 1. Relative error about
    1e-7 at a + b = 10^7, far less below."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = exp(a * log(x) + b * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b))
    # The fraction converges fast on this side of the mean; on the other, I_x(a, b) = 1 - I_{1-x}(b, a).
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    c = 1.0
    d = 1.0 / _apart(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, 1_000_000):  # takes about the root of the larger of a and b
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        d = 1.0 / _apart(1.0 + even * d)
        c = _apart(1.0 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        d = 1.0 / _apart(1.0 + odd * d)
        c = _apart(1.0 + odd / c)
        value *= d * c
        if abs(d * c - 1.0) < _CLOSE:
            return value
    raise ArithmeticError(f"the incomplete beta function does not converge at a={a}, b={b}, x={x}")


def _apart(value: float) -> float:
    """Lentz: a denominator of 0 becomes a tiny one."""
    return value if abs(value) > _TINY else _TINY


def at_least(k: int, n: int, p: float) -> float:
    """P(X >= k) for X ~ Bin(n, p)."""
    if k <= 0:
        return 1.0
    return 0.0 if k > n else incomplete_beta(k, n - k + 1.0, p)


def exceeds(k: int, n: int, share: float, confidence: float = 0.95) -> bool:
    """Whether the one-sided exact lower bound of k/n lies above `share`. By the tail itself, without finding the bound:
    the bound is the p at which the tail is 1 - confidence, and the tail grows with p."""
    return at_least(k, n, share) < 1.0 - confidence


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided exact interval for a rate of which k in n were seen; (0, 1) where n is 0."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no rate: give 0 <= k <= n")
    tail = (1.0 - confidence) / 2.0
    if n == 0:
        return 0.0, 1.0
    low, high = 0.0, 1.0
    if k > 0:
        low = _root(lambda p: at_least(k, n, p) - tail, 0.0, k / n)
    if k < n:
        high = _root(lambda p: at_least(k + 1, n, p) - (1.0 - tail), k / n, 1.0)
    return low, high


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where `rising` passes 0 between `low` and `high`, by bisection."""
    while high - low > _NARROW * high:
        middle = (low + high) / 2.0
        if not low < middle < high:
            break
        if rising(middle) < 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def median_ranks(n: int, confidence: float = 0.95) -> tuple[int, int] | None:
    """Ranks (from 0) of the two of n sorted values that hold the median between them, whatever the distribution, with
    at least this confidence; None where n is too small for it (below 6 at 95 %)."""
    tail = (1.0 - confidence) / 2.0
    if n < 1 or 0.5**n > tail:
        return None
    low, high = 0, (n - 1) // 2  # the greatest r with P(Bin(n, 1/2) <= r) <= tail
    while low < high:
        middle = (low + high + 1) // 2
        if 1.0 - at_least(middle + 1, n, 0.5) <= tail:
            low = middle
        else:
            high = middle - 1
    return low, n - 1 - low
