"""Parsers of independent servers, fed with bytes instead of sockets: do they all read the same requests?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import h11
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser

Reading = list[tuple[bytes, bytes, bytes]]  # method, target, body of each complete request

_GUNICORN = Config()
_GUNICORN.set("limit_request_line", 0)
_GUNICORN.set("limit_request_fields", 1000)
_GUNICORN.set("limit_request_field_size", 0)
_GUNICORN.set("http_parser", "python")
_WAITRESS = Adjustments()


class _Cut(Exception):
    """The bytes are used up: a server would wait for more."""


def h11_reads(raw: bytes) -> Reading:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(raw)
    found: Reading = []
    while True:
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            return found
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
        if not isinstance(event, h11.EndOfMessage):
            return found
        found.append((request.method, request.target, body))
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()


def gunicorn_reads(raw: bytes) -> Reading:
    def source() -> Iterator[bytes]:
        yield raw
        raise _Cut  # an end would be taken for that of a body

    found: Reading = []
    try:
        for request in RequestParser(_GUNICORN, source(), ("127.0.0.1", 1)):
            body = request.body.read()
            found.append((request.method.encode("latin-1"), request.uri.encode("latin-1"), body))
    except _Cut:
        pass
    return found


def waitress_reads(raw: bytes) -> Reading:
    found: Reading = []
    while raw:
        parser = HTTPRequestParser(_WAITRESS)
        while raw and not parser.completed:
            raw = raw[parser.received(raw) :]
        if not parser.completed:
            break
        if parser.error is not None:
            raise ValueError(parser.error.body)
        if not parser.empty:
            body = parser.get_body_stream().read()
            found.append((parser.command.encode("latin-1"), parser.request_uri.encode("latin-1"), body))
        parser.close()
    return found


READERS: dict[str, Callable[[bytes], Reading]] = {
    "h11": h11_reads,
    "gunicorn": gunicorn_reads,
    "waitress": waitress_reads,
}
