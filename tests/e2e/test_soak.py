"""Long or heavy runs: `make soak`. Small ones of the same kind stand in the default suite."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.load import Background
from tests.support.origin import Connection, Origin

CONFIG = """
version: 1
server: {listen: "{data}"}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
upstreams: {origin: {endpoints: ["ORIGIN"]}}
default: origin
"""
MIB = 1024 * 1024


def _download(size: int) -> object:
    def behave(connection: Connection) -> None:
        while connection.read() is not None:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // MIB):
                connection.send(b"x" * MIB)

    return behave


def _upload(connection: Connection) -> None:
    request = connection.read_head()
    assert request is not None
    length, got = int(request.value("content-length") or 0), len(connection.buffer)
    while got < length:
        got += len(connection.sock.recv(1 << 20))
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n%010d" % got)


def _bodies(folder: Path, size: int) -> tuple[int, int]:
    """RSS growth in bytes for a download and an upload of `size` bytes."""
    origin = Origin()
    try:
        with Fig(folder, CONFIG.replace("ORIGIN", origin.url)) as fig:
            with RawClient(fig.address) as client:
                client.get("/warm")
            origin.reset(_download(size))  # type: ignore[arg-type]
            before = fig.rss_bytes()
            download = _fetch(fig, size) - before
            origin.reset(_upload)
            before = fig.rss_bytes()
            upload = _send(fig, size) - before
    finally:
        origin.close()
    return download, upload


def _fetch(fig: Fig, size: int) -> int:
    peak = 0
    with RawClient(fig.address, timeout_s=60) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
        head = client.head()
        assert head is not None
        got, mark = len(client.buffer), 0
        while got < size:
            got += len(client.sock.recv(1 << 20))
            if got - mark > 64 * MIB:
                mark, peak = got, max(peak, fig.rss_bytes())
        assert got == size
    return max(peak, fig.rss_bytes())


def _send(fig: Fig, size: int) -> int:
    peak = 0
    with RawClient(fig.address, timeout_s=60) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: %d\r\n\r\n" % size)
        for number in range(size // MIB):
            client.sock.sendall(b"x" * MIB)
            if number % 64 == 0:
                peak = max(peak, fig.rss_bytes())
        assert client.answer().body == b"%010d" % size
    return max(peak, fig.rss_bytes())


async def _abandon(port: int, count: int, at_once: int) -> None:
    """Ask and leave without waiting, `count` times."""
    gate = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with gate:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /%d HTTP/1.1\r\nHost: proxy.test\r\n\r\n" % number)
            await writer.drain()
            await asyncio.sleep(0.001 * (number % 7))
            writer.transport.abort() if number % 2 else writer.close()

    await asyncio.gather(*(one(number) for number in range(count)))


async def _slow_server() -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(0.02)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2048)


def _cancelled(folder: Path, count: int) -> None:
    background = Background()
    try:
        server = background.run(_slow_server())
        port = server.sockets[0].getsockname()[1]
        with Fig(folder, CONFIG.replace("ORIGIN", f"http://127.0.0.1:{port}")) as fig:
            background.run(_abandon(fig.port, count, 200), timeout_s=300)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                text = fig.call("GET", "/metrics").text
                if 'fig_in_flight{upstream="origin"} 0.0' in text and 'fig_connections{state="active"} 0.0' in text:
                    break
                time.sleep(0.05)
            assert 'fig_in_flight{upstream="origin"} 0.0' in text
            upstreams = fig.call("GET", "/api/upstreams").json()
            assert '"in_use": 0' in str(upstreams).replace("'", '"')
            with RawClient(fig.address) as client:
                assert client.get("/after").status == 200
            assert "Traceback" not in fig.errors()
        background.run(_closed(server))
    finally:
        background.close()


async def _closed(server: asyncio.Server) -> None:
    server.close()


def test_large_bodies_pass_in_little_memory(tmp_path: Path) -> None:
    download, upload = _bodies(tmp_path, 128 * MIB)
    assert download <= 20 * MIB
    assert upload <= 20 * MIB


def test_cancelled_requests_leave_no_upstream_connection_in_use(tmp_path: Path) -> None:
    _cancelled(tmp_path, 600)


@pytest.mark.soak
def test_a_gibibyte_each_way_grows_rss_by_at_most_20_mib(tmp_path: Path) -> None:
    download, upload = _bodies(tmp_path, 1024 * MIB)
    print(f"RSS growth: download {download / MIB:.1f} MiB, upload {upload / MIB:.1f} MiB")
    assert download <= 20 * MIB
    assert upload <= 20 * MIB


@pytest.mark.soak
def test_ten_thousand_cancelled_requests_leave_nothing(tmp_path: Path) -> None:
    _cancelled(tmp_path, 10_000)
