"""Breakers and fallbacks through the admin port: what a seam says of them, and an operator's hand on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import StoreError
from proxy.events import BreakerChanged, StoreFailed
from proxy.upstreams.breaker import Breaker
from tests.support.admin import CONFIG, AdminPort

SEAMS = """\
  checkout:
    routes:
      - {path: /checkout}
      - {path: /pay, breaker: {failures: 1}}
      - {path: /pay, methods: [POST], breaker: {failures: 2}}
    extracted: catalog
    stage: extracted
    breaker: {failures: 3, window_s: 20, failure_ratio: null, open_s: 30}
    legacy_breaker: {failures: 9}
    fallback: {static: {status: 202, body: '{"status":"pending"}'}, max_in_flight: 7}
    retry: {retries: 2, on: [connect]}
  quiet:
    routes: [{path: /quiet}]
    extracted: catalog
    breaker: {enabled: false}
    fallback: none
"""
KEYS = [("extracted", ""), ("extracted", "/pay#1"), ("extracted", "/pay#2"), ("legacy", "")]


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[AdminPort]:
    port = AdminPort(tmp_path, CONFIG + SEAMS)
    yield port
    port.close()


def seam(admin: AdminPort, name: str = "checkout") -> dict[str, Any]:
    document: dict[str, Any] = admin.get(f"/api/seams/{name}").json()
    return document


def told(admin: AdminPort, side: str = "extracted", route: str = "") -> dict[str, Any]:
    """What the document says of one breaker."""
    (found,) = [one for one in seam(admin)["breakers"] if (one["side"], one["route"]) == (side, route)]
    return found  # type: ignore[no-any-return]


def breaker(admin: AdminPort, side: str = "extracted", route: str = "") -> Breaker:
    """The breaker as a request would find it."""
    (rule,) = [rule for rule, _ in admin.runtime.breakers("checkout") if rule.key == ("checkout", side, route)]
    return admin.runtime.guards.breaker(rule)


def hold(admin: AdminPort, state: str, **members: str) -> dict[str, Any]:
    answer = admin.post("/api/seams/checkout/breaker", {"state": state, **members})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def call(one: Breaker, failed: bool) -> None:
    one.settle(one.admit(), failed)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_every_breaker_that_is_configured_is_told_of_before_any_request(admin: AdminPort) -> None:
    rest = {"state": "closed", "failures": 0, "requests": 0, "open_until": None, "forced": None}
    assert seam(admin)["breakers"] == [{"side": side, "route": route, **rest} for side, route in KEYS]
    assert seam(admin, "quiet")["breakers"] == []
    assert seam(admin, "pages")["breakers"] == []


def test_failures_and_requests_are_those_of_the_window(admin: AdminPort) -> None:
    call(breaker(admin), failed=True)
    call(breaker(admin), failed=False)
    assert (told(admin)["failures"], told(admin)["requests"]) == (1, 2)
    assert told(admin, route="/pay#1")["requests"] == 0
    admin.monotonic += 20
    assert (told(admin)["failures"], told(admin)["requests"]) == (0, 0)


def test_an_open_breaker_says_until_when_by_the_wall_clock(admin: AdminPort) -> None:
    for _ in range(3):
        call(breaker(admin), failed=True)
    admin.now += 12.5
    admin.monotonic += 12.5
    assert (told(admin)["state"], told(admin)["open_until"]) == ("open", "2026-03-01T12:00:30.000Z")
    admin.monotonic += 17.5
    admin.runtime.guards.tick()
    assert (told(admin)["state"], told(admin)["open_until"]) == ("half_open", None)


def test_the_list_says_the_same_as_each_seam(admin: AdminPort) -> None:
    for _ in range(3):
        call(breaker(admin), failed=True)
    listed = {one["name"]: one for one in admin.get("/api/seams").json()}
    assert listed["checkout"]["breakers"][0]["state"] == "open"
    assert listed == {name: seam(admin, name) for name in listed}


def test_a_change_of_the_seam_answers_with_its_breakers_too(admin: AdminPort) -> None:
    for _ in range(3):
        call(breaker(admin), failed=True)
    document = admin.post("/api/seams/checkout/shift", {"percent": 5}).json()
    assert document["breakers"] == seam(admin)["breakers"]
    assert document["breakers"][0]["state"] == "open"


def test_the_fallback_is_the_one_in_force(admin: AdminPort) -> None:
    status = [500, 502, 503, 504]
    rest = {"static": None, "status": status, "max_in_flight": 20, "in_flight": 0}
    assert seam(admin, "catalog")["fallback"] == {"to": "legacy", **rest}
    static = {"status": 202, "content_type": "application/json"}
    assert seam(admin)["fallback"] == {**rest, "to": "static", "static": static, "max_in_flight": 7}
    none: dict[str, Any] = {"to": "none", "static": None, "status": [], "max_in_flight": 0, "in_flight": 0}
    assert seam(admin, "quiet")["fallback"] == none
    assert seam(admin, "pages")["fallback"] is None
    for name in ("catalog", "checkout"):
        admin.post(f"/api/seams/{name}/shift", {"stage": "retired"})
    assert seam(admin, "catalog")["fallback"] == none
    assert seam(admin)["fallback"]["to"] == "static"


def test_requests_at_the_fallback_are_counted(admin: AdminPort) -> None:
    state = admin.runtime.state("catalog")
    rule = state.plan.moved[0].fallback
    assert rule is not None
    admin.runtime.guards.fallback_cap(rule).take()
    assert seam(admin, "catalog")["fallback"]["in_flight"] == 1
    assert seam(admin)["fallback"]["in_flight"] == 0


def test_the_retry_block_is_shown_with_its_defaults(admin: AdminPort) -> None:
    assert seam(admin, "catalog")["retry"] is None
    retry = seam(admin)["retry"]
    assert (retry["retries"], retry["on"], retry["budget_percent"]) == (2, ["connect"], 20)


# --- an operator's hand ----------------------------------------------------------------------------------------------


def test_a_breaker_is_held_open_and_let_go_of(admin: AdminPort) -> None:
    document = hold(admin, "open", route="", reason="JIRA-1")
    assert document == seam(admin)
    assert (told(admin)["state"], told(admin)["forced"], told(admin)["open_until"]) == ("open", "open", None)
    assert breaker(admin).admit() == 0
    assert hold(admin, "auto")["breakers"][0]["forced"] is None
    assert told(admin)["state"] == "half_open"
    call(breaker(admin), failed=False)
    assert told(admin)["state"] == "closed"


def test_held_closed_it_counts_and_never_opens(admin: AdminPort) -> None:
    hold(admin, "close")
    for _ in range(5):
        call(breaker(admin), failed=True)
    found = told(admin)
    assert (found["state"], found["forced"], found["failures"]) == ("closed", "close", 5)


@pytest.mark.parametrize(
    ("members", "meant"),
    [
        ({}, KEYS[:3]),
        ({"side": "extracted"}, KEYS[:3]),
        ({"side": None, "route": None}, KEYS[:3]),
        ({"route": ""}, KEYS[:1]),
        ({"route": "/pay#2"}, KEYS[2:3]),
        ({"side": "legacy"}, KEYS[3:]),
        ({"side": "legacy", "route": ""}, KEYS[3:]),
    ],
)
def test_without_a_route_all_breakers_of_the_side_are_meant(
    admin: AdminPort, members: dict[str, str | None], meant: list[tuple[str, str]]
) -> None:
    answer = admin.post("/api/seams/checkout/breaker", {"state": "open", **members})
    held = [(one["side"], one["route"]) for one in answer.json()["breakers"] if one["forced"] == "open"]
    assert held == meant


def test_it_answers_with_the_version_which_it_leaves_alone(admin: AdminPort) -> None:
    answer = admin.post("/api/seams/checkout/breaker", {"state": "open"})
    assert answer.headers["etag"] == '"0"'
    assert answer.json()["version"] == 0


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, ("state", "open, close, auto")),
        ({"state": "closed"}, ("state", "open, close, auto", "'closed'")),
        ({"state": None}, ("state", "open, close, auto")),
        ({"state": ["open"]}, ("state", "open, close, auto")),
        ({"state": True}, ("state", "open, close, auto")),
        ({"state": "open", "side": "new"}, ("side", "legacy, extracted", "'new'")),
        ({"state": "open", "side": ""}, ("side", "legacy, extracted")),
        ({"state": "open", "side": 1}, ("side", "legacy, extracted")),
        ({"state": "open", "route": 1}, ("route", "string")),
        ({"state": "open", "route": "/nope"}, ("checkout", "'/pay#1'", "'/pay#2'")),
        ({"state": "open", "route": "/checkout"}, ("'/pay#1'",)),
        ({"state": "open", "side": "legacy", "route": "/pay#1"}, ("legacy", "''")),
        ({"state": "open", "seconds": 5}, ("seconds", "side")),
        ({"state": "open", "reason": 5}, ("reason",)),
    ],
)
def test_what_is_not_there_is_422_and_names_what_is(
    admin: AdminPort, members: dict[str, Any], words: tuple[str, ...]
) -> None:
    answer = admin.post("/api/seams/checkout/breaker", members)
    assert (answer.status_code, answer.json()["reason"]) == (422, "invalid")
    for word in words:
        assert word in answer.json()["detail"]
    assert {one["forced"] for one in seam(admin)["breakers"]} == {None}


def test_a_seam_without_a_breaker_has_none_to_hold(admin: AdminPort) -> None:
    for name in ("quiet", "pages"):
        answer = admin.post(f"/api/seams/{name}/breaker", {"state": "open"})
        assert answer.status_code == 422
        assert "none" in answer.json()["detail"]
    assert admin.post("/api/seams/nope/breaker", {"state": "open"}).status_code == 404


def test_holding_is_audited_with_what_was_held_before(admin: AdminPort) -> None:
    hold(admin, "open", route="/pay#1")
    answer = admin.post(
        "/api/seams/checkout/breaker", {"state": "close", "reason": "calm"}, headers={"X-Fig-Actor": "ana"}
    )
    assert answer.status_code == 200
    row = admin.get("/api/history?seam=checkout").json()[0]
    assert (row["action"], row["actor"], row["reason"]) == ("breaker", "ana (unverified)", "calm")
    assert row["before"]["breakers"] == [
        {"side": "extracted", "route": "", "held": "auto"},
        {"side": "extracted", "route": "/pay#1", "held": "open"},
        {"side": "extracted", "route": "/pay#2", "held": "auto"},
    ]
    assert {held["held"] for held in row["after"]["breakers"]} == {"close"}
    assert (row["before"]["stage"], row["after"]["stage"]) == ("extracted", "extracted")


def test_a_store_that_fails_does_not_keep_a_breaker_from_being_held(admin: AdminPort) -> None:
    admin.fault.error = StoreError("the disk is full")
    hold(admin, "open")
    assert told(admin)["forced"] == "open"
    assert [type(event) for event in admin.events if not isinstance(event, BreakerChanged)] == [StoreFailed]


def test_a_shift_and_a_reload_leave_it_held(admin: AdminPort) -> None:
    hold(admin, "open", side="legacy")
    admin.post("/api/seams/checkout/shift", {"percent": 5})
    assert told(admin, "legacy")["forced"] == "open"
    admin.edit(lambda text: text.replace("legacy_breaker: {failures: 9}", "legacy_breaker: {failures: 8}"))
    assert admin.post("/api/reload").json()["changed"] is True
    assert (told(admin, "legacy")["state"], told(admin, "legacy")["forced"]) == ("open", "open")
