"""What /metrics shows is what happened: families, labels and sums, read back by a parser of the format."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from proxy.admission.door_maker import DoorMaker
from proxy.config.model import Discovery, UpstreamConfig
from proxy.errors import (
    BadRequest,
    ClientGone,
    ConnectFailed,
    DeadlineExceeded,
    Loop,
    MethodNotAllowed,
    ProxyError,
    ResponseStalled,
    RouteNotFound,
    UpstreamReset,
)
from proxy.events import BreakerChanged, Reloaded, ReloadFailed, StoreFailed, StoreRecovered
from proxy.exchange import Exchange
from proxy.messages import RequestHead
from proxy.routing.decide import Decision
from proxy.routing.resilience import Side
from proxy.shadow.feed import Feed
from proxy.shadow.mirror import Mirror
from proxy.telemetry.metrics import BUCKETS_S, Gauges, Metrics, SideMeter
from proxy.upstreams.resolve import address_of
from proxy.upstreams.tunnels import Tunnels
from proxy.upstreams.upstream import Upstream
from proxy.wire.timer import TimerWheel
from tests.support.doors import door_maker
from tests.support.mirror import no_mirror
from tests.support.snapshots import snapshot
from tests.support.upstreams import make_upstream

Labels = frozenset[tuple[str, str]]

SNAPSHOT = snapshot({"a": {}})
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "metrics.md"
ALWAYS = {
    "fig_requests": "counter",
    "fig_request_duration_seconds": "histogram",
    "fig_upstream_errors": "counter",
    "fig_fallbacks": "counter",
    "fig_fallbacks_refused": "counter",
    "fig_breaker_transitions": "counter",
    "fig_rejected": "counter",
    "fig_auth": "counter",
    "fig_store_errors": "counter",
    "fig_accept_errors": "counter",
    "fig_config_last_reload_successful": "gauge",
    "fig_access_log_dropped": "counter",
    "fig_build_info": "gauge",
}
WITH_GAUGES = {
    "fig_seam_percent": "gauge",
    "fig_seam_seen_percent": "gauge",
    "fig_seam_rolled_back": "gauge",
    "fig_breaker_state": "gauge",
    "fig_in_flight": "gauge",
    "fig_bulkhead_queued": "gauge",
    "fig_bulkhead_rejected": "counter",
    "fig_retries": "counter",
    "fig_endpoint_available": "gauge",
    "fig_endpoint_ejections": "counter",
    "fig_discovery_age_seconds": "gauge",
    "fig_discovery_errors": "counter",
    "fig_webhook": "counter",
    "fig_shadow": "counter",
    "fig_comparisons": "counter",
    "fig_shadow_queued": "gauge",
    "fig_shadow_in_flight": "gauge",
    "fig_comparer_up": "gauge",
    "fig_comparer_starts": "counter",
    "fig_connections": "gauge",
    "fig_tunnels": "gauge",
    "fig_tunnels_ended": "counter",
    "fig_tunnel_bytes": "counter",
    "fig_tls_handshakes_failed": "counter",
    "fig_event_loop_lag_seconds": "gauge",
    "fig_event_loop_stalls": "counter",
    "fig_rate_limit": "counter",
    "fig_rate_limit_store_up": "gauge",
    "fig_jwks_age_seconds": "gauge",
    "fig_jwks_failing": "gauge",
    "fig_jwks_fetches": "counter",
}


def made() -> Metrics:
    return Metrics("1.2.3", lambda: 7)


def with_gauges() -> Metrics:
    metrics = made()
    metrics.gauges = Gauges(
        seams=lambda: [("a", 25.0, 24.5, False), ("b", 0.0, 0.0, True)],
        breakers=lambda: [("a", "extracted", "", "open"), ("b", "extracted", "/b/{id}", "closed")],
        upstreams=upstreams,
        connections=lambda: (5, 40),
        tunnels=Tunnels(TimerWheel()),
        handshakes_failed=lambda: 6,
        lag=lambda: (0.25, 3),
        webhook=lambda: (7, 1, 2),
        mirror=mirror(),
        feed=Feed(None, lambda: 0.0),
        doors=doors(),
        monotonic=lambda: 100.0,
    )
    return metrics


def doors() -> DoorMaker:
    made = door_maker()
    made.outcomes["per-user", "limited"] = 3
    return made


def mirror() -> Mirror:
    made = no_mirror()
    made.counts["a", "asked", ""] = 9
    made.counts["a", "skipped", "range"] = 2
    made.compared["a", "mismatch", "value"] = 4
    return made


def upstreams() -> list[Upstream]:
    """`old` is busy and one of its two endpoints is ejected; `new` is told by a registry, which has just failed."""
    old = make_upstream("old", UpstreamConfig(endpoints=("http://10.0.0.1:1", "http://10.0.0.2:1"), max_in_flight=3))
    assert [old.bulkhead.take() for _ in range(4)] == [True, True, True, False]
    for _ in range(5):
        old.endpoints.all[0].health.bad(90.0, True)
    discovery = Discovery(registry="http://127.0.0.1:1", service="new")
    new = make_upstream("new", UpstreamConfig(endpoints=discovery), clock=lambda: 40.0)
    new.endpoints.found((address_of("http://10.0.0.3:1"),))
    new.endpoints.failed("refused")
    new.reconnects = 2
    new.note_retried(1, True)
    return [old, new]


def families(metrics: Metrics) -> dict[str, str]:
    """Type by name of every family of fig's own."""
    found = text_string_to_metric_families(metrics.text().decode())
    return {family.name: family.type for family in found if family.name.startswith("fig_")}


