"""One YAML text as plain values, with the place of every key and item. Knows YAML, but no key of a configuration.

YAML 1.2 core: only true and false are booleans, `010` is ten, `1:30` is a string. Mappings become dicts with string
keys, sequences tuples. Refused: duplicate keys, merge keys, tags of one's own, keys that are no scalars, a nesting
deeper than MAX_DEPTH, aliases that blow the text up beyond MAX_REPEATED nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from proxy.config.finding import printable
from proxy.config.interpolate import Expansion
from proxy.errors import Problem

MAX_DEPTH = 64
MAX_REPEATED = 100_000

_CORE = "tag:yaml.org,2002:"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUES = frozenset({"true", "True", "TRUE"})
_FALSES = frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]+", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]+", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAYBE_TYPED = frozenset("-+.0123456789~ntfNTF")

_CURES = {
    "mapping values are not allowed": ': quote a value that holds `: ` or ends in `:`, such as "memory:"',
    "did not find expected ',' or": ': between brackets quote what holds braces, such as "${NAME}" or "/a/{id}"',
    "cannot start any token": ": indent with spaces, quote values that begin with a sign",
}


class Site(NamedTuple):
    """Where a key stands, and where a finding about its value points. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    value_line: int
    value_column: int

    @property
    def source(self) -> str:
        """`FILE:LINE`."""
        return f"{self.file}:{self.line}"


class Token(NamedTuple):
    """One step through the text. `tag`, `anchor` and `value` as written; `plain` is a scalar without quotes or a
    collection in flow style. Lighter than an event of the parser, whose marks weigh more than the text."""

    kind: Literal["scalar", "[", "{", "end", "alias"]
    line: int
    column: int
    anchor: str | None = None
    tag: str | None = None
    value: str = ""
    plain: bool = False

    @property
    def stands_out(self) -> bool:
        """Whether a finding points at this value: scalars and flow collections do; else the key says more."""
        return self.kind == "alias" or (bool(self.value) or not self.plain if self.kind == "scalar" else self.plain)


@dataclass(frozen=True, slots=True)
class Interpolated:
    """A value that came out of `${...}`: its text before typing, and the expression that may be shown."""

    text: str
    expression: str


@dataclass(slots=True)
class Document:
    """`value` is None where the text could not be read at all, and then `problems` says why. `broken` are the paths
    whose values are void; `interpolated` those that must not be shown. Of a
    duplicate key the first stands in `value`."""

    value: Any = None
    sites: dict[str, Site] = field(default_factory=dict)
    interpolated: dict[str, Interpolated] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


