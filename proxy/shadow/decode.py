"""From the bytes on the wire to what they mean: which kind it is, and the content codings off. Knows no rule.

A hostile body costs a bounded amount: what a coding unpacks to is kept up to a cap, only hashed beyond it, and given up
beyond MOST_BYTES; more than MOST_CODINGS are not undone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

from proxy.shadow.answer import Answer

MOST_BYTES: Final = 16_777_216
MOST_CODINGS: Final = 4
_STEP: Final = 65_536
_BODILESS: Final = frozenset((204, 205, 304))

Family = Literal["json", "ndjson", "html", "xml", "text", "bytes"]
Problem = Literal["", "broken", "unknown", "too_much"]

_JSON: Final = frozenset(("application/json", "text/json", "text/x-json", "application/x-json"))
_LINES: Final = frozenset(
    ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines",
     "application/x-jsonlines", "application/x-ldjson", "application/ldjson")
)  # fmt: skip
_XML: Final = frozenset(("application/xml", "application/xml-external-parsed-entity", "application/xml-dtd"))
_TEXT: Final = frozenset(
    ("application/javascript", "application/ecmascript", "application/x-javascript", "application/yaml",
     "application/x-yaml", "application/toml", "application/sql", "application/x-www-form-urlencoded",
     "application/graphql", "application/x-sh")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    """A body without its content codings. `data` None where it is not all there; then `length` and `sha256` are of the
    whole content if known. `problem`: the bytes are not what their coding says (`broken`), the coding is not known
    (`unknown`), or more than can be looked at came out (`too_much`)."""

    data: bytes | None
    length: int | None
    sha256: bytes | None
    problem: Problem = ""


def media_type(content_type: bytes) -> str:
    """In lower case, without parameters; "" for none."""
    return content_type.partition(b";")[0].strip().lower().decode("latin-1")


def charset(content_type: bytes) -> str | None:
    """The charset parameter in lower case, quotes off."""
    for parameter in content_type.split(b";")[1:]:
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() == b"charset":
            return value.strip().strip(b"\"'").strip().lower().decode("latin-1") or None
    return None


def family_of(media: str) -> Family:
    """How bodies of a media type are compared."""
    if media in _JSON or media.endswith("+json"):
        return "json"
    if media == "text/html":
        return "html"
    if media in _XML or media.endswith("+xml") or media == "text/xml":
        return "xml"
    if media in _LINES:
        return "ndjson"
    return "text" if media.startswith("text/") or media in _TEXT else "bytes"


def is_empty(answer: Answer) -> bool:
    """Whether there is no content, by status (RFC 9110 6.4.1) or by length."""
    return answer.status in _BODILESS or not (answer.body or answer.truncated)


def codings_of(answer: Answer) -> tuple[str, ...]:
    """In the order in which they were applied, `identity` left out."""
    found: list[str] = []
    for name, value in answer.headers:
        if name.lower() == b"content-encoding":
            found += (token.strip().lower() for token in value.decode("latin-1").split(","))
    return tuple(token for token in found if token not in ("", "identity"))


def content_of(answer: Answer, cap: int) -> Content:
    """`cap`: the longest body that is looked into, in bytes."""
    codings = codings_of(answer)
    if answer.truncated or len(answer.body) > cap:
        return _only_hashed(answer, bool(codings))
    if not codings or not answer.body:
        return Content(answer.body, len(answer.body), None)
    if not all(coding in ("gzip", "x-gzip", "deflate") for coding in codings):
        return Content(answer.body, len(answer.body), None, "unknown")
    if len(codings) > MOST_CODINGS:
        return Content(None, None, None, "too_much")
    chunks: Iterable[bytes] = (answer.body,)
    for coding in reversed(codings):
        chunks = _inflated(chunks, coding)
    return _collected(chunks, cap)


def _only_hashed(answer: Answer, coded: bool) -> Content:
    """The hash is of the wire: of a coded body it says nothing about the content."""
    if coded:
        return Content(None, None, None)
    if answer.truncated:
        return Content(None, answer.length, answer.sha256)
    return Content(None, len(answer.body), sha256(answer.body).digest())


def _collected(chunks: Iterable[bytes], cap: int) -> Content:
    kept: list[bytes] = []
    length = 0
    digest = sha256()
    try:
        for chunk in chunks:
            length += len(chunk)
            if length > max(cap, MOST_BYTES):
                return Content(None, None, None, "too_much")
            digest.update(chunk)
            if length <= cap:
                kept.append(chunk)
    except (zlib.error, EOFError):
        return Content(None, None, None, "broken")
    return Content(b"".join(kept) if length <= cap else None, length, digest.digest())


def _inflated(chunks: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """Pieces of at most _STEP bytes. gzip may have several members (RFC 1952 2.2), and so has `deflate` as zlib or, as
    some send it, raw (RFC 9110 8.4.1.2). Raises zlib.error, EOFError where the end is missing."""
    inflate: zlib._Decompress | None = None
    for chunk in chunks:
        data = chunk
        while data:
            if inflate is None:
                inflate = zlib.decompressobj(_window(data, coding))
            yield inflate.decompress(data, _STEP)
            if not inflate.eof:
                data = inflate.unconsumed_tail
                continue
            data = inflate.unused_data.lstrip(b"\0")  # padding after a member
            inflate = None
            if data and coding == "deflate":
                raise zlib.error("bytes after the end")
    if inflate is not None:
        yield inflate.flush()
        if not inflate.eof:
            raise EOFError


def _window(data: bytes, coding: str) -> int:
    if coding != "deflate":
        return zlib.MAX_WBITS | 16
    is_zlib = len(data) > 1 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
