"""What `fig replay` is told to ask: a line of the file in, a request out. Knows bytes only; opens and sends nothing.

/api/products/7?full=1                                          a path: GET
HEAD /api/products/7                                            a method and a path
https://shop.example/api/products/7                             a URL: its path
192.0.2.1 - - [28/Nov/2026:08:00:00 +0000] "GET /a HTTP/1.1"…   the common or combined log format (Apache, nginx, fig)
# …                                                             nothing, as a blank line
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

REPLAYED: Final = ("GET", "HEAD")

_MOST_BYTES: Final = 65_536
_LOGGED: Final = re.compile(rb'\S+ [^"\[]{0,512}\[[^\]"]{1,64}\] "((?:[^"\\]|\\.)*)"')
_REQUEST: Final = re.compile(rb"([A-Z][A-Z-]{0,30}) +(\S+)(?: +HTTP/[0-9.]+)?")
_URL: Final = re.compile(rb"https?://[^/?#]+([^#]*)(?:#.*)?", re.IGNORECASE)
_TARGET: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*")
_ESCAPED: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_LETTERS: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_WRITE: Final = "write a path, `GET path`, or a line of the combined log format"


@dataclass(frozen=True, slots=True)
class Line:
    """`number` counts from 1. `method` is one of REPLAYED, `target` visible ASCII that begins with a slash."""

    number: int
    method: str
    target: bytes


@dataclass(frozen=True, slots=True)
class Skipped:
    """A request that is not replayed because of its method."""

    number: int
    method: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    number: int
    why: str


Read = Line | Skipped | Unreadable


def read_lines(file: BinaryIO) -> Iterator[Read]:
    """Every line that says something, in order; never raises for what a line holds. Lines end with a line feed and are
    at most 64 KiB long."""
    number = 0
    while raw := file.readline(_MOST_BYTES + 1):
        number += 1
        if len(raw) > _MOST_BYTES and not raw.endswith(b"\n"):
            _finish_line(file)
            yield Unreadable(number, f"it is longer than {_MOST_BYTES} bytes")
            continue
        read = read_line(number, raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw)
        if read is not None:
            yield read


def _finish_line(file: BinaryIO) -> None:
    while (rest := file.readline(_MOST_BYTES)) and not rest.endswith(b"\n"):
        pass


def read_line(number: int, raw: bytes) -> Read | None:
    """None for a blank line and for a comment."""
    text = raw.strip()
    if not text or text.startswith(b"#"):
        return None
    if text.startswith(b"/") or _URL.fullmatch(text):
        return _asking(number, "GET", text)
    logged = _LOGGED.match(text)
    if logged is None:
        return _request(number, text, f"it is no request: {_WRITE}")
    return _request(number, _ESCAPED.sub(_unescaped, logged[1]), "the log holds no request there")


def _request(number: int, text: bytes, otherwise: str) -> Read:
    match = _REQUEST.fullmatch(text)
    if match is None:
        return Unreadable(number, otherwise)
    method = match[1].decode("ascii")
    return _asking(number, method, match[2]) if method in REPLAYED else Skipped(number, method)


def _asking(number: int, method: str, target: bytes) -> Read:
    """Bytes beyond ASCII are escaped, which is how a client would have sent them (RFC 3986 2.1)."""
    url = _URL.fullmatch(target)
    if url is not None:
        target = url[1] if url[1].startswith(b"/") else b"/" + url[1]
    target = re.sub(rb"[\x80-\xff]", lambda one: b"%%%02X" % one[0][0], target)
    if not _TARGET.fullmatch(target):
        return Unreadable(number, "its path does not begin with / or holds a space, a # or a control character")
    return Line(number, method, target)


def _unescaped(match: re.Match[bytes]) -> bytes:
    """nginx writes `\\x22`; Apache also `\\"`, `\\\\` and C's letters."""
    return bytes.fromhex(match[1].decode("ascii")) if match[1] else _LETTERS.get(match[2], match[2])
