"""The life of a request, as one function: `Gateway.handle`. docs/life-of-a-request.md tells the same story."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil

import orjson

from proxy.admission.auth_rules import AuthRule
from proxy.admission.cors import CorsPolicy, preflighted
from proxy.admission.door import Door
from proxy.admission.doors import Doors, asked
from proxy.admission.limit_headers import limit_fields
from proxy.admission.limit_keys import LimitKey
from proxy.admission.rate_limit import Verdict
from proxy.admission.refusal import Refusal
from proxy.admission.trust import Trust
from proxy.errors import (
    BodyTooLarge,
    CannotVerify,
    ClientGone,
    Forbidden,
    LimitsUnavailable,
    Loop,
    MethodNotAllowed,
    ProxyError,
    RateLimited,
    RouteNotFound,
    Unauthenticated,
    Unavailable,
)
from proxy.exchange import Exchange
from proxy.forward import PHRASES, Forwarder, debug_lines
from proxy.messages import Headers, RequestHead
from proxy.routing.decide import Decision, decide
from proxy.routing.path import split_target
from proxy.routing.split import BUCKETS
from proxy.routing.table import Match, resolve
from proxy.runtime import Runtime
from proxy.shadow.job import Watch
from proxy.shadow.mirror import Mirror
from proxy.snapshot import SeamState, Snapshot, seam_state
from proxy.telemetry.access_log import AccessEntry, AccessLog, ErrorLog
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.trace import child, request_id
from proxy.upstreams.tunnels import Tunnels
from proxy.wire.body import RequestBody
from proxy.wire.headers import DateField
from proxy.wire.responder import Responder

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
        mirror: Mirror,
        *,
        via: bytes,
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
        self._mirror = mirror
        self._date = DateField()
        self._via = via
        self._rng = rng
        self._clock = clock
        self._monotonic = monotonic
        self._forwarder = Forwarder(
            runtime,
            metrics,
            error_log,
            tunnels,
            self._date,
            via=self._via,
            rng=rng,
            clock=clock,
            monotonic=monotonic,
        )

    def adopt(self, snapshot: Snapshot) -> None:
        """A new snapshot is in force."""
        self.trust = Trust(snapshot.settings.server.trusted_proxies)
        for seam in self._tunnels.on_extracted():
            self._forwarder.close_rolled_back(snapshot, seam)

    async def handle(self, request: RequestHead, body: RequestBody, responder: Responder) -> None:
        """Route, decide, forward; whatever happens, exactly one answer or a cut connection, and one record."""
        exchange, doors = Exchange(self.runtime.snapshot, request, self._monotonic()), self.runtime.doors
        watch: Watch | None = None
        try:
            self._identify(exchange)
            if request.method == "OPTIONS" and self._answers_options(exchange, responder):
                return
            if request.target == doors.identity.public_path and self._answers_keys(exchange, doors, responder):
                return
            self._route(exchange, doors)
            if doors.identity.names:
                doors.identity.strip(request)
                body.unwanted = doors.identity.names
            door = None if exchange.route is None else doors.of(exchange.route)
            if door is not None:
                self._open(exchange, door)
                if door.cors is not None and preflighted(request) is not None:
                    self._answer_preflight(exchange, door.cors, responder)
                    return
                verdicts: list[Verdict] = []
                if door.by_client:
                    await self._limit(exchange, doors, door.by_client, verdicts)
                if door.auth is not None:
                    await self._authenticate(exchange, doors, door.auth)
                if door.by_principal:
                    await self._limit(exchange, doors, door.by_principal, verdicts)
                if request.principal is not None and request.principal.api_key:
                    await self._limit_key(exchange, doors, request.principal.api_key, verdicts)
            self._bound(exchange, body)
            decision = self._decide(exchange)
            if decision.shadow is not None:
                watch = self._mirror.watch(exchange, decision.shadow, responder)
            await self._forwarder.forward(exchange, decision, body, responder)
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
            if watch is not None:
                self._mirror.finish(watch, exchange, body, responder)

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
                fallback=None,
                attempts=0,
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

    def _route(self, exchange: Exchange, doors: Doors) -> None:
        """Canonical path → route, or 404 (405 where there is no `default`)."""
        request, snapshot = exchange.request, exchange.snapshot
        match = None
        if request.target != b"*":  # OPTIONS * asks about the server, not a resource (RFC 9112 3.2.4)
            if request.method == "OPTIONS":
                match = _preflight_route(snapshot, doors, request)
            if match is None:
                match = resolve(snapshot.table, request.method, request.host, request.target, request.fields)
        if match is None:
            if snapshot.fallthrough is None:
                raise _no_route(snapshot, request)
            return
        exchange.route, exchange.params = match.route, match.params

    def _bound(self, exchange: Exchange, body: RequestBody) -> None:
        """The route's own bound of a body. What broke off or grew too long while the request waited goes nowhere."""
        route, request = exchange.route, exchange.request
        if route is not None and route.max_body_bytes is not None and request.has_body:
            if max(request.length or 0, body.received) > route.max_body_bytes:
                raise BodyTooLarge(f"A request body may have at most {route.max_body_bytes} bytes here.")
            body.limit = route.max_body_bytes
        if exchange.waited and body.error is not None:
            raise body.error

    def _open(self, exchange: Exchange, door: Door) -> None:
        """What may be seen of a request without asking anybody: whether it comes from where it may, and what every
        answer to it will say."""
        if door.cors is not None:
            exchange.cors = True
            exchange.extra = door.cors.answer_fields(exchange.request)
        if door.access is not None and not door.access.admits(exchange.client_ip):
            raise Forbidden("Requests from this address are not accepted here.")
        upgraded = exchange.request.upgrade and door.cors
        if upgraded and not upgraded.admits_upgrade(exchange.request, exchange.authority):
            raise Forbidden("Pages of this origin may not open a WebSocket here.")
        if door.policy:
            exchange.extra = [*exchange.extra, (b"RateLimit-Policy", door.policy)]

    def _answer_preflight(self, exchange: Exchange, cors: CorsPolicy, responder: Responder) -> None:
        """It never reaches an upstream, and needs no credential: it cannot have one (Fetch, 3.2.2)."""
        headers = [(b"Date", self._date.at(self._clock())), (b"X-Request-ID", exchange.request_id)]
        headers += cors.preflight_fields(exchange.request)
        responder.start(204, b"No Content", headers, 0, last=True)

    def _answers_keys(self, exchange: Exchange, doors: Doors, responder: Responder) -> bool:
        """The public keys of the identity token, for upstreams that may not ask the admin port."""
        mint = doors.identity.mint
        if mint is None or exchange.request.method not in ("GET", "HEAD"):
            return False
        text = mint.jwks()
        headers = [
            (b"Content-Type", b"application/jwk-set+json"),
            (b"Cache-Control", b"public, max-age=60"),
            (b"Date", self._date.at(self._clock())),
            (b"X-Request-ID", exchange.request_id),
        ]
        responder.start(200, b"OK", headers, len(text), text, last=True)
        return True

    async def _limit(self, exchange: Exchange, doors: Doors, keys: Sequence[LimitKey], verdicts: list[Verdict]) -> None:
        """All of these limits let it through together, or none of them is used up. `verdicts` are those so far. Raises
        RateLimited, and LimitsUnavailable where nobody can say."""
        verdict = doors.limiter.check(asked(exchange, keys), self._monotonic())
        if isinstance(verdict, asyncio.Future):
            exchange.waited = True
            verdict = await verdict
        verdicts.append(verdict)
        exchange.limits = limit_fields(verdicts)
        if verdict.unavailable:
            raise LimitsUnavailable("The store of the rate limits does not answer.")
        if not verdict.allowed:
            raise RateLimited("Too many requests: come back after Retry-After.", verdict.violated)

    async def _limit_key(self, exchange: Exchange, doors: Doors, api_key: str, verdicts: list[Verdict]) -> None:
        """An API key's own limits, by themselves: in a Redis cluster they may live elsewhere."""
        own = doors.key_limits.get(api_key)
        if own is not None:
            exchange.extra = [*exchange.extra, (b"RateLimit-Policy", own.policy)]
            await self._limit(exchange, doors, own.keys, verdicts)

    async def _authenticate(self, exchange: Exchange, doors: Doors, rule: AuthRule) -> None:
        """As whom it comes in. Raises Unauthenticated, Forbidden, and CannotVerify where nobody can say."""
        request, authenticator = exchange.request, doors.authenticator
        verdict = authenticator.check(request, rule)
        if verdict is None:
            exchange.waited = True
            verdict = await authenticator.after_fetch(request, rule)
        self._metrics.authenticated(verdict.outcome)
        if verdict.refused:
            assert verdict.refusal is not None
            raise _refused(verdict.refusal)
        principal = request.principal = verdict.principal
        doors.identity.verified(request)
        if rule.api_keys:  # it is fig's, and nobody else is to learn it
            _strip(request, doors.api_key_field)
        if principal is not None:
            exchange.identity = doors.identity.lines(principal)
            exchange.ends_s = principal.expires_s if rule.mode == "enforce" else None

    def _decide(self, exchange: Exchange) -> Decision:
        route, snapshot = exchange.route, exchange.snapshot
        if route is None:
            assert snapshot.fallthrough is not None
            decision = snapshot.fallthrough
        else:
            state = snapshot.states[route.seam]
            plan = (self._latched(state) if exchange.waited else state).plan
            decision = decide(plan, route, exchange.request, exchange.params or {}, exchange.client_ip, self._draw)
            if state.config.force is not None:  # between the client and fig alone, whether it was obeyed or not
                _strip(exchange.request, state.config.force.header.lower().encode())
        exchange.decision = decision
        return decision

    def _latched(self, state: SeamState) -> SeamState:
        """The seam as this request sees it; a rollback that came while it waited counts, also where a reload has
        removed the seam since."""
        current = self.runtime.records.get(state.name)
        if current is None or current.latch is None or state.record.latch is not None:
            return state
        return seam_state(state.name, state.config, replace(state.record, latch=current.latch))

    def _draw(self) -> int:
        return int(self._rng.random() * BUCKETS)  # a tenth of what randrange takes

    def _refuse(self, exchange: Exchange, error: ProxyError, responder: Responder) -> None:
        exchange.error = error
        if isinstance(error, ClientGone):
            return
        if responder.started:
            responder.cut()
            return
        extra: Headers = [(b"Date", self._date.at(self._clock())), *error.lines, *exchange.added]
        if exchange.snapshot.settings.server.debug_headers and exchange.decision is not None:
            extra += debug_lines(exchange, self._monotonic())
        if isinstance(error, Unavailable):
            extra.append((b"Retry-After", b"%d" % max(1, ceil(error.retry_after_s))))
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
                    fallback=exchange.fallback,
                    attempts=exchange.attempts,
                    user_agent=request.fields.get(b"user-agent"),
                    referer=request.fields.get(b"referer"),
                )
            )


