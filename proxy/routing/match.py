"""The compiled conditions of one route. Knows nothing of other routes, nor of which side a seam is on.

A position is an index into `path.split(b"/")`, so the first segment of a path has position 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from urllib.parse import unquote_to_bytes

from proxy.config.model import Access, AuthRule, Rewrite, RouteConfig
from proxy.errors import ProxyError
from proxy.routing.path import folded, readings

MAX_PATTERN_BYTES = 256

Guard = tuple[AuthRule | None, Access | None]
"""What keeps out who does not belong. At least one of the two is there."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_HAS_NO_CASE = re.compile(rb"(?:\\d|\[0-9\]|[0-9+*?{},|().])*")  # surely; of other patterns nothing is said


class PatternError(ValueError):
    """A route path that cannot be compiled. The text says what is wrong with it and what would be right."""


class Kind(IntEnum):
    """What a segment of a pattern matches; the greater is the more specific."""

    REST = 0
    ONE = 1
    LITERAL = 2
    END = 3


@dataclass(frozen=True, slots=True)
class Segment:
    """`text` is the canonical spelling of a literal; `name` what `{name}` captures as, None for `*`."""

    kind: Kind
    text: bytes = b""
    name: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRoute:
    """Route `index` of `seam`. Empty `methods` means any; GET does not imply HEAD. `host` is lower case, without port.

    `params` and `names` hold (position, name, …); `pattern` is the path as the configuration spells it. `guard` None:
    nobody is refused there.
    """

    seam: str
    index: int
    pattern: str
    segments: tuple[Segment, ...]
    methods: frozenset[str]
    host: bytes | None
    headers: tuple[tuple[bytes, bytes], ...]
    query: tuple[tuple[bytes, bytes], ...]
    params: tuple[tuple[int, str, re.Pattern[bytes]], ...]
    names: tuple[tuple[int, str], ...]
    rewrite: Rewrite | None
    max_body_bytes: int | None
    guard: Guard | None = None

    @property
    def specificity(self) -> tuple[tuple[Kind, ...], bool, bool, int, int, int]:
        """Of two routes that match one request, the one with the greater value is taken."""
        kinds = tuple(segment.kind for segment in self.segments)
        shape = kinds if kinds[-1] is Kind.REST else (*kinds, Kind.END)
        counts = len(self.headers), len(self.query), len(self.params)
        return (shape, self.host is not None, bool(self.methods), *counts)

    def accepts(
        self, method: str, query: bytes | None, fields: Mapping[bytes, bytes], segments: Sequence[bytes]
    ) -> bool:
        """Whether every condition but path and host holds. `segments` is the path, split at `/`."""
        if self.methods and method not in self.methods:
            return False
        for name, value in self.headers:
            if fields.get(name) != value:
                return False
        for name, value in self.query:
            if first_value(query, name) != value:
                return False
        return not self.params or self.accepts_params(segments)

    def accepts_params(self, segments: Sequence[bytes]) -> bool:
        """Whether each constrained segment matches its whole pattern; one of more than 256 bytes never does."""
        for position, _, pattern in self.params:
            segment = segments[position]
            if len(segment) > MAX_PATTERN_BYTES or pattern.fullmatch(segment) is None:
                return False
        return True


def compile_route(seam: str, index: int, route: RouteConfig, guard: Guard | None = None) -> CompiledRoute:
    """Raises PatternError for a malformed path, `params` of a segment that is not there, or a bad pattern."""
    segments = parse_pattern(route.path)
    names = tuple((position, part.name) for position, part in enumerate(segments, 1) if part.name is not None)
    return CompiledRoute(
        seam=seam,
        index=index,
        pattern=route.path,
        segments=segments,
        methods=frozenset(route.methods),
        host=None if route.host is None else host_name(route.host.encode()),
        headers=tuple((name.lower().encode(), value.encode()) for name, value in route.headers.items()),
        query=tuple((name.encode(), value.encode()) for name, value in route.query.items()),
        params=_compile_params(route, names),
        names=names,
        rewrite=route.rewrite,
        max_body_bytes=route.max_body_bytes,
        guard=guard,
    )


