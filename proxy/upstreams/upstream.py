"""A named place requests go: its endpoints, its bulkhead, its retry budget, and one exchange. Knows no seam."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any

from proxy.config.model import UpstreamConfig
from proxy.errors import ConnectFailed, ConnectTimeout, UpstreamReset
from proxy.messages import RequestHead, ResponseHead
from proxy.routing.resilience import IDEMPOTENT
from proxy.upstreams.bulkhead import Bulkhead
from proxy.upstreams.endpoints import Endpoint, Endpoints
from proxy.upstreams.resolve import Address
from proxy.upstreams.retry import RetryBudget
from proxy.wire.body import REPLAYABLE, RequestBody
from proxy.wire.client import Interim, UpstreamConnection
from proxy.wire.headers import Internal, Shapes, accept_for
from proxy.wire.pool import EndpointPool
from proxy.wire.timer import TimerWheel

# Below the shortest common default of servers (gunicorn 2 s is rare behind a proxy; Node, Apache and uvicorn 5 s),
# so that we let go before they do; a `Keep-Alive: timeout=N` of the upstream replaces it.
_KEEPALIVE_S = 4.0

Chore = Callable[[], Coroutine[Any, Any, None]]


class Upstream:
    """Of one configuration. A changed one is a new Upstream that takes over from the old (`take_over`): slots in use,
    retry budget, and the pools and health of endpoints that stay. `discovery` runs from `start` to `close`, `probes`
    from `watch`.

    `reconnects` counts requests that were sent again since their kept connection had ended, `retried` those with
    further attempts, by whether the last one was good.
    """

    def __init__(
        self,
        name: str,
        config: UpstreamConfig,
        endpoints: Endpoints,
        *,
        discovery: Chore | None = None,
        probes: Chore | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.endpoints = endpoints
        self.bulkhead = Bulkhead(config.max_in_flight, config.max_queue, config.queue_s)
        self.budget = RetryBudget()
        self.reconnects = 0
        self.retried = {True: 0, False: 0}
        self._discovery = discovery
        self._probes = probes
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Upstream {self.name} {self.in_flight} in flight>"

    @property
    def in_flight(self) -> int:
        return self.bulkhead.in_flight

    @property
    def internal(self) -> Internal:
        return self.endpoints.internal

    def host_for(self, request: RequestHead, endpoint: Endpoint) -> bytes:
        """The Host field by the `host` key: the client's, the endpoint's, or a fixed name."""
        if self.config.host == "preserve":
            return request.host
        name = endpoint.address.authority if self.config.host == "endpoint" else self.config.host
        return name.encode("ascii")

    def note_retried(self, tried: int, good: bool) -> None:
        """The attempts are over; `tried` of them came before the last."""
        if tried:
            self.retried[good] += 1

    async def send(
        self,
        endpoint: Endpoint,
        head: bytes,
        request: RequestHead,
        body: RequestBody,
        left_s: float,
        heard: Interim,
        upgrade: bytes = b"",
        fresh: bool = False,
    ) -> tuple[UpstreamConnection, ResponseHead]:
        """One exchange up to the final response head, within `left_s` seconds; interim ones go to `heard`. 101 is an
        answer only where `upgrade` names the protocol; `fresh`: not on a kept connection. The caller owes `release`,
        unless this raises.

        A kept connection that the upstream closed just as we wrote gets one more try on a fresh one: only if no byte
        came back, the request is idempotent, its body, if any, is here to be sent again (RFC 9112 9.3.1), and the
        retry budget gives credit. An UpstreamReset that is raised says by `unanswered` whether no byte came back.
        """
        until = time.monotonic() + left_s
        response_s = min(self.config.timeouts.response_s, left_s)
        idempotent = request.method in IDEMPOTENT
        again = idempotent and request.length is not None and request.length <= REPLAYABLE
        connection = None if fresh else endpoint.pool.take_idle(surely=not again)
        exposed = False
        if connection is not None:
            try:
                self._begin(connection, head, request, body, heard, upgrade)
                return connection, await connection.response(response_s)
            except UpstreamReset as error:
                error.unanswered = not connection.answered
                endpoint.pool.release(connection)
                repeatable = error.unanswered and idempotent and not (request.has_body and not body.rewind())
                if not repeatable or not self.budget.borrow():
                    raise
                self.reconnects += 1
                exposed = True
            except BaseException:
                endpoint.pool.release(connection)
                raise
        try:
            connection = await endpoint.pool.connect(until - time.monotonic())
        except (ConnectFailed, ConnectTimeout) as error:
            error.retryable = not exposed
            raise
        try:
            self._begin(connection, head, request, body, heard, upgrade)
            answer = await connection.response(max(0.0, min(response_s, until - time.monotonic())))
            if exposed:
                self.budget.give_back()
            return connection, answer
        except UpstreamReset as error:
            error.unanswered = not connection.answered
            endpoint.pool.release(connection)
            raise
        except BaseException:
            endpoint.pool.release(connection)
            raise

    def _begin(
        self,
        connection: UpstreamConnection,
        head: bytes,
        request: RequestHead,
        body: RequestBody,
        heard: Interim,
        upgrade: bytes,
    ) -> None:
        has_body = request.has_body
        connection.begin(
            head, head_only=request.method == "HEAD", body=has_body, chunked=request.length is None, heard=heard
        )
        if upgrade:
            connection.expect_upgrade(upgrade, accept_for(request) if upgrade == b"websocket" else None)
        elif b"te" in request.fields and request.takes_trailers:
            connection.expect_trailers()
        if has_body:
            body.pour(connection)

    # --- its life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin discovery."""
        if self._discovery is not None:
            self._tasks.append(asyncio.ensure_future(self._discovery()))

    def watch(self) -> None:
        """Begin active probes. After `take_over`: what they find before is found of endpoints that do not stay."""
        if self._probes is not None:
            self._tasks.append(asyncio.ensure_future(self._probes()))

    def take_over(self, old: Upstream) -> None:
        """Go on where `old` was. Call `old.close(successor)` afterwards."""
        self.bulkhead = old.bulkhead
        self.bulkhead.resize(self.config.max_in_flight, self.config.max_queue, self.config.queue_s)
        self.budget, self.reconnects, self.retried = old.budget, old.reconnects, old.retried
        mine, theirs = self.config, old.config
        same_health = (mine.tls, mine.secure) == (theirs.tls, theirs.secure)
        self.endpoints.take_over(old.endpoints, _pooled(mine) == _pooled(theirs), same_health, mine.health is not None)

    def sweep(self) -> None:
        self.endpoints.sweep()

    def close(self, successor: Upstream | None = None) -> None:
        """Idle connections close now, others when their exchange ends; what a successor took over goes on."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        self.endpoints.close(() if successor is None else successor.endpoints.all)


class EndpointMaker:
    """Makes the endpoints of one upstream, each with a pool. `tls` is there where they are https."""

    def __init__(
        self,
        config: UpstreamConfig,
        wheel: TimerWheel,
        own_addresses: frozenset[tuple[str, int]],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._config = config
        self._wheel = wheel
        self._own_addresses = own_addresses
        self._tls = tls
        self._shapes = Shapes()

    def __call__(self, address: Address) -> Endpoint:
        host = self._config.host
        return Endpoint(
            address,
            self._pool(address),
            self._pool(address),
            self._config.secure,
            host_header=address.authority if host in ("preserve", "endpoint") else host,
            server_name=self._server_name(address),
        )

    def _server_name(self, address: Address) -> str:
        tls = self._config.tls
        return (tls.server_name if tls else None) or address.server_name

    def _pool(self, address: Address) -> EndpointPool:
        config = self._config
        return EndpointPool(
            address.host,
            address.port,
            self._wheel,
            connect_s=config.timeouts.connect_s,
            body_s=config.timeouts.body_s,
            keepalive_s=_KEEPALIVE_S,
            shapes=self._shapes,
            own_addresses=self._own_addresses,
            tls=self._tls,
            server_name=self._server_name(address),
        )


def _pooled(config: UpstreamConfig) -> tuple[object, ...]:
    """What an endpoint and its pools are made from: where this did not change, those that stay are kept."""
    return config.timeouts.connect_s, config.timeouts.body_s, config.tls, config.secure, config.host
