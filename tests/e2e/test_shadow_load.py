"""What shadowing costs the clients: nothing that they could notice, whatever the candidate does. Long: `make soak`."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench.origin
from bench.load import get_small_requests
from bench.openloop import Latencies, Pace, measure
from bench.origin import SMALL
from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.tally import samples

RATE_PER_S = 1000
ROUNDS = 5
ROUND_S = 4.0
LONG_S = 300.0
CONFIG = """
version: 1
server: {{listen: "{{data}}"}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
telemetry: {{access_log: "off"}}
upstreams:
  monolith: {{endpoints: ["{legacy}"]}}
  service: {{endpoints: ["{extracted}"], timeouts: {{response_s: 30, body_s: 30}}}}
default: monolith
seams:
  items:
    routes: [{{path: "/bench/**"}}]
    extracted: service
    sticky_by: [header.x-user-id]
    shadow: {{sample_percent: 100, max_per_s: null, timeout_s: 30, max_in_flight: 16}}
"""


CANDIDATE = """
import asyncio, sys

async def hold(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    await asyncio.sleep(30)
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")

async def reset(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.transport.abort()

async def stream(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
    while not writer.is_closing():
        writer.write(b"400\\r\\n" + b"x" * 1024 + b"\\r\\n")
        await asyncio.sleep(0.01)

async def main():
    async def serve(reader, writer):
        try:
            await globals()[sys.argv[1]](reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextlib.contextmanager
def candidate_that(fails: str) -> Iterator[str]:
    """Where a process listens that holds, resets or streams for ever."""
    with subprocess.Popen([sys.executable, "-c", CANDIDATE, fails], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


@contextlib.contextmanager
def running(folder: Path, candidate: str) -> Iterator[Fig]:
    """Both sides are processes of their own: a thread beside the load would wait for it, and it for the thread."""
    legacy = bench.origin.Origin(folder, None, own=True)
    try:
        legacy.wait()
        with candidate_that(candidate) as extracted:
            text = CONFIG.format(legacy=f"http://127.0.0.1:{legacy.legacy}", extracted=extracted)
            with Fig(folder, text) as fig:
                yield fig
    finally:
        legacy.stop()


def load(fig: Fig, seconds: float) -> Latencies:
    return measure(fig.port, get_small_requests(), Pace(RATE_PER_S, seconds, 64))


def stage(fig: Fig, name: str) -> None:
    assert fig.call("POST", "/api/seams/items/shift", stage=name).status_code == 200


def answer(fig: Fig) -> tuple[int, list[tuple[str, str]], bytes]:
    with RawClient(fig.address) as client:
        got = client.get(SMALL)
    return got.status, [line for line in got.fields if line[0] not in ("x-request-id", "date")], got.body


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("candidate", ["hold", "reset", "stream"])
def test_clients_do_not_notice(tmp_path: Path, candidate: str) -> None:
    """p99 with everything shadowed ≤ 1.1 × without, or ≤ + 0.5 ms, medians of rounds in turn; no answer over 1 s."""
    with running(tmp_path, candidate) as fig:
        load(fig, 2.0)
        p99: dict[str, list[float]] = {"legacy": [], "shadow": []}
        bytes_by: dict[str, set[str]] = {"legacy": set(), "shadow": set()}
        for _ in range(ROUNDS):
            for name in p99:
                stage(fig, name)
                found = load(fig, ROUND_S)
                assert (found.unanswered, found.seconds[-1] < 1.0) == (0, True)
                p99[name].append(found.percentile(99))
                bytes_by[name].add(repr(answer(fig)))
        off, on = (statistics.median(p99[name]) for name in ("legacy", "shadow"))
        print(f"{candidate}: p99 {1000 * off:.2f} ms without, {1000 * on:.2f} ms with")
        assert bytes_by["legacy"] == bytes_by["shadow"]
        assert on <= max(1.1 * off, off + 0.0005)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_memory_is_bounded_while_the_candidate_hangs(tmp_path: Path) -> None:
    with running(tmp_path, "hold") as fig:
        stage(fig, "shadow")
        load(fig, 20.0)
        before = fig.rss_bytes()
        found = load(fig, LONG_S)
        grown = fig.rss_bytes() - before
        print(f"RSS {grown / 2**20:+.1f} MiB over {LONG_S:g} s; slowest {1000 * found.seconds[-1]:.0f} ms")
        assert (found.unanswered, found.seconds[-1] < 1.0) == (0, True)
        assert grown < 20 * 2**20
        dropped = sum(count for (name, labels), count in samples(fig).items() if ("outcome", "dropped") in labels)
        assert dropped > 0.9 * RATE_PER_S * LONG_S
