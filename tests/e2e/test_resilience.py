"""What a dying service may do to anybody else: nothing. Real sockets, and the service's own log as witness."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.load import Background, Load
from tests.support.service import Ask, Service, answer, well
from tests.support.wire import metric, until

CONFIG = """
version: 1
server: {{listen: "{{data}}", debug_headers: true}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
telemetry: {{access_log: "off"}}
upstreams:
  old: {{endpoints: ["{old}"], timeouts: {{connect_s: 1, response_s: 10}}}}
  new: {{endpoints: ["{new}"], timeouts: {{connect_s: 1, response_s: 20}}{upstream}}}
default: old
seams:
  api:
    routes: [{{path: "/api/**"}}]
    extracted: new
    sticky_by: [header.x-user-id]
    {seam}
  other:
    routes: [{{path: "/other/**"}}]
    legacy: old
"""
OPEN = "breaker: {failures: 5, window_s: 2, failure_ratio: 0.5, open_s: 1}"


class Stage:
    """A legacy and an extracted service, and figs between them."""

    def __init__(self, background: Background, folder: Path) -> None:
        self.background = background
        self.folder = folder
        self.old, self.new = Service("legacy"), Service("extracted")
        self.figs: list[Fig] = []
        background.run(self.old.start())
        background.run(self.new.start())

    def fig(self, seam: str, upstream: str = "") -> Fig:
        text = CONFIG.format(old=self.old.url, new=self.new.url, seam=seam, upstream=upstream)
        self.figs.append(Fig(self.folder, text).start())
        return self.figs[-1]

    def close(self) -> None:
        for fig in self.figs:
            fig.stop()
            assert "Traceback" not in fig.errors(), fig.errors()
        self.background.run(self.old.die())
        self.background.run(self.new.die())


@pytest.fixture
def stage(background: Background, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(background, tmp_path)
    yield made
    made.close()


def breaker(fig: Fig, seam: str = "api") -> dict[str, Any]:
    found: dict[str, Any] = fig.call("GET", f"/api/seams/{seam}").json()["breakers"][0]
    return found


async def broken(_: Ask, service: Service) -> bytes:
    return answer(500, b"broken")


async def resetting(_: Ask, service: Service) -> None:
    return None


async def hanging(_: Ask, service: Service) -> bytes:
    await asyncio.sleep(60)
    return answer()


# --- breaker ---------------------------------------------------------------------------------------------------------


def test_an_open_breaker_answers_at_once_and_the_upstream_hears_nothing(stage: Stage) -> None:
    fig = stage.fig(f"stage: extracted\n    fallback: none\n    {OPEN.replace('open_s: 1', 'open_s: 30')}")
    stage.new.script = broken
    with RawClient(fig.address) as client:
        assert [client.get(f"/api/{n}").status for n in range(5)] == [500] * 5
        hits, took = stage.new.hits, []
        for n in range(50):
            begun = time.monotonic()
            refused = client.get(f"/api/open/{n}")
            took.append(time.monotonic() - begun)
            assert (refused.status, b'"reason":"breaker_open"' in refused.body) == (503, True)
            assert 28 <= int(refused.value("retry-after") or 0) <= 30
    assert hits == stage.new.hits == 5
    assert statistics.median(took) < 0.010
    assert (breaker(fig)["state"], breaker(fig)["open_until"] is not None) == ("open", True)


def test_fifty_at_once_after_the_wait_are_one_probe(stage: Stage) -> None:
    fig = stage.fig(f"stage: extracted\n    fallback: none\n    {OPEN}")
    stage.new.script = broken
    with RawClient(fig.address) as client:
        for n in range(5):
            client.get(f"/api/{n}")
    assert breaker(fig)["state"] == "open"
    assert until(lambda: breaker(fig)["state"] == "half_open", 3)
    before = stage.new.hits

    async def slow(_: Ask, service: Service) -> bytes:
        await asyncio.sleep(0.3)
        return answer(200, b"extracted")

    stage.new.script = slow
    statuses = stage.background.run(_at_once(fig, 50))
    assert stage.new.hits - before == 1
    assert Counter(statuses) == {200: 1, 503: 49}
    assert breaker(fig)["state"] == "closed"


async def _at_once(fig: Fig, count: int, target: str = "/api/x") -> list[int]:
    async with httpx.AsyncClient(trust_env=False, timeout=20, verify=False) as client:
        limits = [client.get(f"http://127.0.0.1:{fig.port}{target}") for _ in range(count)]
        return [done.status_code for done in await asyncio.gather(*limits)]


def test_a_service_that_dies_at_half_of_the_traffic_is_not_noticed(stage: Stage) -> None:
    fig = stage.fig(f"percent: 50\n    {OPEN}\n    fallback: {{to: legacy, max_in_flight: 50}}")
    load = Load(fig.port, 32)
    running = stage.background.start(load.run())
    assert until(lambda: _share(load.done[-200:]) > 0.4, 10)
    stage.background.run(stage.new.die())
    assert until(lambda: breaker(fig)["state"] == "open", 10)
    time.sleep(1.5)  # probes meet a dead port
    assert _share(load.done[-200:]) == 0
    stage.background.run(stage.new.start())
    assert until(lambda: breaker(fig)["state"] == "closed", 10)
    assert until(lambda: _share(load.done[-200:]) > 0.4, 10), "the share did not come back"
    load.stopping = True
    running.result(30)
    assert load.failures == []
    text = fig.call("GET", "/metrics").text
    assert 'fig_breaker_transitions_total{route="",seam="api",side="extracted",to="closed"} 1.0' in text
    assert 'fig_fallbacks_total{cause="breaker_open",seam="api"}' in text


def _share(done: list[Any]) -> float:
    return sum(one.side == "extracted" for one in done) / len(done) if done else 0.0


# --- nothing happens twice -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_may_have_arrived_is_never_sent_twice(stage: Stage, method: str) -> None:
    """10,000 POSTs. PUT may be repeated at the same service (it is idempotent): by the two retries, and once more where
    a kept connection ended as it was used. Never at the other one."""
    total = 10_000 if method == "POST" else 2_000
    rng = random.Random(4)

    async def moody(_: Ask, service: Service) -> bytes | None:
        draw = rng.random()
        if draw < 0.2:
            return None
        if draw < 0.4:
            return answer(503, b"busy")
        return answer(200, b"done") if draw < 0.9 else answer(200, b"done")[:-2]  # then silence: the rest is a reset

    async def cutting(ask: Ask, service: Service) -> bytes | None:
        said = await moody(ask, service)
        if said is not None and said.endswith(b"do"):
            return said + b"ne"
        return said

    stage.new.script = cutting
    fig = stage.fig(
        "stage: extracted\n    breaker: {enabled: false}\n    retry: {retries: 2, status: [503]}\n    fallback: legacy"
    )
    stage.background.run(_write_all(fig, method, total), timeout_s=100)
    arrived = Counter(ask.identity for ask in stage.new.log)
    elsewhere = Counter(ask.identity for ask in stage.old.log)
    assert len(arrived) >= total * 0.9
    assert arrived.keys().isdisjoint(elsewhere.keys())
    if method == "POST":
        assert max(arrived.values()) == 1
    else:
        assert max(arrived.values()) <= 4


async def _write_all(fig: Fig, method: str, total: int) -> None:
    numbers = iter(range(total))

    async def one() -> None:
        reader = writer = None
        for number in numbers:
            if writer is None or reader is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", fig.port)
            try:
                head = f"{method} /api/{number} HTTP/1.1\r\nHost: a\r\nX-Id: {number}\r\nContent-Length: 4\r\n\r\nbody"
                writer.write(head.encode())
                said = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                await reader.readexactly(int(said.partition("content-length: ")[2].partition("\r\n")[0]))
                again = "connection: close" not in said
            except (OSError, asyncio.IncompleteReadError):
                again = False
            if not again:
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    await asyncio.gather(*(one() for _ in range(32)))


def test_a_service_that_dies_under_posts_sends_them_to_legacy_only_unreceived(stage: Stage) -> None:
    fig = stage.fig(f"stage: extracted\n    {OPEN}\n    fallback: {{to: legacy, max_in_flight: 50}}")

    async def dying() -> None:
        work = asyncio.ensure_future(_write_all(fig, "POST", 4_000))
        for _ in range(4):
            await asyncio.sleep(0.3)
            await stage.new.die()
            await asyncio.sleep(0.2)
            await stage.new.start()
        await work

    stage.background.run(dying(), timeout_s=100)
    both = Counter(ask.identity for ask in (*stage.new.log, *stage.old.log))
    assert max(both.values()) == 1
    assert stage.old.hits, "nothing fell back: the test has not met what it is about"


# --- bulkhead --------------------------------------------------------------------------------------------------------


def test_a_hanging_service_sees_no_more_than_its_cap_and_hurts_nobody_else(stage: Stage) -> None:
    fig = stage.fig(
        "stage: extracted\n    fallback: none\n    breaker: {enabled: false}",
        ", max_in_flight: 10, max_queue: 10, queue_s: 0.1",
    )
    quiet, loud = [], []
    for _ in range(7):  # in turns, and the calmest turn of each counts: what else the machine does hits either
        stage.new.script = well
        quiet.append(_p95(stage.background.run(_latencies(fig, 300))))
        stage.new.script = hanging
        crowd = stage.background.start(_crowd(fig, 60))
        time.sleep(0.3)
        loud.append(_p95(stage.background.run(_latencies(fig, 300))))
        assert stage.new.at_once == 10
        crowd.cancel()
        assert until(lambda: metric(fig, "fig_in_flight") == 0), "slots of clients that left are not free"
        stage.new.at_once = 0
    calm, busy = min(quiet), min(loud)
    assert busy <= 1.2 * calm + 0.0005, f"p95 {1000 * calm:.2f} ms without, {1000 * busy:.2f} ms with the hang"


async def _crowd(fig: Fig, count: int) -> None:
    """Ask the hanging service, all at once, until cancelled."""

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", fig.port)
        try:
            writer.write(b"GET /api/hang HTTP/1.1\r\nHost: a\r\n\r\n")
            said = await reader.readuntil(b"\r\n\r\n")
            assert said.startswith(b"HTTP/1.1 503"), said
        finally:
            writer.close()

    tasks = [asyncio.ensure_future(one()) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _latencies(fig: Fig, count: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", fig.port)
    took = []
    for _ in range(count):
        begun = time.monotonic()
        writer.write(b"GET /other/x HTTP/1.1\r\nHost: a\r\n\r\n")
        said = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(said.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        took.append(time.monotonic() - begun)
        assert said.startswith(b"HTTP/1.1 200")
    writer.close()
    return took


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]


# --- retries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [resetting, broken])
def test_a_retry_storm_is_bounded(stage: Stage, script: Any) -> None:
    fig = stage.fig(
        "stage: extracted\n    breaker: {enabled: false}\n    fallback: none\n    retry: {retries: 3, status: [500]}"
    )
    stage.new.script = script
    statuses = stage.background.run(_gets(fig, 500), timeout_s=60)
    assert set(statuses) == {502 if script is resetting else 500}
    assert stage.new.hits <= 1.2 * len(statuses) + 3
    assert stage.new.hits > 1.1 * len(statuses), "the budget was not used"


async def _gets(fig: Fig, count: int) -> list[int]:
    async with httpx.AsyncClient(trust_env=False, timeout=20, verify=False) as client:
        gate = asyncio.Semaphore(16)

        async def one(number: int) -> int:
            async with gate:
                return (await client.get(f"http://127.0.0.1:{fig.port}/api/{number}")).status_code

        return await asyncio.gather(*(one(number) for number in range(count)))
