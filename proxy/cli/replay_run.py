"""Asks both sides everything that a file says, some at once, and has each pair compared. Opens no file, prints nothing.

A request that differs is asked of legacy once more before it counts: what legacy itself does not answer alike twice
(an id, a time) is forgiven as in the proxy, where the format stays. A share of all requests is asked twice anyway.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from proxy.cli.replay_calls import Headers, Lane, Side
from proxy.cli.replay_lines import Line, Read
from proxy.cli.replay_tally import Tally
from proxy.shadow.answer import Answer, Ask, is_conditional
from proxy.shadow.compare import compare, varying
from proxy.shadow.rules import Rules


@dataclass(frozen=True, slots=True)
class Plan:
    """`headers` go with every request, Host (`host`) among them. `control_percent`: of the requests, how many ask
    legacy twice from the start; with 0 it is never asked twice. `timeout_s` is for a whole answer."""

    legacy: Side
    extracted: Side
    host: bytes
    headers: Headers
    rules: Rules
    concurrency: int
    timeout_s: float
    control_percent: float
    limit: int | None


async def replay(reads: Iterator[Read], plan: Plan, tally: Tally, now: Callable[[], float]) -> None:
    """Until `reads` ends, or `plan.limit` requests were asked. `now`: seconds since 1970."""
    run = _Run(reads, plan, tally, now)
    async with asyncio.TaskGroup() as group:
        for _ in range(plan.concurrency):
            group.create_task(run.work())


class _Run:
    def __init__(self, reads: Iterator[Read], plan: Plan, tally: Tally, now: Callable[[], float]) -> None:
        self._reads = reads
        self._plan = plan
        self._tally = tally
        self._now = now
        self._left = plan.limit
        self._turn = asyncio.Lock()
        self._random = random.Random(0)  # the same share of the same file each time
        self._scheme = plan.legacy.url.scheme
        self._conditional = is_conditional(name for name, _ in plan.headers)
        secure = "https" in (plan.legacy.url.scheme, plan.extracted.url.scheme)
        self._trust = ssl.create_default_context() if secure else False

    async def work(self) -> None:
        async with AsyncExitStack() as stack:
            sides = (self._plan.legacy, self._plan.extracted, self._plan.legacy)
            legacy, extracted, again = [await stack.enter_async_context(self._lane(side)) for side in sides]
            while (line := await self._next()) is not None:
                await self._ask(line, legacy, extracted, again)

    def _lane(self, side: Side) -> Lane:
        origin = self._scheme.encode("ascii") + b"://" + self._plan.host
        return Lane(side, self._plan.headers, origin, self._trust, self._plan.timeout_s)

    async def _next(self) -> Line | None:
        """The next request. A pipe may let wait for it, so it is read in a thread."""
        async with self._turn:
            while self._left != 0:
                read = await asyncio.to_thread(next, self._reads, None)
                if read is None:
                    self._left = 0
                elif isinstance(read, Line):
                    self._left = None if self._left is None else self._left - 1
                    return read
                else:
                    self._tally.passed_over(read)
        return None

    async def _ask(self, line: Line, legacy: Lane, extracted: Lane, again: Lane) -> None:
        twice = self._random.random() * 100 < self._plan.control_percent
        at = self._now()
        lanes = (legacy, extracted, again) if twice else (legacy, extracted)
        control, candidate, *seconds = await asyncio.gather(*(lane.ask(line.method, line.target) for lane in lanes))
        if not isinstance(control, Answer) or not isinstance(candidate, Answer):
            self._tally.failed(line, control, candidate)
            return
        ask = Ask(line.method, line.target, self._plan.host, self._scheme, self._conditional, at)
        rules = self._plan.rules
        second = next((one for one in seconds if isinstance(one, Answer)), None)
        verdict = compare(ask, control, candidate, rules, second)
        if verdict.verdict == "mismatch" and verdict.counts and self._plan.control_percent and not twice:
            answer = await again.ask(line.method, line.target)
            if isinstance(answer, Answer):
                second = answer
                verdict = compare(ask, control, candidate, rules, second)
        varied = None if second is None else varying(ask, control, second, rules)
        self._tally.observe(line, control, candidate, verdict, varied)


def request_headers(given: Headers, legacy: Side, agent: bytes) -> tuple[bytes, Headers]:
    """Host and all fields of each request: the usual ones, but for what `given` has itself."""
    usual: Mapping[bytes, bytes] = {
        b"Host": legacy.authority,
        b"Accept": b"*/*",
        b"Accept-Encoding": b"gzip, identity",
        b"User-Agent": agent,
    }
    names = {name.lower() for name, _ in given}
    fields = [*((name, value) for name, value in usual.items() if name.lower() not in names), *given]
    return next(value for name, value in fields if name.lower() == b"host"), fields
