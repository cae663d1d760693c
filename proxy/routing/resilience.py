"""What a Decision takes along for the road: its breaker, what is tried again, and who answers instead. Pure.

Made once a state change, never per request. Knows no clock, no count and no upstream: those that are asked by these
rules live in `upstreams`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from proxy.config.model import Breaker, Fallback, Retry, RouteConfig, SeamConfig, StaticAnswer

Side = Literal["legacy", "extracted"]
BreakerKey = tuple[str, Side, str]
"""Seam, side, and the label of the route that has a breaker of its own; "" for the seam's."""
CapKey = tuple[str, str]
"""Seam, and the label of the route that has a fallback of its own; "" for the seam's."""

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
DEFAULT_BUDGET_PERCENT = 20.0

_DEFAULT_BREAKER = Breaker()
_DEFAULT_FALLBACK = Fallback()


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """`status`: which answers are failures; None is every 5xx."""

    key: BreakerKey
    config: Breaker
    status: frozenset[int] | None

    def fails(self, status: int) -> bool:
        return status >= 500 if self.status is None else status in self.status


@dataclass(frozen=True, slots=True)
class RetryRule:
    """`header` (lower case) declares a request of any method repeatable."""

    retries: int
    on_connect: bool
    on_reset: bool
    status: frozenset[int]
    retry_after_max_s: float
    header: bytes | None
    budget_percent: float


@dataclass(frozen=True, slots=True)
class FallbackRule:
    """`legacy`: the legacy side answers; else `static` does. `status`: answers that safe methods fall back on."""

    key: CapKey
    legacy: bool
    static: StaticAnswer | None
    status: frozenset[int]
    max_in_flight: int


def labels(seam: SeamConfig) -> tuple[str, ...]:
    """A name for each route: its pattern, told apart by position where two routes of the seam share it."""
    patterns = [route.path for route in seam.routes]
    return tuple(path if patterns.count(path) == 1 else f"{path}#{i}" for i, path in enumerate(patterns))


def breaker_rules(name: str, seam: SeamConfig) -> Iterator[BreakerRule]:
    """Every breaker of a seam, the extracted side's own first."""
    if seam.extracted is not None:
        yield from _made((name, "extracted", ""), seam.breaker or _DEFAULT_BREAKER)
        for label, route in zip(labels(seam), seam.routes, strict=True):
            if route.breaker is not None:
                yield from _made((name, "extracted", label), route.breaker)
    if seam.legacy_breaker is not None:
        yield from _made((name, "legacy", ""), seam.legacy_breaker)


def extracted_breakers(name: str, seam: SeamConfig) -> tuple[BreakerRule | None, ...]:
    """By route. Routes without a block of their own share the seam's."""
    shared = next(_made((name, "extracted", ""), seam.breaker or _DEFAULT_BREAKER), None)
    return tuple(
        shared if route.breaker is None else next(_made((name, "extracted", label), route.breaker), None)
        for label, route in zip(labels(seam), seam.routes, strict=True)
    )


def legacy_breaker(name: str, seam: SeamConfig) -> BreakerRule | None:
    return None if seam.legacy_breaker is None else next(_made((name, "legacy", ""), seam.legacy_breaker), None)


def retries(seam: SeamConfig) -> tuple[RetryRule | None, ...]:
    """By route; None where nothing is tried again."""
    shared = _retry(seam.retry)
    return tuple(shared if route.retry is None else _retry(route.retry) for route in seam.routes)


def fallbacks(name: str, seam: SeamConfig, retired: bool) -> tuple[FallbackRule | None, ...]:
    """By route, of the extracted side; None where a failure stays a failure. `retired`: legacy is never called."""
    shared = _fallback((name, ""), seam.fallback or _DEFAULT_FALLBACK, retired)
    return tuple(
        shared if route.fallback is None else _fallback((name, label), route.fallback, retired)
        for label, route in zip(labels(seam), seam.routes, strict=True)
    )


def own_fallback(seam: SeamConfig, key: CapKey) -> Fallback | None:
    """The block that `key` stands for; None where the seam has no such block any more."""
    if not key[1]:
        return seam.fallback or _DEFAULT_FALLBACK
    found: RouteConfig | None = dict(zip(labels(seam), seam.routes, strict=True)).get(key[1])
    return None if found is None else found.fallback


def _made(key: BreakerKey, config: Breaker) -> Iterator[BreakerRule]:
    if config.enabled:
        yield BreakerRule(key, config, frozenset(config.status) or None)


def _retry(config: Retry | None) -> RetryRule | None:
    if config is None or config.retries == 0:
        return None
    header = config.idempotent_header
    return RetryRule(
        config.retries,
        "connect" in config.on,
        "reset" in config.on,
        frozenset(config.status),
        config.retry_after_max_s,
        None if header is None else header.lower().encode("ascii"),
        config.budget_percent,
    )


def _fallback(key: CapKey, config: Fallback, retired: bool) -> FallbackRule | None:
    if config.static is None and (config.to == "none" or retired):
        return None
    return FallbackRule(key, config.static is None, config.static, frozenset(config.status), config.max_in_flight)
