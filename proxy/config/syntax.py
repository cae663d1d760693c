"""What one value must look like by itself. Each function gives the reason why not, with its cure, or None.

Knows no other key. Sources: header names and methods are tokens (RFC 9110 5.6.2), field values RFC 9110 5.5, scopes
RFC 6749 3.3, origins RFC 6454 6.2 and what browsers make of it (Fetch).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
from collections.abc import Collection

from proxy.config.finding import did_you_mean
from proxy.config.model import split_address, split_endpoint

BUCKET_NAME_BYTES = 48
"""Longest name that keys a bucket: blake2b takes 64 bytes, and suffixes must fit in."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_PROTOCOL = re.compile(r"[!#$%&'*+.^_`|~0-9a-z/-]+", re.ASCII)
_SEAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}", re.ASCII)
_UPSTREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?", re.ASCII)
_TOKENS = _TOKEN.pattern
_MEDIA_TYPE = re.compile(rf"{_TOKENS}/{_TOKENS}( *;[\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
_FIELD_VALUE = re.compile(r"[^\x00-\x20\x7f]([^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?|")
_PREFIX = re.compile(r"/[^\x00-\x20\x7f?#\\]*")
_SELECTOR = re.compile(r"(jwt|header|cookie|path)\.(.*)", re.DOTALL)
_SELECTOR_KINDS = ("jwt.", "api_key", "header.", "cookie.", "path.", "client_ip")
_EVERYWHERE = frozenset(
    {"accept", "accept-encoding", "accept-language", "connection", "content-length", "content-type", "cookie", "host"}
    | {"transfer-encoding", "user-agent"}
)
_OF_THE_MESSAGE = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
_TAKEN = (
    _EVERYWHERE
    | _OF_THE_MESSAGE
    | {"authorization", "date", "forwarded", "http2-settings", "origin", "proxy", "proxy-authenticate"}
    | {"proxy-authorization", "referer", "traceparent", "tracestate", "via", "x-real-ip", "x-request-id"}
)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@:A-Z]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_NO_METHODS = frozenset({"CONNECT", "TRACE", "TRACK"})
_NEVER_FORCE = frozenset({"authorization", "connection", "content-length", "cookie", "host", "transfer-encoding"})


def listen_problem(text: str) -> str | None:
    try:
        split_address(text)
    except ValueError:
        return f"`{text}` is not HOST:PORT: write for example 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080"
    return None


def endpoint_problem(url: str) -> str | None:
    """The text is not repeated where it may hold a password."""
    rest = url.partition("://")[2]
    if not rest:
        return f"`{url}` is not http://HOST:PORT or https://HOST:PORT"
    if "@" in rest:
        return "an endpoint with a user or password is refused: leave them out"
    if re.search(r"[/?#]", rest):
        return f"`{url}` has a path or query: leave them out, and use `rewrite` for path prefixes"
    try:
        split_endpoint(url)
    except ValueError:
        needed = "a host and a port from 1 to 65535 are needed"
        return f"`{url}` is not http://HOST:PORT or https://HOST:PORT: {needed}"
    return None


def url_problem(key: str, url: str) -> str | None:
    """Of an address that fig calls by itself. The text is not repeated, for it may hold a secret: `key` names it."""
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest)[0]
    if scheme not in ("http", "https") or not rest:
        return f"`{key}` must start with http:// or https://"
    if "@" in authority:
        return f"`{key}` has a user or password, which is refused: leave them out"
    if not re.fullmatch(r"[\x21-\x7e]+", url):
        return f"`{key}` holds spaces, control or non-ASCII characters: write them as %XX"
    host, colon, port = _port_apart(authority)
    if not _is_findable(host) or (colon and not (_is_port(port) and int(port))):
        return f"`{key}` needs a host, and a port from 1 to 65535 if any: write for example https://HOST:PORT/PATH"
    return None


def base_url_problem(key: str, url: str) -> str | None:
    """Of an address that paths are put behind. The text is not repeated."""
    if "?" in url or "#" in url:
        return f"`{key}` has a query, but paths are put behind it: leave out ? and #"
    return url_problem(key, url)


def _port_apart(authority: str) -> tuple[str, str, str]:
    """Host, colon, port; without a port the last two are empty."""
    return authority.rpartition(":") if re.search(r":[0-9]*$", authority) else (authority, "", "")


def _is_findable(host: str) -> bool:
    """A name, or an address whose brackets hold one of IPv6."""
    if not _HOST.fullmatch(host):
        return False
    if not host.startswith("["):
        return _has_sound_labels(host)
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


def _is_port(digits: str) -> bool:
    return 0 < len(digits) <= 5 and int(digits) <= 65535


