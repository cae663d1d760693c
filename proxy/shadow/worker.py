"""The process that compares: frames in, verdicts and reports out. Run by `feed`, ends with its pipe.

One loop, no event loop: read what is there, judge one sample, and once a second write the books down. Whatever a
service said, no sample may take longer than a second (regular expressions of rules can), and no question waits much
longer than that for the samples that came before it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import random
import resource
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

from proxy.shadow.answer import Answer
from proxy.shadow.frames import MAX_FRAME_BYTES, FrameReader, to_proxy
from proxy.shadow.judge import Judge, Outcome
from proxy.shadow.ledger import Ledger, LedgerError
from proxy.shadow.sample import Sample, answer_from_plain

log = logging.getLogger("proxy.shadow")

FLUSH_S: Final = 1.0
SWEEP_S: Final = 600.0
MOST_SECONDS: Final = 1.0
ANSWER_S: Final = 1.0

_MOST_BYTES = 2 * 1024**3
_MOST_BACKLOG_BYTES = 32 * 1024 * 1024
_READ_BYTES = 256 * 1024
_WIND_UP_S = 2.0


class TooSlow(Exception):
    """A sample took longer than it may."""


class Garbled(Exception):
    """What came through the pipe is no word of the proxy."""


Job = Callable[[], None]
Report = Callable[[], dict[str, Any]]


class Worker:
    """`monotonic` tells when it is time to write, to answer and to end."""

    def __init__(self, pipe: socket.socket, ledger: Ledger, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pipe = pipe
        self._ledger = ledger
        self._monotonic = monotonic
        self._judge = Judge(ledger, time.time)
        self._reader = FrameReader()
        self._poll = select.poll()  # unlike select, it takes descriptors beyond 1,023
        self._poll.register(pipe, select.POLLIN)
        self._backlog: deque[tuple[Job, int]] = deque()
        self._backlog_bytes = 0
        self._questions: dict[int, tuple[float, Report]] = {}  # oldest first, with the time when it must be answered
        self._heard = True
        self._flush_at = monotonic() + FLUSH_S
        self._sweep_at = monotonic() + SWEEP_S
        self._troubled = False

    def run(self) -> None:
        """Until the proxy closes the pipe. Raises Garbled; what was read before is judged and written down anyway."""
        try:
            while self._listen():
                self._work()
                self._keep_up()
        except ConnectionError:  # killed: nobody listens any more
            pass
        finally:
            self._wind_up()

    def _listen(self) -> bool:
        """Take in all that has come, and wait where there is nothing to do. False: the proxy has closed the pipe."""
        while self._backlog_bytes < _MOST_BACKLOG_BYTES:
            wait_s = 0.0 if self._backlog else max(0.0, self._flush_at - self._monotonic())
            if not self._poll.poll(wait_s * 1000):
                break
            data = self._pipe.recv(_READ_BYTES)
            if not data:
                return False
            try:
                for frame in self._reader.feed(data):
                    self._file(len(frame), *pickle.loads(frame))  # written by the process that started this one
            except Exception as error:  # a pickle that is none may raise anything
                raise Garbled(repr(error)) from error
            if self._monotonic() >= self._flush_at:
                break
        return True

    def _work(self) -> None:
        if self._backlog:
            job, size = self._backlog.popleft()
            self._backlog_bytes -= size
            with contextlib.suppress(TooSlow):  # at the very end of what it was to limit
                job()
        while self._questions:
            number, (answer_by, _) = next(iter(self._questions.items()))
            if self._monotonic() < answer_by:
                break
            self._answer(number)

    def _wind_up(self) -> None:
        """Judge what was read, as far as there is time, and write it down. Raises LedgerError."""
        self._heard = False
        end_at = self._monotonic() + _WIND_UP_S
        self._questions.clear()
        while self._backlog and self._monotonic() < end_at:
            self._work()
        for _ in self._judge.finish():
            if self._monotonic() >= end_at:
                break
        self._ledger.close()

    def _keep_up(self) -> None:
        for outcome in self._judge.expire():
            self._settled(outcome)
        now = self._monotonic()
        if now < self._flush_at:
            return
        self._flush_at = now + FLUSH_S
        self._say({"alive": True})
        try:
            self._ledger.flush()
            if now >= self._sweep_at:
                self._sweep_at = now + SWEEP_S
                self._ledger.sweep()
            self._troubled = False
        except LedgerError as error:
            if not self._troubled:
                log.error("%s", error)
            self._troubled = True

    def _file(self, size: int, kind: str, *values: Any) -> None:
        """What a frame asks for goes behind what came before. Rules are taken to heart at once: samples name theirs."""
        match kind, values:
            case "sample", (plain,):
                sample = Sample.from_plain(plain)
                job: Job = partial(self._take, sample)
            case "again", (number, candidate, control):
                job = partial(self._again, number, answer_from_plain(candidate), answer_from_plain(control))
            case "traffic", (seams,):
                job = partial(self._traffic, seams)
            case "lost", (seams,):
                job = partial(self._lost, seams)
            case "ask", (question, what, name, known):
                self._questions[question] = (self._monotonic() + ANSWER_S, partial(self._report, what, name, known))
                job = partial(self._answer, question)
            case "seam", (name, mark, options):
                self._rules(name, mark, options)
                return
            case _:
                raise ValueError(f"a frame {kind!r} with {len(values)} values")
        self._backlog.append((job, size))
        self._backlog_bytes += size

    def _take(self, sample: Sample) -> None:
        with _limited():
            outcome = self._judge.take(sample)
        if outcome is None:
            self._say({"again": sample.number})
        else:
            self._settled(outcome)

    def _again(self, number: int, candidate: Answer | None, control: Answer | None) -> None:
        with _limited():
            outcome = self._judge.again(number, candidate, control)
        if outcome is not None:
            self._settled(outcome)

    def _rules(self, name: str, mark: str, options: dict[str, Any]) -> None:
        try:
            self._judge.rules(name, mark, options)
        except ValueError as error:  # its samples are lost, those of other seams are not
            log.error("seam %s cannot be compared: %s", name, error)

    def _traffic(self, seams: dict[str, dict[str, int]]) -> None:
        for name, requests in seams.items():
            self._judge.note_traffic(name, requests)

    def _lost(self, seams: dict[str, dict[str, int]]) -> None:
        for name, samples in seams.items():
            self._judge.lose(name, samples)

    def _answer(self, question: int) -> None:
        """Say what is known, once. A report that fails is not answered, and ends nothing."""
        _, report = self._questions.pop(question, (0.0, None))
        if report is not None:
            try:
                text = to_proxy({"answer": question, "body": report()})
                if len(text) > MAX_FRAME_BYTES:
                    raise ValueError(f"{len(text)} bytes are more than a frame takes")
            except Exception as error:
                log.error(
                    "a report cannot be made: %s", error if isinstance(error, LedgerError) else type(error).__name__
                )
            else:
                self._send(text)

    def _report(self, what: str, name: str, known: list[str]) -> dict[str, Any]:
        return self._judge.comparisons(name) if what == "comparisons" else self._judge.evidence(name, known)

    def _settled(self, outcome: Outcome) -> None:
        self._say({"settled": outcome.number, "seam": outcome.seam, "verdict": outcome.verdict, "class": outcome.kind})

    def _say(self, message: dict[str, Any]) -> None:
        self._send(to_proxy(message))

    def _send(self, text: bytes) -> None:
        if self._heard:
            try:
                self._pipe.sendall(text)
            except ConnectionError:  # nobody listens any more, and yet there may be samples to read
                self._heard = False


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raises TooSlow into what runs, where the comparer makes a finding of it; and again if the rest takes long too."""
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    raise TooSlow(f"more than {MOST_SECONDS:g} s")


def main(arguments: list[str]) -> int:
    """FD of the pipe, and the ledger's path or `-`. 0 at the proxy's end, 1 with a reason on stderr."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # the proxy tells it when, by closing the pipe
    signal.signal(signal.SIGALRM, _too_slow)
    os.nice(5)  # never in the way of requests
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, resource.RLIM_INFINITY))
    pipe = socket.socket(fileno=int(arguments[0]))
    try:
        ledger = Ledger(None if arguments[1] == "-" else Path(arguments[1]), time.time, random.SystemRandom())
        Worker(pipe, ledger).run()
    except LedgerError as error:
        log.error("%s", error)
        return 1
    except Garbled as error:
        log.error("the proxy said what cannot be understood: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
