"""What only the memory store has: failures on request."""

from __future__ import annotations

import asyncio

import pytest

from proxy.errors import StoreError
from proxy.snapshot import SeamRecord
from proxy.state.memory import MemoryStore
from proxy.state.store import NewRow

ROW = NewRow(1.0, "ann", "rollback", "catalog", "errors", {}, {})


def test_a_fault_reaches_the_caller_and_nothing_is_stored() -> None:
    broken = {"put"}

    def fault(operation: str) -> None:
        if operation in broken:
            raise StoreError("disk is full")

    async def story() -> None:
        store = MemoryStore(fault)
        await store.open()
        with pytest.raises(StoreError, match="disk is full"):
            await store.put("catalog", SeamRecord(version=1), ROW, 0)
        assert (await store.load(), await store.history(None)) == ({}, [])
        broken.clear()
        await store.put("catalog", SeamRecord(version=1), ROW, 0)
        assert await store.load() == {"catalog": SeamRecord(version=1)}

    asyncio.run(story())
