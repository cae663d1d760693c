"""Whether the rules of each seam's `shadow` can be compiled, each by itself. Hook of `config.load`.

Problems that `check` reports:

    FIG247  rule of `compare` that cannot be used
    FIG248  path of `store_values`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.config.model import Settings
from proxy.shadow.places import parse_path
from proxy.shadow.rules import KEYS, compile_rules

Finding = tuple[str, str, str]


def check(settings: Settings) -> Iterator[Finding]:
    """(dotted path, code, message) for each rule that is none. Keys that are unknown are the model's to report."""
    for name, seam in settings.seams.items():
        if seam.shadow is not None:
            path = f"seams.{name}.shadow"
            yield from _rules(f"{path}.compare", seam.shadow.compare)
            yield from _paths(f"{path}.store_values", seam.shadow.store_values)


def _rules(path: str, compare: Mapping[str, Any]) -> Iterator[Finding]:
    known = {key: rule for key, rule in compare.items() if key in KEYS}
    whole = _problem(known)
    if whole is None:
        return
    problems = {key: problem for key, rule in known.items() if (problem := _problem({key: rule}))}
    for key, problem in problems.items():
        yield f"{path}.{key}", "FIG247", problem
    if not problems:
        yield path, "FIG247", whole


def _problem(compare: Mapping[str, Any]) -> str | None:
    try:
        compile_rules(compare)
    except ValueError as error:
        return str(error)
    except (RecursionError, OverflowError) as error:  # `re` has them for patterns beyond all measure
        return f"compare.{', '.join(compare)}: {error}"
    return None


def _paths(path: str, texts: tuple[str, ...]) -> Iterator[Finding]:
    for i, text in enumerate(texts):
        try:
            parse_path(text)
        except ValueError as error:
            yield f"{path}[{i}]", "FIG248", str(error)
