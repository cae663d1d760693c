"""What outlives a configuration, and what a new one brings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from proxy.admission.auth_rules import IssuerRule
from proxy.admission.door_maker import DoorMaker, Makers
from proxy.admission.doors import Doors
from proxy.admission.jwks import RemoteKeys
from proxy.admission.limiter_memory import MemoryLimiter
from proxy.admission.limiter_redis import RedisLimiter
from proxy.admission.rate_limit import Asked, Limit, Verdict
from proxy.admission.session import SessionRule, Sessions
from proxy.config.model import RateLimits, Session, Settings
from proxy.errors import ConfigError
from proxy.snapshot import at_once
from tests.support.redis_server import RedisServer
from tests.support.tokens import Keyring

URL = "https://id.example/jwks"


class Workshop:
    """A maker whose parts are counted. Redis is at a port where nobody listens."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.redis_url = "redis://127.0.0.1:1/0"
        self.maker = DoorMaker(Makers(self._keys, self._redis, self._sessions, lambda: 1000.0))

    def doors(self, **settings: Any) -> Doors:
        return at_once(self.maker.making(Settings.model_validate({"version": 1, **settings})))

    def _keys(self, rule: IssuerRule) -> RemoteKeys:
        self.made.append(f"keys {rule.name}")
        client = httpx.AsyncClient(trust_env=False)
        return RemoteKeys(rule, client, clock=lambda: 0.0, sleep=_for_ever)

    def _redis(self, limits: RateLimits, local: MemoryLimiter) -> RedisLimiter:
        self.made.append("redis")
        return RedisLimiter(
            self.redis_url,
            timeout_s=limits.timeout_s,
            on_error=limits.on_error,
            local=local,
            changed=lambda tripped, why: None,
        )

    def _sessions(self, config: Session) -> Sessions:
        self.made.append("sessions")

        async def ask(sid: str) -> bytes:
            return b"{}"

        return Sessions(SessionRule(config.cookie, config.cache_s), ask)


async def _for_ever(_: float) -> None:
    await asyncio.Event().wait()


def issuer(**keys: Any) -> dict[str, Any]:
    return {"issuer": "https://id.example", "audience": "shop", "jwks_url": URL, **keys}


