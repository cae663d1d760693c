"""A real runtime over a real configuration file and a store in memory whose writes can be held up or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from proxy.config.load import Loaded, load
from proxy.config.model import Stage
from proxy.errors import StoreError
from proxy.events import Event
from proxy.rollout import stage as moves
from proxy.routing.table import check
from proxy.runtime import Author, ReloadResult, Runtime
from proxy.snapshot import SeamRecord, SeamState, Snapshot
from proxy.state.memory import MemoryStore
from proxy.state.store import HistoryRow, NewRow
from tests.support.doors import make_doors
from tests.support.upstreams import make_breaker, make_upstream

T = TypeVar("T")

_LIMIT_S = 20.0  # far beyond what any story takes: one that waits for ever fails
_HEAD = """\
version: 1
server: {listen: 127.0.0.1:18080}
admin: {listen: 127.0.0.1:19901}
store: "memory:"
upstreams:
  monolith: {endpoints: [http://127.0.0.1:1]}
  catalog: {endpoints: [http://127.0.0.1:2]}
default: monolith
"""
_SEAM = "  {name}: {{routes: [{{path: /{name}}}], sticky_by: [client_ip], {keys}}}\n"


def config(**seams: str) -> str:
    """A configuration file with these seams: their YAML keys by name, on top of one route and the upstream."""
    return uncut(**{name: f"extracted: catalog, {keys}" for name, keys in seams.items()})


def uncut(**seams: str) -> str:
    """The same without an `extracted` of its own accord."""
    return _HEAD + "seams:\n" + "".join(_SEAM.format(name=name, keys=keys) for name, keys in seams.items())


def told(story: Coroutine[Any, Any, T]) -> T:
    """Run a story to its end on a loop of its own."""

    async def limited() -> T:
        async with asyncio.timeout(_LIMIT_S):
            return await story

    return asyncio.run(limited())


async def turns(count: int = 20) -> None:
    """Let everything that can go on without the store or a clock go on."""
    for _ in range(count):
        await asyncio.sleep(0)


def _any(_: NewRow) -> bool:
    return True


class GatedStore(MemoryStore):
    """Writes stop at a gate while it is shut; with `down` they fail, those behind the gate included."""

    def __init__(self) -> None:
        super().__init__(self._refuse)
        self.down = False
        self._shut: Callable[[NewRow], bool] | None = None
        self._written = True
        self._open_gate = asyncio.Event()
        self._arrived = asyncio.Event()

    def shut(self, which: Callable[[NewRow], bool] = _any, *, written: bool = True) -> None:
        """Hold writes of such rows: when they are stored but not yet reported, or before anything is `written`."""
        self._shut, self._written = which, written
        self._open_gate.clear()
        self._arrived.clear()

    def open_gate(self) -> None:
        self._shut = None
        self._open_gate.set()

    async def arrival(self) -> None:
        """Return once a write stands at the gate."""
        await self._arrived.wait()

    async def put(self, seam: str, record: SeamRecord, row: NewRow, expected_version: int | None) -> HistoryRow:
        held = self._shut is not None and self._shut(row)
        if held and not self._written:
            await self._pass()
        stored = await super().put(seam, record, row, expected_version)
        if held and self._written:
            await self._pass()
        return stored

    async def _pass(self) -> None:
        self._arrived.set()
        await self._open_gate.wait()

    def _refuse(self, operation: str) -> None:
        if self.down and operation == "put":
            raise StoreError("disk is full")


class Rig:
    """`runtime` serves what `write` wrote; `store` outlives it as a disk would. Make it with `Rig.started`."""

    def __init__(self, path: Path, store: MemoryStore, records: dict[str, SeamRecord]) -> None:
        self.path = path
        self.store = store
        self.events: list[Event] = []
        self.runtime = Runtime(
            self._load_now(),
            records,
            store,
            load=self._load,
            make_upstream=make_upstream,
            make_breaker=partial(make_breaker, emit=self._emit),
            make_doors=make_doors,
            emit=self._emit,
            on_swap=_ignore,
        )

    @classmethod
    async def started(cls, folder: Path, text: str, store: MemoryStore) -> Rig:
        path = folder / "fig.yaml"
        path.write_text(text)
        await store.open()
        return cls(path, store, await store.load())

    async def restarted(self) -> Rig:
        """kill -9 and a new start: what file and store hold is all there is."""
        return Rig(self.path, self.store, await self.store.load())

    def state(self, seam: str) -> SeamState:
        return self.runtime.state(seam)

    async def history(self, seam: str) -> list[HistoryRow]:
        """Oldest first."""
        return list(reversed(await self.store.history(seam)))

    async def shift(
        self, seam: str, percent: float | None = None, stage: Stage | None = None, if_version: int | None = None
    ) -> SeamState:
        plan = moves.shift(_author(), stage=stage, percent=percent)
        return await self.runtime.advance(seam, "shift", _author(), plan, if_version)

    async def resume(self, seam: str, percent: float | None = None) -> SeamState:
        return await self.runtime.advance(seam, "resume", _author(), moves.resume(_author(), percent))

    async def reset(self, seam: str) -> SeamState:
        return await self.runtime.advance(seam, "reset", _author(), moves.reset())

    async def rollback(self, seam: str) -> SeamState:
        return await self.runtime.retreat(seam, _author("pager"))

    async def reload(self, text: str | None = None) -> ReloadResult:
        """Reload, with `text` in the file from now on."""
        if text is not None:
            self.path.write_text(text)
        return await self.runtime.reload(_author("file"))

    def _emit(self, event: Event) -> None:
        self.events.append(event)

    async def _load(self) -> Loaded:
        return self._load_now()

    def _load_now(self) -> Loaded:
        return load(self.path, {}, checks=(check,))


def _author(actor: str = "ann") -> Author:
    return Author(1.0, actor, "because")


def _ignore(_: Snapshot) -> None:
    """Nothing here has a data port to tell."""
