"""Seeds and their mutations: byte by byte, line by line, and two in a row."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.support.strict import Cursor, Incomplete, Violation, read_request

_SEEDS = Path(__file__).parents[1] / "cases" / "wire_seeds.json"
_INSERTS = (b"\r", b"\n", b"\x00", b":", b"\t", b" ", b"\r\n", b"\r\n\r\n", b",", b"0", b"x")
_ROUND = 200  # examples of one seed; the time is looked at in between


def seeds(kind: str) -> list[bytes]:
    """The `requests` or the `answers`."""
    return [text.encode("latin-1") for text in json.loads(_SEEDS.read_text())[kind].values()]


@dataclass(frozen=True)
class Change:
    """One mutation; `at` and `byte` are taken modulo what there is."""

    kind: str
    at: int
    byte: int

    def __call__(self, data: bytes) -> bytes:
        at = self.at % (len(data) + 1)
        lines = data.split(b"\r\n")
        which = self.at % len(lines)
        match self.kind:
            case "delete":
                return data[:at] + data[at + 1 + self.byte % 3 :]
            case "replace":
                return data[:at] + bytes([self.byte]) + data[at + 1 :]
            case "insert":
                return data[:at] + bytes([self.byte]) + data[at:]
            case "insert special":
                return data[:at] + _INSERTS[self.byte % len(_INSERTS)] + data[at:]
            case "drop line":
                return b"\r\n".join(lines[:which] + lines[which + 1 :])
            case "double line":
                return b"\r\n".join(lines[: which + 1] + lines[which:])
            case _:
                return data[:at]


KINDS = ("delete", "replace", "insert", "insert special", "insert special", "drop line", "double line", "cut")


def mutated(kind: str) -> st.SearchStrategy[bytes]:
    """One to three seeds in a row, changed up to three times."""
    change = st.builds(Change, st.sampled_from(KINDS), st.integers(0, 1 << 16), st.integers(0, 255))
    everything = seeds(kind)
    bases = st.lists(st.sampled_from(everything) | st.sampled_from(_sound(everything)), min_size=1, max_size=3)
    return st.builds(_changed, bases, st.lists(change, max_size=3))


def _sound(data: list[bytes]) -> list[bytes]:
    """Those that are requests without a fault: with one change they go the furthest."""
    return [one for one in data if _is_request(one)] or data


def _is_request(data: bytes) -> bool:
    cursor = Cursor(data)
    try:
        while cursor.rest:
            read_request(cursor)
    except (Violation, Incomplete):
        return False
    return True


def _changed(bases: list[bytes], changes: list[Change]) -> bytes:
    data = b"".join(bases)
    for change in changes:
        data = change(data)
    return data


def split(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in parts that end at these places (modulo its length)."""
    cuts = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)]) if end > start]


def fuzz(check: Callable[..., None], seconds: float, first_seed: int, **strategies: st.SearchStrategy[Any]) -> int:
    """Run `check` with generated arguments for about so long; returns how many examples it saw.

    Each round is decided by its seed alone, so a failure comes again with `FUZZ_SEED=N` and the same code.
    `FUZZ_SECONDS` and `FUZZ_SEED` in the environment take the place of the arguments.
    """
    seconds = float(os.environ.get("FUZZ_SECONDS", seconds))
    examples = 0

    def counted(**arguments: Any) -> None:
        nonlocal examples
        examples += 1
        check(**arguments)

    end = time.monotonic() + seconds
    for number in itertools.count(int(os.environ.get("FUZZ_SEED", first_seed))):
        configured = settings(
            max_examples=_ROUND,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        print(f"FUZZ_SEED={number}")
        seed(number)(configured(given(**strategies)(counted)))()
        if time.monotonic() > end:
            return examples
    raise AssertionError("unreachable")
