from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.shadow.places import Place, Settings, compile_places, member_text, parse_path, setting
from proxy.shadow.rules import KEYS, compile_rules


def place_at(root: Place, *steps: str) -> Place:
    for step in steps:
        root = root.items if step == "[*]" else root.member(step)
    return root


@pytest.mark.parametrize(
    ("path", "steps", "hit"),
    [
        ("$.id", ("id",), True),
        ("$.id", ("idx",), False),
        ("$.id", ("a", "id"), False),
        ("$.items[*].id", ("items", "[*]", "id"), True),
        ("$.items.id", ("items", "[*]", "id"), False),
        ("$.by{*}.p", ("by", "17", "p"), True),
        ("$.by.*.p", ("by", "17", "p"), True),
        ("$.by.*", ("by", "[*]"), False),
        ("$..id", ("id",), True),
        ("$..id", ("a", "[*]", "b", "id"), True),
        ("$..id", ("id", "x"), False),
        ("$..a.b", ("a", "a", "b"), True),
        ("$['a.b'][\"c'd\"]", ("a.b", "c'd"), True),
        ("body:$.a", ("a",), True),
        ("$", (), True),
        ("$.é-x", ("é-x",), True),
    ],
)
def test_paths_match_by_segment(path: str, steps: tuple[str, ...], hit: bool) -> None:
    root = compile_places([(path, setting("strict_numbers", True))], Settings())
    assert place_at(root, *steps).settings.strict_numbers is hit


@given(st.text(max_size=20))
def test_any_name_has_a_segment_that_reads_it_back(name: str) -> None:
    (step,) = parse_path(f"${member_text(name)}")
    assert step.name == name


def test_rules_of_one_place_come_together() -> None:
    rules = compile_rules({"numeric": {"$..p": {"rel": 0.1}}, "coerce": {"$.p": "decimal"}, "unicode": "nfc"})
    settings = place_at(rules.root, "p").settings
    assert (settings.coerce, settings.numeric is not None, settings.unicode) == ("decimal", True, "NFC")
    assert place_at(rules.root, "a", "p").settings.coerce is None


def test_nothing_given_is_nothing_allowed() -> None:
    rules = compile_rules({})
    assert rules.root.settings == Settings() == place_at(rules.root, "a", "[*]").settings
    assert rules.error_bodies and rules.html_tokens and not rules.normal_newlines
    empty = compile_rules(dict.fromkeys(KEYS))
    assert empty.root.settings == Settings() and replace(empty, root=rules.root) == rules


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"ignored": []}, ["'ignored'", "did you mean 'ignore'"]),
        ({"zzz": 1}, ["'zzz'", "known are"]),
        ({"ignore": "$.a"}, ["compare.ignore", "list of texts"]),
        ({"ignore": ["a.b"]}, ["compare.ignore", "'a.b'", "does not begin with $"]),
        ({"ignore": ["$.a[0]"]}, ["compare.ignore", "'$.a[0]'", "[*]"]),
        ({"ignore": ["$.a["]}, ["compare.ignore", "'$.a['", "cannot be read"]),
        ({"numeric": {"$.a": 0.1}}, ["compare.numeric", "0.1", "$.a", "{abs: NUMBER}"]),
        ({"numeric": {"$.a": {"abs": -1}}}, ["compare.numeric", "-1", "$.a"]),
        ({"numeric": {"$.a": {"abs": float("nan")}}}, ["compare.numeric", "nan"]),
        ({"numeric": {"$.a": {"abs": True}}}, ["compare.numeric", "True"]),
        ({"numeric": ["$.a"]}, ["compare.numeric", "mapping of paths"]),
        ({"numeric": {1: {"abs": 1}}}, ["compare.numeric", "1", "give a path"]),
        ({"coerce": {"$.a": "float"}}, ["compare.coerce", "'float'", "decimal"]),
        ({"unordered": {"$.a": 3}}, ["compare.unordered", "3", "name of the member"]),
        ({"unordered": [3]}, ["compare.unordered", "3"]),
        ({"datetime": {"$.a": {"tolerance": 1}}}, ["compare.datetime", "tolerance_s"]),
        ({"unicode": "utf"}, ["compare.unicode", "'utf'", "NFC"]),
        ({"number_repr": "loose"}, ["compare.number_repr", "'loose'", "strict"]),
        ({"allow_added": "yes"}, ["compare.allow_added", "'yes'", "true, false"]),
        ({"headers": ["a"]}, ["compare.headers", "'compare'"]),
        ({"headers": {"compare": "a"}}, ["compare", "list of texts"]),
        ({"cookies": {"values": True}}, ["compare.cookies", "'compare_values'"]),
        ({"status_equivalent": [200, 204]}, ["compare.status_equivalent", "[[200, 204]]"]),
        ({"status_equivalent": [[200, 42]]}, ["compare.status_equivalent", "42"]),
        ({"error_bodies": "off"}, ["compare.error_bodies", "'off'", "compare, ignore"]),
        ({"rewrite": [["("]]}, ["compare.rewrite", "[pattern, replacement]"]),
        ({"rewrite": [["(", ""]]}, ["compare.rewrite", "'('", "regular expression"]),
        ({"rewrite": [["a", "\\1"]]}, ["compare.rewrite", "replacement"]),
        ({"html_ignore": ["["]}, ["compare.html_ignore", "'['"]),
        ({"html": "dom"}, ["compare.html", "'dom'", "tokens, exact"]),
        ({"text": {"newline": "normalize"}}, ["compare.text", "'newlines'"]),
        ({"text": {"newlines": "unix"}}, ["compare.text.newlines", "'unix'", "normalize"]),
        ({"max_body_bytes": -1}, ["compare.max_body_bytes", "-1"]),
        ({"max_body_bytes": "1MB"}, ["compare.max_body_bytes", "'1MB'", "bytes"]),
    ],
)
def test_a_wrong_rule_is_refused_with_its_name_its_value_and_a_cure(config: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        compile_rules(config)
    for word in named:
        assert word in str(caught.value)


def test_deep_paths_that_combine_in_too_many_ways_are_refused() -> None:
    paths = [f"$..a{'.*' * (n % 12)}.x{n}" for n in range(40)]
    with pytest.raises(ValueError, match=r"compare|too many ways"):
        compile_rules({"ignore": paths})
