"""Who may say where a request came from: the client's address behind trusted proxies. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

_REMEMBERED_PEERS = 4096


class Trust:
    """Built once per configuration from `server.trusted_proxies` (CIDRs)."""

    def __init__(self, cidrs: Iterable[str]) -> None:
        self._networks = tuple(ip_network(cidr, strict=False) for cidr in cidrs)
        self._peers: dict[str, bool] = {}
        self.anybody = bool(self._networks)

    def trusts(self, peer: str) -> bool:
        """Whether the X-Forwarded-* of this address are believed. Answers are remembered: peers repeat."""
        if not self._networks:
            return False
        known = self._peers.get(peer)
        if known is None:
            if len(self._peers) >= _REMEMBERED_PEERS:
                self._peers.clear()
            known = self._peers[peer] = self._contains(peer)
        return known

    def _contains(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)

    def client_ip(self, peer: str, forwarded_for: bytes | None) -> str:
        """The rightmost address of X-Forwarded-For that is not a trusted proxy; `peer` where `peer` is not one.

        Reading stops at the first entry that is no address: what stands left of it cannot be believed.
        """
        if forwarded_for is None or not self.trusts(peer):
            return peer
        client = peer
        for entry in reversed(forwarded_for.split(b",")):
            candidate = _address(entry)
            if candidate is None:
                break
            client = candidate
            if not self.trusts(candidate):
                break
        return client


def _address(entry: bytes) -> str | None:
    """An IPv4 or IPv6 address, with or without a port or brackets; None for anything else."""
    text = entry.strip().strip(b'"').decode("ascii", "replace")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
