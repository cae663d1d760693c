"""One connection to Redis on which many ask at a time. Answers come in the order of the questions, and each goes to who
asked: somebody who has left meanwhile still gets his, so nobody else does. Knows no limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from redis.exceptions import ResponseError


class Connection(Protocol):
    """What is used of redis.asyncio's connections."""

    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None: ...

    async def send_packed_command(self, command: bytes, check_health: bool = True) -> None: ...

    async def read_response(self, disable_decoding: bool = False) -> bytes: ...


class Question(Protocol):
    """`command` is one command in RESP."""

    command: bytes

    def answered(self, reply: bytes | ResponseError) -> None:
        """Raises ValueError for what cannot be the answer to it: the link is cut then."""


Q = TypeVar("Q", bound=Question)


class RedisLink(Generic[Q]):
    """Takes a connection that is open, and asks what `take()` gives, once a turn of the loop in which it was woken, in
    one write. `lost(questions, error)` is called once: whatever ended it, these got no answer, and may have been acted
    on or not."""

    def __init__(
        self,
        connection: Connection,
        take: Callable[[], Sequence[Q]],
        lost: Callable[[Sequence[Q], Exception | None], None],
    ) -> None:
        self._connection = connection
        self._take = take
        self._lost = lost
        # A connection that is closed politely stays until the server has read all of it, and one that hangs never does.
        # There is no public way to the transport; should this one go, connections stay for as long as it takes.
        self._transport = getattr(getattr(connection, "_writer", None), "transport", None)
        self._alive = True
        self._owed: deque[Q] = deque()
        self._wake = asyncio.Event()
        self._wake.set()  # something may wait already
        # Two tasks: a server that does not read holds up the one that writes.
        self._tasks = (
            asyncio.create_task(self._write(), name="fig-redis-write"),
            asyncio.create_task(self._read(), name="fig-redis-read"),
        )

    def wake(self) -> None:
        """There is something to take."""
        self._wake.set()

    def close(self) -> None:
        """Cut it: what is owed is lost."""
        self._end(None)

    async def ended(self) -> None:
        """Until it has ended, for whatever reason, and its connection is closed."""
        await asyncio.wait(self._tasks)
        await self._connection.disconnect(nowait=True)

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                questions = self._take()
                if questions:
                    self._owed.extend(questions)
                    commands = b"".join([question.command for question in questions])
                    await self._connection.send_packed_command(commands, check_health=False)
        except Exception as error:  # whatever it is, this connection is of no use any more
            self._end(error)

    async def _read(self) -> None:
        try:
            while True:
                reply: bytes | ResponseError
                try:
                    reply = await self._connection.read_response(disable_decoding=True)
                except ResponseError as refusal:
                    reply = refusal
                if not self._owed:
                    raise ValueError("the server answered what nobody had asked")
                self._owed.popleft().answered(reply)
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        if not self._alive:
            return
        self._alive = False
        for task in self._tasks:
            task.cancel()
        if self._transport is not None:
            self._transport.abort()
        owed = list(self._owed)
        self._owed.clear()
        self._lost(owed, error)
