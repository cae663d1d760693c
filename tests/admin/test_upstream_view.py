"""`GET /api/upstreams`: what is there to see of a service that is down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.config.model import Health
from proxy.upstreams.endpoints import Endpoint
from proxy.upstreams.resolve import address_of
from proxy.upstreams.upstream import Upstream
from tests.support.admin import CONFIG, AdminPort

TOKEN = "t0p-s3cret"
UPSTREAMS = f"""\
  orders:
    endpoints: [http://127.0.0.1:3, http://127.0.0.1:4]
    max_in_flight: 2
    queue_s: 0.5
    health: {{path: /healthz, unhealthy_after: 1}}
  users:
    endpoints: {{registry: "http://127.0.0.1:8500", service: users, token: {TOKEN}}}
    max_in_flight: 1
    max_queue: 0
"""


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[AdminPort]:
    port = AdminPort(tmp_path, CONFIG.replace("default: monolith\n", UPSTREAMS + "default: monolith\n"))
    yield port
    port.close()


def shown(admin: AdminPort, name: str) -> dict[str, Any]:
    (found,) = [one for one in admin.get("/api/upstreams").json() if one["name"] == name]
    return found  # type: ignore[no-any-return]


def upstream(admin: AdminPort, name: str) -> Upstream:
    return admin.runtime.upstreams[name]


def endpoint(admin: AdminPort, name: str, index: int = 0) -> Endpoint:
    return upstream(admin, name).endpoints.all[index]


def test_an_upstream_without_keys_of_its_own(admin: AdminPort) -> None:
    found = shown(admin, "catalog")
    assert set(found) == {
        "name", "endpoints", "host", "timeouts", "in_flight", "bulkhead", "retries", "health", "discovery", "seams",
        "default",
    }  # fmt: skip
    assert found["endpoints"] == [
        {
            "endpoint": "127.0.0.1:2",
            "address": "http://127.0.0.1:2",
            "available": True,
            "probed": None,
            "ejected_for_s": 0,
            "consecutive_errors": 0,
            "in_use": 0,
            "idle": 0,
        }
    ]
    places = {"max_in_flight": None, "max_queue": None, "queue_s": 0.1, "in_flight": 0, "queued": 0, "rejected": 0}
    assert found["bulkhead"] == places
    assert found["retries"] == {
        "budget_tokens": 3, "attempts": 0, "refused": 0, "stale_connection": 0, "success": 0, "failure": 0
    }  # fmt: skip
    assert found["health"] is found["discovery"] is None


def test_the_bulkhead_counts_places_and_refusals(admin: AdminPort) -> None:
    bulkhead = upstream(admin, "orders").bulkhead
    assert bulkhead.take()
    bulkhead.rejected += 4
    found = shown(admin, "orders")
    assert (found["in_flight"], found["bulkhead"]["in_flight"], found["bulkhead"]["rejected"]) == (1, 1, 4)
    assert (found["bulkhead"]["max_in_flight"], found["bulkhead"]["max_queue"]) == (2, 2)
    assert shown(admin, "users")["bulkhead"]["max_queue"] == 0


def test_retries_are_told_by_budget_and_by_outcome(admin: AdminPort) -> None:
    one = upstream(admin, "orders")
    granted = [one.budget.withdraw() for _ in range(5)]
    assert granted.count(True) == 3
    one.note_retried(1, True)
    one.note_retried(2, False)
    one.note_retried(1, False)
    one.reconnects = 7
    assert shown(admin, "orders")["retries"] == {
        "budget_tokens": 0, "attempts": 3, "refused": 2, "stale_connection": 7, "success": 1, "failure": 2
    }  # fmt: skip


def test_probes_take_an_endpoint_out(admin: AdminPort) -> None:
    health = upstream(admin, "orders").config.health
    assert health == Health(path="/healthz", unhealthy_after=1)
    endpoint(admin, "orders").health.probe(False, health)
    endpoint(admin, "orders", 1).health.probe(True, health)
    found = shown(admin, "orders")
    assert found["health"]["path"] == "/healthz"
    assert [(one["available"], one["probed"]) for one in found["endpoints"]] == [(False, False), (True, True)]


def test_an_ejected_endpoint_says_for_how_long(admin: AdminPort) -> None:
    endpoints = upstream(admin, "orders").endpoints
    for _ in range(4):
        endpoints.failed_at(endpoints.all[1], "connect_failed")
    assert [one["consecutive_errors"] for one in shown(admin, "orders")["endpoints"]] == [0, 4]
    endpoints.failed_at(endpoints.all[1], "connect_failed")
    admin.monotonic += 18.25
    first, second = shown(admin, "orders")["endpoints"]
    assert (first["available"], first["ejected_for_s"]) == (True, 0)
    assert (second["available"], second["ejected_for_s"]) == (False, 11.75)
    admin.monotonic += 20
    second = shown(admin, "orders")["endpoints"][1]
    assert (second["available"], second["ejected_for_s"]) == (True, 0)


def test_discovery_tells_its_source_and_age(admin: AdminPort) -> None:
    source = "registry http://127.0.0.1:8500 users http"
    start = {"source": source, "age_s": None, "vacant": False, "failures": 0, "failing": None}
    assert (shown(admin, "users")["endpoints"], shown(admin, "users")["discovery"]) == ([], start)
    endpoints = upstream(admin, "users").endpoints
    endpoints.found((address_of("http://127.0.0.1:5"),))
    admin.monotonic += 40
    endpoints.failed("answered 500")
    found = shown(admin, "users")
    assert found["discovery"] == {**start, "age_s": 40, "failures": 1, "failing": "answered 500"}
    assert [(one["endpoint"], one["available"]) for one in found["endpoints"]] == [("127.0.0.1:5", True)]
    endpoints.found(())
    found = shown(admin, "users")
    assert found["discovery"] == {**start, "age_s": 0, "vacant": True, "failures": 1}
    assert [one["available"] for one in found["endpoints"]] == [False]


def test_the_token_of_a_registry_is_nowhere(admin: AdminPort) -> None:
    upstream(admin, "users").endpoints.failed("answered 403")
    for path in ("/api/upstreams", "/api/config", "/api/seams"):
        assert TOKEN not in admin.get(path).text
