"""Load for a proxy and origins that can take it: plain asyncio, one thread, nothing hidden."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def start(self, work: Coroutine[Any, Any, T]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self) -> None:
        self.run(self._end_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()

    async def _end_all(self) -> None:
        """Connections are closed in the turns of the loop that follow."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)


@dataclass
class Arrival:
    """One request as an origin saw it. `sent` is what the client wrote in X-Sent (its monotonic clock)."""

    target: str
    sent: float


@dataclass
class NamedOrigin:
    """Answers every GET with its own name, after `delay_s`, and notes what arrived."""

    name: str
    delay_s: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list)
    open: int = 0
    port: int = 0

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        body = self.name.encode()
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                text = head.decode("latin-1")
                _, _, rest = text.lower().partition("x-sent: ")
                self.arrivals.append(Arrival(text.split(" ")[1], float(rest.partition("\r\n")[0] or 0)))
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def close(self) -> None:
        self._server.close()


@dataclass
class Done:
    """One request of the load. `failure` is "" for a complete answer below 500."""

    sent: float
    received: float
    side: str
    status: int
    failure: str = ""


class Load:
    """`connections` clients that ask again and again until `stop`."""

    def __init__(
        self, port: int, connections: int, target: Callable[[int], str] = lambda n: f"/api/{n}", headers: str = ""
    ) -> None:
        self.port = port
        self.headers = headers  # whole lines
        self.connections = connections
        self.target = target
        self.done: list[Done] = []
        self.refused_connects = 0
        self.not_accepted = 0  # reset before the first answer: the kernel's backlog, when a listener closes
        self.stopping = False
        self._count = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self.connections)))

    async def _client(self, number: int) -> None:
        while not self.stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self.refused_connects += 1
                await asyncio.sleep(0.02)
                continue
            try:
                answered = 0
                while not self.stopping and await self._ask(reader, writer, number):
                    answered += 1
                if not answered and self.done and self.done[-1].failure.startswith("ConnectionReset"):
                    self.done.pop()
                    self.not_accepted += 1
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        """One exchange; False when the connection ended (which is a failure unless the answer announced it)."""
        self._count += 1
        sent = time.monotonic()
        user = f"u{self._count % 997}"
        head = (
            f"GET {self.target(self._count)} HTTP/1.1\r\nHost: shop.test\r\nX-User-Id: {user}\r\nX-Sent: {sent}\r\n"
            f"{self.headers}\r\n"
        )
        try:
            writer.write(head.encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(answer.partition("content-length: ")[2].partition("\r\n")[0])
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            partial = bool(getattr(error, "partial", b""))
            self.done.append(Done(sent, time.monotonic(), "", 0, f"{type(error).__name__} partial={partial}"))
            return False
        status = int(answer.split(" ")[1])
        side = answer.partition("x-fig-side: ")[2].partition("\r\n")[0]
        self.done.append(Done(sent, time.monotonic(), side, status, "" if status < 500 else answer[:200]))
        return "connection: close" not in answer

    @property
    def failures(self) -> list[Done]:
        return [one for one in self.done if one.failure]
