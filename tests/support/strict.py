"""A strict reader of HTTP/1.1 bytes: what RFC 9110 and 9112 let a sender write, and nothing else.

It shares no code with fig. `Incomplete`: the bytes end inside a message; `Violation`: nobody may send this. A tolerant
cursor also takes what a recipient may: chunk extensions (9112 7.1.1), line ends before an answer (nothing can be read
into them), a status line that ends with its code, framing fields where there is no body anyway (9112 6.3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Fields = list[tuple[bytes, bytes]]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(%b) ([!-~]+) HTTP/1\.1" % _TOKEN)
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*))?")
_FIELD = re.compile(rb"(%b):[ \t]*([\t -~\x80-\xff]*)" % _TOKEN)
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)([ \t]*;[\t -~\x80-\xff]*)?")


class Violation(Exception):
    """Bytes that break the grammar or the framing."""


class Incomplete(Exception):
    """The bytes end before the message does; `body` is what came of it."""

    def __init__(self, body: bytes = b"") -> None:
        super().__init__()
        self.body = body


@dataclass
class Message:
    """`line` holds (method, target) or (status, reason); fields have lower-case names."""

    line: tuple[bytes, bytes]
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    until_close: bool = False
    version: bytes = b"1"

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    @property
    def status(self) -> int:
        return int(self.line[0])


@dataclass
class Cursor:
    """A place in the bytes of one direction of a connection."""

    raw: bytes
    at: int = 0
    tolerant: bool = False

    @property
    def rest(self) -> bytes:
        return self.raw[self.at :]

    def line(self) -> bytes:
        end = self.raw.find(b"\r\n", self.at)
        text = self.rest if end < 0 else self.raw[self.at : end]
        bare = text.removesuffix(b"\r") if end < 0 else text  # its LF may still come
        if b"\r" in bare or b"\n" in bare:
            raise Violation(f"bare CR or LF in {text[:80]!r}")
        if end < 0:
            raise Incomplete
        self.at = end + 2
        return text

    def take(self, count: int) -> bytes:
        data = self.raw[self.at : self.at + count]
        self.at += len(data)
        if len(data) < count:
            raise Incomplete(data)
        return data

    def fields(self) -> Fields:
        found: Fields = []
        while line := self.line():
            match = _FIELD.fullmatch(line)
            if match is None:
                raise Violation(f"field line {line[:80]!r}")
            found.append((match[1].lower(), match[2].rstrip(b" \t")))
        return found


def read_request(cursor: Cursor) -> Message:
    line = _REQUEST_LINE.fullmatch(text := cursor.line())
    if line is None:
        raise Violation(f"request line {text[:80]!r}")
    message = Message((line[1], line[2]), cursor.fields())
    hosts = message.values(b"host")
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise Violation(f"Host {hosts}")
    length = _length(message.fields)
    if length is None:
        _read_chunks(cursor, message)
    else:
        message.body = cursor.take(max(length, 0))
    return message


def read_answer(cursor: Cursor, *, head_only: bool, ended: bool) -> Message:
    """The next final answer, interim ones skipped. `ended`: the connection has closed behind these bytes."""
    message = read_answer_head(cursor)
    while 100 <= message.status < 200:
        if message.status == 101:
            raise Violation("a switch of protocols")
        framed = message.values(b"content-length") or message.values(b"transfer-encoding")
        if framed and not cursor.tolerant:
            raise Violation("an interim answer with a body")
        message = read_answer_head(cursor)
    return read_answer_body(cursor, message, head_only=head_only, ended=ended)


def read_answer_head(cursor: Cursor) -> Message:
    while cursor.tolerant and cursor.rest[:1] in (b"\r", b"\n"):
        cursor.at += 1
    line = _STATUS_LINE.fullmatch(text := cursor.line())
    if line is None or (line[3] is None and not cursor.tolerant):
        raise Violation(f"status line {text[:80]!r}")
    return Message((line[2], line[3] or b""), cursor.fields(), version=line[1])


def read_answer_body(cursor: Cursor, message: Message, *, head_only: bool, ended: bool) -> Message:
    codings = message.values(b"transfer-encoding")
    if codings and (message.version == b"0" or (message.status == 204 and not cursor.tolerant)):
        raise Violation("Transfer-Encoding where there can be none")
    length = _length(message.fields)
    if head_only or message.status in (204, 304):
        return message
    if length is None:
        _read_chunks(cursor, message)
    elif length >= 0:
        message.body = cursor.take(length)
    else:
        message.until_close = True
        message.body = cursor.rest
        cursor.at = len(cursor.raw)
        if not ended:
            raise Incomplete(message.body)
    return message


def _length(fields: Fields) -> int | None:
    """Body length: None for chunked, -1 where no field tells."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if lengths and codings:
        raise Violation("both framings")
    if len(lengths) > 1 or any(not re.fullmatch(rb"[0-9]+", value) for value in lengths):
        raise Violation(f"Content-Length {lengths}")
    if codings and [value.lower() for value in codings] != [b"chunked"]:
        raise Violation(f"Transfer-Encoding {codings}")
    if codings:
        return None
    return int(lengths[0]) if lengths else -1


def _read_chunks(cursor: Cursor, message: Message) -> None:
    try:
        while True:
            line = cursor.line()
            match = _CHUNK.fullmatch(line)
            if match is None or (match[2] and not cursor.tolerant):
                raise Violation(f"chunk line {line[:80]!r}")
            size = int(match[1], 16)
            if size == 0:
                message.trailers = cursor.fields()
                return
            try:
                message.body += cursor.take(size)
            except Incomplete as error:
                message.body += error.body
                raise
            if cursor.take(2) != b"\r\n":
                raise Violation("no line end after a chunk")
    except Incomplete:
        raise Incomplete(message.body) from None
