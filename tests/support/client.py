"""A client on a raw socket: sends the bytes given, reads answers strictly, hides nothing."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType


@dataclass
class Answer:
    """`complete` False: the body ended before its framing said so."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes = b""
    complete: bool = True
    version: str = "1.1"
    trailers: list[str] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def value(self, name: str) -> str | None:
        values = self.values(name)
        return values[0] if values else None


class RawClient:
    """One connection to `(host, port)`; `window_bytes` makes the kernel take little ahead of the reader."""

    def __init__(self, address: tuple[str, int], timeout_s: float = 10.0, window_bytes: int | None = None) -> None:
        self.sock = socket.socket()
        if window_bytes is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
        self.sock.settimeout(timeout_s)
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        self.buffer = b""
        self.closed = False

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def get(self, target: str = "/", *headers: str, method: str = "GET", head: bool = False) -> Answer:
        lines = "".join(f"{line}\r\n" for line in headers)
        self.send(f"{method} {target} HTTP/1.1\r\nHost: proxy.test\r\n{lines}\r\n".encode("latin-1"))
        return self.answer(head_only=head or method == "HEAD")

    def _more(self) -> bool:
        try:
            data = self.sock.recv(262144)
        except (ConnectionError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            data = b""
        if not data:
            self.closed = True
        self.buffer += data
        return bool(data)

    def head(self) -> Answer | None:
        """The next status line and fields; None when the connection ends first."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                return None
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        version, status, *_ = lines[0].split(" ")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        return Answer(int(status), fields, version=version.removeprefix("HTTP/"))

    def answer(self, *, head_only: bool = False) -> Answer:
        """The next final answer, interim ones skipped. AssertionError when there is none."""
        answer = self.head()
        while answer is not None and 100 <= answer.status < 200 and answer.status != 101:
            answer = self.head()
        assert answer is not None, "the connection ended without an answer"
        if head_only or answer.status in (101, 204, 304):
            return answer
        if answer.value("transfer-encoding") == "chunked":
            self._chunks(answer)
        elif answer.value("content-length") is not None:
            length = int(answer.value("content-length") or 0)
            while len(self.buffer) < length and self._more():
                pass
            answer.body, self.buffer = self.buffer[:length], self.buffer[length:]
            answer.complete = len(answer.body) == length
        else:
            while self._more():
                pass
            answer.body, self.buffer = self.buffer, b""
        return answer

    def _chunks(self, answer: Answer) -> None:
        while True:
            line = self._line()
            if line is None:
                answer.complete = False
                return
            size = int(line.split(b";")[0], 16)
            if size == 0:
                while (trailer := self._line()) not in (b"", None):
                    assert trailer is not None
                    answer.trailers.append(trailer.decode("latin-1"))
                answer.complete = trailer == b""
                return
            while len(self.buffer) < size + 2 and self._more():
                pass
            if len(self.buffer) < size + 2:
                answer.body += self.buffer
                answer.complete = False
                return
            answer.body += self.buffer[:size]
            self.buffer = self.buffer[size + 2 :]

    def _line(self) -> bytes | None:
        while b"\r\n" not in self.buffer:
            if not self._more():
                return None
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def ends(self, timeout_s: float = 5.0) -> bool:
        """Whether the proxy closes within the time, saying nothing more."""
        self.sock.settimeout(timeout_s)
        try:
            while self._more():
                pass
        except TimeoutError:
            return False
        return not self.buffer
