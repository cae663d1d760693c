"""The server side of the wire over TLS: the handshake before the first request. The rest is `edge.py`.

uvicorn's own TLS calls a protocol only after the handshake. Here the connection counts from its first packet on:
against `max_connections`, like one that waits for a request, and against `head_s`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

from proxy.wire.body import HIGH_WATER
from proxy.wire.edge import EdgeProtocol
from proxy.wire.secured import UNTIMED_S, SecuredTransport


class SecureEdgeProtocol(EdgeProtocol):
    """One client connection that begins with a handshake."""

    __slots__ = ("_handshake",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._scheme = "https"
        super().connection_made(transport)
        raw = self._transport
        if raw is None or raw.is_closing():
            return
        assert self.shared.tls is not None
        self._handshake: Coroutine[Any, Any, asyncio.Transport | None] = self._loop.start_tls(
            raw,
            self,
            self.shared.tls,
            server_side=True,
            ssl_handshake_timeout=UNTIMED_S,
            ssl_shutdown_timeout=UNTIMED_S,
        )
        # Its first step here and now: uvloop starts to read when this returns, and a task would begin too late.
        self._handshake.send(None).add_done_callback(self._shaken)

    def _shaken(self, _: asyncio.Future[None]) -> None:
        raw, tls = self._transport, None
        try:
            self._handshake.send(None)
        except StopIteration as done:
            tls = cast(asyncio.Transport, done.value)
        except OSError:  # ssl.SSLError too
            pass
        if raw is None:
            return
        if tls is None or raw.is_closing():
            self.shared.handshakes_failed += 1
            raw.abort()
            self.connection_lost(None)  # uvloop tells it again or not at all
            return
        self._transport = SecuredTransport(raw, tls)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        if self in self.shared.idle:
            self._arm(self.shared.timeouts.head_s)

    def _turn_away(self) -> None:
        """No room: an answer would cost a handshake, and the wait for it would not be counted."""
        self.shared.handshakes_failed += 1
        self.cut()
