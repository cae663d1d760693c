"""The server of an instance that others find in a registry. Knows uvicorn."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from .registration import Registration


class ListedServer(uvicorn.Server):
    """Listed only while it listens: nobody is sent to a port that is not open yet or closed already. Nor does a start
    that finds the port taken take the name of the instance that has it.
    """

    def __init__(self, config: uvicorn.Config, registration: Registration) -> None:
        super().__init__(config)
        self._registration = registration
        self._keeping: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._keeping = asyncio.create_task(self._registration.keep())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._keeping:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        await self._registration.leave()
        await super().shutdown(sockets)
