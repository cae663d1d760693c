from __future__ import annotations

import asyncio
import json
import sqlite3

import httpx
import pytest
import respx

from extracted_services.catalog.registration import Instance, Registration
from extracted_services.registry.app import Agent, create_app
from extracted_services.registry.members import Members
from tests.sample.travel import TravellingLoop

URL = "http://registry.test:8500"
HERE = Instance("10.0.0.7", 8101, 3.0)
REGISTER = f"{URL}/v1/agent/service/register"
PASS = f"{URL}/v1/agent/check/pass/service:catalog-10.0.0.7-8101"
DEREGISTER = f"{URL}/v1/agent/service/deregister/catalog-10.0.0.7-8101"
DONE = httpx.Response(200)
UNKNOWN = httpx.Response(404, text="no such instance")


class Rig:
    """A registration whose pauses end when the test says what happens in them: `beats(first, second …)`."""

    def __init__(self, url: str, lines: list[str]) -> None:
        self.ready = True
        self.lines = lines
        self.pauses: list[float] = []
        self._then = []
        self.registration = Registration(httpx.URL(url), HERE, self._is_ready, self.lines.append, self._sleep, self)
        self.time = 100.0

    def __call__(self) -> float:
        return self.time

    def _is_ready(self) -> bool:
        if isinstance(self.ready, Exception):
            raise self.ready
        return self.ready

    async def _sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        if not self._then:
            raise asyncio.CancelledError
        self._then.pop(0)()

    async def beats(self, *then) -> None:
        """One heartbeat more than there are things that happen between them."""
        self._then = list(then)
        with pytest.raises(asyncio.CancelledError):
            await self.registration.keep()

    @property
    def said(self) -> list[str]:
        """The lines without their beginning, which is always the same."""
        beginning = f"catalog-10.0.0.7-8101 at registry {URL} "
        assert all(line.startswith(beginning) for line in self.lines)
        return [line.removeprefix(beginning) for line in self.lines]


@pytest.fixture
def rig():
    return Rig(URL, [])


@pytest.fixture
def registry():
    with respx.mock(assert_all_called=False) as router:
        router.put(REGISTER).mock(return_value=DONE)
        router.put(PASS).mock(return_value=DONE)
        router.put(DEREGISTER).mock(return_value=DONE)
        yield router


def asked(registry):
    """The last words of the paths that were called, in order."""
    words = {REGISTER: "register", PASS: "pass", DEREGISTER: "deregister"}
    return [words[str(call.request.url)] for call in registry.calls]


def nothing():
    pass


def test_it_registers_with_a_ttl_and_then_says_that_it_lives(run, rig, registry):
    run(rig.beats(nothing, nothing))
    assert asked(registry) == ["register", "pass", "pass"]
    assert json.loads(registry.calls[0].request.content) == {
        "ID": "catalog-10.0.0.7-8101",
        "Name": "catalog",
        "Address": "10.0.0.7",
        "Port": 8101,
        "Check": {"TTL": "3s", "DeregisterCriticalServiceAfter": "30s", "Status": "passing"},
    }
    assert rig.said == ["is registered, with a heartbeat every 1 s"]
    assert rig.pauses == [1.0] * 3


def test_its_registration_is_one_that_the_registry_takes(run, rig, registry):
    members = Members()
    app = httpx.ASGITransport(create_app(Agent(members, lambda: 100.0)))
    registry.route(host="registry.test").mock(side_effect=app.handle_async_request)
    for route in list(registry.routes)[:3]:
        route.mock(side_effect=app.handle_async_request)
    run(rig.beats(nothing))
    service, passes = members.look("catalog", 101).entries[0]
    assert (service.id, service.address, service.port, passes) == ("catalog-10.0.0.7-8101", "10.0.0.7", 8101, True)
    run(rig.registration.leave())
    assert members.look("catalog", 101).entries == ()


def test_an_instance_without_data_is_not_registered_until_it_has_them(run, rig, registry):
    rig.ready = False
    run(rig.beats(nothing, lambda: setattr(rig, "ready", True)))
    assert asked(registry) == ["register"]
    assert rig.said[0] == "has no data yet, and is registered as soon as it has"
    assert len(rig.said) == 2


def test_an_instance_that_never_had_data_has_nothing_to_take_back(run, rig, registry):
    rig.ready = False
    run(rig.beats())
    run(rig.registration.leave())
    assert asked(registry) == []


def test_an_instance_whose_database_fails_goes_silent(run, rig, registry):
    def fail():
        rig.ready = sqlite3.OperationalError("disk I/O error")

    run(rig.beats(nothing, fail, nothing, lambda: setattr(rig, "ready", True)))
    assert asked(registry) == ["register", "pass", "register"]
    assert [line.split(",")[0] for line in rig.said] == ["is registered", "cannot be registered", "is registered"]


def test_a_registry_that_has_forgotten_it_is_told_again_at_once(run, rig, registry):
    run(rig.beats(nothing, lambda: registry.put(PASS).mock(return_value=UNKNOWN)))
    assert asked(registry) == ["register", "pass", "pass", "register"]
    heartbeat = "is registered, with a heartbeat every 1 s"
    assert rig.said == [heartbeat, "is not known there any more, and is registered again", heartbeat]


