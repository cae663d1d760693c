"""What is in force: the current snapshot, its doors and the upstreams by name, and the only ways to replace them.

    reload    load → compile in slices → swap
    advance   persist → swap          (shift, resume, reset: towards extracted never without the store)
    retreat   swap → persist          (rollback: never waits for anything, made durable when the store can)

A request reads `snapshot` once. Changes of records are serialised by one lock; a rollback does not take it to act,
only to persist, and whoever held the lock meanwhile keeps its latch.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from proxy.admission.doors import Doors
from proxy.config.load import Loaded
from proxy.config.model import Settings, UpstreamConfig
from proxy.errors import ConfigError, Conflict, InvalidChange, StoreError, UnknownSeam, VersionMismatch
from proxy.events import Emit, Reloaded, ReloadFailed, StoreFailed, StoreRecovered, Transition
from proxy.routing.resilience import BreakerKey, BreakerRule, Side, breaker_rules
from proxy.snapshot import EMPTY, Latch, SeamRecord, SeamState, Snapshot, at_once, breaches, compiling, share
from proxy.state.store import Action, NewRow, Store
from proxy.upstreams.breaker import Breaker, Forced
from proxy.upstreams.guards import Guards
from proxy.upstreams.upstream import Upstream

T = TypeVar("T")

_SLICE = 20  # seams compiled between two turns of the event loop: about 1 ms
_DURABLE_WAIT_S = 1.0
_DISCOVERY_WAIT_S = 2.0
_RESTART_KEYS = ("server.listen", "admin.listen", "admin.token", "store", "telemetry")


@dataclass(frozen=True, slots=True)
class Author:
    """Who asks for a change, and why. `at` is epoch seconds."""

    at: float
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """`changed` False: the configuration equals the running one and nothing was done."""

    changed: bool
    fingerprint: str
    overridden: tuple[str, ...] = ()
    absorbed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def described(state: SeamState) -> dict[str, Any]:
    """A seam's state as history rows show it before and after."""
    record = state.record
    return {
        "stage": state.stage,
        "percent": state.percent,
        "override": None if record.override is None else asdict(record.override),
        "rolled_back": None if record.latch is None else asdict(record.latch),
    }