def upgrade_problem(protocol: str) -> str | None:
    """A protocol of `server.upgrades`: a token as in RFC 9110 16.7, in lower case."""
    if protocol in ("h2c", "http/2.0"):
        return f"{protocol} cannot be tunnelled past the gateway: put an HTTP/2 terminator in front of fig"
    if not _PROTOCOL.fullmatch(protocol):
        return f"{protocol!r} is not the name of a protocol in lower case, such as websocket"
    return None


def network_problem(text: str) -> str | None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return f"`{text}` is not a network: {_network_cure(text)}"
    return None


def _network_cure(text: str) -> str:
    try:
        return f"it has bits set behind the prefix; write {ipaddress.ip_network(text, strict=False)}"
    except ValueError:
        return "write ADDRESS/BITS, for example 10.0.0.0/8"


def seam_name_problem(name: str) -> str | None:
    if name == "default":
        return "`default` is reserved for what no seam claims: choose another name"
    if not _SEAM.fullmatch(name):
        return f"`{name}` is not a seam name: 1 to 48 letters, digits, - and _, the first a letter or digit"
    return None


def upstream_name_problem(name: str) -> str | None:
    if not _UPSTREAM.fullmatch(name):
        return f"`{name}` is not an upstream name: 1 to 63 letters, digits, dots, - and _, the first a letter or digit"
    return None


def upstream_host_problem(text: str) -> str | None:
    if text in ("preserve", "endpoint"):
        return None
    host, colon, port = text.rpartition(":") if re.search(r":[0-9]+$", text) else (text, "", "")
    if not _HOST.fullmatch(host) or (colon and not _is_port(port)):
        return f"`{text}` is not a host: write preserve, endpoint, or a name with or without :PORT"
    return None


def token_problem(text: str) -> str | None:
    """Of a token, which is never repeated."""
    if not re.fullmatch(r"[\x21-\x7e]*", text):
        return "`token` holds spaces, control or non-ASCII characters, which no header can carry: choose another"
    return None


def store_problem(text: str) -> str | None:
    scheme, colon, rest = text.partition(":")
    if text in ("memory", "memory:"):
        return None
    if scheme == "sqlite" and colon:
        return _sqlite_problem(rest)
    return f"`{text}` is not a store: write sqlite:PATH or memory"


def _sqlite_problem(path: str) -> str | None:
    if path.startswith("//"):
        return f"`sqlite:{path}` is not a store: write sqlite:PATH without slashes before the path"
    if not path or path == ":memory:" or "\0" in path:
        return f"`sqlite:{path}` names no file: write sqlite:PATH, or memory to keep nothing"
    return None


def method_problem(method: str) -> str | None:
    if not _TOKEN.fullmatch(method):
        return f"`{method}` is not a method: write a token such as GET"
    if method != method.upper():
        return f"`{method}` would never match, for methods are case-sensitive: write {method.upper()}"
    return None


def header_problem(name: str) -> str | None:
    return None if _TOKEN.fullmatch(name) else f"`{name}` is not a header name: write a token such as x-api-version"


def field_value_problem(value: str) -> str | None:
    if not _FIELD_VALUE.fullmatch(value):
        return "no header arrives with control characters or with spaces around its value: leave them out"
    return None


def repeatable_header_problem(name: str) -> str | None:
    """Of a header that declares a request repeatable."""
    if name.lower() in _EVERYWHERE:
        return f"`{name}` is in requests anyway, and each POST would be repeated: write for example idempotency-key"
    return header_problem(name)


def credential_header_problem(name: str) -> str | None:
    """Of a header that a shadow call carries in place of the client's."""
    if name.lower() in _OF_THE_MESSAGE or name.lower().startswith("x-fig-"):
        return f"`{name}` is written by fig itself: give headers that say who calls, such as authorization"
    return header_problem(name)


def credential_problem(name: str, value: str) -> str | None:
    """Of its value, which is never repeated."""
    if not value:
        return f"`{name}` is empty: give its value, or leave it out and it is dropped"
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value):
        return f"the value of `{name}` holds control or non-ASCII characters, or spaces around it: leave them out"
    return None


def door_header_problem(name: str, example: str) -> str | None:
    """Of a header that says who comes: no request means anything else by it, and nothing but fig removes it."""
    low = name.lower().replace("_", "-")
    if low in _TAKEN or low.startswith(("x-fig-", "x-forwarded-", "content-", "sec-")):
        return f"`{name}` says something else, or is written by fig itself: write for example {example}"
    if "_" in name:
        return f"`{name}` reads as `{low}` to many servers, so fig drops names with _: write {low}"
    return header_problem(name)


