"""The frozen view that one request sees: settings, routing table and the effective state of every seam.

Pure: no I/O, no clock. A shift or a rollback makes a new Snapshot with one state replaced; the table is kept.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, get_args

from proxy.config.load import Loaded
from proxy.config.model import SeamConfig, Settings, Stage
from proxy.routing.decide import Decision, SeamPlan, plan
from proxy.routing.table import RouteTable, RouteTableBuilder

T = TypeVar("T")

STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, slots=True)
class Override:
    """What `shift` wrote. `percent` counts only with stage canary. `at` is seconds since the epoch (UTC)."""

    stage: Stage
    percent: float
    at: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Latch:
    """A rollback that stands until `resume`."""

    at: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class SeamRecord:
    """What the store holds for one seam. `version` rises by one at every write."""

    override: Override | None = None
    latch: Latch | None = None
    version: int = 0


EMPTY = SeamRecord()


def share(stage: Stage, percent: float) -> float:
    """Share of the extracted side in percent: only canary has one of its own."""
    if stage == "canary":
        return percent
    return 100.0 if stage in ("extracted", "retired") else 0.0


@dataclass(frozen=True, slots=True)
class SeamState:
    """One seam as it acts now: latched → legacy; else the override; else YAML."""

    name: str
    config: SeamConfig
    record: SeamRecord
    plan: SeamPlan

    @property
    def stage(self) -> Stage:
        return "legacy" if self.record.latch is not None else self.unlatched[0]

    @property
    def percent(self) -> float:
        return 0.0 if self.record.latch is not None else self.unlatched[1]

    @property
    def unlatched(self) -> tuple[Stage, float]:
        """Stage and share that a resume would bring back."""
        if self.config.extracted is None:
            return "legacy", 0.0  # nowhere to go, whatever an older record says
        override = self.record.override
        if override is not None:
            return override.stage, share(override.stage, override.percent)
        return self.config.declared_stage, self.config.declared_percent


def seam_state(name: str, config: SeamConfig, record: SeamRecord) -> SeamState:
    override = record.override
    stage = override.stage if override else config.declared_stage
    percent = override.percent if override else config.declared_percent
    made = plan(name, config, stage=stage, percent=percent, latched=record.latch is not None)
    return SeamState(name, config, record, made)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`sources` maps dotted configuration paths to FILE:LINE; `fallthrough` decides what no seam claims."""

    settings: Settings
    sources: Mapping[str, str]
    table: RouteTable
    states: Mapping[str, SeamState]
    fallthrough: Decision | None

    def with_records(self, records: Mapping[str, SeamRecord]) -> Snapshot:
        """The same snapshot with the states of these seams made anew. The table is not touched."""
        if not records:
            return self
        fresh = {name: _with_record(self.states[name], record) for name, record in records.items()}
        return replace(self, states={**self.states, **fresh})


_BEYOND_SHADOW: tuple[Stage, ...] = ("canary", "extracted", "retired")


def is_moved(stage: Stage) -> bool:
    """Whether the extracted side may answer clients at this stage."""
    return stage in _BEYOND_SHADOW


def in_the_way(snapshot: Snapshot, name: str, wanted: Stage) -> str | None:
    """What forbids seam `name` to be at stage `wanted` beside all others; None where nothing does."""
    config = snapshot.states[name].config
    if wanted != "legacy" and config.extracted is None:
        return f"Seam {name!r} has no `extracted` upstream: there is nowhere to move it to."
    if not is_moved(wanted):
        return None
    missing = [other for other in config.requires if not _is_extracted(snapshot, other)]
    if missing:
        return f"Seam {name!r} requires {', '.join(missing)} to be extracted first."
    limit = snapshot.settings.policy.max_active_seams
    if wanted == "canary" and limit is not None:
        active = [other for other, state in snapshot.states.items() if state.stage == "canary" and other != name]
        if len(active) >= limit:
            return (
                f"policy.max_active_seams is {limit} and {', '.join(active)} is in canary:"
                " finish or roll back that one first."
            )
    return None


def breaches(snapshot: Snapshot) -> tuple[str, ...]:
    """What `requires` and the policy would forbid today but is so: a reload may not refuse it, since the file alone is
    sound and what breaks it (a rollback, an override) is an operator's doing."""
    found = [
        f"seam {name!r} is at stage {state.stage} but requires {', '.join(missing)} to be extracted"
        for name, state in snapshot.states.items()
        if is_moved(state.stage)
        and (missing := [other for other in state.config.requires if not _is_extracted(snapshot, other)])
    ]
    active = [name for name, state in snapshot.states.items() if state.stage == "canary"]
    limit = snapshot.settings.policy.max_active_seams
    if limit is not None and len(active) > limit:
        found.append(f"policy.max_active_seams is {limit} but {', '.join(active)} are in canary")
    return tuple(found)


def _is_extracted(snapshot: Snapshot, name: str) -> bool:
    required = snapshot.states.get(name)
    return required is not None and required.stage in ("extracted", "retired")


def _with_record(state: SeamState, record: SeamRecord) -> SeamState:
    if (record.override, record.latch) == (state.record.override, state.record.latch):
        return replace(state, record=record)
    return seam_state(state.name, state.config, record)


def compiling(loaded: Loaded, records: Mapping[str, SeamRecord]) -> Generator[None, None, Snapshot]:
    """Compile a configuration seam by seam, so that a server can answer requests in between; returns the Snapshot."""
    builder = RouteTableBuilder()
    states: dict[str, SeamState] = {}
    for name, config in loaded.settings.seams.items():
        builder.add(name, config)
        states[name] = seam_state(name, config, records.get(name, EMPTY))
        yield
    default = loaded.settings.default
    fallthrough = None if default is None else Decision("default", "legacy", default, "default", None)
    return Snapshot(loaded.settings, loaded.sources, builder.build(), states, fallthrough)


def at_once(steps: Generator[None, None, T]) -> T:
    """What `steps` makes in the end, without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            made: T = done.value
            return made


def compile_now(loaded: Loaded, records: Mapping[str, SeamRecord]) -> Snapshot:
    return at_once(compiling(loaded, records))
