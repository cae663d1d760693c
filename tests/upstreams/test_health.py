"""Who may be sent requests: ejection and its growth, what probes say, and probes of servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import Health
from proxy.upstreams.health import AT_ONCE, IN_A_ROW, EndpointHealth, Prober, ProbeTarget, ask
from tests.support.origin import Behaviour, Connection, Origin, deaf_port, ok, saying
from tests.support.tls import Authority, TlsOrigin, silent_listener

CONFIG = Health(path="/healthz", interval_s=5, timeout_s=1, unhealthy_after=2, healthy_after=1)
URL = "http://10.0.0.1:8101"
START = 1000.0

# --- one endpoint's state --------------------------------------------------------------------------------------------


def fail(health: EndpointHealth, now: float, times: int = IN_A_ROW, *, ejectable: bool = True) -> bool:
    """So many gateway errors in a row; whether the last of them ejected."""
    ejected = [health.bad(now, ejectable) for _ in range(times)]
    assert not any(ejected[:-1])
    return ejected[-1]


def ejected_for(health: EndpointHealth, now: float) -> float:
    """Eject it; for how many seconds."""
    assert fail(health, now)
    return health.ejected_until - now


def test_a_new_endpoint_is_available() -> None:
    health = EndpointHealth()
    assert health.available(START)
    assert (health.probed, health.ejected_until, health.ejections, health.consecutive) == (None, 0.0, 0, 0)


def test_five_gateway_errors_in_a_row_eject_for_thirty_seconds() -> None:
    health = EndpointHealth()
    assert not fail(health, START, 4)
    assert health.available(START)
    assert health.bad(START, True)
    assert (health.ejections, health.consecutive, health.ejected_until) == (1, 0, START + 30)
    assert [health.available(START + after) for after in (0, 29.999, 30, 31)] == [False, False, True, True]


def test_a_good_answer_clears_the_row() -> None:
    health = EndpointHealth()
    for _ in range(3):
        assert not fail(health, START, 4)
        assert health.consecutive == 4
        health.good()
        assert health.consecutive == 0
    assert health.available(START)


def test_a_sole_endpoint_is_never_ejected_and_one_that_was_sole_goes_with_its_next_error() -> None:
    health = EndpointHealth()
    assert not fail(health, START, 50, ejectable=False)
    assert health.available(START)
    assert (health.ejections, health.consecutive) == (0, 50)
    assert health.bad(START, True)


def test_what_fails_while_it_is_ejected_neither_counts_nor_lengthens() -> None:
    health = EndpointHealth()
    assert fail(health, START)
    assert not fail(health, START + 29, 50)
    assert (health.ejections, health.consecutive, health.ejected_until) == (1, 0, START + 30)
    assert not fail(health, START + 30, 4)
    assert health.bad(START + 30, True)


def test_each_ejection_is_longer_up_to_five_minutes() -> None:
    health = EndpointHealth()
    lengths, now = [], START
    for _ in range(12):
        lengths.append(ejected_for(health, now))
        now = health.ejected_until
    assert lengths == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]
    assert health.ejections == 12


@pytest.mark.parametrize(
    ("calm_s", "length"), [(0, 120), (29.9, 120), (30, 90), (59.9, 90), (60, 60), (90, 30), (10_000, 30)]
)
def test_thirty_calm_seconds_take_one_from_the_multiplier(calm_s: float, length: float) -> None:
    health = EndpointHealth()
    for now in (START, START + 30, START + 90):  # 30, 60, 90 s: until START + 180
        assert fail(health, now)
    assert ejected_for(health, START + 180 + calm_s) == pytest.approx(length)


def test_a_span_with_a_gateway_error_is_not_calm() -> None:
    health = EndpointHealth()
    assert fail(health, START)
    assert fail(health, START + 30)  # until START + 90
    for after in range(90, 390, 29):
        assert not health.bad(START + after, True)
        health.good()
    assert ejected_for(health, START + 400) == 90


def test_many_ejections_are_forgotten_after_five_calm_minutes() -> None:
    health = EndpointHealth()
    now = START
    for _ in range(40):
        assert fail(health, now)
        now = health.ejected_until
    assert ejected_for(health, now + 300) == 30


def test_a_good_probe_lifts_an_ejection_at_once() -> None:
    health = EndpointHealth()
    assert fail(health, START)
    assert not health.probe(True, CONFIG)  # availability by probes is as it was
    assert health.available(START + 0.001)
    assert (health.ejected_until, health.ejections, health.probed) == (0.0, 1, True)


def test_a_good_probe_clears_the_row() -> None:
    health = EndpointHealth()
    assert not fail(health, START, 4)
    health.probe(True, CONFIG)
    assert health.consecutive == 0
    assert not fail(health, START, 4)


def test_a_lifted_ejection_still_counts_for_the_length_of_the_next() -> None:
    health = EndpointHealth()
    assert ejected_for(health, START) == 30
    health.probe(True, CONFIG)
    assert health.available(START + 1)
    assert ejected_for(health, START + 2) == 60


@pytest.mark.parametrize(("looks", "length"), [((40,), 60), ((50,), 90), ((40, 65), 60), ((), 90)])
def test_after_a_lifted_ejection_calm_counts_from_the_first_look(looks: tuple[float, ...], length: float) -> None:
    health = EndpointHealth()
    assert fail(health, START)
    assert fail(health, START + 30)  # until START + 90
    health.probe(True, CONFIG)
    for after in looks:
        assert health.available(START + after)
    assert ejected_for(health, START + 70) == length


@pytest.mark.parametrize(
    ("unhealthy_after", "healthy_after", "probes", "available", "changed"),
    [
        # g: a good probe, b: a bad one; then after each: +, - available or not, and c where that changed
        (1, 1, "bgb", "-+-", "ccc"),
        (2, 1, "bbbg", "+--+", ".c.c"),
        (2, 1, "bgbgbb", "+++++-", ".....c"),
        (3, 2, "bbbggg", "++--++", "..c.c."),
        (1, 3, "bggbggg", "------+", "c.....c"),
        (1, 3, "gb", "+-", ".c"),
        (2, 5, "gggbb", "++++-", "....c"),
    ],
)
def test_probes_in_a_row_take_it_out_and_bring_it_back(
    unhealthy_after: int, healthy_after: int, probes: str, available: str, changed: str
) -> None:
    config = CONFIG.model_copy(update={"unhealthy_after": unhealthy_after, "healthy_after": healthy_after})
    health = EndpointHealth()
    told, seen = [], []
    for probe in probes:
        told.append("c" if health.probe(probe == "g", config) else ".")
        seen.append("+" if health.available(START) else "-")
    assert ("".join(seen), "".join(told)) == (available, changed)


def test_before_the_first_verdict_it_counts_as_healthy() -> None:
    health = EndpointHealth()
    health.probe(False, CONFIG)
    assert (health.probed, health.available(START)) == (None, True)
    health.probe(True, CONFIG.model_copy(update={"healthy_after": 3}))
    assert health.probed is True


def test_good_answers_do_not_bring_back_what_probes_took_out() -> None:
    health = EndpointHealth()
    health.probe(False, CONFIG)
    health.probe(False, CONFIG)
    health.good()
    assert not health.available(START)


class SecondBySecond:
    """The same rules as a clock that ticks: no arithmetic with moments."""

    def __init__(self) -> None:
        self.left_s = self.calm_s = self.times = self.row = self.ejections = 0

    def tick(self) -> None:
        if self.left_s:
            self.left_s -= 1
            return
        self.calm_s += 1
        if self.calm_s == 30:
            self.calm_s, self.times = 0, max(0, self.times - 1)

    def good(self) -> None:
        self.row = 0

    def bad(self, ejectable: bool) -> bool:
        if self.left_s:
            return False
        self.calm_s = 0
        self.row += 1
        if self.row < 5 or not ejectable:
            return False
        self.row = 0
        self.ejections += 1
        self.times = min(10, self.times + 1)
        self.left_s = min(300, 30 * self.times)
        return True

    def good_probe(self) -> None:
        self.row = 0
        if self.left_s:
            self.left_s = self.calm_s = 0


ACTIONS = st.sampled_from(["good", "bad", "five bad", "five bad", "sole bad", "good probe", "bad probe"])
WAITS = st.one_of(st.integers(0, 3), st.integers(25, 35), st.integers(0, 400))


@given(st.lists(st.tuples(WAITS, ACTIONS), max_size=60))
def test_it_goes_as_second_by_second(steps: list[tuple[int, str]]) -> None:
    health, oracle = EndpointHealth(), SecondBySecond()
    tolerant = CONFIG.model_copy(update={"unhealthy_after": 1000})
    now = 1000
    for wait, action in steps:
        now += wait
        for _ in range(wait):
            oracle.tick()
        if action == "good":
            health.good()
            oracle.good()
        elif action == "good probe":
            health.probe(True, tolerant)
            oracle.good_probe()
        elif action == "bad probe":
            health.probe(False, tolerant)
        else:
            for _ in range(5 if action == "five bad" else 1):
                ejectable = action != "sole bad"
                assert health.bad(now, ejectable) == oracle.bad(ejectable)
        assert health.available(now) == (oracle.left_s == 0)
        assert max(0.0, health.ejected_until - now) == oracle.left_s
        assert (health.ejections, health.consecutive) == (oracle.ejections, oracle.row)


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_probes_go_as_a_look_back_over_all_of_them(
    unhealthy_after: int, healthy_after: int, probes: list[bool]
) -> None:
    config = CONFIG.model_copy(update={"unhealthy_after": unhealthy_after, "healthy_after": healthy_after})
    health = EndpointHealth()
    available = True
    for count in range(1, len(probes) + 1):
        was, so_far = available, probes[:count]
        if so_far[-unhealthy_after:] == [False] * unhealthy_after:
            available = False
        elif so_far[-healthy_after:] == [True] * healthy_after:
            available = True
        assert health.probe(so_far[-1], config) == (available != was)
        assert health.available(START) == available


# --- active probes ---------------------------------------------------------------------------------------------------

LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)


@dataclass
class Target:
    url: str = URL
    host_header: str = "shop.example:8101"
    server_name: str = "shop.example"
    health: EndpointHealth = field(default_factory=EndpointHealth)


@dataclass
class Probed:
    changes: list[tuple[ProbeTarget, bool, str]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    @property
    def told(self) -> list[tuple[bool, str]]:
        return [(healthy, why) for _, healthy, why in self.changes]


async def probed(
    client: httpx.AsyncClient,
    rounds: Sequence[Callable[[], Sequence[ProbeTarget]]],
    config: Health = CONFIG,
    changed: Callable[[ProbeTarget, bool, str], None] | None = None,
) -> Probed:
    """So many rounds of probes, each of the endpoints that its function names; no time passes between them."""
    found, asked, over = Probed(), iter(rounds), asyncio.Event()

    def present() -> Sequence[ProbeTarget]:
        ask_them = next(asked, None)
        if ask_them is None:
            over.set()
            return ()
        return ask_them()

    async def sleep(seconds: float) -> None:
        found.pauses.append(seconds)

    def note(target: ProbeTarget, healthy: bool, why: str) -> None:
        found.changes.append((target, healthy, why))

    prober = Prober(config, client, present, changed or note, rng=random.Random(7), sleep=sleep)
    run = asyncio.ensure_future(prober.run())
    await asyncio.wait_for(over.wait(), 30)
    assert not run.done()
    run.cancel()
    await asyncio.wait([run])
    del found.pauses[len(rounds) :]
    return found


def rounds_of(count: int, *targets: ProbeTarget) -> list[Callable[[], Sequence[ProbeTarget]]]:
    return [lambda: targets] * count


def through(router: respx.MockRouter, rounds: Sequence[Callable[[], Sequence[ProbeTarget]]], **more: object) -> Probed:
    """The probes, answered by `router` instead of a network."""

    async def run() -> Probed:
        async with httpx.AsyncClient(transport=httpx.MockTransport(router.async_handler)) as client:
            return await probed(client, rounds, **more)  # type: ignore[arg-type]

    return asyncio.run(run())


@pytest.fixture
def router() -> respx.MockRouter:
    return respx.MockRouter(assert_all_called=False)


@pytest.mark.parametrize("status", [200, 204, 301, 307, 399])
def test_two_and_three_hundreds_are_healthy(router: respx.MockRouter, status: int) -> None:
    target = Target()
    route = router.get(f"{URL}/healthz").respond(status, headers={"Location": f"{URL}/elsewhere"})
    assert through(router, rounds_of(2, target)).told == []
    assert target.health.probed is True
    assert (route.call_count, router.calls.call_count) == (2, 2)  # no redirect was followed


@pytest.mark.parametrize("status", [101, 400, 404, 429, 500, 503, 599])
def test_other_answers_are_not(router: respx.MockRouter, status: int) -> None:
    target = Target()
    router.get(f"{URL}/healthz").respond(status)
    assert through(router, rounds_of(3, target)).told == [(False, f"probe answered {status}")]
    assert not target.health.available(START)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (httpx.ConnectError("All connection attempts failed"), "ConnectError: All connection attempts failed"),
        (httpx.ConnectTimeout(""), None),
        (httpx.ReadTimeout(""), None),
        (TimeoutError(), None),
        (httpx.ReadError(""), "ReadError"),
        (httpx.RemoteProtocolError("illegal status line: " + 500 * "x"), "RemoteProtocolError: illegal status line: x"),
        (OSError(24, "Too many open files"), "OSError: [Errno 24] Too many open files"),
        (RuntimeError("a mistake"), "RuntimeError: a mistake"),
    ],
)
def test_every_failure_is_one_of_the_endpoint_and_ends_nothing(
    router: respx.MockRouter, error: Exception, why: str | None
) -> None:
    target = Target()
    router.get(f"{URL}/healthz").mock(side_effect=[error, error, httpx.Response(200)])
    (healthy, told), back = through(router, rounds_of(3, target)).told
    assert not healthy
    assert told.startswith(f"probe failed: {why}" if why else "probe got no answer within 1 s")
    assert len(told) <= 200
    assert back == (True, "probe answered 200")
    assert target.health.available(START)


def test_a_client_that_is_too_busy_says_nothing_about_the_endpoint(router: respx.MockRouter) -> None:
    target = Target()
    router.get(f"{URL}/healthz").mock(side_effect=httpx.PoolTimeout(""))
    assert through(router, rounds_of(5, target)).told == []
    assert target.health.probed is None


def test_what_is_asked(router: respx.MockRouter) -> None:
    route = router.get(f"{URL}/health/z?deep=1&x=%2F").respond(200)
    config = CONFIG.model_copy(update={"path": "/health/z?deep=1&x=%2F"})
    through(router, rounds_of(1, Target(server_name="catalog.internal")), config=config)
    request = route.calls.last.request
    assert dict(request.headers) == {
        "host": "shop.example:8101",
        "user-agent": "fig-health",
        "accept": "*/*",
        "connection": "close",
    }
    assert request.url.raw_path == b"/health/z?deep=1&x=%2F"
    assert request.extensions["sni_hostname"] == "catalog.internal"
    assert set(request.extensions["timeout"].values()) == {1}


def test_cookies_are_not_sent_whatever_the_client_keeps(router: respx.MockRouter) -> None:
    route = router.get(f"{URL}/healthz").respond(200, headers={"Set-Cookie": "session=1"})
    through(router, rounds_of(3, Target()))
    assert [call.request.headers.get("cookie") for call in route.calls] == [None] * 3


def test_a_round_each_interval_give_or_take_a_tenth(router: respx.MockRouter) -> None:
    router.get(f"{URL}/healthz").respond(200)
    pauses = through(router, rounds_of(200, Target())).pauses
    assert len(pauses) == 200
    assert all(4.5 <= pause <= 5.5 for pause in pauses)
    assert min(pauses) < 4.6
    assert max(pauses) > 5.4


def test_endpoints_are_asked_for_anew_each_round(router: respx.MockRouter) -> None:
    router.get(url__regex=".*").respond(503)
    old, new = Target("http://10.0.0.1:1"), Target("http://10.0.0.2:1")
    found = through(router, [lambda: [old], lambda: [old, new], lambda: [new], lambda: ()])
    assert [(target, healthy) for target, healthy, _ in found.changes] == [(old, False), (new, False)]


def test_endpoints_that_cannot_be_named_do_not_end_the_loop(
    router: respx.MockRouter, caplog: pytest.LogCaptureFixture
) -> None:
    def failing() -> Sequence[ProbeTarget]:
        raise RuntimeError("no endpoints today")

    target = Target()
    router.get(f"{URL}/healthz").respond(200)
    through(router, [failing, lambda: [target]])
    assert target.health.probed is True
    assert "no endpoints today" in caplog.text


def test_who_is_told_and_fails_does_not_end_the_loop(
    router: respx.MockRouter, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[bool] = []

    def changed(target: ProbeTarget, healthy: bool, why: str) -> None:
        told.append(healthy)
        raise RuntimeError("nobody listens")

    router.get(f"{URL}/healthz").mock(side_effect=[httpx.Response(code) for code in (500, 500, 200)])
    through(router, rounds_of(3, Target()), changed=changed)
    assert told == [False, True]
    assert "nobody listens" in caplog.text


def test_endpoints_are_probed_at_once_but_not_too_many(router: respx.MockRouter) -> None:
    under_way = most = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(20):
            await asyncio.sleep(0)
        under_way -= 1
        return httpx.Response(200)

    router.get(url__regex=".*").mock(side_effect=answer)
    targets = [Target(f"http://10.0.0.{number}:1") for number in range(50)]
    through(router, rounds_of(1, *targets))
    assert most == AT_ONCE == 16
    assert all(target.health.probed for target in targets)


# --- real servers ----------------------------------------------------------------------------------------------------


def pooled(client: httpx.AsyncClient) -> int:
    """Connections that the client still has."""
    transport = client._transport
    assert isinstance(transport, httpx.AsyncHTTPTransport)
    return len(transport._pool.connections)


async def settled(client: httpx.AsyncClient, seconds: float = 5) -> None:
    """Until the client has no connection and nothing runs but the test."""
    async with asyncio.timeout(seconds):
        while pooled(client) or len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def over_network(
    rounds: Sequence[Callable[[], Sequence[ProbeTarget]]], timeout_s: float, verify: Authority | None = None
) -> tuple[Probed, float]:
    """The probes, and how many seconds they took."""

    async def run() -> tuple[Probed, float]:
        tls = verify.client_context() if verify else True
        async with httpx.AsyncClient(trust_env=False, limits=LIMITS, verify=tls) as client:
            began = time.monotonic()
            found = await probed(client, rounds, CONFIG.model_copy(update={"timeout_s": timeout_s}))
            took_s = time.monotonic() - began
            await settled(client)
            return found, took_s

    return asyncio.run(run())


@contextlib.contextmanager
def origin(behave: Behaviour) -> Iterator[Origin]:
    server = Origin(behave)
    try:
        yield server
    finally:
        server.close()


def hang(connection: Connection) -> None:
    connection.read()
    connection.wait_closed(10)


def reset(connection: Connection) -> None:
    connection.read()
    connection.reset()


def drip(*first: bytes, drop: bytes) -> Behaviour:
    """Says something again and again, more often than any limit on a gap would mind."""

    def behave(connection: Connection) -> None:
        connection.read()
        for data in first:
            connection.send(data)
        with contextlib.suppress(OSError):
            while True:
                connection.sock.sendall(drop)
                time.sleep(0.01)

    return behave


STATUS_LINE = b"HTTP/1.1 200 OK\r\n"
NOT_IN_TIME = "probe got no answer within 0.3 s"


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (hang, NOT_IN_TIME),
        (drip(drop=b"H"), NOT_IN_TIME),
        (drip(STATUS_LINE, drop=b"X-Drop: 1\r\n"), NOT_IN_TIME),
        (drip(STATUS_LINE, b"X-Long: ", drop=b"x"), NOT_IN_TIME),
        (drip(drop=b"HTTP/1.1 103 Early Hints\r\n\r\n"), NOT_IN_TIME),
        (reset, "probe failed: ReadError"),
        (saying(b"", close=True), "probe failed: RemoteProtocolError"),
        (saying(b"\x16\x03\x01 what\r\n\r\n", close=True), "probe failed: RemoteProtocolError"),
        (saying(STATUS_LINE + 200_000 * b"x", close=True), "probe failed: RemoteProtocolError"),
    ],
    ids="hangs drips-a-line drips-fields drips-one-field drips-hints resets ends garbage endless-head".split(),  # noqa: SIM905
)
def test_a_server_that_misbehaves_is_unhealthy_in_time(behave: Behaviour, why: str) -> None:
    with origin(behave) as server:
        found, took_s = over_network(rounds_of(2, Target(server.url)), 0.3)
    ((healthy, told),) = found.told
    assert not healthy
    assert told.startswith(why)
    assert took_s < 2 * 0.3 + 1.5


@pytest.mark.parametrize(
    "behave",
    [
        ok,
        saying(STATUS_LINE + b"Content-Length: 1000000000\r\n\r\n"),
        drip(STATUS_LINE, b"\r\n", drop=65536 * b"x"),
        drip(STATUS_LINE, b"Transfer-Encoding: chunked\r\n\r\n", drop=b"1\r\nx\r\n"),
    ],
    ids="whole missing endless dripped".split(),  # noqa: SIM905
)
def test_the_body_is_not_waited_for(behave: Behaviour) -> None:
    target = Target("")
    with origin(behave) as server:
        target.url = server.url
        _, took_s = over_network(rounds_of(2, target), 5)
    assert target.health.probed is True
    assert took_s < 3


def test_every_probe_has_a_connection_of_its_own() -> None:
    with origin(ok) as server:
        over_network(rounds_of(4, Target(server.url)), 5)
        assert len(server.connections) == 4
        assert [request.value("connection") for request in server.requests] == ["close"] * 4


def test_nobody_listens() -> None:
    with origin(ok) as server:
        url = server.url
    found, _ = over_network(rounds_of(2, Target(url)), 5)
    assert found.told == [(False, "probe failed: ConnectError: All connection attempts failed")]


def test_a_port_that_takes_no_connection() -> None:
    with deaf_port() as port:
        found, took_s = over_network(rounds_of(2, Target(f"http://127.0.0.1:{port}")), 0.2)
    assert found.told == [(False, "probe got no answer within 0.2 s")]
    assert took_s < 1.5


def test_a_handshake_that_is_never_answered() -> None:
    with silent_listener() as listener:
        found, took_s = over_network(rounds_of(2, Target(f"https://127.0.0.1:{listener.getsockname()[1]}")), 0.2)
    assert found.told == [(False, "probe got no answer within 0.2 s")]
    assert took_s < 1.5


@pytest.mark.parametrize(
    ("server_name", "healthy"), [("catalog.internal", True), ("other.internal", False), ("", True)]
)
def test_the_certificate_must_have_the_name(tmp_path: Path, server_name: str, healthy: bool) -> None:
    authority = Authority(tmp_path)
    server = TlsOrigin(authority.issue("catalog"))
    try:
        found, _ = over_network(rounds_of(2, Target(server.url, server_name=server_name)), 5, verify=authority)
    finally:
        server.close()
    assert [why for _, why in found.told if "certificate verify failed" not in why] == []
    assert bool(found.told) is not healthy


def test_a_slow_endpoint_holds_no_other_up() -> None:
    slow, quick = Target(""), Target("")
    with origin(hang) as hanging, origin(ok) as answering:
        slow.url, quick.url = hanging.url, answering.url
        found, took_s = over_network(rounds_of(2, slow, quick), 0.4)
    assert [target for target, _, _ in found.changes] == [slow]
    assert quick.health.probed is True
    assert took_s < 2.3


def test_cancelled_under_way_it_leaves_no_result_and_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    target = Target("")
    changes: list[bool] = []

    async def run(server: Origin) -> None:
        target.url = server.url
        config = CONFIG.model_copy(update={"timeout_s": 0.3, "unhealthy_after": 1})
        async with httpx.AsyncClient(trust_env=False, limits=LIMITS) as client:
            prober = Prober(
                config, client, lambda: [target], lambda _, healthy, __: changes.append(healthy), rng=random.Random(1)
            )
            running = asyncio.ensure_future(prober.run())
            async with asyncio.timeout(5):
                while not server.requests:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()
            await settled(client)

    with origin(hang) as server:
        asyncio.run(run(server))
        assert len(server.requests) == 1
    gc.collect()
    assert (changes, target.health.probed) == ([], None)
    assert not caplog.records  # asyncio would complain of an error that nobody looked at


def test_whenever_a_call_ends_or_is_cancelled_nothing_stays_in_the_pool() -> None:
    """Each moment of a call is hit by its limit, by a cancellation, or by both."""
    rng = random.Random(11)

    async def call(client: httpx.AsyncClient, url: str) -> str:
        within_s = rng.choice([0.0005, 0.001, 0.002, 0.005, 0.02])
        asking = asyncio.ensure_future(ask(client, httpx.Request("GET", url), within_s))
        if rng.random() < 0.4:
            await asyncio.sleep(rng.random() * 0.004)
            asking.cancel()
        await asyncio.wait([asking], timeout=5)
        assert asking.done()
        error = None if asking.cancelled() else asking.exception()
        return "cancelled" if asking.cancelled() else type(error).__name__

    async def run(url: str) -> set[str]:
        async with httpx.AsyncClient(trust_env=False, limits=LIMITS) as client:
            ends = {await call(client, url) for _ in range(150)}
            await settled(client)
            return ends

    with origin(drip(STATUS_LINE, drop=b"X-Drop: 1\r\n")) as server:
        ends = asyncio.run(run(server.url))
    assert {"cancelled", "TimeoutError"} <= ends <= {"cancelled", "TimeoutError", "ConnectTimeout"}
