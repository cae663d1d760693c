"""Endpoints from a registry that speaks Consul's HTTP API: instances of one service whose checks pass.

Blocking queries by Consul's own rules ("Blocking Queries" in its API documentation): the index of the last answer goes
with the next question, which waits until something changes; an index that goes backwards, or is no positive number,
begins anew. A registry that does not know them is asked every `refresh_s`.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from proxy.config.model import Discovery
from proxy.upstreams.resolve import Address, Found, Pause, Sleep, address_at

MOST_BYTES = 4 * 1024 * 1024
MOST_INSTANCES = 1000
AT_ONCE_S = 0.2  # between two answers, where the registry does not wait
LONGEST_WAIT_S = 60.0  # for an answer: a registry that hangs is noticed after that
SHORTEST_PAUSE_S = 1.0  # after a failure, whatever `refresh_s`
LONGEST_PAUSE_S = 15.0
GRACE_S = 5.0  # for an answer to arrive once its wait is over

_LONGEST_HOST = 253
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"  # getaddrinfo raises UnicodeError for a longer one
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_INDEX = re.compile(r"[0-9]{1,19}")


class Unusable(Exception):
    """The registry's answer says nothing. The text says why."""


@dataclass(frozen=True, slots=True)
class Listing:
    """`index` 0: the registry gave none."""

    addresses: tuple[Address, ...]
    index: int


class RegistryResolver:
    """`client` sees no environment, follows no redirect and has no limit of connections."""

    def __init__(
        self,
        discovery: Discovery,
        client: httpx.AsyncClient,
        *,
        grace_s: float = GRACE_S,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        assert discovery.registry is not None and discovery.service is not None
        self._url = f"{discovery.registry.rstrip('/')}/v1/health/service/{quote(discovery.service, safe='')}"
        self._headers = {"Accept-Encoding": "identity"}
        if discovery.token:
            self._headers["X-Consul-Token"] = discovery.token
        self._wait_s = discovery.refresh_s
        self._grace_s = grace_s
        self._client = client
        self._sleep = sleep
        self._pause = Pause(sleep)
        self._failing = False

    def hurry(self) -> None:
        """A question that waits hears of changes by itself; only a pause after a failure is cut short."""
        if self._failing:
            self._pause.hurry()

    async def run(self, report: Found) -> None:
        index, patience_s = 0, SHORTEST_PAUSE_S
        while True:
            try:
                listing = await self._ask(index)
            except Exception as error:
                index, self._failing = 0, True
                report.failed(_reason(error))
                await self._pause.wait(patience_s)
                patience_s = max(min(2 * patience_s, self._wait_s, LONGEST_PAUSE_S), SHORTEST_PAUSE_S)
                continue
            self._failing, patience_s = False, SHORTEST_PAUSE_S
            report.found(listing.addresses)
            waits = listing.index > 0
            index = listing.index if listing.index >= index else 0
            await self._sleep(AT_ONCE_S if waits else max(self._wait_s, AT_ONCE_S))

    async def _ask(self, index: int) -> Listing:
        """One question. Raises Unusable, TimeoutError or what httpx raises."""
        params = {"passing": "true"}
        patience_s = self._grace_s
        if index:
            wait_s = max(1, round(min(self._wait_s, LONGEST_WAIT_S)))
            params |= {"index": str(index), "wait": f"{wait_s}s"}
            patience_s += wait_s * (1 + 1 / 16)  # Consul adds up to a sixteenth
        async with asyncio.timeout(patience_s):  # httpx limits each read, and not their sum
            async with self._client.stream(
                "GET",
                self._url,
                params=params,
                headers=self._headers,
                timeout=patience_s,
                follow_redirects=False,
            ) as response:
                if response.status_code != 200:
                    raise Unusable(f"it answered {response.status_code}")
                return Listing(addresses_in(await _limited(response)), _index(response))


async def _limited(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise Unusable("its answer is compressed")  # 64 KiB of it may be gigabytes before anybody can count them
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MOST_BYTES:
            raise Unusable(f"its answer has more than {MOST_BYTES} bytes")
    return bytes(body)


def _index(response: httpx.Response) -> int:
    text = response.headers.get("x-consul-index", "")
    return int(text) if _INDEX.fullmatch(text) else 0


def addresses_in(body: bytes) -> tuple[Address, ...]:
    """The endpoints that an answer of `/v1/health/service` names, sorted, each once. One that cannot be used is left
    out; raises Unusable where none of several can, or where it is no such answer."""
    try:
        entries = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unusable("its answer is not JSON") from None
    if not isinstance(entries, list):
        raise Unusable("its answer is not a list of instances")
    if len(entries) > MOST_INSTANCES:
        raise Unusable(f"it names more than {MOST_INSTANCES} instances")
    found = {address for entry in entries if (address := _address(entry)) is not None}
    if entries and not found:
        raise Unusable("no instance that it names has a usable address and port")
    return tuple(sorted(found))


def _address(entry: Any) -> Address | None:
    """`Service.Address`, or the node's where that is empty, as Consul's clients do."""
    service, node = _member(entry, "Service"), _member(entry, "Node")
    host = service.get("Address") or node.get("Address")
    port = service.get("Port")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port <= 65535:
        return None
    return address_at(host, port) if isinstance(host, str) and _is_host(host) else None


def _member(entry: Any, name: str) -> dict[str, Any]:
    value = entry.get(name) if isinstance(entry, dict) else None
    return value if isinstance(value, dict) else {}


def _is_host(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return len(text) <= _LONGEST_HOST and _HOST.fullmatch(text) is not None
    return "%" not in text  # a scope belongs to the machine that said it


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "no answer in time"
    return (str(error) or type(error).__name__)[:200]
