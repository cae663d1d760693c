"""Who of an upstream's endpoints is asked, and what discovery and a reload change. No socket is opened."""

from __future__ import annotations

from collections import Counter

import pytest

from proxy.config.model import Discovery, Health, UpstreamConfig, UpstreamTimeouts, UpstreamTls
from proxy.events import DiscoveryFailed, DiscoveryRecovered, EndpointChanged, EndpointsFound, Event
from proxy.upstreams.endpoints import Endpoints
from proxy.upstreams.resolve import Address, address_at, address_of
from proxy.upstreams.upstream import Upstream
from tests.support.upstreams import make_upstream

REGISTRY = Discovery(registry="http://127.0.0.1:8500", service="catalog")
HEALTH = Health(path="/healthz", unhealthy_after=1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def at(number: int) -> Address:
    return address_of(f"http://10.0.0.{number}:80")


def listed(*numbers: int, clock: Clock | None = None, events: list[Event] | None = None, **keys: object) -> Upstream:
    urls = tuple(f"http://10.0.0.{number}:80" for number in numbers)
    config = UpstreamConfig(endpoints=urls, **keys)  # type: ignore[arg-type]
    emit = events.append if events is not None else _unheard
    return make_upstream("catalog", config, clock=clock or Clock(), emit=emit)


def told(events: list[Event], clock: Clock | None = None) -> Upstream:
    return make_upstream("catalog", UpstreamConfig(endpoints=REGISTRY), clock=clock or Clock(), emit=events.append)


def _unheard(_: Event) -> None:
    """Nobody is told."""


def names(endpoints: Endpoints) -> list[str]:
    return [endpoint.address.host for endpoint in endpoints.all]


def picked(endpoints: Endpoints, count: int = 3000) -> Counter[str | None]:
    found = (endpoints.pick(None, False) for _ in range(count))
    return Counter(None if one is None else one.address.host for one in found)


# --- who is next -----------------------------------------------------------------------------------------------------


def test_idle_endpoints_are_asked_alike() -> None:
    shares = picked(listed(1, 2, 3).endpoints)
    assert len(shares) == 3
    assert all(850 <= count <= 1150 for count in shares.values())


def test_of_two_the_less_busy_is_asked() -> None:
    endpoints = listed(1, 2).endpoints
    endpoints.all[0].pool.in_use = 3
    assert picked(endpoints) == {"10.0.0.2": 3000}


def test_the_busiest_of_many_is_never_asked_and_the_idlest_most() -> None:
    endpoints = listed(1, 2, 3, 4).endpoints
    for busy, endpoint in enumerate(endpoints.all):
        endpoint.pool.in_use = busy
    shares = picked(endpoints)
    assert "10.0.0.4" not in shares
    assert shares["10.0.0.1"] == max(count for count in shares.values())


def test_the_one_that_just_failed_is_avoided_where_there_is_another() -> None:
    endpoints = listed(1, 2).endpoints
    first, second = endpoints.all
    assert {endpoints.pick(first, False) for _ in range(50)} == {second}
    assert listed(1).endpoints.pick(first, False) is not None


def test_a_sole_endpoint_is_never_ejected_but_may_be_found_unhealthy() -> None:
    endpoints = listed(1).endpoints
    sole = endpoints.all[0]
    for _ in range(50):
        endpoints.failed_at(sole, "upstream_reset")
    assert endpoints.pick(None, False) is sole
    sole.health.probe(False, HEALTH)
    assert endpoints.pick(None, False) is None
    assert endpoints.pick(None, True) is sole
    sole.health.probe(True, HEALTH)
    assert endpoints.pick(None, False) is sole


def test_five_gateway_errors_in_a_row_eject_and_time_or_a_good_probe_lifts_that() -> None:
    clock, events = Clock(), list[Event]()
    endpoints = listed(1, 2, clock=clock, events=events).endpoints
    first, second = endpoints.all
    for status in (502, 503, 200, 504, 502, 503, 504):
        endpoints.answered(first, status)
    assert endpoints.usable(first, clock())
    endpoints.failed_at(first, "upstream_reset")
    assert {endpoints.pick(None, False) for _ in range(50)} == {second}
    assert events == [EndpointChanged("catalog", "10.0.0.1:80", False, "ejected for 30 s, last: upstream_reset")]
    clock.now += 30
    assert endpoints.usable(first, clock())
    for _ in range(5):
        endpoints.answered(first, 503)
    assert not endpoints.usable(first, clock.now + 59)
    first.health.probe(True, HEALTH)
    assert endpoints.usable(first, clock())
    assert endpoints.ejections == 2


def test_answers_that_are_no_gateway_errors_eject_nobody() -> None:
    endpoints = listed(1, 2).endpoints
    for _ in range(50):
        endpoints.answered(endpoints.all[0], 500)
        endpoints.answered(endpoints.all[0], 404)
    assert len(picked(endpoints)) == 2


def test_there_is_no_panic_with_all_of_them_out_nobody_is_asked_but_by_who_must() -> None:
    endpoints = listed(1, 2).endpoints
    for endpoint in endpoints.all:
        endpoint.health.probe(False, HEALTH)
    assert picked(endpoints, 20) == {None: 20}
    assert endpoints.pick(None, True) is not None


# --- discovery -------------------------------------------------------------------------------------------------------


def test_before_the_first_answer_there_is_nobody_and_afterwards_who_was_named() -> None:
    events: list[Event] = []
    endpoints = told(events).endpoints
    assert endpoints.pick(None, True) is None
    known = []
    endpoints.known = lambda: known.append(True)
    endpoints.found((at(1), at(2)))
    endpoints.found((at(1), at(2)))
    assert names(endpoints) == ["10.0.0.1", "10.0.0.2"]
    assert known == [True]
    assert events == [EndpointsFound("catalog", ("10.0.0.1:80", "10.0.0.2:80"))]


def test_those_that_stay_keep_pool_and_health_and_those_that_go_are_closed() -> None:
    endpoints = told([]).endpoints
    endpoints.found((at(1), at(2)))
    gone, stays = endpoints.all
    stays.health.probe(False, HEALTH)
    endpoints.found((at(2), at(3)))
    assert endpoints.all[0] is stays
    assert endpoints.all[0].health.probed is False
    assert gone.pool._closed and not stays.pool._closed


def test_nobody_is_an_answer_that_only_those_ignore_who_must_ask() -> None:
    events: list[Event] = []
    endpoints = told(events).endpoints
    endpoints.found((at(1),))
    endpoints.found(())
    assert endpoints.pick(None, False) is None
    last = endpoints.pick(None, True)
    assert last is not None and last.address == at(1)
    endpoints.found((at(1),))
    assert endpoints.pick(None, False) is last
    assert [len(event.endpoints) for event in events if isinstance(event, EndpointsFound)] == [1, 0, 1]


def test_a_failure_changes_nothing_is_told_once_and_its_end_too() -> None:
    clock, events = Clock(), list[Event]()
    endpoints = told(events, clock).endpoints
    endpoints.found((at(1),))
    clock.now += 60
    for _ in range(5):
        endpoints.failed("refused")
    assert names(endpoints) == ["10.0.0.1"]
    assert (endpoints.failures, endpoints.failing, endpoints.found_at) == (5, "refused", 1000.0)
    endpoints.found((at(1),))
    assert endpoints.found_at == 1060.0
    assert events[1:] == [
        DiscoveryFailed("catalog", REGISTRY.source, "refused"),
        DiscoveryRecovered("catalog", REGISTRY.source),
    ]


def test_an_address_of_fig_itself_is_refused() -> None:
    events: list[Event] = []
    config = UpstreamConfig(endpoints=REGISTRY)
    own = frozenset({("127.0.0.1", 8080)})
    endpoints = make_upstream("catalog", config, emit=events.append, own_addresses=own).endpoints
    endpoints.found((at(1),))
    endpoints.found((at(1), Address("127.0.0.1", 8080, "127.0.0.1:8080", "127.0.0.1")))
    assert names(endpoints) == ["10.0.0.1"]
    assert endpoints.failing is not None and "fig itself" in endpoints.failing


@pytest.mark.parametrize(
    ("own", "named", "refused"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.7", True),
        ("127.0.0.1", "localhost", True),
        ("::", "::1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("0.0.0.0", "10.0.0.1", False),
        ("127.0.0.1", "127.0.0.2", False),
    ],
)
def test_fig_itself_is_known_by_any_spelling_and_by_its_port(own: str, named: str, refused: bool) -> None:
    config = UpstreamConfig(endpoints=REGISTRY)
    upstream = make_upstream("catalog", config, own_addresses=frozenset({(own, 8080)}))
    upstream.endpoints.found((address_at(named, 8081),))
    assert names(upstream.endpoints) == [named]
    upstream.endpoints.found((address_at(named, 8080),))
    assert [one.address.port for one in upstream.endpoints.all] == [8081 if refused else 8080]


def test_an_endpoint_that_was_found_by_a_name_is_called_by_its_address_too() -> None:
    endpoints = told([]).endpoints
    endpoints.found((address_at("10.0.0.1", 80, "10.0.0.1.nip.example"), address_at("10.0.0.1", 81)))
    assert [one.name for one in endpoints.all] == ["10.0.0.1.nip.example:80 (10.0.0.1:80)", "10.0.0.1:81"]


@pytest.mark.parametrize("cause", ["connect_failed", "connect_timeout"])
def test_discovery_is_hurried_by_a_connect_that_failed(cause: str) -> None:
    endpoints = told([]).endpoints
    endpoints.found((at(1),))
    hurried = []
    endpoints.hurry = lambda: hurried.append(True)
    endpoints.failed_at(endpoints.all[0], "upstream_reset")
    assert hurried == []
    endpoints.failed_at(endpoints.all[0], cause)
    assert hurried == [True]


# --- a reload --------------------------------------------------------------------------------------------------------


def test_a_reload_keeps_the_pools_of_endpoints_that_stay_and_every_count() -> None:
    old, new = listed(1, 2, max_in_flight=5), listed(2, 3, max_in_flight=1)
    kept = old.endpoints.all[1]
    assert old.bulkhead.take() and old.bulkhead.take()
    old.budget.withdraw()
    new.take_over(old)
    old.close(new)
    assert new.endpoints.all[0] is kept
    assert not kept.pool._closed and old.endpoints.all[0].pool._closed
    assert (new.in_flight, new.bulkhead.max_in_flight) == (2, 1)
    assert not new.bulkhead.take(), "two are under way, and one is allowed now"
    assert new.budget.tokens == 2.0


def test_pools_that_would_be_made_otherwise_now_are_made_anew() -> None:
    old = listed(1)
    new = listed(1, timeouts=UpstreamTimeouts(connect_s=0.2))
    new.take_over(old)
    old.close(new)
    assert new.endpoints.all[0] is not old.endpoints.all[0]
    assert old.endpoints.all[0].pool._closed


def test_a_reload_that_leaves_discovery_alone_keeps_what_was_found() -> None:
    old, new = told([]), told([])
    old.endpoints.found((at(1), at(2)))
    new.take_over(old)
    assert new.endpoints.all == old.endpoints.all
    assert new.endpoints.found_at == 1000.0


def test_what_another_source_named_does_not_stay() -> None:
    old = told([])
    old.endpoints.found((at(1),))
    other = Discovery(registry="http://127.0.0.1:8500", service="basket")
    new = make_upstream("catalog", UpstreamConfig(endpoints=other))
    new.take_over(old)
    assert new.endpoints.all == ()


def test_where_the_fresh_one_has_heard_already_that_counts() -> None:
    old, new = told([]), told([])
    old.endpoints.found((at(1), at(2)))
    new.endpoints.found((at(2), at(3)))
    kept = old.endpoints.all[1]
    new.take_over(old)
    assert names(new.endpoints) == ["10.0.0.2", "10.0.0.3"]
    assert new.endpoints.all[0] is kept


def test_where_the_fresh_one_has_heard_that_nobody_is_there_those_before_are_kept_for_who_must_ask() -> None:
    old, new = told([]), told([])
    old.endpoints.found((at(1), at(2)))
    new.endpoints.found(())
    new.take_over(old)
    assert new.endpoints.all == old.endpoints.all
    assert new.endpoints.pick(None, False) is None
    assert new.endpoints.pick(None, True) is not None


def test_a_failure_that_the_fresh_one_has_met_is_told_to_end() -> None:
    events: list[Event] = []
    old, new = told([]), told(events)
    old.endpoints.found((at(1),))
    new.endpoints.failed("403")
    new.take_over(old)
    assert (new.endpoints.failing, new.endpoints.failures) == ("403", 1)
    new.endpoints.found((at(1),))
    assert [type(event) for event in events] == [DiscoveryFailed, DiscoveryRecovered]


def test_pools_that_are_made_anew_leave_health_as_it_was_found() -> None:
    clock = Clock()
    old = listed(1, 2, clock=clock, health=HEALTH)
    new = listed(1, 2, 3, clock=clock, health=HEALTH, timeouts=UpstreamTimeouts(connect_s=0.2))
    first, second = old.endpoints.all
    first.health.probe(False, HEALTH)
    for _ in range(5):
        old.endpoints.answered(second, 503)
    new.take_over(old)
    assert [new.endpoints.usable(one, clock()) for one in new.endpoints.all] == [False, False, True]
    old.endpoints.failed_at(first, "upstream_reset")  # of a request that was under way
    assert new.endpoints.all[0].health.consecutive == 1


def test_who_is_spoken_to_otherwise_may_be_healthy_now() -> None:
    old = listed(1, health=HEALTH, tls=UpstreamTls(server_name="a.example"))
    new = listed(1, health=HEALTH, tls=UpstreamTls(server_name="b.example"))
    old.endpoints.all[0].health.probe(False, HEALTH)
    new.take_over(old)
    assert new.endpoints.all[0].health.probed is None


@pytest.mark.parametrize("timeouts", [UpstreamTimeouts(), UpstreamTimeouts(connect_s=0.2)])
def test_what_probes_said_ends_with_the_probes_and_an_ejection_does_not(timeouts: UpstreamTimeouts) -> None:
    clock = Clock()
    old, new = listed(1, 2, clock=clock, health=HEALTH), listed(1, 2, clock=clock, timeouts=timeouts)
    first, second = old.endpoints.all
    first.health.probe(False, HEALTH)
    for _ in range(5):
        old.endpoints.answered(second, 503)
    new.take_over(old)
    assert [new.endpoints.usable(one, clock()) for one in new.endpoints.all] == [True, False]


def test_a_failure_that_goes_on_over_a_reload_is_told_once_and_its_end_too() -> None:
    before: list[Event] = []
    after: list[Event] = []
    old, new = told(before), told(after)
    old.endpoints.found((at(1),))
    old.endpoints.failed("refused")
    new.take_over(old)
    new.endpoints.failed("refused")
    new.endpoints.found((at(1),))
    assert [type(event) for event in before] == [EndpointsFound, DiscoveryFailed]
    assert [type(event) for event in after] == [DiscoveryRecovered]


# --- what probes are told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "header"),
    [("preserve", "10.0.0.1:80"), ("endpoint", "10.0.0.1:80"), ("catalog.internal", "catalog.internal")],
)
def test_probes_call_an_endpoint_as_requests_do(host: str, header: str) -> None:
    before = listed(1)
    upstream = listed(1, host=host)
    upstream.take_over(before)
    assert upstream.endpoints.all[0].host_header == header


@pytest.mark.parametrize(("named", "wanted"), [("catalog.internal", "catalog.internal"), (None, "10.0.0.1")])
def test_probes_want_the_certificate_that_requests_want(named: str | None, wanted: str) -> None:
    (endpoint,) = listed(1, tls=UpstreamTls(server_name=named)).endpoints.all
    assert endpoint.server_name == endpoint.pool._server_name == wanted
