"""From bytes to characters: by the charset an answer or its document declares, or none. Knows no rule."""

from __future__ import annotations

import codecs
import re
from typing import Final

from proxy.shadow.decode import Family

_LATIN: Final = frozenset(("iso-8859-1", "iso8859-1", "latin1", "latin-1", "us-ascii", "ascii"))
_META: Final = re.compile(rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_PROLOG: Final = re.compile(rb"<\?xml[^>]{1,200}?encoding\s*=\s*[\"']([A-Za-z0-9_:.-]{1,40})")
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def known_charset(label: str | None) -> str | None:
    """The codec of a charset label; None for no label, or one that is unknown or no character set."""
    if label is None:
        return None
    if label in _LATIN:
        return "cp1252"  # as browsers read it, WHATWG Encoding 4.2
    try:
        found = codecs.lookup(label)
    except (LookupError, ValueError):
        return None
    return found.name if getattr(found, "_is_text_encoding", True) else None


def as_utf8(data: bytes, codec: str | None) -> bytes | None:
    """None where the bytes are not what their charset says."""
    if codec in (None, "utf-8", "utf-8-sig"):
        return data
    text = _decoded(data, codec or "utf-8")
    return None if text is None else text.encode("utf-8", "surrogatepass")


def read_characters(data: bytes, codec: str | None, family: Family) -> tuple[str | None, bool]:
    """The text, None where the bytes are not what is declared; and whether anything was declared.

    A byte order mark is kept in plain text. Bytes that declare nothing and are no UTF-8 are read one by one."""
    codec = codec or _declared(data, family)
    if codec is not None:
        if family != "text" and codec == "utf-8":
            codec = "utf-8-sig"
        return _decoded(data, codec), True
    text = _decoded(data, "utf-8")
    return (data.decode("latin-1") if text is None else text), False


def _declared(data: bytes, family: Family) -> str | None:
    if family == "text":
        return None
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return codec
    pattern = _PROLOG if family == "xml" else _META
    match = pattern.search(data[:1024])
    if match is None:
        return "utf-8" if family == "xml" else None  # XML 1.0 4.3.3
    named = known_charset(match[1].decode().lower())
    return "utf-8" if named is not None and named.startswith("utf-16") else named  # it was read as ASCII


def _decoded(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except (UnicodeError, ValueError):
        return data.decode("latin-1") if codec == "cp1252" else None
