"""Every move there is, from every stage: what the record becomes, or the words of the refusal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from proxy.config.model import Stage
from proxy.errors import Conflict, InvalidChange
from proxy.rollout.stage import Plan, checked_percent, checked_stage, reset, resume, shift
from proxy.runtime import Author
from proxy.snapshot import EMPTY, STAGES, Override, SeamRecord
from tests.support.snapshots import LATCH, override, snapshot

ANN = Author(99.0, "ann", "try it")
KEYS: dict[Stage, dict[str, Any]] = {
    "legacy": {},
    "shadow": {"stage": "shadow"},
    "canary": {"percent": 25},
    "extracted": {"stage": "extracted"},
    "retired": {"stage": "retired"},
}
SHARE = {"legacy": 0.0, "shadow": 0.0, "canary": 25.0, "extracted": 100.0, "retired": 100.0}

RETIRED = "Seam 'a' is retired: the legacy side has no code for it any more."
ROLLED_BACK = "Seam 'a' is rolled back: `fig resume a` first."
NOT_ROLLED_BACK = "Seam 'a' is not rolled back: there is nothing to resume."
NO_OVERRIDE = "Seam 'a' has no override: YAML counts already."
UNCUT = "Seam 'a' has no `extracted` upstream: there is nowhere to move it to."
REQUIRES = "Seam 'a' requires b to be extracted first."


def moved(plan: Plan, keys: Mapping[str, Any], record: SeamRecord = EMPTY, **others: Any) -> SeamRecord:
    """What `plan` makes of seam `a` with these keys and this record, alone or beside the seams `others`."""
    made = snapshot({"a": keys, **others}, {"a": record})
    return plan(made.states["a"], made)


def refusal(plan: Plan, keys: Mapping[str, Any], record: SeamRecord = EMPTY, **others: Any) -> str:
    with pytest.raises(Conflict) as raised:
        moved(plan, keys, record, **others)
    return raised.value.detail


def to(stage: Stage, percent: float | None = None) -> Plan:
    return shift(ANN, stage=stage, percent=percent)


def to_share(percent: float) -> Plan:
    return shift(ANN, stage=None, percent=percent)


# --- shift -----------------------------------------------------------------------------------------------------------


def _starts() -> list[Any]:
    """(stage, keys, record): each stage, once as YAML says it and once as an override does."""
    from_yaml = [pytest.param(stage, KEYS[stage], EMPTY, id=f"{stage} by YAML") for stage in STAGES]
    said = [(stage, SeamRecord(override(stage, SHARE[stage]), None, 3)) for stage in STAGES]
    return from_yaml + [
        pytest.param(stage, KEYS["legacy"], record, id=f"{stage} by override") for stage, record in said
    ]


@pytest.mark.parametrize("wanted", STAGES)
@pytest.mark.parametrize(("start", "keys", "record"), _starts())
def test_any_stage_is_reached_from_any_but_retired(
    start: Stage, keys: Mapping[str, Any], record: SeamRecord, wanted: Stage
) -> None:
    if start == "retired":
        assert refusal(to(wanted), keys, record) == RETIRED
        return
    share = SHARE[start] if wanted == "canary" else 0.0  # canary without a share goes on with the one there is
    assert moved(to(wanted), keys, record) == replace(record, override=Override(wanted, share, 99.0, "ann", "try it"))


@pytest.mark.parametrize("percent", [0.0, 12.34, 100.0])
@pytest.mark.parametrize("plan", [to_share, lambda percent: to("canary", percent)], ids=["share", "canary and share"])
@pytest.mark.parametrize(("start", "keys", "record"), _starts())
def test_a_share_makes_any_but_retired_a_canary(
    start: Stage, keys: Mapping[str, Any], record: SeamRecord, plan: Callable[[float], Plan], percent: float
) -> None:
    if start == "retired":
        assert refusal(plan(percent), keys, record) == RETIRED
        return
    expected = replace(record, override=Override("canary", percent, 99.0, "ann", "try it"))
    assert moved(plan(percent), keys, record) == expected


@pytest.mark.parametrize("plan", [to_share(5), *map(to, STAGES)], ids=["share", *STAGES])
@pytest.mark.parametrize("start", STAGES)
def test_a_latched_seam_is_not_shifted(start: Stage, plan: Plan) -> None:
    assert refusal(plan, KEYS[start], SeamRecord(latch=LATCH)) == ROLLED_BACK
    assert refusal(plan, {}, SeamRecord(override(start, 5), LATCH)) == ROLLED_BACK


@pytest.mark.parametrize("wanted", STAGES)
def test_a_seam_that_was_never_cut_goes_nowhere_but_to_legacy(wanted: Stage) -> None:
    keys = {"extracted": None}
    if wanted == "legacy":
        assert moved(to(wanted), keys).override == Override("legacy", 0.0, 99.0, "ann", "try it")
    else:
        assert refusal(to(wanted), keys) == UNCUT
    assert refusal(to_share(5), keys) == UNCUT


@pytest.mark.parametrize("required", STAGES)
@pytest.mark.parametrize("wanted", STAGES)
def test_a_seam_passes_shadow_only_behind_what_it_requires(wanted: Stage, required: Stage) -> None:
    keys = {"requires": ["b"]}
    if wanted in ("legacy", "shadow") or required in ("extracted", "retired"):
        changed = moved(to(wanted), keys, b=KEYS[required]).override
        assert changed is not None
        assert changed.stage == wanted
    else:
        assert refusal(to(wanted), keys, b=KEYS[required]) == REQUIRES


def test_a_required_seam_counts_as_it_acts_and_not_as_yaml_says() -> None:
    seams = {"a": {"requires": ["b", "c"]}, "b": KEYS["extracted"], "c": KEYS["legacy"]}
    rolled_back = snapshot(seams, {"b": SeamRecord(latch=LATCH), "c": SeamRecord(override("extracted"))})
    with pytest.raises(Conflict, match=re.escape(REQUIRES)):
        to_share(5)(rolled_back.states["a"], rolled_back)
    ready = snapshot(seams, {"c": SeamRecord(override("extracted"))})
    assert to_share(5)(ready.states["a"], ready).override == Override("canary", 5, 99.0, "ann", "try it")


def test_all_that_is_missing_is_named() -> None:
    others = {"b": KEYS["canary"], "c": KEYS["extracted"], "d": KEYS["legacy"]}
    required = {"requires": ["b", "c", "d"]}
    plan = to("retired")
    assert refusal(plan, required, EMPTY, **others) == "Seam 'a' requires b, d to be extracted first."


def limited(limit: int, plan: Plan, start: Stage, **records: SeamRecord) -> SeamRecord:
    """The same among two more canaries, `b` and `c`, with `policy.max_active_seams` set."""
    seams = {"a": KEYS[start], "b": KEYS["canary"], "c": KEYS["canary"]}
    made = snapshot(seams, records, policy={"max_active_seams": limit})
    return plan(made.states["a"], made)


def test_the_policy_bounds_how_many_seams_are_in_canary() -> None:
    words = "policy.max_active_seams is 2 and b, c is in canary: finish or roll back that one first."
    for plan in (to_share(5), to_share(0), to("canary")):
        with pytest.raises(Conflict, match=re.escape(words)):
            limited(2, plan, "legacy")
    assert limited(3, to_share(5), "legacy").override == Override("canary", 5, 99.0, "ann", "try it")


def test_a_canary_does_not_stand_in_its_own_way() -> None:
    assert limited(3, to_share(30), "canary").override == Override("canary", 30, 99.0, "ann", "try it")


@pytest.mark.parametrize(
    "record", [SeamRecord(latch=LATCH), SeamRecord(override("extracted")), SeamRecord(override("legacy"))]
)
def test_a_seam_that_has_left_canary_frees_its_place(record: SeamRecord) -> None:
    assert limited(2, to_share(5), "legacy", c=record).override is not None


@pytest.mark.parametrize("wanted", ["legacy", "shadow", "extracted", "retired"])
def test_the_policy_concerns_canaries_only(wanted: Stage) -> None:
    assert limited(1, to(wanted), "legacy").override == Override(wanted, 0.0, 99.0, "ann", "try it")


# --- resume ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STAGES)
def test_what_is_not_rolled_back_cannot_be_resumed(start: Stage) -> None:
    for plan in (resume(ANN, None), resume(ANN, 5)):
        assert refusal(plan, KEYS[start]) == NOT_ROLLED_BACK
        assert refusal(plan, {}, SeamRecord(override(start, 5))) == NOT_ROLLED_BACK


@pytest.mark.parametrize("start", STAGES)
def test_resume_takes_the_latch_away_and_nothing_else(start: Stage) -> None:
    assert moved(resume(ANN, None), KEYS[start], SeamRecord(None, LATCH, 7)) == SeamRecord(None, None, 7)
    kept = override(start, 5)
    assert moved(resume(ANN, None), {}, SeamRecord(kept, LATCH, 7)) == SeamRecord(kept, None, 7)


@pytest.mark.parametrize("percent", [0.0, 12.34, 100.0])
@pytest.mark.parametrize("start", ["legacy", "shadow", "canary", "extracted"])
def test_resume_with_a_share_is_a_canary(start: Stage, percent: float) -> None:
    expected = SeamRecord(Override("canary", percent, 99.0, "ann", "try it"), None, 7)
    assert moved(resume(ANN, percent), KEYS[start], SeamRecord(None, LATCH, 7)) == expected
    assert moved(resume(ANN, percent), {}, SeamRecord(override(start, 5), LATCH, 7)) == expected


def test_resume_with_a_share_does_not_take_a_seam_out_of_retired() -> None:
    assert refusal(resume(ANN, 5), KEYS["retired"], SeamRecord(latch=LATCH)) == RETIRED
    assert refusal(resume(ANN, 5), {}, SeamRecord(override("retired"), LATCH)) == RETIRED


def test_a_seam_that_was_never_cut_is_resumed_to_legacy_only() -> None:
    uncut = {"extracted": None}
    assert moved(resume(ANN, None), uncut, SeamRecord(override("canary", 5), LATCH)).latch is None
    assert refusal(resume(ANN, 5), uncut, SeamRecord(latch=LATCH)) == UNCUT


@pytest.mark.parametrize("start", STAGES)
def test_resume_is_a_move_that_waits_for_what_the_seam_requires(start: Stage) -> None:
    keys, latched = {"requires": ["b"], **KEYS[start]}, SeamRecord(latch=LATCH)
    if start in ("legacy", "shadow"):
        assert moved(resume(ANN, None), keys, latched, b={}) == EMPTY
    else:
        assert refusal(resume(ANN, None), keys, latched, b={}) == REQUIRES
        assert moved(resume(ANN, None), keys, latched, b=KEYS["extracted"]) == EMPTY


def test_resume_into_canary_needs_a_place() -> None:
    latched = SeamRecord(latch=LATCH)
    with pytest.raises(Conflict, match=r"policy\.max_active_seams is 2 and b, c"):
        limited(2, resume(ANN, None), "canary", a=latched)
    with pytest.raises(Conflict, match=r"policy\.max_active_seams is 2 and b, c"):
        limited(2, resume(ANN, 5), "extracted", a=latched)
    assert limited(2, resume(ANN, None), "extracted", a=latched) == EMPTY
    assert limited(3, resume(ANN, None), "canary", a=latched) == EMPTY


# --- reset -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latch", [None, LATCH], ids=["free", "latched"])
@pytest.mark.parametrize("declared", STAGES)
@pytest.mark.parametrize("start", STAGES)
def test_reset_takes_the_override_away_and_nothing_else(start: Stage, declared: Stage, latch: Any) -> None:
    record = SeamRecord(override(start, 5), latch, 7)
    assert moved(reset(), KEYS[declared], record) == SeamRecord(None, latch, 7)


@pytest.mark.parametrize("latch", [None, LATCH], ids=["free", "latched"])
@pytest.mark.parametrize("declared", STAGES)
def test_what_has_no_override_cannot_be_reset(declared: Stage, latch: Any) -> None:
    assert refusal(reset(), KEYS[declared], SeamRecord(None, latch, 7)) == NO_OVERRIDE


@pytest.mark.parametrize("declared", ["canary", "extracted", "retired"])
def test_reset_is_a_move_that_waits_for_what_the_seam_requires(declared: Stage) -> None:
    keys, held = {"requires": ["b"], **KEYS[declared]}, SeamRecord(override("legacy"))
    assert refusal(reset(), keys, held, b={}) == REQUIRES
    assert moved(reset(), keys, held, b=KEYS["extracted"]) == EMPTY


def test_reset_of_a_latched_seam_waits_for_nothing_since_it_stays_on_legacy() -> None:
    record = SeamRecord(override("legacy"), LATCH)
    assert moved(reset(), {"requires": ["b"], **KEYS["canary"]}, record, b={}) == SeamRecord(latch=LATCH)


def test_reset_to_canary_needs_a_place() -> None:
    with pytest.raises(Conflict, match=r"policy\.max_active_seams is 2 and b, c"):
        limited(2, reset(), "canary", a=SeamRecord(override("legacy")))
    assert limited(2, reset(), "legacy", a=SeamRecord(override("canary", 5))) == EMPTY


# --- what a change may say -------------------------------------------------------------------------------------------


def test_a_shift_says_a_share_or_a_stage() -> None:
    with pytest.raises(InvalidChange, match=r"Give either percent or stage \(canary takes both\)\."):
        shift(ANN, stage=None, percent=None)


@pytest.mark.parametrize("stage", ["legacy", "shadow", "extracted", "retired"])
def test_a_share_goes_with_canary_only(stage: Stage) -> None:
    with pytest.raises(InvalidChange):
        shift(ANN, stage=stage, percent=5)


@pytest.mark.parametrize("value", [0, 0.0, 0.01, 0.29, 1, 33.33, 99.99, 100, 100.0])
def test_a_share_has_two_decimals_at_most(value: float) -> None:
    checked = checked_percent(value)
    assert (checked, type(checked)) == (value, float)


@pytest.mark.parametrize("value", [-0.01, -1, 100.01, 101, 10**400, 0.001, 33.333, float("nan"), float("inf")])
def test_a_share_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(InvalidChange, match="percent must be from 0 to 100 with at most two decimals, not "):
        checked_percent(value)


@pytest.mark.parametrize("value", [True, False, None, "5", [5], {"percent": 5}])
def test_a_share_is_a_number(value: object) -> None:
    with pytest.raises(InvalidChange, match=re.escape(f"percent must be a number from 0 to 100, not {value!r}.")):
        checked_percent(value)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_known_by_its_name(stage: Stage) -> None:
    assert checked_stage(stage) == stage


@pytest.mark.parametrize("value", ["Canary", "", "canary ", None, 1, True, ["canary"]])
def test_a_stage_that_there_is_not_is_refused_with_those_there_are(value: object) -> None:
    words = f"stage must be one of legacy, shadow, canary, extracted, retired, not {value!r}."
    with pytest.raises(InvalidChange, match=re.escape(words)):
        checked_stage(value)
