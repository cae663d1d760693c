"""A reload takes the file's part and nobody else's: what is changed beside it stays, and it names what it did."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.errors import ConfigError, VersionMismatch
from proxy.events import Reloaded, ReloadFailed
from tests.support.runtime_rig import GatedStore, Rig, config, told, turns, uncut

START = config(a="percent: 50", b="percent: 1")


def test_a_shift_that_is_being_written_when_a_reload_begins_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        store.shut()
        shifting = asyncio.create_task(rig.shift("a", 0))
        await store.arrival()
        reloading = asyncio.create_task(rig.reload(config(a="percent: 50", b="percent: 2")))
        await turns()
        store.open_gate()
        assert (await shifting).percent == 0
        assert (await reloading).absorbed == ()
        assert (rig.state("a").percent, rig.state("b").percent) == (0, 2)

    told(story())


def test_a_shift_between_two_slices_of_the_compiler_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        many = {f"s{number}": "percent: 50" for number in range(60)}
        rig = await Rig.started(tmp_path, config(**many), GatedStore())
        reloading = asyncio.create_task(rig.reload(config(**{**many, "s59": "percent: 51"})))
        await turns(3)
        assert (await rig.shift("s0", 0)).percent == 0
        assert not reloading.done()
        assert (await reloading).changed
        assert (rig.state("s0").percent, rig.state("s59").percent) == (0, 51)

    told(story())


def test_a_shift_during_a_reload_is_not_told_as_the_files_doing(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        store.shut()
        shifting = asyncio.create_task(rig.shift("a", 30))
        await store.arrival()
        reloading = asyncio.create_task(rig.reload(config(a="percent: 50", b="percent: 2")))
        await turns()
        store.open_gate()
        await asyncio.gather(shifting, reloading)
        rows = [(row.action, row.before["percent"], row.after["percent"]) for row in await rig.history("a")]
        assert rows == [("shift", 50, 30)]
        assert Reloaded(rig.runtime.fingerprint, 2, moved=("b",)) in rig.events

    told(story())


def test_a_seam_that_the_file_moves_has_a_row_that_says_from_where_to_where(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        await rig.reload(config(a="stage: extracted", b="percent: 1"))
        rows = [(row.action, row.before["percent"], row.after["percent"]) for row in await rig.history("a")]
        assert rows == [("reload", 50, 100)]
        assert await rig.history("b") == []

    told(story())


def test_an_override_that_the_file_has_caught_up_with_is_absorbed(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        await rig.shift("a", 60)
        await rig.shift("b", 5)
        result = await rig.reload(config(a="percent: 60", b="percent: 6"))
        assert (result.absorbed, result.overridden) == (("a",), ("b",))
        assert rig.state("a").record.override is None
        assert (rig.state("a").percent, rig.state("b").percent) == (60, 5)
        assert [row.action for row in await rig.history("a")] == ["shift", "absorb"]
        assert (await rig.restarted()).state("a").record == rig.state("a").record

    told(story())


def test_an_override_is_absorbed_under_a_latch_too(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        await rig.shift("a", 60)
        await rig.rollback("a")
        assert (await rig.reload(config(a="percent: 60", b="percent: 1"))).absorbed == ("a",)
        assert rig.state("a").record.override is None
        assert (rig.state("a").percent, rig.state("a").unlatched) == (0, ("canary", 60))

    told(story())


def test_a_store_that_fails_leaves_the_override_and_takes_the_file(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        await rig.shift("a", 60)
        store.down = True
        result = await rig.reload(config(a="percent: 60", b="percent: 7"))
        assert (result.changed, result.absorbed) == (True, ())
        assert rig.state("a").record.override is not None
        assert (rig.state("a").percent, rig.state("b").percent) == (60, 7)

    told(story())


def test_a_rollback_does_not_bring_an_absorbed_override_back(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        await rig.shift("a", 60)
        await rig.shift("b", 5)
        store.shut(lambda row: (row.seam, row.action) == ("b", "absorb"))
        reloading = asyncio.create_task(rig.reload(config(a="percent: 60", b="percent: 5")))
        await store.arrival()
        rolling = asyncio.create_task(rig.rollback("a"))
        await turns()
        store.open_gate()
        await rolling
        assert "a" in (await reloading).absorbed
        assert rig.state("a").record.override is None
        assert rig.state("a").percent == 0
        assert (await rig.restarted()).state("a").record == rig.state("a").record

    told(story())


@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
def test_what_a_rollback_leaves_of_an_absorption_is_what_the_history_tells(tmp_path: Path, written: bool) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        await rig.shift("a", 60)
        store.shut(written=written)
        reloading = asyncio.create_task(rig.reload(config(a="percent: 60", b="percent: 1")))
        await store.arrival()
        rolling = asyncio.create_task(rig.rollback("a"))
        await turns()
        store.open_gate()
        await rolling
        absorbed = (await reloading).absorbed
        told_of = "absorb" in [row.action for row in await rig.history("a")]
        gone = rig.state("a").record.override is None
        assert (told_of, absorbed) == ((True, ("a",)) if gone else (False, ()))
        assert rig.state("a").percent == 0

    told(story())


def test_a_version_read_before_the_file_moved_the_seam_is_out_of_date(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, config(a="percent: 10", b="percent: 1"), store)
        read = rig.state("a").record.version
        store.shut()
        reloading = asyncio.create_task(rig.reload(config(a="percent: 50", b="percent: 5")))
        await store.arrival()
        assert rig.state("a").percent == 50
        shifting = asyncio.create_task(rig.shift("a", 20, if_version=read))
        await turns()
        store.open_gate()
        with pytest.raises(VersionMismatch):
            await shifting
        await reloading
        assert rig.state("a").percent == 50

    told(story())


def test_a_version_read_before_a_reload_that_leaves_the_seam_alone_is_good(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        read = rig.state("a").record.version
        await rig.reload(config(a="percent: 50", b="percent: 5"))
        assert (await rig.shift("a", 20, if_version=read)).percent == 20

    told(story())


def test_a_seam_that_comes_back_under_an_old_override_is_named(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        await rig.shift("a", 80)
        await rig.reload(config(b="percent: 1"))
        assert rig.runtime.records["a"].override is not None
        result = await rig.reload(config(a="stage: legacy", b="percent: 1"))
        assert result.overridden == ("a",)
        assert rig.state("a").percent == 80

    told(story())


def test_an_override_that_the_edit_does_not_concern_is_not_named(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        await rig.shift("a", 80)
        result = await rig.reload(config(a="percent: 50, owner: team-a", b="percent: 1"))
        assert (result.changed, result.overridden) == (True, ())

    told(story())


def test_a_seam_that_loses_its_extracted_upstream_is_legacy(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        await rig.shift("a", 80)
        await rig.reload(uncut(a="stage: legacy", b="extracted: catalog, percent: 1"))
        assert rig.state("a").config.extracted is None
        assert (rig.state("a").stage, rig.state("a").percent) == ("legacy", 0)

    told(story())


def test_a_file_with_a_mistake_leaves_everything_as_it_was(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        before = rig.runtime.snapshot
        with pytest.raises(ConfigError):
            await rig.reload(START.replace("percent: 50", "percent: 101"))
        assert rig.runtime.snapshot is before
        assert isinstance(rig.events[-1], ReloadFailed)
        assert (await rig.reload(START)).changed is False

    told(story())


def test_an_equal_file_changes_nothing_but_the_lines_that_keys_stand_on(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        before = rig.runtime.snapshot
        result = await rig.reload("# a line more\n" + START)
        assert result.changed is False
        assert rig.runtime.snapshot.states is before.states
        assert rig.runtime.snapshot.sources["seams.a"] != before.sources["seams.a"]
        assert await rig.history("a") == []

    told(story())


def test_only_upstreams_whose_own_keys_changed_are_made_anew(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        before = rig.runtime.upstreams
        await rig.reload(START.replace("127.0.0.1:2]", "127.0.0.1:3]"))
        assert rig.runtime.upstreams["monolith"] is before["monolith"]
        assert rig.runtime.upstreams["catalog"] is not before["catalog"]
        assert rig.runtime.upstreams["catalog"].endpoints.all[0].address.authority == "127.0.0.1:3"

    told(story())


def test_keys_that_wait_for_a_restart_are_named_until_they_are_back(tmp_path: Path) -> None:
    async def story() -> None:
        rig = await Rig.started(tmp_path, START, GatedStore())
        moved = START.replace(":18080", ":18081")
        assert (await rig.reload(moved)).needs_restart == ("server.listen",)
        named = (await rig.reload(moved.replace("percent: 50", "percent: 40"))).needs_restart
        assert named == ("server.listen",)
        assert (await rig.reload(START)).needs_restart == ()

    told(story())


def test_a_reload_whose_caller_is_gone_is_carried_out(tmp_path: Path) -> None:
    async def story() -> None:
        store = GatedStore()
        rig = await Rig.started(tmp_path, START, store)
        await rig.shift("a", 60)
        store.shut()
        reloading = asyncio.create_task(rig.reload(config(a="percent: 60", b="percent: 7")))
        await store.arrival()
        reloading.cancel()
        await asyncio.wait({reloading})
        assert reloading.cancelled()
        store.open_gate()
        await turns()
        assert rig.state("a").record.override is None
        assert rig.state("b").percent == 7

    told(story())
