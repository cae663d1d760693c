"""The store changes hands only with everything in it, and may come back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.errors import StoreError
from proxy.runtime import Author
from tests.support.runtime_rig import GatedStore, Rig, config, told, turns

START = config(a="percent: 50", b="percent: 1")


def test_a_rollback_that_comes_while_the_store_is_let_go_is_written_first(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        store.shut()
        shifting = asyncio.create_task(rig.shift("a", 60))
        await store.arrival()
        going = asyncio.create_task(rig.runtime.let_go())
        rolling = asyncio.create_task(rig.rollback("b"))
        await turns()
        assert not rig.runtime.away
        store.open_gate()
        await asyncio.gather(shifting, rolling, going)
        await store.open()
        successor = await rig.restarted()
        assert (successor.state("a").percent, successor.state("b").record.latch is not None) == (60, True)

    told(story())


def test_the_store_is_kept_while_a_rollback_is_in_memory_only(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        store.down = True
        await rig.rollback("a")
        with pytest.raises(StoreError):
            await rig.runtime.let_go()
        assert (rig.runtime.volatile, rig.runtime.away) == (True, False)
        store.down = False
        await rig.runtime.let_go()
        await store.open()
        assert (await rig.restarted()).state("a").record.latch is not None

    told(story())


def test_nothing_changes_while_the_store_is_away_but_what_rolls_back(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        await rig.runtime.let_go()
        with pytest.raises(StoreError, match="next process"):
            await rig.shift("a", 60)
        rig.runtime.follow("a", Author(2.0, "the next process", "rolled back there"))
        await rig.rollback("b")  # by a file: whoever owns the store sees it, too
        assert (rig.state("a").percent, rig.state("b").percent) == (0, 0)
        await rig.runtime.take_back()
        await rig.runtime.make_durable()
        assert rig.runtime.durable("b")

    told(story())
