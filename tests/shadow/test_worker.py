"""The comparer as the process that it is: what goes in, what comes out, and how it ends."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.shadow.answer import Answer
from proxy.shadow.frames import LENGTH, FrameReader, to_comparer
from proxy.shadow.sample import Sample, answer_to_plain
from tests.support.pairs import answer, document
from tests.support.samples import ONE, TWO, sample

ROOT = Path(__file__).parents[2]
NO_RULES: Mapping[str, Any] = {"compare": {}, "store_values": [], "version_header": None, "control_percent": 10}


class Child:
    """A comparer of its own, and the other end of its pipe."""

    def __init__(self, ledger: Path | None = None, least_fd: int = 0) -> None:
        self.pipe, theirs = socket.socketpair()
        self.pipe.settimeout(20)
        number = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD, least_fd)
        theirs.close()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "proxy.shadow.worker", str(number), str(ledger or "-")],
            pass_fds=(number,),
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        os.close(number)
        self._reader = FrameReader()
        self._heard: list[dict[str, Any]] = []
        self._question = 0

    def tell(self, *frames: bytes) -> None:
        self.pipe.sendall(b"".join(frames))

    def rules(self, mark: str = "m1", **compare: Any) -> None:
        self.tell(to_comparer("seam", "shop", mark, {**NO_RULES, "compare": compare}))

    def put(self, *samples: Sample) -> None:
        self.tell(*(to_comparer("sample", one.to_plain()) for one in samples))

    def again(self, number: int, candidate: Answer | None, control: Answer | None) -> None:
        self.tell(to_comparer("again", number, answer_to_plain(candidate), answer_to_plain(control)))

    def next(self, key: str) -> dict[str, Any]:
        """The next message that has `key`, whatever else comes before."""
        while True:
            for number, message in enumerate(self._heard):
                if key in message:
                    return self._heard.pop(number)
            data = self.pipe.recv(65536)
            assert data, f"the comparer has ended: {self.end()}"
            self._heard += [orjson.loads(frame) for frame in self._reader.feed(data)]

    def ask(self, what: str = "comparisons", seam: str = "shop", known: tuple[str, ...] = ()) -> Any:
        self._question += 1
        self.tell(to_comparer("ask", self._question, what, seam, list(known)))
        message = self.next("answer")
        assert message["answer"] == self._question
        return message["body"]

    def end(self) -> tuple[int, str]:
        """Close the pipe: its status and what it said on stderr."""
        self.pipe.close()
        status = self.process.wait(15)
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            return status, stderr.read().decode()

    def abandon(self) -> None:
        self.pipe.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()


@pytest.fixture
def child() -> Iterator[Child]:
    one = Child()
    yield one
    one.abandon()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[list[Child]]:
    """Those that a test starts itself."""
    children: list[Child] = []
    yield children
    for one in children:
        one.abandon()


def started(kept: list[Child], *arguments: Any) -> Child:
    kept.append(Child(*arguments))
    return kept[-1]


def slow(number: int) -> Sample:
    """Takes the rule SLOW for ever."""
    text = "a" * 60
    return sample(number, answer(f"{text}!", "text/plain"), answer(f"{text}?", "text/plain"))


SLOW: Mapping[str, Any] = {"rewrite": [["(a+)+$", "b"]]}


# --- samples -------------------------------------------------------------------------------------------------------


def test_a_match_is_settled_and_a_mismatch_is_asked_again_first(child: Child) -> None:
    child.rules()
    child.put(sample(1), sample(2, ONE, TWO), sample(3, ONE, TWO))
    assert child.next("settled") == {"settled": 1, "seam": "shop", "verdict": "match", "class": ""}
    assert child.next("again") == {"again": 2}
    assert child.next("again") == {"again": 3}
    child.again(2, TWO, ONE)
    assert child.next("settled") == {"settled": 2, "seam": "shop", "verdict": "mismatch", "class": "value"}
    child.again(3, ONE, ONE)
    assert child.next("settled") == {"settled": 3, "seam": "shop", "verdict": "mismatch", "class": "flaky"}
    child.again(99, None, None)
    assert child.ask()["totals"] == {"match": 1, "mismatch": 1, "uncounted": 1}
    assert child.end() == (0, "")


def test_what_the_proxy_counts_is_in_the_reports(child: Child) -> None:
    child.rules()
    child.put(sample(1))
    child.tell(to_comparer("traffic", {"shop": {"GET /b": 3}}), to_comparer("lost", {"shop": {"queue_full": 2}}))
    assert child.ask()["uncounted"] == {"queue_full": 2}
    evidence = child.ask("evidence", known=("GET /c",))
    assert (evidence["verdict"], evidence["unseen"], evidence["samples"]) == ("HOLD", ["GET /c"], 3)
    assert child.ask("evidence", "nobody")["epoch"] is None


def test_a_question_waits_for_the_samples_before_it(child: Child) -> None:
    child.rules()
    child.put(*(sample(number) for number in range(1, 301)))
    assert child.ask()["totals"]["match"] == 300


def test_a_question_is_answered_while_samples_come(child: Child) -> None:
    """Each of these takes a second, and there are more than anybody would wait for."""
    child.rules(**SLOW)
    child.put(*(slow(number) for number in range(1, 31)))
    began = time.monotonic()
    recent = child.ask()["recent"]
    assert time.monotonic() - began < 5.0
    assert 0 < len(recent) < 10
    child.process.kill()


def test_a_sample_that_takes_for_ever_is_a_difference(child: Child) -> None:
    child.rules(**SLOW)
    one = slow(1)
    began = time.monotonic()
    child.put(replace(one, second=one.control, second_s=0.01), sample(2))
    assert child.next("settled") == {"settled": 1, "seam": "shop", "verdict": "mismatch", "class": "compare_error"}
    assert child.next("settled")["settled"] == 2
    assert time.monotonic() - began < 3.0
    assert child.end() == (0, "")


def test_a_backlog_of_many_mebibytes_is_worked_off(child: Child) -> None:
    child.rules()
    large = document({"text": "x" * 400_000})
    for number in range(1, 101):
        child.put(sample(number, large, large))
    assert sorted(child.next("settled")["settled"] for _ in range(100)) == list(range(1, 101))
    assert child.end() == (0, "")


def test_with_nothing_to_do_it_says_that_it_lives(child: Child) -> None:
    assert child.next("alive") == {"alive": True}
    assert child.next("alive") == {"alive": True}


def test_frames_may_come_in_pieces(child: Child) -> None:
    text = to_comparer("seam", "shop", "m1", NO_RULES) + to_comparer("sample", sample(1).to_plain())
    for start in range(0, len(text), 7):
        child.tell(text[start : start + 7])
    assert child.next("settled")["settled"] == 1


# --- its life ------------------------------------------------------------------------------------------------------


def test_signals_that_a_terminal_sends_are_not_for_it(child: Child) -> None:
    child.rules()
    child.put(sample(1))
    child.next("settled")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        child.process.send_signal(number)
    child.put(sample(2))
    assert child.next("settled")["settled"] == 2


def test_it_works_where_the_proxy_has_a_thousand_connections(kept: list[Child]) -> None:
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < 2048:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, most), most))
    try:
        child = started(kept, None, 1500)
        child.rules()
        child.put(sample(1))
        assert child.next("settled")["settled"] == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def test_at_the_end_all_that_was_read_is_written_down(kept: list[Child], tmp_path: Path) -> None:
    file = tmp_path / "shadow.db"
    child = started(kept, file)
    child.rules()
    child.put(*(sample(number) for number in range(1, 201)), sample(500, ONE, TWO))
    assert child.end() == (0, "")
    child = started(kept, file)
    child.rules()
    assert child.ask()["totals"] == {"match": 200, "mismatch": 1, "uncounted": 0}  # what waited stayed what it was


def test_a_proxy_that_is_killed_costs_nothing_either(kept: list[Child], tmp_path: Path) -> None:
    """It leaves verdicts unread: the pipe is reset, and nobody hears the rest."""
    file = tmp_path / "shadow.db"
    child = started(kept, file)
    child.rules()
    child.put(sample(1))
    child.next("settled")
    child.put(*(sample(number) for number in range(2, 2001)))
    time.sleep(0.2)
    assert child.end() == (0, "")
    child = started(kept, file)
    child.rules()
    assert child.ask()["totals"]["match"] == 2000


def test_killed_it_misses_the_last_second_at_most(kept: list[Child], tmp_path: Path) -> None:
    file = tmp_path / "shadow.db"
    child = started(kept, file)
    child.rules()
    until = time.monotonic() + 2.5
    number = 0
    settled_at: list[float] = []
    while time.monotonic() < until:
        number += 1
        child.put(sample(number))
        child.next("settled")
        settled_at.append(time.monotonic())
    child.process.kill()
    killed_at = time.monotonic()
    child.process.wait()
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    child = started(kept, file)
    child.rules()
    kept_matches = child.ask()["totals"]["match"]
    older = sum(at < killed_at - 1.5 for at in settled_at)  # a flush takes its time as well
    assert older > 0
    assert older <= kept_matches <= number
    child.put(sample(number + 1))
    child.next("settled")
    assert child.ask()["totals"]["match"] == kept_matches + 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 8,
        LENGTH.pack(3) + b"abc",
        LENGTH.pack(0),
        to_comparer("nonsense", 1),
        to_comparer("sample", (1, 2)),
        to_comparer("ask"),
    ],
)
def test_garbage_ends_it_with_a_word(kept: list[Child], tmp_path: Path, garbage: bytes) -> None:
    file = tmp_path / "shadow.db"
    child = started(kept, file)
    child.rules()
    child.put(sample(1))
    child.tell(garbage)
    child.process.wait(15)
    status, said = child.end()
    assert status == 1
    assert said.count("\n") == 1
    assert "the proxy said what cannot be understood" in said
    child = started(kept, file)
    child.rules()
    assert child.ask()["totals"]["match"] == 1


def test_rules_that_are_none_end_nothing(child: Child) -> None:
    child.rules()
    child.rules("m2", no_such_rule=True)
    child.put(sample(1), sample(2, mark="m2"))
    assert child.next("settled")["class"] == ""
    assert child.next("settled")["class"] == "dropped"
    status, said = child.end()
    assert status == 0
    assert "seam shop cannot be compared" in said and "no_such_rule" in said


def test_a_file_that_is_no_ledger_is_said_to_be(kept: list[Child], tmp_path: Path) -> None:
    file = tmp_path / "shadow.db"
    file.write_text("these are not the bytes that you are looking for " * 100)
    child = started(kept, file)
    child.process.wait(15)
    status, said = child.end()
    assert status == 1
    assert str(file) in said
    assert "Traceback" not in said


def test_it_starts_without_what_it_does_not_need() -> None:
    heavy = "pydantic", "asyncio", "starlette", "httptools", "uvloop", "yaml", "dns"
    program = "import sys, proxy.shadow.worker; print([name for name in sys.argv[1:] if name in sys.modules])"
    told = subprocess.run(
        [sys.executable, "-P", "-c", program, *heavy],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    assert told.stdout == b"[]\n"
