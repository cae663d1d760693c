"""Which header lines cross the proxy, and which lines it adds. Knows HTTP fields, no seam and no socket.

Request and response lines keep their order, spelling and bytes. Removed: hop-by-hop fields (RFC 9110 7.6.1), whatever
the sender's Connection names (before ours are added, so that it can never remove one of ours), fields that fig sets
itself, and names that a WSGI or PHP upstream could not tell from another one (`X_User_Id` reads as `X-User-Id`).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from hashlib import sha1
from operator import itemgetter

from proxy.errors import UpstreamProtocol
from proxy.messages import Headers, RequestHead

# RFC 9110 7.6.1 and the de-facto ones; `proxy` would become HTTP_PROXY in a CGI upstream (CVE-2016-5385).
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding"
    b" upgrade http2-settings proxy".split()
)
# Framing is made anew, `expect` is answered by the edge, the rest is written by fig.
_REQUEST_OURS = frozenset(b"host content-length expect x-request-id traceparent via".split())
# Beside X-Forwarded-*: what only a proxy in front may say of the client (RFC 7239, RFC 9440 2.4).
# Some servers take the target of `x-original-url` and `x-rewrite-url` for that of the request: past every route.
_FORWARDED = frozenset(b"forwarded x-real-ip client-cert client-cert-chain x-original-url x-rewrite-url".split())
_EXTENDED = frozenset(b"x-forwarded-for x-forwarded-proto x-forwarded-host".split())
_NO_TRAILERS = frozenset(
    b"accept accept-charset accept-encoding accept-language age authentication-info authorization cache-control cookie"
    b" expires if-match if-modified-since if-none-match if-range if-unmodified-since max-forwards origin pragma"
    b" proxy-authentication-info range referer retry-after user-agent vary warning www-authenticate".split()
)
_NOTHING: frozenset[bytes] = frozenset()
# What nearly every Connection field says (0.9 µs saved).
_NAME_NOTHING = frozenset((b"", b"close", b"keep-alive", b"Keep-Alive", b"Close"))

# What becomes of a request line.
PASS, DROP, FORWARDED, TRACESTATE = range(4)
# What a response line is to fig, beside PASS and DROP.
DATE, LENGTH, CONNECTION, CODING, KEEP_ALIVE, LOCATED = range(4, 10)

_REMEMBERED_NAMES = 4096
_REMEMBERED_SHAPES = 512
_REMEMBERED_SHAPE_BYTES = 2048
_REMEMBERED_BYTES = 64
_WEBSOCKET_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ABSOLUTE = re.compile(rb"(?:https?:)?//([^/?#]+)", re.IGNORECASE)


class FieldKinds(dict[bytes, int]):
    """Kind by field name as spelled. Names repeat, so each spelling is classified once: 30 ns then, instead of 250."""

    def __init__(self, classify: Callable[[bytes], int]) -> None:
        super().__init__()
        self._classify = classify

    def __missing__(self, name: bytes) -> int:
        kind = self._classify(name.lower())
        if len(name) <= _REMEMBERED_BYTES:
            if len(self) >= _REMEMBERED_NAMES:  # a hostile client invents names: forget, never grow
                self.clear()
            self[name] = kind
        return kind


def request_kind(low: bytes) -> int:
    """What becomes of a request line with this lower-case name."""
    if low in _HOP_BY_HOP or low in _REQUEST_OURS or low.startswith(b"x-fig-") or b"_" in low:
        return DROP
    if low in _FORWARDED or low.startswith(b"x-forwarded-"):
        return FORWARDED
    return TRACESTATE if low == b"tracestate" else PASS


_RESPONSE_KINDS = {
    b"date": DATE,
    b"content-length": LENGTH,
    b"connection": CONNECTION,
    b"transfer-encoding": CODING,
    b"keep-alive": KEEP_ALIVE,
    b"location": LOCATED,
    b"content-location": LOCATED,
    b"set-cookie": LOCATED,
}


def response_kind(low: bytes) -> int:
    """What a response line with this lower-case name is to fig."""
    known = _RESPONSE_KINDS.get(low)
    if known is not None:
        return known
    return DROP if low in _HOP_BY_HOP or low == b"x-request-id" or low.startswith(b"x-fig-") else PASS


def trailer_lines(lines: Headers, head: Headers) -> Headers:
    """The lines of a trailer section that may go on: none that frames, routes, authenticates or describes the content
    (RFC 9110 6.5.1), none that the Connection of its `head` names (7.6.1), and none that would not pass as a header,
    since some servers mix the two."""
    named = connection_tokens(b",".join([value for name, value in head if name.lower() == b"connection"]))
    return [line for line in lines if _trails(line[0].lower()) and line[0].lower() not in named]


def _trails(low: bytes) -> bool:
    kind = request_kind(low)
    return kind == PASS and response_kind(low) == PASS and low not in _NO_TRAILERS and low[:8] != b"content-"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a response head with these names, in this order, means. Positions are -1 where there is no such line.

    `keep` picks the lines that go on.
    """

    keep: Callable[[Headers], Sequence[tuple[bytes, bytes]]]
    length: int
    coding: int
    keepalive: int
    connections: tuple[int, ...]
    dated: bool
    located: bool


