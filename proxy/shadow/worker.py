"""The process that compares: frames in, verdicts and reports out. Run by `feed`, ends with its pipe.

One loop, no event loop: read what is there, judge it, and once a second write the books down. Whatever a service said,
no sample may take longer than a second: regular expressions of rules can.
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
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from proxy.shadow.frames import FrameReader, to_proxy
from proxy.shadow.judge import Judge, Outcome
from proxy.shadow.ledger import Ledger, LedgerError
from proxy.shadow.sample import Sample, answer_from_plain

log = logging.getLogger("proxy.shadow")

FLUSH_S: Final = 1.0
SWEEP_S: Final = 600.0
MOST_SECONDS: Final = 1.0

_MOST_BYTES = 2 * 1024**3
_READ_BYTES = 256 * 1024


class TooSlow(Exception):
    """A sample took longer than it may."""


class Worker:
    def __init__(self, pipe: socket.socket, ledger: Ledger) -> None:
        self._pipe = pipe
        self._ledger = ledger
        self._judge = Judge(ledger, time.time)
        self._reader = FrameReader()
        self._flush_at = time.monotonic() + FLUSH_S
        self._sweep_at = time.monotonic() + SWEEP_S
        self._troubled = False

    def run(self) -> None:
        """Until the proxy closes the pipe."""
        while True:
            wait_s = max(0.0, self._flush_at - time.monotonic())
            if select.select([self._pipe], [], [], wait_s)[0]:
                data = self._pipe.recv(_READ_BYTES)
                if not data:
                    break
                for frame in self._reader.feed(data):
                    with contextlib.suppress(TooSlow):  # at the very end of what it was to limit
                        self._obey(*pickle.loads(frame))  # written by the process that started this one
                    self._keep_up()
            self._keep_up()
        self._ledger.close()

    def _keep_up(self) -> None:
        now = time.monotonic()
        if now < self._flush_at:
            return
        self._flush_at = now + FLUSH_S
        for outcome in self._judge.expire():
            self._settled(outcome)
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

    def _obey(self, kind: str, *values: Any) -> None:
        match kind, values:
            case "sample", (plain,):
                sample = Sample.from_plain(plain)
                with _limited():
                    outcome = self._judge.take(sample)
                if outcome is None:
                    self._say({"again": sample.number})
                else:
                    self._settled(outcome)
            case "again", (number, candidate, control):
                with _limited():
                    outcome = self._judge.again(number, answer_from_plain(candidate), answer_from_plain(control))
                if outcome is not None:
                    self._settled(outcome)
            case "seam", (name, mark, options):
                self._judge.rules(name, mark, options)
            case "traffic", (seams,):
                for name, requests in seams.items():
                    self._judge.note_traffic(name, requests)
            case "lost", (seams,):
                for name, samples in seams.items():
                    self._judge.lose(name, samples)
            case "ask", (question, what, name, known):
                self._say({"answer": question, "body": self._report(what, name, known)})
            case _:
                raise ValueError(f"a frame {kind!r} with {len(values)} values")

    def _report(self, what: str, name: str, known: list[str]) -> dict[str, Any]:
        return self._judge.comparisons(name) if what == "comparisons" else self._judge.evidence(name, known)

    def _settled(self, outcome: Outcome) -> None:
        self._say({"settled": outcome.number, "seam": outcome.seam, "verdict": outcome.verdict, "class": outcome.kind})

    def _say(self, message: dict[str, Any]) -> None:
        self._pipe.sendall(to_proxy(message))


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raises TooSlow into what runs, where the comparer makes a finding of it."""
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
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
    except (ConnectionError, BrokenPipeError):  # killed: nobody listens any more
        return 0
    except (ValueError, pickle.UnpicklingError) as error:
        log.error("the proxy said what cannot be understood: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
