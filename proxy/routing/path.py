"""Every way in which a server could read a request path. Knows bytes only: no routes, no seams.

Two servers in a row that read one path differently are the classic way around a gateway's rules. So the proxy
picks no normalisation: it lists what a path can mean, and routing refuses one whose readings select different routes.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from proxy.errors import AmbiguousPath, BadRequest

_PCHAR = (string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@").encode()  # RFC 3986 3.3
_DECODED = _PCHAR.replace(b";", b"")

# No empty segment, none that starts with a dot, nothing that has another spelling: nearly every path there is.
_is_plain = re.compile(
    rb"(?:/[%s][%s]*+)++/?|/" % (re.escape(_DECODED.replace(b".", b"")), re.escape(_DECODED))
).fullmatch
_has_other_readings = re.compile(rb"//|/\.\.?(?:/|\Z)|[;\\]|%2F|%5C|%3B").search

# One reading costs time in proportion to the path, so what bounds the work is their product.
_MAX_READING_BYTES = 131_072


def split_target(target: bytes) -> tuple[bytes, bytes | None]:
    """Path and query of an origin-form target; None where there is no `?`."""
    path, mark, query = target.partition(b"?")
    return path, query if mark else None


def readings(path: bytes) -> tuple[bytes, ...]:
    """The canonical reading of `path`, then every other one, each once.

    Canonical is the path as sent, in one spelling (see `canonical`). The others come from every combination of: `%2F`,
    `%5C` and `\\` taken for `/`; `;params` stripped; `//` merged; dot segments resolved (RFC 3986 5.2.4).
    Raises BadRequest for what is no path, AmbiguousPath for one with so many readings that it can only be hostile.
    """
    if _is_plain(path):
        return (path,)
    if not path.startswith(b"/"):
        raise BadRequest("The request target must start with /")
    first = canonical(path)
    return _combinations(first) if _has_other_readings(first) else (first,)


def canonical(path: bytes) -> bytes:
    """`path` with each octet in its one spelling; slashes, dots and parameters stay as they were sent.

    What may stand in a segment as it is (RFC 3986 pchar, except `;`) is decoded; of everything else escapes are in
    upper case (RFC 3986 6.2.2), and octets that should have been escaped are. A raw `\\` stays.
    """
    return _ODD.sub(_respell, path)


def folded(path: bytes) -> bytes:
    """A path in canonical spelling, as a server reads it that takes no notice of letter case. For comparing only: what
    was escaped may not be so any more."""
    lower = path.lower()
    return _NOT_ASCII.sub(_fold, lower) if b"%" in lower else lower


def unescaped_once(path: bytes) -> bytes:
    """As the next server gets a path from one that decodes it and does not escape it again: `%2561` is `%61` then."""
    return _ESCAPED_TWICE.sub(rb"%\1", path)


def without_authority(path: bytes) -> bytes:
    """As one gets a path from a library that takes the whole target for a relative reference (RFC 3986 4.2): in
    `//a/b` it takes `a` for a host."""
    return b"/" + path[2:].partition(b"/")[2]


def _combinations(path: bytes) -> tuple[bytes, ...]:
    found = {path: None}
    for step in _STEPS:
        found.update(dict.fromkeys([step(reading) for reading in found]))
        if len(found) > 1 and len(found) * len(path) > _MAX_READING_BYTES:
            raise AmbiguousPath("The path has too many readings for its length; send it without //, ;, \\ and %2F")
    return tuple(found)


def _resolve_dots(path: bytes) -> bytes:
    """RFC 3986 5.2.4; a path that climbs above the root stays at the root."""
    if b"/." not in path:
        return path
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def _respell(found: re.Match[bytes]) -> bytes:
    spelling = _SPELLINGS.get(found[0].upper())
    if spelling is None:
        raise BadRequest(_complaint(found[0], found.start()))
    return spelling


def _fold(found: re.Match[bytes]) -> bytes:
    """The Kelvin sign is a k, and the long s an s: letters beyond ASCII may stand for one in it."""
    return unquote_to_bytes(found[0]).decode("utf-8", "surrogateescape").casefold().encode("utf-8", "surrogateescape")


def _complaint(token: bytes, offset: int) -> str:
    if token == b"%":
        return f"The path has a malformed percent escape at byte {offset}; a percent sign is written %25"
    if token == b"#":
        return f"The path has a fragment at byte {offset}; a client keeps it to itself, or writes %23"
    return f"The path has a space or control character at byte {offset}"


def _spellings() -> dict[bytes, bytes]:
    """Escape, or raw octet that is no pchar, to its canonical spelling; what is missing is not allowed."""
    printable = [octet for octet in range(0x20, 0x100) if octet != 0x7F]
    escapes = {b"%%%02X" % octet: bytes([octet]) if octet in _DECODED else b"%%%02X" % octet for octet in printable}
    raw = {bytes([octet]): b"%%%02X" % octet for octet in printable if octet not in b" %#\\"}
    return {**escapes, **raw, b"\\": b"\\"}


_SPELLINGS = _spellings()
_ODD = re.compile(rb"%[0-9A-Fa-f]{2}|[^" + re.escape(_PCHAR + b"/") + rb"]")
_PARAMS = re.compile(rb";[^/]*")
_ESCAPED_PARAMS = re.compile(rb"%3B[^/]*")
_SLASHES = re.compile(rb"//+")
_ESCAPED_TWICE = re.compile(rb"%25((?!7[Ff])[2-9A-Fa-f][0-9A-Fa-f])")
_NOT_ASCII = re.compile(rb"(?:%[89a-f][0-9a-f])+")


def _merge_slashes(path: bytes) -> bytes:
    return _SLASHES.sub(b"/", path)


# Each notation is a step of its own: a server may honour one and not the next, and a path that mixes them must not look
# harmless merely because it is so with all or none. Slashes merge before dots for nginx, after them for Envoy.
_STEPS: tuple[Callable[[bytes], bytes], ...] = (
    lambda path: path.replace(b"%2F", b"/"),
    lambda path: path.replace(b"%5C", b"/"),
    lambda path: path.replace(b"\\", b"/"),
    lambda path: _PARAMS.sub(b"", path),
    lambda path: _ESCAPED_PARAMS.sub(b"", path),
    _merge_slashes,
    _resolve_dots,
    _merge_slashes,
)