class Shapes(dict[tuple[bytes, ...], Shape]):
    """Shape by the names of a head as spelled. An upstream has few of them, so each is worked out once: 0.6 µs a head
    then, instead of 2.0 line by line."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds = FieldKinds(response_kind)

    def __missing__(self, names: tuple[bytes, ...]) -> Shape:
        """Raises UpstreamProtocol where two lines say how long the body is."""
        shape = _shape([self._kinds[name] for name in names])
        if sum(map(len, names)) <= _REMEMBERED_SHAPE_BYTES:
            if len(self) >= _REMEMBERED_SHAPES:
                self.clear()
            self[names] = shape
        return shape


def _shape(kinds: list[int]) -> Shape:
    def only(kind: int) -> int:
        if kinds.count(kind) > 1:
            raise UpstreamProtocol("The upstream's framing fields contradict each other.")
        return kinds.index(kind) if kind in kinds else -1

    kept = [position for position, kind in enumerate(kinds) if kind in (PASS, DATE, LOCATED)]
    return Shape(
        keep=_picker(kept),
        length=only(LENGTH),
        coding=only(CODING),
        keepalive=kinds.index(KEEP_ALIVE) if KEEP_ALIVE in kinds else -1,
        connections=tuple(position for position, kind in enumerate(kinds) if kind == CONNECTION),
        dated=DATE in kinds,
        located=LOCATED in kinds,
    )


def _picker(positions: list[int]) -> Callable[[Headers], Sequence[tuple[bytes, bytes]]]:
    """`itemgetter` gives a tuple for two or more positions only."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda lines: [lines[position] for position in positions]


class DateField:
    """The value of Date, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def at(self, now: float) -> bytes:
        """For `now` in epoch seconds (RFC 9110 6.6.1)."""
        second = int(now)
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True).encode("ascii")
        return self._text


def connection_tokens(value: bytes) -> frozenset[bytes]:
    """The fields that a (joined) Connection field names, lower case; `close` and `keep-alive` name none."""
    if value in _NAME_NOTHING:
        return _NOTHING
    return frozenset(token.strip(b" \t").lower() for token in value.split(b",") if token.strip(b" \t"))


def accept_for(request: RequestHead) -> bytes:
    """The Sec-WebSocket-Accept that answers this handshake (RFC 6455 4.2.2); empty, which no answer can say, where the
    request is no valid handshake (4.2.1)."""
    fields = request.fields
    key = fields.get(b"sec-websocket-key", b"")
    if request.method != "GET" or fields.get(b"sec-websocket-version") != b"13" or not _WEBSOCKET_KEY.fullmatch(key):
        return b""
    return b64encode(sha1(key + _WEBSOCKET_GUID, usedforsecurity=False).digest())


def request_lines(
    kinds: FieldKinds,
    request: RequestHead,
    *,
    target: bytes,
    host: bytes,
    via: bytes,
    request_id: bytes,
    traceparent: bytes,
    peer_trusted: bool,
    continues: bool,
    upgrade: bytes = b"",
    shadow: bytes = b"",
    identity: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """The whole request head for an upstream, final blank line included. `upgrade` asks it to switch to that protocol;
    `shadow` is the seam that asks only to compare; `identity` are lines about who comes.

    `target` is already rewritten. `peer_trusted`: the peer's own X-Forwarded-* are kept and extended. `continues`: the
    client's trace goes on, so its tracestate belongs to it (W3C Trace Context 3.3).
    """
    fields = request.fields
    named = connection_tokens(fields[b"connection"]) if b"connection" in fields else _NOTHING
    parts = [b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (request.method.encode("ascii"), target, host)]
    lines = request.headers
    if peer_trusted or continues or named:
        lines = [line for line in lines if _goes_on(line[0], kinds, named, peer_trusted, continues)]
        parts += [b"%b: %b\r\n" % line for line in lines]
    else:
        parts += [b"%b: %b\r\n" % line for line in lines if not kinds[line[0]]]
    parts.append(_forwarded(request, peer_trusted))
    theirs = fields.get(b"via")
    if theirs is not None:
        via = theirs + b", " + via
    parts.append(b"Via: %b\r\nX-Request-ID: %b\r\ntraceparent: %b\r\n" % (via, request_id, traceparent))
    if request.length is None:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    elif b"content-length" in fields:
        parts.append(b"Content-Length: %d\r\n" % request.length)
    if identity:
        parts += [b"%b: %b\r\n" % line for line in identity]
    if shadow:
        parts.append(b"X-Fig-Shadow: %b\r\n" % shadow)
    if request.length != 0 and request.expects_continue:
        parts.append(b"Expect: 100-continue\r\n")
    if upgrade:
        parts.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade)
    elif b"te" in fields and request.takes_trailers:
        parts.append(b"Connection: TE\r\nTE: trailers\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def dressed(lines: Headers, extra: Headers, cors: bool) -> Headers:
    """An upstream's lines with those that fig adds to every answer of a route. `cors`: fig alone speaks for the origins
    of others, so what the upstream says of them does not pass (two of one such field, and no browser takes either)."""
    if cors:
        lines = [line for line in lines if line[0][:15].lower() != b"access-control-"]
    return lines + extra


def _goes_on(name: bytes, kinds: FieldKinds, named: frozenset[bytes], peer_trusted: bool, continues: bool) -> bool:
    kind = kinds[name]
    if kind == FORWARDED:
        kept = peer_trusted and name.lower() not in _EXTENDED
    elif kind == TRACESTATE:
        kept = continues
    else:
        kept = kind == PASS
    return kept and not (named and name.lower() in named)


def _forwarded(request: RequestHead, peer_trusted: bool) -> bytes:
    peer, proto, host = request.peer.encode("ascii"), request.scheme.encode("ascii"), request.host
    if peer_trusted:
        fields = request.fields
        chain = fields.get(b"x-forwarded-for")
        peer = chain + b", " + peer if chain else peer
        proto = fields.get(b"x-forwarded-proto") or proto
        host = fields.get(b"x-forwarded-host") or host
    return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (peer, proto, host)


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
