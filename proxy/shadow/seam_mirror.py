"""What the mirror keeps of one seam: what waits, how fast it may ask, and whether the candidate answers at all."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from proxy.routing.shadowing import ShadowRule
from proxy.shadow.endpoint import Endpoints
from proxy.shadow.job import Job, Watch

_FAILING: Final = 20  # failures in a row, after which the candidate is only tried now and then
_PROBE_EVERY_S: Final = 0.1
_BURST_S: Final = 4.0


class SeamMirror:
    """What waits and what runs of one seam. `rule` is the latest that was seen. `samples` and `controls` count by
    endpoint; so does `traffic`, since the last tick, and `lost` by class."""

    def __init__(self, rule: ShadowRule) -> None:
        self.rule = rule
        self.endpoints = Endpoints()
        self.samples: Counter[str] = Counter()
        self.controls: Counter[str] = Counter()
        self.traffic: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.queue: deque[tuple[Job, bool]] = deque()
        self.in_flight = 0
        self.tokens = 1.0
        self.filled_at = 0.0
        self.failures = 0  # of the candidate, in a row
        self.probe_at = 0.0

    def adopt(self, rule: ShadowRule) -> None:
        """With other rules, what was learned of the endpoints begins anew."""
        if rule.mark != self.rule.mark:
            self.samples.clear()
            self.controls.clear()
        self.rule = rule

    @property
    def failing(self) -> bool:
        return self.failures >= _FAILING

    def spares(self, now: float) -> bool:
        """Whether the candidate, which does nothing but fail, is left alone this time."""
        if not self.failing:
            return False
        if now < self.probe_at:
            return True
        self.probe_at = now + _PROBE_EVERY_S
        return False

    def give_back(self, watch: Watch) -> None:
        """The candidate said nothing: this was none of the first samples of its endpoint."""
        if watch.rule.mark == self.rule.mark:
            self.samples[watch.endpoint] -= 1
            self.controls[watch.endpoint] -= watch.controlled

    def may(self, now: float) -> bool:
        """A token bucket that holds four seconds' worth, what one page asks for at once is compared as a whole; but no
        more than the queue takes."""
        per_s = self.rule.config.max_per_s
        if per_s is None:
            return True
        most = max(1.0, per_s, min(_BURST_S * per_s, self.rule.config.max_queue))
        self.tokens = min(most, self.tokens + (now - self.filled_at) * per_s)
        self.filled_at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