def scope_problem(scope: str) -> str | None:
    """RFC 6749 3.3."""
    if _SCOPE.fullmatch(scope):
        return None
    if " " in scope.strip() and all(map(_SCOPE.fullmatch, scope.split())):
        return f"`{scope}` is several scopes: write [{', '.join(scope.split())}]"
    return f'`{scope}` is not a scope: one or more visible ASCII characters, without " and \\'


def door_name_problem(what: str, name: str) -> str | None:
    """Of an issuer, an API key or a limit: it stands in headers, metrics and logs."""
    if not _UPSTREAM.fullmatch(name):
        return f"`{name}` is no name of {what}: 1 to 63 letters, digits, dots, - and _, the first a letter or digit"
    return None


def hash_problem(text: str) -> str | None:
    """Of the SHA-256 of an API key. The text is never repeated, for it may be the key."""
    if re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        if text.lower() == hashlib.sha256().hexdigest():
            return "`sha256` is the hash of nothing: make a key and its hash with `fig key new`"
        return None
    if re.fullmatch(r"(?i:sha-?256)[:=-][0-9A-Fa-f]{64}", text):
        return "`sha256` is the hash alone: leave what stands before its 64 hex digits out"
    if re.fullmatch(r"[0-9A-Fa-f]+", text):
        return f"`sha256` has {len(text)} hex digits, a SHA-256 hash has 64: take it from `fig key new`"
    cure = "write its hash (`fig key new` prints both), and if it was in use make a new key"
    return f"`sha256` looks like the key itself, which must stand in no file: {cure}"


def jwks_url_problem(url: str) -> str | None:
    """The text is not repeated."""
    if problem := url_problem("jwks_url", url):
        return problem
    authority = re.split(r"[/?#]", url.partition("://")[2])[0]
    host = _port_apart(authority)[0].strip("[]")
    if url.startswith("http:") and not is_loopback(host):
        return "`jwks_url` is http:// beyond loopback, where anyone on the way can put in keys: write https://"
    return None


def redis_problem(url: str) -> str | None:
    """Of `redis://` or `rediss://`. The text is not repeated, for it may hold a password."""
    rest = url.partition("://")[2]
    authority, _, database = rest.partition("/")
    host, colon, port = _port_apart(authority.rpartition("@")[2])
    if re.search(r"[?#]", url):
        return "`store` has a query: leave out ? and #, and write them as %3F and %23 in a password"
    if not re.fullmatch(r"[\x21-\x7e]+", url):
        return "`store` holds spaces, control or non-ASCII characters: write them as %XX"
    if not _is_findable(host) or (colon and not (_is_port(port) and int(port))):
        return "`store` needs a host, and a port from 1 to 65535 if any: write redis://HOST:6379/0"
    if not re.fullmatch(r"[0-9]{0,5}", database):
        return "`store` ends in the number of a database: write redis://HOST:6379/0, and / as %2F in a password"
    return None


def limits_store_problem(text: str) -> str | None:
    if text in ("memory", "memory:"):
        return None
    if text.startswith(("redis://", "rediss://")):
        return redis_problem(text)
    shown = "`store`" if "@" in text else f"`{text}`"
    hint = "" if "@" in text else did_you_mean(text.partition(":")[0], ("memory", "redis", "rediss"))
    return f"{shown} keeps no rate limits{hint}: write memory, redis://HOST:6379/0 or rediss:// for TLS"


def origin_problem(origin: str) -> str | None:
    """As browsers write it into Origin; `*` is none."""
    match = _ORIGIN.fullmatch(origin)
    if origin == "null":
        return "`null` is the origin of any sandboxed page, also of an attacker's: name the real origin"
    if "*" in origin:
        return f"`{origin}` is a pattern: name each origin, or write * alone for all"
    if match is None or not _is_findable(match[2]) or (match[3] and not _is_port(match[3])):
        plain = origin.lower().rstrip("/")
        known = origin != plain and _ORIGIN.fullmatch(plain)
        cure = plain if known else "SCHEME://HOST or SCHEME://HOST:PORT"
        return f"`{origin}` is not an origin as browsers send it: write {cure}"
    if match[3] and match[3] == _DEFAULT_PORTS.get(match[1]):
        return f"browsers leave the default port out: write {match[1]}://{match[2]}"
    return None


def cors_method_problem(method: str) -> str | None:
    if method.upper() in _NO_METHODS:
        return f"no page may use `{method}`: remove it"
    return method_problem(method)


def exposed_header_problem(name: str) -> str | None:
    if name.lower() in ("set-cookie", "set-cookie2"):
        return f"no page may read `{name}`: remove it"
    return header_problem(name)


