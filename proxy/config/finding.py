"""What a check has to say about one key, before it is known in which file and line that key stands."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Finding:
    """`path` is dotted (`seams.catalog.routes[0].path`). `needs` are the paths on whose soundness the finding rests:
    where one of them is broken already, the finding would only repeat that. `at_key` points at the key, not the value.
    """

    path: str
    code: str
    message: str
    severity: Literal["error", "warning"] = "error"
    needs: tuple[str, ...] = ()
    at_key: bool = False

    def follows_from(self, broken: Container[str]) -> bool:
        return any(above in broken for path in (self.path, *self.needs) for above in lineage(path))


def twice(path: str, code: str, values: tuple[object, ...]) -> Iterator[Finding]:
    """One finding for each value of the list at `path` that stands there again."""
    for i, value in enumerate(values):
        if (first := values.index(value)) != i:
            yield Finding(f"{path}[{i}]", code, f"`{value}` stands here twice: remove one", needs=(f"{path}[{first}]",))


def lineage(path: str) -> Iterator[str]:
    """The path itself, then everything that it lies in, nearest first."""
    yield path
    for i in range(len(path) - 1, 0, -1):
        if path[i] in ".[":
            yield path[:i]


def dotted(loc: Iterable[str | int]) -> str:
    """`("seams", "a", "routes", 0)` as `seams.a.routes[0]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc).removeprefix(".")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean `x`?)` for the nearest known word, else nothing."""
    by_shape = {_shape(name): name for name in known}
    near = get_close_matches(_shape(word), by_shape, n=1, cutoff=0.6)
    return f" (did you mean `{by_shape[near[0]]}`?)" if near else ""


def _shape(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")


def printable(message: str) -> str:
    """One line: what could end it or move the cursor is escaped."""
    return _CONTROLS.sub(lambda control: control[0].encode("unicode_escape").decode(), message)
