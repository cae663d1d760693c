"""`fig get upstreams` as it looks when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.upstreams_text import upstreams_table
from proxy.upstreams.resolve import address_of
from tests.support.admin import CONFIG, AdminPort
from tests.support.cli import Command, Listener, Served

COLUMNS = ["STATE", "IN FLIGHT", "RETRIES", "DISCOVERY"]


def endpoint(name: str, **members: Any) -> dict[str, Any]:
    well = {"available": True, "probed": None, "ejected_for_s": 0.0, "consecutive_errors": 0, "in_use": 0, "idle": 0}
    return {"endpoint": name, "address": f"http://{name}", **well, **members}


def upstream(*endpoints: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "name": "catalog",
        "endpoints": list(endpoints),
        "bulkhead": {"max_in_flight": None, "in_flight": 0, "queued": 0, "rejected": 0, **members.pop("bulkhead", {})},
        "retries": {"attempts": 0, "refused": 0, **members.pop("retries", {})},
        "discovery": None,
        "seams": {"legacy": [], "extracted": ["items", "search"]},
        **members,
    }


def found(**members: Any) -> dict[str, Any]:
    return {"source": "dns http://catalog:80", "age_s": 2.4, "vacant": False, "failures": 0, "failing": None, **members}


def cells(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows, by the header of each column."""
    table = upstreams_table([document])
    return [dict(zip(table.headers, row, strict=True)) for row in table.cells()]


@pytest.mark.parametrize(
    ("members", "state"),
    [
        ({}, "ok"),
        ({"probed": True}, "ok"),
        ({"consecutive_errors": 1}, "ok, 1 error"),
        ({"consecutive_errors": 4}, "ok, 4 errors"),
        ({"available": False, "probed": False}, "unhealthy"),
        ({"available": False, "ejected_for_s": 11.75}, "ejected 12 s"),
        ({"available": True, "ejected_for_s": 11.75}, "ok"),
    ],
)
def test_the_state_of_an_endpoint(members: dict[str, Any], state: str) -> None:
    (row,) = cells(upstream(endpoint("a:1", **members)))
    assert row["STATE"] == state


def test_an_endpoint_that_discovery_names_no_more_is_gone() -> None:
    (row,) = cells(upstream(endpoint("a:1", available=False), discovery=found(vacant=True)))
    assert row["STATE"] == "gone"


@pytest.mark.parametrize(
    ("bulkhead", "text"),
    [
        ({}, "0"),
        ({"in_flight": 3}, "3"),
        ({"in_flight": 3, "max_in_flight": 20}, "3/20"),
        ({"in_flight": 20, "max_in_flight": 20, "queued": 2}, "20/20 +2 queued"),
        ({"in_flight": 20, "max_in_flight": 20, "queued": 2, "rejected": 7}, "20/20 +2 queued, 7 rejected"),
    ],
)
def test_places_in_flight(bulkhead: dict[str, int], text: str) -> None:
    (row,) = cells(upstream(endpoint("a:1"), bulkhead=bulkhead))
    assert row["IN FLIGHT"] == text


@pytest.mark.parametrize(
    ("discovery", "text"),
    [
        (None, "-"),
        (found(), "2 s ago"),
        (found(age_s=None), "never answered"),
        (found(age_s=40.0, failing="answered 500"), "FAILING, 40 s ago: answered 500"),
        (found(age_s=None, failing="refused"), "FAILING, never answered: refused"),
        (found(failing="x" * 61), f"FAILING, 2 s ago: {'x' * 60}…"),
    ],
)
def test_the_age_of_what_discovery_said(discovery: dict[str, Any] | None, text: str) -> None:
    (row,) = cells(upstream(endpoint("a:1"), discovery=discovery))
    assert row["DISCOVERY"] == text


def test_retries_with_those_that_the_budget_refused() -> None:
    (row,) = cells(upstream(endpoint("a:1"), retries={"attempts": 12, "refused": 3}))
    assert row["RETRIES"] == "12, 3 refused"


def test_an_upstream_without_endpoints_has_a_row() -> None:
    (row,) = cells(upstream(discovery=found(age_s=None, failing="refused")))
    assert (row["UPSTREAM"], row["ENDPOINT"], row["STATE"]) == ("catalog", "-", "none")
    assert (row["CONNECTIONS"], row["IDLE"], row["EXTRACTED OF"]) == ("-", "-", "items, search")


def test_each_line_says_it_all() -> None:
    first, second = cells(upstream(endpoint("a:1", in_use=2, idle=1), endpoint("b:1"), bulkhead={"in_flight": 2}))
    assert (first["CONNECTIONS"], first["IDLE"]) == ("2", "1")
    assert (second["UPSTREAM"], second["IN FLIGHT"], second["EXTRACTED OF"]) == ("catalog", "2", "items, search")


@pytest.fixture
def served(listener: Listener, tmp_path: Path) -> Iterator[Served]:
    admin = AdminPort(
        tmp_path,
        CONFIG.replace(
            "  catalog: {endpoints: [http://127.0.0.1:2],",
            "  users: {endpoints: {dns: http://users.internal:80}}\n"
            "  catalog: {endpoints: [http://127.0.0.1:2, http://127.0.0.1:3], max_in_flight: 20,",
        ),
    )
    listener.app = admin.app
    yield Served(admin, listener.url)
    admin.close()


def test_a_fig_in_trouble_shows_it(run: Command, served: Served) -> None:
    upstreams = served.admin.runtime.upstreams
    catalog = upstreams["catalog"]
    catalog.bulkhead.take()
    for _ in range(5):
        catalog.endpoints.failed_at(catalog.endpoints.all[1], "connect_failed")
    upstreams["users"].endpoints.failed("no such host")
    header, *lines = run("get", "upstreams").stdout.splitlines()
    places = [header.index(name) for name in COLUMNS]
    rows = {line.split()[1]: [line[place:].partition("  ")[0].strip() for place in places] for line in lines}
    assert rows == {
        "127.0.0.1:1": ["ok", "0", "0", "-"],
        "-": ["none", "0", "0", "FAILING, never answered: no such host"],
        "127.0.0.1:2": ["ok", "1/20", "0", "-"],
        "127.0.0.1:3": ["ejected 30 s", "1/20", "0", "-"],
    }
    upstreams["users"].endpoints.found((address_of("http://127.0.0.1:5"),))
    served.admin.monotonic += 3
    (line,) = [line for line in run("get", "upstreams").stdout.splitlines() if line.startswith("users")]
    assert "127.0.0.1:5  ok" in line
    assert "3 s ago" in line
