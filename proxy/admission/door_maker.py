"""Makes the Doors of a configuration, and keeps what outlives one: keys that were fetched, buckets, connections.

making(settings) → Doors       raises ConfigError, and changes nothing
adopt(doors)                   they are in force: what is new begins to work, what nobody needs any more ends
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.admission.auth import Authenticator, Issuer
from proxy.admission.auth_rules import ApiKeyRule, IssuerRule
from proxy.admission.door import ByRoute, doors_of, key_limits
from proxy.admission.doors import Doors
from proxy.admission.identity import IdentityHeaders
from proxy.admission.identity_token import IdentityMint, UnusableKey, key_of, new_key
from proxy.admission.jwks import Keys, RemoteKeys, StaticKeys
from proxy.admission.keys import UnusableKeys, keys_in
from proxy.admission.limiter_memory import MemoryLimiter
from proxy.admission.limiter_redis import RedisLimiter
from proxy.admission.session import Sessions
from proxy.config import model
from proxy.config.model import IdentityToken, RateLimits, Session, Settings
from proxy.errors import ConfigError, Problem
from proxy.routing.split import Selector, compile_selector

_RETIRING_S = 10.0  # longer than most wait at a door


@dataclass(frozen=True, slots=True)
class Makers:
    """What of it talks to others, and is constructed elsewhere."""

    remote_keys: Callable[[IssuerRule], RemoteKeys]
    redis: Callable[[RateLimits, MemoryLimiter], RedisLimiter]
    sessions: Callable[[Session], Sessions]
    clock: Callable[[], float]


class DoorMaker:
    """`outcomes` counts what became of requests at limits, over all limiters there ever were."""

    def __init__(self, makers: Makers) -> None:
        self.outcomes: dict[tuple[str, str], int] = {}
        self.issuers: dict[str, RemoteKeys] = {}
        self._makers = makers
        self._memory = MemoryLimiter()
        self._memory.outcomes = self.outcomes
        self._parts = _Parts()
        self._made: tuple[Doors, _Parts] | None = None
        self._tasks: dict[RemoteKeys, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self._private_key = new_key()

    def making(self, settings: Settings) -> Generator[None, None, Doors]:
        """Seam by seam, so that requests can be answered in between. Raises ConfigError."""
        parts = self._parts_of(settings)
        by_seam: dict[str, ByRoute] = {}
        for name, seam in settings.seams.items():
            by_route = doors_of(name, seam, settings.auth.identity)
            if any(door is not None for door in by_route):
                by_seam[name] = by_route
            yield
        auth = settings.auth
        authenticator = Authenticator(
            {name: Issuer(_issuer_rule(name, issuer), parts.keys[name]) for name, issuer in auth.issuers.items()},
            [ApiKeyRule(name, key.sha256.lower(), key.scopes) for name, key in auth.api_keys.keys.items()],
            api_key_header=auth.api_keys.header,
            wanted=_wanted(settings),
            sessions=parts.sessions,
            clock=self._makers.clock,
        )
        doors = Doors(
            by_seam,
            authenticator,
            self._memory if parts.redis is None else parts.redis,
            IdentityHeaders(auth.identity, parts.mint),
            key_limits(auth.api_keys.keys),
            auth.api_keys.header.lower().encode(),
        )
        self._made = (doors, parts)
        return doors

    def adopt(self, doors: Doors) -> None:
        """The doors that were made last are in force; those that have been before bring nothing new. Call it in the
        loop."""
        if self._made is None or self._made[0] is not doors:
            return
        old, fresh = self._parts, self._made[1]
        self._parts, self._made = fresh, None
        remote = {name: keys for name, keys in fresh.keys.items() if isinstance(keys, RemoteKeys)}
        for keys in remote.values():
            if keys not in self._tasks:
                self._tasks[keys] = asyncio.create_task(keys.run(), name=f"fig-jwks-{keys.rule.name}")
        for keys in set(self._tasks).difference(remote.values()):
            self._tasks.pop(keys).cancel()
        self.issuers = remote
        if fresh.redis is not old.redis:
            if fresh.redis is not None:
                fresh.redis.outcomes = self.outcomes
                fresh.redis.start()
            if old.redis is not None:
                self._retire(old.redis)
        self._memory.retain(doors.limits())

    @property
    def redis(self) -> RedisLimiter | None:
        return self._parts.redis

    async def first_keys(self, within_s: float) -> None:
        """Until each issuer has answered once, or it takes too long: requests that come first need not wait then."""
        fetches = [asyncio.create_task(keys.refresh()) for keys in self.issuers.values()]
        if fetches:
            _, late = await asyncio.wait(fetches, timeout=within_s)
            for fetch in late:
                fetch.cancel()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._closed.set()
        if self._parts.redis is not None:
            await self._parts.redis.close()
        if self._ending:
            await asyncio.wait(self._ending)

    def _retire(self, redis: RedisLimiter) -> None:
        """Who has come in by the old doors may still wait for a key or a session, and then asks it."""

        async def retiring() -> None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), _RETIRING_S)
            await redis.close()

        task = asyncio.create_task(retiring())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # --- what is kept where its own settings did not change ----------------------------------------------------------

    def _parts_of(self, settings: Settings) -> _Parts:
        auth, old = settings.auth, self._parts
        parts = _Parts()
        for name, issuer in auth.issuers.items():
            parts.keys[name] = self._keys(name, issuer)
        token = auth.identity.token
        if token is not None:
            parts.mint = self._mint(token)
        parts.session = auth.session
        if auth.session is not None:
            parts.sessions = old.sessions if auth.session == old.session else self._makers.sessions(auth.session)
        parts.limits = settings.rate_limits
        if settings.rate_limits.redis_url is not None:
            kept = old.redis is not None and old.limits == settings.rate_limits
            parts.redis = old.redis if kept else self._makers.redis(settings.rate_limits, self._memory)
        return parts

    def _keys(self, name: str, issuer: model.Issuer) -> Keys:
        rule = _issuer_rule(name, issuer)
        if rule.jwks_url is not None:
            running = self._parts.keys.get(name)
            if isinstance(running, RemoteKeys) and running.rule == rule:
                return running
            fresh = self._makers.remote_keys(rule)
            if isinstance(running, RemoteKeys) and running.rule.jwks_url == rule.jwks_url:
                fresh.take_over(running)  # other numbers are no reason to be without keys, should the issuer be away
            return fresh
        at = "jwks_file" if issuer.jwks_file else "key_file"
        path = Path(issuer.jwks_file or issuer.key_file or "")
        try:
            return StaticKeys(keys_in(path.read_bytes()))
        except (OSError, UnusableKeys) as error:
            raise _unusable(f"auth.issuers.{name}.{at}", path, error) from error

    def _mint(self, token: IdentityToken) -> IdentityMint:
        keys = []
        for file in token.key_files:
            try:
                keys.append(key_of(Path(file).read_bytes()))
            except (OSError, UnusableKey) as error:
                raise _unusable("auth.identity.token.key_files", Path(file), error) from error
        keys = keys or [self._private_key]
        return IdentityMint(keys, token.issuer, token.audience, token.ttl_s, self._makers.clock)


class _Parts:
    """What a configuration needs beside its doors."""

    def __init__(self) -> None:
        self.keys: dict[str, Keys] = {}
        self.mint: IdentityMint | None = None
        self.session: Session | None = None
        self.sessions: Sessions | None = None
        self.limits = RateLimits()
        self.redis: RedisLimiter | None = None


def _issuer_rule(name: str, issuer: model.Issuer) -> IssuerRule:
    return IssuerRule(
        name,
        issuer.issuer,
        issuer.audience,
        issuer.algorithms,
        issuer.jwks_url,
        issuer.leeway_s,
        issuer.refresh_s,
        issuer.refresh_s + issuer.stale_s,
        issuer.cooldown_s,
        issuer.timeout_s,
        (issuer.scope_claim,),
    )


def _wanted(settings: Settings) -> list[str]:
    """Claims that selectors read."""
    selectors: list[Selector] = []
    for seam in settings.seams.values():
        selectors += map(compile_selector, seam.sticky_by)
        limits = (limit for route in seam.routes for limit in seam.limits_of(route) if limit.by != "route")
        selectors += [compile_selector(limit.by) for limit in limits]
    claims = {selector.text.partition(".")[2] for selector in selectors if selector.text.startswith("jwt.")}
    return sorted(claims - {"sub"})


def _unusable(key: str, path: Path, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ConfigError((Problem(str(path), 1, 1, "FIG146", f"`{key}` cannot be used: {reason}"),))