class Runtime:
    """Construct it with a loaded configuration and what the store holds; `snapshot` is ready at once.

    `away`: the store has been let go for the next process, so no change may be accepted here.
    """

    def __init__(
        self,
        loaded: Loaded,
        records: Mapping[str, SeamRecord],
        store: Store,
        *,
        load: Callable[[], Awaitable[Loaded]],
        make_upstream: Callable[[str, UpstreamConfig], Upstream],
        make_breaker: Callable[[BreakerRule], Breaker],
        make_doors: Callable[[Settings], Generator[None, None, Doors]],
        emit: Emit,
        on_swap: Callable[[Snapshot], None],
    ) -> None:
        self.store = store
        self.store_name = loaded.settings.store.partition(":")[0]
        self.records: dict[str, SeamRecord] = dict(records)
        self.files = loaded.files
        self.fingerprint = loaded.digest
        self._load = load
        self._make_upstream = make_upstream
        self._make_doors = make_doors
        self._emit = emit
        self._on_swap = on_swap
        self._lock = asyncio.Lock()
        self._reload_lock = asyncio.Lock()
        self._rollbacks: dict[str, int] = {}
        self._undurable: dict[str, NewRow] = {}
        self.away = False
        self.snapshot = at_once(compiling(loaded, self.records))
        self.upstreams = {name: make_upstream(name, config) for name, config in loaded.settings.upstreams.items()}
        self.guards = Guards(make_breaker)
        self.doors = at_once(make_doors(loaded.settings))
        self._startup_settings = loaded.settings

    def state(self, seam: str) -> SeamState:
        """Raises UnknownSeam."""
        found = self.snapshot.states.get(seam)
        if found is None:
            raise UnknownSeam(f"There is no seam {seam!r}; `fig get seams` lists them.")
        return found

    def durable(self, seam: str) -> bool:
        """False while a rollback of the seam is in memory only."""
        return seam not in self._undurable

    @property
    def volatile(self) -> bool:
        """Whether any rollback is in memory only."""
        return bool(self._undurable)

    # --- what requests of a seam share -------------------------------------------------------------------------------

    def breakers(self, seam: str) -> list[tuple[BreakerRule, Breaker | None]]:
        """Every breaker that the seam's configuration asks for; None where no request has asked for it yet."""
        state = self.snapshot.states.get(seam)
        rules = () if state is None else breaker_rules(seam, state.config)
        return [(rule, self.guards.known(rule)) for rule in rules]

    async def force_breaker(
        self, seam: str, side: Side, route: str | None, forced: Forced | None, author: Author
    ) -> SeamState:
        """Hold breakers of the seam open or closed, or let go of them (None); of one `route`, or of the side's all. In
        force at once and in this process only; the history row is written when the store can. Raises UnknownSeam, and
        InvalidChange where there is no such breaker."""
        state = self.state(seam)
        rules = [rule for rule in breaker_rules(seam, state.config) if rule.key[1] == side]
        meant = [rule for rule in rules if route is None or rule.key[2] == route]
        if not meant:
            known = ", ".join(repr(rule.key[2]) for rule in rules) or "none"
            raise InvalidChange(f"Seam {seam!r} has no such breaker on side {side}; by route it has: {known}.")
        before = described(state)
        held = {rule.key: self.guards.breaker(rule).forced for rule in meant}
        for rule in meant:
            self.guards.breaker(rule).force(forced)
        after = {**before, "breakers": [_held(rule.key, forced) for rule in meant]}
        before["breakers"] = [_held(*pair) for pair in held.items()]
        row = NewRow(author.at, author.actor, "breaker", seam, author.reason, before, after)
        writing = asyncio.ensure_future(self._audit_breaker(seam, row))
        await asyncio.wait({writing}, timeout=_DURABLE_WAIT_S)  # it is in force, whatever the store does
        return self.snapshot.states.get(seam, state)

    async def _audit_breaker(self, seam: str, row: NewRow) -> None:
        async with self._lock:
            if not self.away:
                with contextlib.suppress(StoreError):
                    await self._settle(seam)
                    await self._persist(seam, self.records.get(seam, EMPTY), row)

    # --- changes of one seam -----------------------------------------------------------------------------------------

    async def advance(
        self,
        seam: str,
        action: Action,
        author: Author,
        plan: Callable[[SeamState, Snapshot], SeamRecord],
        if_version: int | None = None,
    ) -> SeamState:
        """Persist, then swap. `plan` returns the wanted record or raises Conflict or InvalidChange.

        Raises StoreError with nothing changed, VersionMismatch when `if_version` is not the current version. A caller
        that is cancelled leaves the change running to its end: what is stored and what is in force never part.
        """
        asked = self._rollbacks.get(seam, 0)  # now, not when the lock is free: a later rollback beats this
        return await asyncio.shield(self._advance(seam, action, author, plan, if_version, asked))

    async def _advance(
        self,
        seam: str,
        action: Action,
        author: Author,
        plan: Callable[[SeamState, Snapshot], SeamRecord],
        if_version: int | None,
        asked: int,
    ) -> SeamState:
        async with self._lock:
            if self.away:
                raise StoreError("The store has gone to the next process: ask that one.")
            await self._settle(seam)
            before = self.state(seam)  # no await from here to `_persist`
            if action == "resume" and self._rollbacks.get(seam, 0) != asked:
                raise Conflict(f"Seam {seam!r} was rolled back again after this resume was asked for.")
            _check_version(before, if_version)
            wanted = replace(plan(before, self.snapshot), version=self._bumped(seam).version)
            rollbacks = self._rollbacks.get(seam, 0)
            after = _preview(self.snapshot, seam, wanted)
            row = NewRow(author.at, author.actor, action, seam, author.reason, described(before), described(after))
            await self._persist(seam, wanted, row)
            if self._rollbacks.get(seam, 0) != rollbacks:  # a rollback came while we waited: it wins
                latch = self.records[seam].latch
                stored, wanted = wanted, replace(wanted, latch=latch, version=wanted.version + 1)
                self._swap_record(seam, wanted, action, author)
                if stored.latch != latch and seam not in self._undurable:  # our write took the latch out of the store
                    assert latch is not None
                    self._undurable[seam] = NewRow(
                        latch.at,
                        latch.by,
                        "rollback",
                        seam,
                        latch.reason,
                        described(after),
                        described(self.state(seam)),
                    )
                if action == "resume":
                    raise Conflict(f"Seam {seam!r} was rolled back again while it was being resumed.")
            else:
                self._swap_record(seam, wanted, action, author)
            return self.state(seam)

    async def retreat(self, seam: str, author: Author) -> SeamState:
        """Latch at once, then persist. Rolling back what is rolled back changes nothing but still beats a resume."""
        before = self.state(seam)
        if before.unlatched[0] == "retired" and before.record.latch is None:
            raise Conflict(f"Seam {seam!r} is retired: the legacy side has no code for it any more.")
        self._rollbacks[seam] = self._rollbacks.get(seam, 0) + 1
        if before.record.latch is None:
            latch = Latch(author.at, author.actor, author.reason)
            record = replace(self._bumped(seam), latch=latch)  # an absorb may be ahead of the snapshot
            self._swap_record(seam, record, "rollback", author)
            self._undurable[seam] = NewRow(
                author.at, author.actor, "rollback", seam, author.reason, described(before), described(self.state(seam))
            )
        # Acting took no time; being written down may. The caller learns which of the two it got.
        writing = asyncio.ensure_future(self._make_durable(seam))
        done = self.state(seam)
        await asyncio.wait({writing}, timeout=_DURABLE_WAIT_S)
        return self.snapshot.states.get(seam, done)  # a reload may have removed the seam meanwhile

    async def make_durable(self) -> None:
        """Try again to persist rollbacks that the store refused."""
        for seam in list(self._undurable):
            await self._make_durable(seam)

    async def _make_durable(self, seam: str) -> None:
        async with self._lock:
            with contextlib.suppress(StoreError):
                await self._settle(seam)

    async def _settle(self, seam: str) -> None:
        """Write a rollback that is in memory only, before anything else of the seam. Hold the lock."""
        row = self._undurable.get(seam)
        if row is None or self.away:
            return
        await self._persist(seam, self.records[seam], row)
        if self._undurable.get(seam) is row:
            del self._undurable[seam]
            self._emit(StoreRecovered(self.store_name, seam))

    # --- the next process --------------------------------------------------------------------------------------------

    async def let_go(self) -> None:
        """Close the store, so that the next process can open it. Raises StoreError, with the store still held, while a
        rollback is in memory only: nobody else would know of it."""
        async with self._reload_lock, self._lock:
            while self._undurable:
                await self._settle(next(iter(self._undurable)))
            self.away = True  # no await since the last look
            await self.store.close()

    async def take_back(self) -> None:
        """The next process did not come to be. Raises StoreError; a rollback is taken also then, in memory."""
        self.away = False
        await self.store.open()

    def follow(self, seam: str, author: Author) -> None:
        """Latch a seam that the next process has rolled back. It is written down there."""
        state = self.snapshot.states.get(seam)
        if state is not None and state.record.latch is None:
            record = replace(self._bumped(seam), latch=Latch(author.at, author.actor, author.reason))
            self._swap_record(seam, record, "rollback", author)

    async def _persist(self, seam: str, record: SeamRecord, row: NewRow) -> None:
        try:
            await self.store.put(seam, record, row, None)
        except StoreError as error:
            self._emit(StoreFailed(self.store_name, seam, error.detail))
            raise

    def _swap_record(self, seam: str, record: SeamRecord, action: str, author: Author) -> None:
        self.records[seam] = record
        self._publish(self.snapshot.with_records({seam: record}))
        state = self.snapshot.states[seam]
        rolled_back = record.latch is not None
        self._emit(Transition(seam, action, author.actor, author.reason, state.stage, state.percent, rolled_back))

    def _publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._on_swap(snapshot)

    # --- the whole configuration -------------------------------------------------------------------------------------

    async def reload(self, author: Author) -> ReloadResult:
        """Raises ConfigError with the old configuration still serving."""
        async with self._reload_lock:
            try:
                return await asyncio.shield(self._take(await self._load(), author))
            except ConfigError as error:
                self._emit(ReloadFailed(str(error)))
                raise

    async def _take(self, loaded: Loaded, author: Author) -> ReloadResult:
        self.files = loaded.files
        fingerprint = loaded.digest
        warnings = tuple(map(str, loaded.warnings))
        if fingerprint == self.fingerprint:
            self._publish(replace(self.snapshot, sources=loaded.sources))  # lines may have moved
            self._emit(Reloaded(fingerprint, len(self.snapshot.states), changed=False))
            return ReloadResult(False, fingerprint, warnings=warnings)
        upstreams = self._upstreams_for(loaded.settings)  # first: what cannot be made changes nothing
        try:
            await self._introduce(upstreams)
            fresh = await _sliced(compiling(loaded, self.records))
            doors = await _sliced(self._make_doors(loaded.settings))
        except BaseException:
            self._dismiss(upstreams)
            raise
        async with self._lock:
            fresh = fresh.with_records({name: self.records.get(name, EMPTY) for name in fresh.states})
            absorbed = await self._absorb(fresh, author)
            old = self.snapshot  # with what was shifted while we compiled
            changed: dict[str, SeamRecord] = {}
            for name, state in fresh.states.items():  # what changed while we compiled
                if state.record is not self.records.get(name, EMPTY):
                    changed[name] = self.records.get(name, EMPTY)
            fresh = fresh.with_records(changed)
            moved = tuple(name for name in fresh.states if _moves(old, fresh, name))
            for name in moved:
                self.records[name] = self._bumped(name)  # If-Match of before must fail from now on
            fresh = fresh.with_records({name: self.records[name] for name in moved})
            self._swap_upstreams(upstreams)
            self.guards.keep((name, state.config) for name, state in fresh.states.items())
            self.fingerprint = fingerprint
            self.doors = doors
            self._publish(fresh)
        overridden = tuple(name for name in fresh.states if _loses_to_override(old, fresh, name))
        restart = _needs_restart(self._startup_settings, loaded.settings)
        self._emit(Reloaded(fingerprint, len(fresh.states), moved, overridden, restart))
        await self._audit(old, moved, author)
        return ReloadResult(True, fingerprint, overridden, absorbed, restart, warnings + breaches(fresh))

    async def _absorb(self, fresh: Snapshot, author: Author) -> tuple[str, ...]:
        """YAML has caught up with an override: the override has done its work."""
        absorbed = []
        for name, state in fresh.states.items():
            override = self.records.get(name, EMPTY).override
            declared = (state.config.declared_stage, state.config.declared_percent)
            if override is None or (override.stage, share(override.stage, override.percent)) != declared:
                continue
            record = replace(self.records[name], override=None, version=self.records[name].version + 1)
            after = _preview(fresh, name, record)
            row = NewRow(author.at, author.actor, "absorb", name, author.reason, described(state), described(after))
            try:
                await self._persist(name, record, row)
            except StoreError:
                break  # override and YAML are equal: keeping both changes nothing, and the reload must not wait
            self.records[name] = replace(self._bumped(name), override=None)  # a latch that came meanwhile stays
            absorbed.append(name)
        return tuple(absorbed)

    async def _audit(self, old: Snapshot, moved: tuple[str, ...], author: Author) -> None:
        """A history row for each seam whose effective state the new file changed. The file itself is the durable
        part, so a store that fails costs the rows only."""
        for count, name in enumerate(moved, 1):
            async with self._lock:
                before, after = old.states[name], self.snapshot.states[name]
                record = self.records[name]
                row = NewRow(
                    author.at, author.actor, "reload", name, author.reason, described(before), described(after)
                )
                try:
                    await self._persist(name, record, row)
                except StoreError:
                    break
            if count % _SLICE == 0:
                await asyncio.sleep(0)

    def _bumped(self, seam: str) -> SeamRecord:
        record = self.records.get(seam, EMPTY)
        return replace(record, version=record.version + 1)

    def _upstreams_for(self, settings: Settings) -> dict[str, Upstream]:
        """Upstreams whose own keys did not change are kept, with their pools. Raises ConfigError."""
        kept: dict[str, Upstream] = {}
        for name, config in settings.upstreams.items():
            current = self.upstreams.get(name)
            if current is not None and current.config == config:
                kept[name] = current
            else:
                kept[name] = self._make_upstream(name, config)
        return kept

    async def _introduce(self, upstreams: dict[str, Upstream]) -> None:
        """Start the new ones, and give discovery a moment, so that they have endpoints when requests come."""
        new = self._new(upstreams)
        for upstream in new:
            upstream.start()
        await first_answers(new)

    def _dismiss(self, upstreams: dict[str, Upstream]) -> None:
        """They were introduced, and no request will come."""
        for upstream in self._new(upstreams):
            upstream.close()

    def _new(self, upstreams: dict[str, Upstream]) -> list[Upstream]:
        return [upstream for name, upstream in upstreams.items() if self.upstreams.get(name) is not upstream]

    def _swap_upstreams(self, fresh: dict[str, Upstream]) -> None:
        """Requests in flight keep those that they have."""
        old, self.upstreams = self.upstreams, fresh
        for name, upstream in fresh.items():
            before = old.get(name)
            if before is upstream:
                continue
            if before is not None:
                upstream.take_over(before)
            upstream.watch()
        for name, upstream in old.items():
            if fresh.get(name) is not upstream:
                upstream.close(fresh.get(name))

    async def history(self, seam: str | None, limit: int) -> list[dict[str, Any]]:
        return [asdict(row) for row in await self.store.history(seam, limit)]

    def sweep(self) -> None:
        for upstream in self.upstreams.values():
            upstream.sweep()

    async def start(self) -> None:
        """Begin discovery and active probes. Returns once discovery has answered, or is late."""
        for upstream in self.upstreams.values():
            upstream.start()
            upstream.watch()
        await first_answers(self.upstreams.values())

    def close(self) -> None:
        for upstream in self.upstreams.values():
            upstream.close()


