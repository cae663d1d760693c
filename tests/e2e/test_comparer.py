"""The process that compares, beside a running fig: it dies, fig dies, rules and versions change, noise is learned."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import resource
import signal
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin
from tests.support.tally import Tally
from tests.support.wire import until

CONFIG = """
version: 1
server: {{listen: "{{data}}"}}
admin: {{listen: "{{admin}}"}}
store: sqlite:fig.db
telemetry: {{access_log: "off"}}
upstreams:
  monolith: {{endpoints: ["{legacy}"]}}
  service: {{endpoints: ["{extracted}"]}}
default: monolith
seams:
  items:
    routes: [{{path: "/items/{{id}}"}}]
    extracted: service
    stage: shadow
    shadow: {{max_per_s: null, max_queue: 1000, {rules}version_header: x-version}}
"""

Say = Callable[[str], dict[str, Any]]


@dataclass
class Side:
    """Answers each target with what `say` makes of it, as JSON."""

    say: Say
    version: str = "1"
    origin: Origin = field(init=False)

    def __post_init__(self) -> None:
        self.origin = Origin(self._behave)

    def _behave(self, connection: Connection) -> None:
        while (request := connection.read()) is not None:
            body = json.dumps(self.say(request.target)).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Version: {self.version}\r\n"
            connection.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


@dataclass
class Rig:
    folder: Path
    legacy: Side
    extracted: Side

    def config(self, rules: str = "") -> str:
        return CONFIG.format(legacy=self.legacy.origin.url, extracted=self.extracted.origin.url, rules=rules)

    def ask(self, fig: Fig, count: int, start: int = 0) -> None:
        with RawClient(fig.address) as client:
            for number in range(start, start + count):
                client.send(f"GET /items/{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                assert client.answer().status == 200

    def found(self, fig: Fig) -> dict[str, Any]:
        document: dict[str, Any] = fig.call("GET", "/api/seams/items/comparisons").json()
        return document

    def compared(self, fig: Fig, count: int) -> dict[str, Any]:
        """What is known once so many samples are entered."""
        assert until(lambda: sum(self.found(fig).get("totals", {}).values()) >= count, 20), fig.errors()
        return self.found(fig)


def same(target: str) -> dict[str, Any]:
    return {"target": target, "price": 19.99}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, Side(same), Side(same))
    yield made
    made.legacy.origin.close()
    made.extracted.origin.close()


def children(fig: Fig) -> list[int]:
    assert fig.process is not None
    text = Path(f"/proc/{fig.process.pid}/task/{fig.process.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


def gone(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


# --- death -----------------------------------------------------------------------------------------------------------


def test_a_comparer_that_is_killed_costs_samples_and_nothing_else(rig: Rig) -> None:
    with Fig(rig.folder, rig.config()) as fig:
        rig.ask(fig, 50)
        rig.compared(fig, 50)
        time.sleep(1.2)  # what is older than a second is written down
        (comparer,) = children(fig)
        tally = Tally(fig)
        os.kill(comparer, signal.SIGKILL)
        assert until(lambda: gone(comparer))
        rig.ask(fig, 20, 50)  # each asserts its answer
        assert until(lambda: tally.grown('fig_shadow_total{outcome="dropped",reason="comparer_away"}') > 0)
        assert until(lambda: tally.grown("fig_comparer_starts_total") == 1, 10)
        rig.ask(fig, 30, 100)
        assert rig.compared(fig, 80)["totals"]["match"] >= 80
        assert "the comparer ended (status -9)" in fig.errors()


def test_what_was_lost_is_held_against_the_evidence(rig: Rig) -> None:
    with Fig(rig.folder, rig.config()) as fig:
        rig.ask(fig, 10)
        rig.compared(fig, 10)
        os.kill(children(fig)[0], signal.SIGKILL)
        assert until(lambda: not children(fig))
        tally = Tally(fig)
        rig.ask(fig, 20, 10)

        def lost() -> float:
            return tally.grown('fig_shadow_total{outcome="dropped"}')

        assert until(lambda: rig.found(fig).get("uncounted", {}).get("dropped", 0) == lost() > 0, 20)


def test_kill_9_of_fig_leaves_a_ledger_that_opens_and_no_process(rig: Rig) -> None:
    text = rig.config()
    with Fig(rig.folder, text) as fig:
        rig.ask(fig, 100)
        rig.compared(fig, 100)
        time.sleep(1.2)
        rig.ask(fig, 30, 100)
        (comparer,) = children(fig)
        fig.kill()
        assert until(lambda: gone(comparer), 10)
        fig.start()
        found = rig.found(fig)
        assert 100 <= found["totals"]["match"] <= 130
        rig.ask(fig, 10, 200)
        assert rig.compared(fig, found["totals"]["match"] + 10)["epoch"] == found["epoch"]


def test_kill_9_of_both_in_the_middle_misses_at_most_a_second(rig: Rig) -> None:
    with Fig(rig.folder, rig.config()) as fig:
        rig.ask(fig, 10)
        rig.compared(fig, 10)
        entered: list[tuple[float, int]] = []
        for turn in range(10, 400, 10):
            rig.ask(fig, 10, turn)
            entered.append((time.monotonic(), sum(rig.found(fig)["totals"].values())))
            if entered[-1][0] - entered[0][0] > 2.5:
                break
            time.sleep(0.1)
        (comparer,) = children(fig)
        killed = time.monotonic()
        os.kill(comparer, signal.SIGKILL)
        fig.kill()
        with contextlib.closing(sqlite3.connect(rig.folder / "fig.shadow.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        fig.start()
        old_enough = max(count for at, count in entered if at < killed - 1.5)
        assert sum(rig.found(fig)["totals"].values()) >= old_enough > 10


def test_the_end_of_fig_is_the_end_of_the_comparer_and_all_is_written_down(rig: Rig) -> None:
    with Fig(rig.folder, rig.config()) as fig:
        rig.ask(fig, 40)
        rig.compared(fig, 40)
        (comparer,) = children(fig)
        assert fig.stop() == 0
        assert gone(comparer)
        assert "Traceback" not in fig.errors()
        fig.start()
        assert rig.found(fig)["totals"]["match"] == 40


def test_no_seam_that_is_compared_no_process(rig: Rig) -> None:
    with Fig(rig.folder, rig.config().replace("stage: shadow", "stage: legacy")) as fig:
        rig.ask(fig, 5)
        assert children(fig) == []
        assert fig.call("POST", "/api/seams/items/shift", stage="shadow").status_code == 200
        rig.ask(fig, 5, 5)
        assert rig.compared(fig, 5)["totals"]["match"] == 5
        assert len(children(fig)) == 1


def test_a_ledger_that_cannot_be_used_stops_no_request(rig: Rig) -> None:
    (rig.folder / "fig.shadow.db").write_bytes(b"this is no database" * 100)
    with Fig(rig.folder, rig.config()) as fig:
        rig.ask(fig, 20)
        answer = fig.call("GET", "/api/seams/items/comparisons")
        assert (answer.status_code, answer.json()["reason"]) == (503, "comparer_away")
        assert until(lambda: "move it away, a new one is made" in fig.errors())
        (rig.folder / "fig.shadow.db").unlink()
        assert until(lambda: fig.call("GET", "/api/seams/items/comparisons").status_code == 200, 20)


@pytest.mark.soak  # 12 s of waiting for time-outs
def test_a_comparer_that_hangs_bounds_memory_answers_no_question_and_lets_fig_end(rig: Rig) -> None:
    rig.legacy.say = rig.extracted.say = lambda target: {**same(target), "text": "x" * 500_000}
    with Fig(rig.folder, rig.config()) as fig:
        rig.ask(fig, 2)
        rig.compared(fig, 2)
        (comparer,) = children(fig)
        os.kill(comparer, signal.SIGSTOP)
        try:
            tally = Tally(fig)
            rig.ask(fig, 60, 2)  # 60 MB
            assert until(lambda: tally.grown('fig_shadow_total{outcome="dropped",reason="comparer_busy"}') > 10)
            before = fig.rss_bytes()
            rig.ask(fig, 60, 62)
            assert fig.rss_bytes() - before < 20_000_000
            answer = fig.call("GET", "/api/seams/items/comparisons")
            assert (answer.status_code, answer.json()["reason"]) == (503, "comparer_away")
            assert fig.stop() == 0
            assert gone(comparer)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(comparer, signal.SIGKILL)


def test_a_comparer_that_cannot_be_started_keeps_its_question_waiting_and_breaks_nothing(rig: Rig) -> None:
    with Fig(rig.folder, rig.config().replace("stage: shadow", "stage: legacy")) as fig:
        assert fig.process is not None
        taken = len(list(Path(f"/proc/{fig.process.pid}/fd").iterdir()))
        limits = resource.prlimit(fig.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(fig.process.pid, resource.RLIMIT_NOFILE, (taken + 4, limits[1]))  # the pipe, and no more
        with httpx.Client(base_url=fig.admin, trust_env=False, timeout=1) as admin:
            with pytest.raises(httpx.ReadTimeout):
                admin.get("/api/seams/items/comparisons")
            assert admin.get("/api/seams").status_code == 200
            resource.prlimit(fig.process.pid, resource.RLIMIT_NOFILE, limits)
        assert until(lambda: fig.call("GET", "/api/seams/items/comparisons").status_code == 200, 20)
        assert "it cannot be started: Too many open files" in fig.errors()
        assert "Traceback" not in fig.errors()


# --- epochs ----------------------------------------------------------------------------------------------------------


def test_another_rule_or_version_starts_anew_and_the_old_rules_go_on_where_they_were(rig: Rig) -> None:
    rig.extracted.say = lambda target: {**same(target), "price": 20.0}
    with Fig(rig.folder, rig.config()) as fig:
        rig.ask(fig, 20)
        first = rig.compared(fig, 20)
        assert first["totals"] == {"match": 0, "mismatch": 20, "uncounted": 0}
        fig.write(rig.config("compare: {numeric: {$.price: {abs: 0.02}}}, "))
        assert fig.call("POST", "/api/reload").status_code == 200  # the file watch may have been first
        assert rig.found(fig)["epoch"] is None
        rig.ask(fig, 10, 20)
        second = rig.compared(fig, 10)
        assert (second["totals"]["match"], second["epoch"] != first["epoch"]) == (10, True)
        rig.extracted.version = "2"
        rig.ask(fig, 5, 30)
        third = rig.compared(fig, 5)
        assert third["versions"] == {"legacy": "1", "extracted": "2"}
        assert (sum(third["totals"].values()), third["epoch"] != second["epoch"]) == (5, True)
        fig.write(rig.config())
        assert fig.call("POST", "/api/reload").status_code == 200
        rig.extracted.version = "1"
        rig.ask(fig, 1, 40)
        assert rig.compared(fig, 21)["epoch"] == first["epoch"]


def test_a_rollback_ends_it_and_a_resume_goes_on(rig: Rig) -> None:
    with Fig(rig.folder, rig.config()) as fig:
        rig.ask(fig, 10)
        rig.compared(fig, 10)
        assert fig.call("POST", "/api/seams/items/rollback").status_code == 200
        before = len(rig.extracted.origin.requests)
        rig.ask(fig, 10, 10)
        time.sleep(0.2)
        assert len(rig.extracted.origin.requests) == before
        assert rig.found(fig)["totals"]["match"] == 10
        assert not fig.call("GET", "/api/seams/items").json()["comparing"]
        assert fig.call("POST", "/api/seams/items/resume").status_code == 200
        rig.ask(fig, 5, 20)
        rig.compared(fig, 15)


# --- noise -----------------------------------------------------------------------------------------------------------

TAGS = ["red", "green", "blue", "large", "new", "sale"]


def restless(draws: random.Random, counter: Iterator[int]) -> Say:
    """A random id, the time, a counter, and tags in any order: all different each time."""

    def say(target: str) -> dict[str, Any]:
        return {
            "target": target,
            "price": 19.99,
            "request_id": str(uuid.UUID(int=draws.getrandbits(128))),
            "served_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) + str(next(counter))[:0],
            "stamp": time.time_ns() // 1_000_000,
            "tags": draws.sample(TAGS, len(TAGS)),
        }

    return say


def test_noise_is_learned_and_what_hides_behind_it_is_caught(rig: Rig) -> None:
    """1,500 requests without a false mismatch after learning; null or another format in a noisy place within 50."""
    rig.legacy.say = restless(random.Random(1), itertools.count())
    rig.extracted.say = fine = restless(random.Random(2), itertools.count())
    rules = "compare: {unordered: {$.tags: true}}, "
    with Fig(rig.folder, rig.config(rules)) as fig:
        rig.ask(fig, 200)
        learned = rig.compared(fig, 200)
        rig.ask(fig, 1300, 200)
        found = rig.compared(fig, 1500)
        assert found["totals"]["mismatch"] == learned["totals"]["mismatch"] == 0, json.dumps(found["differences"])[
            :2000
        ]
        for number, broken in enumerate(({"request_id": None}, {"request_id": "none today"}, {"stamp": "yesterday"})):
            rig.extracted.say = lambda target, broken=broken: {**fine(target), **broken}  # type: ignore[misc]
            rig.ask(fig, 50, 2000 + 100 * number)
            (name,) = broken
            path = f"body:$.{name}"
            rows = rig.compared(fig, 1550 + 50 * number)["differences"]
            caught = [row for row in rows if row["path"] == path and row["severity"] in ("blocking", "mismatch")]
            assert sum(row["count"] for row in caught) >= 50, rows
