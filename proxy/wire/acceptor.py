"""Takes connections off a listening socket. Knows no HTTP.

An accept of the event loop's own would do but for three things: uvloop gives up a listener, without a word, when an
accept fails for want of descriptors; libuv then closes what waits in the backlog; and neither can stop accepting
without closing. Here a connection that cannot be taken waits in the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

_AT_ONCE = 16  # a flood leaves turns of the loop to those who are in
_PAUSE_S = 0.05
_SETTLE_S = 1.0


class Acceptor:
    """Accepts from `start` to `stop` or `close`. `room()` is how many connections may be taken now; `failed(error)` is
    told when the system has none to give. After either the next look is `_PAUSE_S` later."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        loop: asyncio.AbstractEventLoop,
        room: Callable[[], int],
        failed: Callable[[OSError], None],
    ) -> None:
        self._listener = listener
        self._protocol = protocol
        self._loop = loop
        self._room = room
        self._failed = failed
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._stopped = True
        listener.setblocking(False)

    def start(self) -> None:
        self._stopped = False
        self._pause = None
        self._loop.add_reader(self._listener, self._ready)

    def stop(self) -> None:
        """Connections wait in the kernel from now on."""
        if self._stopped:
            return
        self._stopped = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)

    def close(self) -> None:
        """Let go of the socket. What waits in it is reset, unless another process holds it too."""
        self.stop()
        self._listener.close()

    async def settle(self) -> None:
        """Until every connection that was taken has its protocol."""
        if self._opening:
            await asyncio.wait(self._opening, timeout=_SETTLE_S)

    def take_all(self) -> None:
        """What the kernel has completed, whatever room there is."""
        with contextlib.suppress(OSError):
            while True:
                self._open(self._listener.accept()[0])

    def _ready(self) -> None:
        room = min(_AT_ONCE, self._room() - len(self._opening))
        if room <= 0:
            self._wait()
        for _ in range(room):
            try:
                connection = self._listener.accept()[0]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._failed(error)
                self._wait()
                return
            self._open(connection)

    def _wait(self) -> None:
        """Not until the next connection: it is there already, and the loop would turn without end."""
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(_PAUSE_S, self.start)

    def _open(self, connection: socket.socket) -> None:
        task = self._loop.create_task(self._connect(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # it has gone again
            connection.close()
