"""Tells somebody else of events, by POST. Knows no seam and not what an event means; what is told is what it holds."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import Awaitable, Callable

import httpx
import orjson

from proxy.config.model import Webhook as WebhookConfig
from proxy.events import Event
from proxy.moment import moment
from proxy.upstreams.health import ask

LONGEST_PAUSE_S = 30.0
LONGEST_RETRY_AFTER_S = 60.0  # a receiver that wants to be left alone for longer gets our own pauses


@dataclasses.dataclass(frozen=True, slots=True)
class _Refused:
    """An attempt that failed. `again`: another one may do better, after `after_s` seconds at least."""

    why: str
    again: bool
    after_s: float = 0.0


class Webhook:
    """Bounded, and never waited for: `put` only appends. One event after another, in their order.

    `clock` is the time of day in seconds since 1970; `instance` tells the receiver which fig it hears. `ask` says what
    `client` needs. `sent`, `failed` and `dropped` count events; `queued` are those that wait.
    """

    def __init__(
        self,
        config: WebhookConfig,
        client: httpx.AsyncClient,
        *,
        clock: Callable[[], float],
        instance: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.sent = 0
        self.failed = 0
        self.dropped = 0
        self._config = config
        self._client = client
        self._clock = clock
        self._instance = instance
        self._sleep = sleep
        self._queue: deque[tuple[float, Event]] = deque()
        self._filled = asyncio.Event()

    @property
    def queued(self) -> int:
        return len(self._queue)

    def put(self, event: Event) -> None:
        """Never raises, never blocks. Beyond `max_queue` the event is dropped: the older ones tell how it began."""
        if len(self._queue) >= self._config.max_queue:
            self.dropped += 1
            return
        self._queue.append((self._clock(), event))
        self._filled.set()

    async def run(self) -> None:
        """Until it is cancelled: delivers one after another."""
        while True:
            while not self._queue:
                self._filled.clear()
                await self._filled.wait()
            at, event = self._queue.popleft()
            name = type(event).__name__
            try:
                why = await self._deliver(self._body(at, event))
            except Exception as error:
                why = f"unexpected {type(error).__name__}: {error}"
            if why:
                self.failed += 1
                logging.getLogger("proxy").warning("webhook to %s: %s was not told: %s", self._host(), name, why)
            else:
                self.sent += 1

    def _body(self, at: float, event: Event) -> bytes:
        told = {"type": type(event).__name__, "at": moment(at), "instance": self._instance}
        return orjson.dumps({**told, **dataclasses.asdict(event)})

    def _host(self) -> str:
        """For the log. The rest of the URL may hold a secret."""
        try:
            return httpx.URL(self._config.url).host
        except Exception:
            return "a URL without a host"

    async def _deliver(self, body: bytes) -> str:
        """Why the event was given up; "" where it was told."""
        pause_s, attempts = 1.0, 1
        while (refused := await self._attempt(body)) is not None:
            if not refused.again or attempts > self._config.retries:
                return f"{refused.why} (attempts: {attempts})"
            await self._sleep(max(pause_s, refused.after_s))
            pause_s, attempts = min(2 * pause_s, LONGEST_PAUSE_S), attempts + 1
        return ""

    async def _attempt(self, body: bytes) -> _Refused | None:
        # No error's own text but a connection's: it may quote the URL, or what a receiver made of it.
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "fig-webhook"}
            request = httpx.Request("POST", self._config.url, headers=headers, content=body)
            response = await ask(self._client, request, self._config.timeout_s)
        except (httpx.TimeoutException, TimeoutError):
            return _Refused(f"no answer within {self._config.timeout_s:g} s", again=True)
        except httpx.ConnectError as error:
            return _Refused(f"no connection: {error}", again=True)
        except (httpx.HTTPError, OSError) as error:
            return _Refused(type(error).__name__, again=True)
        except Exception as error:
            return _Refused(f"unexpected {type(error).__name__}", again=False)
        if response.is_success:
            return None
        status = response.status_code
        return _Refused(f"answered {status}", status == 429 or status >= 500, _retry_after(response))


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the receiver asks for (RFC 9110 10.2.3); 0.0 where it does not, asks too much, or names a date."""
    text = response.headers.get("retry-after", "")
    if not (text.isascii() and text.isdigit()):
        return 0.0
    seconds = float(text)
    return seconds if seconds <= LONGEST_RETRY_AFTER_S else 0.0
