"""An event loop for which waiting takes no time: with nothing else to do, it goes to where the next timer is due."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

LONGEST_THREAD_S = 10.0


class _Selector(selectors.DefaultSelector):
    """`skip(seconds)` is called instead of waiting. Without a timer it waits for a thread to end, but not for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.skip: Any = None

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(LONGEST_THREAD_S if timeout is None else 0)
        if not events and timeout is None:
            raise AssertionError("everything waits, and nothing is left that could end it")
        if not events and timeout:
            self.skip(timeout)
        return events


class TravellingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._now = 100.0
        selector = _Selector()
        super().__init__(selector)
        selector.skip = self._skip

    def time(self) -> float:
        return self._now

    def _skip(self, seconds: float) -> None:
        self._now += seconds
