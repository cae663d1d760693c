from __future__ import annotations

import asyncio

import httpx
import pytest

from extracted_services.registry.app import MAX_BODY_BYTES, Agent, create_app
from extracted_services.registry.members import Members
from tests.sample.travel import TravellingLoop

CATALOG = {
    "ID": "catalog-1",
    "Name": "catalog",
    "Address": "10.0.0.7",
    "Port": 8101,
    "Tags": ["blue"],
    "Check": {"TTL": "3s", "DeregisterCriticalServiceAfter": "30s"},
}
READY = CATALOG | {"Check": CATALOG["Check"] | {"Status": "passing"}}
REGISTER = "/v1/agent/service/register"
PASS = "/v1/agent/check/pass/service:catalog-1"
DEREGISTER = "/v1/agent/service/deregister/catalog-1"
HEALTH = "/v1/health/service/catalog"


@pytest.fixture
def registry(open_browser, clock):
    return open_browser(create_app(Agent(Members(limit=2), clock)))


def story(tell):
    """Runs `tell(client, agent, loop)` where waiting takes no time; the registry's clock is the loop's."""

    async def told():
        loop = asyncio.get_running_loop()
        agent = Agent(Members(), loop.time)
        transport = httpx.ASGITransport(create_app(agent))
        async with httpx.AsyncClient(transport=transport, base_url="http://registry.test") as client:
            return await tell(client, agent, loop)

    with asyncio.Runner(loop_factory=TravellingLoop) as runner:
        return runner.run(told())


def ids(reply):
    assert reply.status_code == 200
    return [entry["Service"]["ID"] for entry in reply.json()]


async def index_of(client, path=HEALTH):
    return int((await client.get(path)).headers["x-consul-index"])


def test_an_instance_is_shown_as_consul_shows_it(registry):
    reply = registry.put(REGISTER, json=CATALOG)
    assert (reply.status_code, reply.content) == (200, b"")
    assert registry.get(f"{HEALTH}?passing=true").json() == []
    reply = registry.put(PASS)
    assert (reply.status_code, reply.content) == (200, b"")
    assert registry.get(f"{HEALTH}?passing=true").json() == [
        {
            "Node": {"Node": "10.0.0.7", "Address": "10.0.0.7"},
            "Service": {
                "ID": "catalog-1",
                "Service": "catalog",
                "Address": "10.0.0.7",
                "Port": 8101,
                "Tags": ["blue"],
            },
            "Checks": [{"CheckID": "service:catalog-1", "Status": "passing", "ServiceID": "catalog-1"}],
        }
    ]
    assert registry.get("/v1/catalog/services").json() == {"catalog": ["blue"]}


def test_a_silent_instance_leaves_the_passing_answer_and_then_every_answer(registry, clock):
    registry.put(REGISTER, json=READY)
    assert ids(registry.get(f"{HEALTH}?passing=1")) == ["catalog-1"]
    clock.advance(3)
    assert ids(registry.get(f"{HEALTH}?passing=")) == []
    assert [entry["Checks"][0]["Status"] for entry in registry.get(f"{HEALTH}?passing=false").json()] == ["critical"]
    clock.advance(30)
    assert ids(registry.get(HEALTH)) == []
    assert registry.put(PASS).status_code == 404


def test_an_instance_without_a_check_is_in_the_passing_answer(registry):
    registry.put(REGISTER, json={**CATALOG, "Check": None})
    assert [entry["Checks"] for entry in registry.get(f"{HEALTH}?passing=true").json()] == [[]]


def test_a_deregistered_instance_is_away_at_once(registry):
    registry.put(REGISTER, json=READY)
    assert [registry.put(DEREGISTER).status_code for _ in range(2)] == [200, 404]
    assert ids(registry.get(HEALTH)) == []


@pytest.mark.parametrize("path", [PASS, DEREGISTER, "/v1/agent/check/pass/other:catalog-1"])
def test_what_is_unknown_is_a_404(registry, path):
    assert registry.put(path).status_code == 404


def test_it_says_what_to_do_about_an_unknown_instance(registry):
    assert registry.put(PASS).text == "no instance 'catalog-1' with a check is registered: register it again"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "the body is not JSON: send an object with Name, Address and Port"),
        (b"[" * 60_000, "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[]", "the body: [] is not an object"),
        (b'{"Name": "a", "Address": "h", "Port": NaN}', "Port: nan is not a whole number from 1 to 65535"),
        (b'{"Name": "a\\ud800"}', r"Name: 'a\ud800' is not"),
    ],
)
def test_a_bad_registration_is_a_400_with_a_reason(registry, body, says):
    reply = registry.put(REGISTER, content=body)
    assert reply.status_code == 400
    assert reply.text.startswith(says)


@pytest.mark.parametrize("query", ["index=x", "index=-1", "wait=5", "wait=soon"])
def test_a_bad_query_is_a_400_with_a_reason(registry, query):
    reply = registry.get(f"{HEALTH}?{query}")
    assert reply.status_code == 400
    assert reply.text.startswith(query.partition("=")[0])


def test_a_body_without_end_is_not_read_to_its_end(registry):
    assert registry.put(REGISTER, content=b" " * (MAX_BODY_BYTES + 1)).status_code == 413


