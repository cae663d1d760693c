"""Both programs as they are started by hand: real processes on ports that the system chose."""

from __future__ import annotations

import os
import re
import signal
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
def start():
    processes = []

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

    yield start
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.communicate(timeout=20)


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
        ((), "roundign", "unknown; leave it unset or use `rounding`"),
    ],
)
def test_the_catalog_does_not_start_on_what_it_cannot_mean(tmp_path, arguments, bug, says):
    command = [sys.executable, "-m", "extracted_services.catalog", "--port", "0", "--db", str(tmp_path / "c.db")]
    environ = os.environ | {"CATALOG_BUG": bug}
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert says in done.stderr
