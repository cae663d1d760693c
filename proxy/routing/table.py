"""Which route a request takes: a trie over path segments. Knows no state of a seam; built new, never changed.

Per segment a literal beats one segment (`{name}`, `*`) beats the rest (`**`); then host, methods, headers, query and
params decide. A route whose other conditions fail is no match, and the search goes on to less specific ones.

A second trie has the same routes without letter case: who writes `/ADMIN` may not pass by what guards `/admin`. Only
where some route is guarded is it looked at, and then for paths alone that a less strict server reads otherwise.

Problems that `check` reports:

    FIG301  route path that cannot be compiled
    FIG302  tied routes: equally specific, and one request can match both
    FIG303  duplicate route
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations_with_replacement
from types import MappingProxyType
from typing import NamedTuple

from proxy.config.model import RouteConfig, SeamConfig, Settings
from proxy.errors import AmbiguousPath
from proxy.routing.match import (
    CompiledRoute,
    Guard,
    Kind,
    PatternError,
    Segment,
    compile_route,
    host_name,
    parse_pattern,
    without_case,
)
from proxy.routing.path import canonical, folded, readings, split_target, unescaped_once, without_authority

Finding = tuple[str, str, str]


class Match(NamedTuple):
    """`params` maps the names of captured segments to their canonical spelling."""

    route: CompiledRoute
    params: Mapping[str, bytes]


_NO_PARAMS: Mapping[str, bytes] = MappingProxyType({})


class _Leaf:
    """The routes of one path pattern, most specific first; by host so that other hosts cost nothing.

    Each stands here as the Match it gives, except that names are still to be captured.
    """

    __slots__ = ("any_host", "by_host")

    def __init__(self) -> None:
        self.any_host: list[Match] = []
        self.by_host: dict[bytes, list[Match]] = {}

    def add(self, route: CompiledRoute) -> None:
        matches = self.any_host if route.host is None else self.by_host.setdefault(route.host, [])
        insort(matches, Match(route, _NO_PARAMS), key=_least_specific_last)

    def candidates(self, host: bytes) -> Sequence[Match]:
        own = self.by_host.get(host_name(host))
        return [*own, *self.any_host] if own else self.any_host

    def all(self) -> Iterator[Match]:
        return chain(self.any_host, *self.by_host.values())


class _Node:
    __slots__ = ("here", "literals", "one", "rest")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Node] = {}
        self.one: _Node | None = None
        self.rest: _Node | None = None
        self.here: _Leaf | None = None

    def child(self, segment: Segment) -> _Node:
        if segment.kind is Kind.LITERAL:
            return self.literals.setdefault(segment.text, _Node())
        if segment.kind is Kind.ONE:
            self.one = self.one or _Node()
            return self.one
        self.rest = self.rest or _Node()
        return self.rest

    def add(self, route: CompiledRoute) -> None:
        node = self
        for segment in route.segments:
            node = node.child(segment)
        node.here = node.here or _Leaf()
        node.here.add(route)


class RouteTable:
    """Immutable. Time of a match depends on the depth of the path, not on the number of routes.

    `caseless` has the same routes for folded paths; None where no route is guarded. `spelled` says that all literals
    are folded already, and no guard hangs on the letter case of `params`, so that a folded path as it was sent needs no
    second look.
    """

    __slots__ = ("_caseless", "_depth", "_root", "_spelled")

    def __init__(self, root: _Node, depth: int, caseless: RouteTable | None = None, spelled: bool = True) -> None:
        self._root = root
        self._depth = depth
        self._caseless = caseless
        self._spelled = spelled

    def match(
        self, method: str, host: bytes, path: bytes, query: bytes | None, fields: Mapping[bytes, bytes]
    ) -> Match | None:
        """The most specific route for one reading of a path; `host` may carry a port, `fields` has lower-case names.

        A literal is followed at once; what is less specific waits on a stack, so each node is visited at most once.
        """
        # What lies deeper than any pattern stays in one piece; no literal or single segment is compared with it.
        segments = path.split(b"/", self._depth + 1)
        end = len(segments)
        node, position = self._root, 1
        untried: list[tuple[_Node, int]] = []
        while True:
            if node.rest is not None:
                untried.append((node.rest, end))
            if position < end:
                segment = segments[position]
                position += 1
                if node.one is not None and segment:
                    untried.append((node.one, position))
                child = node.literals.get(segment)
                if child is not None:
                    node = child
                    continue
            elif (leaf := node.here) is not None:
                for match in leaf.candidates(host) if leaf.by_host else leaf.any_host:
                    route = match.route
                    if route.accepts(method, query, fields, segments):
                        return _captured(route, segments) if route.names else match
            if not untried:
                return None
            node, position = untried.pop()

    def passes_by(
        self,
        guard: Guard | None,
        method: str,
        host: bytes,
        found: Sequence[bytes],
        query: bytes | None,
        fields: Mapping[bytes, bytes],
    ) -> bool:
        """Whether a server would take a path with these readings to a route with a guard, and another one than `guard`,
        that looks at no letter case, decodes twice, or takes what stands behind `//` for a host."""
        if self._caseless is None:
            return False
        path = found[0]
        if self._spelled and len(found) == 1 and b"%" not in path and path == path.lower():  # nearly every request
            return False
        others = [plain for reading in found if (plain := folded(reading)) != reading or not self._spelled]
        if b"%25" in path:
            others += map(folded, readings(unescaped_once(path)))
        for reading in found:
            if reading[:2] == b"//":
                others += map(folded, readings(without_authority(reading)))
        for other in others:
            match = self._caseless.match(method, host, other, query, fields)
            if match is not None and match.route.guard is not None and match.route.guard != guard:
                return True
        return False

    def methods_for(self, path: bytes, host: bytes | None = None) -> frozenset[str]:
        """What Allow lists: the methods of every route with this path (and host, where given).

        A route for any method adds none. Where the request's own method is among them, another condition failed: 404.
        """
        segments = canonical(path).split(b"/", self._depth + 1)
        name = None if host is None else host_name(host)
        routes = [match.route for leaf in _leaves(self._root, segments, 1) for match in leaf.all()]
        allowed = [r.methods for r in routes if name in (None, r.host or name) and r.accepts_params(segments)]
        return frozenset().union(*allowed)


class RouteTableBuilder:
    """Takes one seam at a time, so that a caller can let other work run in between."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._root, self._caseless = _Node(), _Node()
        self._depth = 1
        self._guarded, self._spelled = False, True

    def add(self, name: str, seam: SeamConfig) -> None:
        """Raises PatternError for a route that `check` would have reported."""
        for index, config in enumerate(seam.routes):
            route = compile_route(name, index, config, _guard(seam, config))
            caseless = without_case(route)
            self._root.add(route)
            self._caseless.add(caseless)
            self._depth = max(self._depth, len(route.segments))
            self._guarded = self._guarded or route.guard is not None
            same = caseless is route or (route.guard is None and caseless.segments == route.segments)
            self._spelled = self._spelled and same

    def build(self) -> RouteTable:
        """The table of everything added. The builder starts anew, so the table stays as it is."""
        caseless = RouteTable(self._caseless, self._depth) if self._guarded else None
        table = RouteTable(self._root, self._depth, caseless, self._spelled)
        self._begin()
        return table