def told(story: Callable[[Workshop], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        workshop = Workshop()
        try:
            await story(workshop)
        finally:
            await workshop.maker.close()

    with respx.mock(assert_all_called=False) as router:
        router.get(URL).respond(200, content=Keyring().jwks("rsa1"))
        asyncio.run(run())


def test_keys_stay_where_their_issuer_does_not_change_and_go_where_it_does() -> None:
    async def story(workshop: Workshop) -> None:
        maker = workshop.maker
        maker.adopt(workshop.doors(auth={"issuers": {"a": issuer(), "b": issuer(audience="b")}}))
        await maker.first_keys(5.0)
        first = dict(maker.issuers)
        assert {name: keys.fetches for name, keys in first.items()} == {"a": 1, "b": 1}
        maker.adopt(workshop.doors(auth={"issuers": {"a": issuer(), "b": issuer(audience="c")}}))
        assert maker.issuers["a"] is first["a"]
        assert maker.issuers["b"] is not first["b"]
        assert workshop.made == ["keys a", "keys b", "keys b"]
        maker.adopt(workshop.doors())
        assert maker.issuers == {}
        await asyncio.sleep(0)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("fig-jwks")]

    told(story)


def test_doors_that_are_never_adopted_change_nothing() -> None:
    async def story(workshop: Workshop) -> None:
        maker = workshop.maker
        doors = workshop.doors(auth={"issuers": {"a": issuer()}})
        maker.adopt(doors)
        running = maker.issuers["a"]
        workshop.doors(auth={"issuers": {"b": issuer()}})  # a reload that fails further on
        maker.adopt(doors)  # as every shift does
        assert maker.issuers == {"a": running}

    told(story)


def test_buckets_outlive_a_change_of_numbers_and_go_with_their_limit() -> None:
    def seams(requests: int) -> dict[str, Any]:
        limit = {"name": "l", "requests": requests, "window_s": 60}
        return {"a": {"routes": [{"path": "/a"}], "legacy": "m", "rate_limit": [limit]}}

    async def story(workshop: Workshop) -> None:
        maker = workshop.maker
        doors = workshop.doors(seams=seams(2))
        maker.adopt(doors)
        (limit,) = doors.limits()
        limiter = doors.limiter
        assert isinstance(limiter, MemoryLimiter)
        assert [limiter.check([(limit, "k")], 0.0).allowed for _ in range(3)] == [True, True, False]
        fresh = workshop.doors(seams=seams(3))
        maker.adopt(fresh)
        assert fresh.limiter is limiter
        (wider,) = fresh.limits()
        assert not limiter.check([(wider, "k")], 0.0).allowed  # the minute is used up, whatever it was worth
        assert limiter.check([(wider, "k")], 20.0).allowed
        maker.adopt(workshop.doors())
        assert len(limiter) == 0
        assert maker.outcomes == {("l", "allowed"): 3, ("l", "limited"): 2}

    told(story)


def test_redis_is_made_anew_only_where_its_settings_change_and_keeps_the_counts() -> None:
    redis = {"store": "redis://127.0.0.1:1/0", "on_error": "allow"}

    async def story(workshop: Workshop) -> None:
        maker = workshop.maker
        doors = workshop.doors(rate_limits=redis)
        maker.adopt(doors)
        maker.adopt(workshop.doors(rate_limits=redis, default="m"))
        assert workshop.made == ["redis"]
        first = maker.redis
        assert first is not None
        first.check([(Limit("l", 1, 60, 1), "{a}:k")], 0.0)
        maker.adopt(workshop.doors(rate_limits={**redis, "on_error": "deny"}))
        assert maker.redis is not first
        maker.adopt(workshop.doors())
        assert maker.redis is None
        assert sum(maker.outcomes.values()) <= 1

    told(story)


def test_who_came_in_by_the_old_doors_is_asked_about_at_the_old_redis(tmp_path: Path) -> None:
    redis = {"store": "redis://127.0.0.1:1/0", "on_error": "deny", "timeout_s": 2.0}
    asked = [(Limit("l", 5, 60, 5), "{a}:k")]

    async def story(workshop: Workshop) -> None:
        maker, workshop.redis_url = workshop.maker, server.url
        old = workshop.doors(rate_limits=redis)
        maker.adopt(old)
        assert (await _verdict(old, asked)).allowed
        maker.adopt(workshop.doors(rate_limits={**redis, "timeout_s": 3.0}))
        await asyncio.sleep(0.05)
        late = await _verdict(old, asked)  # it has waited for a key meanwhile
        assert (late.allowed, late.unavailable, late.results[0].remaining) == (True, False, 3)
        maker.adopt(workshop.doors())
        await maker.close()
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("fig-redis")]

    server = RedisServer(tmp_path)
    try:
        told(story)
    finally:
        server.kill()


async def _verdict(doors: Doors, asked: list[Asked]) -> Verdict:
    verdict = doors.limiter.check(asked, 0.0)
    return await verdict if isinstance(verdict, asyncio.Future) else verdict


def test_the_signing_key_outlives_a_change_of_everything_else() -> None:
    def token(**keys: Any) -> dict[str, Any]:
        return {"identity": {"token": {"issuer": "fig", "audience": "shop", **keys}}}

    workshop = Workshop()
    one = workshop.doors(auth=token()).identity.mint
    other = workshop.doors(auth=token(ttl_s=30, audience="other")).identity.mint
    assert one is not None
    assert other is not None
    assert one.jwks() == other.jwks()
    assert set(json.loads(one.jwks())["keys"][0]) == {"kty", "crv", "x", "y", "kid", "alg", "use"}


@pytest.mark.parametrize(
    ("text", "reason"), [(b"no key", "has no private key in PEM"), (b"", "has no private key in PEM")]
)
def test_a_file_that_was_sound_when_the_configuration_was_loaded(tmp_path: Path, text: bytes, reason: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(text)
    token = {"issuer": "fig", "audience": "shop", "key_files": [str(path)]}
    with pytest.raises(ConfigError, match=reason):
        Workshop().doors(auth={"identity": {"token": token}})


def test_a_file_of_keys_that_has_gone(tmp_path: Path) -> None:
    issuers = {"a": {"issuer": "https://id.example", "audience": "a", "jwks_file": str(tmp_path / "gone.json")}}
    with pytest.raises(ConfigError, match=r"auth\.issuers\.a\.jwks_file"):
        Workshop().doors(auth={"issuers": issuers})
