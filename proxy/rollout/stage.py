"""Legal moves of a seam, as a table. Pure: says what the record becomes, or why not; the runtime does it.

       legacy   shadow   canary   extracted   retired
from legacy ────────── any move, `requires` and the policy allowing ──────────►
retired is left only by `reset` to a YAML that says otherwise: the legacy side has no code for it any more

latched: no shift; resume first. A rollback is legal from everywhere but retired (runtime.retreat).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from proxy.config.model import Stage
from proxy.errors import Conflict, InvalidChange
from proxy.runtime import Author
from proxy.snapshot import STAGES, Override, SeamRecord, SeamState, Snapshot, in_the_way

Plan = Callable[[SeamState, Snapshot], SeamRecord]


def checked_percent(value: object) -> float:
    """0-100 with at most two decimals, or InvalidChange."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidChange(f"percent must be a number from 0 to 100, not {value!r}.")
    if not 0 <= value <= 100 or round(value, 2) != value:
        raise InvalidChange(f"percent must be from 0 to 100 with at most two decimals, not {value!r}.")
    return float(value)


def checked_stage(value: object) -> Stage:
    for stage in STAGES:
        if value == stage:
            return stage
    raise InvalidChange(f"stage must be one of {', '.join(STAGES)}, not {value!r}.")


def shift(author: Author, *, stage: Stage | None, percent: float | None) -> Plan:
    """`percent` alone makes the seam canary at that share, also for 0 and 100; `stage` sets the stage."""
    if (stage is None) == (percent is None) and stage != "canary":
        raise InvalidChange("Give either percent or stage (canary takes both).")
    if stage not in (None, "canary") and percent is not None:
        raise InvalidChange(f"percent goes with canary only, not with {stage!r}.")

    def plan(state: SeamState, snapshot: Snapshot) -> SeamRecord:
        if state.record.latch is not None:
            raise Conflict(f"Seam {state.name!r} is rolled back: `fig resume {state.name}` first.")
        if state.stage == "retired":
            raise Conflict(f"Seam {state.name!r} is retired: the legacy side has no code for it any more.")
        wanted = stage or "canary"
        share = percent if percent is not None else (state.percent if wanted == "canary" else 0.0)
        check_move(state, snapshot, wanted)
        override = Override(wanted, share, author.at, author.actor, author.reason)
        return replace(state.record, override=override)

    return plan


def resume(author: Author, percent: float | None) -> Plan:
    """Clear the latch; with `percent` set the share in the same write."""

    def plan(state: SeamState, snapshot: Snapshot) -> SeamRecord:
        if state.record.latch is None:
            raise Conflict(f"Seam {state.name!r} is not rolled back: there is nothing to resume.")
        if percent is not None and state.unlatched[0] == "retired":
            raise Conflict(f"Seam {state.name!r} is retired: the legacy side has no code for it any more.")
        check_move(state, snapshot, "canary" if percent is not None else state.unlatched[0])
        record = replace(state.record, latch=None)
        if percent is None:
            return record
        return replace(record, override=Override("canary", percent, author.at, author.actor, author.reason))

    return plan


def reset() -> Plan:
    """Forget the override: YAML counts again. A latch stays."""

    def plan(state: SeamState, snapshot: Snapshot) -> SeamRecord:
        if state.record.override is None:
            raise Conflict(f"Seam {state.name!r} has no override: YAML counts already.")
        if state.record.latch is None:
            check_move(state, snapshot, state.config.declared_stage)
        return replace(state.record, override=None)

    return plan


def check_move(state: SeamState, snapshot: Snapshot, wanted: Stage) -> None:
    """Whether the seam may be at stage `wanted` beside all others. Raises Conflict naming what stands in the way."""
    obstacle = in_the_way(snapshot, state.name, wanted)
    if obstacle is not None:
        raise Conflict(obstacle)
