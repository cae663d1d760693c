"""A scripted origin on raw sockets: it says exactly the bytes that a test wants said."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Request:
    """What arrived: the head as sent, fields with lower-case names, the body as framed on the wire."""

    line: str
    fields: list[tuple[str, str]]
    head: bytes
    body: bytes = b""
    complete: bool = False

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def value(self, name: str) -> str | None:
        values = self.values(name)
        return values[0] if values else None


class Connection:
    """One connection that the proxy made."""

    def __init__(self, sock: socket.socket, origin: Origin) -> None:
        self.sock = sock
        self.requests = origin.requests  # of this script: what a `reset` left behind goes to the old list
        self.buffer = b""
        self.eof = False

    def recv(self) -> bytes:
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.eof = True
        return data

    def read_head(self) -> Request | None:
        while b"\r\n\r\n" not in self.buffer:
            data = self.recv()
            if not data:
                return None
            self.buffer += data
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        request = Request(lines[0], fields, head + b"\r\n\r\n")
        self.requests.append(request)
        return request

    def read_body(self, request: Request) -> bytes:
        """The body by its framing. `request.complete` stays False when it ends early."""
        if request.value("transfer-encoding") == "chunked":
            self._read_chunks(request)
        else:
            length = int(request.value("content-length") or 0)
            while len(self.buffer) < length and not self.eof:
                self.buffer += self.recv()
            request.body, self.buffer = self.buffer[:length], self.buffer[length:]
            request.complete = len(request.body) == length
        return request.body

    def _read_chunks(self, request: Request) -> None:
        while True:
            while b"\r\n" not in self.buffer:
                data = self.recv()
                if not data:
                    return
                self.buffer += data
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            while len(self.buffer) < size + 2 and not self.eof:
                self.buffer += self.recv()
            if len(self.buffer) < size + 2:
                request.body += self.buffer
                return
            request.body += self.buffer[:size]
            self.buffer = self.buffer[size + 2 :]
            if size == 0:
                request.complete = True
                return

    def read(self) -> Request | None:
        request = self.read_head()
        if request is not None:
            self.read_body(request)
        return request

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_closed(self, timeout_s: float = 5.0) -> bool:
        """Whether the proxy closes within the time."""
        self.sock.settimeout(timeout_s)
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True


Behaviour = Callable[[Connection], None]


def ok(connection: Connection) -> None:
    """Answer every request with 200 and `ok`, keeping the connection."""
    while (request := connection.read()) is not None:
        head_only = request.line.startswith("HEAD ")
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + (b"" if head_only else b"ok"))


def resetting(connection: Connection) -> None:
    """Take a request, and reset the connection."""
    connection.read()
    connection.reset()


def saying(*answers: bytes, close: bool = False) -> Behaviour:
    """Answer the requests of a connection with these bytes, the last one again and again."""

    def behave(connection: Connection) -> None:
        turn = 0
        while connection.read() is not None:
            connection.send(answers[min(turn, len(answers) - 1)])
            turn += 1
            if close:
                return

    return behave


@dataclass
class Origin:
    """Listens on a free loopback port and runs `behave` for each connection in a thread of its own."""

    behave: Behaviour = ok
    requests: list[Request] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._last: tuple[str, int] | None = None
        self._accepted = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reset(self, behave: Behaviour = ok) -> None:
        """A new script, and no connection left from the old one."""
        self._accept_all()
        self.behave = behave
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        self.connections, self.requests = [], []

    def _accept_all(self) -> None:
        """Wait for what the kernel has completed and the thread not yet accepted: it belongs to the old script."""
        with contextlib.suppress(OSError), socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            self._last = last.getsockname()
            self._accepted.clear()
            last.connect(("127.0.0.1", self.port))
            self._accepted.wait(5)

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            if peer == self._last:
                sock.close()
                self._accepted.set()
                continue
            connection = Connection(sock, self)
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            self.behave(connection)
        connection.sock.close()

    def deafen(self) -> None:
        """Listen no more; connections that are there stay."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def close(self) -> None:
        self.deafen()
        self._acceptor.join(5)
        self.reset()


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose queue of connections is full: connecting to it gets no answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fill = [socket.socket() for _ in range(4)]
        for sock in fill:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])
        for sock in fill:
            sock.close()