def samples(metrics: Metrics, name: str) -> dict[Labels, float]:
    """Value by labels of every sample of that name."""
    found = text_string_to_metric_families(metrics.text().decode())
    every = [sample for family in found for sample in family.samples if sample.name == name]
    return {frozenset(sample.labels.items()): sample.value for sample in every}


def labels(**of: str) -> Labels:
    return frozenset(of.items())


def exchange(
    method: str = "GET", status: int = 200, side: Side | None = "legacy", error: ProxyError | None = None
) -> Exchange:
    """A finished exchange of seam `a`, or of no seam with `side` None."""
    head = RequestHead(method, b"/a?token=x", b"shop.example", [], {}, 0, False, "127.0.0.1", "http")
    decision = None if side is None else Decision("a", side, "old", "stage", None)
    made = Exchange(SNAPSHOT, head, 0.0)
    made.decision, made.status, made.error = decision, status, error
    return made


def test_every_family_is_there_before_anything_happened() -> None:
    assert families(made()) == ALWAYS
    assert families(with_gauges()) == ALWAYS | WITH_GAUGES


def test_the_process_itself_is_shown() -> None:
    assert samples(made(), "process_open_fds")


def test_every_family_is_documented() -> None:
    text = DOCUMENTATION.read_text()
    for name, kind in families(with_gauges()).items():
        assert f"`{name}{'_total' if kind == 'counter' else ''}`" in text


def test_requests_count_by_seam_side_method_and_code() -> None:
    metrics = made()
    done = [exchange(), exchange(), exchange("POST", 201), exchange(side="extracted"), exchange(status=503)]
    for one in done:
        metrics.record(one, 0.01)
    assert samples(metrics, "fig_requests_total") == {
        labels(seam="a", side="legacy", method="GET", code="200"): 2,
        labels(seam="a", side="legacy", method="POST", code="201"): 1,
        labels(seam="a", side="extracted", method="GET", code="200"): 1,
        labels(seam="a", side="legacy", method="GET", code="503"): 1,
    }


def test_what_no_route_claimed_counts_for_nobody() -> None:
    metrics = made()
    metrics.record(exchange(status=404, side=None, error=RouteNotFound()), 0.01)
    assert samples(metrics, "fig_requests_total") == {labels(seam="none", side="none", method="GET", code="404"): 1}


@pytest.mark.parametrize("method", ["BREW", "get", "M" * 500, "PROPFIND"])
def test_methods_that_clients_make_up_are_one_label(method: str) -> None:
    metrics = made()
    metrics.record(exchange(method), 0.01)
    (only,) = samples(metrics, "fig_requests_total")
    assert dict(only)["method"] == "_OTHER"


