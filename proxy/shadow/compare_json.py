"""Two JSON documents, place by place. Knows rules and trees, no media type and no header.

Types are compared before values, numbers exactly, objects without order, arrays as their place says. A walk is bounded
by depth and by the number of nodes it visits, not by a clock: the same pair always gives the same answer. What would be
more is left to the caller to compare as bytes (TooMuch).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from types import NoneType
from typing import Any, Final

from proxy.shadow.arrays import compare_arrays
from proxy.shadow.difference import MISSING, Found, Severity
from proxy.shadow.formats import TYPES
from proxy.shadow.json_tree import Repeated, TooMuch, proved_equal
from proxy.shadow.numbers import Constant, Exact, number_key, number_text, numbers_equal, within
from proxy.shadow.places import Place
from proxy.shadow.rules import Rules
from proxy.shadow.strings import coerced, strings_equal, unicode_form
from proxy.shadow.templates import Link, Templates

DEPTH: Final = 64
NODES: Final = 50_000
"""Of one document. Both are walked, and keys for arrays may visit them four times more."""

PAIRS: Final = 200_000
"""Of elements, over all arrays that have to be aligned."""

_PROVED_DEPTH: Final = 8  # each level writes anew what lies below
_FAILED_PROOFS: Final = 3
_SCALARS: Final = frozenset((str, int, float, bool, NoneType))
_OBJECTS: Final = (dict, Repeated)


class Differs(Exception):
    """A probe found a difference."""


class Walk:
    """One comparison of two trees. `events` are differences so far, `(link, class, control, candidate)`; `notes` are
    numbers that are equal but written otherwise."""

    def __init__(self, rules: Rules, nodes: int = NODES, probing: bool = False) -> None:
        self.rules = rules
        self.tolerant = rules.tolerant
        self.left = 2 * nodes
        self.work = 8 * nodes
        self.pairs = PAIRS
        self.probing = probing
        self.provable = _FAILED_PROOFS
        self.events: list[tuple[Link, str, Any, Any]] = []
        self.notes: list[tuple[Link, str, Any, Any]] = []

    def differ(self, link: Link, kind: str, control: Any, candidate: Any) -> None:
        if self.probing:
            raise Differs
        self.events.append((link, kind, control, candidate))

    def affords(self, pairs: int) -> bool:
        """Whether so many pairs of elements may still be looked at; if so they are charged."""
        if pairs > self.pairs:
            return False
        self.pairs -= pairs
        return True

    def value(self, a: Any, b: Any, link: Link, place: Place, depth: int) -> None:
        if place.settings.ignore:
            return
        kind, other = type(a), type(b)
        objects = kind in _OBJECTS and other in _OBJECTS
        if not objects and not (kind is list and other is list):
            self._scalar(a, b, link, place)
            return
        self.left -= len(a) + len(b)
        if self.left < 0 or depth > DEPTH:
            raise TooMuch
        if self.provable and 1 < depth <= _PROVED_DEPTH:
            proof = proved_equal(a, b)
            if proof:
                return
            self.provable -= proof is None
        if not objects:
            compare_arrays(self, a, b, link, place, depth)
        elif kind is dict and other is dict and a.keys() == b.keys():
            self._same_members(a, b, link, place, depth)
        else:
            self._members(a, b, link, place, depth)

    def _same_members(self, a: dict[str, Any], b: dict[str, Any], link: Link, place: Place, depth: int) -> None:
        """The same names on both sides. Equal scalars of one type are equal under any rule."""
        for name, one in a.items():
            other = b[name]
            kind = type(one)
            if kind is not type(other) or kind not in _SCALARS or one != other:
                self.value(one, other, (link, name, a, b), place.member(name), depth + 1)

    def _members(self, a: dict[str, Any], b: dict[str, Any], link: Link, place: Place, depth: int) -> None:
        repeated = self._repeated(a, b, link, place) if type(a) is Repeated or type(b) is Repeated else frozenset()
        for name, one in a.items():
            below = place.member(name)
            if name in repeated or below.settings.ignore:
                continue
            if name in b:
                self.value(one, b[name], (link, name, a, b), below, depth + 1)
            elif one is not None or not below.settings.null_equals_missing:
                self.differ((link, name, a, b), "removed", one, MISSING)
        for name, other in b.items():
            if name in a:
                continue
            below = place.member(name)
            settings = below.settings
            if settings.ignore or settings.allow_added or place.settings.allow_added:
                continue
            if other is not None or not settings.null_equals_missing:
                self.differ((link, name, a, b), "added", MISSING, other)

    def _repeated(self, a: dict[str, Any], b: dict[str, Any], link: Link, place: Place) -> frozenset[str]:
        """The names that stand more than once on a side and not as often, with the same values, on the other."""
        found: set[str] = set()
        left = a.all_values if isinstance(a, Repeated) else {}
        right = b.all_values if isinstance(b, Repeated) else {}
        for name in {**left, **right}:
            below = place.member(name)
            one = left.get(name, [a[name]] if name in a else [])
            other = right.get(name, [b[name]] if name in b else [])
            if below.settings.ignore or [self.key(v, below) for v in one] == [self.key(v, below) for v in other]:
                continue
            found.add(name)
            self.differ(
                (link, name, a, b), "duplicate_key", one[-1] if one else MISSING, other[-1] if other else MISSING
            )
        return frozenset(found)

    def _scalar(self, a: Any, b: Any, link: Link, place: Place) -> None:
        settings = place.settings
        if settings.coerce is not None:
            a, b = coerced(a, settings.coerce), coerced(b, settings.coerce)
        kind = TYPES[type(a)] if type(a) is not Repeated else "object"
        other = TYPES[type(b)] if type(b) is not Repeated else "object"
        if kind != other:
            if not (settings.empty_collections_equal and {kind, other} == {"array", "object"} and not a and not b):
                self.differ(link, "type", a, b)
        elif kind == "number":
            self._number(a, b, link, place)
        elif kind == "string":
            if a != b and not strings_equal(self.rules.rewritten(a), self.rules.rewritten(b), settings):
                self.differ(link, "value", a, b)
        elif a != b:
            self.differ(link, "value", a, b)

    def _number(self, a: int | float | Exact, b: int | float | Exact, link: Link, place: Place) -> None:
        if type(a) is type(b) and a == b:
            return
        settings = place.settings
        if not numbers_equal(a, b):
            if settings.numeric is None or not within(a, b, *settings.numeric):
                self.differ(link, "value", a, b)
        elif number_text(a) != number_text(b) and settings.coerce is None:
            if settings.strict_numbers:
                self.differ(link, "number_repr", a, b)
            elif not self.probing:
                self.notes.append((link, "number_repr", a, b))

    def key(self, value: Any, place: Place, depth: int = 0) -> Hashable:
        """Equal for values that are equal under the rules of `place`, but for tolerances, which no key can have."""
        settings = place.settings
        if settings.ignore:
            return ()
        if settings.coerce is not None:
            value = coerced(value, settings.coerce)
        kind = type(value)
        if kind is str:
            text = self.rules.rewritten(value)
            return unicode_form(text, settings.unicode) if settings.unicode is not None else text
        if kind is bool or kind is Constant:
            return kind, value
        if kind is int or kind is float or kind is Exact:
            return ("number", number_text(value)) if settings.strict_numbers else number_key(value)
        if value is None:
            return None
        self.work -= len(value) + 1
        if self.work < 0 or depth > DEPTH:
            raise TooMuch
        if not value and settings.empty_collections_equal:
            return "empty", ()
        if kind is list:
            keys = (self.key(one, place.items, depth + 1) for one in value)
            return ("multiset", frozenset(Counter(keys).items())) if settings.unordered else ("array", tuple(keys))
        return "object", frozenset(self._member_keys(value, place, depth))

    def _member_keys(self, value: dict[str, Any], place: Place, depth: int) -> list[tuple[str, Hashable]]:
        keys: list[tuple[str, Hashable]] = []
        repeated = value.all_values if isinstance(value, Repeated) else {}
        for name, one in value.items():
            below = place.member(name)
            if below.settings.ignore or (one is None and below.settings.null_equals_missing):
                continue
            if name in repeated:
                keys.append((name, ("repeated", tuple(self.key(each, below, depth + 1) for each in repeated[name]))))
            else:
                keys.append((name, self.key(one, below, depth + 1)))
        return keys

    def same(self, a: Any, b: Any, place: Place, depth: int) -> bool:
        """Whether a walk would find no difference, tolerances included."""
        probe = Walk(self.rules, probing=True)
        probe.left = probe.work = self.work
        try:
            probe.value(a, b, None, place, depth)
        except Differs:
            return False
        finally:
            self.work = min(probe.left, probe.work)
        return True


def compare_trees(control: Any, candidate: Any, rules: Rules, found: Found, nodes: int = NODES) -> None:
    """Enter the differences of two documents into `found`. Raises TooMuch, having entered nothing."""
    walk = Walk(rules, nodes)
    walk.value(control, candidate, None, rules.root, 1)
    if not walk.events and not walk.notes:
        return
    templates = Templates()
    for link, kind, one, other in walk.events:
        severity: Severity | None = "mismatch" if kind == "number_repr" else None
        found.add(templates.text(link), kind, one, other, severity=severity)
    for link, kind, one, other in walk.notes:
        found.add(templates.text(link), kind, one, other)
