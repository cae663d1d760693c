"""The shop's customers: 64 keep-alive clients that browse through fig and look at every answer. Knows no process.

Who answered is told twice: by fig (`X-Fig-Side`) and by the origin itself (only the monolith sends `X-Powered-By`).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from demo.client import Answer, Connection, NoAnswer

CLIENTS = 64
USERS = tuple(f"u{number:04}" for number in range(1, 641))
PRODUCTS = 60
EXAMPLES = 3


def bucket(seam: str, user: str) -> int:
    """The published formula of the sticky share, 0-9999: below 100 × percent a user is on the extracted side."""
    digest = hashlib.blake2b(user.encode(), key=seam.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 10_000


@dataclass(slots=True)
class Tally:
    """What the requests of one step met. `seconds` are latencies; `trouble` holds the first few sentences of it."""

    requests: int = 0
    extracted: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    moved_back: int = 0
    misplaced: int = 0
    contradicted: int = 0
    fallbacks: int = 0
    trouble: list[str] = field(default_factory=list)

    @property
    def seen_percent(self) -> float | None:
        answered = self.requests - self.failed
        return 100.0 * self.extracted / answered if answered else None

    def class_of(self, hundred: int) -> int:
        """Answers with a status of 2xx, 4xx …"""
        return sum(count for status, count in self.codes.items() if status // 100 == hundred)

    def latency_ms(self, quantile: float) -> float | None:
        ordered = sorted(self.seconds)
        return 1000 * ordered[int(quantile * (len(ordered) - 1))] if ordered else None

    def add(self, other: Tally) -> None:
        self.requests += other.requests
        self.extracted += other.extracted
        self.codes += other.codes
        self.seconds += other.seconds
        self.failed += other.failed
        self.contradicted += other.contradicted
        self.fallbacks += other.fallbacks
        for sentence in other.trouble:
            self.note(sentence)

    def note(self, sentence: str) -> None:
        if len(self.trouble) < EXAMPLES:
            self.trouble.append(sentence)


@dataclass(frozen=True, slots=True)
class Phase:
    """What holds for requests sent now. `percent` None: a change is under way, either share is right.

    `sides` remembers where each user was while the share rises; None: users may go back.
    """

    tally: Tally
    percent: float | None
    sides: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """`start` is how the body of the right answer begins."""

    target: str
    start: bytes


def pages(rng: random.Random) -> Iterator[Page]:
    """Mostly product pages, some lists and searches."""
    while True:
        product = rng.randint(1, PRODUCTS)
        draw = rng.random()
        if draw < 0.8:
            yield Page(f"/api/products/{product}", b'{"id":%d,' % product)
        elif draw < 0.9:
            yield Page(f"/api/products?page={rng.randint(1, 3)}", b'{"items":[{')
        else:
            yield Page(f"/api/search?q={rng.choice(('mug', 'desk', 'bath'))}", b'{"items":[{')


class Traffic:
    """`rate` is requests a second over all clients; set `phase` to have the next requests judged by it."""

    def __init__(self, port: int, seam: str, rate: float, phase: Phase) -> None:
        self.rate = rate
        self.phase = phase
        self._port = port
        self._seam = seam
        self._buckets = {user: bucket(seam, user) for user in USERS}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as clients:
            for index in range(CLIENTS):
                clients.create_task(self._client(index))

    async def _client(self, index: int) -> None:
        """A user belongs to one client, so the requests of a user never overtake each other."""
        connection, shelf = Connection(self._port), pages(random.Random(index))
        users = USERS[index::CLIENTS]
        turn, next_at = 0, time.monotonic() + index / self.rate
        try:
            while True:
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))
                await self._visit(connection, users[turn % len(users)], next(shelf))
                turn, next_at = turn + 1, max(next_at + CLIENTS / self.rate, time.monotonic())
        finally:
            connection.close()

    async def _visit(self, connection: Connection, user: str, page: Page) -> None:
        phase = self.phase
        tally = phase.tally
        begun = time.monotonic()
        try:
            answer = await connection.ask("GET", page.target, {"X-User-Id": user})
        except NoAnswer as error:
            tally.requests += 1
            tally.failed += 1
            tally.note(str(error))
            return
        tally.requests += 1
        tally.seconds.append(time.monotonic() - begun)
        tally.codes[answer.status] += 1
        if answer.status != 200 or not answer.body.startswith(page.start):
            tally.failed += 1
            tally.note(f"GET {page.target} for {user}: {answer.status} {answer.body[:60]!r}")
            return
        self._judge(phase, user, answer)

    def _judge(self, phase: Phase, user: str, answer: Answer) -> None:
        tally, side = phase.tally, answer.fields.get("x-fig-side", "?")
        tally.extracted += side == "extracted"
        tally.fallbacks += "x-fig-fallback" in answer.fields
        origin = "legacy" if "x-powered-by" in answer.fields else "extracted"
        if side != origin:
            tally.contradicted += 1
            tally.note(f"{user}: fig says {side}, the answer came from {origin}")
        if phase.sides is not None:
            if side == "legacy" and phase.sides.get(user) == "extracted":
                tally.moved_back += 1
                tally.note(f"{user} went back to legacy while the share rose")
            phase.sides[user] = side
        if phase.percent is not None:
            wanted = "extracted" if self._buckets[user] < round(phase.percent * 100) else "legacy"
            if origin != wanted:
                tally.misplaced += 1
                tally.note(f"{user} (bucket {self._buckets[user]}) was on {origin} at {phase.percent:g} %")
