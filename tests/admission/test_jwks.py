"""Keys of an issuer: when they are fetched, what a bad source changes (nothing), and how often it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import respx

from proxy.admission.auth_rules import IssuerRule, url_problem
from proxy.admission.jwks import MOST_BYTES, RemoteKeys, StaticKeys
from proxy.admission.keys import keys_in_jwks
from tests.support.key_server import KeyServer, answered, key_server
from tests.support.tokens import AUDIENCE, ISSUER, Keyring

URL = "https://id.test/jwks.json"


class Clock:
    """Time that passes when somebody sleeps, or is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def rule(url: str = URL, timeout_s: float = 2.0, stale_s: float = 3600.0) -> IssuerRule:
    return IssuerRule(
        "shop", ISSUER, (AUDIENCE,), ("RS256",), jwks_url=url, timeout_s=timeout_s, stale_s=stale_s, cooldown_s=5.0
    )


@contextlib.asynccontextmanager
async def remote(
    clock: Clock, told: list[str | None] | None = None, **fields: float | str
) -> AsyncIterator[RemoteKeys]:
    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=None)) as client:
        said = told if told is not None else []
        yield RemoteKeys(
            rule(**fields),  # type: ignore[arg-type]
            client,
            clock=clock,
            sleep=clock.sleep,
            tell=lambda _issuer, problem: said.append(problem),
        )


def named(keys: RemoteKeys, kid: str) -> bool:
    return bool(keys.find(kid, "RS256"))


# --- fetching --------------------------------------------------------------------------------------------------------


def test_keys_are_kept_fresh_and_failures_are_tried_again_soon(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    clock, told, seen = Clock(), list[str | None](), list[tuple[bool, bool]]()

    async def run() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:

            async def sleep(seconds: float) -> None:
                seen.append((named(keys, "rsa1"), named(keys, "rsa2")))
                await clock.sleep(seconds)
                if len(seen) == 5:
                    raise asyncio.CancelledError

            keys = RemoteKeys(
                rule(), client, clock=clock, sleep=sleep, tell=lambda _issuer, problem: told.append(problem)
            )
            with pytest.raises(asyncio.CancelledError):
                await keys.run()
            assert keys.version == 3 and keys.fetches == 5

    respx_mock.get(URL).side_effect = [
        httpx.Response(200, content=keyring.jwks("rsa1")),
        httpx.Response(200, content=keyring.jwks("rsa2")),
        httpx.Response(500),
        httpx.ConnectError("refused"),
        httpx.Response(200, content=keyring.jwks("rsa2", "rsa1")),
    ]
    asyncio.run(run())
    assert clock.slept == [300.0, 300.0, 1.0, 2.0, 300.0]
    assert seen == [(True, False), (False, True), (False, True), (False, True), (True, True)]
    assert told == ["it answered 500", None]


BAD: list[tuple[str, Callable[[Keyring], httpx.Response], str]] = [
    ("html", lambda _: httpx.Response(200, html="<html>Sign in</html>"), "not JSON"),
    ("redirect", lambda _: httpx.Response(302, headers={"Location": "http://127.0.0.1:9/"}), "answered 302"),
    ("gone", lambda _: httpx.Response(404), "answered 404"),
    ("no keys", lambda _: httpx.Response(200, json={"keys": []}), "none of its keys"),
    ("not a set", lambda _: httpx.Response(200, json=["rsa1"]), "not a JWK set"),
    ("wrong kind", lambda ring: httpx.Response(200, content=ring.jwks("oct1")), "none of its keys"),
    ("wrong use", lambda ring: httpx.Response(200, content=ring.jwks("enc1", "ops1")), "none of its keys"),
    ("101 keys", lambda ring: httpx.Response(200, json={"keys": [ring.jwk("rsa1")] * 101}), "more than 100 keys"),
    ("10 MB", lambda _: httpx.Response(200, content=b" " * 10_000_000), f"more than {MOST_BYTES} bytes"),
    (
        "bomb",
        lambda _: httpx.Response(200, content=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}),
        "compr",
    ),
]


