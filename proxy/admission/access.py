"""From which networks a route may be asked. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class AccessList:
    """`deny` wins over `allow`; an empty `allow` is everybody."""

    allow: tuple[Network, ...]
    deny: tuple[Network, ...]

    @classmethod
    def of(cls, allow: Iterable[str], deny: Iterable[str]) -> AccessList:
        """Of CIDRs. Raises ValueError for what is none."""
        return cls(tuple(map(ip_network, allow)), tuple(map(ip_network, deny)))

    def admits(self, client_ip: str) -> bool:
        """An IPv4 address that is written as IPv6 counts as what it is. What is no address comes in nowhere: nobody can
        say that it is not one of `deny`."""
        try:
            address = ip_address(client_ip.partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        if any(address in network for network in self.deny):
            return False
        return not self.allow or any(address in network for network in self.allow)
