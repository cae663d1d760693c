"""Endpoints from DNS: each A and AAAA record of one name, asked again when its time to live is over (RFC 1035 3.2.1).

getaddrinfo tells no TTL, so the name servers are asked themselves; a name that they do not have (/etc/hosts has it,
or there is no name server at all) is looked up by the system.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address

import dns.asyncresolver
import dns.exception
import dns.resolver

from proxy.config.model import Discovery, split_endpoint
from proxy.upstreams.resolve import Found, Pause, Sleep, address_at

MOST_ADDRESSES = 1000
SHORTEST_S = 1.0  # between two questions, whatever TTL and `refresh_s`


@dataclass(frozen=True, slots=True)
class Records:
    """`ttl_s`: how long they may be used without asking again; infinite where nobody says."""

    addresses: tuple[str, ...]
    ttl_s: float


Query = Callable[[str], Awaitable[Records]]
"""Raises LookupError, with the reason, where it gets no answer. No records is an answer."""


class NameServers:
    """Asks the name servers of /etc/resolv.conf, or those that `resolver` has, for as long as that is patient (5 s)."""

    def __init__(self, resolver: dns.asyncresolver.Resolver | None = None) -> None:
        self._resolver = resolver

    async def __call__(self, host: str) -> Records:
        try:
            resolver = self._resolver or dns.asyncresolver.Resolver()
        except dns.resolver.NoResolverConfiguration as error:
            raise LookupError(f"no name server: {error}") from error
        asked = [self._ask(resolver, host, kind) for kind in ("A", "AAAA")]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        good = [answer for answer in answers if isinstance(answer, Records)]
        addresses = tuple(address for answer in good for address in answer.addresses)
        failed = [answer for answer in answers if isinstance(answer, Exception)]
        if failed and not addresses:
            raise LookupError(_reason(failed[0]))
        return Records(addresses, min((answer.ttl_s for answer in good if answer.addresses), default=0.0))

    async def _ask(self, resolver: dns.asyncresolver.Resolver, host: str, kind: str) -> Records:
        try:
            answer = await resolver.resolve(host, kind, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return Records((), 0.0)
        if answer.rrset is None:
            return Records((), 0.0)
        return Records(tuple(record.address for record in answer.rrset), float(answer.chaining_result.minimum_ttl))


class System:
    """Asks getaddrinfo, on a thread of the loop: /etc/hosts and whatever else the machine goes by."""

    async def __call__(self, host: str) -> Records:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise LookupError(error.strerror or str(error)) from error
        return Records(tuple(str(entry[4][0]) for entry in found), float("inf"))


class DnsResolver:
    """`query` is asked first, `system` where that finds nothing."""

    def __init__(
        self,
        discovery: Discovery,
        *,
        query: Query | None = None,
        system: Query | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        assert discovery.dns is not None
        self._host, self._port = split_endpoint(discovery.dns)
        self._refresh_s = discovery.refresh_s
        self._query: Query = query or NameServers()
        self._system: Query = system or System()
        self._pause = Pause(sleep)

    def hurry(self) -> None:
        self._pause.hurry()

    async def run(self, report: Found) -> None:
        patience_s = SHORTEST_S
        while True:
            try:
                records = await self._look_up()
                if len(records.addresses) > MOST_ADDRESSES:
                    raise LookupError(f"{self._host}: more than {MOST_ADDRESSES} addresses")
            except Exception as error:
                report.failed(_reason(error))
                pause_s = min(patience_s, self._refresh_s)
                patience_s = 2 * patience_s if patience_s < self._refresh_s else patience_s
            else:
                found = {address_at(host, self._port, self._host) for host in records.addresses}
                report.found(tuple(sorted(found)))
                pause_s = min(records.ttl_s, self._refresh_s)
                patience_s = SHORTEST_S
            await self._pause.wait(max(pause_s, SHORTEST_S))

    async def _look_up(self) -> Records:
        if _is_address(self._host):
            return Records((self._host,), float("inf"))
        reason = "no such name, or no address"
        try:
            records = await self._query(self._host)
            if records.addresses:
                return records
        except LookupError as error:
            reason = str(error)
        try:
            records = await self._system(self._host)
        except LookupError:
            records = Records((), 0.0)
        if not records.addresses:
            raise LookupError(f"{self._host}: {reason}")
        return records


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]
