"""From a decision to an answer: breaker → bulkhead → attempts under one deadline, and at most one fallback.

    ask the decided side ── an answer ──────────────────────────────────────────► relay
          └── refused, failed, or a status ── safe? ── capped? ── ask legacy ───► relay
                                                            └──── or say it ourselves

Safe: nothing can have happened twice. What was surely not received may go to legacy whatever the method; the rest only
if the method is safe (RFC 9110 9.2.1).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from http import HTTPStatus

from proxy.errors import (
    BreakerOpen,
    BulkheadFull,
    ClientGone,
    ConnectFailed,
    ConnectTimeout,
    DeadlineExceeded,
    NoHealthyEndpoint,
    ProxyError,
    ResponseTimeout,
    RolledBack,
    UpstreamError,
    UpstreamProtocol,
    UpstreamReset,
)
from proxy.exchange import Exchange
from proxy.messages import Headers, RequestHead, ResponseHead
from proxy.routing.decide import Decision, apply_rewrite, unrewrite
from proxy.routing.resilience import DEFAULT_BUDGET_PERCENT, IDEMPOTENT, SAFE, FallbackRule, RetryRule
from proxy.runtime import Runtime
from proxy.snapshot import Snapshot
from proxy.telemetry.access_log import ErrorLog
from proxy.telemetry.metrics import Metrics
from proxy.upstreams.bulkhead import Bulkhead
from proxy.upstreams.call import Call
from proxy.upstreams.retry import backoff_s, retry_after_s
from proxy.upstreams.tunnels import Tunnels
from proxy.upstreams.upstream import Upstream
from proxy.wire.body import RequestBody
from proxy.wire.headers import DateField, FieldKinds, dressed, relocate, request_kind, request_lines
from proxy.wire.responder import Responder, Switched

PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


class Forwarder:
    """Holds no state of its own; every call is one request's."""

    def __init__(
        self,
        runtime: Runtime,
        metrics: Metrics,
        error_log: ErrorLog,
        tunnels: Tunnels,
        date: DateField,
        *,
        via: bytes,
        rng: random.Random,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._runtime = runtime
        self._guards = runtime.guards
        self._metrics = metrics
        self._error_log = error_log
        self._tunnels = tunnels
        self._date = date
        self._kinds = FieldKinds(request_kind)
        self._via = via
        self._rng = rng
        self._clock = clock
        self._monotonic = monotonic

    async def forward(self, exchange: Exchange, decision: Decision, body: RequestBody, responder: Responder) -> None:
        """Until the answer's last byte is out. Raises ProxyError where there is none, or where it broke off."""
        upgrades = exchange.snapshot.settings.server.upgrades
        asked = exchange.request.upgrade
        upgrade = _upgrade(asked, upgrades) if asked else b""
        rule = decision.fallback
        if rule is None:
            call = await self._ask(exchange, decision, body, responder, upgrade)
        else:
            either = await self._ask_either(exchange, decision, rule, body, responder, upgrade)
            if either is None:
                return
            call = either
        try:
            await self._relay(exchange, call, responder, upgrade)
        except BaseException as error:
            call.end(error)
            raise
        call.end(None)

    # --- one side ----------------------------------------------------------------------------------------------------

    async def _ask(
        self, exchange: Exchange, decision: Decision, body: RequestBody, responder: Responder, upgrade: bytes
    ) -> Call:
        """The decided side's answer, its body still to come: the caller owes `end`."""
        call = self._enter(decision)
        try:
            upstream = call.upstream
            if upstream.bulkhead.take():
                call.slotted = True
            else:
                await upstream.bulkhead.wait(self._left_s(exchange, decision))
                call.slotted = True
                self._check_again(decision, call)
            await self._attempt(exchange, decision, call, body, responder, upgrade)
        except BaseException as error:
            if call.exposed and isinstance(error, ProxyError):
                error.retryable = False
            call.fail(error)
            raise
        return call

    def _enter(self, decision: Decision) -> Call:
        """Past the breaker, or BreakerOpen."""
        upstream, rule = self._runtime.upstreams.get(decision.upstream), decision.breaker
        if upstream is None:  # a reload has removed it while the request was at the other side
            raise NoHealthyEndpoint
        if rule is None:
            return Call(upstream, None, 0)
        breaker = self._guards.breaker(rule)
        epoch = breaker.admit()
        if epoch == 0:
            raise BreakerOpen(retry_after_s=breaker.retry_after_s)
        return Call(upstream, breaker, epoch)

    async def _attempt(
        self,
        exchange: Exchange,
        decision: Decision,
        call: Call,
        body: RequestBody,
        responder: Responder,
        upgrade: bytes,
    ) -> None:
        """Attempts until one brings a head that is not asked for again. A breaker's probe is one attempt."""
        upstream, request, breaker = call.upstream, exchange.request, call.breaker
        retry = None if breaker is not None and breaker.probing else decision.retry
        upstream.budget.deposit(DEFAULT_BUDGET_PERCENT if decision.retry is None else decision.retry.budget_percent)
        first = self._monotonic()
        tried, begun = 0, first
        while True:
            endpoint = upstream.endpoints.pick(call.endpoint, decision.side == "legacy")
            if endpoint is None:
                raise NoHealthyEndpoint
            call.endpoint = endpoint
            head = self._request_head(exchange, decision, upstream.host_for(request, endpoint), upgrade)
            left_s = decision.deadline_s - (begun - exchange.started)
            exchange.attempts += 1
            try:
                call.connection, answer = await upstream.send(
                    endpoint, head, request, body, left_s, responder, upgrade, tried > 0
                )
            except UpstreamError as error:
                upstream.endpoints.failed_at(endpoint, error.cause)
                if not error.retryable:
                    call.exposed = True
                pause_s = self._pause_s(exchange, decision, retry, tried, upstream, body, error, None)
                if pause_s is None:
                    upstream.note_retried(tried, False)
                    raise self._timed(exchange, decision, error)  # noqa: B904  its cause stays
            else:
                call.head, call.exposed = answer, True
                now = self._monotonic()
                exchange.upstream_s = now - first
                upstream.endpoints.answered(endpoint, answer.status)
                if retry is None or answer.status not in retry.status:
                    pause_s = None
                else:
                    pause_s = self._pause_s(exchange, decision, retry, tried, upstream, body, None, answer)
                if pause_s is None:
                    upstream.note_retried(tried, answer.status < 500)
                    if decision.breaker is not None:
                        call.answered(decision.breaker, now - begun)
                    return
                call.drop()
            tried += 1
            await asyncio.sleep(pause_s)
            self._check_again(decision, call)
            begun = self._monotonic()

    def _pause_s(
        self,
        exchange: Exchange,
        decision: Decision,
        retry: RetryRule | None,
        tried: int,
        upstream: Upstream,
        body: RequestBody,
        error: UpstreamError | None,
        answer: ResponseHead | None,
    ) -> float | None:
        """Seconds until the next attempt; None where this outcome stands. A granted attempt has its body rewound."""
        request = exchange.request
        if retry is None or tried >= retry.retries or not _repeatable(retry, request, error):
            return None
        pause_s = backoff_s(tried + 1, self._rng)
        if answer is not None:
            told_s = retry_after_s(_value(answer.headers, b"retry-after"), self._clock())
            if told_s is not None:
                if told_s > retry.retry_after_max_s:
                    return None
                pause_s = max(pause_s, told_s)
        if pause_s >= self._left_s(exchange, decision) or (request.has_body and not body.replayable):
            return None
        if not upstream.budget.withdraw():
            return None
        if request.has_body:
            body.rewind()
        return pause_s

    def _left_s(self, exchange: Exchange, decision: Decision) -> float:
        return decision.deadline_s - (self._monotonic() - exchange.started)

    def _timed(self, exchange: Exchange, decision: Decision, error: UpstreamError) -> UpstreamError:
        """A time-out that the seam's deadline brought on is the deadline's."""
        if isinstance(error, (ResponseTimeout, ConnectTimeout)) and self._left_s(exchange, decision) <= 0:
            return DeadlineExceeded().because(error)
        return error

    def _check_again(self, decision: Decision, call: Call) -> None:
        """What waited goes neither to an extracted side that was rolled back meanwhile, nor past an opened breaker."""
        if decision.side == "extracted":
            record = self._runtime.records.get(decision.seam)  # a reload may have removed the seam since
            if record is not None and record.latch is not None:
                raise RolledBack
        breaker = call.breaker
        if breaker is not None and not breaker.stands_by(call.epoch):
            raise BreakerOpen(retry_after_s=breaker.retry_after_s)

    # --- the other side ----------------------------------------------------------------------------------------------

    async def _ask_either(
        self,
        exchange: Exchange,
        decision: Decision,
        rule: FallbackRule,
        body: RequestBody,
        responder: Responder,
        upgrade: bytes,
    ) -> Call | None:
        """An answer of the decided side, or of who stands in for it. None: fig has said it itself."""
        call: Call | None = None
        failure: ProxyError | None = None
        try:
            call = await self._ask(exchange, decision, body, responder, upgrade)
        except ProxyError as error:
            failure = error
        request = exchange.request
        cause = _cause(rule, request.method, failure, call)
        if cause is None or (request.has_body and rule.legacy and not body.replayable):
            return _first(call, failure)
        cap = self._guards.fallback_cap(rule)
        if not cap.take():
            self._metrics.fallback_refused(decision.seam, cause)
            return _first(call, failure)
        self._metrics.fell_back(decision.seam, cause)
        if failure is not None:
            self._note(decision, failure)
        exchange.fallback = cause
        if decision.instead is None:
            cap.release()
            if call is not None:
                call.end(None)
            self._say(exchange, rule, responder)
            return None
        return await self._ask_instead(exchange, decision.instead, cap, call, body, responder, upgrade)

    async def _ask_instead(
        self,
        exchange: Exchange,
        instead: Decision,
        cap: Bulkhead,
        call: Call | None,
        body: RequestBody,
        responder: Responder,
        upgrade: bytes,
    ) -> Call:
        """Legacy's answer. Where it has none either, the answer `call` of the first side stands, if there is one."""
        decided = exchange.decision
        exchange.decision = instead
        if exchange.request.has_body:
            body.rewind()
        try:
            second = await self._ask(exchange, instead, body, responder, upgrade)
        except BaseException as error:
            cap.release()
            if call is not None and isinstance(error, ProxyError) and not isinstance(error, ClientGone):
                self._note(instead, error)
                exchange.decision, exchange.fallback = decided, None
                return call
            if call is not None:
                call.end(None)
            raise
        second.cap = cap
        if call is not None:
            call.end(None)
        return second

    def _note(self, decision: Decision, error: ProxyError) -> None:
        """A failure that the client does not get to see: the metric and the error log do."""
        if isinstance(error, UpstreamError):
            self._metrics.upstream_failed(decision.seam, decision.side, error.cause)
        if error.fault == "upstream":
            self._error_log.log(error.cause, decision.upstream, str(error.__cause__ or error))

    def _say(self, exchange: Exchange, rule: FallbackRule, responder: Responder) -> None:
        """The fixed answer of `fallback.static`."""
        answer = rule.static
        assert answer is not None
        exchange.said_by_fig = True
        body = answer.body.encode()
        lines: Headers = [
            (b"Date", self._date.at(self._clock())),
            (b"Cache-Control", b"no-store"),
            (b"X-Request-ID", exchange.request_id),
            *exchange.added,
        ]
        if body:
            lines.insert(0, (b"Content-Type", answer.content_type.encode("latin-1")))
        if exchange.snapshot.settings.server.debug_headers:
            lines += debug_lines(exchange, self._monotonic())
        phrase = PHRASES.get(answer.status, b"")
        responder.start(answer.status, phrase, lines, len(body), body, last=True)

    # --- the answer --------------------------------------------------------------------------------------------------

    async def _relay(self, exchange: Exchange, call: Call, responder: Responder, upgrade: bytes) -> None:
        """Head out, then the body chunk by chunk, each side at the other's pace."""
        connection, answer, decision = call.connection, call.head, exchange.decision
        assert connection is not None and answer is not None and decision is not None
        lines = self._response_lines(exchange, decision, call.upstream, answer)
        if answer.status == 101:
            await self._tunnel(exchange, decision, connection.hand_over(), answer, lines, responder, upgrade)
            return
        data, complete = connection.take_buffered()
        last = complete and not connection.trailers
        responder.start(answer.status, answer.reason, lines, answer.length, data, last=last)
        if not last:
            if not complete:
                await connection.relay(responder, call.upstream.config.timeouts.body_s)
            responder.end(connection.trailers)

    async def _tunnel(
        self,
        exchange: Exchange,
        decision: Decision,
        upstream: Switched,
        answer: ResponseHead,
        lines: Headers,
        responder: Responder,
        protocol: bytes,
    ) -> None:
        """After a 101: bytes both ways until somebody ends it."""
        client = responder.switch(answer.reason, lines, protocol)
        if client is None:
            raise ClientGone
        timeouts = exchange.snapshot.settings.server.timeouts
        key = (decision.seam, decision.side)
        tunnel = self._tunnels.start(
            key,
            client,
            upstream,
            websocket=protocol == b"websocket",
            idle_s=timeouts.tunnel_idle_s,
            max_s=timeouts.tunnel_max_s,
            expires_s=None if exchange.ends_s is None else max(0.0, exchange.ends_s - self._clock()),
        )
        if decision.side == "extracted":  # a rollback may have come since the decision
            self.close_rolled_back(self._runtime.snapshot, decision.seam)
        try:
            await self._tunnels.run(key, tunnel)
        finally:
            exchange.tunnelled = (tunnel.bytes_in, tunnel.bytes_out)

    def close_rolled_back(self, snapshot: Snapshot, seam: str) -> None:
        """Tunnels of the extracted side do not outlive a rollback: DESIGN section 3."""
        state = snapshot.states.get(seam)
        if state is not None and state.record.latch is not None:
            self._tunnels.roll_back(seam)

    # --- parts -------------------------------------------------------------------------------------------------------

    def _request_head(self, exchange: Exchange, decision: Decision, host: bytes, upgrade: bytes) -> bytes:
        request, rewrite = exchange.request, decision.rewrite
        return request_lines(
            self._kinds,
            request,
            target=request.target if rewrite is None else apply_rewrite(rewrite, request.target),
            host=host,
            via=self._via,
            request_id=exchange.request_id,
            traceparent=exchange.traceparent,
            peer_trusted=exchange.peer_trusted,
            continues=exchange.continues,
            upgrade=upgrade,
            identity=exchange.identity,
        )

    def _response_lines(
        self, exchange: Exchange, decision: Decision, upstream: Upstream, answer: ResponseHead
    ) -> Headers:
        lines, server = answer.headers, exchange.snapshot.settings.server
        if not answer.dated:
            lines.append((b"Date", self._date.at(self._clock())))
        lines.append((b"X-Request-ID", exchange.request_id))
        if answer.status == 426 and server.upgrades:  # RFC 9110 15.5.22: it must say to what
            protocols = ", ".join(server.upgrades).encode("ascii")
            lines += [(b"Upgrade", protocols), (b"Connection", b"Upgrade")]
        if answer.located:
            rewrite = decision.rewrite
            lines = relocate(
                lines,
                upstream.internal,
                exchange.public,
                lambda target: unrewrite(rewrite, target) if rewrite else target,
            )
        added = exchange.added
        if added or exchange.cors:
            lines = dressed(lines, added, exchange.cors)
        if server.debug_headers:
            lines += debug_lines(exchange, self._monotonic())
        return lines


def debug_lines(exchange: Exchange, now: float) -> Headers:
    """What `server.debug_headers` shows. The decision must have been made."""
    decision = exchange.decision
    assert decision is not None
    total_ms = 1000 * (now - exchange.started)
    upstream_ms = 1000 * (exchange.upstream_s or 0.0)
    timing = f"fig;dur={total_ms - upstream_ms:.2f}, upstream;dur={upstream_ms:.2f}"
    lines: Headers = [
        (b"X-Fig-Seam", decision.seam.encode("ascii")),
        (b"X-Fig-Side", decision.side.encode("ascii")),
        (b"X-Fig-Reason", decision.reason.encode("ascii")),
        (b"Server-Timing", timing.encode("ascii")),
    ]
    if exchange.fallback is not None:
        lines.append((b"X-Fig-Fallback", exchange.fallback.encode("ascii")))
    return lines


def _cause(rule: FallbackRule, method: str, failure: ProxyError | None, call: Call | None) -> str | None:
    """The word for why another should answer; None where this outcome stands."""
    if failure is None:
        assert call is not None and call.head is not None
        return "status" if call.head.status in rule.status and method in SAFE else None
    if isinstance(failure, (ConnectFailed, ConnectTimeout, BreakerOpen, BulkheadFull, NoHealthyEndpoint, RolledBack)):
        surely_unknown_there = failure.retryable
    elif isinstance(failure, (ResponseTimeout, UpstreamReset, UpstreamProtocol)):
        surely_unknown_there = False
    else:
        return None
    return failure.cause if surely_unknown_there or method in SAFE else None


def _first(call: Call | None, failure: ProxyError | None) -> Call:
    if call is None:
        assert failure is not None
        raise failure
    return call


def _repeatable(retry: RetryRule, request: RequestHead, error: UpstreamError | None) -> bool:
    """Whether another attempt cannot do twice what must be done once. `error` None: it was answered."""
    if isinstance(error, (ConnectFailed, ConnectTimeout)):
        if not retry.on_connect:
            return False
        if error.retryable:
            return True
    elif error is not None and not (isinstance(error, UpstreamReset) and error.unanswered and retry.on_reset):
        return False
    return request.method in IDEMPOTENT or (retry.header is not None and retry.header in request.fields)


def _value(lines: Headers, name: bytes) -> bytes | None:
    return next((value for key, value in lines if key.lower() == name), None)


def _upgrade(asked: bytes, allowed: tuple[str, ...]) -> bytes:
    """The first protocol asked for that is allowed; empty: the request goes on without its Upgrade (RFC 9110 7.8)."""
    tokens = (token.strip(b" \t") for token in asked.split(b","))
    return next((token for token in tokens if token.decode("latin-1") in allowed), b"")
