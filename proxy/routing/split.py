"""Which share of the requests is moved, and who belongs to it. Knows no seam: names, selectors and numbers only.

A bucket is a number in [0, 10000) that depends on a name and a value alone: replicas agree without shared state, and a
raised percentage only ever adds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from proxy.messages import RequestHead

BUCKETS = 10_000

Read = Callable[[RequestHead, Mapping[str, bytes], str], bytes | None]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_KINDS = "jwt.CLAIM, api_key, header.NAME, cookie.NAME, path.NAME or client_ip"


@dataclass(frozen=True, slots=True)
class Selector:
    """Where a sticky key is read. `read(request, params, client_ip)` gives None or b"" where it is absent."""

    text: str
    read: Read


def bucket(name: str, value: bytes) -> int:
    """The bucket of `value` under `name`, which has at most 64 bytes in UTF-8 (the longest BLAKE2b key)."""
    return bucketer(name)(value)


def bucketer(name: str) -> Callable[[bytes], int]:
    """`bucket` for one name, with the key already taken in: that is half of its time."""
    keyed = blake2b(key=name.encode(), digest_size=8)

    def of(value: bytes) -> int:
        digest = keyed.copy()
        digest.update(value)
        return int.from_bytes(digest.digest(), "big") % BUCKETS

    return of


def threshold(percent: float) -> int:
    """The first bucket that is not moved at `percent` (0-100, two decimals)."""
    return round(percent * 100)


def compile_selector(text: str) -> Selector:
    """Raises ValueError for what is no selector. `jwt.CLAIM` and `api_key` are those of the verified principal."""
    kind, _, name = text.partition(".")
    if text == "client_ip":
        return Selector(text, _read_client_ip)
    if text == "api_key":
        return Selector(text, _read_api_key)
    if kind == "jwt" and name:
        return Selector(text, _read_claim(name))
    if kind in _READERS and _TOKEN.fullmatch(name):
        return Selector(text, _READERS[kind](name))
    raise ValueError(f"selector {text!r} is not one of {_KINDS}")


def sticky_key(
    selectors: Iterable[Selector], request: RequestHead, params: Mapping[str, bytes], client_ip: str
) -> tuple[Selector, bytes] | None:
    """The first selector with a value that is not empty, and the value."""
    for selector in selectors:
        value = selector.read(request, params, client_ip)
        if value:
            return selector, value
    return None


def sticky_value(
    selectors: Iterable[Selector], request: RequestHead, params: Mapping[str, bytes], client_ip: str
) -> bytes | None:
    """The value alone of `sticky_key`, for the hot path."""
    for selector in selectors:
        value = selector.read(request, params, client_ip)
        if value:
            return value
    return None


def _read_header(name: str) -> Read:
    key = name.lower().encode()
    return lambda request, _params, _client_ip: request.fields.get(key)


def _read_cookie(name: str) -> Read:
    """The first cookie of that name (RFC 6265 4.2.1), without white space and the optional quotes around the value."""
    candidates = re.compile(re.escape(name.encode()) + rb"[ \t]*=([^;]*)").finditer

    def read(request: RequestHead, _params: Mapping[str, bytes], _client_ip: str) -> bytes | None:
        field = request.fields.get(b"cookie", b"")
        end = 0
        for found in candidates(field):
            # A name inside another cookie's name or value is none. Looking back only to the last one keeps this linear.
            if not field[end : found.start()].rpartition(b";")[2].strip():
                return _unquoted(found[1].strip())
            end = found.end()
        return None

    return read


def _unquoted(value: bytes) -> bytes:
    return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else value


def _read_segment(name: str) -> Read:
    return lambda _request, params, _client_ip: params.get(name)


def _read_client_ip(_request: RequestHead, _params: Mapping[str, bytes], client_ip: str) -> bytes | None:
    return client_ip.encode()


def _read_api_key(request: RequestHead, _params: Mapping[str, bytes], _client_ip: str) -> bytes | None:
    return None if request.principal is None else request.principal.api_key.encode()


def _read_claim(name: str) -> Read:
    def read(request: RequestHead, _params: Mapping[str, bytes], _client_ip: str) -> bytes | None:
        return None if request.principal is None else request.principal.claim(name).encode()

    return read


_READERS: Mapping[str, Callable[[str], Read]] = {"header": _read_header, "cookie": _read_cookie, "path": _read_segment}
