from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.document import MAX_REPEATED, Document, core_value, read
from proxy.config.interpolate import Interpolation

ENVIRON = {"PORT": "8080", "YES": "true", "HOST": "a", "NOTHING": ""}


def document(text: str | bytes) -> Document:
    raw = text.encode() if isinstance(text, str) else text
    return read(raw, "fig.yaml", Interpolation(ENVIRON, Path()).expand)


def value(text: str) -> Any:
    result = document(text)
    assert result.problems == []
    return result.value


def problems(text: str | bytes) -> list[str]:
    return [str(problem) for problem in document(text).problems]


@pytest.mark.parametrize(
    ("scalar", "typed"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("+7", 7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", float("-inf")),
    ],
)
def test_plain_scalars_follow_the_core_schema(scalar: str, typed: object) -> None:
    got = core_value(scalar)
    assert (type(got), got) == (type(typed), typed)


@pytest.mark.parametrize(
    "scalar",
    ["yes", "no", "on", "off", "y", "1:30", "1_000", "0b1", "0o8", "2026-11-23", "nUll", "1e", ".", "-", "=", "<"],
)
def test_what_yaml_1_1_would_type_stays_a_string(scalar: str) -> None:
    assert core_value(scalar) == scalar


@given(st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False))
def test_scalars_survive_being_written_and_read(scalar: object) -> None:
    assert value(f"a: {yaml.safe_dump(scalar).splitlines()[0]}")["a"] == scalar


_LEAVES = st.none() | st.booleans() | st.integers() | st.text("aé😀\"\\\n\t#:{}[],&*!|>'%@`$ ~0", max_size=8)
_TREES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc<=.-"), inner))


@given(st.dictionaries(st.text("abxy"), _TREES))
def test_any_tree_reads_as_it_was_written(tree: dict[str, Any]) -> None:
    assert _lists(value(json.dumps(tree, ensure_ascii=False).replace("${", "$${"))) == tree


def _lists(item: Any) -> Any:
    if isinstance(item, dict):
        return {key: _lists(inner) for key, inner in item.items()}
    return [_lists(inner) for inner in item] if isinstance(item, tuple) else item


def test_quotes_and_tags_decide_over_looks() -> None:
    assert value("""{a: "1", b: 'true', c: !!str 1, d: !!float 3, e: ! 5}""") == {
        "a": "1",
        "b": "true",
        "c": "1",
        "d": 3.0,
        "e": "5",
    }


def test_every_key_and_item_has_its_place() -> None:
    sites = document("a:\n  b: [x, {c: 1}]\n").sites
    assert {path: site[1:] for path, site in sites.items()} == {
        "a": (1, 1, 1, 1),
        "a.b": (2, 3, 2, 6),
        "a.b[0]": (2, 7, 2, 7),
        "a.b[1]": (2, 10, 2, 10),
        "a.b[1].c": (2, 11, 2, 14),
    }
    assert sites["a.b"].source == "fig.yaml:2"


def test_columns_count_characters() -> None:
    assert problems("ä: 1\n'ö': {é: 1, é: 2}") == [
        "fig.yaml:2:13 FIG004 duplicate key `é`: first at fig.yaml:2; keep one of them"
    ]


def test_duplicate_keys_are_refused_and_the_first_stands() -> None:
    result = document("a: 1\nb: 2\na: {c: [1, 2]}\nb: 3\nd: 4")
    assert result.value == {"a": 1, "b": 2, "d": 4}
    assert [problem.line for problem in result.problems] == [3, 4]


def test_an_anchor_inside_a_duplicate_still_counts() -> None:
    assert document("a: 1\na: &x 3\nb: *x").value == {"a": 1, "b": 3}


def test_an_alias_repeats_its_anchor_and_keeps_places_of_its_own() -> None:
    result = document("a: &x {k: 1}\nb: *x\n")
    assert result.value == {"a": {"k": 1}, "b": {"k": 1}}
    assert result.sites["b"].source == "fig.yaml:2"
    assert result.sites["b.k"].source == "fig.yaml:1"


