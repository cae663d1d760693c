"""Wrong tokens are answered ever more slowly, by the address that sends them. Knows no request and no token.

Whoever has the right token is never made to wait, or anybody could lock an operator out who shares his address. So
this does not make a short token safe: it takes the profit out of guessing, and the load off the event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from proxy.admin.refusals import TooManyFailures

FREE_FAILURES = 5
MEMORY_S = 60.0  # without a failure, and they are forgotten
FIRST_S = 0.5
LONGEST_S = 4.0
MOST_PEERS = 1000
MOST_WAITING = 64


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    last_s: float


class Slowdown:
    """`clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._peers: dict[str, _Failures] = {}
        self._waiting = 0

    async def failed(self, peer: str) -> None:
        """Comes back when the refusal may go out. Raises TooManyFailures where too many wait for theirs."""
        pause_s = self._pause_s(self._note(_network(peer)))
        if pause_s == 0:
            return
        if self._waiting >= MOST_WAITING:
            raise TooManyFailures("Too many wrong tokens are waiting for their answer.", int(LONGEST_S))
        self._waiting += 1
        try:
            await self._sleep(pause_s)
        finally:
            self._waiting -= 1

    def succeeded(self, peer: str) -> None:
        if self._peers:
            self._peers.pop(_network(peer), None)

    def _note(self, peer: str) -> int:
        """How many failures there are now. The least recent peer is the first, and the first to be forgotten."""
        now_s, before = self._clock(), self._peers.pop(peer, None)
        count = 1 if before is None or now_s - before.last_s >= MEMORY_S else before.count + 1
        if len(self._peers) >= MOST_PEERS:
            del self._peers[next(iter(self._peers))]
        self._peers[peer] = _Failures(count, now_s)
        return count

    def _pause_s(self, failures: int) -> float:
        beyond = failures - FREE_FAILURES
        return 0.0 if beyond <= 0 else min(FIRST_S * 2 ** min(beyond - 1, 10), LONGEST_S)


def _network(peer: str) -> str:
    """A /64 is one peer in IPv6, for that is what one person has."""
    try:
        address = ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Network((address, 64), strict=False))
    return peer
