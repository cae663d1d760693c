"""A transport that speaks TLS, made of uvloop's TLS transport and the TCP transport below it. Knows no HTTP.

uvloop's own one has no say over the TCP connection, and that costs bytes: while its reading is paused it goes on
reading TCP, and drops what it holds decrypted or not once the peer closes; and what waits in TCP does not count as
unsent. So reading is paused at TCP, what was read is handed on at once, and both buffers are counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

# uvloop's own timers know no progress and would cut a slow reader's answer; those of the wheel bound both phases.
UNTIMED_S = 86400.0


class SecuredTransport(asyncio.Transport):
    """Both transports are those of one connection after its handshake."""

    __slots__ = ("_left", "_raw", "_tls")

    def __init__(self, raw: asyncio.Transport, tls: asyncio.Transport) -> None:
        super().__init__()
        self._raw = raw
        self._tls = tls
        self._left = False  # we have said goodbye

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tls.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._tls.set_protocol(protocol)

    def can_write_eof(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._deaf():
            self._tls.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        if not self._deaf():
            self._tls.writelines(list_of_data)

    def _deaf(self) -> bool:
        """After the peer's close_notify or FIN uvloop drops what is written and says nothing: end the connection."""
        if self._left:
            return True
        if self.is_closing():
            self._tls.abort()
            return True
        return False

    def get_write_buffer_size(self) -> int:
        return self._tls.get_write_buffer_size() + self._raw.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._tls.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()

    def is_closing(self) -> bool:
        return self._tls.is_closing() or self._raw.is_closing()

    def write_eof(self) -> None:
        """Say close_notify after what was written. TLS has no half here: what still comes is read off and dropped."""
        self._left = True
        self._tls.close()

    def close(self) -> None:
        """The same, and close TCP when it is sent: the peer's close_notify need not be waited for (RFC 8446 6.1)."""
        self.write_eof()
        if self._tls.get_write_buffer_size():
            self._raw.resume_reading()  # a peer that answers our close_notify ends it, else whoever times the close
        else:
            self._raw.close()

    def abort(self) -> None:
        """At once and without close_notify: a message that ends with the connection does not look complete."""
        self._tls.abort()
