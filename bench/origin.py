"""The origin behind every proxy: two addresses that serve the same fixed bodies. Knows no proxy.

nginx where it is installed. Else `python -m bench.origin LEGACY_PORT EXTRACTED_PORT`, an asyncio server of its own:
slower, so throughput then says less and CPU time per request stays true.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

from bench.nginx import GLOBAL, HTTP, find_nginx
from bench.process import Process, free_port

SMALL_BYTES = 311
FILES = {"/bench/16k": 16 * 1024, "/bench/1m": 1024 * 1024}
UPLOAD = "/bench/upload"
SMALL = "/bench/311"


def small_body() -> bytes:
    """A JSON object of SMALL_BYTES bytes."""
    empty = json.dumps({"id": 1, "name": ""})
    return json.dumps({"id": 1, "name": "x" * (SMALL_BYTES - len(empty))}).encode()


class Origin:
    """`legacy` and `extracted` are its ports; the answer header X-Origin names the side."""

    def __init__(self, folder: Path, core: int | None, *, own: bool = False) -> None:
        self.legacy, self.extracted = free_port(), free_port()
        nginx = None if own else find_nginx()
        self.kind = "asyncio" if nginx is None else "nginx"
        argv = self._own() if nginx is None else self._nginx(nginx, folder)
        self._process = Process("origin", argv, folder, core)

    def wait(self) -> None:
        """Until both addresses answer. Raises RuntimeError."""
        for port in (self.legacy, self.extracted):
            self._process.wait_until_answers(port, SMALL)

    def stop(self) -> None:
        self._process.stop()

    def _own(self) -> list[str]:
        return [sys.executable, "-m", "bench.origin", str(self.legacy), str(self.extracted)]

    def _nginx(self, nginx: str, folder: Path) -> list[str]:
        home = folder / "origin"
        for path, size in FILES.items():
            file = home / path.removeprefix("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x" * size)
        config = home / "nginx.conf"
        config.write_text(_nginx_config(home, {"legacy": self.legacy, "extracted": self.extracted}))
        return [nginx, "-p", str(home), "-e", "stderr", "-c", str(config)]


def _nginx_config(home: Path, ports: dict[str, int]) -> str:
    """An upload is read to its end before it is answered, through a second hop: else proxies see early answers."""
    body = small_body().decode()
    servers = "".join(
        f"""
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {home};
    add_header X-Origin {side};
    open_file_cache max=16;
    client_body_buffer_size 64k;
    location = {SMALL} {{ default_type application/json; return 200 '{body}'; }}
    location = {UPLOAD} {{ proxy_pass http://sink; proxy_pass_request_body off; proxy_set_header Content-Length ""; }}
    location / {{ }}
  }}"""
        for side, port in ports.items()
    )
    return f"""{GLOBAL}
http {{{HTTP}
  upstream sink {{ server unix:{home}/sink.sock; keepalive 1024; }}
  server {{ listen unix:{home}/sink.sock; location / {{ default_type application/json; return 200 '{body}'; }} }}
{servers}
}}
"""


class _Protocol(asyncio.Protocol):
    """As much HTTP/1.1 as the load generators speak: heads, Content-Length, keep-alive."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            length = end + 4 + content_length(head)
            if len(self._received) < length:
                return
            del self._received[:length]
            self._transport.write(self._answers.get(head.split(b" ", 2)[1], _NOT_FOUND))


_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def content_length(head: bytes) -> int:
    """The Content-Length of a head without its empty line, 0 when it has none."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _answers(side: str) -> dict[bytes, bytes]:
    bodies = {SMALL: small_body(), UPLOAD: small_body()} | {path: b"x" * size for path, size in FILES.items()}
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Origin: {side}\r\nContent-Length: "
    return {path.encode(): f"{head}{len(body)}\r\n\r\n".encode() + body for path, body in bodies.items()}


async def _serve(ports: dict[str, int]) -> None:
    loop = asyncio.get_running_loop()
    for side, port in ports.items():
        await loop.create_server(partial(_Protocol, _answers(side)), "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve({"legacy": int(sys.argv[1]), "extracted": int(sys.argv[2])}))
