"""The endpoints of one upstream: who is there, who may be asked, and who is next. Knows no request and no seam.

Who is there is fixed by the configuration, or told by a resolver again and again; endpoints that stay keep their pool
and their health. Who may be asked is `EndpointHealth`. Next is the less busy of two picked at random: as even as asking
all of them, without everybody running to the same one (Mitzenmacher, "The Power of Two Choices", 2001).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from proxy.config.syntax import leads_back
from proxy.errors import ConnectFailed, ConnectTimeout
from proxy.events import DiscoveryFailed, DiscoveryRecovered, Emit, EndpointChanged, EndpointsFound
from proxy.upstreams.health import EndpointHealth, ProbeTarget
from proxy.upstreams.resolve import Address
from proxy.wire.headers import Internal
from proxy.wire.pool import EndpointPool

_GATEWAY_ERRORS = (502, 503, 504)
_UNREACHED = (ConnectFailed.cause, ConnectTimeout.cause)


class Endpoint:
    """One address: its connections and its health. `name` is what people call it. `aside` are connections of calls
    that no client waits for, and that count nowhere. `host_header` and `server_name` are what probes call it, and whom
    its certificate must name."""

    __slots__ = ("address", "aside", "health", "host_header", "name", "pool", "secure", "server_name")

    def __init__(
        self,
        address: Address,
        pool: EndpointPool,
        aside: EndpointPool,
        secure: bool,
        *,
        host_header: str,
        server_name: str,
    ) -> None:
        self.address = address
        self.pool = pool
        self.aside = aside
        self.secure = secure
        self.host_header = host_header
        self.server_name = server_name
        self.health = EndpointHealth()
        host, port = address.host, address.port
        self.name = address.authority if host == address.server_name else f"{address.authority} ({host}:{port})"

    @property
    def url(self) -> str:
        host = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.address.port}"

    def sweep(self) -> None:
        self.pool.sweep()
        self.aside.sweep()

    def close(self) -> None:
        self.pool.close()
        self.aside.close()


class Endpoints:
    """`vacant`: discovery says that nobody is there; those known before are kept for who must be asked anyway.

    `found_at` is the clock's time of the last good answer of discovery, None before the first or without discovery;
    `failures` counts its failures, `failing` is the reason while the last one failed.
    """

    def __init__(
        self,
        upstream: str,
        listed: Iterable[Address],
        make: Callable[[Address], Endpoint],
        *,
        own_addresses: frozenset[tuple[str, int]],
        source: str | None,
        emit: Emit,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.upstream = upstream
        self.source = source
        self.vacant = False
        self.found_at: float | None = None
        self.failures = 0
        self.failing: str | None = None
        self.ejections = 0
        self.known: Callable[[], None] = _nobody  # told of the first good answer
        self.hurry: Callable[[], None] = _nobody  # asks discovery to look again soon
        self._make = make
        self._own_addresses = own_addresses
        self._emit = emit
        self._clock = clock
        self._rng = rng
        self._all: tuple[Endpoint, ...] = tuple(map(make, listed))
        self.internal = _internal(self._all)

    @property
    def all(self) -> tuple[Endpoint, ...]:
        """Also those that are out of use just now."""
        return self._all

    def take_over(self, old: Endpoints, same_pools: bool, same_health: bool, probed: bool) -> None:
        """Endpoints that stay keep pool and health: after a reload that changed something else of the upstream.
        Where another source is asked from now on, only its own answer counts. `probed`: there are active probes."""
        if self.source is not None and self.source == old.source:
            self.failures += old.failures
            if self.found_at is None:
                self.found_at, self.vacant = old.found_at, old.vacant
                self.failing = self.failing or old.failing
            if not self._all:
                self._all = tuple(self._make(endpoint.address) for endpoint in old._all)
        kept = {endpoint.address: endpoint for endpoint in old._all}
        if same_health:
            for endpoint in self._all:
                if endpoint.address in kept:
                    endpoint.health = kept[endpoint.address].health
        self._adopt(tuple(kept.get(one.address, one) for one in self._all) if same_pools else self._all)
        if not probed:
            for endpoint in self._all:
                endpoint.health.unprobed()
        self.ejections = old.ejections

    def usable(self, endpoint: Endpoint, now: float) -> bool:
        """Whether `pick` would take it without being told to do so anyway."""
        if self.vacant:
            return False
        return endpoint.health.probed is not False if len(self._all) == 1 else endpoint.health.available(now)

    def pick(self, avoid: Endpoint | None, anyway: bool) -> Endpoint | None:
        """Whom to ask next; None where nobody may be asked. `avoid` is taken only where there is no other. `anyway`:
        one that is out of use is better than none (legacy is never turned off by a wrong health path)."""
        everybody = self._all
        if len(everybody) == 1:
            sole = everybody[0]
            return sole if anyway or self.usable(sole, 0.0) else None
        now = self._clock()
        candidates: Sequence[Endpoint] = [] if self.vacant else [one for one in everybody if one.health.available(now)]
        if not candidates:
            if not anyway or not everybody:
                return None
            candidates = everybody
        if avoid is not None and len(candidates) > 1:
            candidates = [one for one in candidates if one is not avoid]
        return self._less_busy(candidates)

    def _less_busy(self, candidates: Sequence[Endpoint]) -> Endpoint:
        count = len(candidates)
        if count == 1:
            return candidates[0]
        first = int(self._rng.random() * count)
        second = int(self._rng.random() * (count - 1))
        if second >= first:
            second += 1  # two different ones, each pair as likely
        one, other = candidates[first], candidates[second]
        return one if one.pool.in_use <= other.pool.in_use else other

    # --- passive health ----------------------------------------------------------------------------------------------

    def answered(self, endpoint: Endpoint, status: int) -> None:
        """A response head came."""
        if len(self._all) == 1:
            return  # a sole endpoint is never ejected: nothing to count
        if status in _GATEWAY_ERRORS:
            self.failed_at(endpoint, f"answered {status}")
        else:
            endpoint.health.good()

    def failed_at(self, endpoint: Endpoint, reason: str) -> None:
        """No answer came, or it broke off."""
        if reason in _UNREACHED:
            self.hurry()
        if len(self._all) == 1:
            return
        now = self._clock()
        if endpoint.health.bad(now, True):
            self.ejections += 1
            for_s = endpoint.health.ejected_until - now
            self._emit(EndpointChanged(self.upstream, endpoint.name, False, f"ejected for {for_s:g} s, last: {reason}"))

    def probed(self, target: ProbeTarget, healthy: bool, why: str) -> None:
        """The active probe of an endpoint changed its mind."""
        name = target.name if isinstance(target, Endpoint) else target.url
        self._emit(EndpointChanged(self.upstream, name, healthy, why))

    # --- discovery ---------------------------------------------------------------------------------------------------

    def found(self, addresses: tuple[Address, ...]) -> None:
        """A good answer. Nobody there is one too: those known before are kept aside."""
        own = [one for one in addresses if self._is_own(one)]
        if own:
            self.failed(f"{own[0].host}:{own[0].port} is fig itself: requests would go in a circle")
            return
        if self.failing is not None:
            self.failing = None
            self._emit(DiscoveryRecovered(self.upstream, self.source or ""))
        first, self.found_at = self.found_at is None, self._clock()
        vacant = not addresses
        before = () if self.vacant else tuple(endpoint.address for endpoint in self._all)
        self.vacant = vacant
        if before != addresses or first:
            if not vacant:
                kept = {endpoint.address: endpoint for endpoint in self._all}
                self._replace(tuple(kept.get(address) or self._make(address) for address in addresses))
            self._emit(EndpointsFound(self.upstream, tuple(f"{one.host}:{one.port}" for one in addresses)))
        if first:
            self.known()

    def _is_own(self, address: Address) -> bool:
        own = self._own_addresses
        return any(port == address.port and leads_back(host, address.host) for host, port in own)

    def failed(self, reason: str) -> None:
        """No good answer: what is there stays."""
        self.failures += 1
        if self.failing is None:
            self._emit(DiscoveryFailed(self.upstream, self.source or "", reason))
        self.failing = reason

    def _replace(self, fresh: tuple[Endpoint, ...]) -> None:
        gone = [endpoint for endpoint in self._all if endpoint not in fresh]
        self._adopt(fresh)
        for endpoint in gone:
            endpoint.close()

    def _adopt(self, fresh: tuple[Endpoint, ...]) -> None:
        self._all = fresh
        self.internal = _internal(fresh)

    # --- the connections ---------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        for endpoint in self._all:
            endpoint.sweep()

    def close(self, keep: Iterable[Endpoint] = ()) -> None:
        """Idle connections close now, others when their exchange ends; those of `keep` go on."""
        kept = set(map(id, keep))
        for endpoint in self._all:
            if id(endpoint) not in kept:
                endpoint.close()


def _nobody() -> None:
    """Nobody waits for it."""


def _internal(endpoints: Sequence[Endpoint]) -> Internal:
    """Their authorities and hosts as a Location or a cookie of theirs may name them."""
    names = {(endpoint.address.authority, endpoint.secure) for endpoint in endpoints}
    names |= {(urlsplit(endpoint.url).netloc, endpoint.secure) for endpoint in endpoints}
    authorities, hosts = set[bytes](), set[bytes]()
    for authority, secure in names:
        parts = urlsplit(f"//{authority}")
        host = authority.rpartition(":")[0] if parts.port is not None else authority
        port = parts.port or (443 if secure else 80)
        authorities.add(f"{host}:{port}".lower().encode("ascii"))
        if port == (443 if secure else 80):
            authorities.add(host.lower().encode("ascii"))
        hosts.add((parts.hostname or "").encode("ascii"))
    return Internal(frozenset(authorities), frozenset(hosts))
