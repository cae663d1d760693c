"""Which rules hold at which place of a document. Knows the syntax of paths; what a rule does is up to who asks.

A path is matched by segment, never as text: `$.id` says nothing of `$.idx`. All paths are compiled into one automaton
whose states are Places; a walk down a document takes one step of it for each member or element that it looks into.

    $                the document            $.items[*]      each element
    $.a.b            a member                $.by_id{*}.a    each member of an object, also `$.by_id.*.a`
    $['a.b'].c       any name at all         $..a            a member `a` at any depth
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal

Coercion = Literal["decimal", "string", "boolean"]
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds at one place. `numeric`: (absolute, relative) tolerance. `datetime`: tolerance in seconds.
    `unordered`: True, or the name of the member by which elements are aligned."""

    ignore: bool = False
    allow_added: bool = False
    null_equals_missing: bool = False
    empty_collections_equal: bool = False
    strict_numbers: bool = False
    numeric: tuple[Decimal, Decimal] | None = None
    coerce: Coercion | None = None
    unordered: bool | str = False
    unicode: Form | None = None
    datetime: Decimal | None = None


Effect = Callable[[Settings], Settings]


class Place:
    """One state; `settings` hold here."""

    __slots__ = ("_items", "_named", "_other", "settings")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._named: dict[str, Place] = {}
        self._other = self
        self._items = self

    def member(self, name: str) -> Place:
        return self._named.get(name, self._other)

    @property
    def items(self) -> Place:
        return self._items

    def lead_to(self, named: dict[str, Place], other: Place, items: Place) -> None:
        """Called once, while the automaton is made."""
        self._named, self._other, self._items = named, other, items


@dataclass(frozen=True, slots=True)
class _Step:
    """`name` None: any member. `items`: an element. `deep`: at any depth below."""

    name: str | None = None
    items: bool = False
    deep: bool = False


_STEP: Final = re.compile(
    r"(?P<deep>\.\.)(?P<far>[^.\[\]{}*]+)"
    r"|\.(?P<near>[^.\[\]{}*]+)"
    r"|(?P<any>\.\*|\{\*\})"
    r"|(?P<items>\[\*\])"
    r"|\[(?P<quoted>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\]"
)
_CURE: Final = "a path is written like $.items[*].price, $.by_id{*}.name, $['odd.name'] or $..id"


def parse_path(text: str) -> tuple[_Step, ...]:
    """Raises ValueError for what is no path. A report's `body:` in front is taken off."""
    rest = text.removeprefix("body:")
    if not rest.startswith("$"):
        raise ValueError(f"path {text!r} does not begin with $; {_CURE}")
    steps: list[_Step] = []
    at = 1
    while at < len(rest):
        match = _STEP.match(rest, at)
        if match is None:
            if re.match(r"\[-?\d+\]", rest[at:]):
                raise ValueError(f"path {text!r} names an element by number; elements are named all at once, as [*]")
            raise ValueError(f"path {text!r} cannot be read from {rest[at:]!r} on; {_CURE}")
        steps.append(_step(match))
        at = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> _Step:
    if match["deep"]:
        return _Step(match["far"], deep=True)
    if match["near"]:
        return _Step(match["near"])
    if match["quoted"]:
        return _Step(_unquoted(match["quoted"]))
    return _Step(items=match["items"] is not None)


def _unquoted(text: str) -> str:
    """JSON's escapes in either kind of quotes."""
    inner = re.sub(r"\\.|\"", lambda one: {'"': '\\"', "\\'": "'"}.get(one[0], one[0]), text[1:-1])
    try:
        return str(json.loads(f'"{inner}"', strict=False))
    except ValueError as error:
        raise ValueError(f"name {text} cannot be read: {error}; inside quotes JSON's escapes hold") from error


_ODD: Final = re.compile(r"[\x00-\x20.\[\]{}*'\"\\\x7f-\xa0\ud800-\udfff]")


def member_text(name: str) -> str:
    """The segment of a path template that `parse_path` reads as the member `name`."""
    if name and not _ODD.search(name):
        return f".{name}"
    quoted = json.dumps(name)[1:-1].replace("'", "\\'")
    return f"['{quoted}']"


State = frozenset[tuple[int, int]]
"""Which paths are alive here: (path, how many of its steps are taken)."""

_MOST_PLACES: Final = 2000


@dataclass(frozen=True, slots=True)
class _Paths:
    """All paths with what they set."""

    paths: tuple[tuple[tuple[_Step, ...], Effect], ...]
    everywhere: Settings

    def settings(self, state: State) -> Settings:
        settings = self.everywhere
        for path, taken in sorted(state):
            steps, effect = self.paths[path]
            if taken == len(steps):
                settings = effect(settings)
        return settings

    def names(self, state: State) -> set[str]:
        """The members that lead somewhere else than any other member does."""
        steps = (self.paths[path][0][taken : taken + 1] for path, taken in state)
        return {step.name for step, *_ in filter(None, steps) if step.name is not None}

    def after(self, state: State, name: str | None, items: bool = False) -> State:
        """`name` None without `items`: a member that no path names."""
        after: set[tuple[int, int]] = set()
        for path, taken in state:
            steps = self.paths[path][0]
            if taken == len(steps):
                continue
            step = steps[taken]
            if step.deep:
                after.add((path, taken))
            if step.items == items and (items or step.name in (None, name)):
                after.add((path, taken + 1))
        return frozenset(after)


def compile_places(patterns: Iterable[tuple[str, Effect]], everywhere: Settings) -> Place:
    """The Place of the document itself. Raises ValueError for what is no path."""
    paths = _Paths(tuple((parse_path(text), effect) for text, effect in patterns), everywhere)
    start: State = frozenset((path, 0) for path in range(len(paths.paths)))
    places: dict[State, Place] = {}
    waiting: list[State] = []

    def place(state: State) -> Place:
        if state not in places:
            if len(places) >= _MOST_PLACES:
                raise ValueError("these paths combine in too many ways; write fewer of them with `..` or `*`")
            places[state] = Place(paths.settings(state))
            waiting.append(state)
        return places[state]

    place(start)
    while waiting:
        state = waiting.pop()
        named = {name: place(paths.after(state, name)) for name in paths.names(state)}
        places[state].lead_to(named, place(paths.after(state, None)), place(paths.after(state, None, items=True)))
    return places[start]


def setting(name: str, value: object) -> Effect:
    """The effect that sets one field of Settings."""
    changes: Mapping[str, object] = {name: value}
    return lambda settings: replace(settings, **changes)  # type: ignore[arg-type]
