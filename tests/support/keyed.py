"""A credential added to requests as bytes, whatever else is wrong with them: nothing but the heads grows."""

from __future__ import annotations

import re

from tests.support.strict import Cursor, Incomplete, Violation, read_request

_HOST = re.compile(rb"\r\nhost:[^\r\n]*(?=\r\n)", re.IGNORECASE)


def keyed(data: bytes, line: bytes) -> bytes:
    """`line` after the Host of each request in a row, or else after its first line; of what comes after the first that
    is none, no more than its own head is looked at. What stands in a body stays as it is."""
    done, cursor = b"", Cursor(data)
    while cursor.rest:
        start = cursor.at
        try:
            read_request(cursor)
        except (Violation, Incomplete):
            return done + _with(data[start:], line)
        done += _with(data[start : cursor.at], line)
    return done


def _with(request: bytes, line: bytes) -> bytes:
    head, blank, body = request.partition(b"\r\n\r\n")
    host = _HOST.search(head + b"\r\n")
    at = host.end() if host is not None else head.find(b"\r\n") if b"\r\n" in head else len(head)
    return head[:at] + b"\r\n" + line + head[at:] + blank + body
