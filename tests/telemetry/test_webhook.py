"""Events told by POST: what is sent, what is tried again, and receivers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import httpx
import orjson
import pytest
import respx

from proxy.config.model import Webhook as WebhookConfig
from proxy.events import (
    BreakerChanged,
    DiscoveryFailed,
    DiscoveryRecovered,
    EndpointChanged,
    EndpointsFound,
    Event,
    KeysFailed,
    KeysRecovered,
    LimitsStoreFailed,
    LimitsStoreRecovered,
    Reloaded,
    ReloadFailed,
    StoreFailed,
    StoreRecovered,
    Transition,
)
from proxy.telemetry.webhook import Webhook
from tests.support.origin import Behaviour, Connection, Origin, ok, saying

URL = "https://chat.example/hooks/s3cret?token=t0ken"
CONFIG = WebhookConfig(url=URL, timeout_s=2, retries=3, max_queue=100)
AT = 1_700_000_000.25
OPENED = BreakerChanged("catalog", "extracted", "", "closed", "open", "5 failures within 10 s")
BACK = EndpointChanged("catalog", "10.0.0.1:8101", True, "probe answered 200")


def event(number: int) -> Event:
    return StoreRecovered("memory", f"seam-{number}")


@dataclass
class Told:
    webhook: Webhook
    pauses: list[float]

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.webhook.sent, self.webhook.failed, self.webhook.dropped


async def deliver(client: httpx.AsyncClient, events: Sequence[Event], config: WebhookConfig) -> Told:
    """Every event put at once, and all delivered or given up. No time passes between attempts."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    webhook = Webhook(config, client, clock=lambda: AT, instance="fig-1", sleep=sleep)
    for one in events:
        webhook.put(one)
    run = asyncio.ensure_future(webhook.run())
    async with asyncio.timeout(30):
        while webhook.sent + webhook.failed + webhook.dropped < len(events):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert not run.done()
    run.cancel()
    await asyncio.wait([run])
    assert run.cancelled()
    return Told(webhook, pauses)


def through(router: respx.MockRouter, *events: Event, config: WebhookConfig = CONFIG) -> Told:
    """The delivery, to `router` instead of a network."""

    async def run() -> Told:
        async with httpx.AsyncClient(transport=httpx.MockTransport(router.async_handler)) as client:
            return await deliver(client, events, config)

    return asyncio.run(run())


@pytest.fixture
def router() -> respx.MockRouter:
    return respx.MockRouter(assert_all_called=False)


def bodies(route: respx.Route) -> list[dict[str, Any]]:
    return [orjson.loads(call.request.content) for call in route.calls]


# --- what is sent ----------------------------------------------------------------------------------------------------

FIELDS: list[tuple[Event, dict[str, Any]]] = [
    (
        Transition("catalog", "shift", "jo", "looks good", "canary", 12.5, False),
        {
            "seam": "catalog",
            "action": "shift",
            "actor": "jo",
            "reason": "looks good",
            "stage": "canary",
            "percent": 12.5,
            "rolled_back": False,
        },
    ),
    (
        Reloaded("abc", 2, ("catalog",), (), ("server.listen",)),
        {
            "fingerprint": "abc",
            "seams": 2,
            "moved": ["catalog"],
            "overridden": [],
            "needs_restart": ["server.listen"],
            "changed": True,
        },
    ),
    (ReloadFailed("line 3: „no“"), {"detail": "line 3: „no“"}),
    (
        StoreFailed("sqlite:var/fig.db", "", "disk full"),
        {"store": "sqlite:var/fig.db", "seam": "", "detail": "disk full"},
    ),
    (StoreRecovered("memory", "catalog"), {"store": "memory", "seam": "catalog"}),
    (KeysFailed("shop", "it answered 500"), {"issuer": "shop", "detail": "it answered 500"}),
    (KeysRecovered("shop"), {"issuer": "shop"}),
    (LimitsStoreFailed("local", "no answer"), {"on_error": "local", "detail": "no answer"}),
    (LimitsStoreRecovered("a probe was answered"), {"detail": "a probe was answered"}),
    (
        OPENED,
        {
            "seam": "catalog",
            "side": "extracted",
            "route": "",
            "was": "closed",
            "to": "open",
            "reason": "5 failures within 10 s",
        },
    ),
    (
        BACK,
        {"upstream": "catalog", "endpoint": "10.0.0.1:8101", "available": True, "reason": "probe answered 200"},
    ),
    (EndpointsFound("catalog", ("a:1", "b:2")), {"upstream": "catalog", "endpoints": ["a:1", "b:2"]}),
    (DiscoveryFailed("catalog", "dns", "no answer"), {"upstream": "catalog", "source": "dns", "detail": "no answer"}),
    (DiscoveryRecovered("catalog", "dns"), {"upstream": "catalog", "source": "dns"}),
]


