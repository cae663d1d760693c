"""Whatever else is on its way, a rollback acts at once, stays, and is there after a kill."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import Conflict, StoreError
from proxy.events import StoreFailed, StoreRecovered
from tests.support.runtime_rig import GatedStore, Rig, config, told, turns

START = config(a="percent: 50", b="percent: 1")


def _change(rig: Rig, name: str) -> Coroutine[Any, Any, Any]:
    match name:
        case "shift":
            return rig.shift("a", 90)
        case "reset":
            return rig.reset("a")
        case "resume":
            return rig.resume("a")
        case "resume at a share":
            return rig.resume("a", 70)
        case "reload":
            return rig.reload(config(a="percent: 55", b="percent: 7"))
        case _:
            return rig.reload(config(a="percent: 60", b="percent: 7"))  # what the override says: it is absorbed


@pytest.mark.parametrize("failing", [False, True], ids=["store works", "store fails from then on"])
@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("name", ["shift", "reset", "resume", "resume at a share", "reload", "absorb"])
def test_a_rollback_wins_over_a_change_that_is_being_written(
    tmp_path: Path, name: str, written: bool, failing: bool
) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        await rig.shift("a", 60)
        if name.startswith("resume"):
            await rig.rollback("a")
        store.shut(written=written)
        changing = asyncio.create_task(_change(rig, name))
        await store.arrival()
        rolling = asyncio.create_task(rig.rollback("a"))
        await turns()
        assert rig.state("a").percent == 0
        store.down = failing
        store.open_gate()
        assert (await rolling).percent == 0
        await asyncio.gather(changing, return_exceptions=True)
        assert rig.state("a").percent == 0
        store.down = False
        await rig.runtime.make_durable()
        assert rig.runtime.durable("a")
        assert (await rig.restarted()).state("a").percent == 0

    told(story())


def test_a_second_rollback_while_a_resume_is_being_written_is_there_after_a_kill(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        await rig.rollback("a")
        store.shut()
        resuming = asyncio.create_task(rig.resume("a"))
        await store.arrival()
        rolling = asyncio.create_task(rig.rollback("a"))
        await turns()
        store.open_gate()
        assert (await rolling).record.latch is not None
        with pytest.raises(Conflict, match="rolled back again while it was being resumed"):
            await resuming
        await rig.runtime.make_durable()
        assert rig.runtime.durable("a")
        assert (await rig.restarted()).state("a").record.latch is not None

    told(story())


def test_a_rollback_beats_a_resume_that_waits_behind_another_seam(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        await rig.rollback("a")
        store.shut()
        other = asyncio.create_task(rig.shift("b", 5))
        await store.arrival()
        resuming = asyncio.create_task(rig.resume("a"))
        await turns()
        rolling = asyncio.create_task(rig.rollback("a"))
        await turns()
        store.open_gate()
        await asyncio.gather(other, rolling)
        with pytest.raises(Conflict, match="rolled back again after this resume was asked for"):
            await resuming
        assert (rig.state("a").percent, rig.state("b").percent) == (0, 5)

    told(story())


def test_a_resume_does_not_clear_a_latch_that_was_set_after_it_was_asked_for(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        store.shut()
        other = asyncio.create_task(rig.shift("b", 5))
        await store.arrival()
        resuming = asyncio.create_task(rig.resume("a"))  # there is nothing to resume yet
        await turns()
        rolling = asyncio.create_task(rig.rollback("a"))
        await turns()
        store.open_gate()
        await asyncio.gather(other, rolling)
        with pytest.raises(Conflict):
            await resuming
        assert rig.state("a").percent == 0

    told(story())


def test_a_rollback_answers_although_a_reload_removes_its_seam_meanwhile(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        store.shut()
        rolling = asyncio.create_task(rig.rollback("a"))
        await store.arrival()
        reloading = asyncio.create_task(rig.reload(config(b="percent: 1")))
        await turns()
        store.open_gate()
        assert (await rolling).percent == 0
        assert (await reloading).changed
        assert "a" not in rig.runtime.snapshot.states
        assert rig.runtime.records["a"].latch is not None

    told(story())


def test_a_seam_that_comes_back_is_still_rolled_back(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        await rig.rollback("a")
        await rig.reload(config(b="percent: 1"))
        await rig.reload(START)
        assert (rig.state("a").stage, rig.state("a").percent) == ("legacy", 0)
        assert (await rig.restarted()).state("a").percent == 0

    told(story())


def test_a_rollback_that_the_store_refuses_acts_and_says_that_it_is_not_durable(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        store.down = True
        assert (await rig.rollback("a")).percent == 0
        assert not rig.runtime.durable("a")
        assert rig.events[-1] == StoreFailed("memory", "a", "disk is full")
        store.down = False
        await rig.runtime.make_durable()
        assert rig.runtime.durable("a")
        assert StoreRecovered("memory", "a") in rig.events
        assert [row.action for row in await rig.history("a")] == ["rollback"]

    told(story())


def test_a_change_writes_a_rollback_down_first_that_is_in_memory_only(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        store.down = True
        await rig.rollback("a")
        store.down = False
        await rig.resume("a")
        await rig.runtime.make_durable()
        assert [row.action for row in await rig.history("a")] == ["rollback", "resume"]
        assert rig.state("a").percent == (await rig.restarted()).state("a").percent == 50

    told(story())


def test_a_rollback_of_what_is_rolled_back_keeps_the_first_latch(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        first = await rig.rollback("a")
        assert await rig.rollback("a") == first
        assert [row.action for row in await rig.history("a")] == ["rollback"]

    told(story())


@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
def test_a_shift_whose_caller_is_gone_is_carried_out(tmp_path: Path, written: bool) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        store.shut(written=written)
        shifting = asyncio.create_task(rig.shift("a", 90))
        await store.arrival()
        shifting.cancel()
        await asyncio.wait({shifting})
        assert shifting.cancelled()
        store.open_gate()
        await turns()
        assert rig.state("a").percent == (await rig.restarted()).state("a").percent == 90

    told(story())


def test_a_shift_that_the_store_refuses_changes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        before = rig.state("a")
        store.down = True
        with pytest.raises(StoreError, match="disk is full"):
            await rig.shift("a", 90)
        assert rig.state("a") is before
        assert await rig.history("a") == []

    told(story())
