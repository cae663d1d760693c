"""Whether an endpoint may be sent requests: what active probes found, and what its answers were worth. Knows no seam,
no request and no discovery.

Ejection is Envoy's outlier detection (outlier_detection.proto), as far as it makes sense for a handful of endpoints:
consecutive gateway errors and growing ejection; no success rates, no panic mode.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import httpx

from proxy.config.model import Health

IN_A_ROW = 5  # gateway errors that eject
EJECTION_S = 30.0  # times ejected
LONGEST_EJECTION_S = 300.0
AT_ONCE = 16  # probes of one upstream
JITTER = 0.1  # of the interval, so that replicas do not fall into step

_MOST_TIMES = int(LONGEST_EJECTION_S / EJECTION_S)  # counting on would only make it last longer after it has recovered
_LONGEST_WHY = 200  # characters; a protocol error quotes what the server sent


class EndpointHealth:
    """Whether one endpoint may be sent requests. `now` is any monotonic clock in seconds, the same for every call.

    `probed` is what the active probes say; None while they have said nothing, which counts as healthy. `ejected_until`
    is when ejection ends: 0.0 or past, it is not ejected. `ejections` counts them all, `consecutive` the gateway errors
    in a row since.
    """

    __slots__ = (
        "_bad_probes",
        "_calm_since",
        "_good_probes",
        "_times",
        "consecutive",
        "ejected_until",
        "ejections",
        "probed",
    )

    def __init__(self) -> None:
        self.probed: bool | None = None
        self.ejected_until = 0.0
        self.ejections = 0
        self.consecutive = 0
        self._times = 0  # by which the next ejection is longer
        self._calm_since = 0.0  # later than `now` only while it is ejected, or since a probe lifted that
        self._good_probes = 0
        self._bad_probes = 0

    def __repr__(self) -> str:
        return f"<EndpointHealth probed {self.probed}, ejected until {self.ejected_until:g}>"

    def available(self, now: float) -> bool:
        if now < self.ejected_until:
            return False
        if now < self._calm_since:
            self._calm_since = now  # ejection was lifted early, by a probe: that has no clock
        return self.probed is not False

    def good(self) -> None:
        """A response that is no gateway error."""
        self.consecutive = 0

    def bad(self, now: float, ejectable: bool) -> bool:
        """A gateway error, or no answer at all; whether that ejected it. `ejectable`: there are other endpoints."""
        if now < self.ejected_until:
            return False  # sent before it was ejected, or since there was nobody else: known already
        self._calm_down(now)
        self.consecutive += 1
        if not ejectable or self.consecutive < IN_A_ROW:
            return False
        self.consecutive = 0
        self.ejections += 1
        self._times = min(self._times + 1, _MOST_TIMES)
        self.ejected_until = now + self._times * EJECTION_S
        self._calm_since = self.ejected_until
        return True

    def _calm_down(self, now: float) -> None:
        """Each span of EJECTION_S without ejection and without a gateway error takes one from the multiplier."""
        if self._times > 0:
            self._times = max(0, self._times - int(max(0.0, now - self._calm_since) / EJECTION_S))
        self._calm_since = now

    def probe(self, healthy: bool, config: Health) -> bool:
        """The result of an active probe; whether availability by probes changed. A good one lifts an ejection at once
        and clears the row."""
        was = self.probed
        if healthy:
            self.ejected_until = 0.0
            self.consecutive = 0
            self._bad_probes = 0
            self._good_probes += 1
            if was is None or self._good_probes >= config.healthy_after:
                self.probed = True
            return was is False and self.probed is True
        self._good_probes = 0
        self._bad_probes += 1
        if self._bad_probes >= config.unhealthy_after:
            self.probed = False
        return was is not False and self.probed is False

    def unprobed(self) -> None:
        """Nobody probes any more: what the last probe said would hold for ever."""
        self.probed = None
        self._good_probes = self._bad_probes = 0


class ProbeTarget(Protocol):
    """An endpoint as the prober sees it: `url` is http(s)://HOST:PORT to connect to, `host_header` the Host to send,
    `server_name` the name that its certificate must have."""

    @property
    def url(self) -> str: ...
    @property
    def host_header(self) -> str: ...
    @property
    def server_name(self) -> str: ...
    @property
    def health(self) -> EndpointHealth: ...


class Prober:
    """Active probes of one upstream's endpoints. `targets` is asked anew each round, since endpoints come and go;
    `changed(target, healthy, why)` is told when probes take one out or bring it back.

    `client` verifies certificates as the upstream's `tls` says; `ask` says what else it needs.
    """

    def __init__(
        self,
        config: Health,
        client: httpx.AsyncClient,
        targets: Callable[[], Sequence[ProbeTarget]],
        changed: Callable[[ProbeTarget, bool, str], None],
        *,
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._client = client
        self._targets = targets
        self._changed = changed
        self._rng = rng
        self._sleep = sleep

    async def run(self) -> None:
        """Until it is cancelled; never raises. Cancelled, it leaves no result of a probe that is under way."""
        while True:
            pause_s = self._config.interval_s * self._rng.uniform(1 - JITTER, 1 + JITTER)
            # Side by side: a slow endpoint does not stretch the interval.
            await asyncio.gather(self._sleep(pause_s), self._round())

    async def _round(self) -> None:
        try:
            places = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*[self._probe(target, places) for target in self._targets()])
        except Exception:
            logging.getLogger("proxy").exception("unexpected error in a round of health probes")

    async def _probe(self, target: ProbeTarget, places: asyncio.Semaphore) -> None:
        try:
            async with places:
                found = await self._find(target)
            if found is not None and target.health.probe(found[0], self._config):
                self._changed(target, found[0], found[1])
        except Exception:
            logging.getLogger("proxy").exception("unexpected error in a health probe of %s", target.host_header)

    async def _find(self, target: ProbeTarget) -> tuple[bool, str] | None:
        """Whether it is healthy, and why; None where that was not found out."""
        try:
            response = await ask(self._client, self._request(target), self._config.timeout_s)
        except httpx.PoolTimeout:
            return None  # our own crowd: says nothing about the endpoint
        except (httpx.TimeoutException, TimeoutError):
            return False, f"probe got no answer within {self._config.timeout_s:g} s"
        except Exception as error:
            return False, f"probe failed: {type(error).__name__}: {error}".rstrip(": ")[:_LONGEST_WHY]
        return 200 <= response.status_code < 400, f"probe answered {response.status_code}"

    def _request(self, target: ProbeTarget) -> httpx.Request:
        # Not by `client.build_request`: that adds the client's cookies.
        return httpx.Request(
            "GET",
            target.url + self._config.path,
            headers={"Host": target.host_header, "User-Agent": "fig-health", "Accept": "*/*"},
            extensions={"sni_hostname": target.server_name} if target.server_name else {},
        )


async def ask(client: httpx.AsyncClient, request: httpx.Request, within_s: float) -> httpx.Response:
    """The head of the answer; its body is not read. On a connection of its own that is not kept, without redirects and
    without the client's cookies.

    httpx limits each read and not their sum, so a server that drips would hold it for ever; and a call that is
    cancelled may leave its place in httpx's pool taken for ever. So after `within_s` its connection is closed, which
    httpx takes as any other end of it; and who waits here may be cancelled, the call then ends by itself.

    `client` needs `Limits(max_connections=None, max_keepalive_connections=0)`: a call whose time is over while it waits
    for a place may leave that taken too, and a connection that was made for another call could not be closed.

    Raises TimeoutError, or what httpx raises.
    """
    call = asyncio.ensure_future(_ask(client, request, within_s))
    call.add_done_callback(_heard)
    return await asyncio.shield(call)


def _heard(call: asyncio.Future[httpx.Response]) -> None:
    """Nobody may wait for it any more: asyncio must not complain that its error was not looked at."""
    if not call.cancelled():
        call.exception()


async def _ask(client: httpx.AsyncClient, request: httpx.Request, within_s: float) -> httpx.Response:
    limit = _Limit()
    request.headers["Connection"] = "close"
    request.extensions = {
        **request.extensions,
        "timeout": httpx.Timeout(within_s).as_dict(),
        "trace": limit.trace,
    }
    timer = asyncio.get_running_loop().call_later(within_s, limit.expire)
    try:
        response = await client.send(request, stream=True, follow_redirects=False)
        await response.aclose()
        return response
    except Exception:
        if limit.closed:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


class _Limit:
    """Closes the connection of one call when its time is over: at once, or as soon as there is one."""

    __slots__ = ("_closing", "_expired", "_stream")

    def __init__(self) -> None:
        self._expired = False
        self._stream: Any = None  # of httpcore, which httpx does not name in its types
        self._closing: asyncio.Future[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether the call ended by it. What ends before there is a connection, httpx has limited itself."""
        return self._closing is not None

    def trace(self, event: str, info: Mapping[str, Any]) -> Coroutine[Any, Any, None]:
        """httpcore's `trace` extension."""
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
            if self._expired:
                self._close()
        return asyncio.sleep(0)  # httpcore insists on a coroutine, and does not know those of compiled code for one

    def expire(self) -> None:
        self._expired = True
        if self._stream is not None:
            self._close()

    def _close(self) -> None:
        self._closing = asyncio.ensure_future(self._stream.aclose())
