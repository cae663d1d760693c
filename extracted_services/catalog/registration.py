"""Tells a registry where this catalog is, for as long as it is ready. Knows Consul's HTTP API, and no server.

Whatever the registry does, the catalog goes on: a call has an end, its failure is said once, and the next heartbeat
tries again.
"""

from __future__ import annotations

import asyncio
import sqlite3
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

LEAVE_S = 2.0
LONGEST_CALL_S = 2.0
LONGEST_REASON = 300
FEWEST_CRITICAL_S = 30.0  # for how long at least an instance that has gone silent stays on the list


class Refused(Exception):
    """The registry's answer is not the one that Consul gives to a call that it has carried out."""


@dataclass(frozen=True, slots=True)
class Instance:
    """Where this process is reached. An instance silent for `ttl_s` is no longer asked."""

    host: str
    port: int
    ttl_s: float

    @property
    def id(self) -> str:
        return f"catalog-{self.host}-{self.port}"

    def registration(self) -> dict[str, Any]:
        """Passing from the start, since it is sent when the catalog is ready: nobody sees a critical one between."""
        after_s = max(FEWEST_CRITICAL_S, 10 * self.ttl_s)
        check = {"TTL": f"{self.ttl_s:g}s", "DeregisterCriticalServiceAfter": f"{after_s:g}s", "Status": "passing"}
        return {"ID": self.id, "Name": "catalog", "Address": self.host, "Port": self.port, "Check": check}


class Registration:
    """`say` gets one line at every change of state. `clock()` is monotonic seconds."""

    def __init__(
        self,
        registry: httpx.URL,
        instance: Instance,
        is_ready: Callable[[], bool],
        say: Callable[[str], object],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._instance = instance
        self._is_ready = is_ready
        self._say = say
        self._sleep = sleep
        self._clock = clock
        self._tls = ssl.create_default_context()
        self._state = ""
        self._maybe_listed = False

    async def keep(self) -> None:
        """Until it is cancelled: a heartbeat every third of the TTL, so that one may fail."""
        pause_s = self._instance.ttl_s / 3
        while True:
            began = self._clock()
            await self._beat(min(pause_s, LONGEST_CALL_S))
            await self._sleep(max(0.0, began + pause_s - self._clock()))

    async def leave(self) -> None:
        """After `keep`. Takes at most LEAVE_S; where it fails, the TTL does it."""
        if not self._maybe_listed:
            return
        try:
            await self._put(f"service/deregister/{self._instance.id}", None, LEAVE_S)
        except (httpx.HTTPError, OSError, ValueError, Refused) as why:
            self._enter("staying", f"could not be deregistered, its TTL will do that: {why!r}")
        else:
            self._enter("left", "is deregistered")

    async def _beat(self, limit_s: float) -> None:
        try:
            if await asyncio.to_thread(self._is_ready):
                await self._announce(limit_s)
            else:
                self._enter("waiting", "has no data yet, and is registered as soon as it has")
        except (httpx.HTTPError, OSError, ValueError, Refused, sqlite3.Error) as why:
            self._enter("failing", f"cannot be registered, trying on: {why!r}")

    async def _announce(self, limit_s: float) -> None:
        if self._state == "registered":
            if await self._put(f"check/pass/service:{self._instance.id}", None, limit_s):
                return
            self._enter("forgotten", "is not known there any more, and is registered again")
        self._maybe_listed = True
        if not await self._put("service/register", self._instance.registration(), limit_s):
            raise Refused("404: this is no registry")
        self._enter("registered", f"is registered, with a heartbeat every {self._instance.ttl_s / 3:.2g} s")

    async def _put(self, path: str, body: object, limit_s: float) -> bool:
        """False for 404. Raises Refused, httpx.HTTPError, or TimeoutError where bytes trickle in for too long.

        A client a call: one that was cut off in the middle leaves a slot of its pool taken for good (httpx 0.28.1).
        """
        client = httpx.AsyncClient(base_url=self._registry, timeout=limit_s, trust_env=False, verify=self._tls)
        async with asyncio.timeout(limit_s), client, client.stream("PUT", f"/v1/agent/{path}", json=body) as reply:
            if reply.status_code == 404:
                return False
            said = b""  # Consul says nothing when it has done it, and in a line why it has not
            async for chunk in reply.aiter_raw():
                said += chunk
                if len(said) > LONGEST_REASON:
                    break
            if reply.status_code != 200 or said:
                raise Refused(f"{reply.status_code} {said[:LONGEST_REASON].decode('utf-8', 'replace')}")
            return True

    def _enter(self, state: str, text: str) -> None:
        if state != self._state:
            self._state = state
            registry = f"{self._registry.scheme}://{self._registry.netloc.decode('ascii')}"
            self._say(f"{self._instance.id} at registry {registry} {text}")