def test_a_full_registry_says_so(registry):
    codes = [registry.put(REGISTER, json=CATALOG | {"ID": f"catalog-{n}"}).status_code for n in range(3)]
    assert codes == [200, 200, 503]


def test_it_is_alive_and_ready(registry):
    assert [registry.get(path).json() for path in ("/healthz", "/readyz")] == [{"status": "ok"}] * 2


@pytest.mark.parametrize("query", ["", "?index=0", "?index=1", "?index=999"])
def test_any_other_index_is_answered_at_once(query):
    async def tell(client, _agent, loop):
        await client.put(REGISTER, json=READY)
        reply = await client.get(HEALTH + query)
        return ids(reply), reply.headers["x-consul-index"], loop.time()

    assert story(tell) == (["catalog-1"], "2", 100)


@pytest.mark.parametrize(
    ("query", "seconds"), [("&wait=30s", 30), ("&wait=500ms", 0.5), ("", 300), ("&wait=1h", 600), ("&wait=0s", 0)]
)
def test_with_the_current_index_it_waits_as_long_as_it_is_told(query, seconds):
    async def tell(client, _agent, loop):
        reply = await client.get(f"{HEALTH}?index={await index_of(client)}{query}")
        return ids(reply), loop.time() - 100

    assert story(tell) == ([], pytest.approx(seconds))


@pytest.mark.parametrize(
    ("method", "path", "body", "seen"),
    [
        ("PUT", REGISTER, {**READY, "ID": "catalog-2"}, ["catalog-1", "catalog-2"]),
        ("PUT", DEREGISTER, None, []),
    ],
)
def test_a_waiting_query_is_woken_by_a_change(method, path, body, seen):
    async def tell(client, _agent, loop):
        await client.put(REGISTER, json=READY)
        index = await index_of(client)
        waiting = asyncio.ensure_future(client.get(f"{HEALTH}?passing=true&index={index}&wait=30s"))
        await asyncio.sleep(1)
        assert not waiting.done()
        await client.request(method, path, json=body)
        reply = await waiting
        return ids(reply), int(reply.headers["x-consul-index"]) > index, loop.time() - 100

    assert story(tell) == (seen, True, pytest.approx(1))


def test_a_waiting_query_is_woken_by_the_first_pass():
    async def tell(client, _agent, loop):
        await client.put(REGISTER, json=CATALOG)
        waiting = asyncio.ensure_future(client.get(f"{HEALTH}?passing=true&index={await index_of(client)}"))
        await asyncio.sleep(1)
        await client.put(PASS)
        return ids(await waiting), loop.time() - 100

    assert story(tell) == (["catalog-1"], pytest.approx(1))


def test_a_waiting_query_sleeps_through_heartbeats_and_other_services():
    async def tell(client, _agent, loop):
        await client.put(REGISTER, json=READY)
        waiting = asyncio.ensure_future(client.get(f"{HEALTH}?passing=true&index={await index_of(client)}&wait=30s"))
        for second in range(29):
            await asyncio.sleep(1)
            await client.put(PASS)
            await client.put(REGISTER, json=READY | {"ID": "other", "Name": f"other-{second}"})
        assert not waiting.done()
        return ids(await waiting), loop.time() - 100

    assert story(tell) == (["catalog-1"], pytest.approx(30))


def test_a_waiting_query_is_woken_when_a_ttl_runs_out_and_when_the_instance_is_removed():
    async def tell(client, _agent, loop):
        await client.put(REGISTER, json=READY)
        index = await index_of(client)
        critical = await client.get(f"{HEALTH}?passing=true&index={index}")
        at = loop.time()
        removed = await client.get(f"{HEALTH}?index={critical.headers['x-consul-index']}")
        return ids(critical), at - 100, ids(removed), loop.time() - 100

    assert story(tell) == ([], pytest.approx(3), [], pytest.approx(33))


def test_many_wait_at_once():
    async def tell(client, _agent, loop):
        index = await index_of(client)
        waiting = [asyncio.ensure_future(client.get(f"{HEALTH}?index={index}")) for _ in range(50)]
        await asyncio.sleep(1)
        await client.put(REGISTER, json=READY)
        return {tuple(ids(reply)) for reply in await asyncio.gather(*waiting)}, loop.time() - 100

    assert story(tell) == ({("catalog-1",)}, pytest.approx(1))


def test_nothing_waits_for_a_client_that_has_gone():
    async def tell(_client, agent, loop):
        messages = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        loop.call_later(1, messages.put_nowait, {"type": "http.disconnect"})
        scope = {"type": "http", "method": "GET", "path": HEALTH, "query_string": b"index=1", "headers": []}

        async def send(_message):
            pass

        await create_app(agent)(scope, messages.get, send)
        return loop.time() - 100, len(agent._waiting)

    assert story(tell) == (pytest.approx(1), 0)


def test_a_registry_that_stops_lets_nobody_wait():
    async def tell(client, agent, loop):
        path = f"{HEALTH}?index={await index_of(client)}"
        waiting = asyncio.ensure_future(client.get(path))
        await asyncio.sleep(1)
        agent.close()
        return ids(await waiting), ids(await client.get(path)), loop.time() - 100

    assert story(tell) == ([], [], pytest.approx(1))
