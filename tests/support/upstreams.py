"""Upstreams and breakers as the composition root makes them, but with nothing of their own going on: no discovery is
asked and no probe is sent unless a test does it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from proxy.config.model import UpstreamConfig
from proxy.events import BreakerChanged, Emit, Event
from proxy.routing.resilience import BreakerRule
from proxy.upstreams.breaker import Breaker, State
from proxy.upstreams.endpoints import Endpoints
from proxy.upstreams.resolve import address_of
from proxy.upstreams.upstream import EndpointMaker, Upstream
from proxy.wire.timer import TimerWheel

Clock = Callable[[], float]
Wall = frozenset[tuple[str, int]]


def _unheard(event: Event) -> None:
    """Nobody is told."""


def make_upstream(
    name: str,
    config: UpstreamConfig,
    *,
    wheel: TimerWheel | None = None,
    emit: Emit = _unheard,
    clock: Clock = time.monotonic,
    own_addresses: Wall = frozenset(),
) -> Upstream:
    """Of plain http. One that is told its endpoints has none until a test calls `upstream.endpoints.found`."""
    discovery = config.discovery
    endpoints = Endpoints(
        name,
        map(address_of, config.listed),
        EndpointMaker(config, wheel or TimerWheel(), own_addresses, None),
        own_addresses=own_addresses,
        source=None if discovery is None else discovery.source,
        emit=emit,
        clock=clock,
        rng=random.Random(0),
    )
    return Upstream(name, config, endpoints)


def make_breaker(rule: BreakerRule, *, emit: Emit = _unheard, clock: Clock = time.monotonic) -> Breaker:
    seam, side, route = rule.key

    def changed(was: State, to: State, why: str) -> None:
        emit(BreakerChanged(seam, side, route, was, to, why))

    return Breaker(rule.config, clock, changed)
