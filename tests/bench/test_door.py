"""The peers with a door: that they ask for a token and count, and that the load brings what they ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import httpx
import pytest
import redis

from bench import split
from bench.cases import Bench, all_cases
from bench.load import GET_ONE_TOKEN, GET_SMALL, GET_TOKENS, Payload, Wrk, find_wrk
from bench.measured import Measured, Measurement
from bench.origin import SMALL
from bench.peers import PEERS, EnvoyDoor, FigDoor, FigDoorRedis, Peer
from bench.report import Setting, render
from bench.tokens import Issuer

ENVOY_MISSING = EnvoyDoor().missing()


@pytest.fixture(
    params=[
        FigDoor,
        FigDoorRedis,
        pytest.param(EnvoyDoor, marks=pytest.mark.skipif(ENVOY_MISSING is not None, reason=f"{ENVOY_MISSING}")),
    ]
)
def peer(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Peer]:
    yield from started(request.param(), bench)


@pytest.fixture
def fig_door(bench: Bench) -> Iterator[Peer]:
    yield from started(FigDoor(), bench)


@pytest.fixture
def fig_door_redis(bench: Bench) -> Iterator[Peer]:
    yield from started(FigDoorRedis(), bench)


def started(peer: Peer, bench: Bench) -> Iterator[Peer]:
    try:
        peer.start(bench.folder, bench.origin, bench.issuer, core=None)
        yield peer
    finally:
        peer.stop()


def ask(peer: Peer, headers: Mapping[str, str]) -> httpx.Response:
    return httpx.get(f"{peer.url}{SMALL}", headers={"x-user-id": "user-1", **headers}, trust_env=False)


def test_each_peer_with_a_door_asks_for_a_token_of_this_issuer_and_splits(peer: Peer, issuer: Issuer) -> None:
    assert ask(peer, {}).status_code == 401
    assert ask(peer, Issuer().bearer).status_code == 401
    for token in issuer.tokens[::300]:
        assert ask(peer, {"Authorization": f"Bearer {token}"}).status_code == 200
    split.check(peer.name, peer.port, peer.headers(issuer))


def test_each_peer_with_a_door_tells_the_client_what_its_limit_has_left(peer: Peer, issuer: Issuer) -> None:
    told = ask(peer, issuer.bearer).headers
    left = told.get("x-ratelimit-remaining") or re.findall(r"r=(\d+)", told["ratelimit"])[0]
    assert 999_000 < int(left) <= 1_000_000


def test_the_limits_of_the_redis_peer_are_really_kept_in_its_server(fig_door_redis: Peer, issuer: Issuer) -> None:
    assert isinstance(fig_door_redis, FigDoorRedis)
    port = fig_door_redis.store_port
    assert port is not None
    with redis.Redis(port=port, protocol=2) as client:
        client.execute_command("CONFIG", "RESETSTAT")
        assert ask(fig_door_redis, issuer.bearer).status_code == 200
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1


def test_the_redis_peer_refuses_once_its_server_is_gone(fig_door_redis: Peer, issuer: Issuer) -> None:
    assert isinstance(fig_door_redis, FigDoorRedis)
    fig_door_redis.stop_store()
    assert ask(fig_door_redis, issuer.bearer).status_code == 503


@pytest.mark.skipif(find_wrk() is None, reason="wrk is not installed: apt-get install wrk")
@pytest.mark.parametrize("payload", [GET_ONE_TOKEN, GET_TOKENS])
def test_the_load_brings_as_many_different_tokens_as_its_name_says(
    fig_door: Peer, bench: Bench, payload: Payload
) -> None:
    wrk = Wrk(find_wrk() or "", bench.folder, bench.issuer.tokens)
    load = wrk.run(fig_door.url, payload, 4, 1)
    assert load.requests > payload.tokens
    assert load.failed == 0
    assert wrk.run(fig_door.url, GET_SMALL, 4, 1).failed > 0, "without a token every request is refused"


def test_a_thousand_tokens_are_a_thousand_subjects(issuer: Issuer) -> None:
    assert len(set(issuer.tokens)) == 1000
    assert len({token.split(".")[1] for token in issuer.tokens}) == 1000


def test_only_cases_with_tokens_take_peers_with_a_door_and_they_take_the_same_without_one() -> None:
    takers = {case.name: {kind.name for kind in PEERS if case.takes(kind())} for case in all_cases(100)}
    doors = {"fig-door", "fig-door-redis", "envoy-door"}
    with_tokens = {"get-311-one-token-c64", "get-311-1000-tokens-c64"}
    for case, peers in takers.items():
        if case in with_tokens:
            assert peers == doors | {"fig", "envoy"}, case
        else:
            assert not peers & doors, case
    assert with_tokens < set(takers)


def test_the_report_says_what_the_door_costs_and_how_fig_stands_against_envoy() -> None:
    case = next(case for case in all_cases(100) if case.name == "get-311-1000-tokens-c64")
    figures = (
        ("fig", 30000.0, 30.0),
        ("fig-door", 24000.0, 40.0),
        ("fig-door-redis", 12000.0, 75.0),
        ("envoy", 20000.0, 45.0),
        ("envoy-door", 16000.0, 60.0),
    )
    measured = Measured(
        Measurement(0, case.name, peer, {"requests_per_s": rate, "cpu_us": cpu, "core": 1.0, "failed": 0.0})
        for peer, rate, cpu in figures
    )
    text = render(Setting("a machine", "abc", ["fig: fig 0"], "core 0", "nginx", 1, 1, []), [case], measured)
    assert "| JWT + rate limit, 1,000 tokens: throughput over Envoy's | 1.50 | ≥ 1 | reached |" in text
    assert "| JWT + rate limit, one token: throughput over Envoy's | – | ≥ 1 | not measured |" in text
    assert "| peer | CPU-µs/request | requests/s | core busy | fig-door's throughput / its |" in text
    assert "| envoy-door | 60.0 | 16,000 | 100% | 1.50 | 1.50 | 0 |" in text
    assert "| fig-door | +10.0 | 1.33 | 0.80 |" in text
    assert "| envoy-door | +15.0 | 1.33 | 0.80 |" in text
    assert "RS256 token (1,000 different tokens, one a user)" in text