@pytest.mark.parametrize(("told", "fields"), FIELDS, ids=lambda value: type(value).__name__)
def test_the_body_is_the_event_in_an_envelope(router: respx.MockRouter, told: Event, fields: dict[str, Any]) -> None:
    route = router.post(URL).respond(204)
    assert through(router, told).counts == (1, 0, 0)
    (body,) = bodies(route)
    assert body == {"type": type(told).__name__, "at": "2023-11-14T22:13:20.250Z", "instance": "fig-1", **fields}
    assert list(body)[:3] == ["type", "at", "instance"]


def test_every_event_was_tried_and_none_has_a_field_of_the_envelope() -> None:
    assert {type(told) for told, _ in FIELDS} == set(get_args(Event))
    for kind in get_args(Event):
        assert not {field.name for field in dataclasses.fields(kind)} & {"type", "at", "instance"}


def test_the_head_of_the_request(router: respx.MockRouter) -> None:
    route = router.post(URL).respond(200, headers={"Set-Cookie": "session=1"})
    through(router, OPENED, BACK)
    for call in route.calls:
        headers = dict(call.request.headers)
        assert headers.pop("content-length") == str(len(call.request.content))
        assert headers == {
            "host": "chat.example",
            "content-type": "application/json",
            "user-agent": "fig-webhook",
            "connection": "close",
        }
        assert set(call.request.extensions["timeout"].values()) == {2}


def test_a_user_in_the_url_signs_in(router: respx.MockRouter) -> None:
    config = CONFIG.model_copy(update={"url": "https://jo:pw@chat.example/hook"})
    route = router.post("https://chat.example/hook").respond(200)
    through(router, OPENED, config=config)
    assert route.calls.last.request.headers["authorization"] == "Basic am86cHc="


def test_the_time_told_is_that_of_the_event_not_of_its_delivery(router: respx.MockRouter) -> None:
    route = router.post(URL).respond(200)
    now = AT

    async def run() -> None:
        nonlocal now
        async with httpx.AsyncClient(transport=httpx.MockTransport(router.async_handler)) as client:
            webhook = Webhook(CONFIG, client, clock=lambda: now, instance="fig-1")
            webhook.put(OPENED)
            now += 3600
            running = asyncio.ensure_future(webhook.run())
            async with asyncio.timeout(5):
                while not webhook.sent:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            running.cancel()

    asyncio.run(run())
    assert bodies(route)[0]["at"] == "2023-11-14T22:13:20.250Z"


# --- what is tried again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_two_hundreds_are_sent(router: respx.MockRouter, status: int) -> None:
    route = router.post(URL).respond(status)
    assert through(router, OPENED).counts == (1, 0, 0)
    assert route.call_count == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 408, 410, 422])
def test_what_another_attempt_would_not_better_is_given_up_at_once(router: respx.MockRouter, status: int) -> None:
    router.post(URL).respond(status, headers={"Location": "https://elsewhere.example/", "Retry-After": "1"})
    told = through(router, OPENED)
    assert (told.counts, told.pauses) == ((0, 1, 0), [])
    assert router.calls.call_count == 1


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(429),
        httpx.Response(500),
        httpx.Response(503),
        httpx.Response(599),
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout(""),
        httpx.ReadTimeout(""),
        httpx.PoolTimeout(""),
        httpx.ReadError(""),
        httpx.RemoteProtocolError("what"),
        TimeoutError(),
        OSError(24, "Too many open files"),
    ],
    ids=lambda failure: str(getattr(failure, "status_code", type(failure).__name__)),
)
def test_what_may_pass_is_tried_again(router: respx.MockRouter, failure: httpx.Response | Exception) -> None:
    route = router.post(URL).mock(side_effect=[failure, failure, failure, httpx.Response(200)])
    told = through(router, OPENED)
    assert (told.counts, told.pauses, route.call_count) == ((1, 0, 0), [1, 2, 4], 4)
    assert len({call.request.content for call in route.calls}) == 1

    route = router.post(URL).mock(side_effect=[failure] * 4 + [httpx.Response(200)])
    told = through(router, OPENED)
    assert (told.counts, told.pauses) == ((0, 1, 0), [1, 2, 4])


def test_pauses_double_up_to_half_a_minute(router: respx.MockRouter) -> None:
    router.post(URL).respond(503)
    assert through(router, OPENED, config=CONFIG.model_copy(update={"retries": 8})).pauses == [
        1,
        2,
        4,
        8,
        16,
        30,
        30,
        30,
    ]


