"""The life of a request, as one function: `Gateway.handle`. docs/life-of-a-request.md tells the same story."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from http import HTTPStatus

import orjson

from proxy.admission.trust import Trust
from proxy.errors import (
    BodyTooLarge,
    ClientGone,
    DeadlineExceeded,
    Loop,
    MethodNotAllowed,
    ProxyError,
    ResponseTimeout,
    RouteNotFound,
)
from proxy.exchange import Exchange
from proxy.messages import Headers, RequestHead, ResponseHead
from proxy.routing.decide import Decision, apply_rewrite, decide, unrewrite
from proxy.routing.path import split_target
from proxy.routing.split import BUCKETS
from proxy.routing.table import resolve
from proxy.runtime import Runtime
from proxy.snapshot import Snapshot
from proxy.telemetry.access_log import AccessEntry, AccessLog, ErrorLog
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.trace import child, request_id
from proxy.upstreams.tunnels import Tunnels
from proxy.upstreams.upstream import Upstream
from proxy.wire.body import RequestBody
from proxy.wire.headers import DateField, FieldKinds, relocate, request_kind, request_lines
from proxy.wire.responder import Responder, Switched

_PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_MAX_VIA = 20  # hops after which a request is taken to be going round in circles


class Gateway:
    """What the edge calls for each request. Holds no state of its own but `trust`, which a reload replaces."""

    def __init__(
        self,
        runtime: Runtime,
        metrics: Metrics,
        access_log: AccessLog,
        error_log: ErrorLog,
        tunnels: Tunnels,
        *,
        instance: str,
        rng: random.Random,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runtime = runtime
        self.trust = Trust(runtime.snapshot.settings.server.trusted_proxies)
        self._metrics = metrics
        self._access_log = access_log
        self._error_log = error_log
        self._tunnels = tunnels
        self._kinds = FieldKinds(request_kind)
        self._date = DateField()
        self._via = f"1.1 fig-{instance}".encode("ascii")
        self._rng = rng
        self._clock = clock
        self._monotonic = monotonic

    def adopt(self, snapshot: Snapshot) -> None:
        """A new snapshot is in force."""
        self.trust = Trust(snapshot.settings.server.trusted_proxies)
        for seam in self._tunnels.on_extracted():
            self._close_rolled_back(snapshot, seam)

    async def handle(self, request: RequestHead, body: RequestBody, responder: Responder) -> None:
        """Route, decide, forward; whatever happens, exactly one answer or a cut connection, and one record."""
        exchange = Exchange(self.runtime.snapshot, request, self._monotonic())
        try:
            self._identify(exchange)
            if request.method == "OPTIONS" and self._answers_options(exchange, responder):
                return
            self._route(exchange, body)
            decision = self._decide(exchange)
            await self._forward(exchange, decision, body, responder)
        except ProxyError as error:
            self._refuse(exchange, error, responder)
        except asyncio.CancelledError:
            exchange.error = ClientGone()
            raise
        except Exception:
            logging.getLogger("proxy").exception("unexpected error, request %s", exchange.request_id.decode("ascii"))
            self._refuse(exchange, ProxyError(), responder)
        finally:
            self._record(exchange, body, responder)

    def reject(self, error: ProxyError, peer: str, responder: Responder) -> None:
        """Answer what never became a request: malformed, too large or too slow heads."""
        now = self._clock()
        identity = request_id(None, False, int(now * 1000), self._rng)
        _answer(error, identity, responder, (b"Date", self._date.at(now)))
        self._metrics.reject(error.cause)
        self._access_log.log(
            AccessEntry(
                at=now,
                request_id=identity,
                trace_id="",
                client=peer,
                method="-",
                path=b"-",
                version="1.1",
                status=error.status,
                bytes_in=0,
                bytes_out=responder.bytes_out,
                duration_s=0.0,
                upstream_s=None,
                seam=None,
                route=None,
                side=None,
                upstream=None,
                reason=None,
                cause=error.cause,
                user_agent=None,
                referer=None,
            )
        )

    # --- the phases, in order ----------------------------------------------------------------------------------------

    def _identify(self, exchange: Exchange) -> None:
        request = exchange.request
        fields = request.fields
        exchange.client_ip = request.peer
        trusted = self.trust.anybody and self.trust.trusts(request.peer)
        if trusted:
            exchange.peer_trusted = True
            exchange.client_ip = self.trust.client_ip(request.peer, fields.get(b"x-forwarded-for"))
        now_ms = int(self._clock() * 1000)
        exchange.request_id = request_id(fields.get(b"x-request-id"), trusted, now_ms, self._rng)
        parent = fields.get(b"traceparent")
        exchange.traceparent, exchange.trace_id = child(parent, self._rng)
        if parent is not None:
            exchange.continues = exchange.trace_id.encode("ascii") in parent
        via = fields.get(b"via")
        if via is not None and (self._via in via or via.count(b",") >= _MAX_VIA):
            raise Loop("The request has passed this proxy before.")

    def _answers_options(self, exchange: Exchange, responder: Responder) -> bool:
        """Max-Forwards (RFC 9110 7.6.2): at 0 fig answers as the last recipient, else it goes on one less."""
        request = exchange.request
        hops = request.fields.get(b"max-forwards", b"")
        if not hops.isdigit():
            return False
        left = int(hops[:9])
        if left == 0:
            headers = [(b"Date", self._date.at(self._clock())), (b"X-Request-ID", exchange.request_id)]
            responder.start(200, b"OK", headers, 0, last=True)
            return True
        counted = (b"Max-Forwards", b"%d" % (left - 1))
        request.headers = [counted if line[0].lower() == b"max-forwards" else line for line in request.headers]
        return False

    def _route(self, exchange: Exchange, body: RequestBody) -> None:
        """Canonical path → route, or 404 (405 where there is no `default`)."""
        request, snapshot = exchange.request, exchange.snapshot
        match = None
        if request.target != b"*":  # OPTIONS * asks about the server, not a resource (RFC 9112 3.2.4)
            match = resolve(snapshot.table, request.method, request.host, request.target, request.fields)
        if match is None:
            if snapshot.fallthrough is None:
                raise _no_route(snapshot, request)
            return
        exchange.route, exchange.params = match.route, match.params
        limit = match.route.max_body_bytes
        if limit is not None and request.has_body:
            if max(request.length or 0, body.received) > limit:
                raise BodyTooLarge(f"A request body may have at most {limit} bytes here.")
            body.limit = limit

    def _decide(self, exchange: Exchange) -> Decision:
        route, snapshot = exchange.route, exchange.snapshot
        if route is None:
            assert snapshot.fallthrough is not None
            decision = snapshot.fallthrough
        else:
            plan = snapshot.states[route.seam].plan
            decision = decide(plan, route, exchange.request, exchange.params or {}, exchange.client_ip, self._draw)
        exchange.decision = decision
        return decision

    def _draw(self) -> int:
        return int(self._rng.random() * BUCKETS)  # a tenth of what randrange takes

    async def _forward(self, exchange: Exchange, decision: Decision, body: RequestBody, responder: Responder) -> None:
        """One exchange with an endpoint of the decided upstream, then head and body to the client."""
        request = exchange.request
        upstream = self.runtime.upstreams[decision.upstream]
        endpoint = upstream.pick()
        upgrade = request.upgrade and _upgrade(request.upgrade, exchange.snapshot.settings.server.upgrades)
        target = request.target if decision.rewrite is None else apply_rewrite(decision.rewrite, request.target)
        head = request_lines(
            self._kinds,
            request,
            target=target,
            host=upstream.host_for(request, endpoint),
            via=self._via,
            request_id=exchange.request_id,
            traceparent=exchange.traceparent,
            peer_trusted=exchange.peer_trusted,
            continues=exchange.continues,
            upgrade=upgrade,
        )
        begun = self._monotonic()
        upstream.in_flight += 1
        try:
            left_s = decision.deadline_s - (begun - exchange.started)
            try:
                connection, answer = await upstream.send(endpoint, head, request, body, left_s, responder, upgrade)
            except ResponseTimeout as error:
                if left_s < upstream.config.timeouts.response_s:
                    raise DeadlineExceeded().because(error)  # noqa: B904
                raise
            try:
                exchange.upstream_s = self._monotonic() - begun
                lines = self._response_lines(exchange, decision, upstream, answer)
                if answer.status == 101:
                    await self._tunnel(exchange, decision, connection.hand_over(), answer, lines, responder, upgrade)
                    return
                data, complete = connection.take_buffered()
                last = complete and not connection.trailers
                responder.start(answer.status, answer.reason, lines, answer.length, data, last=last)
                if not last:
                    if not complete:
                        await connection.relay(responder, upstream.config.timeouts.body_s)
                    responder.end(connection.trailers)
            finally:
                endpoint.pool.release(connection)
        finally:
            upstream.in_flight -= 1

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
        )
        if decision.side == "extracted":  # a rollback may have come since the decision
            self._close_rolled_back(self.runtime.snapshot, decision.seam)
        try:
            await self._tunnels.run(key, tunnel)
        finally:
            exchange.tunnelled = (tunnel.bytes_in, tunnel.bytes_out)

    def _close_rolled_back(self, snapshot: Snapshot, seam: str) -> None:
        """Tunnels of the extracted side do not outlive a rollback: DESIGN section 3."""
        state = snapshot.states.get(seam)
        if state is not None and state.record.latch is not None:
            self._tunnels.roll_back(seam)

    # --- parts -------------------------------------------------------------------------------------------------------

    def _response_lines(
        self, exchange: Exchange, decision: Decision, upstream: Upstream, answer: ResponseHead
    ) -> Headers:
        lines = answer.headers
        if not answer.dated:
            lines.append((b"Date", self._date.at(self._clock())))
        lines.append((b"X-Request-ID", exchange.request_id))
        if answer.status == 426 and exchange.snapshot.settings.server.upgrades:  # RFC 9110 15.5.22: it must say to what
            protocols = ", ".join(exchange.snapshot.settings.server.upgrades).encode("ascii")
            lines += [(b"Upgrade", protocols), (b"Connection", b"Upgrade")]
        if answer.located:
            rewrite = decision.rewrite
            public = (
                f"{self._scheme(exchange.request, exchange.peer_trusted)}://".encode("ascii") + exchange.request.host
            )
            lines = relocate(
                lines, upstream.internal, public, lambda target: unrewrite(rewrite, target) if rewrite else target
            )
        if exchange.snapshot.settings.server.debug_headers:
            lines += _debug_lines(exchange, decision, self._monotonic())
        return lines

    def _scheme(self, request: RequestHead, trusted: bool) -> str:
        forwarded = request.fields.get(b"x-forwarded-proto", b"").lower()
        if forwarded in (b"http", b"https") and trusted:
            return forwarded.decode("ascii")
        return request.scheme

    def _refuse(self, exchange: Exchange, error: ProxyError, responder: Responder) -> None:
        exchange.error = error
        if isinstance(error, ClientGone):
            return
        if responder.started:
            responder.cut()
            return
        extra: Headers = [(b"Date", self._date.at(self._clock()))]
        if exchange.snapshot.settings.server.debug_headers and exchange.decision is not None:
            extra += _debug_lines(exchange, exchange.decision, self._monotonic())
        _answer(error, exchange.request_id, responder, *extra)

    def _record(self, exchange: Exchange, body: RequestBody, responder: Responder) -> None:
        """The one place where metrics, access line and error line are written, whatever happened."""
        error, decision, request = exchange.error, exchange.decision, exchange.request
        duration_s = self._monotonic() - exchange.started
        exchange.status = responder.status if responder.started else error.status if error is not None else 500
        self._metrics.record(exchange, duration_s)
        if error is not None and error.fault == "upstream" and decision is not None:
            self._error_log.log(error.cause, decision.upstream, str(error.__cause__ or error))
        if self._access_log.enabled:
            bytes_in, bytes_out = exchange.tunnelled or (body.received, responder.bytes_out)
            self._access_log.log(
                AccessEntry(
                    at=self._clock(),
                    request_id=exchange.request_id,
                    trace_id=exchange.trace_id,
                    client=exchange.client_ip,
                    method=request.method,
                    path=request.target,
                    version="1.0" if request.http10 else "1.1",
                    status=exchange.status,
                    bytes_in=bytes_in,
                    bytes_out=bytes_out,
                    duration_s=duration_s,
                    upstream_s=exchange.upstream_s,
                    seam=exchange.seam,
                    route=exchange.route.pattern if exchange.route else None,
                    side=decision.side if decision else None,
                    upstream=decision.upstream if decision else None,
                    reason=decision.reason if decision else None,
                    cause=error.cause if error else None,
                    user_agent=request.fields.get(b"user-agent"),
                    referer=request.fields.get(b"referer"),
                )
            )


def _answer(error: ProxyError, identity: bytes, responder: Responder, *extra: tuple[bytes, bytes]) -> None:
    """fig's own error as RFC 9457 JSON."""
    headers: Headers = [
        (b"Content-Type", b"application/problem+json"),
        (b"Cache-Control", b"no-store"),
        (b"X-Request-ID", identity),
        *extra,
    ]
    if isinstance(error, MethodNotAllowed):
        headers.append((b"Allow", ", ".join(error.allow).encode("ascii")))
    text = orjson.dumps(error.problem(identity.decode("ascii")))
    responder.start(error.status, _PHRASES.get(error.status, b"Error"), headers, len(text), text, last=True)