def media_type_problem(text: str) -> str | None:
    """RFC 9110 8.3.1; parameters are not looked into."""
    return None if _MEDIA_TYPE.fullmatch(text) else f"`{text}` is not a media type: write for example application/json"


def force_header_problem(name: str) -> str | None:
    if name.lower() in _NEVER_FORCE:
        return f"`{name}` cannot force a side, for that header is always stripped: write for example x-fig-force"
    return header_problem(name)


def route_host_problem(host: str) -> str | None:
    if _HOST.fullmatch(host):
        return None
    return f"`{host}` is not a host: write the exact name without scheme, port or wildcard"


def server_name_problem(name: str) -> str | None:
    """Any spelling of an IP address counts as one, like the host of an endpoint."""
    if (_HOST.fullmatch(name) and _has_sound_labels(name)) or _addresses(name):
        return None
    return f"`{name}` is not a name that a certificate has: write a host name or an IP address, without port"


def _has_sound_labels(name: str) -> bool:
    try:
        name.encode("idna")  # as `ssl` does when it connects
    except UnicodeError:
        return False
    return True


def pattern_problem(pattern: str) -> str | None:
    try:
        re.compile(pattern.encode())
    except (re.error, RecursionError, OverflowError) as error:
        return f"`{pattern}` is not a regular expression: {error}"
    return None


def prefix_problem(prefix: str) -> str | None:
    if prefix and not _PREFIX.fullmatch(prefix):
        return f"`{prefix}` is not a path prefix: begin with /, no spaces, no ?, no #"
    return None


def bucket_group_problem(group: str) -> str | None:
    size = len(group.encode())
    if 1 <= size <= BUCKET_NAME_BYTES:
        return None
    return f"`bucket_group` has {size} bytes: 1 to {BUCKET_NAME_BYTES} are possible, leave it out for the seam's name"


def selector_problem(selector: str, segments: Collection[str], also: tuple[str, ...] = ()) -> str | None:
    """`segments` are the names that the seam's routes capture, `also` words that are possible here too."""
    if selector in ("api_key", "client_ip", *also):
        return None
    match = _SELECTOR.fullmatch(selector)
    if match is None:
        kinds = ", ".join(("jwt.CLAIM, api_key, header.NAME, cookie.NAME, path.NAME, client_ip", *also))
        return f"`{selector}` is not a selector{_nearest_kind(selector, also)}: known are {kinds}"
    kind, name = match[1], match[2]
    if not name or (kind in ("header", "cookie") and not _TOKEN.fullmatch(name)) or name != name.strip():
        return f"`{selector}` is not a selector: `{name}` is no name of a {kind} value"
    if kind == "path" and name not in segments:
        return f"`{selector}`: no route of this seam has a segment {{{name}}}{did_you_mean(name, segments)}"
    return None


def _nearest_kind(selector: str, also: tuple[str, ...]) -> str:
    kind, dot, name = selector.partition(".")
    hint = did_you_mean(kind + dot, (*_SELECTOR_KINDS, *also))
    return hint.replace(".`?", f".{name}`?") if dot and name else hint


def leads_back(listen: str, host: str) -> bool:
    """Whether a connection to `host` can reach a socket that listens on `listen`, as far as spellings tell."""
    ours, theirs = _addresses(listen), _addresses(host)
    if any(address.is_unspecified for address in ours):
        return any(address.is_loopback or address.is_unspecified for address in theirs)
    if any(address.is_unspecified for address in theirs):
        return any(address.is_loopback for address in ours)
    return _same(listen, host)


def collide(listen: str, other: str) -> bool:
    """Whether two sockets cannot both listen on one port of these hosts."""
    either = _addresses(listen) | _addresses(other)
    return any(address.is_unspecified for address in either) or _same(listen, other)


def _same(one: str, other: str) -> bool:
    return bool(_addresses(one) & _addresses(other)) or one.lower().rstrip(".") == other.lower().rstrip(".")


def is_loopback(host: str) -> bool:
    addresses = _addresses(host)
    return bool(addresses) and all(address.is_loopback for address in addresses)


def _addresses(host: str) -> frozenset[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The addresses that a host text spells; none for a name other than localhost."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return frozenset({ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1")})
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return _legacy_spelling(name)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return frozenset({mapped or address})


def _legacy_spelling(name: str) -> frozenset[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """`127.1`, `0x7f000001`, `2130706433`: what the C library still takes for an address."""
    if not re.fullmatch(r"[0-9a-fx.]+", name):
        return frozenset()
    try:
        return frozenset({ipaddress.IPv4Address(socket.inet_aton(name))})
    except (OSError, ValueError):
        return frozenset()