def test_without_retries_there_is_one_attempt(router: respx.MockRouter) -> None:
    route = router.post(URL).respond(503)
    told = through(router, OPENED, config=CONFIG.model_copy(update={"retries": 0}))
    assert (told.counts, told.pauses, route.call_count) == ((0, 1, 0), [], 1)


@pytest.mark.parametrize(
    ("retry_after", "pause_s"),
    [
        ("7", 7),
        ("60", 60),
        ("007", 7),
        ("0", 1),
        ("61", 1),
        ("9" * 400, 1),
        ("-5", 1),
        ("1.5", 1),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 1),
        ("٣", 1),
        ("", 1),
    ],
)
def test_retry_after_is_honoured_up_to_a_minute(router: respx.MockRouter, retry_after: str, pause_s: float) -> None:
    for status in (429, 503):
        busy = httpx.Response(status, headers={b"Retry-After": retry_after.encode()})
        router.post(URL).mock(side_effect=[busy, httpx.Response(200)])
        told = through(router, OPENED)
        assert (told.counts, told.pauses) == ((1, 0, 0), [pause_s])


def test_retry_after_does_not_quicken_our_own_pace(router: respx.MockRouter) -> None:
    router.post(URL).respond(503, headers={"Retry-After": "3"})
    assert through(router, OPENED).pauses == [3, 3, 4]


def test_an_unexpected_error_is_not_tried_again_and_ends_nothing(router: respx.MockRouter) -> None:
    router.post(URL).mock(side_effect=[RuntimeError("a mistake"), httpx.Response(200)])
    told = through(router, OPENED, BACK)
    assert (told.counts, told.pauses) == ((1, 1, 0), [])


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (httpx.Response(404), "webhook to chat.example: BreakerChanged was not told: answered 404 (attempts: 1)"),
        (
            httpx.Response(503),
            "webhook to chat.example: BreakerChanged was not told: answered 503 (attempts: 4)",
        ),
        (
            httpx.ReadTimeout(""),
            "webhook to chat.example: BreakerChanged was not told: no answer within 2 s (attempts: 4)",
        ),
        (
            httpx.ConnectError("[Errno 111] Connection refused"),
            "webhook to chat.example: BreakerChanged was not told:"
            " no connection: [Errno 111] Connection refused (attempts: 4)",
        ),
        (
            httpx.RemoteProtocolError("illegal status line: bytearray(b'no /hooks/s3cret?token=t0ken here')"),
            "webhook to chat.example: BreakerChanged was not told: RemoteProtocolError (attempts: 4)",
        ),
        (
            RuntimeError(URL),
            "webhook to chat.example: BreakerChanged was not told: unexpected RuntimeError (attempts: 1)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_giving_up_is_one_line_without_the_secret(
    router: respx.MockRouter, caplog: pytest.LogCaptureFixture, failure: httpx.Response | Exception, line: str
) -> None:
    config = CONFIG.model_copy(update={"url": URL.replace("https://", "https://jo:pw@")})
    router.post(URL).mock(side_effect=[failure] * 4)
    through(router, OPENED, config=config)
    assert [record.getMessage() for record in caplog.records if record.name == "proxy"] == [line]
    assert caplog.records[-1].exc_info is None


# --- bounded ---------------------------------------------------------------------------------------------------------


def test_events_are_told_in_their_order_and_a_failed_one_holds_no_other_up(router: respx.MockRouter) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404 if orjson.loads(request.content)["seam"] == "seam-1" else 200)

    route = router.post(URL).mock(side_effect=answer)
    assert through(router, *map(event, range(4))).counts == (3, 1, 0)
    assert [body["seam"] for body in bodies(route)] == ["seam-0", "seam-1", "seam-2", "seam-3"]


def test_beyond_the_queue_events_are_dropped_and_counted(router: respx.MockRouter) -> None:
    route = router.post(URL).respond(200)
    config = CONFIG.model_copy(update={"max_queue": 2})
    told = through(router, *map(event, range(5)), config=config)
    assert (told.counts, told.webhook.queued) == ((2, 0, 3), 0)
    assert [body["seam"] for body in bodies(route)] == ["seam-0", "seam-1"]


def test_put_needs_no_loop_and_nobody_who_delivers() -> None:
    webhook = Webhook(
        CONFIG.model_copy(update={"max_queue": 2}), httpx.AsyncClient(), clock=lambda: AT, instance="fig-1"
    )
    queued = []
    for number in range(4):
        webhook.put(event(number))
        queued.append(webhook.queued)
    assert (queued, webhook.sent, webhook.failed, webhook.dropped) == ([1, 2, 2, 2], 0, 0, 2)


