"""The breakers of all seams, and the caps of their fallbacks: made when first asked for, kept while their keys stay.

They are keyed by seam, side and route, not by upstream: a shift must not close a breaker, and two seams that share an
upstream fail apart. Not in a snapshot either, since they outlive it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proxy.config.model import SeamConfig
from proxy.routing.resilience import BreakerKey, BreakerRule, CapKey, FallbackRule, breaker_rules, own_fallback
from proxy.upstreams.breaker import Breaker
from proxy.upstreams.bulkhead import Bulkhead


class Guards:
    """`make` makes the breaker of a rule."""

    def __init__(self, make: Callable[[BreakerRule], Breaker]) -> None:
        self._make = make
        self._seams: dict[str, SeamConfig] = {}
        self._breakers: dict[BreakerKey, Breaker] = {}
        self._caps: dict[CapKey, Bulkhead] = {}

    def breaker(self, rule: BreakerRule) -> Breaker:
        """The breaker of that key."""
        found = self._breakers.get(rule.key)
        if found is None:
            found = self._breakers[rule.key] = self._make(self._latest(rule))
        return found

    def known(self, rule: BreakerRule) -> Breaker | None:
        """None where no request has asked for it yet."""
        return self._breakers.get(rule.key)

    def fallback_cap(self, rule: FallbackRule) -> Bulkhead:
        """The places of that fallback, without a queue."""
        found = self._caps.get(rule.key)
        if found is None:
            config = self._seams.get(rule.key[0])
            latest = None if config is None else own_fallback(config, rule.key)
            most = rule.max_in_flight if latest is None else latest.max_in_flight
            found = self._caps[rule.key] = Bulkhead(most, 0, 0.0)
        return found

    def falling_back(self, seam: str) -> int:
        """How many requests are at the seam's own fallback now; a route with a fallback of its own counts apart."""
        cap = self._caps.get((seam, ""))
        return 0 if cap is None else cap.in_flight

    def tick(self) -> None:
        """Call a few times a second: what changes by time alone does so without a request."""
        for breaker in self._breakers.values():
            breaker.tick()

    def keep(self, seams: Iterable[tuple[str, SeamConfig]]) -> None:
        """A new configuration is in force. A breaker whose own keys changed begins anew, but stays as an operator holds
        it; what nobody asks for any more is gone; caps are resized."""
        self._seams = configs = dict(seams)
        breakers: dict[BreakerKey, Breaker] = {}
        for seam in {key[0] for key in self._breakers} & configs.keys():
            for rule in breaker_rules(seam, configs[seam]):
                breaker = self._breakers.get(rule.key)
                if breaker is not None:
                    breakers[rule.key] = breaker if breaker.config == rule.config else self._renewed(breaker, rule)
        self._breakers = breakers
        for key, cap in list(self._caps.items()):
            config = configs.get(key[0])
            fallback = None if config is None else own_fallback(config, key)
            if fallback is None:
                del self._caps[key]
            else:
                cap.resize(fallback.max_in_flight, 0, 0.0)

    def _latest(self, rule: BreakerRule) -> BreakerRule:
        """What a request brings that began before a reload must not be what those after it find."""
        config = self._seams.get(rule.key[0])
        rules = () if config is None else breaker_rules(rule.key[0], config)
        return next((one for one in rules if one.key == rule.key), rule)

    def _renewed(self, old: Breaker, rule: BreakerRule) -> Breaker:
        fresh = self._make(rule)
        fresh.adopt(old)
        return fresh
