"""What a rate limit means, the slow way: every request that passed is remembered, and every stretch of time tried."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from proxy.admission.rate_limit import Limit


class BruteForce:
    """One limit, one key. A request may pass where no stretch of time that ends now, from any request that passed, then
    holds more than `burst + floor(t * requests / window_s)`. Times are whole nanoseconds."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.passed: list[int] = []

    def most(self, span_ns: int) -> int:
        limit = self.limit
        if limit.requests == 0:
            return 0
        return limit.burst + int(Fraction(span_ns * limit.requests, limit.window_ns))

    def would_pass(self, now_ns: int) -> bool:
        held = 1
        if self.most(0) < held:
            return False
        for then in reversed(self.passed):
            held += 1
            if held > self.most(now_ns - then):
                return False
        return True

    def remaining(self, now_ns: int) -> int:
        """How many would pass at once now."""
        probe = BruteForce(self.limit)
        probe.passed = list(self.passed)
        while probe.would_pass(now_ns):
            probe.passed.append(now_ns)
        return len(probe.passed) - len(self.passed)

    def keeps_the_bound(self) -> bool:
        return all(
            end - start + 1 <= self.most(self.passed[end] - self.passed[start])
            for start in range(len(self.passed))
            for end in range(start, len(self.passed))
        )


def brute_force_check(models: Sequence[BruteForce], now_ns: int) -> bool:
    """All limits of one request, all or nothing."""
    fits = [model.would_pass(now_ns) for model in models]
    if any(model.limit.mode == "enforce" and not fit for model, fit in zip(models, fits, strict=True)):
        return False
    for model, fit in zip(models, fits, strict=True):
        if fit:
            model.passed.append(now_ns)
    return True
