"""Every metric family of fig, in one file. Knows no request, only what it is told.

The data path counts into plain dicts and lists (0.3 µs a request; a prometheus-client histogram alone takes 1.5) and
this collector turns them into families when Prometheus asks. Labels never carry a raw path, user or header.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import inf

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from proxy.admission.door_maker import DoorMaker
from proxy.errors import UpstreamError
from proxy.events import BreakerChanged, Event, Reloaded, ReloadFailed, StoreFailed
from proxy.exchange import Exchange
from proxy.shadow.feed import Feed
from proxy.shadow.mirror import Mirror
from proxy.upstreams.tunnels import Tunnels
from proxy.upstreams.upstream import Upstream

# Advice of the OpenTelemetry HTTP conventions, seconds.
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
NOBODY = "none"  # seam and side of what no route claimed; side of what fig answered itself
BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}


class SideMeter:
    """What one side of one seam answered. `codes` counts by (method, status)."""

    __slots__ = ("codes", "durations", "seconds", "total")

    def __init__(self) -> None:
        self.codes: dict[tuple[str, int], int] = {}
        self.durations = [0] * (len(BUCKETS_S) + 1)
        self.seconds = 0.0
        self.total = 0

    def count(self, method: str, status: int, seconds: float) -> None:
        key = (method, status)
        self.codes[key] = self.codes.get(key, 0) + 1
        self.durations[bisect_left(BUCKETS_S, seconds)] += 1
        self.seconds += seconds
        self.total += 1


class Gauges:
    """Where the collector reads what is true at the moment of the scrape. Each yields (labels, value)."""

    def __init__(
        self,
        seams: Callable[[], Iterable[tuple[str, float, float, bool]]],
        breakers: Callable[[], Iterable[tuple[str, str, str, str]]],
        upstreams: Callable[[], Iterable[Upstream]],
        connections: Callable[[], tuple[int, int]],
        tunnels: Tunnels,
        handshakes_failed: Callable[[], int],
        lag: Callable[[], tuple[float, int]],
        webhook: Callable[[], tuple[int, int, int]],
        mirror: Mirror,
        feed: Feed,
        doors: DoorMaker,
        monotonic: Callable[[], float],
    ) -> None:
        self.seams = seams
        self.breakers = breakers
        self.upstreams = upstreams
        self.connections = connections
        self.tunnels = tunnels
        self.handshakes_failed = handshakes_failed
        self.lag = lag
        self.webhook = webhook
        self.mirror = mirror
        self.feed = feed
        self.doors = doors
        self.monotonic = monotonic


class Metrics(Collector):
    """`record` takes each finished exchange; `event` takes facts from elsewhere; `text` is what /metrics shows."""

    def __init__(self, version: str, access_dropped: Callable[[], int]) -> None:
        self.meters: dict[tuple[str, str], SideMeter] = {}
        self.gauges: Gauges | None = None
        self._version = version
        self._access_dropped = access_dropped
        self._rejected: Counter[str] = Counter()
        self._authenticated: Counter[str] = Counter()
        self._upstream_errors: Counter[tuple[str, str, str]] = Counter()
        self._fallbacks: Counter[tuple[str, str]] = Counter()
        self._fallbacks_refused: Counter[tuple[str, str]] = Counter()
        self._breaker_transitions: Counter[tuple[str, str, str, str]] = Counter()
        self._store_errors: Counter[str] = Counter()
        self._accept_errors: Counter[str] = Counter()
        self._reload_ok = True
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def meter(self, seam: str, side: str) -> SideMeter:
        key = (seam, side)
        found = self.meters.get(key)
        if found is None:
            found = self.meters[key] = SideMeter()
        return found

    def record(self, exchange: Exchange, seconds: float) -> None:
        decision, error = exchange.decision, exchange.error
        seam, side = (decision.seam, decision.side) if decision is not None else (exchange.seam or NOBODY, NOBODY)
        if exchange.said_by_fig:
            side = NOBODY
        method = exchange.request.method
        if exchange.status == 101 and exchange.upstream_s is not None:
            seconds = exchange.upstream_s  # to the switch; how long a tunnel lives is no latency
        meter = self.meters.get((seam, side)) or self.meter(seam, side)
        meter.count(method if method in _METHODS else "_OTHER", exchange.status, seconds)
        if error is None:
            return
        if isinstance(error, UpstreamError):
            self._upstream_errors[seam, side, error.cause] += 1
        else:
            self._rejected[error.cause] += 1

    def reject(self, cause: str) -> None:
        """Something was refused that never became a request."""
        self._rejected[cause] += 1

    def authenticated(self, outcome: str) -> None:
        """What became of somebody who was asked for a credential."""
        self._authenticated[outcome] += 1

    def upstream_failed(self, seam: str, side: str, cause: str) -> None:
        """An exchange that a fallback then saved."""
        self._upstream_errors[seam, side, cause] += 1

    def fell_back(self, seam: str, cause: str) -> None:
        self._fallbacks[seam, cause] += 1

    def fallback_refused(self, seam: str, cause: str) -> None:
        """The fallback's own cap was reached, so the failure stood."""
        self._fallbacks_refused[seam, cause] += 1

    def accept_failed(self, port: str) -> None:
        """The system had no connection to give, for want of descriptors or memory."""
        self._accept_errors[port] += 1

    def event(self, event: Event) -> None:
        if isinstance(event, (Reloaded, ReloadFailed)):
            self._reload_ok = isinstance(event, Reloaded)
        elif isinstance(event, StoreFailed):
            self._store_errors[event.store] += 1
        elif isinstance(event, BreakerChanged):
            self._breaker_transitions[event.seam, event.side, event.route, event.to] += 1

    def text(self) -> bytes:
        """The text exposition format 0.0.4."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing to announce: keeps the registry from collecting at registration."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._request_families()
        yield from self._error_families()
        if self.gauges is not None:
            yield from _gauge_families(self.gauges)
        ok = GaugeMetricFamily("fig_config_last_reload_successful", "Whether the last reload took effect")
        ok.add_metric([], float(self._reload_ok))
        yield ok
        dropped = CounterMetricFamily("fig_access_log_dropped", "Access lines dropped because the sink was slow")
        dropped.add_metric([], self._access_dropped())
        yield dropped
        build = GaugeMetricFamily("fig_build_info", "Version of fig", labels=["version"])
        build.add_metric([self._version], 1.0)
        yield build

    def _request_families(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("fig_requests", "Requests answered", labels=["seam", "side", "method", "code"])
        durations = HistogramMetricFamily(
            "fig_request_duration_seconds", "From request head to last byte out", labels=["seam", "side"]
        )
        for (seam, side), meter in list(self.meters.items()):
            for (method, code), count in list(meter.codes.items()):
                requests.add_metric([seam, side, method, str(code)], count)
            durations.add_metric([seam, side], _cumulated(meter.durations), meter.seconds)
        yield requests
        yield durations

    def _error_families(self) -> Iterator[Metric]:
        upstream = CounterMetricFamily(
            "fig_upstream_errors", "Exchanges that an upstream failed", labels=["seam", "side", "cause"]
        )
        for labels, count in self._upstream_errors.items():
            upstream.add_metric(list(labels), count)
        yield upstream
        for name, text, counts in (
            ("fig_fallbacks", "Requests of the extracted side that another answered", self._fallbacks),
            ("fig_fallbacks_refused", "Fallbacks beyond their cap: the failure stood", self._fallbacks_refused),
        ):
            family = CounterMetricFamily(name, text, labels=["seam", "cause"])
            for pair, count in counts.items():
                family.add_metric(list(pair), count)
            yield family
        transitions = CounterMetricFamily(
            "fig_breaker_transitions", "Changes of a breaker's state", labels=["seam", "side", "route", "to"]
        )
        for key, count in self._breaker_transitions.items():
            transitions.add_metric(list(key), count)
        yield transitions
        rejected = CounterMetricFamily("fig_rejected", "Requests refused or given up by fig", labels=["cause"])
        for cause, count in self._rejected.items():
            rejected.add_metric([cause], count)
        yield rejected
        auth = CounterMetricFamily("fig_auth", "Requests of routes with `auth`, by outcome", labels=["outcome"])
        for outcome, count in self._authenticated.items():
            auth.add_metric([outcome], count)
        yield auth
        store = CounterMetricFamily("fig_store_errors", "Failed store operations", labels=["store"])
        for name, count in self._store_errors.items():
            store.add_metric([name], count)
        yield store
        accept = CounterMetricFamily("fig_accept_errors", "Connections that could not be accepted", labels=["port"])
        for port, count in self._accept_errors.items():
            accept.add_metric([port], count)
        yield accept


def _cumulated(counts: list[int]) -> list[tuple[str, float]]:
    total, rows = 0, []
    for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], counts, strict=True):
        total += count
        rows.append((bound, float(total)))
    return rows


def _gauge_families(gauges: Gauges) -> Iterator[Metric]:
    asked = GaugeMetricFamily("fig_seam_percent", "Effective share of the extracted side", labels=["seam"])
    seen = GaugeMetricFamily("fig_seam_seen_percent", "Share of the extracted side lately", labels=["seam"])
    latched = GaugeMetricFamily("fig_seam_rolled_back", "Whether a rollback stands", labels=["seam"])
    for seam, percent, seen_percent, rolled_back in gauges.seams():
        asked.add_metric([seam], percent)
        seen.add_metric([seam], seen_percent)
        latched.add_metric([seam], float(rolled_back))
    yield from (asked, seen, latched)
    state = GaugeMetricFamily("fig_breaker_state", "0 closed, 1 half-open, 2 open", labels=["seam", "side", "route"])
    for seam, side, route, word in gauges.breakers():
        state.add_metric([seam, side, route], BREAKER_STATES[word])
    yield state
    yield from _upstream_families(list(gauges.upstreams()), gauges.monotonic())
    active, idle = gauges.connections()
    connections = GaugeMetricFamily("fig_connections", "Client connections", labels=["state"])
    connections.add_metric(["active"], active)
    connections.add_metric(["idle"], idle)
    yield connections
    yield from _tunnel_families(gauges.tunnels)
    lag_s, stalls = gauges.lag()
    worst = GaugeMetricFamily("fig_event_loop_lag_seconds", "Longest delay of the event loop in the last 10 s")
    worst.add_metric([], lag_s)
    stalled = CounterMetricFamily("fig_event_loop_stalls", "Delays of the event loop of 0.1 s or more")
    stalled.add_metric([], stalls)
    yield from (worst, stalled)
    handshakes = CounterMetricFamily("fig_tls_handshakes_failed", "Client connections that ended before TLS was agreed")
    handshakes.add_metric([], gauges.handshakes_failed())
    yield handshakes
    webhook = CounterMetricFamily("fig_webhook", "Events for the webhook, by what became of them", labels=["outcome"])
    for outcome, count in zip(("sent", "failed", "dropped"), gauges.webhook(), strict=True):
        webhook.add_metric([outcome], count)
    yield webhook
    yield from _shadow_families(gauges.mirror, gauges.feed)
    yield from _door_families(gauges.doors)


def _door_families(doors: DoorMaker) -> Iterator[Metric]:
    limits = CounterMetricFamily(
        "fig_rate_limit", "Requests that a limit counted, by what became of them", labels=["limit", "outcome"]
    )
    for pair, count in doors.outcomes.items():
        limits.add_metric(list(pair), count)
    yield limits
    up = GaugeMetricFamily("fig_rate_limit_store_up", "Whether the Redis of the rate limits is asked")
    if doors.redis is not None:
        up.add_metric([], float(not doors.redis.tripped))
    yield up
    age = GaugeMetricFamily("fig_jwks_age_seconds", "Since an issuer's keys were fetched", labels=["issuer"])
    failing = GaugeMetricFamily("fig_jwks_failing", "Whether the last fetch of keys failed", labels=["issuer"])
    fetches = CounterMetricFamily("fig_jwks_fetches", "Fetches of an issuer's keys", labels=["issuer"])
    for name, keys in doors.issuers.items():
        age_s = keys.age_s()
        age.add_metric([name], inf if age_s is None else age_s)
        failing.add_metric([name], float(keys.failure is not None))
        fetches.add_metric([name], keys.fetches)
    yield from (age, failing, fetches)


def _shadow_families(mirror: Mirror, feed: Feed) -> Iterator[Metric]:
    samples = CounterMetricFamily(
        "fig_shadow", "Requests of shadowed seams, by what became of their copy", labels=["seam", "outcome", "reason"]
    )
    for labels, count in mirror.counts.items():
        samples.add_metric(list(labels), count)
    yield samples
    compared = CounterMetricFamily(
        "fig_comparisons", "Comparisons of two answers, by verdict and worst class", labels=["seam", "verdict", "class"]
    )
    for labels, count in mirror.compared.items():
        compared.add_metric(list(labels), count)
    yield compared
    waiting = GaugeMetricFamily("fig_shadow_queued", "Samples that wait to be asked", labels=["seam"])
    asked = GaugeMetricFamily("fig_shadow_in_flight", "Samples that are being asked", labels=["seam"])
    for seam, (queued, in_flight) in mirror.waiting.items():
        waiting.add_metric([seam], queued)
        asked.add_metric([seam], in_flight)
    yield from (waiting, asked)
    up = GaugeMetricFamily("fig_comparer_up", "Whether the process that compares is there")
    up.add_metric([], float(feed.alive))
    yield up
    starts = CounterMetricFamily("fig_comparer_starts", "Starts of the process that compares")
    starts.add_metric([], feed.starts)
    yield starts


def _upstream_families(upstreams: list[Upstream], now: float) -> Iterator[Metric]:
    in_flight = GaugeMetricFamily("fig_in_flight", "Requests an upstream is working on", labels=["upstream"])
    queued = GaugeMetricFamily("fig_bulkhead_queued", "Requests that wait for a place", labels=["upstream"])
    rejected = CounterMetricFamily("fig_bulkhead_rejected", "Requests without a place in time", labels=["upstream"])
    retries = CounterMetricFamily(
        "fig_retries", "Requests with further attempts, by how they ended", labels=["upstream", "outcome"]
    )
    available = GaugeMetricFamily(
        "fig_endpoint_available", "Whether an endpoint may be asked", labels=["upstream", "endpoint"]
    )
    ejections = CounterMetricFamily(
        "fig_endpoint_ejections", "Endpoints taken out for gateway errors in a row", labels=["upstream"]
    )
    for one in upstreams:
        name = [one.name]
        in_flight.add_metric(name, one.in_flight)
        queued.add_metric(name, one.bulkhead.queued)
        rejected.add_metric(name, one.bulkhead.rejected)
        retries.add_metric([one.name, "stale_connection"], one.reconnects)
        retries.add_metric([one.name, "success"], one.retried[True])
        retries.add_metric([one.name, "failure"], one.retried[False])
        retries.add_metric([one.name, "budget_exhausted"], one.budget.refused)
        ejections.add_metric(name, one.endpoints.ejections)
        for endpoint in one.endpoints.all:
            usable = one.endpoints.usable(endpoint, now)
            available.add_metric([one.name, endpoint.name], float(usable))
    yield from (in_flight, queued, rejected, retries, available, ejections)
    yield from _discovery_families(upstreams, now)


def _discovery_families(upstreams: list[Upstream], now: float) -> Iterator[Metric]:
    age = GaugeMetricFamily(
        "fig_discovery_age_seconds", "Since the last good answer of an upstream's discovery", labels=["upstream"]
    )
    errors = CounterMetricFamily("fig_discovery_errors", "Failures of an upstream's discovery", labels=["upstream"])
    for one in upstreams:
        endpoints = one.endpoints
        if endpoints.source is not None:
            age.add_metric([one.name], inf if endpoints.found_at is None else now - endpoints.found_at)
            errors.add_metric([one.name], endpoints.failures)
    yield from (age, errors)


def _tunnel_families(tunnels: Tunnels) -> Iterator[Metric]:
    open_now = GaugeMetricFamily("fig_tunnels", "Open WebSocket and other tunnels", labels=["seam", "side"])
    for (seam, side), count in tunnels.open.items():
        open_now.add_metric([seam, side], count)
    yield open_now
    ended = CounterMetricFamily(
        "fig_tunnels_ended", "Tunnels that ended, by who ended it", labels=["seam", "side", "end"]
    )
    for (seam, side, end), count in tunnels.ended.items():
        ended.add_metric([seam, side, end], count)
    yield ended
    moved = CounterMetricFamily("fig_tunnel_bytes", "Bytes of ended tunnels", labels=["seam", "side", "direction"])
    for (seam, side), (bytes_in, bytes_out) in tunnels.moved.items():
        moved.add_metric([seam, side, "in"], bytes_in)
        moved.add_metric([seam, side, "out"], bytes_out)
    yield moved
