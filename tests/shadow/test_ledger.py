"""What was compared survives: crashes, a full disk, two writers at once, and its own age."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from proxy.shadow.book import MOST_RECENT, Book, signature
from proxy.shadow.difference import Difference, Verdict
from proxy.shadow.evidence import Stratum
from proxy.shadow.ledger import Ledger, LedgerError
from proxy.shadow.noise import Differs, EndpointNoise

NOW_S = 1_780_000_000.0
MATCH = Verdict("match", True, "")
DAY_S = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def ledger(path: Path | None, clock: Clock | None = None, seed: int = 1, **limits: Any) -> Ledger:
    return Ledger(path, clock or Clock(), random.Random(seed), **limits)


def differs(*paths: str, kind: str = "value", severity: Any = "mismatch") -> Verdict:
    found = tuple(Difference(path, kind, severity, 1, None, None) for path in paths)
    return Verdict("mismatch", severity != "uncounted", kind, found, paths)


def totals(book: Book) -> dict[str, int]:
    found: dict[str, int] = book.comparisons({})["totals"]
    return found


def test_everything_comes_back(tmp_path: Path) -> None:
    first = ledger(tmp_path / "l.db")
    book = first.book("shop", "m", ("1", "2"))
    book.note_traffic("GET /a", 40)
    for number in range(3):
        book.settle("GET /a", MATCH, NOW_S + number, f"r{number}")
        book.tally(Stratum("GET /a", "2xx"), False, f"f{number}", NOW_S + number)
    book.settle("GET /a", differs("body:$.x", severity="blocking"), NOW_S, "r4")
    book.tally(Stratum("GET /a", "2xx"), True, "f4", NOW_S)
    book.settle("GET /a", differs("status", kind="dropped", severity="uncounted"), NOW_S, "r5")
    book.settle("GET /a", differs("body:$.y"), NOW_S, "r6", flaky=True)
    book.settle("GET /a", MATCH, NOW_S, "r7", repeated=True)
    book.learn("GET /a", "legacy", EndpointNoise().observe({"body:$.t": Differs("value", frozenset({"uuid"}))}, set()))
    book.time("GET /a", 0.1, 0.1, 0.5, 0.2)
    book.lose("dropped", 5)
    book.keep("s", 0, "GET /a", NOW_S, {"differences": [{"path": "body:$.x", "class": "value"}], "n": 1})
    before = book.evidence(frozenset({"GET /b"}))
    first.close()

    again = ledger(tmp_path / "l.db", seed=2)
    found = again.current("shop")
    assert found is not None and found.epoch == book.epoch
    assert found.evidence(frozenset({"GET /b"})) == before
    assert (before.repeated, before.flaky, before.blocking) == (1, 1, {"GET /a: body:$.x value": 1})
    assert before.uncounted == {"dropped": 6}
    assert before.controls == {"GET /a": 1}
    shown = found.comparisons(again.exemplars(found))
    assert shown["totals"] == {"match": 4, "mismatch": 1, "uncounted": 7}
    (row,) = [one for one in shown["differences"] if one["path"] == "body:$.x"]
    assert (row["count"], row["exemplars"][0]["n"]) == (1, 1)
    assert again.key == first.key
    again.close()


def test_two_writers_add_up_and_neither_overwrites_the_other(tmp_path: Path) -> None:
    one, other = ledger(tmp_path / "l.db", seed=1), ledger(tmp_path / "l.db", seed=2)
    for turn in range(5):
        for writer in (one, other):
            writer.book("shop", "m", ("", "")).settle("GET /a", MATCH, NOW_S, f"r{turn}")
            writer.book("shop", "m", ("", "")).settle("GET /a", differs("body:$.x"), NOW_S, f"s{turn}")
            writer.flush()
    one.close()
    other.close()
    third = ledger(tmp_path / "l.db", seed=3)
    book = third.current("shop")
    assert book is not None and totals(book) == {"match": 10, "mismatch": 10, "uncounted": 0}
    assert book.comparisons({})["differences"][0]["count"] == 10
    third.close()


def test_silent_writers_are_taken_together_and_lose_nothing(tmp_path: Path) -> None:
    clock = Clock()
    for seed in range(6):
        writer = ledger(tmp_path / "l.db", clock, seed)
        writer.book("shop", "m", ("", "")).settle("GET /a", differs("body:$.x"), clock.now_s, "r")
        writer.close()
        clock.now_s += 1800
    last = ledger(tmp_path / "l.db", clock, 99)
    book = last.current("shop")
    assert book is not None and totals(book)["mismatch"] == 6
    assert book.comparisons({})["differences"][0]["count"] == 6
    last.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "l.db")) as db:
        assert db.execute("SELECT count(*) FROM parts").fetchone()[0] <= 4
        assert db.execute("SELECT count(*) FROM writers").fetchone()[0] <= 4


KILLED = """
import random, sys, time
from pathlib import Path
from proxy.shadow.difference import Verdict
from proxy.shadow.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), time.time, random.SystemRandom())
entered = 0
while True:
    for _ in range(20):
        ledger.book("shop", "m", ("", "")).settle("GET /a", Verdict("match", True, ""), time.time(), "r")
        entered += 1
    ledger.flush()
    print(entered, flush=True)
