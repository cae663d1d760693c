"""Many clients that cost the proxy something and give nothing: idle ones, silent ones, ones that drip a head."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import time


def allow_files(count: int) -> None:
    """Raise this process's limit of open files, which what it starts inherits. AssertionError when that cannot be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= count, f"`ulimit -Hn` is {hard}: {count} files are needed"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def connect(port: int, count: int) -> list[socket.socket]:
    socks = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port), 10)
        socks.append(sock)
    return socks


class Crowd:
    """`dripping` clients send a byte of a head each second, `silent` ones nothing; all began at `began`.

    `gone` are seconds from `began` to the end of each connection that fig has ended.
    """

    def __init__(self, port: int, dripping: int, silent: int) -> None:
        self.gone: list[float] = []
        self._selector = selectors.DefaultSelector()
        self._dripping = connect(port, dripping)
        for sock in self._dripping:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: proxy.test\r\nX-Slow: ")
        for sock in [*self._dripping, *connect(port, silent)]:
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        self.began = time.monotonic()

    @property
    def left(self) -> int:
        return len(self._selector.get_map())

    def run(self, seconds: float) -> None:
        """Until the time is over or all are gone."""
        end, drip_at = time.monotonic() + seconds, 0.0
        while self.left and (now := time.monotonic()) < end:
            if now >= drip_at:
                drip_at = now + 1
                for sock in self._dripping:
                    with contextlib.suppress(OSError):
                        sock.send(b"x")
            for key, _ in self._selector.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if self._ended(sock):
                    self._selector.unregister(sock)
                    sock.close()
                    self.gone.append(time.monotonic() - self.began)

    @staticmethod
    def _ended(sock: socket.socket) -> bool:
        try:
            return not sock.recv(4096)
        except OSError:
            return True

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            sock.close()
        self._selector.close()
