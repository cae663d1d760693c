"""What a Decision takes along: breakers by side and route, retries, and who answers instead."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.model import Breaker, Fallback, Force, Retry, RouteConfig, SeamConfig, Stage, StaticAnswer
from proxy.routing.decide import Decision, plan
from proxy.routing.resilience import breaker_rules, labels, own_fallback

ROUTES = (
    RouteConfig(path="/a"),
    RouteConfig(path="/b", breaker=Breaker(failures=2), retry=Retry(retries=3), fallback=Fallback(to="none")),
)


def seam(**keys: Any) -> SeamConfig:
    return SeamConfig(**{"routes": ROUTES, "legacy": "monolith", "extracted": "service", **keys})


def extracted(config: SeamConfig, stage: Stage = "extracted", latched: bool = False) -> tuple[Decision, ...]:
    made = plan("shop", config, stage=stage, percent=0, latched=latched).settled
    assert made is not None
    return made


def test_the_extracted_side_has_a_breaker_unasked_and_a_route_its_own() -> None:
    shared, own = (decision.breaker for decision in extracted(seam()))
    assert shared is not None and (shared.key, shared.config) == (("shop", "extracted", ""), Breaker())
    assert own is not None and (own.key, own.config.failures) == (("shop", "extracted", "/b"), 2)


def test_a_breaker_can_be_left_out_for_the_seam_or_for_a_route() -> None:
    off = Breaker(enabled=False)
    assert [decision.breaker is None for decision in extracted(seam(breaker=off))] == [True, False]
    routes = (RouteConfig(path="/a"), RouteConfig(path="/b", breaker=off))
    assert [decision.breaker is None for decision in extracted(seam(routes=routes))] == [False, True]


def test_legacy_has_a_breaker_only_by_its_own_key() -> None:
    assert {decision.breaker for decision in extracted(seam(), "legacy")} == {None}
    (first, _) = extracted(seam(legacy_breaker=Breaker(failures=9)), "legacy")
    assert first.breaker is not None and first.breaker.key == ("shop", "legacy", "")


def test_every_breaker_of_a_seam_is_listed_once() -> None:
    keys = [rule.key for rule in breaker_rules("shop", seam(legacy_breaker=Breaker()))]
    assert keys == [("shop", "extracted", ""), ("shop", "extracted", "/b"), ("shop", "legacy", "")]
    assert list(breaker_rules("shop", SeamConfig(routes=ROUTES, legacy="monolith"))) == []


def test_routes_that_share_a_pattern_have_labels_of_their_own() -> None:
    routes = (
        RouteConfig(path="/a", methods=("GET",)),
        RouteConfig(path="/a", methods=("POST",)),
        RouteConfig(path="/b"),
    )
    assert labels(seam(routes=routes)) == ("/a#0", "/a#1", "/b")


@pytest.mark.parametrize(
    ("breaker", "status", "fails"),
    [(Breaker(), 500, True), (Breaker(), 599, True), (Breaker(), 499, False), (Breaker(status=(503,)), 500, False)],
)
def test_which_answers_fail_a_breaker(breaker: Breaker, status: int, fails: bool) -> None:
    (first, _) = extracted(seam(breaker=breaker))
    assert first.breaker is not None and first.breaker.fails(status) is fails


def test_nothing_is_tried_again_unasked() -> None:
    first, second = extracted(seam())
    assert first.retry is None
    assert second.retry is not None and second.retry.retries == 3
    (unasked, _) = extracted(seam(retry=Retry(retries=0)))
    assert unasked.retry is None
    (asked, _) = extracted(seam(retry=Retry(idempotent_header="Idempotency-Key", status=(503,))), "legacy")
    assert asked.retry is not None and (asked.retry.header, asked.retry.status) == (b"idempotency-key", {503})


def test_legacy_answers_instead_with_the_same_reason_and_its_own_rules() -> None:
    first, second = extracted(seam(legacy_breaker=Breaker(), retry=Retry(), deadline_s=7))
    instead = first.instead
    assert instead is not None
    assert (instead.side, instead.upstream, instead.reason) == ("legacy", "monolith", "stage")
    assert (instead.deadline_s, instead.rewrite, instead.fallback) == (7, None, None)
    assert instead.breaker is not None and instead.breaker.key[1] == "legacy"
    assert (second.fallback, second.instead) == (None, None)


@pytest.mark.parametrize("latched", [False, True])
def test_legacy_has_nobody_behind_it(latched: bool) -> None:
    for decision in extracted(seam(), "canary" if latched else "legacy", latched):
        assert (decision.side, decision.fallback, decision.instead) == ("legacy", None, None)


def test_retired_never_calls_legacy_but_may_have_a_fixed_answer() -> None:
    assert [decision.fallback for decision in extracted(seam(), "retired")] == [None, None]
    assert [decision.fallback for decision in extracted(seam(fallback=Fallback(to="legacy")), "retired")] == [
        None,
        None,
    ]
    fixed = Fallback(static=StaticAnswer(status=202))
    (first, _) = extracted(seam(fallback=fixed), "retired")
    assert first.fallback is not None and first.fallback.static == fixed.static
    assert first.instead is None


def test_a_forced_side_falls_back_like_any_other() -> None:
    made = plan(
        "shop",
        seam(force=Force(header="x-side", allow_from=("127.0.0.0/8",))),
        stage="legacy",
        percent=0,
        latched=False,
    )
    assert made.force is not None
    (first, _) = made.force.choices[b"extracted"]
    assert first.instead is not None and (first.reason, first.instead.reason) == ("forced", "forced")


def test_a_cap_is_found_again_by_its_key() -> None:
    config = seam(fallback=Fallback(max_in_flight=7))
    assert own_fallback(config, ("shop", "")) == config.fallback
    assert own_fallback(config, ("shop", "/b")) == ROUTES[1].fallback
    assert own_fallback(config, ("shop", "/gone")) is None
