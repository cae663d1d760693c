"""The connections to one endpoint: idle ones kept, those in use counted. Knows no HTTP and no policy."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from math import inf

from proxy.errors import ConnectFailed, ConnectTimeout, Loop
from proxy.wire.client import UpstreamConnection
from proxy.wire.headers import Shapes
from proxy.wire.timer import TimerWheel
from proxy.wire.tls import failed_handshake


class _Attempt:
    """The time limit of one connect, on the wheel: that one spares who was answered while the loop stood still."""

    __slots__ = ("_loop", "deadline", "filed", "limit")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.limit = asyncio.timeout(None)
        self.deadline: float | None = None
        self.filed: float | None = None

    def expire(self, now: float) -> None:
        self.deadline = None
        self.limit.reschedule(self._loop.time())


class EndpointPool:
    """Connections to one endpoint: the idle ones, last used first, and a count of those in use."""

    def __init__(
        self,
        host: str,
        port: int,
        wheel: TimerWheel,
        *,
        connect_s: float,
        body_s: float,
        keepalive_s: float,
        shapes: Shapes,
        max_idle: int = 512,
        own_addresses: frozenset[tuple[str, int]] = frozenset(),
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host = host
        self.port = port
        self.wheel = wheel
        self.connect_s = connect_s
        self.body_s = body_s
        self.keepalive_s = keepalive_s
        self.shapes = shapes
        self.max_idle = max_idle
        self.in_use = 0
        self._own_addresses = own_addresses
        self._tls = tls
        self._server_name = server_name or host
        self._idle: deque[UpstreamConnection] = deque()
        self._closed = False
        self._clock = clock

    def __repr__(self) -> str:
        return f"<EndpointPool {self.host}:{self.port} {self.in_use} in use, {len(self._idle)} idle>"

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take_idle(self, *, surely: bool = False) -> UpstreamConnection | None:
        """The most recently used idle connection that has not outstayed its upstream's patience. `surely`: not one that
        the upstream has closed already, for a request that could not be sent twice."""
        now = self._clock()
        while self._idle:
            connection = self._idle.pop()
            fresh = not connection.closing and now - connection.idle_since < connection.keepalive_s
            if fresh and not (surely and connection.stale()):
                connection.reused = True
                self.in_use += 1
                return connection
            connection.close()
        return None

    async def connect(self, limit_s: float = inf) -> UpstreamConnection:
        """A fresh connection, its TLS handshake included, within `connect_s` and `limit_s`. Raises ConnectFailed,
        ConnectTimeout, or Loop when the peer is fig itself."""
        loop = asyncio.get_running_loop()
        self.in_use += 1
        attempt = _Attempt(loop)
        self.wheel.arm(attempt, loop.time() + min(self.connect_s, limit_s))
        try:
            async with attempt.limit:
                return await self._connect(loop)
        except TimeoutError:
            self.in_use -= 1
            raise ConnectTimeout from None
        except BaseException:
            self.in_use -= 1
            raise
        finally:
            self.wheel.drop(attempt)

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> UpstreamConnection:
        try:
            transport, connection = await loop.create_connection(
                lambda: UpstreamConnection(self, loop), self.host, self.port
            )
        except TimeoutError:  # the kernel's own; an OSError like the rest
            raise
        except OSError as error:
            raise ConnectFailed().because(error)  # noqa: B904
        if self._is_own(transport):
            transport.abort()
            raise Loop("An upstream endpoint is this proxy itself.")
        if self._tls is not None:
            try:
                await connection.secure(self._tls, self._server_name)
            except OSError as error:
                raise ConnectFailed().because(failed_handshake(error, f"{self.host}:{self.port}"))  # noqa: B904
        return connection

    def _is_own(self, transport: asyncio.Transport) -> bool:
        """Whether the other end is fig. Where it listens on every address, that is each that we connect from."""
        peer = transport.get_extra_info("peername")  # None where the peer has reset it already
        if peer is None:
            return False
        if peer[:2] in self._own_addresses:
            return True
        local = transport.get_extra_info("sockname")
        every = "::" if ":" in peer[0] else "0.0.0.0"
        return (every, peer[1]) in self._own_addresses and local is not None and local[0] == peer[0]

    def release(self, connection: UpstreamConnection) -> None:
        """End of an exchange, however it ended. Call exactly once for each connection taken."""
        self.in_use -= 1
        connection.finish()

    def put(self, connection: UpstreamConnection) -> None:
        if self._closed or len(self._idle) >= self.max_idle:
            connection.close()
            return
        connection.idle_since = self._clock()
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection is gone; drop it if it was idle."""
        if self._idle and not connection.busy:
            try:
                self._idle.remove(connection)
            except ValueError:
                return

    def sweep(self) -> None:
        """Close idle connections from the cold end once they have waited too long."""
        now = self._clock()
        while self._idle and now - self._idle[0].idle_since >= self._idle[0].keepalive_s:
            self._idle.popleft().close()

    def close(self) -> None:
        """No more reuse; exchanges in flight finish on their connections."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
