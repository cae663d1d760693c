"""Calls that no client waits for: one question, its answer copied, on connections of their own. Knows no comparison.

Nothing here is counted where clients' calls are: no breaker, no bulkhead, no retry budget, no health. Who asks has a
cap and a time limit of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy.errors import NoHealthyEndpoint, RolledBack, UpstreamReset
from proxy.exchange import Exchange
from proxy.messages import Headers, RequestHead, ResponseHead
from proxy.routing.decide import apply_rewrite, unrewrite
from proxy.routing.resilience import SAFE
from proxy.routing.shadowing import Target
from proxy.upstreams.upstream import Upstream
from proxy.wire.body import Source, pour_whole
from proxy.wire.client import UpstreamConnection
from proxy.wire.copy import AnswerCopy
from proxy.wire.headers import FieldKinds, dressed, relocate, request_kind, request_lines


class _Sink:
    """Pours an answer's body into its copy, and hangs up on one that is longer than anybody would compare."""

    def __init__(self, copy: AnswerCopy, connection: UpstreamConnection, limit: int) -> None:
        self.source: Source | None = None
        self._copy = copy
        self._connection = connection
        self._limit = limit

    @property
    def paused(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        if self._copy.endless:
            return
        self._copy.feed(data)
        if self._copy.length > self._limit:
            self._copy.endless = True
            self._connection.abort()


class Lane:
    """`upstream_of` gives the upstream of a name as it is now."""

    def __init__(
        self, upstream_of: Callable[[str], Upstream | None], *, via: bytes, monotonic: Callable[[], float]
    ) -> None:
        self._upstream_of = upstream_of
        self._kinds = FieldKinds(request_kind)
        self._via = via
        self._monotonic = monotonic

    async def send(
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
        """Ask `target` what `request` says, with `body`, and fill `copy` with the answer as the client of `exchange`
        would have got it. Seconds until its head. `identified`: it is told who came. More than `limit` bytes of a body
        are not read. `wanted` is asked right before anything is said, for a connection may take its time.

        Raises RolledBack where it was not wanted any more, ConnectFailed, ConnectTimeout or NoHealthyEndpoint where it
        was surely not asked, any other UpstreamError where the answer broke off. The caller limits the time."""
        if not wanted():
            raise RolledBack
        upstream = self._upstream_of(target.upstream)
        endpoint = None if upstream is None else upstream.endpoints.pick(None, target.side == "legacy")
        if upstream is None or endpoint is None:
            raise NoHealthyEndpoint
        head = self._head(target, exchange, request, upstream.host_for(request, endpoint), identified)
        call = _Call(upstream, target, exchange, head, request, body, copy, limit, self._monotonic)
        pool = endpoint.aside
        connection = pool.take_idle(surely=True)
        if connection is not None:
            try:
                return await call.on(connection)
            except UpstreamReset:
                if connection.answered or request.method not in SAFE:
                    raise
            finally:
                pool.release(connection)
        connection = await pool.connect()
        try:
            if not wanted():
                raise RolledBack
            return await call.on(connection)
        finally:
            pool.release(connection)

    def _head(self, target: Target, exchange: Exchange, request: RequestHead, host: bytes, identified: bool) -> bytes:
        return request_lines(
            self._kinds,
            request,
            target=request.target if target.rewrite is None else apply_rewrite(target.rewrite, request.target),
            host=host,
            via=self._via,
            request_id=exchange.request_id,
            traceparent=exchange.traceparent,
            peer_trusted=exchange.peer_trusted,
            continues=exchange.continues,
            shadow=(exchange.seam or "").encode("ascii"),
            identity=exchange.identity if identified else (),
        )


@dataclass(frozen=True, slots=True)
class _Call:
    """One question, ready to go out on a connection."""

    upstream: Upstream
    target: Target
    exchange: Exchange
    head: bytes
    request: RequestHead
    body: bytes
    copy: AnswerCopy
    limit: int
    monotonic: Callable[[], float]

    async def on(self, connection: UpstreamConnection) -> float:
        """Until the answer's last byte, or the last that counts. Seconds until its head."""
        started, copy, timeouts = self.monotonic(), self.copy, self.upstream.config.timeouts
        connection.begin(self.head, head_only=self.request.method == "HEAD", body=bool(self.body), chunked=False)
        if self.body:
            pour_whole(self.body, connection)
        answer = await connection.response(timeouts.response_s)
        seconds = self.monotonic() - started
        copy.start(answer.status, self._lines(answer))
        if copy.event_stream:
            return seconds
        sink = _Sink(copy, connection, self.limit)
        data, complete = connection.take_buffered()
        if data:
            sink.write(data)
        if not complete and not copy.endless:
            try:
                await connection.relay(sink, timeouts.body_s)
            except UpstreamReset:
                if not copy.endless:  # it was fig that hung up
                    raise
        return seconds

    def _lines(self, answer: ResponseHead) -> Headers:
        exchange = self.exchange
        added = exchange.added
        lines = dressed(answer.headers, added, exchange.cors) if added or exchange.cors else answer.headers
        if not answer.located:
            return lines
        rewrite = self.target.rewrite
        back = (lambda path: unrewrite(rewrite, path)) if rewrite is not None else (lambda path: path)
        return relocate(lines, self.upstream.internal, exchange.public, back)