class Unreadable(Exception):
    """The rest of the text means nothing after this."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read(raw: bytes, file: str, expand: Callable[[str], Expansion]) -> Document:
    """The only document of a YAML text. `file` is the name shown; `expand` is asked for scalars that contain `${`."""
    document = Document()
    try:
        tokens = _tokens(_decode(raw, file), file)
        if tokens:
            _Builder(tokens, file, expand, document).build()
        else:
            document.problems.append(Problem(file, 1, 1, "FIG003", "the file is empty: write `version: 1` and go on"))
    except Unreadable as error:
        document.value = None
        document.problems.append(error.problem)
    return document


def core_value(text: str) -> Any:
    """A plain scalar by the YAML 1.2 core schema. Raises ValueError for an integer beyond all measure."""
    if not text:
        return None
    if text[0] not in _MAYBE_TYPED:
        return text
    if text in _NULLS:
        return None
    if text in _TRUES or text in _FALSES:
        return text in _TRUES
    return _number(text)


def _number(text: str) -> Any:
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.lower().replace(".", "", 1)) if _NOT_FINITE.fullmatch(text) else text


_TAGGED: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
}


def _tagged(tag: str, text: str) -> Any:
    """A scalar with a core tag. Raises ValueError where tag and text disagree, KeyError for other tags."""
    if tag in ("!", _CORE + "str"):
        return text
    types = _TAGGED[tag.removeprefix(_CORE)]
    value: Any = core_value(text)
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError(f"{text!r} is no {tag.removeprefix(_CORE)}")
    return float(text) if isinstance(value, int) and tag == _CORE + "float" else value


def _decode(raw: bytes, file: str) -> str:
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line, column = _line_column(raw[: error.start].decode("utf-8"))
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8: save the file as UTF-8"
        raise Unreadable(Problem(file, line, column, "FIG001", message)) from None


def _line_column(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _tokens(text: str, file: str) -> list[Token]:
    """What builds the only document; nothing where there is none."""
    tokens: list[Token] = []
    documents = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    message = "a second YAML document begins here: a file holds one"
                    raise Unreadable(_problem_at(_token(event), file, "FIG002", message))
            elif isinstance(event, (NodeEvent, CollectionEndEvent)):
                tokens.append(_token(event))
    except yaml.reader.ReaderError as error:
        raise Unreadable(_character_problem(error, text, file)) from None
    except yaml.MarkedYAMLError as error:
        raise Unreadable(_syntax_problem(error, file)) from None
    return tokens


def _token(event: Any) -> Token:
    kind, mark = type(event), event.start_mark
    line, column = mark.line + 1, mark.column + 1
    if kind is ScalarEvent:
        return Token("scalar", line, column, event.anchor, event.tag, event.value, event.implicit[0])
    if kind is MappingStartEvent or kind is SequenceStartEvent:
        return Token(
            "[" if kind is SequenceStartEvent else "{", line, column, event.anchor, event.tag, "", event.flow_style
        )
    if kind is AliasEvent:
        return Token("alias", line, column, event.anchor)
    return Token("end", line, column)


def _problem_at(token: Token, file: str, code: str, message: str) -> Problem:
    return Problem(file, token.line, token.column, code, printable(message))


def _character_problem(error: yaml.reader.ReaderError, text: str, file: str) -> Problem:
    line, column = _line_column(text.encode()[: error.position].decode("utf-8", "ignore"))
    message = f"character U+{ord(text[_index(text, error.position)]):04X} is not allowed in YAML: remove it"
    return Problem(file, line, column, "FIG002", message)


def _index(text: str, offset: int) -> int:
    return len(text.encode()[:offset].decode("utf-8", "ignore"))


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    context = f"{error.context} from line {error.context_mark.line + 1}: " if error.context_mark else ""
    cure = next((cure for words, cure in _CURES.items() if words in (error.problem or "")), "")
    return Problem(file, line, column, "FIG002", printable(f"YAML syntax: {context}{error.problem}{cure}"))


class _Builder:
    """Walks the tokens once, and again from an anchor at each of its aliases."""

    def __init__(self, tokens: list[Token], file: str, expand: Callable[[str], Expansion], document: Document) -> None:
        self._tokens = tokens
        self._file = file
        self._expand = expand
        self._document = document
        self._at = 0
        self._anchors: dict[str, int] = {}
        self._open: set[int] = set()
        self._repeating = 0
        self._repeated = 0

    def build(self) -> None:
        self._document.value = self._node("", 0)

    def _node(self, path: str, depth: int) -> Any:
        start = self._at
        token = self._tokens[start]
        self._at = start + 1
        if token.kind == "alias":
            return self._alias(token, path, depth)
        self._count(token, start)
        if token.kind == "scalar":
            return self._scalar(token, path)
        if depth == MAX_DEPTH:
            raise self._unreadable(token, f"nested deeper than {MAX_DEPTH} levels")
        self._refuse_tag(token, path)
        self._open.add(start)
        is_mapping = token.kind == "{"
        value = self._mapping(path, depth + 1) if is_mapping else self._sequence(path, depth + 1)
        self._open.discard(start)
        return value

    def _count(self, token: Token, start: int) -> None:
        if self._repeating:
            self._repeated += 1
            if self._repeated > MAX_REPEATED:
                raise self._unreadable(token, f"aliases repeat more than {MAX_REPEATED} nodes: write them out")
        elif token.anchor:
            self._anchors[token.anchor] = start

    def _alias(self, token: Token, path: str, depth: int) -> Any:
        start = self._anchors.get(token.anchor or "")
        if start is None:
            raise self._unreadable(token, f"alias *{token.anchor} has no anchor &{token.anchor} before it")
        if start in self._open:
            raise self._unreadable(token, f"alias *{token.anchor} lies inside the node that it repeats")
        resume, self._at = self._at, start
        self._repeating += 1
        value = self._node(path, depth)
        self._repeating -= 1
        self._at = resume
        return value

    def _mapping(self, path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        prefix = f"{path}." if path else ""
        while (token := self._tokens[self._at]).kind != "end":
            key = self._key(token)
            if key is None or key in result:
                self._refuse_key(token, key, prefix)
                continue
            self._at += 1
            below = prefix + key
            self._place(below, token, self._tokens[self._at])
            result[key] = self._node(below, depth)
        self._at += 1
        return result

    def _sequence(self, path: str, depth: int) -> tuple[Any, ...]:
        items: list[Any] = []
        while (token := self._tokens[self._at]).kind != "end":
            below = f"{path}[{len(items)}]"
            self._place(below, token, token)
            items.append(self._node(below, depth))
        self._at += 1
        return tuple(items)

    def _place(self, path: str, key: Token, value: Token) -> None:
        at = value if value.stands_out else key
        self._document.sites[path] = Site(self._file, key.line, key.column, at.line, at.column)

    def _key(self, token: Token) -> str | None:
        if token.kind != "scalar" or (token.tag and token.tag not in ("!", _CORE + "str")):
            return None
        return None if token.value == "<<" and token.plain else token.value

    def _refuse_key(self, token: Token, key: str | None, prefix: str) -> None:
        if key is not None:
            first = self._document.sites[prefix + key]
            message = f"duplicate key `{key}`: first at {first.file}:{first.line}; keep one of them"
            self._problem(token, "FIG004", message)
        elif token.kind == "scalar" and token.value == "<<":
            self._problem(
                token, "FIG005", "merge keys `<<` are no part of YAML 1.2: write the keys out, or use an alias"
            )
        else:
            self._problem(token, "FIG005", "a key must be a plain or quoted string")
        self._skip()
        self._skip()

    def _skip(self) -> None:
        depth = 0
        while True:
            token = self._tokens[self._at]
            if token.kind == "end":
                depth -= 1
            elif token.kind != "alias":
                self._count(token, self._at)
                depth += token.kind in "[{"
            self._at += 1
            if depth == 0:
                return

    def _scalar(self, token: Token, path: str) -> Any:
        try:
            return self._interpolated(token, path) if "${" in token.value else self._typed(token)
        except ValueError:
            self._void(token, path, "FIG005", f"`{token.value[:40]}` has no value: mend it, or quote it")
        except KeyError:
            self._void(token, path, "FIG005", f"tag `{token.tag}` is not supported: remove it")
        return None

    def _typed(self, token: Token) -> Any:
        if token.tag:
            return _tagged(token.tag, token.value)
        return core_value(token.value) if token.plain else token.value

    def _interpolated(self, token: Token, path: str) -> Any:
        expansion = self._expand(token.value)
        for code, message in expansion.errors:
            self._void(token, path, code, message)
        if expansion.errors:
            return None
        self._document.interpolated[path] = Interpolated(expansion.text, token.value)
        plain = token.plain and not token.tag
        return core_value(expansion.text) if plain and expansion.whole else expansion.text

    def _refuse_tag(self, token: Token, path: str) -> None:
        if token.tag not in (None, "!", _CORE + "map", _CORE + "seq"):
            self._void(token, path, "FIG005", f"tag `{token.tag}` is not supported: remove it")

    def _void(self, token: Token, path: str, code: str, message: str) -> None:
        self._document.broken.add(path)
        self._problem(token, code, message)

    def _problem(self, token: Token, code: str, message: str) -> None:
        self._document.problems.append(_problem_at(token, self._file, code, message))

    def _unreadable(self, token: Token, message: str) -> Unreadable:
        return Unreadable(_problem_at(token, self._file, "FIG005", message))
