"""A named place requests go: endpoints, their pools, and one exchange with one of them. Knows no seam."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from itertools import cycle
from urllib.parse import SplitResult, urlsplit

from proxy.config.model import UpstreamConfig
from proxy.errors import UpstreamReset
from proxy.messages import RequestHead, ResponseHead
from proxy.wire.body import REPLAYABLE, RequestBody
from proxy.wire.client import Interim, UpstreamConnection
from proxy.wire.headers import Internal, Shapes, accept_for
from proxy.wire.pool import EndpointPool
from proxy.wire.timer import TimerWheel

# Below the shortest common default of servers (gunicorn 2 s is rare behind a proxy; Node, Apache and uvicorn 5 s),
# so that we let go before they do; a `Keep-Alive: timeout=N` of the upstream replaces it.
_KEEPALIVE_S = 4.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`authority` is `host:port` as a Host field would have it."""

    pool: EndpointPool
    authority: bytes


class Upstream:
    """Survives a reload as long as its own configuration keys do not change. `tls` is there where its endpoints are
    https."""

    def __init__(
        self,
        name: str,
        config: UpstreamConfig,
        wheel: TimerWheel,
        own_addresses: frozenset[tuple[str, int]] = frozenset(),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.in_flight = 0
        self.reconnects = 0
        shapes = Shapes()
        self.endpoints = tuple(_endpoint(url, config, wheel, own_addresses, shapes, tls) for url in config.endpoints)
        self.internal = _internal(config.endpoints)
        self._turn = cycle(self.endpoints)

    def __repr__(self) -> str:
        return f"<Upstream {self.name} {self.in_flight} in flight>"

    def pick(self) -> Endpoint:
        """The next endpoint in turn."""
        return self.endpoints[0] if len(self.endpoints) == 1 else next(self._turn)

    def host_for(self, request: RequestHead, endpoint: Endpoint) -> bytes:
        """The Host field by the `host` key: the client's, the endpoint's, or a fixed name."""
        if self.config.host == "preserve":
            return request.host
        return endpoint.authority if self.config.host == "endpoint" else self.config.host.encode("ascii")

    async def send(
        self,
        endpoint: Endpoint,
        head: bytes,
        request: RequestHead,
        body: RequestBody,
        left_s: float,
        heard: Interim,
        upgrade: bytes = b"",
    ) -> tuple[UpstreamConnection, ResponseHead]:
        """One exchange up to the final response head, within `left_s` seconds; interim ones go to `heard`. 101 is an
        answer only where `upgrade` names the protocol. The caller owes `release`, unless this raises.

        A kept connection that the upstream closed just as we wrote gets one more try on a fresh one: only if no byte
        came back, the request is idempotent, and its body, if any, is here to be sent again (RFC 9112 9.3.1).
        """
        until = time.monotonic() + left_s
        response_s = min(self.config.timeouts.response_s, left_s)
        idempotent = request.method in _IDEMPOTENT
        again = idempotent and request.length is not None and request.length <= REPLAYABLE
        connection = endpoint.pool.take_idle(surely=not again)
        if connection is not None:
            try:
                self._begin(connection, head, request, body, heard, upgrade)
                return connection, await connection.response(response_s)
            except UpstreamReset:
                stale = not connection.answered
                endpoint.pool.release(connection)
                if not stale or not idempotent or (request.has_body and not body.rewind()):
                    raise
                self.reconnects += 1
                response_s = max(0.0, min(response_s, until - time.monotonic()))
            except BaseException:
                endpoint.pool.release(connection)
                raise
        connection = await endpoint.pool.connect()
        try:
            self._begin(connection, head, request, body, heard, upgrade)
            return connection, await connection.response(response_s)
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

    def sweep(self) -> None:
        for endpoint in self.endpoints:
            endpoint.pool.sweep()

    def close(self) -> None:
        """Idle connections close now, others when their exchange ends."""
        for endpoint in self.endpoints:
            endpoint.pool.close()

    @property
    def connections(self) -> dict[str, dict[str, int]]:
        """Connections by endpoint: `{authority: {in_use, idle}}`."""
        return {
            endpoint.authority.decode("ascii"): {"in_use": endpoint.pool.in_use, "idle": endpoint.pool.idle}
            for endpoint in self.endpoints
        }


def _endpoint(
    url: str,
    config: UpstreamConfig,
    wheel: TimerWheel,
    own_addresses: frozenset[tuple[str, int]],
    shapes: Shapes,
    tls: ssl.SSLContext | None,
) -> Endpoint:
    parts = urlsplit(url)
    host, port = parts.hostname or "", _port(parts)
    pool = EndpointPool(
        host,
        port,
        wheel,
        connect_s=config.timeouts.connect_s,
        body_s=config.timeouts.body_s,
        keepalive_s=_KEEPALIVE_S,
        shapes=shapes,
        own_addresses=own_addresses,
        tls=tls,
        server_name=(config.tls.server_name if config.tls else None) or host,
    )
    return Endpoint(pool, parts.netloc.encode("ascii"))


def _internal(urls: tuple[str, ...]) -> Internal:
    parts = [urlsplit(url) for url in urls]
    authorities = {f"{part.netloc.rpartition(':')[0] or part.netloc}:{_port(part)}" for part in parts}
    authorities |= {
        part.netloc.rpartition(":")[0] or part.netloc for part in parts if _port(part) == _DEFAULT_PORTS[part.scheme]
    }
    return Internal(
        frozenset(name.lower().encode("ascii") for name in authorities),
        frozenset((part.hostname or "").encode("ascii") for part in parts),
    )


def _port(url: SplitResult) -> int:
    return url.port or _DEFAULT_PORTS[url.scheme]
