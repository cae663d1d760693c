"""Which endpoint a request is of, as METHOD and pattern: what evidence is gathered by. Knows no rule and no answer.

Asked for every request of a compared seam, so what was decided of a path is remembered.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.shadow.noise import OTHER

MOST_ENDPOINTS: Final = 500
_MOST_PATHS: Final = 4096
_LONGEST_PATH: Final = 256  # beyond it a path is not remembered: a hostile client's are long, and never the same
_MOST_SEGMENTS: Final = 8
_LONGEST_WORD: Final = 40
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
# Digits (a date, an address, a list of them), hex, an abbreviation and a number, a mixed token, anything beyond the
# letters of a name: the segment names one of many. `getOrderListV2` and `oauth2-callback` name themselves.
_ID: Final = re.compile(
    rb"(?=.*\d)[\d.,:_-]+|\d{4}-\d\d-\d\d.*|[0-9a-fA-F]{8,}|(?=.*\d)[0-9a-fA-F-]{8,}|[A-Za-z]{1,4}[_-]?\d{3,}"
    rb"|(?=(?:.*?\d){3})(?=.*[A-Za-z])[\w~-]{8,}|(?=.*\d)(?=.*[A-Za-z])[\w~-]{16,}|.*[^\w.~:$-].*",
    re.DOTALL | re.ASCII,
)


def templated(path: bytes) -> str:
    """`/orders/{id}/lines`: segments that look like ids are all called that, and at most 8 segments are told apart."""
    segments = path.split(b"/", _MOST_SEGMENTS + 1)
    told = [_told(segment) for segment in segments[: _MOST_SEGMENTS + 1]]
    return "/".join(told if len(segments) <= _MOST_SEGMENTS + 1 else [*told, "**"])


def _told(segment: bytes) -> str:
    word = segment.partition(b";")[0]  # `orders;jsessionid=1`: parameters say nothing of the endpoint (RFC 3986 3.3)
    plain = len(word) < 8 and word.isalpha()  # most are, and the expression is slow
    if plain or (len(word) <= _LONGEST_WORD and _ID.fullmatch(word) is None):
        return word.decode("ascii")
    return "{id}"


def endpoint_of(method: str, pattern: str, path: bytes) -> str:
    """`METHOD pattern`. Where the pattern ends in `**`, the path tells what stands there, without what looks like an
    id: `/users/{name}/**` and `/users/anna/orders/5` are `GET /users/{name}/orders/{id}`."""
    method = method if method in _METHODS else "_OTHER"
    if not pattern.endswith("**"):
        return f"{method} {pattern}"
    fixed = pattern.removesuffix("/**")
    rest = path.split(b"/", fixed.count("/") + 1)[fixed.count("/") + 1 :]
    return f"{method} {fixed}{templated(b'/' + rest[0]) if rest else ''}"


class Endpoints:
    """Of one seam. Paths are remembered while there are few, and beyond 500 endpoints all others are one."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._by_path: dict[tuple[str, str, bytes], str] = {}

    def __repr__(self) -> str:
        return f"<Endpoints {len(self._known)}>"

    def of(self, method: str, pattern: str, path: bytes) -> str:
        """As `endpoint_of`; `METHOD __other__` where there are too many."""
        key = (method, pattern, path if pattern.endswith("**") else b"")
        found = self._by_path.get(key)
        if found is None:
            found = self._bounded(endpoint_of(method, pattern, path))
            if len(key[0]) + len(key[2]) <= _LONGEST_PATH:
                if len(self._by_path) >= _MOST_PATHS:  # a hostile client invents paths: forget, never grow
                    self._by_path.clear()
                self._by_path[key] = found
        return found

    def _bounded(self, endpoint: str) -> str:
        if endpoint not in self._known:
            if len(self._known) >= MOST_ENDPOINTS:
                return f"{endpoint.partition(' ')[0]} {OTHER}"
            self._known.add(endpoint)
        return endpoint
