"""A store that lives as long as its object: for `store: memory:` and for tests. Knows no file and no thread."""

from __future__ import annotations

from collections.abc import Callable

from proxy.errors import StoreError
from proxy.snapshot import SeamRecord
from proxy.state.store import HistoryRow, NewRow, check_version, numbered, storable, to_json


def _no_fault(operation: str) -> None:
    """A store that never fails."""


class MemoryStore:
    """Store in two containers. Contents outlive `close`, so a restart can be played with one object.

    `fault(operation)` is called first in `load`, `put`, `history` and `ping` with that name; what it raises is raised,
    and nothing has changed then.
    """

    def __init__(self, fault: Callable[[str], None] = _no_fault) -> None:
        self._fault = fault
        self._records: dict[str, SeamRecord] = {}
        self._rows: list[HistoryRow] = []
        self._open = False

    async def open(self) -> None:
        self._open = True

    async def load(self) -> dict[str, SeamRecord]:
        self._ready("load")
        return dict(self._records)

    async def put(self, seam: str, record: SeamRecord, row: NewRow, expected_version: int | None) -> HistoryRow:
        self._ready("put")
        stored = self._records.get(seam)
        check_version(seam, stored.version if stored else 0, expected_version)
        to_json(row.before), to_json(row.after)
        self._rows.append(numbered(storable(row), len(self._rows) + 1))
        self._records[seam] = record
        return self._rows[-1]

    async def history(self, seam: str | None, limit: int = 200) -> list[HistoryRow]:
        self._ready("history")
        rows = [row for row in reversed(self._rows) if seam is None or row.seam == seam]
        return rows[: max(limit, 0)]

    async def ping(self) -> None:
        self._ready("ping")

    async def close(self) -> None:
        self._open = False

    def _ready(self, operation: str) -> None:
        if not self._open:
            raise StoreError("store memory: is not open; open it first")
        self._fault(operation)