@pytest.mark.parametrize(
    "answer",
    [
        {"side_effect": httpx.ConnectError("refused")},
        {"side_effect": httpx.ReadTimeout("slow")},
        {"side_effect": httpx.RemoteProtocolError("no HTTP")},
        {"return_value": httpx.Response(500, text="no leader")},
        {"return_value": httpx.Response(200, text="<html>welcome to nginx</html>")},
        {"return_value": httpx.Response(200, content=b"x" * 1_000_000)},
        {"return_value": httpx.Response(302, headers={"location": "http://[/"})},
        {"return_value": httpx.Response(204)},
    ],
    ids=["refuses", "hangs", "babbles", "500", "page", "long", "redirect", "204"],
)
def test_trouble_is_said_once_and_tried_again_until_it_is_over(run, rig, registry, answer):
    def trouble():
        registry.put(PASS).mock(**answer)
        registry.put(REGISTER).mock(**answer)

    def over():
        registry.put(REGISTER).mock(side_effect=None, return_value=DONE)
        registry.put(PASS).mock(side_effect=None, return_value=DONE)

    run(rig.beats(nothing, trouble, nothing, over, nothing))
    assert asked(registry) == ["register", "pass", "pass", "register", "register", "pass"]
    assert [line.split(",")[0] for line in rig.said] == ["is registered", "cannot be registered", "is registered"]


def test_a_registry_that_is_down_at_the_start_is_tried_until_it_is_there(run, rig, registry):
    registry.put(REGISTER).mock(side_effect=httpx.ConnectError("refused"))
    run(rig.beats(nothing, lambda: registry.put(REGISTER).mock(side_effect=None, return_value=DONE)))
    assert rig.said[0] == "cannot be registered, trying on: ConnectError('refused')"
    assert rig.said[1].startswith("is registered")


def test_the_registrys_own_words_are_in_the_line(run, rig, registry):
    registry.put(REGISTER).mock(return_value=httpx.Response(400, text="Address: 'a b' is not a host name"))
    run(rig.beats(nothing))
    assert len(rig.said) == 1
    assert "400 Address: 'a b' is not a host name" in rig.said[0]


def test_an_address_that_is_no_registry_is_not_taken_for_one(run, rig, registry):
    registry.put(REGISTER).mock(return_value=UNKNOWN)
    run(rig.beats(nothing))
    assert asked(registry) == ["register", "register"]
    assert "404: this is no registry" in rig.said[0]


def test_a_password_in_the_registrys_address_is_not_logged(run, rig, registry):
    run(Rig("http://me:secret@registry.test:8500", rig.lines).beats())
    assert rig.said == ["is registered, with a heartbeat every 1 s"]
    assert registry.calls[0].request.headers["authorization"] == "Basic bWU6c2VjcmV0"


def test_a_call_that_took_long_leaves_a_shorter_pause(run, rig, registry):
    def slow(_request):
        rig.time += 0.75
        return DONE

    registry.put(REGISTER).mock(side_effect=slow)
    run(rig.beats())
    rig.time += 0.5
    assert rig.pauses == [0.25]


def test_a_registry_that_never_answers_costs_a_heartbeat_only(registry):
    async def never(_request):
        await asyncio.Event().wait()

    lines = []
    registry.put(REGISTER).mock(side_effect=never)
    registry.put(DEREGISTER).mock(side_effect=never)

    async def tell():
        loop, naps = asyncio.get_running_loop(), []

        async def sleep(pause_s):
            naps.append((loop.time() - 100, pause_s))
            if len(naps) == 2:
                raise asyncio.CancelledError

        registration = Registration(httpx.URL(URL), HERE, lambda: True, lines.append, sleep, loop.time)
        with pytest.raises(asyncio.CancelledError):
            await registration.keep()
        before = loop.time()
        await registration.leave()
        return naps, loop.time() - before

    with asyncio.Runner(loop_factory=TravellingLoop) as runner:
        naps, leaving_s = runner.run(tell())
    assert naps == [(pytest.approx(1), pytest.approx(0)), (pytest.approx(2), pytest.approx(0))]
    assert leaving_s == pytest.approx(2)
    assert [line.split(" ", 4)[4].split(",")[0] for line in lines] == [
        "cannot be registered",
        "could not be deregistered",
    ]


def test_a_registry_whose_answer_trickles_costs_a_heartbeat_only():
    """Byte by byte over a real connection no read takes long, so no timeout of the client's ends it."""

    async def trickle(_reader, writer):
        try:
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            writer.close()

    async def tell():
        loop, lines = asyncio.get_running_loop(), []
        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        here = Instance("10.0.0.7", 8101, 0.6)

        async def sleep(_pause_s):
            raise asyncio.CancelledError

        registration = Registration(httpx.URL(f"http://127.0.0.1:{port}"), here, lambda: True, lines.append, sleep)
        began = loop.time()
        with pytest.raises(asyncio.CancelledError):
            await registration.keep()
        took_s = loop.time() - began
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.05)
        return lines, took_s

    lines, took_s = asyncio.run(tell())
    assert len(lines) == 1
    assert "cannot be registered, trying on: TimeoutError" in lines[0]
    assert 0.2 <= took_s < 2


def test_it_takes_its_name_back_at_the_end(run, rig, registry):
    run(rig.beats())
    run(rig.registration.leave())
    assert asked(registry) == ["register", "deregister"]
    assert rig.said[-1] == "is deregistered"


@pytest.mark.parametrize(
    "answer", [{"side_effect": httpx.ConnectError("refused")}, {"return_value": httpx.Response(500)}]
)
def test_an_end_without_the_registry_is_an_end(run, rig, registry, answer):
    registry.put(DEREGISTER).mock(**answer)
    run(rig.beats())
    run(rig.registration.leave())
    assert rig.said[-1].startswith("could not be deregistered, its TTL will do that")


@pytest.mark.parametrize(("ttl_s", "text", "after"), [(1, "1s", "30s"), (0.3, "0.3s", "30s"), (60, "60s", "600s")])
def test_the_times_are_written_as_consul_reads_them(ttl_s, text, after):
    check = Instance("h", 1, ttl_s).registration()["Check"]
    assert (check["TTL"], check["DeregisterCriticalServiceAfter"]) == (text, after)