def _upgrade(asked: bytes, allowed: tuple[str, ...]) -> bytes:
    """The first protocol asked for that is allowed; empty: the request goes on without its Upgrade (RFC 9110 7.8)."""
    tokens = (token.strip(b" \t") for token in asked.split(b","))
    return next((token for token in tokens if token.decode("latin-1") in allowed), b"")


def _no_route(snapshot: Snapshot, request: RequestHead) -> ProxyError:
    if request.target == b"*":
        return RouteNotFound("There is no `default` upstream to ask.")
    path, _ = split_target(request.target)
    allow = tuple(sorted(snapshot.table.methods_for(path, request.host)))
    if allow and request.method not in allow:
        return MethodNotAllowed(f"{request.method} is not served here.", allow)
    return RouteNotFound("No seam claims this request and there is no `default`.")


def _debug_lines(exchange: Exchange, decision: Decision, now: float) -> Headers:
    total_ms = 1000 * (now - exchange.started)
    upstream_ms = 1000 * (exchange.upstream_s or 0.0)
    timing = f"fig;dur={total_ms - upstream_ms:.2f}, upstream;dur={upstream_ms:.2f}"
    return [
        (b"X-Fig-Seam", decision.seam.encode("ascii")),
        (b"X-Fig-Side", decision.side.encode("ascii")),
        (b"X-Fig-Reason", decision.reason.encode("ascii")),
        (b"Server-Timing", timing.encode("ascii")),
    ]
