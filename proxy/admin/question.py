"""A request that somebody asks about, read by the same parser and rules as one from the wire. Knows no seam."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

import httptools

from proxy.config.model import Server
from proxy.errors import BadRequest, UnknownMethod
from proxy.messages import Headers, RequestHead
from proxy.wire.head import read_head

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_TARGET = re.compile(rb"[^\x00-\x20\x7f]+")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")  # RFC 9110 5.5


def build_request(
    method: str, target: str, headers: Iterable[tuple[str, str]], peer: str, server: Server
) -> RequestHead:
    """`target` is a path with or without query, or an http URL; without Host the data port's own address is meant.

    Raises a Rejected where the edge would refuse such a request.
    """
    lines = [(name.encode(), value.strip(" \t").encode()) for name, value in headers]
    if not any(name.lower() == b"host" for name, _ in lines):
        lines.insert(0, (b"Host", server.listen.encode("ascii")))
    head = _Head()
    text = _serialised(method.encode(), target.encode(), lines)
    _feed(head, text)
    return read_head(method, head.url, "1.1", head.headers, server.limits, fed=len(text), peer=peer, scheme="http")


def _serialised(method: bytes, target: bytes, lines: Headers) -> bytes:
    """The head as bytes, with nothing in it that would begin another line."""
    if not _TOKEN.fullmatch(method):
        raise BadRequest("The method is not a token.")
    if not _TARGET.fullmatch(target):
        raise BadRequest("The request target is empty, or has a space or control character.")
    for name, value in lines:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadRequest(
                f"Header {name.decode()!r}: the name is not a token, or the value has a control character."
            )
    fields = b"".join(b"%b: %b\r\n" % line for line in lines)
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, fields)


def _feed(head: _Head, data: bytes) -> None:
    with contextlib.suppress(httptools.HttpParserUpgrade):  # fig goes on as HTTP/1.1
        try:
            httptools.HttpRequestParser(head).feed_data(data)
        except httptools.HttpParserInvalidMethodError:
            raise UnknownMethod("The method is none that fig knows; methods are case-sensitive.") from None
        except httptools.HttpParserError as error:
            raise BadRequest(f"{error}.") from None


class _Head:
    """What the parser finds."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: Headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value.strip(b" \t")))
