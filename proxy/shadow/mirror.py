"""After a client has its answer, the other side is asked the same, and both answers go to the comparer.

    watch ── may be asked? ── whose turn? ── within the rate? ── a copy is taken while the answer passes
    finish ── whole, and not fig's own? ── room in the queue? ── asked, later ── handed to the comparer

Nobody waits for any of this: whatever does not fit is skipped or dropped, and counted with its reason. One that was
rolled back while it waited is not asked any more. Knows no rule of comparing, and never looks into a body.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Protocol

from proxy.errors import (
    ConnectFailed,
    ConnectTimeout,
    NoHealthyEndpoint,
    ProxyError,
    ResponseStalled,
    ResponseTimeout,
    RolledBack,
)
from proxy.exchange import Exchange
from proxy.messages import RequestHead
from proxy.routing.path import split_target
from proxy.routing.resilience import SAFE
from proxy.routing.shadowing import ShadowRule, Target
from proxy.routing.split import BUCKETS, sticky_value
from proxy.shadow.answer import Ask
from proxy.shadow.feed import Feed
from proxy.shadow.job import Job, Reply, Watch, answer_of
from proxy.shadow.question import scheme_of, shadow_requests, unfit
from proxy.shadow.sample import Failure, Sample
from proxy.shadow.seam_mirror import SeamMirror
from proxy.snapshot import Snapshot
from proxy.wire.body import RequestBody
from proxy.wire.copy import AnswerCopy, Room
from proxy.wire.responder import Responder

log = logging.getLogger("proxy")

_ALWAYS = 200  # of each endpoint the first samples, whatever the percentage
_ALWAYS_CONTROLLED = 50
_MAX_COPYING_BYTES = 64 * 1024 * 1024
_MAX_HELD_BYTES = 64 * 1024 * 1024
_MAX_REPLY_BYTES = 64 * 1024 * 1024
_MAX_REMEMBERED = 1000
_UNREACHABLE = (ConnectFailed, ConnectTimeout, NoHealthyEndpoint)
_LATE = (TimeoutError, ResponseTimeout, ResponseStalled)


class Send(Protocol):
    """Asks a target on connections that no client waits for; see `upstreams.lane`."""

    async def __call__(
        self,
        target: Target,
        exchange: Exchange,
        request: RequestHead,
        body: bytes,
        copy: AnswerCopy,
        limit: int,
        wanted: Callable[[], bool],
        identified: bool,
    ) -> float: ...


class Mirror:
    """`counts` are samples by (seam, outcome, reason), `compared` by (seam, verdict, class). `current` gives the
    snapshot in force."""

    def __init__(
        self,
        send: Send,
        feed: Feed,
        current: Callable[[], Snapshot],
        *,
        rng: random.Random,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.compared: Counter[tuple[str, str, str]] = Counter()
        self._send = send
        self._feed = feed
        feed.settled, feed.again_wanted = self.settled, self.again
        self._current = current
        self._rng = rng
        self._clock = clock
        self._monotonic = monotonic
        self._seams: dict[str, SeamMirror] = {}
        self._asked: dict[int, Job] = {}  # what the comparer may want asked again, oldest first
        self._room = Room(_MAX_COPYING_BYTES)
        self._replies = Room(_MAX_REPLY_BYTES)
        self._held_bytes = 0  # by what waits, and what is being asked
        self._closed = False
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # --- while the answer passes -------------------------------------------------------------------------------------

    def watch(self, exchange: Exchange, rule: ShadowRule, responder: Responder) -> Watch | None:
        """Begin to copy the answer of this request, where it is to be compared."""
        request = exchange.request
        path, _ = split_target(request.target)
        seam = self._current_seam(rule)
        endpoint = seam.endpoints.of(request.method, rule.pattern, path)
        seam.traffic[endpoint] += 1
        reason = unfit(rule, request, path)
        if reason is not None:
            self._count(rule, "skipped", reason)
            return None
        key = sticky_value(rule.selectors, request, exchange.params or {}, exchange.client_ip)
        number = self._draw() if key is None else rule.bucket_of(key)
        if seam.samples[endpoint] >= _ALWAYS and number >= rule.sampled_below:
            self._count(rule, "skipped", "not_sampled")
            return None
        now = self._monotonic()
        if not seam.may(now):
            self._count(rule, "skipped", "rate")
            return None
        if self._is_full(seam, rule):
            self._drop(rule, "queue_full")
            return None
        if seam.spares(now):
            self._drop(rule, "failing")
            return None
        seam.samples[endpoint] += 1
        responder.copy = AnswerCopy(rule.cap_bytes, self._room)
        subject = b"" if key is None else blake2b(key, digest_size=8).digest()
        return Watch(rule, endpoint, subject, self._is_controlled(seam, rule, endpoint, request.method), self._clock())

    def _is_controlled(self, seam: SeamMirror, rule: ShadowRule, endpoint: str, method: str) -> bool:
        if not rule.controlled_below or method not in SAFE:
            return False
        first = seam.controls[endpoint] < _ALWAYS_CONTROLLED
        if not first and self._draw() >= rule.controlled_below:
            return False
        seam.controls[endpoint] += 1
        return True

    def finish(self, watch: Watch, exchange: Exchange, body: RequestBody, responder: Responder) -> None:
        """The client has its answer. From here on nothing of it is waited for."""
        rule, copy, request = watch.rule, responder.copy, exchange.request
        responder.copy = None
        assert copy is not None
        copy.leave()
        reason = _unusable(rule, exchange, copy)
        sent = body.whole() if request.has_body else b""
        if reason is None and sent is None:
            reason = "body_too_large"
        if reason is not None:
            self._count(rule, "skipped", reason)
            return
        assert sent is not None
        self._number += 1
        limit = max(rule.cap_bytes, copy.length)
        job = Job(self._number, watch, exchange, *shadow_requests(request, rule, len(sent)), sent, copy, limit)
        seam = self._seams[rule.seam]
        if copy.crowded or self._is_full(seam, rule) or self._held_bytes + job.size > _MAX_HELD_BYTES:
            self._drop(rule, "queue_full")
            return
        self._enqueue(seam, job, False)

    def _is_full(self, seam: SeamMirror, rule: ShadowRule) -> bool:
        return len(seam.queue) >= rule.config.max_queue

    def _enqueue(self, seam: SeamMirror, job: Job, again: bool) -> None:
        self._held_bytes += job.size
        seam.queue.append((job, again))
        self._pump(seam)

    # --- afterwards --------------------------------------------------------------------------------------------------

    def _pump(self, seam: SeamMirror) -> None:
        while seam.queue and not self._closed and seam.in_flight < seam.queue[0][0].watch.rule.config.max_in_flight:
            job, again = seam.queue.popleft()
            if not self._is_wanted(job):
                self._held_bytes -= job.size
                self._give_up(job, again)
                continue
            seam.in_flight += 1
            task = asyncio.ensure_future(self._run(seam, job, again))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_wanted(self, job: Job) -> bool:
        """Neither rolled back nor moved on since it was sampled; nor was the seam given other rules, which may say that
        such a request must not be sent twice."""
        rule, sampled = self._rule_in_force(job), job.watch.rule
        return rule is not None and rule.mark == sampled.mark and rule.config == sampled.config

    def _rule_in_force(self, job: Job) -> ShadowRule | None:
        state = self._current().states.get(job.watch.rule.seam)
        return None if state is None else state.plan.unmoved[0].shadow

    def _is_stale(self, job: Job) -> bool:
        """Other rules are in force. What was asked under the old ones must not make them the comparer's again."""
        rule = self._rule_in_force(job)
        return rule is not None and rule.mark != job.watch.rule.mark

    def _give_up(self, job: Job, again: bool) -> None:
        if again:
            self._feed.again(job.number, None, None)
        else:
            self._drop(job.watch.rule, "rolled_back")

    async def _run(self, seam: SeamMirror, job: Job, again: bool) -> None:
        copies = tuple(AnswerCopy(job.watch.rule.cap_bytes, self._replies) for _ in range(2))
        try:
            await (self._ask_again(job, *copies) if again else self._ask(seam, job, *copies))
        except Exception:
            log.exception("shadow of seam %s failed", job.watch.rule.seam)
            self._count(job.watch.rule, "failed", "error")
        finally:
            for copy in copies:
                copy.leave()
            self._held_bytes -= job.size
            seam.in_flight -= 1
            self._pump(seam)

    async def _ask(self, seam: SeamMirror, job: Job, copy: AnswerCopy, second_copy: AnswerCopy) -> None:
        rule, exchange = job.watch.rule, job.exchange
        assert job.control is not None
        second: Reply | None = None
        if job.watch.controlled:
            candidate, second = await self._both(job, copy, second_copy)
        else:
            candidate = await self._reply(job, rule.candidate, copy)
        if candidate.withdrawn or self._is_stale(job):
            self._drop(rule, "rolled_back")
            return
        seam.failures = seam.failures + 1 if candidate.failure else 0
        if copy.crowded:
            self._drop(rule, "queue_full")
            return
        if candidate.failure in ("unreachable", "timeout"):
            seam.give_back(job.watch)
        request = exchange.request
        sample = Sample(
            number=job.number,
            seam=rule.seam,
            mark=rule.mark,
            endpoint=job.watch.endpoint,
            request_id=exchange.request_id.decode("ascii"),
            served=rule.control.side,
            ask=Ask(request.method, request.target, request.host, scheme_of(exchange), at=job.watch.at_s),
            headers=tuple(request.headers),
            body=job.body,
            subject=job.watch.subject,
            at_s=job.watch.at_s,
            control=answer_of(job.control),
            candidate=candidate.answer,
            failure=candidate.failure,
            second=None if second is None else second.answer,
            served_s=exchange.upstream_s,
            candidate_s=candidate.seconds,
            second_s=None if second is None else second.seconds,
        )
        refusal = self._feed.put(rule, sample)
        if refusal is not None:
            self._drop(rule, refusal)
            return
        self._count(rule, "failed" if candidate.failure else "asked", candidate.failure)
        if not seam.failing:
            self._remember(job)

    async def _ask_again(self, job: Job, copy: AnswerCopy, second_copy: AnswerCopy) -> None:
        candidate, control = await self._both(job, copy, second_copy)
        self._feed.again(job.number, candidate.answer, control.answer)

    async def _both(self, job: Job, copy: AnswerCopy, second_copy: AnswerCopy) -> tuple[Reply, Reply]:
        rule = job.watch.rule
        return await asyncio.gather(self._reply(job, rule.candidate, copy), self._reply(job, rule.control, second_copy))

    async def _reply(self, job: Job, target: Target, copy: AnswerCopy) -> Reply:
        """Never raises what a service can bring about."""
        rule = job.watch.rule
        asks_candidate = target is rule.candidate
        request = job.request if asks_candidate else job.again
        identified = not asks_candidate or rule.replaced is None  # it acts for the client only with his credentials
        failure: Failure = ""
        seconds: float | None = None
        withdrawn = False
        try:
            async with asyncio.timeout(rule.config.timeout_s):
                seconds = await self._send(
                    target,
                    job.exchange,
                    request,
                    job.body,
                    copy,
                    job.limit,
                    lambda: self._is_wanted(job),
                    identified,
                )
        except RolledBack:
            withdrawn = True
        except _UNREACHABLE:
            failure = "unreachable"
        except _LATE:
            failure = "timeout"
        except ProxyError:
            failure = "broken"
        return Reply(copy, seconds, failure, withdrawn)

    # --- what the comparer says --------------------------------------------------------------------------------------

    def again(self, number: int) -> None:
        """The comparer wants both sides of a sample asked once more."""
        job = self._asked.pop(number, None)
        if job is None:
            self._feed.again(number, None, None)
            return
        self._enqueue(self._seams[job.watch.rule.seam], job, True)

    def settled(self, number: int, seam: str, verdict: str, kind: str) -> None:
        self._asked.pop(number, None)
        self.compared[seam, verdict, kind] += 1

    def _remember(self, job: Job) -> None:
        if job.request.method not in SAFE:
            return  # whatever the comparer says, a POST is not asked again
        self._asked[job.number] = replace(job, control=None)
        if len(self._asked) > _MAX_REMEMBERED:
            del self._asked[next(iter(self._asked))]

    # --- counts ------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Each second: tell the comparer what it does not see, and see that it lives."""
        self._feed.tick()
        for seam in self._seams.values():
            if (seam.traffic or seam.lost) and self._feed.note(seam.rule, dict(seam.traffic), dict(seam.lost)):
                seam.traffic.clear()
                seam.lost.clear()

    @property
    def waiting(self) -> dict[str, tuple[int, int]]:
        """By seam: samples that wait, and those that are being asked."""
        return {name: (len(seam.queue), seam.in_flight) for name, seam in self._seams.items()}

    async def close(self) -> None:
        """What waits is not asked any more, nor what the comparer still wants."""
        self._closed = True
        for seam in self._seams.values():
            seam.queue.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _current_seam(self, rule: ShadowRule) -> SeamMirror:
        """The seam of a rule in force."""
        seam = self._seams.get(rule.seam)
        if seam is None:
            seam = self._seams[rule.seam] = SeamMirror(rule)
        elif seam.rule is not rule:
            seam.adopt(rule)
        return seam

    def _count(self, rule: ShadowRule, outcome: str, reason: str) -> None:
        self.counts[rule.seam, outcome, reason] += 1

    def _drop(self, rule: ShadowRule, reason: str) -> None:
        self._count(rule, "dropped", reason)
        self._seams[rule.seam].lost["dropped"] += 1

    def _draw(self) -> int:
        return int(self._rng.random() * BUCKETS)


def _unusable(rule: ShadowRule, exchange: Exchange, copy: AnswerCopy) -> str | None:
    """Why an answer is not compared."""
    decision = exchange.decision
    if exchange.fallback is not None or decision is None or decision.shadow is not rule:
        return "fallback"
    if exchange.error is not None:
        return "own_answer" if exchange.upstream_s is None else "incomplete"
    if exchange.said_by_fig or copy.status == 0:
        return "own_answer"
    return "event_stream" if copy.event_stream else None