def test_no_label_carries_path_query_or_client() -> None:
    metrics = with_gauges()
    metrics.record(exchange(), 0.01)
    for secret in ("/a", "token", "shop.example", "127.0.0.1"):
        assert secret not in metrics.text().decode()


@pytest.mark.parametrize("error", [ConnectFailed(), ResponseStalled(), UpstreamReset(), DeadlineExceeded()])
def test_what_an_upstream_fails_counts_by_side_and_cause(error: ProxyError) -> None:
    metrics = made()
    metrics.record(exchange(status=error.status, side="extracted", error=error), 0.01)
    assert samples(metrics, "fig_upstream_errors_total") == {labels(seam="a", side="extracted", cause=error.cause): 1}
    assert samples(metrics, "fig_rejected_total") == {}


@pytest.mark.parametrize("error", [BadRequest(), MethodNotAllowed(), ClientGone(), Loop()])
def test_what_fig_refuses_or_gives_up_counts_by_cause(error: ProxyError) -> None:
    metrics = made()
    metrics.record(exchange(status=error.status, error=error), 0.01)
    assert samples(metrics, "fig_rejected_total") == {labels(cause=error.cause): 1}
    assert samples(metrics, "fig_upstream_errors_total") == {}


def test_what_never_became_a_request_is_rejected_and_not_answered() -> None:
    metrics = made()
    metrics.reject("bad_request")
    metrics.reject("bad_request")
    assert samples(metrics, "fig_rejected_total") == {labels(cause="bad_request"): 2}
    assert samples(metrics, "fig_requests_total") == {}


def test_the_last_reload_says_whether_it_took_effect() -> None:
    metrics = made()
    shown = [samples(metrics, "fig_config_last_reload_successful")[labels()]]
    for event in (ReloadFailed("line 3"), Reloaded("digest", 1, changed=False), ReloadFailed("line 4")):
        metrics.event(event)
        shown.append(samples(metrics, "fig_config_last_reload_successful")[labels()])
    assert shown == [1, 0, 1, 0]


def test_failures_of_the_store_count_and_its_recovery_does_not() -> None:
    metrics = made()
    metrics.event(StoreFailed("sqlite", "a", "disk is full"))
    metrics.event(StoreFailed("sqlite", "", "disk is full"))
    metrics.event(StoreRecovered("sqlite", "a"))
    assert samples(metrics, "fig_store_errors_total") == {labels(store="sqlite"): 2}


def test_gauges_show_what_is_true_at_the_scrape() -> None:
    metrics = with_gauges()
    assert samples(metrics, "fig_seam_percent") == {labels(seam="a"): 25, labels(seam="b"): 0}
    assert samples(metrics, "fig_seam_seen_percent") == {labels(seam="a"): 24.5, labels(seam="b"): 0}
    assert samples(metrics, "fig_seam_rolled_back") == {labels(seam="a"): 0, labels(seam="b"): 1}
    assert samples(metrics, "fig_in_flight") == {labels(upstream="old"): 3, labels(upstream="new"): 0}
    retries = samples(metrics, "fig_retries_total")
    assert {key: value for key, value in retries.items() if value} == {
        labels(upstream="new", outcome="stale_connection"): 2,
        labels(upstream="new", outcome="success"): 1,
    }
    assert len(retries) == 8
    assert samples(metrics, "fig_breaker_state") == {
        labels(seam="a", side="extracted", route=""): 2,
        labels(seam="b", side="extracted", route="/b/{id}"): 0,
    }
    assert samples(metrics, "fig_endpoint_available") == {
        labels(upstream="old", endpoint="10.0.0.1:1"): 0,
        labels(upstream="old", endpoint="10.0.0.2:1"): 1,
        labels(upstream="new", endpoint="10.0.0.3:1"): 1,
    }
    assert samples(metrics, "fig_discovery_age_seconds") == {labels(upstream="new"): 60}
    assert samples(metrics, "fig_discovery_errors_total") == {labels(upstream="new"): 1}
    shadow = samples(metrics, "fig_shadow_total")
    assert shadow == {
        labels(seam="a", outcome="asked", reason=""): 9,
        labels(seam="a", outcome="skipped", reason="range"): 2,
    }
    assert samples(metrics, "fig_comparisons_total") == {
        labels(**{"seam": "a", "verdict": "mismatch", "class": "value"}): 4
    }
    assert samples(metrics, "fig_comparer_up") == {labels(): 0}
    webhook = samples(metrics, "fig_webhook_total")
    assert webhook == {labels(outcome="sent"): 7, labels(outcome="failed"): 1, labels(outcome="dropped"): 2}
    assert samples(metrics, "fig_connections") == {labels(state="active"): 5, labels(state="idle"): 40}