def test_events_that_come_while_nothing_waits_are_told_too(router: respx.MockRouter) -> None:
    route = router.post(URL).respond(200)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(router.async_handler)) as client:
            webhook = Webhook(CONFIG, client, clock=lambda: AT, instance="fig-1")
            running = asyncio.ensure_future(webhook.run())
            for number in range(3):
                await asyncio.sleep(0.01)
                webhook.put(event(number))
                async with asyncio.timeout(5):
                    while webhook.sent <= number:  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
            running.cancel()

    asyncio.run(run())
    assert route.call_count == 3


def test_an_event_that_cannot_be_written_ends_nothing(
    router: respx.MockRouter, caplog: pytest.LogCaptureFixture
) -> None:
    route = router.post(URL).respond(200)
    told = through(router, ReloadFailed("\udcff is no text"), OPENED)
    assert told.counts == (1, 1, 0)
    assert [body["type"] for body in bodies(route)] == ["BreakerChanged"]
    assert "webhook to chat.example: ReloadFailed was not told: unexpected " in caplog.text


# --- real receivers --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def receiver(behave: Behaviour) -> Iterator[Origin]:
    server = Origin(behave)
    try:
        yield server
    finally:
        server.close()


def over_network(url: str, *events: Event, timeout_s: float, retries: int = 0) -> tuple[Told, float]:
    """The delivery, and how many seconds it took."""
    config = WebhookConfig(url=url, timeout_s=timeout_s, retries=retries)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)

    async def run() -> tuple[Told, float]:
        async with httpx.AsyncClient(trust_env=False, limits=limits) as client:
            began = time.monotonic()
            told = await deliver(client, events, config)
            return told, time.monotonic() - began

    return asyncio.run(run())


def hang(connection: Connection) -> None:
    connection.read()
    connection.wait_closed(10)


def reset(connection: Connection) -> None:
    connection.read()
    connection.reset()


def drip(first: bytes, drop: bytes) -> Behaviour:
    """Says something again and again, more often than any limit on a gap would mind."""

    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(first)
        with contextlib.suppress(OSError):
            while True:
                connection.sock.sendall(drop)
                time.sleep(0.01)

    return behave


@pytest.mark.parametrize(
    "behave",
    [hang, drip(b"HTTP/1.1 200 OK\r\n", b"X-Drop: 1\r\n"), drip(b"", b"HTTP/1.1 102 Processing\r\n\r\n"), reset],
    ids=["hangs", "drips fields", "drips interim answers", "resets"],
)
def test_a_receiver_that_misbehaves_costs_its_time_and_no_more(behave: Behaviour) -> None:
    with receiver(behave) as server:
        told, took_s = over_network(server.url, OPENED, BACK, timeout_s=0.2, retries=1)
        assert [orjson.loads(request.body)["type"] for request in server.requests] == [
            "BreakerChanged",
            "BreakerChanged",
            "EndpointChanged",
            "EndpointChanged",
        ]
    assert (told.counts, told.pauses) == ((0, 2, 0), [1, 1])
    assert took_s < 4 * 0.2 + 1.5


@pytest.mark.parametrize(
    "behave",
    [
        ok,
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\n\r\n", 65536 * b"x"),
    ],
    ids=["whole", "missing", "endless"],
)
def test_the_body_of_an_answer_is_not_waited_for(behave: Behaviour) -> None:
    with receiver(behave) as server:
        told, took_s = over_network(server.url, OPENED, BACK, timeout_s=5)
        assert len(server.connections) == 2
    assert told.counts == (2, 0, 0)
    assert took_s < 3


def test_cancelled_under_way_it_ends_at_once() -> None:
    async def run(server: Origin) -> float:
        config = WebhookConfig(url=server.url, timeout_s=0.3)
        async with httpx.AsyncClient(trust_env=False) as client:
            webhook = Webhook(config, client, clock=lambda: AT, instance="fig-1")
            running = asyncio.ensure_future(webhook.run())
            webhook.put(OPENED)
            async with asyncio.timeout(5):
                while not server.requests:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            running.cancel()
            began = time.monotonic()
            await asyncio.wait([running])
            assert running.cancelled()
            took_s = time.monotonic() - began
            async with asyncio.timeout(5):  # what was under way ends by its own limit
                while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert (webhook.sent, webhook.failed) == (0, 0)
            return took_s

    with receiver(hang) as server:
        assert asyncio.run(run(server)) < 0.2