def _guard(seam: SeamConfig, route: RouteConfig) -> Guard | None:
    """What only observes refuses nobody, and so guards nothing."""
    auth, access = seam.auth_of(route), seam.access_of(route)
    if auth is not None and auth.mode == "observe":
        auth = None
    return None if auth is None and access is None else (auth, access)


def compile_routes(seams: Iterable[tuple[str, SeamConfig]]) -> RouteTable:
    """Raises PatternError for a route that `check` would have reported."""
    builder = RouteTableBuilder()
    for name, seam in seams:
        builder.add(name, seam)
    return builder.build()


def resolve(table: RouteTable, method: str, host: bytes, target: bytes, fields: Mapping[bytes, bytes]) -> Match | None:
    """The route of a request target, or None where no seam claims it; `*` is claimed by none.

    Raises AmbiguousPath where another reading of the path selects another route, or one without regard to letter case,
    or decoded twice, a route with another guard; BadRequest where it is no path.
    """
    if target == b"*":
        return None
    path, query = split_target(target)
    found = readings(path)
    match = table.match(method, host, found[0], query, fields)
    if len(found) > 1:
        route = match and match.route
        for reading in found[1:]:
            other = table.match(method, host, reading, query, fields)
            if (other and other.route) is not route:
                raise AmbiguousPath("Another reading of the path selects another route; send it in its plain form")
    if table.passes_by(match and match.route.guard, method, host, found, query, fields):
        raise AmbiguousPath("A less strict reading of the path selects a guarded route; send it as that one is spelled")
    return match


def check(settings: Settings) -> Iterable[Finding]:
    """Hook of `config.load`: (dotted path, code, message) for each route that cannot be part of a table."""
    return ties(settings.seams.items())