def test_an_anchor_written_anew_repeats_the_nearest_before() -> None:
    assert value("a: &x 1\nb: *x\nc: &x 2\nd: *x") == {"a": 1, "b": 1, "c": 2, "d": 2}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &x [*x]", "1:8 FIG005 alias *x lies inside the node that it repeats"),
        ("a: *x", "1:4 FIG005 alias *x has no anchor &x before it"),
        ("<<: {a: 1}", "1:1 FIG005 merge keys `<<` are no part of YAML 1.2"),
        ("[a]: 1", "1:1 FIG005 a key must be a plain or quoted string"),
        ("? {a: 1}\n: 2", "1:3 FIG005 a key must be a plain or quoted string"),
        ("a: !secret x", "1:4 FIG005 tag `!secret` is not supported"),
        ("a: !!python/object:os.system {}", "1:4 FIG005 tag `tag:yaml.org,2002:python/object:os.system`"),
        ("a: !!int x", "1:4 FIG005 `x` has no value"),
        ("a: " + "9" * 5000, "1:4 FIG005 `" + "9" * 40 + "` has no value"),
        ("a: 1\n---\nb: 1", "2:1 FIG002 a second YAML document begins here"),
        ("a: [1", "2:1 FIG002 YAML syntax: while parsing a flow sequence from line 1"),
        ("a: 1\n\tb: 2", "2:1 FIG002 YAML syntax"),
        ("ä: \x07", "1:4 FIG002 character U+0007 is not allowed in YAML"),
        ("", "1:1 FIG003 the file is empty"),
        ("# nothing\n", "1:1 FIG003 the file is empty"),
        (b"a: 1\nb: \xff", "2:4 FIG001 byte 0xff is not UTF-8"),
    ],
)
def test_refused_texts_say_where_and_why(text: str | bytes, problem: str) -> None:
    (said,) = problems(text)
    assert said.startswith(f"fig.yaml:{problem}")


def test_a_merge_key_in_quotes_is_a_key() -> None:
    assert value("'<<': 1") == {"<<": 1}


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert document(b"\xef\xbb\xbfa: 1").value == {"a": 1}


@pytest.mark.parametrize("text", ["[" * 100 + "]" * 100, "- " * 900 + "x", "{a: " * 100 + "}" * 100])
def test_deep_nesting_is_refused(text: str) -> None:
    assert "nested deeper than 64 levels" in problems(text)[0]


def test_nesting_that_the_parser_refuses_itself_is_a_problem_too() -> None:
    (problem,) = problems("- " * 3000 + "x")  # libyaml from 0.2.6 on goes 1,000 levels deep
    assert "nested deeper than 64 levels" in problem or "exceeded maximum nesting depth" in problem


def test_brackets_that_never_close_end_in_a_problem() -> None:
    assert "FIG002" in problems("[" * 50_000)[0]


def test_aliases_cannot_blow_a_text_up() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    (said,) = problems("\n".join(lines))
    assert f"aliases repeat more than {MAX_REPEATED} nodes" in said


def test_whole_plain_expressions_are_typed_and_quoted_ones_stay_strings() -> None:
    assert value('{a: "${PORT}", b: x}')["a"] == "8080"
    assert value("a: ${PORT}\nb: ${YES}\nc: 1${PORT}\nd: ${NOTHING}\ne: |-\n  ${PORT}\nf: ${NO:-1.5}") == {
        "a": 8080,
        "b": True,
        "c": "18080",
        "d": None,
        "e": "8080",
        "f": 1.5,
    }


def test_an_expanded_value_can_bring_no_structure() -> None:
    expand = Interpolation({"X": "{a: [1], b: *c}"}, Path()).expand
    assert read(b"a: ${X}", "f", expand).value == {"a": "{a: [1], b: *c}"}


def test_expressions_that_fail_leave_a_broken_path_and_keys_are_not_expanded() -> None:
    result = document("a: {b: '${NOWHERE}'}\n'${HOST}': 1")
    assert result.broken == {"a.b"}
    assert result.value == {"a": {"b": None}, "${HOST}": 1}
    assert [str(problem) for problem in result.problems] == [
        "fig.yaml:1:8 FIG011 environment variable NOWHERE is not set: set it, or write ${NOWHERE:-default}"
    ]


def test_a_problem_stays_one_line() -> None:
    assert "\n" not in problems('"a\\nb": 1\n"a\\nb": 2')[0]
