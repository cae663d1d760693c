"""The body of one request on its way from the edge to an upstream. Knows no framing: bytes in, bytes out, one pace."""

from __future__ import annotations

from typing import Protocol

from proxy.errors import BodyTooLarge, ProxyError
from proxy.messages import Headers

HIGH_WATER = 64 * 1024
REPLAYABLE = 32 * 1024


class Source(Protocol):
    """Whoever pours bytes into a sink; the sink sets the pace."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Upload(Source, Protocol):
    """A request body as its sink sees it. `withheld`: the client sends nothing until `proceed` (or on its own)."""

    @property
    def withheld(self) -> bool: ...
    def proceed(self) -> None: ...


class BodySink(Protocol):
    """Where a request body goes."""

    def open_body(self, upload: Upload) -> None: ...
    def write_body(self, data: bytes) -> None: ...
    def end_body(self, trailers: Headers) -> None: ...
    def abort_body(self, error: ProxyError) -> None: ...


class Uploader(Protocol):
    """The connection that the body comes from."""

    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def send_continue(self) -> None: ...


class _Nobody:
    """Where a body comes from that is here already."""

    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def send_continue(self) -> None: ...


def pour_whole(data: bytes, sink: BodySink) -> None:
    """Send a body that is here already, and its end."""
    body = RequestBody(_Nobody())
    body.feed(data)
    body.end()
    body.pour(sink)


class RequestBody:
    """The body of one request, from the edge to whoever forwards it.

    Bytes that arrive before `pour` wait here, at most HIGH_WATER plus one read. What was poured is kept up to
    REPLAYABLE bytes, so that a body that small can be poured once more. `received` counts bytes; past `limit` of them
    `feed` raises BodyTooLarge. `trailers` are the fields after a chunked body that may go on.
    """

    __slots__ = (
        "_buffer",
        "_edge",
        "_kept",
        "_sink",
        "buffered",
        "ended",
        "error",
        "limit",
        "received",
        "trailers",
        "unwanted",
        "withheld",
    )

    def __init__(self, edge: Uploader, limit: int | None = None) -> None:
        self._edge = edge
        self._buffer: list[bytes] = []
        self._sink: BodySink | None = None
        self.buffered = 0
        self.received = 0
        self.limit = limit
        self.ended = False
        self.error: ProxyError | None = None
        self.trailers: Headers = []
        self.unwanted: frozenset[bytes] = frozenset()  # lower-case names of trailers that go no further
        self.withheld = False
        self._kept: list[bytes] | None = []

    def pour(self, sink: BodySink) -> None:
        """Send what is here and what will come into `sink`; from now on `sink` sets the pace."""
        if self.error is not None:
            sink.abort_body(self.error)
            return
        sink.open_body(self)
        self._sink = sink
        buffer, self._buffer, self.buffered = self._buffer, [], 0
        if not self.ended:
            self.resume()  # before the write, which may pause it again
        if buffer:
            self._write(sink, b"".join(buffer))
        if self.ended:
            self._sink = None
            sink.end_body(self._wanted_trailers())

    def _wanted_trailers(self) -> Headers:
        unwanted = self.unwanted
        return [line for line in self.trailers if line[0].lower() not in unwanted] if unwanted else self.trailers

    def proceed(self) -> None:
        """Tell a client that holds the body back to go on."""
        if self.withheld:
            self.withheld = False
            self._edge.send_continue()

    @property
    def replayable(self) -> bool:
        """Whether `rewind` would succeed."""
        return self._kept is not None and self.error is None

    def whole(self) -> bytes | None:
        """All of it, where it has ended and no byte is gone."""
        if self._kept is None or self.error is not None or not self.ended:
            return None
        return b"".join(self._kept + self._buffer)

    def rewind(self) -> bool:
        """Make ready for another `pour` from the first byte; False where that byte is not here any more."""
        kept = self._kept
        if kept is None or self.error is not None:
            return False
        self._sink = None
        self._buffer, self._kept = kept + self._buffer, []
        self.buffered = sum(map(len, self._buffer))
        return True

    def detach(self) -> None:
        """Whatever still comes is of no use; the edge drops it or closes."""
        self._sink = None
        self._buffer, self.buffered = [], 0
        self._kept = None

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        if self.limit is not None and self.received > self.limit:
            raise BodyTooLarge(f"A request body may have at most {self.limit} bytes here.")
        self.withheld = False
        if self._sink is not None:
            self._write(self._sink, data)
        else:
            self._buffer.append(data)
            self.buffered += len(data)
            if self.buffered > HIGH_WATER:
                self.pause()

    def _write(self, sink: BodySink, data: bytes) -> None:
        if self._kept is not None:
            self._kept.append(data)
            if self.received > REPLAYABLE:
                self._kept = None
        sink.write_body(data)

    def end(self) -> None:
        self.ended = True
        self.withheld = False
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink.end_body(self._wanted_trailers())

    def fail(self, error: ProxyError) -> None:
        if self.ended or self.error is not None:
            return
        self.error = error
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink.abort_body(error)

    def pause(self) -> None:
        if not self.ended:  # nobody would resume: the sink is done with it, and fig must hear when the client leaves
            self._edge.pause_body()

    def resume(self) -> None:
        self._edge.resume_body()