def _strip(request: RequestHead, name: bytes) -> None:
    """Upstreams do not get the client's lines of this lower-case name."""
    if name in request.fields:
        request.headers = [line for line in request.headers if line[0].lower() != name]


def _refused(refusal: Refusal) -> ProxyError:
    if refusal.status == 401:
        return Unauthenticated(refusal.detail, refusal.challenge)
    if refusal.status == 403:
        return Forbidden(refusal.detail, refusal.challenge)
    return CannotVerify(refusal.detail, refusal.retry_after_s or 1.0)


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
    responder.start(error.status, PHRASES.get(error.status, b"Error"), headers, len(text), text, last=True)


def _preflight_route(snapshot: Snapshot, doors: Doors, request: RequestHead) -> Match | None:
    """The route that a preflight asks about, where fig answers for it."""
    method = preflighted(request)
    if method is None:
        return None
    match = resolve(snapshot.table, method, request.host, request.target, request.fields)
    door = None if match is None else doors.of(match.route)
    return None if door is None or door.cors is None else match


def _no_route(snapshot: Snapshot, request: RequestHead) -> ProxyError:
    if request.target == b"*":
        return RouteNotFound("There is no `default` upstream to ask.")
    path, _ = split_target(request.target)
    allow = tuple(sorted(snapshot.table.methods_for(path, request.host)))
    if allow and request.method not in allow:
        return MethodNotAllowed(f"{request.method} is not served here.", allow)
    return RouteNotFound("No seam claims this request and there is no `default`.")
