"""One behaviour for every store: the same class runs over memory and SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import Stage
from proxy.errors import StoreError, VersionMismatch
from proxy.snapshot import Latch, Override, SeamRecord
from proxy.state.memory import MemoryStore
from proxy.state.sqlite import SqliteStore
from proxy.state.store import NewRow, Store, numbered, record_from, to_json

T = TypeVar("T")

CANARY = SeamRecord(Override("canary", 12.5, 100.0, "ann", "try it"), None, 1)
LATCHED = SeamRecord(CANARY.override, Latch(200.0, "bob", "errors"), 2)


def row(seam: str = "catalog", **changes: Any) -> NewRow:
    words: dict[str, Any] = {"at": 1.5, "actor": "ann", "action": "shift", "seam": seam, "reason": "because"}
    return NewRow(**{**words, "before": {"percent": 0}, "after": {"percent": 12.5}, **changes})


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "var" / "fig.db")


def use(store: Store, story: Callable[[Store], Awaitable[T]]) -> T:
    async def told() -> T:
        await store.open()
        try:
            return await story(store)
        finally:
            await store.close()

    return asyncio.run(told())


class TestStore:
    def test_a_new_store_holds_nothing(self, store: Store) -> None:
        async def story(store: Store) -> None:
            await store.ping()
            assert (await store.load(), await store.history(None)) == ({}, [])

        use(store, story)

    def test_a_put_replaces_the_record_and_appends_its_row(self, store: Store) -> None:
        async def story(store: Store) -> None:
            first = await store.put("catalog", CANARY, row(), 0)
            second = await store.put("catalog", LATCHED, row(action="rollback"), 1)
            assert await store.load() == {"catalog": LATCHED}
            assert await store.history("catalog") == [second, first]
            assert second.id > first.id
            assert first == numbered(row(), first.id)

        use(store, story)

    def test_contents_outlive_a_close(self, store: Store) -> None:
        kept = use(store, lambda store: store.put("catalog", LATCHED, row(), None))

        async def story(store: Store) -> None:
            assert await store.load() == {"catalog": LATCHED}
            assert await store.history(None) == [kept]

        use(store, story)

    @pytest.mark.parametrize("expected", [0, 2, 7])
    def test_a_put_on_another_version_changes_nothing(self, store: Store, expected: int) -> None:
        async def story(store: Store) -> None:
            first = await store.put("catalog", CANARY, row(), 0)
            with pytest.raises(VersionMismatch, match=f"version 1, not {expected}"):
                await store.put("catalog", LATCHED, row(), expected)
            assert (await store.load(), await store.history(None)) == ({"catalog": CANARY}, [first])
            await store.put("catalog", LATCHED, row(), 1)
            assert await store.load() == {"catalog": LATCHED}

        use(store, story)

    def test_a_put_without_expectation_wins_over_any_version(self, store: Store) -> None:
        async def story(store: Store) -> None:
            await store.put("catalog", LATCHED, row(), None)
            await store.put("catalog", CANARY, row(), None)
            assert await store.load() == {"catalog": CANARY}

        use(store, story)

    def test_of_two_puts_on_one_version_one_wins(self, store: Store) -> None:
        async def story(store: Store) -> None:
            puts = (store.put("catalog", CANARY, row(actor=actor), 0) for actor in ("ann", "bob"))
            outcomes = await asyncio.gather(*puts, return_exceptions=True)
            assert sum(isinstance(outcome, VersionMismatch) for outcome in outcomes) == 1
            assert len(await store.history(None)) == 1

        use(store, story)

    def test_history_is_newest_first_bounded_and_by_seam(self, store: Store) -> None:
        async def story(store: Store) -> None:
            names = ["catalog", "orders", "catalog", "orders", "catalog"]
            rows = [await store.put(name, CANARY, row(name, at=at), None) for at, name in enumerate(names)]
            assert await store.history(None) == rows[::-1]
            assert await store.history(None, limit=2) == [rows[4], rows[3]]
            assert await store.history("catalog", limit=2) == [rows[4], rows[2]]
            assert await store.history("search") == await store.history(None, limit=0) == []

        use(store, story)

    def test_history_keeps_its_rows_when_the_caller_changes_its_own(self, store: Store) -> None:
        async def story(store: Store) -> None:
            after: dict[str, Any] = {"override": {"percent": 5}}
            await store.put("catalog", CANARY, row(after=after), None)
            after["override"]["percent"] = 99
            assert (await store.history(None))[0].after == {"override": {"percent": 5}}

        use(store, story)

    def test_text_that_utf8_cannot_carry_is_escaped(self, store: Store) -> None:
        async def story(store: Store) -> None:
            latched = SeamRecord(None, Latch(1.0, "ann", "bad \ud800"), 1)
            stored = await store.put("catalog", latched, row(reason="bad \ud800"), None)
            assert stored.reason == "bad \\ud800"
            assert await store.history(None) == [stored]
            assert await store.load() == {"catalog": latched}

        use(store, story)

    def test_what_json_cannot_say_is_refused_and_nothing_stored(self, store: Store) -> None:
        async def story(store: Store) -> None:
            with pytest.raises(StoreError, match="pass JSON types only"):
                await store.put("catalog", CANARY, row(after={"when": object()}), None)
            assert (await store.load(), await store.history(None)) == ({}, [])

        use(store, story)

    @pytest.mark.parametrize("operation", ["load", "put", "history", "ping"])
    @pytest.mark.parametrize("closed", [False, True])
    def test_a_store_that_is_not_open_says_so(self, store: Store, operation: str, closed: bool) -> None:
        calls = {
            "load": lambda: store.load(),
            "put": lambda: store.put("catalog", CANARY, row(), None),
            "history": lambda: store.history(None),
            "ping": lambda: store.ping(),
        }

        async def story() -> None:
            if closed:
                await store.open()
                await store.close()
                await store.close()
            with pytest.raises(StoreError, match="is not open"):
                await calls[operation]()

        asyncio.run(story())


finite = st.floats(allow_nan=False, allow_infinity=False)
overrides = st.builds(Override, st.sampled_from(get_args(Stage)), st.floats(0, 100), finite, st.text(), st.text())
latches = st.builds(Latch, finite, st.text(), st.text())


@given(st.builds(SeamRecord, st.none() | overrides, st.none() | latches, st.integers(0)))
def test_a_record_comes_back_from_its_texts(record: SeamRecord) -> None:
    override, latch = (to_json(part) if part else None for part in (record.override, record.latch))
    assert record_from(override, latch, record.version) == record


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"stage": "canary", "percent": "50", "at": 1, "by": "", "reason": ""}',
        '{"stage": "canary", "percent": 5000, "at": 1, "by": "", "reason": ""}',
        '{"stage": "canary", "percent": 5, "at": "x", "by": "", "reason": ""}',
        '{"stage": "gone", "percent": 1, "at": 1, "by": "", "reason": ""}',
        '{"stage": "canary"}',
    ],
)
def test_an_override_that_was_not_written_by_a_store_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        record_from(text, None, 1)
