"""The mirror by itself: both sides and the comparer are played, and the clock is set by hand."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from proxy.errors import ConnectFailed
from proxy.exchange import Exchange
from proxy.messages import RequestHead
from proxy.routing.shadowing import ShadowRule, Target
from proxy.shadow.feed import Feed
from proxy.shadow.mirror import Mirror
from proxy.shadow.sample import Sample
from proxy.shadow.seam_mirror import SeamMirror
from proxy.snapshot import Snapshot
from proxy.wire.body import RequestBody
from proxy.wire.copy import AnswerCopy
from proxy.wire.responder import Responder
from tests.support.snapshots import snapshot

MIB = 1024 * 1024


class _Listener(Feed):
    """Takes every sample, and hears what becomes of those asked again."""

    def __init__(self) -> None:
        super().__init__(None, time.monotonic)
        self.numbers: list[int] = []
        self.repeated: list[tuple[int, bool]] = []

    def put(self, rule: ShadowRule, sample: Sample) -> str | None:
        self.numbers.append(sample.number)
        return None

    def again(self, number: int, candidate: object, control: object) -> None:
        self.repeated.append((number, candidate is not None))


async def _at_once(copy: AnswerCopy) -> None:
    await asyncio.sleep(0)
    copy.start(200, [])


def _shadowed(**keys: Any) -> Snapshot:
    """One seam whose shadow has these keys."""
    writes = {"level": "read_posts", "paths": ["/own"], "acknowledge": True}
    return snapshot({"own": {"stage": "shadow", "shadow": {"control_percent": 0, "writes": writes, **keys}}})


class _Asked:
    """A mirror of one seam; `targets` are the sides asked, and each answers as `answer` has it."""

    def __init__(self, **keys: Any) -> None:
        self.snapshot = _shadowed(**keys)
        self.now = time.monotonic()
        self.answer: Callable[[AnswerCopy], Awaitable[None]] = _at_once
        self.targets: list[str] = []
        self.feed = _Listener()
        self.mirror = Mirror(
            self._send,
            self.feed,
            lambda: self.snapshot,
            rng=random.Random(1),
            clock=time.time,
            monotonic=lambda: self.now,
        )

    async def _send(
        self,
        target: Target,
        exchange: Exchange,
        request: RequestHead,
        body: bytes,
        copy: AnswerCopy,
        limit: int,
        wanted: Callable[[], bool],
        identified: bool,
    ) -> float:
        self.targets.append(target.side)
        await self.answer(copy)
        return 0.0

    def told(self, outcome: str, reason: str = "") -> int:
        return self.mirror.counts["own", outcome, reason]

    async def serve(self, method: str, answer: bytes = b"ok") -> int:
        """One request to its end; the number of the last sample that the comparer has got, 0 where it has none."""
        length = 1 if method == "POST" else 0
        fields = {b"content-length": b"1"} if length else {}
        request = RequestHead(method, b"/own", b"a", list(fields.items()), fields, length, False, "127.0.0.1", "http")
        exchange = Exchange(self.snapshot, request, 0.0)
        exchange.decision = self.snapshot.states["own"].plan.unmoved[0]
        exchange.upstream_s = 0.1
        assert exchange.decision.shadow is not None
        body = RequestBody(_Edge())
        body.feed(b"x" * length)
        body.end()
        responder = Responder(_Edge(), body, head_only=False, http10=False, close=False)
        watch = self.mirror.watch(exchange, exchange.decision.shadow, responder)
        assert watch is not None
        responder.start(200, b"OK", [], len(answer), answer, last=True)
        self.mirror.finish(watch, exchange, body, responder)
        await _idle()
        return self.feed.numbers[-1] if self.feed.numbers else 0


class _Edge:
    draining = write_paused = False

    def write(self, data: bytes) -> None: ...
    def writelines(self, data: tuple[bytes, ...]) -> None: ...
    def cut(self) -> None: ...
    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def send_continue(self) -> None: ...
    def given_away_lost(self, exc: Exception | None) -> None: ...
    def hand_over(self) -> tuple[asyncio.Transport | None, bytes]:
        return None, b""


async def _idle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_the_comparer_has_a_get_asked_again_once() -> None:
    async def ask() -> None:
        asked = _Asked()
        number = await asked.serve("GET")
        assert asked.targets == ["extracted"]
        for _ in range(2):
            asked.mirror.again(number)
            await _idle()
        assert sorted(asked.targets) == ["extracted", "extracted", "legacy"]
        assert asked.feed.repeated == [(number, True), (number, False)]

    asyncio.run(ask())


def test_a_post_is_not_asked_again_whatever_the_comparer_says() -> None:
    """It reads what services say, so it is not to be trusted with what may write."""

    async def ask() -> None:
        asked = _Asked()
        number = await asked.serve("POST")
        asked.mirror.again(number)
        await _idle()
        assert asked.targets == ["extracted"]
        assert asked.feed.repeated == [(number, False)]

    asyncio.run(ask())


def test_what_the_comparer_still_wants_at_the_end_is_not_asked() -> None:
    async def ask() -> None:
        asked = _Asked()
        number = await asked.serve("GET")
        await asked.mirror.close()
        asked.mirror.again(number)
        await _idle()
        assert asked.targets == ["extracted"]

    asyncio.run(ask())


def test_a_sample_of_rules_that_were_replaced_meanwhile_goes_nowhere() -> None:
    """It would make the old rules the comparer's again, and hide all that the new ones have gathered."""

    async def ask() -> None:
        asked = _Asked()

        async def reload(copy: AnswerCopy) -> None:
            asked.snapshot = _shadowed(compare={"ignore": ["$.a"]})
            copy.start(200, [])

        asked.answer = reload
        await asked.serve("GET")
        assert (asked.feed.numbers, asked.told("dropped", "rolled_back"), asked.told("asked")) == ([], 1, 0)
        asked.answer = _at_once
        assert await asked.serve("GET") == 2

    asyncio.run(ask())


