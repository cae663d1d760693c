"""The share that the extracted side really got lately. Counts nothing itself: it looks at the meters now and then.

A request costs nothing here; every 10 s the totals of each seam are noted, and the window is what was added since the
oldest note that is kept (at most 5 minutes, and never across a change of the seam's state).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.telemetry.metrics import Metrics

WINDOW_S = 300.0
NOTE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """`percent` is None while nothing was seen."""

    window_s: float
    requests: int
    percent: float | None


@dataclass(frozen=True, slots=True)
class _Note:
    at: float
    legacy: int
    extracted: int


class SeenShare:
    """`now` is any monotonic clock in seconds, the same for every call."""

    def __init__(self, metrics: Metrics, now: float) -> None:
        self._metrics = metrics
        self._notes: dict[str, deque[_Note]] = {}
        self._started = _Note(now, 0, 0)

    def note(self, seams: Iterable[str], now: float) -> None:
        """Call every NOTE_EVERY_S."""
        for seam in seams:
            notes = self._notes.setdefault(seam, deque([self._started]))
            notes.append(self._totals(seam, now))
            while len(notes) > 1 and now - notes[1].at >= WINDOW_S - NOTE_EVERY_S:
                notes.popleft()

    def restart(self, seam: str, now: float) -> None:
        """The seam's state changed: what was seen before tells nothing about it."""
        self._notes[seam] = deque([self._totals(seam, now)])

    def seen(self, seam: str, now: float) -> Seen:
        notes = self._notes.get(seam)
        since = notes[0] if notes else self._started
        total = self._totals(seam, now)
        legacy, extracted = total.legacy - since.legacy, total.extracted - since.extracted
        requests = legacy + extracted
        percent = round(100.0 * extracted / requests, 2) if requests else None
        return Seen(round(now - since.at, 3), requests, percent)

    def _totals(self, seam: str, now: float) -> _Note:
        meters = self._metrics.meters
        legacy, extracted = meters.get((seam, "legacy")), meters.get((seam, "extracted"))
        return _Note(now, legacy.total if legacy else 0, extracted.total if extracted else 0)