@pytest.mark.parametrize(("answer", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_answer_keeps_the_old_keys(
    respx_mock: respx.MockRouter, keyring: Keyring, answer: Callable[[Keyring], httpx.Response], said: str
) -> None:
    async def run() -> None:
        respx_mock.get(URL).side_effect = [httpx.Response(200, content=keyring.jwks("rsa1")), answer(keyring)]
        told: list[str | None] = []
        async with remote(Clock(), told) as keys:
            await keys.refresh()
            await keys.refresh()
            assert named(keys, "rsa1") and keys.version == 1
            assert keys.failure is not None and said in keys.failure
            assert told == [keys.failure]

    asyncio.run(run())


def test_100_keys_and_1_MiB_are_taken(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    async def run() -> None:
        document = json.dumps({"keys": [keyring.jwk("rsa1", kid=str(number)) for number in range(100)]}).encode()
        respx_mock.get(URL).respond(200, content=document + b" " * (MOST_BYTES - len(document)))
        async with remote(Clock()) as keys:
            await keys.refresh()
            assert named(keys, "99") and keys.failure is None

    asyncio.run(run())


def test_stale_keys_are_used_for_so_long_and_no_longer(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    async def run() -> None:
        route = respx_mock.get(URL)
        route.side_effect = [httpx.Response(200, content=keyring.jwks("rsa1")), httpx.ConnectError("refused")]
        clock = Clock()
        async with remote(clock, stale_s=1000.0) as keys:
            assert keys.empty() and keys.age_s() is None
            await keys.refresh()
            clock.now += 1000.0
            await keys.refresh()
            assert named(keys, "rsa1") and not keys.empty() and keys.age_s() == 1000.0
            clock.now += 0.001
            assert keys.empty() and not named(keys, "rsa1")
            assert keys.version == 2  # what was verified with them is void

    asyncio.run(run())


# --- unknown keys ----------------------------------------------------------------------------------------------------


def test_a_thousand_unknown_names_a_second_are_one_fetch_a_cooldown(
    respx_mock: respx.MockRouter, keyring: Keyring
) -> None:
    async def run() -> None:
        route = respx_mock.get(URL).respond(200, content=keyring.jwks("rsa1"))
        clock = Clock()
        async with remote(clock) as keys:
            await keys.refresh()
            for second in range(12):
                for tenth in range(10):
                    kids = [f"{second}-{tenth}-{number}" for number in range(100)]
                    await asyncio.gather(*(keys.seek(kid, "RS256") for kid in kids))
                    clock.now += 0.1
            assert route.call_count == 1 + 3  # at 0, 5 and 10 s

    asyncio.run(run())


def test_failing_fetches_for_unknown_names_keep_the_cooldown_too(respx_mock: respx.MockRouter) -> None:
    async def run() -> None:
        route = respx_mock.get(URL).mock(side_effect=httpx.ConnectError("refused"))
        clock = Clock()
        async with remote(clock) as keys:
            for _ in range(100):
                if keys.may_seek():
                    await keys.seek("k", "RS256")
                clock.now += 0.1
            assert route.call_count == 2 and keys.empty()

    asyncio.run(run())


def test_rotations_that_follow_each_other_are_seen_at_once(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    async def run() -> None:
        route = respx_mock.get(URL)
        clock = Clock()
        async with remote(clock) as keys:
            for kid in ("rsa1", "a", "b", "c"):
                route.respond(200, json={"keys": [keyring.jwk("rsa1", kid=kid)]})
                assert not named(keys, kid) and keys.may_seek()
                await asyncio.gather(*(keys.seek(kid, "RS256") for _ in range(50)))
                assert named(keys, kid)
            assert route.call_count == 4

    asyncio.run(run())


def test_two_sources_that_disagree_do_not_lift_the_cooldown(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    """Replicas of an issuer in the middle of a rotation answer in turn with and without the new key."""

    async def run() -> None:
        route = respx_mock.get(URL)
        route.side_effect = [
            httpx.Response(200, content=keyring.jwks(*("rsa1", "rsa2")[: 1 + n % 2])) for n in range(99)
        ]
        clock = Clock()
        async with remote(clock) as keys:
            for _ in range(99):
                if keys.may_seek():
                    await keys.seek("unknown", "RS256")
                clock.now += 0.05
            assert route.call_count <= 3

    asyncio.run(run())


def test_a_fetch_that_left_before_the_key_was_published_is_followed_by_another(keyring: Keyring) -> None:
    async def run() -> None:
        async with key_server(answered(keyring.jwks("rsa1"))) as source, remote(Clock(), url=source.url) as keys:
            source.hold.clear()
            refresh = asyncio.create_task(keys.refresh())
            await _until(lambda: len(source.asked) == 1)
            seeking = [asyncio.create_task(keys.seek("rsa2", "RS256")) for _ in range(20)]
            await asyncio.sleep(0)
            source.hold.set()
            await refresh
            source.answer = answered(keyring.jwks("rsa1", "rsa2"))
            await asyncio.gather(*seeking)
            assert named(keys, "rsa2") and len(source.asked) == 2

    asyncio.run(run())


def test_a_fetch_in_the_background_starts_no_cooldown(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    """Else a key that is published right after it would be unknown for as long."""

    async def run() -> None:
        route = respx_mock.get(URL)
        async with remote(Clock()) as keys:
            for response in (httpx.Response(200, content=keyring.jwks("rsa1")), httpx.Response(500)):
                route.mock(return_value=response)
                await keys.refresh()
                await keys.refresh()
                assert keys.may_seek()
            route.respond(200, content=keyring.jwks("rsa2"))
            await keys.seek("rsa2", "RS256")
            assert named(keys, "rsa2")

    asyncio.run(run())


def test_who_waited_for_a_fetch_that_failed_waits_for_no_second_one(keyring: Keyring) -> None:
    async def run() -> None:
        async with (
            key_server(answered(keyring.jwks("rsa1"))) as source,
            remote(Clock(), url=source.url, timeout_s=0.1) as keys,
        ):
            source.hold.clear()
            await asyncio.gather(keys.refresh(), *(keys.seek("rsa1", "RS256") for _ in range(20)))
            assert len(source.asked) == 1 and keys.empty()

    asyncio.run(run())


def test_who_gives_up_waiting_leaves_the_fetch_to_the_others(keyring: Keyring) -> None:
    async def run() -> None:
        async with key_server(answered(keyring.jwks("rsa1"))) as source, remote(Clock(), url=source.url) as keys:
            source.hold.clear()
            seeking = [asyncio.create_task(keys.seek("rsa1", "RS256")) for _ in range(5)]
            await _until(lambda: len(source.asked) == 1)
            for task in seeking[:4]:
                task.cancel()
            source.hold.set()
            await seeking[4]
            assert named(keys, "rsa1") and len(source.asked) == 1
            assert [task.cancelled() for task in seeking[:4]] == [True] * 4

    asyncio.run(run())


def test_a_seek_that_nobody_waits_for(respx_mock: respx.MockRouter, keyring: Keyring) -> None:
    async def run() -> None:
        route = respx_mock.get(URL).respond(200, content=keyring.jwks("rsa1"))
        async with remote(Clock()) as keys:
            keys.begin_seek()
            keys.begin_seek()
            await _until(lambda: named(keys, "rsa1"))
            assert route.call_count == 1

    asyncio.run(run())


# --- a real source ---------------------------------------------------------------------------------------------------


async def _until(met: Callable[[], bool]) -> None:
    for _ in range(1000):
        if met():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that within 5 s")


@pytest.mark.parametrize("how", ["hangs", "drips", "html", "10 MB", "wrong kind", "closes", "garbage", "redirects"])
def test_a_real_source_that_misbehaves_costs_its_time_limit_at_most(keyring: Keyring, how: str) -> None:
    answers = {
        "hangs": b"",
        "drips": answered(keyring.jwks("rsa1")),
        "html": answered(b"<html>", "200 OK", "Content-Type: text/html"),
        "10 MB": answered(b" " * 10_000_000),
        "wrong kind": answered(keyring.jwks("oct1")),
        "closes": b"",
        "garbage": b"\x00\xff" * 100,
        "redirects": answered(b"", "302 Found", "Location: /elsewhere"),
    }

    async def run() -> tuple[float, KeyServer]:
        async with (
            key_server(answered(keyring.jwks("rsa1"))) as source,
            remote(Clock(), url=source.url, timeout_s=0.3) as keys,
        ):
            await keys.refresh()
            source.answer, source.drip = answers[how], how == "drips"
            if how == "hangs":
                source.hold.clear()
            began = asyncio.get_running_loop().time()
            await keys.seek("unknown", "RS256")
            took_s = asyncio.get_running_loop().time() - began
            assert named(keys, "rsa1") and keys.failure is not None
            return took_s, source

    took_s, source = asyncio.run(run())
    assert took_s < 1.0
    assert len(source.asked) == 2  # no second try, and no redirect was followed


def test_a_source_that_hung_is_used_again_once_it_answers(keyring: Keyring) -> None:
    async def run() -> None:
        clock = Clock()
        async with (
            key_server(answered(keyring.jwks("rsa1"))) as source,
            remote(clock, url=source.url, timeout_s=0.1) as keys,
        ):
            source.hold.clear()
            for _ in range(5):
                await keys.refresh()
                assert keys.failure == "no answer in time" and keys.empty()
            source.hold.set()
            await keys.refresh()
            assert named(keys, "rsa1") and keys.failure is None

    asyncio.run(run())


# --- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://id.test/jwks.json", None),
        ("http://127.0.0.1:8080/jwks", None),
        ("http://127.9.9.9/jwks", None),
        ("http://[::1]:8080/jwks", None),
        ("http://localhost/jwks", None),
        ("http://id.test/jwks.json", "use https://"),
        ("http://localhost.id.test/", "use https://"),
        ("http://10.0.0.1/", "use https://"),
        ("http://0.0.0.0/", "use https://"),
        ("file:///etc/passwd", "neither"),
        ("//id.test/x", "neither"),
        ("https://", "neither"),
        ("https://id.test:x/", "not a URL"),
        ("https://[id/", "not a URL"),
        ("https://user:secret@id.test/", "user name or password"),
    ],
)
def test_where_keys_may_come_from(url: str, said: str | None) -> None:
    problem = url_problem(url)
    if said is None:
        assert problem is None
        return
    assert problem is not None and said in problem and "secret" not in problem
    with pytest.raises(ValueError, match="issuer shop: jwks_url"):
        rule(url)


def test_remote_keys_need_a_url() -> None:
    with pytest.raises(ValueError, match="no jwks_url"):
        RemoteKeys(IssuerRule("shop", ISSUER, (AUDIENCE,), ("RS256",)), httpx.AsyncClient(trust_env=False))


def test_static_keys_are_all_there_is(keyring: Keyring) -> None:
    keys = StaticKeys(keys_in_jwks(keyring.jwks("rsa1")))
    asyncio.run(keys.seek("rsa2", "RS256"))
    keys.begin_seek()
    assert keys.find("rsa1", "RS256") and not keys.find("rsa2", "RS256")
    assert not keys.may_seek() and not keys.empty() and StaticKeys(()).empty()