def test_one_that_is_not_there_yet_has_its_first_samples_later() -> None:
    """200 of an endpoint are compared whatever the percentage: not asked in vain."""

    async def ask() -> None:
        asked = _Asked(sample_percent=0.01, max_per_s=None)

        async def refuse(copy: AnswerCopy) -> None:
            raise ConnectFailed

        asked.answer = refuse
        for _ in range(300):
            asked.now += 1.0
            await asked.serve("GET")
        assert asked.told("failed", "unreachable") == 300
        asked.answer = _at_once
        for _ in range(200):
            asked.now += 1.0
            await asked.serve("GET")
        assert asked.told("asked") == 200

    asyncio.run(ask())


def test_no_more_at_once_than_the_queue_takes() -> None:
    for keys, most in (({}, 100), ({"max_queue": 1000}, 200), ({"max_queue": 10}, 50), ({"max_per_s": 0.5}, 2)):
        rule = _shadowed(**keys).states["own"].plan.unmoved[0].shadow
        assert rule is not None
        seam = SeamMirror(rule)
        assert sum(seam.may(1000.0) for _ in range(500)) == most


def test_what_both_sides_answer_while_they_are_asked_is_bounded() -> None:
    """Of 16 answers of 16 MiB at once four find room; the room is free again afterwards."""

    async def ask() -> None:
        asked = _Asked(compare={"max_body_bytes": 16 * MIB})
        go, chunk = asyncio.Event(), bytes(MIB)

        async def pour(copy: AnswerCopy) -> None:
            copy.start(200, [])
            for _ in range(16):
                copy.feed(chunk)
            await go.wait()

        asked.answer = pour
        for _ in range(16):
            await asked.serve("GET")
        go.set()
        await _idle()
        assert (asked.told("asked"), asked.told("dropped", "queue_full")) == (4, 12)
        await asked.serve("GET")
        assert asked.told("asked") == 5

    asyncio.run(ask())


def test_what_is_being_asked_holds_its_room() -> None:
    """Four answers of 16 MiB are as much as may wait and be asked together."""

    async def ask() -> None:
        asked = _Asked(compare={"max_body_bytes": 16 * MIB})
        go, body = asyncio.Event(), bytes(16 * MIB)

        async def late(copy: AnswerCopy) -> None:
            await go.wait()
            copy.start(200, [])

        asked.answer = late
        for _ in range(6):
            await asked.serve("GET", body)
        assert (len(asked.targets), asked.told("dropped", "queue_full")) == (4, 2)
        go.set()
        await _idle()
        assert await asked.serve("GET", body) and asked.told("asked") == 5

    asyncio.run(ask())
