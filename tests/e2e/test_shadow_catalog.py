"""The sample's catalog against its monolith, compared live: alike by the documented rules; a planted bug is found."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from demo.traffic import pages
from proxy.admin.openapi import openapi
from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.wire import until

ROOT = Path(__file__).parents[2]
RUNNING = re.compile(r"running on (http://127\.0\.0\.1:\d+)")
BUG_FOUND_WITHIN = 100


class Sample:
    """Monolith and catalog as processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []
        self.monolith = self._start({}, "legacy_monolith", "--port", "0", "--db", str(folder / "shop.db"))

    def catalog(self, bug: str) -> str:
        where = ("--port", "0", "--db", str(self._folder / f"catalog{bug}.db"), "--backfill-from", self.monolith)
        return self._start({"CATALOG_BUG": bug}, "extracted_services.catalog", *where)

    def _start(self, environ: dict[str, str], *command: str) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}
        )
        self._processes.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if found := RUNNING.search(line):
                return found[1]
        raise AssertionError(f"{command} ended with {process.wait()}")

    def close(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.communicate(timeout=20)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    made = Sample(tmp_path_factory.mktemp("sample"))
    yield made
    made.close()


def shipped(sample: Sample, catalog: str) -> str:
    """The shop's own configuration, in stage shadow and without its rate."""
    text = (ROOT / "config" / "proxy.yaml").read_text()
    for old, new in (
        ("127.0.0.1:8080", "{data}"),
        ("127.0.0.1:9901", "{admin}"),
        ("http://127.0.0.1:8000", sample.monolith),
        ("http://127.0.0.1:8101", catalog),
        ("stage: canary\n    percent: 0 ", "stage: shadow #"),
        ("max_per_s: 50", "max_per_s: null"),
        ("sqlite:var/fig.db", "sqlite:fig.db"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    return text.replace("listen: {data}", 'listen: "{data}"').replace("listen: {admin}", 'listen: "{admin}"')


def browse(fig: Fig, count: int) -> None:
    """As the demo's customers do."""
    with RawClient(fig.address) as client:
        for number, page in enumerate(islice(pages(random.Random(7)), count)):
            client.send(f"GET {page.target} HTTP/1.1\r\nHost: shop\r\nX-User-Id: u{number % 640}\r\n\r\n".encode())
            assert client.answer().body.startswith(page.start)


def compared(fig: Fig, count: int) -> dict[str, Any]:
    """What is known once so many samples are entered."""
    found: dict[str, Any] = {}

    def all_in() -> bool:
        found.update(fig.call("GET", "/api/seams/catalog/comparisons").json())
        return sum(found["totals"].values()) >= count

    assert until(all_in, 20), (found["totals"], fig.errors())
    return found


def check_against_openapi(name: str, document: dict[str, Any]) -> None:
    described = openapi("1")
    schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    Draft202012Validator(schema).validate(document)


def ready(fig: Fig) -> bool:
    found = {one["name"]: one for one in fig.call("GET", "/api/upstreams").json()}
    return bool(found["catalog"]["endpoints"][0]["available"])


def test_the_catalog_answers_as_the_monolith_does(sample: Sample, tmp_path: Path) -> None:
    with Fig(tmp_path, shipped(sample, sample.catalog(""))) as fig:
        assert until(lambda: ready(fig), 20)
        browse(fig, 1500)
        found = compared(fig, 1500)
        totals = found["totals"]
        assert totals["match"] >= 0.999 * 1500, json.dumps(found["differences"])[:2000]
        assert found["versions"] == {"legacy": "", "extracted": "1.0.0"}
        evidence = fig.call("GET", "/api/seams/catalog/evidence").json()
        assert (evidence["verdict"], evidence["samples"]) == ("HOLD", sum(totals.values()))


def test_a_planted_bug_is_named_first_with_an_example(sample: Sample, tmp_path: Path) -> None:
    with Fig(tmp_path, shipped(sample, sample.catalog("rounding"))) as fig:
        assert until(lambda: ready(fig), 20)
        browse(fig, BUG_FOUND_WITHIN)
        found = compared(fig, BUG_FOUND_WITHIN)
        first = found["differences"][0]
        assert (first["path"], first["class"], first["severity"]) == ("body:$.price", "value", "mismatch")
        assert first["count"] > BUG_FOUND_WITHIN / 2
        (shown,) = (one for one in first["exemplars"][0]["differences"] if one["path"] == "body:$.price")
        assert abs(float(shown["legacy"]["value"]) - float(shown["extracted"]["value"])) <= 0.0501
        assert found["versions"]["extracted"] == "1.0.0+rounding"
        evidence = fig.call("GET", "/api/seams/catalog/evidence").json()
        assert evidence["verdict"] == "REGRESSED"
        check_against_openapi("Comparisons", found)
        check_against_openapi("Evidence", evidence)
        result = subprocess.run(
            [sys.executable, "-m", "proxy.cli.main", "compare", "catalog", "--admin", fig.admin],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 4, result.stderr
        assert "body:$.price" in result.stdout
