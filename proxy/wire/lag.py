"""How late the event loop is: what a blocking call, or too much work in one turn, costs everybody else."""

from __future__ import annotations

STALL_S = 0.1
WINDOW_S = 10


class LoopLag:
    """`note` takes how late a tick was; `recent` is the worst of the last ten seconds. All in seconds, monotonic."""

    def __init__(self) -> None:
        self.stalls = 0  # ticks that were late by STALL_S or more
        self._worst: dict[int, float] = {}  # by whole second

    def note(self, now: float, late_s: float) -> None:
        second = int(now)
        if second not in self._worst:
            self._worst = {key: worst for key, worst in self._worst.items() if second - key < WINDOW_S}
            self._worst[second] = 0.0
        self._worst[second] = max(self._worst[second], late_s)
        if late_s >= STALL_S:
            self.stalls += 1

    def recent(self, now: float) -> float:
        second = int(now)
        return max((worst for key, worst in self._worst.items() if second - key < WINDOW_S), default=0.0)
