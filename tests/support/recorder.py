"""An origin's script that keeps every byte it is sent and reads them strictly."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tests.support.origin import Connection
from tests.support.strict import Cursor, Incomplete, Message, Violation, read_request
from tests.support.wire import until


@dataclass
class Log:
    """One connection. `done` counts the bytes of complete requests, `taken` those that were judged already."""

    raw: bytes = b""
    done: int = 0
    taken: int = 0
    closed: bool = False
    wrong: str | None = None


@dataclass(frozen=True)
class Taken:
    """What one connection got since the last time: its bytes, and whether they end inside a request."""

    raw: bytes
    partial: bool
    wrong: str | None


class Recorder:
    """Answers request N with `X-Origin-Request: N` and `body_of(N)`, by length or in chunks."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self._logs: list[Log] = []
        self._lock = threading.Lock()

    @staticmethod
    def body_of(number: int) -> bytes:
        return b"%d|" % number * (1 + number % 50)

    def __call__(self, connection: Connection) -> None:
        log = Log()
        with self._lock:
            self._logs.append(log)
        try:
            while data := connection.recv():
                log.raw += data
                self._answer_all(connection, log)
        except Violation as error:
            log.wrong = str(error)
        finally:
            log.closed = True

    def _answer_all(self, connection: Connection, log: Log) -> None:
        cursor = Cursor(log.raw, log.done)
        while cursor.rest:
            try:
                request = read_request(cursor)
            except Incomplete:
                return
            with self._lock:
                number = len(self.requests)
                self.requests.append(request)
            log.done = cursor.at
            connection.send(self._answer(number, request))

    def _answer(self, number: int, request: Message) -> bytes:
        body = self.body_of(number)
        head = b"HTTP/1.1 200 OK\r\nX-Origin-Request: %d\r\n" % number
        if number % 2:
            head += b"Content-Length: %d\r\n\r\n" % len(body)
        else:
            head += b"Transfer-Encoding: chunked\r\n\r\n"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return head if request.line[0] == b"HEAD" else head + body

    def take(self) -> list[Taken]:
        """What came since the last call. AssertionError where a request that is cut short stays open for a second."""
        with self._lock:
            logs = list(self._logs)
        assert until(lambda: all(log.closed or log.done == len(log.raw) for log in logs), 1), (
            "half a request stays open"
        )
        found = [
            Taken(log.raw[log.taken :], log.done < len(log.raw), log.wrong) for log in logs if log.taken < len(log.raw)
        ]
        for log in logs:
            log.taken = len(log.raw)
        with self._lock:
            self._logs = [log for log in self._logs if not log.closed]
        return found
