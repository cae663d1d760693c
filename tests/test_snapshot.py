"""What a seam does is what YAML, override and latch say together, and what traffic does is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from proxy.config.model import RouteConfig, Stage
from proxy.messages import RequestHead
from proxy.routing.decide import decide
from proxy.routing.match import compile_route
from proxy.snapshot import EMPTY, STAGES, Override, SeamRecord, SeamState, compiling, share
from tests.support.snapshots import LATCH, loaded, override, snapshot

REQUEST = RequestHead("GET", b"/a", b"shop.example", [], {}, 0, False, "127.0.0.1", "http")
ROUTE = compile_route("a", 0, RouteConfig(path="/a"))

# (YAML keys or override, stage, share) that they ask for.
DECLARED: list[tuple[dict[str, Any], Stage, float]] = [
    ({}, "legacy", 0),
    ({"stage": "legacy"}, "legacy", 0),
    ({"stage": "shadow"}, "shadow", 0),
    ({"percent": 0}, "canary", 0),
    ({"percent": 25}, "canary", 25),
    ({"stage": "canary", "percent": 0.01}, "canary", 0.01),
    ({"percent": 100}, "canary", 100),
    ({"stage": "extracted"}, "extracted", 100),
    ({"stage": "retired"}, "retired", 100),
]
OVERRIDDEN: list[tuple[Override, Stage, float]] = [
    (override("legacy"), "legacy", 0),
    (override("legacy", 40), "legacy", 0),  # the share counts with canary only
    (override("shadow", 40), "shadow", 0),
    (override("canary", 0), "canary", 0),
    (override("canary", 60), "canary", 60),
    (override("canary", 100), "canary", 100),
    (override("extracted"), "extracted", 100),
    (override("retired"), "retired", 100),
]


def made(keys: Mapping[str, Any], record: SeamRecord) -> SeamState:
    return snapshot({"a": keys}, {"a": record}).states["a"]


def extracted_buckets(state: SeamState) -> list[bool]:
    """Whether the first bucket, the last that the share covers, the next one and the last of all are extracted."""
    edge = round(state.percent * 100)
    buckets = [0, max(edge - 1, 0), min(edge, 9999), 9999]
    return [decide(state.plan, ROUTE, REQUEST, {}, "", bucket.__int__).side == "extracted" for bucket in buckets]


def assert_acts(state: SeamState, stage: Stage, percent: float) -> None:
    """It says so, and its traffic goes so."""
    assert (state.stage, state.percent) == (stage, percent)
    edge = round(percent * 100)
    assert extracted_buckets(state) == [edge > 0, edge > 0, edge > 9999, edge > 9999]


def _name(value: object) -> str | None:
    if isinstance(value, Override):
        return f"{value.stage} {value.percent}"
    return ",".join(f"{key}={of}" for key, of in value.items()) or "nothing" if isinstance(value, dict) else None


@pytest.mark.parametrize("extracted", ["new", None], ids=["cut", "uncut"])
@pytest.mark.parametrize("latch", [None, LATCH], ids=["free", "latched"])
@pytest.mark.parametrize(("over", "over_stage", "over_percent"), [(None, "legacy", 0), *OVERRIDDEN], ids=_name)
@pytest.mark.parametrize(("keys", "stage", "percent"), DECLARED, ids=_name)
def test_latched_is_legacy_else_the_override_counts_else_yaml(
    keys: dict[str, Any],
    stage: Stage,
    percent: float,
    over: Override | None,
    over_stage: Stage,
    over_percent: float,
    latch: Any,
    extracted: str | None,
) -> None:
    state = made({**keys, "extracted": extracted}, SeamRecord(over, latch, 4))
    asked: tuple[Stage, float] = (stage, percent) if over is None else (over_stage, over_percent)
    resumed = asked if extracted is not None else ("legacy", 0)
    assert state.unlatched == resumed
    if latch is not None:
        assert_acts(state, "legacy", 0)
    else:
        assert_acts(state, *resumed)


@pytest.mark.parametrize("stage", STAGES)
def test_a_share_of_its_own_has_canary_only(stage: Stage) -> None:
    assert share(stage, 12.5) == {"canary": 12.5, "extracted": 100, "retired": 100}.get(stage, 0)


def test_a_record_replaces_one_state_and_leaves_the_rest() -> None:
    before = snapshot({"a": {}, "b": {"percent": 25}})
    after = before.with_records({"a": SeamRecord(override("extracted"))})
    assert_acts(after.states["a"], "extracted", 100)
    assert_acts(before.states["a"], "legacy", 0)
    assert after.states["b"] is before.states["b"]
    assert (after.table, after.settings, after.fallthrough) == (before.table, before.settings, before.fallthrough)
    assert list(after.states) == ["a", "b"]


def test_a_record_that_only_has_a_new_version_keeps_the_plan() -> None:
    record = SeamRecord(override("canary", 5), LATCH, 4)
    before = snapshot({"a": {}}, {"a": record})
    after = before.with_records({"a": SeamRecord(override("canary", 5), LATCH, 5)})
    assert after.states["a"].record.version == 5
    assert after.states["a"].plan is before.states["a"].plan


@pytest.mark.parametrize(
    ("record", "stage", "percent"),
    [
        (SeamRecord(override("canary", 6), None, 4), "canary", 6),
        (SeamRecord(override("canary", 5), LATCH, 4), "legacy", 0),
        (EMPTY, "legacy", 0),
    ],
)
def test_a_record_that_says_something_else_makes_a_new_plan_even_at_an_equal_version(
    record: SeamRecord, stage: Stage, percent: float
) -> None:
    before = snapshot({"a": {}}, {"a": SeamRecord(override("canary", 5), None, 4)})
    assert_acts(before.with_records({"a": record}).states["a"], stage, percent)


def test_no_record_is_no_new_snapshot() -> None:
    before = snapshot({"a": {}})
    assert before.with_records({}) is before


def test_records_of_seams_that_yaml_does_not_have_are_left_alone() -> None:
    made = snapshot({"a": {}}, {"gone": SeamRecord(override("extracted"))})
    assert list(made.states) == ["a"]
    assert made.states["a"].record is EMPTY


def test_compiling_pauses_after_every_seam() -> None:
    steps = compiling(loaded({name: {} for name in "abcde"}), {})
    assert len(list(steps)) == 5


def test_what_no_seam_claims_goes_to_the_default_upstream_or_nowhere() -> None:
    with_default = snapshot({"a": {}}).fallthrough
    assert with_default is not None
    assert (with_default.seam, with_default.side, with_default.upstream, with_default.reason) == (
        "default",
        "legacy",
        "old",
        "default",
    )
    assert snapshot({"a": {}}, default=None).fallthrough is None
