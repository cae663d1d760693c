"""Which header lines cross the proxy, and which lines it adds. Knows HTTP fields, no seam and no socket.

Request and response lines keep their order, spelling and bytes. Removed: hop-by-hop fields (RFC 9110 7.6.1), whatever
the sender's Connection names (before ours are added, so that it can never remove one of ours), fields that fig sets
itself, and names that a WSGI or PHP upstream could not tell from another one (`X_User_Id` reads as `X-User-Id`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate

from proxy.messages import Headers, RequestHead, ResponseHead

# RFC 9110 7.6.1 and the de-facto ones; `proxy` would become HTTP_PROXY in a CGI upstream (CVE-2016-5385).
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding"
    b" upgrade http2-settings proxy".split()
)
# Framing is made anew, `expect` is answered by the edge, the rest is written by fig.
_REQUEST_OURS = frozenset(b"host content-length expect x-request-id traceparent via".split())
_FORWARDED = frozenset(b"forwarded x-real-ip".split())
_RESPONSE_OURS = frozenset(b"content-length x-request-id".split())

PASS, DROP, FORWARDED, TRACESTATE = 0, 1, 2, 3
_REMEMBERED_NAMES = 4096
_ABSOLUTE = re.compile(rb"(?:https?:)?//([^/?#]+)", re.IGNORECASE)


class HeaderPolicy:
    """Classifies field names. Names repeat, so each spelling is classified once (35 ns then, instead of 250)."""

    def __init__(self) -> None:
        self._request: dict[bytes, int] = {}
        self._response: dict[bytes, int] = {}
        self._date = (-1, b"")

    def date(self, now: float) -> bytes:
        """The Date field for `now` (epoch seconds), made once a second."""
        second = int(now)
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True).encode("ascii"))
        return self._date[1]

    def request_kind(self, name: bytes) -> int:
        kind = self._request.get(name)
        if kind is None:
            kind = _classify_request(name.lower())
            _remember(self._request, name, kind)
        return kind

    def response_kind(self, name: bytes) -> int:
        kind = self._response.get(name)
        if kind is None:
            low = name.lower()
            ours = low in _HOP_BY_HOP or low in _RESPONSE_OURS or low.startswith(b"x-fig-")
            kind = DROP if ours else PASS
            _remember(self._response, name, kind)
        return kind


def _classify_request(low: bytes) -> int:
    if low in _HOP_BY_HOP or low in _REQUEST_OURS or low.startswith(b"x-fig-") or b"_" in low:
        return DROP
    if low in _FORWARDED or low.startswith(b"x-forwarded-"):
        return FORWARDED
    return TRACESTATE if low == b"tracestate" else PASS


def _remember(names: dict[bytes, int], name: bytes, kind: int) -> None:
    if len(names) >= _REMEMBERED_NAMES:  # a hostile client invents names: forget, never grow
        names.clear()
    names[name] = kind


def connection_tokens(value: bytes | None) -> frozenset[bytes]:
    """Lower-case members of a (joined) Connection field."""
    if not value:
        return frozenset()
    return frozenset(token.strip(b" \t").lower() for token in value.split(b",") if token.strip(b" \t"))


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What a request carries about its way here. `peer_trusted`: the peer's own X-Forwarded-* are kept and
    extended. `continues`: the client's trace goes on, so its tracestate belongs to it (W3C Trace Context 3.3)."""

    peer_trusted: bool
    continues: bool
    request_id: bytes
    traceparent: bytes
    via: bytes
    host: bytes


def request_lines(policy: HeaderPolicy, request: RequestHead, target: bytes, to: Forwarding) -> bytes:
    """The whole request head for an upstream, final blank line included. `target` is already rewritten."""
    named = connection_tokens(request.fields.get(b"connection"))
    parts = [b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (request.method.encode("ascii"), target, to.host)]
    append = parts.append
    kind_of = policy.request_kind
    for name, value in request.headers:
        kind = kind_of(name)
        if kind == DROP or (kind == FORWARDED and not to.peer_trusted) or (kind == TRACESTATE and not to.continues):
            continue
        if named and name.lower() in named:
            continue
        if kind == FORWARDED and name.lower() in (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"):
            continue  # extended or kept below
        append(b"%b: %b\r\n" % (name, value))
    append(_forwarded(request, to))
    fields = request.fields
    via = fields.get(b"via")
    append(b"Via: %b\r\n" % (to.via if via is None else via + b", " + to.via))
    append(b"X-Request-ID: %b\r\ntraceparent: %b\r\n" % (to.request_id, to.traceparent))
    if request.length is None:
        append(b"Transfer-Encoding: chunked\r\n")
    elif b"content-length" in fields:
        append(b"Content-Length: %d\r\n" % request.length)
    append(b"\r\n")
    return b"".join(parts)


def _forwarded(request: RequestHead, to: Forwarding) -> bytes:
    peer, fields = request.peer.encode("ascii"), request.fields
    if not to.peer_trusted:
        return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (
            peer,
            request.scheme.encode("ascii"),
            request.host,
        )
    chain = fields.get(b"x-forwarded-for")
    return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (
        chain + b", " + peer if chain else peer,
        fields.get(b"x-forwarded-proto") or request.scheme.encode("ascii"),
        fields.get(b"x-forwarded-host") or request.host,
    )


def response_lines(policy: HeaderPolicy, head: ResponseHead, request_id: bytes, now: float) -> Headers:
    """The header lines of an upstream's answer that go to the client, without framing (the edge makes that)."""
    kind_of, named = policy.response_kind, head.named
    lines = [line for line in head.headers if kind_of(line[0]) == PASS]
    if named:
        lines = [line for line in lines if line[0].lower() not in named]
    if not head.dated:
        lines.append((b"Date", policy.date(now)))  # RFC 9110 6.6.1
    lines.append((b"X-Request-ID", request_id))
    return lines


@dataclass(frozen=True, slots=True)
class Internal:
    """How an upstream's endpoints may name themselves: `host:port` authorities (with the bare host where the port is
    the scheme's default) and host names, all lower case."""

    authorities: frozenset[bytes]
    hosts: frozenset[bytes]


Unrewrite = Callable[[bytes], bytes]


def relocate(lines: Headers, internal: Internal, public: bytes, unrewrite: Unrewrite) -> Headers:
    """Rewrite Location, Content-Location and cookie domains that name an endpoint of the upstream.

    `public` is `scheme://host` as the client knows it; `unrewrite` maps a target of the upstream back to the public
    one. Nothing else is touched: an absolute URL of somebody else passes as it is.
    """
    return [(name, _relocated(name.lower(), value, internal, public, unrewrite)) for name, value in lines]


def _relocated(low: bytes, value: bytes, internal: Internal, public: bytes, unrewrite: Unrewrite) -> bytes:
    if low in (b"location", b"content-location"):
        match = _ABSOLUTE.match(value)
        if match and match[1].lower() in internal.authorities:
            target = value[match.end() :]
            return public + (unrewrite(target) if target.startswith(b"/") else target)
    elif low == b"set-cookie" and b"domain" in value.lower():
        pair, *attributes = value.split(b";")
        kept = [attribute for attribute in attributes if not _names_internal(attribute, internal)]
        return b";".join([pair, *kept])  # without Domain the cookie is the public host's own
    return value


def _names_internal(attribute: bytes, internal: Internal) -> bool:
    name, _, domain = attribute.partition(b"=")
    return name.strip().lower() == b"domain" and domain.strip().strip(b'"').lstrip(b".").lower() in internal.hosts