def ties(seams: Iterable[tuple[str, SeamConfig]]) -> list[Finding]:
    """Routes with a malformed path, and routes equally specific to an earlier one that can match the same request.

    Two routes are apart by another host, by methods without overlap, or by one header or query key with two values.
    Nothing is said of `params`: whether two patterns overlap cannot be told in general.
    """
    entries: list[_Entry] = []
    findings: dict[int, Finding] = {}
    for order, (where, route) in enumerate(_routes(seams)):
        try:
            entries.append(_Entry.of(order, where, route))
        except PatternError as error:
            findings[order] = (where, "FIG301", str(error))
    for entry, rival in _rivals(entries).items():
        findings[entry.order] = _tie(entry, rival)
    return [findings[order] for order in sorted(findings)]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A route as the search for ties sees it. `conditions` are its headers and query keys, with their values."""

    order: int
    where: str = field(compare=False)
    route: RouteConfig = field(compare=False)
    place: tuple[object, ...] = field(compare=False)
    conditions: Mapping[tuple[str, str], str] = field(compare=False)

    @classmethod
    def of(cls, order: int, where: str, route: RouteConfig) -> _Entry:
        pattern = tuple((segment.kind, segment.text) for segment in parse_pattern(route.path))
        host = None if route.host is None else host_name(route.host.encode())
        counts = len(route.headers), len(route.query), len(route.params)
        headers = {("header", name.lower()): value for name, value in route.headers.items()}
        query = {("query", name): value for name, value in route.query.items()}
        return cls(order, where, route, (pattern, host, bool(route.methods), *counts), headers | query)

    @property
    def keys(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.conditions)

    def shares_method(self, other: _Entry) -> bool:
        return not self.route.methods or not set(self.route.methods).isdisjoint(other.route.methods)


def _rivals(entries: Iterable[_Entry]) -> dict[_Entry, _Entry]:
    """Each tied entry with the first one before it that it ties with."""
    places: defaultdict[tuple[object, ...], list[_Entry]] = defaultdict(list)
    for entry in entries:
        places[entry.place].append(entry)
    found: dict[_Entry, _Entry] = {}
    for group in places.values():
        if len(group) > 1:
            for earlier, later in _overlaps(group):
                if later not in found or earlier.order < found[later].order:
                    found[later] = earlier
    return found


def _overlaps(group: Iterable[_Entry]) -> Iterator[tuple[_Entry, _Entry]]:
    """Pairs (earlier, later) that agree on every key they share; a hash join, as each tenant may have a route here."""
    by_keys: defaultdict[frozenset[tuple[str, str]], list[_Entry]] = defaultdict(list)
    for entry in group:
        by_keys[entry.keys].append(entry)
    for left, right in combinations_with_replacement(by_keys, 2):
        shared = sorted(left & right)
        agreeing: defaultdict[tuple[object, ...], list[_Entry]] = defaultdict(list)
        for entry in sorted({*by_keys[left], *by_keys[right]}, key=_order):
            values = tuple(entry.conditions[key] for key in shared)
            across = agreeing[right if entry.keys == left else left, values]
            rival = next((other for other in across if entry.shares_method(other)), None)
            if rival is not None:
                yield rival, entry
            agreeing[entry.keys, values].append(entry)


def _tie(entry: _Entry, rival: _Entry) -> Finding:
    there = f"{rival.where} ({rival.route.path})"
    if _identity(entry) == _identity(rival):
        return entry.where, "FIG303", f"route {entry.route.path} is the same as {there}; remove one of them"
    cure = "make one more specific, or part them by host, methods, or a value of the same header or query key"
    return entry.where, "FIG302", f"route {entry.route.path} ties with {there}: a request can match both; {cure}"


def _identity(entry: _Entry) -> tuple[object, ...]:
    names = [segment.name for segment in parse_pattern(entry.route.path)]
    params = tuple(entry.route.params.get(name or "") for name in names)
    return entry.place, frozenset(entry.route.methods), frozenset(entry.conditions.items()), params


def _routes(seams: Iterable[tuple[str, SeamConfig]]) -> Iterator[tuple[str, RouteConfig]]:
    for name, seam in seams:
        for index, route in enumerate(seam.routes):
            yield f"seams.{name}.routes[{index}]", route


def _captured(route: CompiledRoute, segments: Sequence[bytes]) -> Match:
    params = {}
    for position, name in route.names:
        params[name] = segments[position]
    return Match(route, params)


def _leaves(node: _Node, segments: Sequence[bytes], position: int) -> Iterator[_Leaf]:
    """Every pattern below `node` that matches, in no order."""
    if node.rest is not None and node.rest.here is not None:
        yield node.rest.here
    if position == len(segments):
        if node.here is not None:
            yield node.here
        return
    segment = segments[position]
    if segment in node.literals:
        yield from _leaves(node.literals[segment], segments, position + 1)
    if node.one is not None and segment:
        yield from _leaves(node.one, segments, position + 1)


def _least_specific_last(match: Match) -> tuple[int, ...]:
    """Of routes that differ in letter case only, the guarded one comes first."""
    return (*(-value for value in match.route.specificity[1:]), match.route.guard is None)


def _order(entry: _Entry) -> int:
    return entry.order