async def _sliced(steps: Generator[None, None, T]) -> T:
    """What `steps` makes in the end, with the event loop in between."""
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as done:
            made: T = done.value
            return made
        count += 1
        if count % _SLICE == 0:
            await asyncio.sleep(0)


async def first_answers(upstreams: Iterable[Upstream]) -> None:
    """Until each upstream that is told its endpoints knows them, for two seconds at most."""
    waits = []
    for upstream in upstreams:
        endpoints = upstream.endpoints
        if endpoints.source is not None and endpoints.found_at is None:
            event = asyncio.Event()
            endpoints.known = event.set
            waits.append(asyncio.ensure_future(event.wait()))
    if waits:
        _, late = await asyncio.wait(waits, timeout=_DISCOVERY_WAIT_S)
        for wait in late:
            wait.cancel()


def _held(key: BreakerKey, forced: Forced | None) -> dict[str, str]:
    return {"side": key[1], "route": key[2], "held": forced or "auto"}


def _check_version(state: SeamState, if_version: int | None) -> None:
    if if_version is not None and if_version != state.record.version:
        raise VersionMismatch(
            f"Seam {state.name!r} is at version {state.record.version}, not {if_version}: look at it again first."
        )


def _preview(snapshot: Snapshot, seam: str, record: SeamRecord) -> SeamState:
    return snapshot.with_records({seam: record}).states[seam]


def _moves(old: Snapshot, fresh: Snapshot, name: str) -> bool:
    before, after = old.states.get(name), fresh.states[name]
    return before is not None and (before.stage, before.percent) != (after.stage, after.percent)


def _loses_to_override(old: Snapshot, fresh: Snapshot, name: str) -> bool:
    before, state = old.states.get(name), fresh.states[name]
    if state.record.override is None:
        return False
    if before is None:  # new or back, with a record from earlier
        return state.unlatched != (state.config.declared_stage, state.config.declared_percent)
    return (before.config.declared_stage, before.config.declared_percent) != (
        state.config.declared_stage,
        state.config.declared_percent,
    )


def _needs_restart(running: Settings, wanted: Settings) -> tuple[str, ...]:
    changed = [key for key in _RESTART_KEYS if _value(running, key) != _value(wanted, key)]
    if (running.server.tls is None) != (wanted.server.tls is None):  # another certificate takes none
        changed.append("server.tls")
    return tuple(changed)


def _value(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value
