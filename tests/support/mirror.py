"""A mirror that nobody may use: for what has no shadowed seam."""

from __future__ import annotations

import random
import time
from typing import Any

from proxy.shadow.feed import Feed
from proxy.shadow.mirror import Mirror
from proxy.snapshot import Snapshot


async def _send(*_: Any) -> float:
    raise AssertionError("nobody is asked here")


def _current() -> Snapshot:
    raise AssertionError("nothing waits here")


def no_mirror() -> Mirror:
    feed = Feed(None, time.monotonic)
    return Mirror(_send, feed, _current, rng=random.Random(1), clock=time.time, monotonic=time.monotonic)
