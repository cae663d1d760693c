"""The keys of one issuer, kept at hand: fetched in the background, and once more when a token names an unknown one.

A fetch that fails changes nothing: keys stay in use until `stale_s` after the last good one. However many requests
wait, one fetch is in the air; and after a fetch for an unknown key that brought nothing new, none is made for that
reason before `cooldown_s` has passed. One that did bring a new key starts no pause: only the issuer can make that
happen, and two rotations may follow each other. Knows no request and no token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import httpx

from proxy.admission.auth_rules import IssuerRule, url_problem
from proxy.admission.keys import KeySet, UnusableKeys, VerifyKey, keys_in_jwks

MOST_BYTES = 1024 * 1024
GRACE = 1.25  # of `timeout_s`, for an answer that comes in drops: httpx limits each read, and not their sum
SHORTEST_PAUSE_S = 1.0  # after a failure, doubled each time
LONGEST_PAUSE_S = 15.0

_MOST_MARKS = 1000
_ACCEPT = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}

Sleep = Callable[[float], Awaitable[None]]


class Tell(Protocol):
    """Who is told when fetching begins to fail, and why; `problem` None: it works again."""

    def __call__(self, issuer: str, problem: str | None) -> None: ...


class Keys(Protocol):
    """Where the keys of an issuer are. `version` grows with every change: what was verified before is void then."""

    version: int

    def empty(self) -> bool: ...
    def find(self, kid: str | None, algorithm: str) -> tuple[VerifyKey, ...]: ...
    def may_seek(self) -> bool:
        """Whether `seek` may bring what `find` does not have."""

    def begin_seek(self) -> None:
        """As `seek`, without anybody waiting for it."""

    async def seek(self, kid: str | None, algorithm: str) -> None:
        """Look for the key at its source, as often as that is allowed. Raises nothing."""


class StaticKeys:
    """Keys that the configuration names: a JWK set or PEM file. There is no source to ask."""

    def __init__(self, keys: Iterable[VerifyKey]) -> None:
        self.version = 0
        self._keys = KeySet(keys)

    def empty(self) -> bool:
        return len(self._keys) == 0

    def find(self, kid: str | None, algorithm: str) -> tuple[VerifyKey, ...]:
        return self._keys.candidates(kid, algorithm)

    def may_seek(self) -> bool:
        return False

    def begin_seek(self) -> None:
        return None

    async def seek(self, kid: str | None, algorithm: str) -> None:
        return None


class RemoteKeys:
    """Keys from `rule.jwks_url`. `client` sees no environment and has no limit of connections: a call that is cut short
    for its sum of time leaves its slot behind. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        rule: IssuerRule,
        client: httpx.AsyncClient,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        tell: Tell | None = None,
    ) -> None:
        if rule.jwks_url is None:
            raise ValueError(f"issuer {rule.name} has no jwks_url")
        problem = url_problem(rule.jwks_url)
        if problem is not None:
            raise ValueError(f"issuer {rule.name}: jwks_url {problem}")
        self.rule = rule
        self.version = 0
        self.failure: str | None = None  # why the last fetch failed
        self.fetches = 0
        self._url = rule.jwks_url
        self._client = client
        self._clock = clock
        self._sleep = sleep
        self._tell = tell
        self._keys = KeySet()
        self._fresh_at: float | None = None  # when the fetch began that brought these keys
        self._seek_at = clock()
        self._sought = False
        self._seen: set[tuple[str | None, str, str]] = set()
        self._flight: asyncio.Task[None] | None = None

    def take_over(self, other: RemoteKeys) -> None:
        """Begin with what another one has fetched from the same address, as old as it is."""
        self._keys, self._fresh_at, self._seen = other._keys, other._fresh_at, set(other._seen)

    def empty(self) -> bool:
        return len(self._current()) == 0

    def find(self, kid: str | None, algorithm: str) -> tuple[VerifyKey, ...]:
        return self._current().candidates(kid, algorithm)

    def age_s(self) -> float | None:
        """Since the last good answer; None before the first."""
        return None if self._fresh_at is None else self._clock() - self._fresh_at

    def may_seek(self) -> bool:
        return self._flight is not None or self._clock() >= self._seek_at

    def begin_seek(self) -> None:
        if self._flight is None and self._clock() >= self._seek_at:
            self._sought = True
            self._start()

    async def seek(self, kid: str | None, algorithm: str) -> None:
        if self._flight is not None:
            await self._landed(self._flight)
            if self.failure is not None or self.find(kid, algorithm):
                return
        # A fetch that was in the air may have left before the key was there, so ask once more.
        self.begin_seek()
        if self._flight is not None:
            await self._landed(self._flight)

    async def refresh(self) -> None:
        """One fetch, or the end of the one that is in the air. Raises nothing."""
        await self._landed(self._flight or self._start())

    async def run(self) -> None:
        """Keeps the keys fresh until it is cancelled."""
        pause_s = SHORTEST_PAUSE_S
        while True:
            due_s = self._due_s()
            if due_s > 0:
                await self._sleep(due_s)
                continue
            await self.refresh()
            if self.failure is None:
                pause_s = SHORTEST_PAUSE_S
            else:
                await self._sleep(pause_s)
                pause_s = max(SHORTEST_PAUSE_S, min(2 * pause_s, self.rule.refresh_s, LONGEST_PAUSE_S))

    def _due_s(self) -> float:
        return 0.0 if self._fresh_at is None else self._fresh_at + self.rule.refresh_s - self._clock()

    def _current(self) -> KeySet:
        if self._fresh_at is not None and self._clock() - self._fresh_at > self.rule.stale_s and len(self._keys):
            self._replace(KeySet())
        return self._keys

    def _replace(self, keys: KeySet) -> None:
        if keys.marks != self._keys.marks:
            self.version += 1
        self._keys = keys

    def _start(self) -> asyncio.Task[None]:
        self._flight = asyncio.get_running_loop().create_task(self._fly())
        return self._flight

    async def _landed(self, flight: asyncio.Task[None]) -> None:
        """A request that gives up leaves the fetch to the others; it ends by itself."""
        await asyncio.shield(flight)

    async def _fly(self) -> None:
        began, self.fetches = self._clock(), self.fetches + 1
        novel, failure = False, None
        try:
            novel = self._accept(KeySet(await self._ask()), began)
        except Exception as error:
            failure = _reason(error)
        finally:
            if self._sought and not novel:
                self._seek_at = self._clock() + self.rule.cooldown_s
            self._sought, self._flight = False, None
        self._note(failure)

    def _accept(self, keys: KeySet, began: float) -> bool:
        """Whether there is a key among them that was never seen before."""
        self._fresh_at = began
        self._replace(keys)
        novel = not keys.marks <= self._seen and len(self._seen) < _MOST_MARKS
        if novel:
            self._seen |= keys.marks
        return novel

    def _note(self, failure: str | None) -> None:
        before, self.failure = self.failure, failure
        if self._tell is not None and (before is None) != (failure is None):
            self._tell(self.rule.name, failure)

    async def _ask(self) -> tuple[VerifyKey, ...]:
        """Raises UnusableKeys, TimeoutError or what httpx raises."""
        limit_s = self.rule.timeout_s
        async with asyncio.timeout(limit_s * GRACE):
            async with self._client.stream(
                "GET", self._url, headers=_ACCEPT, timeout=limit_s, follow_redirects=False
            ) as response:
                if response.status_code != 200:
                    raise UnusableKeys(f"it answered {response.status_code}")
                return keys_in_jwks(await _limited(response))


async def _limited(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnusableKeys("its answer is compressed")  # a small one may be gigabytes before anybody can count them
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MOST_BYTES:
            raise UnusableKeys(f"its answer has more than {MOST_BYTES} bytes")
    return bytes(body)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "no answer in time"
    return (str(error) or type(error).__name__)[:200]
