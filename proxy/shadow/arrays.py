"""Two arrays of one place: in order, as multisets, or aligned by a member. Knows no rule but through the walk.

    same length              pair by pair; if all that differs is where the elements stand, that is one `order`
    another length           aligned first, so that one element more is one difference and not one for each after it
    unordered: true          multisets: equal elements cancel, what is left is paired by likeness
    unordered: NAME          paired by the member NAME; as multisets where it is missing or not unique

Alignment costs the product of both lengths, so it is done for what differs between the common head and tail, up to
10,000 pairs and 2,000 elements; what is longer is compared as multisets, which is linear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from types import NoneType
from typing import Any, Final, Protocol

from proxy.shadow.difference import MISSING
from proxy.shadow.places import Place
from proxy.shadow.templates import ITEMS, Link

MOST_ALIGNED: Final = 2000
_MOST_PAIRS: Final = 10_000
_MOST_PROBES: Final = 2500
_ALIKE: Final = 0.5
_SCALARS: Final = frozenset((str, int, float, bool, NoneType))


class Walker(Protocol):
    """What is needed of the walk down the documents. `events` grows by every difference."""

    events: list[tuple[Link, str, Any, Any]]

    @property
    def tolerant(self) -> bool: ...
    def affords(self, pairs: int) -> bool: ...
    def value(self, a: Any, b: Any, link: Link, place: Place, depth: int) -> None: ...
    def differ(self, link: Link, kind: str, control: Any, candidate: Any) -> None: ...
    def key(self, value: Any, place: Place) -> Hashable: ...
    def same(self, a: Any, b: Any, place: Place, depth: int) -> bool: ...


def compare_arrays(walk: Walker, a: list[Any], b: list[Any], link: Link, place: Place, depth: int) -> None:
    """`depth` is that of the arrays."""
    unordered = place.settings.unordered
    if len(a) == len(b) and unordered is False:
        _in_order(walk, a, b, link, place.items, depth + 1)
        return
    pair = _Arrays(walk, a, b, link, place.items, depth + 1)
    if isinstance(unordered, str):
        pair.by_member(unordered)
    elif unordered:
        pair.as_multisets(range(len(a)), range(len(b)))
    else:
        pair.aligned()


def _in_order(walk: Walker, a: list[Any], b: list[Any], above: Link, items: Place, depth: int) -> None:
    events = walk.events
    start = len(events)
    differing: list[int] = []
    link: Link = (above, ITEMS, None, None)
    for i, one in enumerate(a):
        other = b[i]
        kind = type(one)
        if kind is type(other) and kind in _SCALARS and one == other:
            continue
        before = len(events)
        walk.value(one, other, link, items, depth)
        if len(events) > before:
            differing.append(i)
    if len(differing) > 1 and _keys(walk, a, differing, items) == _keys(walk, b, differing, items):
        del events[start:]
        walk.differ(above, "order", a, b)


def _keys(walk: Walker, array: list[Any], indexes: Sequence[int], items: Place) -> Counter[Hashable]:
    return Counter(walk.key(array[i], items) for i in indexes)


class _Arrays:
    def __init__(self, walk: Walker, a: list[Any], b: list[Any], above: Link, items: Place, depth: int) -> None:
        self.walk = walk
        self.a = a
        self.b = b
        self.above = above
        self.link: Link = (above, ITEMS, None, None)
        self.items = items
        self.depth = depth

    def _compare(self, i: int, j: int) -> None:
        self.walk.value(self.a[i], self.b[j], self.link, self.items, self.depth)

    def by_member(self, name: str) -> None:
        left, right = self._index(self.a, name), self._index(self.b, name)
        if left is None or right is None:
            self.as_multisets(range(len(self.a)), range(len(self.b)))
            return
        for key, i in left.items():
            if key in right:
                self._compare(i, right[key])
            else:
                self._alone(i, None)
        for key, j in right.items():
            if key not in left:
                self._alone(None, j)

    def _index(self, array: list[Any], name: str) -> dict[Hashable, int] | None:
        """Where each key stands; None where not every element has one of its own."""
        place = self.items.member(name)
        found: dict[Hashable, int] = {}
        for i, element in enumerate(array):
            if not isinstance(element, dict) or name not in element:
                return None
            found[self.walk.key(element[name], place)] = i
        return found if len(found) == len(array) else None

    def as_multisets(self, left: Sequence[int], right: Sequence[int]) -> None:
        """Of the elements at these indexes."""
        waiting: dict[Hashable, list[int]] = {}
        for j in reversed(right):
            waiting.setdefault(self.walk.key(self.b[j], self.items), []).append(j)
        missing: list[int] = []
        for i in left:
            places = waiting.get(self.walk.key(self.a[i], self.items))
            if places:
                places.pop()
            else:
                missing.append(i)
        extra = sorted(j for places in waiting.values() for j in places)
        if self.walk.tolerant and self._affords(missing, extra, _MOST_PROBES):
            missing, extra = self._without_same(missing, extra)
        self._pair(missing, extra)

    def _affords(self, left: Sequence[int], right: Sequence[int], most: int) -> bool:
        pairs = len(left) * len(right)
        return 0 < pairs <= most and self.walk.affords(pairs)

    def _without_same(self, missing: list[int], extra: list[int]) -> tuple[list[int], list[int]]:
        """Without pairs that a tolerance makes equal."""
        kept: list[int] = []
        for i in missing:
            for j in extra:
                if self.walk.same(self.a[i], self.b[j], self.items, self.depth):
                    extra = [other for other in extra if other != j]
                    break
            else:
                kept.append(i)
        return kept, extra

    def _pair(self, missing: Sequence[int], extra: Sequence[int]) -> None:
        """Elements that are alike are compared, the others in their order stand for one another, the rest is alone."""
        if self._affords(missing, extra, _MOST_PROBES):
            rest = list(extra)
            unlike: list[int] = []
            for i in missing:
                alike = [likeness(self.a[i], self.b[j]) for j in rest]
                best = max(alike, default=0.0)
                if best >= _ALIKE:
                    self._compare(i, rest.pop(alike.index(best)))
                else:
                    unlike.append(i)
            missing, extra = unlike, rest
        paired = min(len(missing), len(extra))
        for i, j in zip(missing[:paired], extra[:paired], strict=True):
            self._instead(i, j)
        for i in missing[paired:]:
            self._alone(i, None)
        for j in extra[paired:]:
            self._alone(None, j)

    def _instead(self, i: int, j: int) -> None:
        """An element in the place of another that is not like it."""
        one, other = self.a[i], self.b[j]
        if type(one) in _SCALARS or type(one) is not type(other):
            self._compare(i, j)
        elif not self.items.settings.ignore:
            self.walk.differ(self.link, "value", one, other)

    def _alone(self, i: int | None, j: int | None) -> None:
        if self.items.settings.ignore:
            return
        if i is not None:
            self.walk.differ(self.link, "removed", self.a[i], MISSING)
        if j is not None:
            self.walk.differ(self.link, "added", MISSING, self.b[j])

    def aligned(self) -> None:
        a, b = self.a, self.b
        if max(len(a), len(b)) > MOST_ALIGNED:
            self.as_multisets(range(len(a)), range(len(b)))
            return
        left = [self.walk.key(one, self.items) for one in a]
        right = [self.walk.key(one, self.items) for one in b]
        shorter = min(len(a), len(b))
        head = 0
        while head < shorter and left[head] == right[head]:
            head += 1
        tail = 0
        while tail < shorter - head and left[-1 - tail] == right[-1 - tail]:
            tail += 1
        rows, columns = range(head, len(a) - tail), range(head, len(b) - tail)
        if rows and columns and not self._affords(rows, columns, _MOST_PAIRS):
            self.as_multisets(rows, columns)
            return
        weights = [[1.0 if left[i] == right[j] else likeness(a[i], b[j]) for j in columns] for i in rows]
        after = (head, head)
        for i, j in (*best_alignment(weights), (len(rows), len(columns))):
            here = (head + i, head + j)
            self._pair(range(after[0], here[0]), range(after[1], here[1]))
            if i < len(rows):
                if left[here[0]] != right[here[1]]:
                    self._compare(*here)
                after = (here[0] + 1, here[1] + 1)


def best_alignment(weights: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """The pairs (row, column), both rising, with the greatest sum of weights; only pairs that are alike."""
    rows, columns = len(weights), len(weights[0]) if weights else 0
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        row, below, weight = best[i], best[i + 1], weights[i]
        for j in range(columns - 1, -1, -1):
            skip = max(below[j], row[j + 1])
            row[j] = max(skip, below[j + 1] + weight[j]) if weight[j] >= _ALIKE else skip
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < rows and j < columns:
        if weights[i][j] >= _ALIKE and best[i][j] == best[i + 1][j + 1] + weights[i][j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def likeness(one: Any, other: Any) -> float:
    """From 0 to 1, how much two elements look like the same thing changed: for objects by the share of equal members,
    more where they agree on `id`; scalars that differ are nothing alike."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return 0.0
    names = list(one)[:50]
    equal = sum(name in other and _equal_scalars(one[name], other[name]) for name in names)
    share = equal / max(len(names), min(len(other), 50), 1)
    return (
        min(0.99, share + 0.5) if "id" in one and _equal_scalars(one["id"], other.get("id", MISSING)) else share * 0.99
    )


def _equal_scalars(one: Any, other: Any) -> bool:
    if type(one) in (dict, list):
        return type(one) is type(other) and len(one) == len(other)
    return type(one) is type(other) and bool(one == other)
