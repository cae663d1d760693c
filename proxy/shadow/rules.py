"""What may differ between two answers: the keys of a seam's `compare:` block, compiled once. Knows no answer.

Each key is checked alone and completely; a ValueError names the rule, what was given and what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, get_args

from proxy.shadow.places import Effect, Form, Place, Settings, compile_places, setting
from proxy.shadow.rule_values import CURES, READERS, wrong

DEFAULT_MAX_BODY_BYTES: Final = 1_048_576
MOST_BODY_BYTES: Final = 16_777_216

KEYS: Final = (
    "allow_added", "null_equals_missing", "empty_collections_equal", "number_repr", "numeric", "coerce", "unordered",
    "unicode", "datetime", "ignore", "headers", "cookies", "status_equivalent", "error_bodies", "rewrite", "text",
    "html", "html_ignore", "max_body_bytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """`root`: the rules of JSON places, from the document down. `headers`: names in lower case compared besides the
    usual ones. `cookie_values`: True, or the names of the cookies whose values are compared."""

    root: Place
    tolerant: bool = False
    ignore_body: bool = False
    ignored_headers: frozenset[str] = frozenset()
    headers: tuple[str, ...] = ()
    cookie_values: bool | frozenset[str] = False
    equal_statuses: frozenset[tuple[int, int]] = frozenset()
    error_bodies: bool = True
    rewrites: tuple[tuple[re.Pattern[str], str], ...] = ()
    normal_newlines: bool = False
    html_tokens: bool = True
    html_ignore: tuple[re.Pattern[str], ...] = ()
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES

    def rewritten(self, text: str) -> str:
        """After the `rewrite` rules, in their order."""
        for pattern, replacement in self.rewrites:
            text = pattern.sub(replacement, text)
        return text

    def statuses_equal(self, one: int, other: int) -> bool:
        return one == other or (min(one, other), max(one, other)) in self.equal_statuses


def compile_rules(config: Mapping[str, object]) -> Rules:
    """Of a mapping with any of the keys KEYS. Raises ValueError."""
    for key in config:
        if key not in KEYS:
            close = get_close_matches(str(key), KEYS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(KEYS)}"
            raise ValueError(f"compare has no rule {key!r}; {hint}")
    given = _Given(config)
    paths, names, body = given.ignored()
    patterns, everywhere = given.places(paths)
    return Rules(
        root=compile_places(patterns, everywhere),
        tolerant=bool(config.get("numeric") or config.get("datetime")),
        ignore_body=body,
        ignored_headers=names,
        headers=given.headers(),
        cookie_values=given.cookie_values(),
        equal_statuses=given.equal_statuses(),
        error_bodies=given.choice("error_bodies", {"compare": True, "ignore": False}, True),
        rewrites=given.rewrites(),
        normal_newlines=given.choice_in("text", "newlines", {"normalize": True, "exact": False}, False),
        html_tokens=given.choice("html", {"tokens": True, "exact": False}, True),
        html_ignore=tuple(_regex("html_ignore", text) for text in given.texts("html_ignore")),
        max_body_bytes=given.size("max_body_bytes", DEFAULT_MAX_BODY_BYTES),
    )


@dataclass(frozen=True, slots=True)
class _Given:
    config: Mapping[str, object]

    def places(self, ignored: Iterable[str]) -> tuple[list[tuple[str, Effect]], Settings]:
        """What holds at paths, and what holds everywhere."""
        patterns = [(path, setting("ignore", True)) for path in ignored]
        everywhere: dict[str, object] = {}
        for rule in ("allow_added", "null_equals_missing", "empty_collections_equal"):
            self._switch(rule, rule, {}, patterns, everywhere)
        self._switch("number_repr", "strict_numbers", {"strict": True, "value": False}, patterns, everywhere)
        self._switch("unicode", "unicode", {form: form for form in get_args(Form)}, patterns, everywhere)
        for rule, read in READERS.items():
            for path, value in self._by_path(rule, f"it is a mapping of paths to {CURES[rule]}"):
                patterns.append((path, setting(rule, read(rule, path, value))))
        return patterns, _settings(everywhere)

    def _switch(
        self,
        rule: str,
        name: str,
        words: Mapping[str, object],
        patterns: list[tuple[str, Effect]],
        everywhere: dict[str, object],
    ) -> None:
        """A rule that is given for everywhere (true or a word), for a list of paths, or by path."""
        value = self.config.get(rule)
        on = next(iter(words.values()), True)
        cure = f"give true, false, {''.join(word + ', ' for word in words)}a list of paths, or a value by path"

        def meaning(given: object) -> object:
            if given is True:
                return on
            if given is False or given is None:
                return Settings.__dataclass_fields__[name].default
            by_case = {word.lower(): found for word, found in words.items()}
            if isinstance(given, str) and given.lower() in by_case:
                return by_case[given.lower()]
            raise wrong(rule, given, cure)

        if isinstance(value, Mapping):
            patterns += [(self._path(rule, path), setting(name, meaning(one))) for path, one in value.items()]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            patterns += [(self._path(rule, path), setting(name, on)) for path in value]
        else:
            everywhere[name] = meaning(value)

    def _path(self, rule: str, path: object) -> str:
        if not isinstance(path, str):
            raise wrong(rule, path, "give a path such as $.items[*].price")
        try:
            compile_places([(path, setting("ignore", True))], Settings())
        except ValueError as error:
            raise ValueError(f"compare.{rule}: {error}") from error
        return path

    def _by_path(self, rule: str, cure: str) -> Iterable[tuple[str, object]]:
        value = self.config.get(rule)
        if value is None:
            return
        if isinstance(value, list) and rule in ("unordered", "datetime"):
            pairs: Iterable[tuple[object, object]] = [(path, True) for path in value]
        elif isinstance(value, Mapping):
            pairs = value.items()
        else:
            raise wrong(rule, value, cure)
        for path, one in pairs:
            yield self._path(rule, path), one

    def ignored(self) -> tuple[list[str], frozenset[str], bool]:
        """Paths, header names, and whether the whole body is ignored."""
        paths: list[str] = []
        names: set[str] = set()
        body = False
        for text in self.texts("ignore"):
            if text.startswith("header:"):
                names.add(text.removeprefix("header:").lower())
            elif text == "body":
                body = True
            else:
                paths.append(self._path("ignore", text))
                body = body or text in ("$", "body:$")
        return paths, frozenset(names), body

    def texts(self, rule: str) -> Sequence[str]:
        value = self.config.get(rule)
        if value is None:
            return ()
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
            raise wrong(rule, value, "it is a list of texts")
        return value

    def headers(self) -> tuple[str, ...]:
        names = _Given(self._inner("headers", "compare")).texts("compare")
        return tuple(dict.fromkeys(name.strip().lower() for name in names))

    def cookie_values(self) -> bool | frozenset[str]:
        inner = self._inner("cookies", "compare_values")
        value = inner.get("compare_values", False)
        if isinstance(value, bool):
            return value
        return frozenset(_Given(inner).texts("compare_values"))

    def _inner(self, rule: str, key: str) -> Mapping[str, object]:
        value = self.config.get(rule)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or set(value) - {key}:
            raise wrong(rule, value, f"it is a mapping with the key {key!r} alone")
        return value

    def equal_statuses(self) -> frozenset[tuple[int, int]]:
        value = self._given("status_equivalent", ())
        cure = "it is a list of groups of status codes such as [[200, 204]]"
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise wrong("status_equivalent", value, cure)
        pairs: set[tuple[int, int]] = set()
        for group in value:
            if not isinstance(group, Sequence) or not all(type(code) is int and 100 <= code < 600 for code in group):
                raise wrong("status_equivalent", group, cure)
            pairs |= {(one, other) for one in group for other in group if one < other}
        return frozenset(pairs)

    def _given(self, rule: str, default: object) -> object:
        value = self.config.get(rule)
        return default if value is None else value

    def choice(self, rule: str, words: Mapping[str, bool], default: bool) -> bool:
        return _choice(rule, self.config.get(rule), words, default)

    def choice_in(self, rule: str, key: str, words: Mapping[str, bool], default: bool) -> bool:
        return _choice(f"{rule}.{key}", self._inner(rule, key).get(key), words, default)

    def rewrites(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        value = self._given("rewrite", ())
        cure = "it is a list of [pattern, replacement], such as [['^http://orders:8080', 'https://shop.example']]"
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise wrong("rewrite", value, cure)
        return tuple(_rewrite(pair, cure) for pair in value)

    def size(self, rule: str, default: int) -> int:
        value = self._given(rule, default)
        if type(value) is not int or not 0 <= value <= MOST_BODY_BYTES:
            raise wrong(rule, value, f"it is a number of bytes, 0 to {MOST_BODY_BYTES}")
        return value


def _settings(everywhere: Mapping[str, object]) -> Settings:
    settings = Settings()
    for name, value in everywhere.items():
        settings = setting(name, value)(settings)
    return settings


def _choice(rule: str, value: object, words: Mapping[str, bool], default: bool) -> bool:
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in words:
        return words[value]
    raise wrong(rule, value, f"give one of {', '.join(words)}, true, false")


def _rewrite(pair: object, cure: str) -> tuple[re.Pattern[str], str]:
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise wrong("rewrite", pair, cure)
    pattern, replacement = pair
    if not isinstance(pattern, str) or not isinstance(replacement, str):
        raise wrong("rewrite", pair, cure)
    compiled = _regex("rewrite", pattern)
    try:
        compiled.sub(replacement, "")
    except (re.error, IndexError) as error:
        raise wrong("rewrite", replacement, f"the replacement cannot be used: {error}") from error
    return compiled, replacement


def _regex(rule: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:  # a repeat too large, groups too deep
        raise wrong(rule, text, f"write a regular expression: {error}") from error
