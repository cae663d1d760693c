"""Breakers and caps outlive shifts, rollbacks and reloads, as long as their own keys stay."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import InvalidChange, StoreError
from proxy.events import BreakerChanged, StoreFailed
from proxy.runtime import Author
from proxy.state.memory import MemoryStore
from proxy.upstreams.breaker import Breaker
from tests.support.runtime_rig import GatedStore, Rig, config, told

AUTHOR = Author(1.0, "ann", "a look")


def play(folder: Path, text: str, story: Any, store: MemoryStore | None = None) -> None:
    async def whole() -> None:
        rig = await Rig.started(folder, text, store or MemoryStore())
        await story(rig)

    work: Coroutine[Any, Any, None] = whole()
    told(work)


def breaker(rig: Rig, seam: str = "a") -> Breaker:
    rule, _ = rig.runtime.breakers(seam)[0]
    return rig.runtime.guards.breaker(rule)


def opened(rig: Rig) -> Breaker:
    found = breaker(rig)
    for _ in range(5):
        found.settle(found.admit(), True)
    assert found.state == "open"
    return found


def test_an_open_breaker_stays_open_over_shift_rollback_resume_and_other_peoples_reloads(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        open_one = opened(rig)
        await rig.shift("a", 10)
        await rig.rollback("a")
        await rig.resume("a")
        await rig.shift("a", stage="extracted")
        await rig.reload(config(a="percent: 5", b="percent: 2"))
        assert breaker(rig) is open_one
        assert open_one.state == "open"

    play(tmp_path, config(a="percent: 5", b="percent: 1"), story)


def test_a_changed_block_begins_anew_and_stays_as_an_operator_holds_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        open_one = opened(rig)
        await rig.reload(config(a="percent: 5, breaker: {failures: 9}"))
        fresh = breaker(rig)
        assert fresh is not open_one
        assert (fresh.state, fresh.config.failures) == ("closed", 9)
        await rig.runtime.force_breaker("a", "extracted", None, "open", AUTHOR)
        await rig.reload(config(a="percent: 5, breaker: {failures: 3}"))
        assert (breaker(rig).state, breaker(rig).forced) == ("open", "open")
        changes = [event for event in rig.events if isinstance(event, BreakerChanged)]
        assert [(event.was, event.to) for event in changes] == [
            ("closed", "open"),
            ("open", "closed"),
            ("closed", "open"),
        ]

    play(tmp_path, config(a="percent: 5"), story)


def test_the_breaker_of_a_seam_that_went_is_gone_and_comes_back_closed(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        opened(rig)
        await rig.reload(config(b="percent: 1"))
        assert rig.runtime.breakers("a") == []
        await rig.reload(config(a="percent: 5"))
        assert breaker(rig).state == "closed"

    play(tmp_path, config(a="percent: 5"), story)


def test_a_cap_is_resized_with_what_is_under_way(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        (decision,) = rig.state("a").plan.moved
        assert decision.fallback is not None
        cap = rig.runtime.guards.fallback_cap(decision.fallback)
        assert cap.take() and cap.take() and not cap.take()
        await rig.reload(config(a="percent: 5, fallback: {max_in_flight: 3}"))
        assert rig.runtime.guards.fallback_cap(decision.fallback) is cap
        assert cap.take() and not cap.take()

    play(tmp_path, config(a="percent: 5, fallback: {max_in_flight: 2}"), story)


def test_a_request_of_before_a_reload_makes_neither_cap_nor_breaker_of_before_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        (decision,) = rig.state("a").plan.moved
        assert decision.fallback is not None and decision.breaker is not None
        await rig.reload(config(a="percent: 5, fallback: {max_in_flight: 3}, breaker: {failures: 2}"))
        assert rig.runtime.guards.fallback_cap(decision.fallback).max_in_flight == 3
        assert rig.runtime.guards.breaker(decision.breaker).config.failures == 2
        await rig.reload(config(b="percent: 5"))
        assert rig.runtime.guards.fallback_cap(decision.fallback).max_in_flight == 1, "of a seam that is gone"
        assert rig.runtime.guards.breaker(decision.breaker).config.failures == 5

    play(tmp_path, config(a="percent: 5, fallback: {max_in_flight: 1}"), story)


def test_holding_a_breaker_is_on_record(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.runtime.force_breaker("a", "extracted", None, "open", AUTHOR)
        (row,) = await rig.history("a")
        assert (row.action, row.actor, row.reason) == ("breaker", "ann", "a look")
        assert row.before["breakers"] == [{"side": "extracted", "route": "", "held": "auto"}]
        assert row.after["breakers"] == [{"side": "extracted", "route": "", "held": "open"}]

    play(tmp_path, config(a="percent: 5"), story)


def test_a_store_that_fails_does_not_hold_a_breaker_up(tmp_path: Path) -> None:
    store = GatedStore()

    async def story(rig: Rig) -> None:
        store.down = True
        await rig.runtime.force_breaker("a", "extracted", None, "open", AUTHOR)
        assert breaker(rig).state == "open"
        assert [event.seam for event in rig.events if isinstance(event, StoreFailed)] == ["a"]
        with pytest.raises(StoreError):
            await rig.shift("a", 10)

    play(tmp_path, config(a="percent: 5"), story, store)


@pytest.mark.parametrize(("side", "route"), [("legacy", None), ("extracted", "/nowhere")])
def test_a_breaker_that_is_not_there_cannot_be_held(tmp_path: Path, side: Any, route: str | None) -> None:
    async def story(rig: Rig) -> None:
        with pytest.raises(InvalidChange, match="no such breaker"):
            await rig.runtime.force_breaker("a", side, route, "open", AUTHOR)

    play(tmp_path, config(a="percent: 5"), story)
