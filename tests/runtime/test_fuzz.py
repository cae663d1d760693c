"""Random changes in random order over a slow store that fails now and then: what must hold whatever happens."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import ProxyError, StoreError
from proxy.snapshot import SeamRecord
from proxy.state.memory import MemoryStore
from proxy.state.store import HistoryRow, NewRow
from tests.support.runtime_rig import Rig, config, told

SEAMS = ("a", "b")
OPERATIONS = ("rollback", "rollback", "resume", "resume", "shift", "reset", "reload", "durable")
SHARES = {"a": (10, 50), "b": (20, 30)}  # few enough for shifts and files to meet: overrides are absorbed
STEPS = 40


class SlowStore(MemoryStore):
    """Each write takes some turns of the loop, before it is stored and after; one in ten fails, all while `down`."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.down = False
        self._rng = rng

    async def put(self, seam: str, record: SeamRecord, row: NewRow, expected_version: int | None) -> HistoryRow:
        await self._dawdle(4)
        if self.down or self._rng.random() < 0.1:
            raise StoreError("disk is full")
        stored = await super().put(seam, record, row, expected_version)
        await self._dawdle(6)
        return stored

    async def _dawdle(self, turns: int) -> None:
        for _ in range(self._rng.randrange(turns)):
            await asyncio.sleep(0)


class Operators:
    """Several people at once. `asked` counts what they asked for; the dicts say when each seam's last was asked."""

    def __init__(self, rig: Rig, rng: random.Random) -> None:
        self.rig = rig
        self.done: Counter[str] = Counter()
        self._rng = rng
        self._asked = 0
        self._rolled_back = dict.fromkeys(SEAMS, 0)
        self._resumed = dict.fromkeys(SEAMS, 0)
        self._versions = dict.fromkeys(SEAMS, 0)

    async def ask(self, operation: str, seam: str) -> None:
        self._asked += 1
        try:
            await self._do(operation, seam, self._asked)
        except ProxyError:
            return
        self.done[operation] += 1

    async def _do(self, operation: str, seam: str, asked: int) -> None:
        match operation:
            case "rollback":
                self._rolled_back[seam] = asked
                await self.rig.rollback(seam)
            case "resume":
                await self.rig.resume(seam)
                self._check_resume(seam, asked)
            case "shift":
                await self.rig.shift(seam, self._share(seam))
            case "reset":
                await self.rig.reset(seam)
            case "reload":
                await self.rig.reload(config(**{name: f"percent: {self._share(name)}" for name in SEAMS}))
            case _:
                await self.rig.runtime.make_durable()

    def _share(self, seam: str) -> int:
        return self._rng.choice(SHARES[seam])

    def _check_resume(self, seam: str, asked: int) -> None:
        if self._rolled_back[seam] > asked:
            assert self.rig.state(seam).record.latch is not None, f"a resume undid a later rollback of {seam}"
        self._resumed[seam] = max(self._resumed[seam], asked)

    def check_versions(self) -> None:
        for seam, before in self._versions.items():
            self._versions[seam] = self.rig.state(seam).record.version
            assert self._versions[seam] >= before, f"the version of {seam} fell"

    def check_latches(self) -> None:
        for seam in SEAMS:
            if self._rolled_back[seam] > self._resumed[seam]:
                assert self.rig.state(seam).record.latch is not None, f"the rollback of {seam} is lost"


def override_told(rows: list[HistoryRow]) -> Any:
    """The override that the history, oldest row first, ends with."""
    told = None
    for row in rows:
        if row.action in ("shift", "reset", "absorb"):
            told = row.after["override"]
    return told


async def play(folder: Path, seed: int) -> Counter[str]:
    """One run to the end; returns how many operations of each kind were carried out."""
    rng = random.Random(seed)
    store = SlowStore(rng)
    rig = await Rig.started(folder, config(a="percent: 50", b="percent: 20"), store)
    operators = Operators(rig, rng)
    tasks = []
    for _ in range(STEPS):
        store.down = rng.random() < 0.15
        tasks.append(asyncio.create_task(operators.ask(rng.choice(OPERATIONS), rng.choice(SEAMS))))
        for _ in range(rng.randrange(8)):
            await asyncio.sleep(0)
            operators.check_versions()
    store.down = False
    await asyncio.gather(*tasks)
    while not all(map(rig.runtime.durable, SEAMS)):
        await rig.runtime.make_durable()
    operators.check_versions()
    operators.check_latches()
    await _check_store(rig)
    return operators.done


async def _check_store(rig: Rig) -> None:
    """What is in force is what a kill would leave, and what the history tells."""
    again = await rig.restarted()
    for seam in SEAMS:
        now, then = rig.state(seam).record, again.state(seam).record
        assert (now.override, now.latch) == (then.override, then.latch), f"store and memory of {seam} have parted"
        override = override_told(await rig.history(seam))
        percent = None if now.override is None else now.override.percent
        assert percent == (override and override["percent"]), f"the history of {seam} tells another override"


@pytest.mark.parametrize("seed", range(40))
def test_no_order_of_changes_loses_one(tmp_path: Path, seed: int) -> None:
    done = told(play(tmp_path, seed))
    assert done.total() > STEPS // 4, f"hardly anything was carried out: {done}"


@pytest.mark.soak
@pytest.mark.parametrize("hundred", range(8))
def test_hundreds_of_orders_of_changes_lose_none(tmp_path: Path, hundred: int) -> None:
    for seed in range(100 * hundred, 100 * hundred + 100):
        told(play(tmp_path, seed))
