"""A question of fig's own to an upstream, on connections that no client waits on: as `lane.py`, without an exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson

from proxy.errors import NoHealthyEndpoint, UpstreamProtocol, UpstreamReset
from proxy.upstreams.upstream import Upstream
from proxy.wire.body import Source, pour_whole
from proxy.wire.client import UpstreamConnection

_MOST_BYTES = 65_536


class _Sink:
    """Collects an answer's body, and hangs up on one that is too long."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self.source: Source | None = None
        self.body = bytearray()
        self._connection = connection

    @property
    def paused(self) -> bool:
        return False

    @property
    def too_long(self) -> bool:
        return len(self.body) > _MOST_BYTES

    def write(self, data: bytes) -> None:
        self.body += data
        if self.too_long:
            self._connection.abort()


class Errand:
    """`upstream` gives the upstream as it is now. `token` is shown as a bearer token; empty: none."""

    def __init__(
        self, upstream: Callable[[], Upstream | None], path: str, *, timeout_s: float, token: str = ""
    ) -> None:
        self._upstream = upstream
        self._timeout_s = timeout_s
        self._path = path.encode("ascii")
        self._lines = b"Content-Type: application/json\r\nAccept: application/json\r\n"
        if token:
            self._lines += b"Authorization: Bearer %b\r\n" % token.encode("ascii")

    async def ask(self, sid: str) -> bytes:
        """POST `{"sid": …}`; the body of a 200, at most 64 KiB. Raises TimeoutError after `timeout_s`, UpstreamProtocol
        for any other status and for more, else as an upstream's call."""
        async with asyncio.timeout(self._timeout_s):
            return await self._ask(orjson.dumps({"sid": sid}))

    async def _ask(self, question: bytes) -> bytes:
        upstream = self._upstream()
        endpoint = None if upstream is None else upstream.endpoints.pick(None, True)
        if upstream is None or endpoint is None:
            raise NoHealthyEndpoint
        pool = endpoint.aside
        connection = pool.take_idle(surely=True)
        if connection is not None:
            try:
                return await self._ask_on(connection, endpoint.host_header, question)
            except UpstreamReset:  # it asks what changes nothing, so once more does no harm
                pass
            finally:
                pool.release(connection)
        connection = await pool.connect()
        try:
            return await self._ask_on(connection, endpoint.host_header, question)
        finally:
            pool.release(connection)

    async def _ask_on(self, connection: UpstreamConnection, host: str, question: bytes) -> bytes:
        head = b"POST %b HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %d\r\n\r\n"
        said = head % (self._path, host.encode("ascii"), self._lines, len(question))
        connection.begin(said, head_only=False, body=True, chunked=False)
        pour_whole(question, connection)
        answer = await connection.response(self._timeout_s)
        if answer.status != 200:
            connection.abort()
            raise UpstreamProtocol(f"it answered {answer.status}")
        sink = _Sink(connection)
        data, complete = connection.take_buffered()
        if data:
            sink.write(data)
        if not complete and not sink.too_long:
            try:
                await connection.relay(sink, self._timeout_s)
            except UpstreamReset:
                if not sink.too_long:  # it was fig that hung up
                    raise
        if sink.too_long:
            raise UpstreamProtocol(f"its answer has more than {_MOST_BYTES} bytes")
        return bytes(sink.body)
