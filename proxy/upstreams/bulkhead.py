"""How many requests may be at one place at once, and the queue before it. Knows no request and no upstream."""

from __future__ import annotations

import asyncio
from collections import deque

from proxy.errors import BulkheadFull


class Bulkhead:
    """In-flight cap with a bounded FIFO queue: a slot that is given back goes to the first waiter directly, so nobody
    overtakes. Somebody waits only while no slot is free.

    `max_in_flight` None is no cap; `max_queue` None is as many waiters as slots; `queue_s` is the longest wait in
    seconds. `in_flight` slots are taken, those just handed to a waiter included; `rejected` counts BulkheadFull.
    """

    def __init__(self, max_in_flight: int | None, max_queue: int | None, queue_s: float) -> None:
        self.max_in_flight = max_in_flight
        self.max_queue = max_queue
        self.queue_s = queue_s
        self.in_flight = 0
        self.rejected = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()

    def __repr__(self) -> str:
        return f"<Bulkhead {self.in_flight} of {self.max_in_flight} in flight, {self.queued} queued>"

    @property
    def queued(self) -> int:
        return len(self._waiting)

    def take(self) -> bool:
        """A slot at once, if one is free. Whoever has one owes `release`."""
        cap = self.max_in_flight
        if cap is not None and self.in_flight >= cap:
            return False
        self.in_flight += 1
        return True

    async def wait(self, limit_s: float) -> None:
        """A slot, after at most `queue_s` and `limit_s` seconds in the queue. Raises BulkheadFull where the queue is
        full or the time over, and then there is nothing to release; nor when it is cancelled."""
        if self.take():
            return
        most, limit_s = self._most_waiters(), min(limit_s, self.queue_s)
        if len(self._waiting) >= most or limit_s <= 0:
            raise self._full()
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(turn)
        timer = loop.call_later(limit_s, self._give_up, turn)
        try:
            handed = await turn
        except BaseException:
            self._leave(turn)
            raise
        finally:
            timer.cancel()
        if not handed:
            raise self._full()

    def release(self) -> None:
        """Give a slot back. Call exactly once for each one taken."""
        self.in_flight -= 1
        if self._waiting:
            self._let_in()

    def resize(self, max_in_flight: int | None, max_queue: int | None, queue_s: float) -> None:
        """A reload. Slots and waiters stay: a larger cap lets waiters in at once, a smaller one is reached in time."""
        self.max_in_flight, self.max_queue, self.queue_s = max_in_flight, max_queue, queue_s
        self._let_in()

    def _most_waiters(self) -> int:
        if self.max_queue is not None:
            return self.max_queue
        return self.max_in_flight or 0

    def _let_in(self) -> None:
        """Hand free slots to the first waiters. One that was cancelled in this very turn of the loop is passed over."""
        waiting, cap = self._waiting, self.max_in_flight
        while waiting and (cap is None or self.in_flight < cap):
            turn = waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(True)

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        """The time is over; but a slot that was handed in the same turn of the loop is taken."""
        if not turn.done():
            self._waiting.remove(turn)
            turn.set_result(False)

    def _leave(self, turn: asyncio.Future[bool]) -> None:
        """The waiter was cancelled: a slot that it was handed goes on to the next."""
        if turn.done() and not turn.cancelled():
            if turn.result():
                self.release()
        elif turn in self._waiting:
            self._waiting.remove(turn)

    def _full(self) -> BulkheadFull:
        self.rejected += 1
        return BulkheadFull()