def without_case(route: CompiledRoute) -> CompiledRoute:
    """The same route for folded paths; itself where nothing in it has a letter case."""
    segments = tuple(
        replace(segment, text=folded(segment.text)) if segment.kind is Kind.LITERAL else segment
        for segment in route.segments
    )
    if segments == route.segments and all(_HAS_NO_CASE.fullmatch(text.pattern) for _, _, text in route.params):
        return route
    params = tuple((at, name, re.compile(text.pattern, re.IGNORECASE)) for at, name, text in route.params)
    return replace(route, segments=segments, params=params)


def parse_pattern(path: str) -> tuple[Segment, ...]:
    """The segments of a route path, at least one; that of `/` is one empty literal. Raises PatternError."""
    if not path.startswith("/"):
        raise PatternError(f"path {path!r} must start with /")
    texts = path[1:].split("/")
    segments = tuple(_parse_segment(path, text) for text in texts)
    if any(segment.kind is Kind.REST for segment in segments[:-1]):
        raise PatternError(f"path {path!r} goes on after **; ** is only allowed as the last segment")
    names = [segment.name for segment in segments if segment.name is not None]
    for name in names:
        if names.count(name) > 1:
            raise PatternError(f"path {path!r} names two segments {{{name}}}; give each its own name")
    return _without_second_reading(path, segments)


def host_name(authority: bytes) -> bytes:
    """The host of an authority, lower case, without port and without the dot of a fully qualified name."""
    name, bracket, _ = authority.partition(b"]")
    name = name + bracket if bracket else authority.partition(b":")[0]
    return name.lower().removesuffix(b".")


def first_value(query: bytes | None, name: bytes) -> bytes | None:
    """The first value of a key, form-decoded (`+` is a space); b"" for a key without `=`, None without the key."""
    for pair in (query or b"").split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == name or _form_decode(key) == name:
            return _form_decode(value)
    return None


def _form_decode(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" ")) if b"%" in text or b"+" in text else text


def _parse_segment(path: str, text: str) -> Segment:
    if text == "**":
        return Segment(Kind.REST)
    if text == "*":
        return Segment(Kind.ONE)
    if text.startswith("{") and text.endswith("}"):
        if not _NAME.fullmatch(text[1:-1]):
            raise PatternError(f"path {path!r} has a bad segment name in {text!r}; write it like {{product_id}}")
        return Segment(Kind.ONE, name=text[1:-1])
    if set(text) & set("{}*"):
        raise PatternError(f"path {path!r} mixes text and wildcard in {text!r}; a wildcard is a whole segment")
    if set(text) & set("?#"):
        raise PatternError(f"path {path!r} has a query or fragment in {text!r}; conditions on the query go to `query`")
    return Segment(Kind.LITERAL, text=text.encode())


def _without_second_reading(path: str, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Literals in canonical spelling. A route with two readings could never match: routing refuses such requests."""
    texts = [segment.text if segment.kind is Kind.LITERAL else b"*" for segment in segments]
    try:
        found = readings(b"/" + b"/".join(texts))
    except ProxyError as error:
        raise PatternError(f"path {path!r} matches no request: {error.detail}") from error
    if len(found) > 1:
        cure = "write it without dot segments, //, ;, \\ and %2F"
        raise PatternError(f"path {path!r} has a second reading, {found[1].decode()!r}; {cure}")
    spelled = found[0].split(b"/")[1:]
    return tuple(
        Segment(Kind.LITERAL, text) if segment.kind is Kind.LITERAL else segment
        for segment, text in zip(segments, spelled, strict=True)
    )


def _compile_params(
    route: RouteConfig, names: tuple[tuple[int, str], ...]
) -> tuple[tuple[int, str, re.Pattern[bytes]], ...]:
    positions = {name: position for position, name in names}
    try:
        return tuple((positions[name], name, re.compile(text.encode())) for name, text in route.params.items())
    except KeyError as error:
        raise PatternError(f"params names {error.args[0]!r}, but path {route.path!r} has no such segment") from None
    except re.error as error:
        raise PatternError(f"params of path {route.path!r} has a bad pattern: {error}") from error