def test_fallbacks_count_by_cause_and_what_they_saved_as_a_failure_of_its_side() -> None:
    metrics = made()
    metrics.fell_back("a", "connect_failed")
    metrics.upstream_failed("a", "extracted", "connect_failed")
    metrics.fallback_refused("a", "breaker_open")
    assert samples(metrics, "fig_fallbacks_total") == {labels(seam="a", cause="connect_failed"): 1}
    assert samples(metrics, "fig_fallbacks_refused_total") == {labels(seam="a", cause="breaker_open"): 1}
    assert samples(metrics, "fig_upstream_errors_total") == {
        labels(seam="a", side="extracted", cause="connect_failed"): 1
    }


def test_what_fig_says_itself_counts_for_neither_side() -> None:
    metrics = made()
    said = exchange(side="extracted", status=202)
    said.said_by_fig = True
    metrics.record(said, 0.01)
    assert samples(metrics, "fig_requests_total") == {labels(seam="a", side="none", method="GET", code="202"): 1}


def test_a_breakers_transitions_count_by_where_they_lead() -> None:
    metrics = made()
    for was, to in (("closed", "open"), ("open", "half_open"), ("half_open", "open")):
        metrics.event(BreakerChanged("a", "extracted", "", was, to, "because"))
    common = {"seam": "a", "side": "extracted", "route": ""}
    assert samples(metrics, "fig_breaker_transitions_total") == {
        labels(**common, to="open"): 2,
        labels(**common, to="half_open"): 1,
    }


def test_the_access_log_and_the_version_are_told() -> None:
    assert samples(made(), "fig_access_log_dropped_total") == {labels(): 7}
    assert samples(made(), "fig_build_info") == {labels(version="1.2.3"): 1}


@given(st.lists(st.one_of(st.floats(0, 20), st.sampled_from(BUCKETS_S)), max_size=60))
def test_the_histogram_agrees_with_the_sorted_durations(durations: list[float]) -> None:
    metrics = made()
    for seconds in durations:
        metrics.record(exchange(), seconds)
    if not durations:
        assert samples(metrics, "fig_request_duration_seconds_bucket") == {}
        return
    ordered = sorted(durations)
    expected = {str(bound): bisect_right(ordered, bound) for bound in BUCKETS_S} | {"+Inf": len(ordered)}
    shown = samples(metrics, "fig_request_duration_seconds_bucket")
    assert {dict(of)["le"]: value for of, value in shown.items()} == expected
    side = labels(seam="a", side="legacy")
    assert samples(metrics, "fig_request_duration_seconds_count") == {side: len(ordered)}
    assert samples(metrics, "fig_request_duration_seconds_sum")[side] == pytest.approx(sum(ordered))


@given(st.lists(st.tuples(st.sampled_from(["GET", "POST"]), st.sampled_from([200, 404, 503]), st.floats(0, 20))))
def test_a_meter_counts_every_answer_once_in_each_of_its_sums(answers: list[tuple[str, int, float]]) -> None:
    meter = SideMeter()
    for method, status, seconds in answers:
        meter.count(method, status, seconds)
    assert meter.codes == Counter((method, status) for method, status, _ in answers)
    assert meter.total == sum(meter.durations) == len(answers)
    assert meter.seconds == pytest.approx(sum(seconds for _, _, seconds in answers))


def test_sides_have_histograms_of_their_own() -> None:
    metrics = made()
    metrics.record(exchange(), 0.02)
    metrics.record(exchange(side="extracted"), 3.0)
    assert samples(metrics, "fig_request_duration_seconds_sum") == {
        labels(seam="a", side="legacy"): 0.02,
        labels(seam="a", side="extracted"): 3.0,
    }
