"""Endpoints from a registry: what Consul's answers mean, what garbage means, and blocking queries on a real socket."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import Discovery
from proxy.upstreams.resolve import Address
from proxy.upstreams.resolve_registry import MOST_BYTES, RegistryResolver, Unusable, addresses_in

URL = "http://registry.test:8500/v1/health/service/catalog"
DISCOVERY = Discovery(registry="http://registry.test:8500/", service="catalog", refresh_s=30)


def at(host: str, port: int) -> Address:
    return Address(host, port, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", host)


def instance(host: str = "10.0.0.1", port: Any = 8101, node: str = "") -> dict[str, Any]:
    return {"Node": {"Address": node}, "Service": {"Address": host, "Port": port, "Tags": []}}


def body(*instances: Any) -> bytes:
    return json.dumps(instances).encode()


class Told:
    def __init__(self) -> None:
        self.reports: list[tuple[Address, ...] | str] = []
        self.more = asyncio.Event()

    def found(self, addresses: tuple[Address, ...]) -> None:
        self.reports.append(addresses)
        self.more.set()

    def failed(self, reason: str) -> None:
        self.reports.append(reason)
        self.more.set()


# --- what an answer says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (body(), ()),
        (body(instance()), (at("10.0.0.1", 8101),)),
        (body(instance("b", 2), instance("a", 1), instance("b", 2)), (at("a", 1), at("b", 2))),
        (body(instance("", 8101, node="10.1.1.1")), (at("10.1.1.1", 8101),)),
        (body(instance("fd00::1")), (at("fd00::1", 8101),)),
        (body(instance("10.0.0.1", 0), instance("10.0.0.2")), (at("10.0.0.2", 8101),)),
        (body({"Service": None}, instance()), (at("10.0.0.1", 8101),)),
        (body(instance(f"{'a' * 63}.b")), (at(f"{'a' * 63}.b", 8101),)),
    ],
)
def test_what_an_answer_says(said: bytes, found: tuple[Address, ...]) -> None:
    assert addresses_in(said) == found


@pytest.mark.parametrize(
    "said",
    [
        b"<html>",
        b"",
        b"\xff",
        b"{}",
        b'"x"',
        b"null",
        body(1),
        body(instance(port="8101")),
        body(instance(port=True)),
        body(instance(port=70000)),
        body(instance("no host")),
        body(instance("a/b")),
        body(instance("a\r\nb")),
        body(instance("a..b")),
        body(instance("a-.b")),
        body(instance(f"{'a' * 64}.b")),  # getaddrinfo raises UnicodeError for a label of more than 63
        body(instance("a." * 126 + "bc")),
        body(instance("fe80::1%eth0")),
        body(instance("")),
        body(instance(host=7)),  # type: ignore[arg-type]
        body(*[instance(port=1 + number) for number in range(1001)]),
        b"[" * 100_000,
    ],
)
def test_what_says_nothing(said: bytes) -> None:
    with pytest.raises(Unusable):
        addresses_in(said)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["Service", "Node", "Address", "Port", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_JSON)
def test_whatever_it_says_is_addresses_or_unusable(said: Any) -> None:
    try:
        found = addresses_in(json.dumps(said).encode())
    except Unusable:
        return
    for address in found:
        assert 0 < address.port <= 65535
        assert not set(address.authority) & set(" /\r\n?#@")


# --- asking ----------------------------------------------------------------------------------------------------------


def asked(
    answer: Callable[[httpx.Request], httpx.Response], count: int, discovery: Discovery = DISCOVERY
) -> tuple[list[httpx.Request], Told, list[float]]:
    """`count` questions, each answered by `answer`; what was reported; the pauses in between."""
    requests, told, pauses = list[httpx.Request](), Told(), list[float]()

    async def story() -> None:
        enough = asyncio.Event()

        def respond(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return answer(request)

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(requests) >= count:
                enough.set()
                await asyncio.Event().wait()
            await asyncio.sleep(0)

        with respx.mock(assert_all_called=False) as router:
            router.get(url__startswith=URL).mock(side_effect=respond)
            async with httpx.AsyncClient(trust_env=False) as client:
                run = asyncio.ensure_future(RegistryResolver(discovery, client, sleep=sleep).run(told))
                await asyncio.wait_for(enough.wait(), 10)
                run.cancel()
                await asyncio.gather(run, return_exceptions=True)

    asyncio.run(story())
    return requests, told, pauses


def test_the_first_question_is_answered_at_once_and_the_next_waits_for_a_change() -> None:
    indices = iter([7, 9, 9])
    requests, told, pauses = asked(
        lambda _: httpx.Response(200, content=body(instance()), headers={"X-Consul-Index": str(next(indices))}), 3
    )
    assert [dict(request.url.params) for request in requests] == [
        {"passing": "true"},
        {"passing": "true", "index": "7", "wait": "30s"},
        {"passing": "true", "index": "9", "wait": "30s"},
    ]
    assert told.reports == [(at("10.0.0.1", 8101),)] * 3
    assert pauses == [0.2] * 3


def test_no_question_waits_so_long_that_a_hang_would_go_unnoticed() -> None:
    patient = Discovery(registry="http://registry.test:8500", service="catalog", refresh_s=3600)
    requests, _, _ = asked(lambda _: httpx.Response(200, content=body(), headers={"X-Consul-Index": "7"}), 2, patient)
    assert requests[1].url.params["wait"] == "60s"


@pytest.mark.parametrize("index", ["0", "-3", "", "abc", "1" * 40])
def test_an_index_that_is_none_is_asked_without_waiting_there(index: str) -> None:
    requests, _, pauses = asked(
        lambda _: httpx.Response(200, content=body(), headers={"X-Consul-Index": index} if index else {}), 2
    )
    assert "index" not in requests[1].url.params
    assert pauses == [30.0, 30.0]


def test_an_index_that_goes_backwards_begins_anew() -> None:
    indices = iter([50, 3, 4])
    requests, _, _ = asked(
        lambda _: httpx.Response(200, content=body(), headers={"X-Consul-Index": str(next(indices))}), 3
    )
    assert [request.url.params.get("index") for request in requests] == [None, "50", None]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(500), "answered 500"),
        (httpx.Response(301, headers={"Location": "http://elsewhere.test/"}), "answered 301"),
        (httpx.Response(200, content=b"<html>"), "not JSON"),
        (httpx.Response(200, content=b"[" + b" " * (MOST_BYTES + 1) + b"]"), "more than"),
        (httpx.Response(200, content=gzip.compress(b"[]"), headers={"Content-Encoding": "gzip"}), "compressed"),
        (httpx.ConnectError("refused"), "refused"),
        (httpx.ReadTimeout("slow"), "no answer in time"),
        (RuntimeError("a bug"), "a bug"),
    ],
)
def test_a_failure_is_told_and_the_next_question_begins_anew(answer: httpx.Response | Exception, reason: str) -> None:
    def respond(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    requests, told, pauses = asked(respond, 6)
    assert len(told.reports) == 6
    assert all(isinstance(report, str) and reason in report for report in told.reports)
    assert all("index" not in request.url.params for request in requests)
    assert [seconds for seconds in pauses if seconds != 1.0] == [3.0, 7.0, 14.0]


def test_a_failure_forgets_the_index_and_a_good_answer_the_failures() -> None:
    indices = iter([7, None, None, 9, None, 9])

    def respond(_: httpx.Request) -> httpx.Response:
        index = next(indices)
        if index is None:
            return httpx.Response(500)
        return httpx.Response(200, content=body(), headers={"X-Consul-Index": str(index)})

    requests, _, pauses = asked(respond, 6)
    assert [request.url.params.get("index") for request in requests] == [None, "7", None, None, "9", None]
    assert pauses == [0.2, 1.0, 1.0, 1.0, 0.2, 1.0, 0.2]  # failures: 1 s, then 2 s in two parts; 1 s again


def test_a_refresh_of_next_to_nothing_is_no_busy_loop() -> None:
    often = Discovery(registry="http://registry.test:8500", service="catalog", refresh_s=0.001)
    _, _, pauses = asked(lambda _: httpx.Response(200, content=body()), 3, often)
    assert pauses == [0.2] * 3
    _, _, pauses = asked(lambda _: httpx.Response(500), 3, often)
    assert pauses == [1.0] * 3


def test_no_compression_is_asked_for() -> None:
    requests, _, _ = asked(lambda _: httpx.Response(200, content=body()), 1)
    assert requests[0].headers["accept-encoding"] == "identity"


def test_a_hurry_cuts_a_pause_after_a_failure_short_and_nothing_else() -> None:
    async def story() -> None:
        answers = [httpx.Response(500)] * 3 + [httpx.Response(200, content=body())]
        begun = defaultdict[float, asyncio.Event](asyncio.Event)
        requests = list[httpx.Request]()

        def respond(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return answers[min(len(requests), len(answers)) - 1]

        async def sleep(seconds: float) -> None:
            begun[seconds].set()
            await (asyncio.sleep(0) if seconds <= 1 else asyncio.Event().wait())

        with respx.mock(assert_all_called=False) as router:
            router.get(url__startswith=URL).mock(side_effect=respond)
            async with httpx.AsyncClient(trust_env=False) as client:
                resolver = RegistryResolver(DISCOVERY, client, sleep=sleep)
                run = asyncio.ensure_future(resolver.run(Told()))
                await asyncio.wait_for(begun[3.0].wait(), 5)  # the rest of the third pause, 4 s
                resolver.hurry()
                await asyncio.wait_for(begun[30.0].wait(), 5)  # it answered, without an index
                resolver.hurry()
                for _ in range(50):
                    await asyncio.sleep(0)
                run.cancel()
                await asyncio.gather(run, return_exceptions=True)
        assert len(requests) == 4

    asyncio.run(story())


def test_a_token_goes_to_the_registry_only_where_there_is_one() -> None:
    plain, _, _ = asked(lambda _: httpx.Response(200, content=body()), 1)
    assert "x-consul-token" not in plain[0].headers
    secret = Discovery(registry="http://registry.test:8500", service="catalog", token="s3cret")
    sent, _, _ = asked(lambda _: httpx.Response(200, content=body()), 1, secret)
    assert sent[0].headers["x-consul-token"] == "s3cret"


# --- on a real socket ------------------------------------------------------------------------------------------------


def test_a_question_waits_and_hears_of_a_change_and_of_a_death() -> None:
    async def story() -> None:
        changed = asyncio.Event()
        gone = asyncio.Event()
        questions: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while (line := await reader.readline()) != b"":
                questions.append(line.decode())
                while await reader.readline() not in (b"\r\n", b""):
                    pass
                if "index=" in questions[-1]:
                    await changed.wait()
                number = len(questions)
                said = body(instance(f"10.0.0.{number}"))
                writer.write(
                    b"HTTP/1.1 200 OK\r\nX-Consul-Index: %d\r\nContent-Length: %d\r\n\r\n" % (number, len(said))
                )
                writer.write(said)
            writer.close()
            gone.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        told = Told()
        discovery = Discovery(registry=f"http://127.0.0.1:{port}", service="catalog")
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            run = asyncio.ensure_future(RegistryResolver(discovery, client).run(told))
            await asyncio.wait_for(told.more.wait(), 5)
            assert told.reports == [(at("10.0.0.1", 8101),)]
            told.more.clear()
            changed.set()
            await asyncio.wait_for(told.more.wait(), 5)
            assert told.reports[1] == (at("10.0.0.2", 8101),)
            changed.clear()
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
        changed.set()
        server.close()
        await asyncio.wait_for(gone.wait(), 5)
        await asyncio.sleep(0)  # it is closed in the next turn

    asyncio.run(story())


@pytest.mark.parametrize(
    "begins", [b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"]
)
def test_a_registry_that_hangs_or_drips_has_failed_and_is_let_go(begins: bytes) -> None:
    async def story() -> None:
        let_go = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            left = asyncio.ensure_future(reader.read())
            writer.write(begins)
            while not left.done():
                if begins:
                    writer.write(b" ")
                await asyncio.wait([left], timeout=0.01)
            writer.close()
            let_go.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        told = Told()
        discovery = Discovery(registry=f"http://127.0.0.1:{port}", service="catalog")
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            run = asyncio.ensure_future(RegistryResolver(discovery, client, grace_s=0.1).run(told))
            await asyncio.wait_for(told.more.wait(), 5)
            assert told.reports == ["no answer in time"]
            await asyncio.wait_for(let_go.wait(), 5)
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
        server.close()
        await asyncio.sleep(0)  # it is closed in the next turn

    asyncio.run(story())
