"""Endpoints from DNS: injected records and pauses, and a name server on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from proxy.config.model import Discovery
from proxy.upstreams.resolve import Address
from proxy.upstreams.resolve_dns import DnsResolver, NameServers, Records

DISCOVERY = Discovery(dns="http://catalog.internal:8101", refresh_s=30)
NOBODY = Records((), 0.0)


def at(host: str, name: str = "catalog.internal") -> Address:
    return Address(host, 8101, f"[{name}]:8101" if ":" in name else f"{name}:8101", name)


@dataclass
class Told:
    """What a resolver reported, in order: addresses, or a reason."""

    reports: list[tuple[Address, ...] | str] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def found(self, addresses: tuple[Address, ...]) -> None:
        self.reports.append(addresses)
        self.more.set()

    def failed(self, reason: str) -> None:
        self.reports.append(reason)
        self.more.set()

    async def next(self) -> None:
        await self.more.wait()
        self.more.clear()


class Script:
    """Answers one question after another; an exception is raised."""

    def __init__(self, *answers: Records | Exception) -> None:
        self._answers: Iterator[Records | Exception] = iter(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Records:
        self.asked.append(host)
        answer = next(self._answers, None)
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer


async def _nobody(_: str) -> Records:
    return NOBODY


async def _no_system(_: str) -> Records:
    raise LookupError("no such host")


def played(
    query: Script, system: Callable[[str], Awaitable[Records]] = _nobody, discovery: Discovery = DISCOVERY
) -> tuple[Told, list[float]]:
    """Everything that is reported, and the seconds waited, until the script of `query` has ended."""
    told, pauses = Told(), list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    async def story() -> None:
        resolver = DnsResolver(discovery, query=query, system=system, sleep=sleep)
        run = asyncio.ensure_future(resolver.run(told))
        for _ in range(400):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    asyncio.run(story())
    return told, pauses


def slept(*pauses: float) -> list[float]:
    """A pause is one second that nobody can cut short, and then the rest of it."""
    return [part for pause in pauses for part in (1.0, pause - 1.0) if part > 0]


def test_both_families_become_endpoints_sorted_and_once() -> None:
    told, _ = played(Script(Records(("10.0.0.2", "10.0.0.1", "fd00::1", "10.0.0.1"), 5)))
    assert told.reports == [(at("10.0.0.1"), at("10.0.0.2"), at("fd00::1"))]


@pytest.mark.parametrize(("ttl_s", "pause_s"), [(5.0, 5.0), (0.0, 1.0), (300.0, 30.0), (float("inf"), 30.0)])
def test_the_next_question_comes_when_the_ttl_is_over_within_bounds(ttl_s: float, pause_s: float) -> None:
    _, pauses = played(Script(Records(("10.0.0.1",), ttl_s)))
    assert pauses == slept(pause_s)


def test_failures_are_told_and_asked_again_ever_more_seldom() -> None:
    query = Script(*[LookupError("servers failed")] * 8)
    told, pauses = played(query, _no_system)
    assert told.reports == ["catalog.internal: servers failed"] * 8
    assert pauses == slept(1, 2, 4, 8, 16, 30, 30, 30)


def test_a_refresh_of_next_to_nothing_is_no_busy_loop() -> None:
    often = Discovery(dns="http://catalog.internal:8101", refresh_s=0.001)
    answers: list[Records | Exception] = [Records(("10.0.0.1",), 300), LookupError("servers failed")]
    _, pauses = played(Script(*answers * 3), _no_system, often)
    assert pauses == [1.0] * 6


def test_a_good_answer_forgets_the_failures_before_it() -> None:
    broken = LookupError("servers failed")
    _, pauses = played(Script(broken, broken, Records(("10.0.0.1",), 9), broken), _no_system)
    assert pauses == slept(1, 2, 9, 1)


def test_no_records_are_a_failure_so_that_the_last_good_set_stays() -> None:
    told, _ = played(Script(Records(("10.0.0.1",), 1), NOBODY, Records(("10.0.0.2",), 1)), _no_system)
    assert told.reports == [(at("10.0.0.1"),), "catalog.internal: no such name, or no address", (at("10.0.0.2"),)]


def test_what_the_name_servers_do_not_know_the_system_may() -> None:
    async def hosts(_: str) -> Records:
        return Records(("127.0.0.7",), float("inf"))

    told, pauses = played(Script(NOBODY, LookupError("refused")), hosts)
    assert told.reports[:2] == [(at("127.0.0.7"),), (at("127.0.0.7"),)]
    assert pauses[:4] == slept(30, 30)


@pytest.mark.parametrize("host", ["127.0.0.9", "[::1]"])
def test_an_address_is_not_looked_up(host: str) -> None:
    query = Script()
    told, _ = played(query, discovery=Discovery(dns=f"http://{host}:8101"))
    bare = host.strip("[]")
    assert told.reports[0] == (at(bare, bare),)
    assert query.asked == []


def test_more_addresses_than_anybody_has_are_a_failure() -> None:
    many = tuple(f"10.0.{number // 250}.{number % 250}" for number in range(1001))
    told, _ = played(Script(Records(many, 60)))
    assert told.reports == ["catalog.internal: more than 1000 addresses"]


def test_whatever_goes_wrong_ends_nothing() -> None:
    told, _ = played(Script(RuntimeError("a bug"), Records(("10.0.0.1",), 1)))
    assert told.reports == ["a bug", (at("10.0.0.1"),)]


def test_a_connect_that_failed_hurries_the_next_question_but_not_below_a_second() -> None:
    async def story() -> list[str]:
        begun: list[float] = []
        gate = asyncio.Event()

        async def sleep(seconds: float) -> None:
            begun.append(seconds)
            await (asyncio.sleep(0) if seconds <= 1 else gate.wait())

        query = Script(Records(("10.0.0.1",), 300), Records(("10.0.0.2",), 300))
        resolver = DnsResolver(DISCOVERY, query=query, system=_nobody, sleep=sleep)
        told = Told()
        run = asyncio.ensure_future(resolver.run(told))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(query.asked) == 1
        resolver.hurry()
        for _ in range(20):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        assert begun[:2] == slept(30)
        return query.asked

    assert len(asyncio.run(story())) == 2


# --- a real name server ----------------------------------------------------------------------------------------------


class NameServer(asyncio.DatagramProtocol):
    """Answers from `zone`: records and TTL by type; an rcode instead where the zone has one. `alias`: the name that
    has the records, and the TTL of the CNAME that says so."""

    def __init__(self) -> None:
        self.zone: dict[str, tuple[tuple[str, ...], int] | dns.rcode.Rcode] = {}
        self.alias: tuple[str, int] | None = None
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        query = dns.message.from_wire(data)
        question = query.question[0]
        kind = question.to_text().rpartition(" ")[2]
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        held = self.zone.get(kind)
        if isinstance(held, dns.rcode.Rcode):
            response.set_rcode(held)
        elif held is not None:
            records, ttl = held
            name = question.name.to_text()
            if self.alias is not None:
                response.answer.append(dns.rrset.from_text(name, self.alias[1], "IN", "CNAME", self.alias[0]))
                name = self.alias[0]
            response.answer.append(dns.rrset.from_text(name, ttl, "IN", kind, *records))
        self.transport.sendto(response.to_wire(), addr)  # type: ignore[attr-defined]


async def _asked(server: NameServer, patience_s: float = 5.0) -> tuple[NameServers, asyncio.DatagramTransport]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0)
    )
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = transport.get_extra_info("sockname")[1]
    resolver.timeout = resolver.lifetime = patience_s
    return NameServers(resolver), transport


def test_a_name_server_is_asked_for_both_families_and_the_shorter_ttl_counts() -> None:
    async def story() -> None:
        server = NameServer()
        query, transport = await _asked(server)
        server.zone = {"A": (("10.0.0.1", "10.0.0.2"), 60), "AAAA": (("fd00::1",), 20)}
        both = await query("catalog.internal")
        assert (sorted(both.addresses), both.ttl_s) == (["10.0.0.1", "10.0.0.2", "fd00::1"], 20.0)
        server.zone = {"A": (("10.0.0.3",), 7)}
        assert await query("catalog.internal") == Records(("10.0.0.3",), 7.0)
        server.alias = ("blue.internal.", 3)
        assert await query("catalog.internal") == Records(("10.0.0.3",), 3.0)
        server.alias = None
        server.zone = {"A": (("10.0.0.3",), 7), "AAAA": dns.rcode.Rcode.SERVFAIL}
        assert await query("catalog.internal") == Records(("10.0.0.3",), 7.0)
        server.zone = {"A": dns.rcode.Rcode.NXDOMAIN, "AAAA": dns.rcode.Rcode.NXDOMAIN}
        assert (await query("catalog.internal")).addresses == ()
        server.zone = {"A": dns.rcode.Rcode.SERVFAIL, "AAAA": dns.rcode.Rcode.SERVFAIL}
        with pytest.raises(LookupError):
            await query("catalog.internal")
        transport.close()
        await asyncio.sleep(0)  # it is closed in the next turn

    asyncio.run(story())


def test_a_name_server_that_is_gone_is_a_failure_and_what_was_found_stays() -> None:
    async def story() -> Told:
        server, told = NameServer(), Told()
        query, transport = await _asked(server, 0.5)
        server.zone = {"A": (("10.0.0.1",), 1)}
        steps = asyncio.Semaphore(0)

        async def sleep(_: float) -> None:
            await steps.acquire()

        resolver = DnsResolver(DISCOVERY, query=query, system=_no_system, sleep=sleep)
        run = asyncio.ensure_future(resolver.run(told))
        await told.next()
        transport.close()
        steps.release()
        await told.next()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        return told

    told = asyncio.run(story())
    assert told.reports[0] == (at("10.0.0.1"),)
    assert isinstance(told.reports[1], str) and "catalog.internal" in told.reports[1]