"""


def test_kill_9_at_any_moment_loses_only_what_was_not_flushed(tmp_path: Path) -> None:
    rng, path, flushed = random.Random(5), tmp_path / "l.db", 0
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.02, 0.2))
            os.kill(process.pid, signal.SIGKILL)
            flushed += int((process.stdout.read().split() or ["20"])[-1])
        found = ledger(path, seed=rng.getrandbits(30))
        book = found.current("shop")
        assert book is not None
        assert flushed <= totals(book)["match"] <= flushed + 20
        flushed = totals(book)["match"]
        found.close()


def test_a_locked_file_is_told_and_tried_again(tmp_path: Path) -> None:
    made = ledger(tmp_path / "l.db", busy_s=0.05)
    made.book("shop", "m", ("", "")).settle("GET /a", MATCH, NOW_S, "r")
    with contextlib.closing(sqlite3.connect(tmp_path / "l.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="what was compared waits in memory"):
            made.flush()
        holder.execute("ROLLBACK")
    made.flush()
    made.close()
    again = ledger(tmp_path / "l.db", seed=2)
    book = again.current("shop")
    assert book is not None and totals(book)["match"] == 1
    again.close()


@pytest.mark.parametrize("content", [b"this is no database" * 50, b"SQLite format 3\0" + b"\xff" * 4000])
def test_what_is_no_ledger_is_refused_with_the_cure(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l.db").write_bytes(content)
    with pytest.raises(LedgerError, match="move it away, a new one is made"):
        ledger(tmp_path / "l.db")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    ledger(tmp_path / "l.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "l.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="schema 99"):
        ledger(tmp_path / "l.db")


def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    made = ledger(tmp_path / "deep" / "l.db")
    made.book("shop", "m", ("", "")).settle("GET /a", MATCH, NOW_S, "r")
    made.flush()
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "deep").iterdir()} == {0}
    made.close()


def test_exemplars_age_and_have_a_cap(tmp_path: Path) -> None:
    clock = Clock()
    made = ledger(tmp_path / "l.db", clock, most_bytes=5_000)
    book = made.book("shop", "m", ("", ""))
    for number in range(20):
        book.keep(f"s{number}", 0, "GET /a", NOW_S + number, {"n": number, "text": "x" * 1000, "differences": []})
    made.flush()
    made.sweep()
    kept = [one["n"] for one in made.exemplars(book)["GET /a"]]
    assert kept == [19, 18, 17, 16]
    clock.now_s += 8 * DAY_S
    made.sweep()
    assert made.exemplars(book) == {}
    made.close()


def test_old_hours_are_forgotten_in_file_and_memory(tmp_path: Path) -> None:
    clock = Clock()
    made = ledger(tmp_path / "l.db", clock)
    book = made.book("shop", "m", ("", ""))
    book.settle("GET /a", differs("body:$.old"), NOW_S, "r")
    made.flush()
    clock.now_s += 36 * DAY_S
    book.settle("GET /a", differs("body:$.new"), clock.now_s, "r")
    made.flush()
    made.sweep()
    assert [row["path"] for row in book.comparisons({})["differences"]] == ["body:$.new"]
    made.close()


# --- epochs ----------------------------------------------------------------------------------------------------------


def test_an_epoch_is_rules_and_versions() -> None:
    made = ledger(None)
    one = made.book("shop", "m", ("1", "1"))
    assert made.book("shop", "m", ("1", "1")) is one
    others = {made.book("shop", "m2", ("1", "1")).epoch, made.book("shop", "m", ("1", "2")).epoch}
    others |= {made.book("other", "m", ("1", "1")).epoch, made.book("shop", "m", ("11", "")).epoch}
    assert len(others | {one.epoch}) == 5


def test_a_new_version_is_current_at_once_and_an_old_one_only_when_it_is_back() -> None:
    made = ledger(None)
    old, new = ("1", "1"), ("1", "2")
    made.book("shop", "m", old)
    second = made.book("shop", "m", new)
    for _ in range(50):  # both answer while instances are replaced
        made.book("shop", "m", old)
        made.book("shop", "m", new)
        assert made.current("shop") is second
    for _ in range(20):
        made.book("shop", "m", old)
    assert made.current("shop") is made.book("shop", "m", old)


def test_old_rules_that_are_in_force_again_are_current_at_once() -> None:
    made = ledger(None)
    one = made.book("shop", "m", ("", ""))
    made.book("shop", "m2", ("", ""))
    assert made.book("shop", "m", ("", "")) is made.current("shop") is one


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_templates_recent_and_signatures_are_bounded() -> None:
    book = ledger(None).book("shop", "m", ("", ""))
    for number in range(3000):
        book.settle("GET /a", differs(f"body:$.p{number}"), NOW_S, f"r{number}")
        book.slot(f"s{number}")
    found = book.comparisons({})
    assert len(found["recent"]) == MOST_RECENT
    assert found["recent"][0]["request_id"] == "r2999"
    assert len(book.own["GET /a"].spots) == 201
    assert found["differences"][0] == found["differences"][0] | {"path": "__other__", "count": 2800}
    assert len(book.seen) == 2000
    for number in range(5000):
        book.note_traffic(f"GET /{number}", 1)
    assert len(book.own) < 600
    assert sum(part.traffic for part in book.own.values()) == 5000


def test_the_reservoir_keeps_the_first_two_and_three_of_the_rest() -> None:
    counts = [0] * 100
    for seed in range(300):
        book = Book("shop", "e", "m", ("", ""), NOW_S, random.Random(seed))
        kept: dict[int, int] = {}
        for number in range(100):
            slot = book.slot("s")
            if slot is not None:
                kept[slot] = number
        assert set(kept) == {0, 1, 2, 3, 4} and (kept[0], kept[1]) == (0, 1)
        for slot in (2, 3, 4):
            counts[kept[slot]] += 1
    early, late = sum(counts[2:50]) / 48, sum(counts[50:]) / 50
    assert 0.8 < early / late < 1.25  # each of the rest is as likely


def test_a_signature_is_bounded_and_tells_places_apart() -> None:
    one = differs(*(f"body:$.{'x' * 50}{number}" for number in range(50)))
    other = differs(*(f"body:$.{'x' * 50}{number}" for number in range(51)))
    assert len(signature("GET /a", one)) < 400
    assert signature("GET /a", one) != signature("GET /a", other)
    assert signature("GET /a", differs("body:$.b", "body:$.a")) == "GET /a: body:$.a value, body:$.b value"


# --- what goes wrong over time ---------------------------------------------------------------------------------------


def test_more_endpoints_than_are_told_apart_can_be_written(tmp_path: Path) -> None:
    made = ledger(tmp_path / "l.db")
    book = made.book("shop", "m", ("", ""))
    for number in range(700):
        book.settle(f"GET /{number}", differs("body:$.a"), NOW_S, "r")
    made.flush()
    made.close()
    for seed in range(2, 5):  # each process sees other ones
        again = ledger(tmp_path / "l.db", seed=seed)
        book = again.book("shop", "m", ("", ""))
        for number in range(700):
            book.settle(f"GET /{seed}/{number}", MATCH, NOW_S, "r")
        assert len(book.whole()) <= 502
        again.close()


def test_a_version_with_every_answer_makes_no_ledger_grow(tmp_path: Path) -> None:
    made = ledger(tmp_path / "l.db")
    for number in range(300):
        made.book("shop", "m", ("", f"build-{number}")).settle("GET /a", differs("body:$.x"), NOW_S + number, "r")
        if number % 50 == 0:
            made.flush()
    made.flush()
    with contextlib.closing(sqlite3.connect(tmp_path / "l.db")) as db:
        for table in ("epochs", "parts", "spots"):
            assert 0 < db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] <= 10
    current = made.current("shop")
    assert current is not None and current.versions == ("", "build-299")
    made.close()


def test_the_first_epoch_and_that_of_new_rules_are_in_the_file_at_once(tmp_path: Path) -> None:
    made = ledger(tmp_path / "l.db")
    for mark in ("m1", "m2"):
        made.book("shop", mark, ("", ""))
        other = ledger(tmp_path / "l.db", seed=2)  # who comes after a crash
        current = other.current("shop")
        assert current is not None and current.mark == mark
        other.close()
    made.close()


def test_old_epochs_are_forgotten_but_never_the_current_one(tmp_path: Path) -> None:
    clock = Clock()
    made = ledger(tmp_path / "l.db", clock)
    made.book("shop", "m", ("", "1")).settle("GET /a", MATCH, clock.now_s, "r")
    made.book("shop", "m", ("", "2")).settle("GET /a", MATCH, clock.now_s, "r")
    made.flush()
    clock.now_s += 36 * DAY_S
    made.sweep()
    made.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "l.db")) as db:
        assert db.execute("SELECT extracted FROM epochs").fetchall() == [("2",)]
        assert db.execute("SELECT count(*) FROM parts").fetchone() == (1,)


def test_an_old_version_that_is_back_stays_current_over_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    made = ledger(tmp_path / "l.db", clock)
    for version, times in (("1", 1), ("2", 1), ("1", 20)):
        clock.now_s += 60
        for _ in range(times):
            made.book("shop", "m", ("", version)).settle("GET /a", MATCH, clock.now_s, "r")
    made.close()
    again = ledger(tmp_path / "l.db", clock, 2)
    current = again.current("shop")
    assert current is not None and current.versions == ("", "1")
    again.close()


def test_a_signature_whose_exemplars_have_aged_gets_new_ones(tmp_path: Path) -> None:
    clock = Clock()
    made = ledger(tmp_path / "l.db", clock)
    book = made.book("shop", "m", ("", ""))
    for _ in range(10_000):
        slot = book.slot("s")
        if slot is not None:
            book.keep("s", slot, "GET /a", NOW_S, {"differences": []})
    made.flush()
    clock.now_s += 8 * DAY_S
    made.sweep()
    assert book.slot("s") == 0
    made.close()


def test_what_the_other_process_writes_is_seen_after_a_sweep(tmp_path: Path) -> None:
    old, new = ledger(tmp_path / "l.db", seed=1), ledger(tmp_path / "l.db", seed=2)
    for made in (old, new):
        made.book("shop", "m", ("", "")).settle("GET /a", differs("body:$.x"), NOW_S, "r")
    old.close()
    new.flush()
    new.sweep()
    book = new.current("shop")
    assert book is not None and totals(book)["mismatch"] == 2
    assert book.comparisons({})["differences"][0]["count"] == 2
    new.sweep()
    assert totals(book)["mismatch"] == 2
    new.close()


def test_a_writer_that_slept_for_hours_counts_nothing_twice_and_overwrites_nobody(tmp_path: Path) -> None:
    clock = Clock()
    sleeper, gone = ledger(tmp_path / "l.db", clock, 1), ledger(tmp_path / "l.db", clock, 2)
    for made, times in ((sleeper, 3), (gone, 5)):
        for _ in range(times):
            made.book("shop", "m", ("", "")).settle("GET /a", differs("body:$.x"), clock.now_s, "r")
        made.flush()
    gone.close()
    clock.now_s += 2 * 3600
    ledger(tmp_path / "l.db", clock, 3).close()  # takes the silent ones together
    for _ in range(2):
        sleeper.book("shop", "m", ("", "")).settle("GET /a", differs("body:$.x"), clock.now_s, "r")
        sleeper.flush()
    book = sleeper.current("shop")
    assert book is not None and 9 <= totals(book)["mismatch"] <= 10
    sleeper.close()
    last = ledger(tmp_path / "l.db", clock, 4)
    book = last.current("shop")
    assert book is not None and 9 <= totals(book)["mismatch"] <= 10
    assert sum(row["count"] for row in book.comparisons({})["differences"]) == totals(book)["mismatch"]
    last.close()


FULL = """
import random, resource, sys
from pathlib import Path
from proxy.shadow.difference import Verdict
from proxy.shadow.ledger import Ledger, LedgerError
ledger = Ledger(Path(sys.argv[1]), lambda: 1.78e9, random.Random(1))
book = ledger.book("shop", "m", ("", ""))
def gather(times):
    for number in range(times):
        book.settle(f"GET /{number}", Verdict("match", True, ""), 1.78e9, "r")
