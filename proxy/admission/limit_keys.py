"""Under which key a request counts for a limit. Pure.

A key is `{fig:SCOPE}:NAME:HASH`. All limits of a seam share the part in braces, which is what Redis Cluster looks at,
so that one script may touch all of them. The value is hashed: keys stay short, and neither addresses nor user names
stand in the store as such. That is no anonymity, for an address can be found by trying all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from socket import AF_INET, AF_INET6, inet_pton

from proxy.admission.rate_limit import Asked, Limit
from proxy.messages import Principal, RequestHead
from proxy.routing.split import Selector

_MOST_REMEMBERED = 1024  # for each limit
_LONGEST_REMEMBERED = 128  # a hostile client sends long ones

_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, IPv4-mapped (RFC 4291 2.5.5.2)


class LimitKey:
    """`by`: selectors, of which the first with a value counts; the client's address where none has one. No selector at
    all: everybody counts under one key, `everybody`. `verified`: selectors of what authentication writes."""

    def __init__(
        self, limit: Limit, by: Sequence[Selector] = (), verified: Collection[str] = (), everybody: str = "all"
    ) -> None:
        self.limit = limit
        self._readers = tuple((selector, selector.text.encode()) for selector in by)
        self._everybody = everybody
        self._remembered: dict[bytes, str] = {}
        self._prefix = f"{{fig:{limit.scope}}}:{limit.name}:"
        # Whom a credential names is known after authentication only.
        self.after_auth = any(
            selector.text == "api_key" or selector.text.startswith("jwt.") or selector.text.lower() in verified
            for selector in by
        )

    def asked(self, request: RequestHead, params: Mapping[str, bytes], client_ip: str) -> Asked:
        return self.limit, self._prefix + self._hash(request, params, client_ip)

    def _hash(self, request: RequestHead, params: Mapping[str, bytes], client_ip: str) -> str:
        if not self._readers:
            return self._everybody
        for selector, text in self._readers:
            value = _verified(selector.text, request.principal) or selector.read(request, params, client_ip)
            if value and text != b"client_ip":
                return self._hashed(b"%b\0%b" % (text, value))
            if value:
                break
        # Of another kind than all others: nobody can call himself like an address, and use up its limit.
        return self._hashed(b"\0" + address_key(client_ip))

    def _hashed(self, value: bytes) -> str:
        """Answers are remembered: clients come again."""
        known = self._remembered.get(value)
        if known is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            known = blake2b(value, digest_size=16).hexdigest()
            if len(value) <= _LONGEST_REMEMBERED:
                self._remembered[value] = known
        return known


def address_key(client_ip: str) -> bytes:
    """What counts as one client: an IPv4 address, also where it is written as IPv6, or a /64, which is what a customer
    gets of IPv6 (RFC 6177). Anything else, such as the peer of a UNIX socket, counts as it stands."""
    try:
        if ":" not in client_ip:
            return inet_pton(AF_INET, client_ip)
        packed = inet_pton(AF_INET6, client_ip.partition("%")[0])
    except (OSError, ValueError):
        return b"\0" + client_ip.encode(errors="surrogateescape")
    return packed[12:] if packed[:12] == _MAPPED else packed[:8]


def _verified(selector: str, principal: Principal | None) -> bytes | None:
    """A claim counts together with its issuer: two of them may call different people by one name."""
    if principal is None:
        return None
    if selector == "api_key":
        return principal.api_key.encode()
    kind, _, claim = selector.partition(".")
    if kind != "jwt" or principal.api_key:
        return None
    value = principal.claim(claim)
    return f"{principal.issuer}\0{value}".encode() if value else None
