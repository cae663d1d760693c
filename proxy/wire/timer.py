"""One coarse timer wheel for every deadline on the wire. Knows no protocol: it calls `expire(now)`.

A `loop.call_later` a request costs about 2 µs and a cancelled handle that stays in the heap; setting a float costs
nothing. So a connection only writes its `deadline` attribute, and `arm` files it under the slot where it must be
looked at next. When a slot comes due the connection is either expired, or filed again under its later deadline.

Timers come before sockets in a turn of the loop. So after a stall the bytes that would have met a deadline still lie
unread: a late tick expires nothing, and the next one, with a turn of I/O in between, does.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from proxy.wire.lag import STALL_S, LoopLag


class Timed(Protocol):
    """`deadline` and `filed` are loop times in seconds; `deadline` None means nothing is awaited."""

    deadline: float | None
    filed: float | None

    def expire(self, now: float) -> None:
        """The deadline has passed. Set `deadline` anew or to None."""


class TimerWheel:
    """Deadlines are met late by at most two ticks, never early; by one more after a stall, which `lag` tells."""

    def __init__(self, tick_s: float = 0.1) -> None:
        self.tick_s = tick_s
        self.lag = LoopLag()
        self._due: float | None = None
        self._spared = False
        self._slots: dict[int, set[Timed]] = {}
        self._next_slot: int | None = None
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, item: Timed, deadline: float) -> None:
        """Set the deadline of `item`; file it only if it is not filed early enough already."""
        item.deadline = deadline
        if item.filed is None or item.filed > deadline:
            self._file(item, deadline)

    def _file(self, item: Timed, deadline: float) -> None:
        slot = int(deadline / self.tick_s) + 1
        if self._next_slot is not None and slot < self._next_slot:
            slot = self._next_slot  # overdue already: the next slot that will be looked at
        item.filed = deadline
        self._slots.setdefault(slot, set()).add(item)

    def drop(self, item: Timed) -> None:
        """`item` has ended: do not keep it until its slot is due (2 KiB for each connection of the last 10 s else)."""
        item.deadline = None
        if item.filed is not None:
            filed = self._slots.get(int(item.filed / self.tick_s) + 1)
            if filed is not None:  # one that was overdue when it was filed stands elsewhere, for one tick
                filed.discard(item)
            item.filed = None

    def advance(self, now: float) -> None:
        """Look at every slot that is due at `now`."""
        due = int(now / self.tick_s)
        self._next_slot = due + 1
        for slot in sorted(slot for slot in self._slots if slot <= due):
            for item in self._slots.pop(slot):
                self._visit(item, now)

    def _visit(self, item: Timed, now: float) -> None:
        if item.filed is None:
            return
        item.filed = None
        if item.deadline is not None and item.deadline <= now:
            item.expire(now)
        if item.deadline is not None:
            self.arm(item, item.deadline)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turn(loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = loop.call_later(self.tick_s, self._turn, loop)  # first: a failing `expire` must not stop time
        self.tick(loop.time())

    def tick(self, now: float) -> None:
        """One turn of the wheel. A loop that is always late spares every other tick only."""
        late_s = 0.0 if self._due is None else max(0.0, now - self._due)
        self._due = now + self.tick_s
        self.lag.note(now, late_s)
        self._spared = late_s >= STALL_S and not self._spared
        if not self._spared:
            self.advance(now)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
