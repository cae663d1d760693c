"""The comparer's process as the proxy keeps it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from proxy.config.model import Shadow
from proxy.errors import ComparerAway
from proxy.shadow.feed import Feed

MINUTE = 60


class _Heard(Feed):
    """Lets a test wait for the next word."""

    def __init__(self) -> None:
        super().__init__(None, time.monotonic)
        self.word = asyncio.Event()

    def hear(self, frame: bytes) -> None:
        super().hear(frame)
        self.word.set()

    async def next_word(self) -> None:
        self.word.clear()
        async with asyncio.timeout(10):
            await self.word.wait()


def _comparers() -> set[int]:
    """Children of this process that compare."""
    folder = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    pids = [int(pid) for pid in folder.read_text().split()]
    return {pid for pid in pids if b"proxy.shadow.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()}


async def _started(feed: Feed) -> int:
    """Its process id, once it has answered."""
    before = _comparers()
    await feed.ask("evidence", "shop", "m", Shadow(), ())
    (pid,) = _comparers() - before
    return pid


def test_one_that_hangs_is_ended_and_another_one_started(caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> None:
        feed = _Heard()
        pid = await _started(feed)
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(0.1)  # what it said before is heard
        for _ in range(MINUTE):
            feed.tick()
        assert pid in _comparers()
        feed.tick()
        with pytest.raises(ComparerAway):
            await feed.ask("evidence", "shop", "m", Shadow(), ())
        assert b'"verdict":"HOLD"' in await feed.ask("evidence", "shop", "m", Shadow(), ())
        assert pid not in _comparers() and feed.starts == 2
        await feed.close()

    asyncio.run(ask())
    assert "has said nothing for 60 s" in caplog.text


def test_one_that_has_nothing_to_do_is_left_alone() -> None:
    async def ask() -> None:
        feed = _Heard()
        pid = await _started(feed)
        for _ in range(3):
            await feed.next_word()
            for _ in range(MINUTE):
                feed.tick()
        assert pid in _comparers() and feed.starts == 1
        await feed.close()

    asyncio.run(ask())