gather(1)
ledger.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (Path(sys.argv[1]).stat().st_size + 60_000, resource.RLIM_INFINITY))
gather(400)
for _ in range(2):
    try:
        ledger.flush()
    except LedgerError as error:
        print("refused:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
gather(1)
ledger.flush()
ledger.close()
"""


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("refused:") == 2 and "what was compared waits in memory" in done.stdout
    found = ledger(path, seed=2)
    book = found.current("shop")
    assert book is not None and totals(book)["match"] == 402
    found.close()


def test_a_part_that_cannot_be_read_is_told_and_the_file_is_closed(tmp_path: Path) -> None:
    made = ledger(tmp_path / "l.db")
    made.book("shop", "m", ("", "")).settle("GET /a", MATCH, NOW_S, "r")
    made.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "l.db")) as db:
        db.execute("UPDATE parts SET document = '{\"traffic\": 1}'")
        db.commit()
    with pytest.raises(LedgerError, match="move it away, a new one is made"):
        ledger(tmp_path / "l.db", seed=2)
    gc.collect()  # an open connection would be told now


def test_a_file_that_others_could_read_is_theirs_no_more(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    path.touch(0o644)
    path.chmod(0o644)
    ledger(path).close()
    assert path.stat().st_mode & 0o077 == 0


def test_a_locked_file_does_not_hold_the_comparer_up(tmp_path: Path) -> None:
    made = ledger(tmp_path / "l.db")
    made.book("shop", "m", ("", "")).settle("GET /a", MATCH, NOW_S, "r")
    with contextlib.closing(sqlite3.connect(tmp_path / "l.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        begun_s = time.monotonic()
        made.book("shop", "m2", ("", "")).settle("GET /a", MATCH, NOW_S, "r")
        with pytest.raises(LedgerError):
            made.flush()
        assert time.monotonic() - begun_s < 1.5
    made.close()


BESIDE = """
import random, sys
from pathlib import Path
from proxy.shadow.difference import Difference, Verdict
from proxy.shadow.ledger import Ledger, LedgerError
ledger = Ledger(Path(sys.argv[1]), lambda: 1.78e9, random.SystemRandom(), busy_s=10.0)
difference = Difference("body:$.x", "value", "mismatch", 1, None, None)
verdict = Verdict("mismatch", True, "value", (difference,), ("body:$.x",))
for number in range(100):
    ledger.book("shop", "m", ("", "")).settle("GET /a", verdict, 1.78e9, "r")
    ledger.flush()
ledger.close()
"""


def test_two_processes_at_once_add_up(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    beside = [subprocess.Popen([sys.executable, "-c", BESIDE, str(path)]) for _ in range(2)]  # both make the file
    assert [process.wait(60) for process in beside] == [0, 0]
    found = ledger(path)
    book = found.current("shop")
    assert book is not None and totals(book)["mismatch"] == 200
    assert book.comparisons({})["differences"][0]["count"] == 200
    found.close()
