"""What was measured, and what follows from it: medians, ratios. Knows no process and no text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

Combine = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One case of one peer in one round. Units are in the names of `values`."""

    round: int
    case: str
    peer: str
    values: Mapping[str, float]


class Measured:
    """All measurements of a run."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self._all = tuple(measurements)

    def peers(self, case: str) -> list[str]:
        """Who has figures for a case, in the order in which they came first."""
        return list(dict.fromkeys(one.peer for one in self._all if one.case == case))

    def median(self, case: str, peer: str, value: str) -> float | None:
        """None where nothing was measured."""
        figures = self._by_round(case, peer, value).values()
        return median(figures) if figures else None

    def total(self, case: str, peer: str, value: str) -> float:
        return sum(self._by_round(case, peer, value).values())

    def ratio(self, case: str, value: str, over: str, under: str) -> float | None:
        """Of two peers: made within each round, then the median. Rounds where `under` is not above 0 do not count."""
        return self._pairwise(case, value, over, under, lambda a, b: a / b, lambda b: b > 0)

    def added(self, case: str, value: str, peer: str, base: str) -> float | None:
        """How much `peer` has above `base`: made within each round, then the median."""
        return self._pairwise(case, value, peer, base, lambda a, b: a - b, lambda b: True)

    def added_ratio(self, case: str, value: str, over: str, under: str, base: str) -> float | None:
        """What `over` adds to `base` against what `under` adds to it, round by round, then the median."""
        floor = self._by_round(case, base, value)
        overs, unders = self._by_round(case, over, value), self._by_round(case, under, value)
        rounds = [one for one in floor if one in overs and one in unders and unders[one] > floor[one]]
        ratios = [(overs[one] - floor[one]) / (unders[one] - floor[one]) for one in rounds]
        return median(ratios) if ratios else None

    def _pairwise(
        self, case: str, value: str, left: str, right: str, combine: Combine, counts: Callable[[float], bool]
    ) -> float | None:
        lefts, rights = self._by_round(case, left, value), self._by_round(case, right, value)
        pairs = [combine(lefts[one], rights[one]) for one in lefts if one in rights and counts(rights[one])]
        return median(pairs) if pairs else None

    def _by_round(self, case: str, peer: str, value: str) -> dict[int, float]:
        wanted = (one for one in self._all if one.case == case and one.peer == peer)
        return {one.round: one.values[value] for one in wanted if value in one.values}
