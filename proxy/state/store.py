"""The contract of a store: one record a seam and the audit row of every change. Knows neither files nor networks.

    put ──► one transaction ──► record of the seam  (replaced whole)
                            └─► history row         (appended, never changed)

A store keeps what it is given. It does not raise versions, judge stages or drop seams that the configuration no longer
has: those are decisions, and they are taken by the runtime.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol, TypeVar, get_args

from proxy.config.model import Stage
from proxy.errors import StoreError, VersionMismatch
from proxy.snapshot import Latch, Override, SeamRecord

T = TypeVar("T")
Action = Literal["shift", "rollback", "resume", "reset", "absorb", "reload", "breaker"]


@dataclass(frozen=True, slots=True)
class NewRow:
    """An audit row that the store has not numbered yet.

    `at` is seconds since the epoch (UTC); `before` and `after` are JSON objects.
    """

    at: float
    actor: str
    action: Action
    seam: str
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """An audit row as stored. `id` rises with every row of the store and is never used again."""

    id: int
    at: float
    actor: str
    action: Action
    seam: str
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]


class Store(Protocol):
    """Where records and history live. Every method but `close` raises StoreError when the store cannot answer."""

    async def open(self) -> None:
        """Make the store usable, creating it where there is none. No other call is legal before."""

    async def load(self) -> dict[str, SeamRecord]:
        """Every record by seam name, also of seams that the configuration no longer has."""

    async def put(self, seam: str, record: SeamRecord, row: NewRow, expected_version: int | None) -> HistoryRow:
        """Replace the seam's record and append the row: both or neither.

        `record` is stored as given: the caller raises its version. `expected_version` None writes whatever is stored;
        otherwise VersionMismatch is raised unless it equals the stored version (0 for a seam without a record).
        Once called, the write runs to its end: cancelling the await neither drops nor repeats it.
        """

    async def history(self, seam: str | None, limit: int = 200) -> list[HistoryRow]:
        """The newest `limit` rows, newest first; of one seam, or of all for None."""

    async def ping(self) -> None:
        """Return if a write could be taken now."""

    async def close(self) -> None:
        """Finish the writes under way and let go of everything. Closing twice is legal."""


def numbered(row: NewRow, row_id: int) -> HistoryRow:
    """The row as stored. Shares nothing mutable with `row`."""
    return HistoryRow(id=row_id, **asdict(row))


def storable(row: NewRow) -> NewRow:
    """The row with its free text made encodable: a JSON body may carry a lone surrogate, UTF-8 cannot.

    A rollback must not stay volatile for want of a printable reason, so the text is escaped and not refused.
    """
    return replace(row, actor=_encodable(row.actor), seam=_encodable(row.seam), reason=_encodable(row.reason))


def check_version(seam: str, stored: int, expected: int | None) -> None:
    """VersionMismatch unless `expected` is None or equals `stored`."""
    if expected is not None and expected != stored:
        raise VersionMismatch(
            f"seam {seam!r} is at version {stored}, not {expected}; read it again and repeat the change"
        )


def to_json(value: dict[str, Any] | Override | Latch) -> str:
    """JSON text in ASCII. StoreError where the value holds something that JSON has no form for."""
    try:
        return json.dumps(value if isinstance(value, dict) else asdict(value), separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise StoreError(f"value {value!r} cannot be stored: {error}; pass JSON types only") from error


def record_from(override: str | None, latch: str | None, version: int) -> SeamRecord:
    """The record from its stored texts. ValueError where they are not what `to_json` writes."""
    if type(version) is not int or version < 0:
        raise ValueError(f"version {version!r} is not a count")
    return SeamRecord(override=_override(override), latch=_latch(latch), version=version)


def _override(text: str | None) -> Override | None:
    if text is None:
        return None
    value = _object(text)
    stages = get_args(Stage)
    if value.get("stage") not in stages:
        raise ValueError(f"stage {value.get('stage')!r} is none of {', '.join(stages)}")
    made = _built(Override, value)
    if not _is_number(made.percent) or not 0 <= made.percent <= 100:
        raise ValueError(f"percent {made.percent!r} is not a number from 0 to 100")
    return made


def _latch(text: str | None) -> Latch | None:
    return None if text is None else _built(Latch, _object(text))


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{text!r} is not a JSON object")
    return value


def _built(kind: type[T], value: dict[str, Any]) -> T:
    try:
        made = kind(**value)
    except TypeError as error:
        raise ValueError(str(error)) from error
    if not _is_number(value["at"]) or not isinstance(value["by"], str) or not isinstance(value["reason"], str):
        raise ValueError(f"{value!r} does not say when, by whom and why")
    return made


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
