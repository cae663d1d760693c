"""The sample's catalog twice, found by its registry: one is killed, comes back, the registry dies. Nobody notices."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fig import Fig, free_port
from tests.support.load import Background, Load
from tests.support.wire import until

ROOT = Path(__file__).parents[2]
RUNNING = re.compile(r"running on (http://127\.0\.0\.1:\d+)")
CONFIG = """
version: 1
server: {{listen: "{{data}}", debug_headers: true}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
telemetry: {{access_log: "off"}}
upstreams:
  monolith: {{endpoints: ["{monolith}"]}}
  catalog: {{endpoints: {{registry: "{registry}", service: catalog, refresh_s: 2}}, timeouts: {{response_s: 3}}}}
default: monolith
seams:
  catalog:
    routes: [{{path: "/api/products/{{id}}"}}]
    extracted: catalog
    stage: extracted
    breaker: {{failures: 1000}}
    retry: {{retries: 1}}
"""


class Shop:
    """Processes of the sample by name; `start` returns where one listens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str, *command: str) -> str:
        process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self.processes[name] = process
        assert process.stderr is not None
        for line in process.stderr:
            if found := RUNNING.search(line):
                return found[1]
        raise AssertionError(f"{name} ended with {process.wait()}")

    def catalog(self, port: int, monolith: str, registry: str) -> None:
        where = ["--port", str(port), "--db", str(self._folder / f"{port}.db"), "--backfill-from", monolith]
        self.start(str(port), "extracted_services.catalog", *where, "--register", registry, "--ttl", "2")

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.communicate()

    def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.communicate(timeout=20)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.close()


def upstream(fig: Fig) -> dict[str, Any]:
    found = fig.call("GET", "/api/upstreams").json()
    return next(one for one in found if one["name"] == "catalog")


def ports(fig: Fig) -> set[int]:
    discovered = upstream(fig)
    if discovered["discovery"]["vacant"]:
        return set()
    return {int(one["address"].rpartition(":")[2]) for one in discovered["endpoints"]}


def test_a_catalog_that_is_killed_or_comes_or_goes_is_not_noticed(
    shop: Shop, background: Background, tmp_path: Path
) -> None:
    one, other, registry_port = free_port(), free_port(), free_port()
    monolith = shop.start("monolith", "legacy_monolith", "--port", "0", "--db", str(tmp_path / "shop.db"))
    registry = shop.start("registry", "extracted_services.registry", "--port", str(registry_port))
    for port in (one, other):
        shop.catalog(port, monolith, registry)
    with Fig(tmp_path, CONFIG.format(monolith=monolith, registry=registry)) as fig:
        assert until(lambda: ports(fig) == {one, other}, 20)
        load = Load(fig.port, 8, target=lambda number: f"/api/products/{number % 60 + 1}")
        running = background.start(load.run())
        _served(load, 300)
        used = {place["endpoint"]: place["idle"] + place["in_use"] for place in upstream(fig)["endpoints"]}
        assert min(used.values()) > 0, f"one of two is not asked: {used}"

        shop.kill(str(one))
        assert until(lambda: ports(fig) == {other}, 10), "the dead one is still named"
        before = len(load.done)
        _served(load, 300)
        assert Counter(done.side for done in load.done[before + 50 :]) == {"extracted": len(load.done) - before - 50}

        shop.catalog(one, monolith, registry)
        assert until(lambda: ports(fig) == {one, other}, 10), "the new one is not named"

        shop.kill("registry")
        assert until(lambda: upstream(fig)["discovery"]["failing"] is not None, 10)
        assert ports(fig) == {one, other}, "the last good endpoints are gone"
        _served(load, 300)

        load.stopping = True
        running.result(30)
        assert load.failures == []
        text = fig.call("GET", "/metrics").text
        assert 'fig_discovery_errors_total{upstream="catalog"}' in text
        assert "Traceback" not in fig.errors(), fig.errors()


def _served(load: Load, more: int) -> None:
    goal = len(load.done) + more
    assert until(lambda: len(load.done) >= goal, 20), f"{len(load.done)} of {goal}: {load.failures[-3:]}"


def test_nobody_there_is_an_answer_and_legacy_is_asked_at_once(shop: Shop, tmp_path: Path) -> None:
    monolith = shop.start("monolith", "legacy_monolith", "--port", "0", "--db", str(tmp_path / "shop.db"))
    registry = shop.start("registry", "extracted_services.registry", "--port", "0")
    with Fig(tmp_path, CONFIG.format(monolith=monolith, registry=registry)) as fig:
        begun = time.monotonic()
        answer = httpx.get(f"http://127.0.0.1:{fig.port}/api/products/7", trust_env=False)
        assert (answer.status_code, answer.headers["x-fig-fallback"]) == (200, "no_healthy_endpoint")
        assert time.monotonic() - begun < 1
