"""The programs as they are started by hand: real processes on ports that the system chose."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
RUNNING = re.compile(r"running on (http://127\.0\.0\.1:\d+)")


def wait_until_ready(url: str, deadline_s: float = 20) -> None:
    give_up = time.monotonic() + deadline_s
    while httpx.get(f"{url}/readyz", trust_env=False).status_code != 200:
        assert time.monotonic() < give_up, f"{url} did not become ready"


@pytest.fixture
def processes():
    """Those that `start` has started, in its order. Ends all of them."""
    processes = []
    yield processes
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.communicate(timeout=20)


@pytest.fixture
def start(processes):
    def start(*command, **environ):
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=os.environ | environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        for line in process.stderr:
            if found := RUNNING.search(line):
                return found[1]
        raise AssertionError(f"{command} ended with {process.wait()} before it listened")

    return start


def test_the_catalog_fills_itself_from_the_monolith_and_answers_alike(start, tmp_path):
    monolith = start("legacy_monolith", "--port", "0", "--db", str(tmp_path / "shop.db"))
    catalog = start(
        "extracted_services.catalog", "--port", "0", "--db", str(tmp_path / "catalog.db"), "--backfill-from", monolith
    )
    wait_until_ready(monolith)
    wait_until_ready(catalog)
    with httpx.Client(trust_env=False) as client:
        for path in ("/api/products/7", "/api/products?page=2", "/api/search?q=mug"):
            assert client.get(catalog + path).content == client.get(monolith + path).content


@pytest.fixture
def two_ports():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return [str(probe.getsockname()[1]) for probe in (one, other)]


class Watcher:
    """Follows the catalogs in the registry as a client of Consul does: each answer is asked for with the last index."""

    def __init__(self, client, registry):
        self.client = client
        self.url = f"{registry}/v1/health/service/catalog"
        self.index = "0"

    def ports(self, **query):
        reply = self.client.get(self.url, params=query)
        return {str(entry["Service"]["Port"]) for entry in reply.json()}, reply.headers["x-consul-index"]

    def passing(self):
        ports, self.index = self.ports(passing="true", index=self.index, wait="20s")
        return ports

    def wait_for(self, *expected):
        """Until the passing answer is this one; returns after how many seconds. Fails by the client's timeout."""
        began = time.monotonic()
        while (ports := self.passing()) != set(expected):
            assert time.monotonic() < began + 20, f"passing are {ports}"
        return time.monotonic() - began


def test_catalogs_are_in_the_registry_while_they_live(start, processes, tmp_path, two_ports):
    registry = start("extracted_services.registry", "--port", "0")
    monolith = start("legacy_monolith", "--port", "0", "--db", str(tmp_path / "shop.db"))
    one, other = two_ports
    sides = ["--backfill-from", monolith, "--register", registry, "--ttl", "2"]
    urls = [
        start("extracted_services.catalog", "--port", port, "--db", str(tmp_path / f"{port}.db"), *sides)
        for port in two_ports
    ]
    with httpx.Client(trust_env=False, timeout=30) as client:
        catalogs = Watcher(client, registry)
        catalogs.wait_for(one, other)
        assert [client.get(f"{url}/readyz").status_code for url in urls] == [200, 200]
        processes[-2].kill()
        assert catalogs.wait_for(other) <= 2 + 1
        processes[-1].send_signal(signal.SIGTERM)
        catalogs.wait_for()
        # The killed one is known as critical; the other one has said that it goes.
        assert catalogs.ports()[0] == {one}


def test_a_second_start_on_a_taken_port_does_not_touch_the_first_ones_name(start, tmp_path, two_ports):
    registry = start("extracted_services.registry", "--port", "0")
    monolith = start("legacy_monolith", "--port", "0", "--db", str(tmp_path / "shop.db"))
    port = two_ports[0]
    command = ["extracted_services.catalog", "--port", port, "--db", str(tmp_path / "c.db"), "--register", registry]
    start(*command, "--backfill-from", monolith)
    with httpx.Client(trust_env=False, timeout=30) as client:
        catalogs = Watcher(client, registry)
        catalogs.wait_for(port)
        second = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=30)
        assert second.returncode == 3
        assert "address already in use" in second.stderr
        assert catalogs.ports(passing="true") == ({port}, catalogs.index)


def test_the_registry_ends_with_queries_waiting(start, processes):
    registry = start("extracted_services.registry", "--port", "0")
    url = httpx.URL(registry)
    with httpx.Client(trust_env=False) as client:
        index = Watcher(client, registry).ports()[1]
    paths = ("/healthz", f"/v1/health/service/catalog?index={index}")
    with socket.create_connection((url.host, url.port), timeout=20) as line:
        line.sendall("".join(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n" for path in paths).encode())
        answer = b""
        while b'"ok"' not in answer:  # and then the second one has come in too
            answer += line.recv(1000)
        processes[0].send_signal(signal.SIGTERM)
        assert line.recv(1000).startswith(b"HTTP/1.1 200 OK")
    processes[0].wait(timeout=20)


def test_the_nightly_job_runs_beside_the_shop(start, tmp_path):
    start("legacy_monolith", "--port", "0", "--db", str(tmp_path / "shop.db"))
    job = [sys.executable, "-m", "legacy_monolith.cron", "reprice", "--db"]
    done = subprocess.run([*job, str(tmp_path / "shop.db")], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout[:8]) == (0, "repriced")
    missing = subprocess.run([*job, str(tmp_path / "none.db")], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert missing.returncode == 1
    assert "no such file" in missing.stderr
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("arguments", "bug", "says"),
    [
        (("--backfill-from", "127.0.0.1:8000"), "", "is no http:// or https:// address"),
        (("--register", "127.0.0.1:8500"), "", "is no http:// or https:// address"),
        (("--register", "http://r"), "", "nobody can connect to 127.0.0.1:0: add --advertise HOST:PORT"),
        (("--register", "http://r", "--advertise", "0.0.0.0:8101"), "", "no HOST:PORT that others could connect to"),
        (("--register", "http://r", "--advertise", "::1:8101"), "", "no HOST:PORT that others could connect to"),
        (("--register", "http://r", "--advertise", "h:65536"), "", "no HOST:PORT that others could connect to"),
        (("--ttl", "0"), "", "is no number of seconds from 0.3 to 3600"),
        (("--ttl", "nan"), "", "is no number of seconds from 0.3 to 3600"),
        ((), "roundign", "unknown; leave it unset or use `rounding`"),
    ],
)
def test_the_catalog_does_not_start_on_what_it_cannot_mean(tmp_path, arguments, bug, says):
    command = [sys.executable, "-m", "extracted_services.catalog", "--port", "0", "--db", str(tmp_path / "c.db")]
    environ = os.environ | {"CATALOG_BUG": bug}
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert says in done.stderr
