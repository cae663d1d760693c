from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pairs import answer, document, documents, found, verdict_of

names = st.text("abcde_", min_size=1, max_size=3)
NUMBERS = "0 1 -1 1.0 1.10 1.1 10 1e1 0.1 0.10000000000000000555 1E400 1e400 10e399 1e22 10000000000000000000000 -0 0.0"
NUMBERS += " 9007199254740993 9007199254740992 9007199254740993.0 9223372036854775808 9.223372036854776e18"
WORDS = r'NaN Infinity true false null [] {} "" "1" "1.10" "a" "\u0061" "\u003a" ":" "\/" "/" "\\/" "\ud83d\ude00" "😀"'
WORDS += r' "\ud800" "\u001f" "\u001F" "\"" "\u0022" "ab"'
tokens = st.sampled_from([*NUMBERS.split(), *WORDS.split(), '"a b"'])


def _join(parts: list[str], brackets: str) -> str:
    return brackets[0] + " , ".join(parts) + brackets[1]


texts: st.SearchStrategy[str] = st.recursive(
    tokens,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: _join(parts, "[]"))
        | st.lists(st.tuples(names, inner), max_size=3).map(
            lambda pairs: _join([f'"{name}": {value}' for name, value in pairs], "{}")
        )
    ),
    max_leaves=8,
)


class Pairs(list[tuple[str, Any]]):
    """An object as it stands."""


def oracle(text: str) -> Any:
    """A form that is equal for documents that are: written for clarity, by another way than the comparer's."""
    return _form(
        json.loads(
            text,
            parse_int=lambda digits: ("number", Decimal(digits)),
            parse_float=lambda digits: ("number", Decimal(digits)),
            parse_constant=lambda token: ("constant", token),
            object_pairs_hook=Pairs,
        )
    )


def _form(value: Any) -> Any:
    if isinstance(value, Pairs):
        members: dict[str, list[Any]] = {}
        for name, member in value:
            members.setdefault(name, []).append(_form(member))
        return "object", tuple(
            sorted(((name, tuple(forms)) for name, forms in members.items()), key=lambda one: one[0])
        )
    if isinstance(value, list):
        return "array", tuple(_form(one) for one in value)
    if isinstance(value, tuple):
        return value
    return type(value).__name__, value


@st.composite
def pairs_of_texts(draw: st.DrawFn) -> tuple[str, str]:
    """Two documents that are often equal, and nearly so else."""
    one = draw(texts)
    other = one
    for _ in range(draw(st.integers(0, 2))):
        other = other.replace(draw(tokens), draw(tokens), 1)
    return one, draw(st.sampled_from([other, other.replace(" ", "")]) | texts)


@settings(max_examples=400)
@given(pairs_of_texts())
def test_equality_agrees_with_a_slow_oracle(pair: tuple[str, str]) -> None:
    one, other = pair
    try:
        equal = oracle(one) == oracle(other)
    except (json.JSONDecodeError, InvalidOperation):  # a replacement has made no JSON, or an exponent beyond Decimal's
        return
    assert (verdict_of(answer(one), answer(other)).verdict == "match") == equal


@given(texts, st.randoms(use_true_random=False))
def test_white_space_and_the_order_of_members_never_matter(text: str, chance: random.Random) -> None:
    def shuffled(pairs: list[tuple[str, Any]]) -> Any:
        unique = list(dict(pairs).items())
        chance.shuffle(unique)
        return dict(unique)

    value = json.loads(text, object_pairs_hook=dict, parse_float=str, parse_constant=str)
    again = json.loads(json.dumps(value), object_pairs_hook=shuffled)
    raw = r"\ud800" not in text and chance.random() < 0.5  # a lone surrogate has no bytes in UTF-8
    verdict = verdict_of(answer(json.dumps(value)), answer(json.dumps(again, indent=2, ensure_ascii=not raw)))
    assert verdict.verdict == "match"


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.5, 1.5, "", "a", "b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


@given(values, values)
def test_the_verdict_does_not_depend_on_who_is_the_control(one: Any, other: Any) -> None:
    assert documents(one, other).verdict == documents(other, one).verdict


@given(values)
def test_a_document_matches_itself(value: Any) -> None:
    verdict = verdict_of(answer(json.dumps(value, indent=1)), document(value))
    assert (verdict.verdict, verdict.kind, verdict.paths, verdict.differences) == ("match", "", (), ())


def _places(value: Any, path: str = "$") -> list[tuple[str, Callable[[Any], None]]]:
    """(template, how to change it) of every scalar below."""
    places: list[tuple[str, Callable[[Any], None]]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        here = f"{path}[*]" if isinstance(value, list) else f"{path}.{key}"
        if isinstance(below, (dict, list)):
            places += _places(below, here)
        else:
            places.append((here, lambda new, key=key: value.__setitem__(key, new)))  # type: ignore[misc]
    return places


@given(values, st.data())
def test_one_changed_scalar_is_found_with_its_template(value: Any, data: st.DataObject) -> None:
    changed = json.loads(json.dumps(value))
    places = _places(changed)
    if not places:
        return
    path, change = data.draw(st.sampled_from(places))
    change("changed")
    assert documents(value, changed).paths == (f"body:{path}",)


@given(st.lists(values, max_size=6), st.randoms(use_true_random=False))
def test_a_permutation_of_an_unordered_array_matches(array: list[Any], chance: random.Random) -> None:
    other = array.copy()
    chance.shuffle(other)
    assert documents({"t": array}, {"t": other}, unordered={"$.t": True}).verdict == "match"


@given(st.lists(st.integers(0, 3), max_size=6), st.lists(st.integers(0, 3), max_size=6))
def test_an_unordered_array_counts_repetitions(one: list[int], other: list[int]) -> None:
    verdict = documents(one, other, unordered={"$": True})
    assert (verdict.verdict == "match") == (sorted(one) == sorted(other))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 2, 3], [3, 1, 2], {("body:$.t", "order")}),
        ([1, 2, 3], [1, 3], {("body:$.t[*]", "removed")}),
        ([1, 2, 3], [0, 1, 2, 3], {("body:$.t[*]", "added")}),
        ([1, 2, 3], [1, 9, 3], {("body:$.t[*]", "value")}),
        ([1, 2], [1.0, 2.0], set()),
        ([True, 1], [1, True], {("body:$.t", "order")}),
        ([{"id": 1, "p": 5}, {"id": 2, "p": 6}], [{"id": 2, "p": 6}], {("body:$.t[*]", "removed")}),
        (
            [{"id": 1, "n": "a", "p": 5}, {"id": 2, "n": "b", "p": 6}, {"id": 3, "n": "c", "p": 7}],
            [{"id": 2, "n": "b", "p": 60}, {"id": 3, "n": "c", "p": 70}],
            {("body:$.t[*]", "removed"), ("body:$.t[*].p", "value")},
        ),
        (list(range(3000)), list(range(1, 3000)), {("body:$.t[*]", "removed")}),
        (list(range(3000)), list(reversed(range(3000))), {("body:$.t", "order")}),
        ([[1, 2], [3, 4]], [[2, 1], [3, 4]], {("body:$.t[*]", "order")}),
    ],
)  # fmt: skip
def test_arrays_in_order(one: list[Any], other: list[Any], expected: set[tuple[str, str]]) -> None:
    assert found(documents({"t": one}, {"t": other})) == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([{"id": 1, "p": 1}, {"id": 1, "p": 2}], [{"id": 1, "p": 2}, {"id": 1, "p": 1}], set()),
        ([{"id": 1}, {}], [{}, {"id": 1}], set()),
        (
            [{"id": 1, "p": 1}],
            [{"id": 1, "p": 2}, {"id": 2, "p": 1}],
            {("body:$[*].p", "value"), ("body:$[*]", "added")},
        ),
        ([{"id": 1}], [{"id": "1"}], {("body:$[*]", "removed"), ("body:$[*]", "added")}),
    ],
)  # fmt: skip
def test_arrays_by_a_member(one: list[Any], other: list[Any], expected: set[tuple[str, str]]) -> None:
    assert found(documents(one, other, unordered={"$": "id"})) == expected


def test_a_tolerance_holds_inside_an_unordered_array() -> None:
    rules: dict[str, Any] = {"unordered": {"$": True}, "numeric": {"$[*].p": {"abs": 0.01}}}
    assert documents([{"p": 1.0}, {"p": 2.0}], [{"p": 2.001}, {"p": 1.001}], **rules).verdict == "match"
    assert found(documents([{"p": 1.0}, {"p": 2.0}], [{"p": 2.1}, {"p": 1.001}], **rules)) == {("body:$[*]", "value")}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"by": {"17": {"p": 1}}}, {"by": {"17": {"p": 2}}}, "body:$.by{*}.p"),
        ({"by": {"17": 1}}, {"by": {}}, "body:$.by{*}"),
        ({f"k{i}": i for i in range(51)}, {f"k{i}": i or 9 for i in range(51)}, "body:${*}"),
        ({"a.b": {"c": 1}}, {"a.b": {"c": 2}}, "body:$['a.b'].c"),
        ({"": 1}, {"": 2}, "body:$['']"),
        ({"é": 1}, {"é": 2}, "body:$.é"),
        ({"x" * 101: 1}, {"x" * 101: 2}, "body:${*}"),
        (1, 2, "body:$"),
    ],
)
def test_templates(one: Any, other: Any, expected: str) -> None:
    assert documents(one, other).paths == (expected,)


def test_numbers_that_are_equal_but_written_otherwise_are_a_note() -> None:
    verdict = verdict_of(answer('{"a":1.10,"b":1,"c":100}'), answer('{"a":1.1,"b":1.0,"c":1e2}'))
    assert verdict.verdict == "match"
    assert [(one.path, one.kind, one.severity) for one in verdict.differences] == [
        (f"body:$.{name}", "number_repr", "note") for name in "abc"
    ]
    strict = verdict_of(answer('{"a":1.10,"b":1}'), answer('{"a":1.1,"b":1}'), number_repr="strict")
    assert (strict.verdict, strict.kind, strict.paths) == ("mismatch", "number_repr", ("body:$.a",))


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("1" * 5000, "1" * 5000, ""),
        ("1" * 5000, "1" * 4999 + "2", "value"),
        ("1" * 4500 + ".0", "1" * 4500, ""),
        ("1e99999999999999999999", "1e99999999999999999999", ""),
        ("1e99999999999999999999", "2e99999999999999999999", "value"),
        ("0.1", "0.1000000000000000055511151231257827", "value"),
        ("NaN", "NaN", ""),
        ("NaN", "null", "type"),
        ("NaN", "1", "type"),
        ("Infinity", "-Infinity", "value"),
        ('"\\ud800"', '"\\ud801"', "value"),
        ("-0", "0", ""),
        ("9223372036854775808", "9.223372036854776e18", "value"),
    ],
)
def test_extreme_scalars(one: str, other: str, kind: str) -> None:
    assert verdict_of(answer(f'{{"a": {one}}}'), answer(f'{{"a":{other}}}')).kind == kind


def test_repeated_names_on_both_sides_are_equal_where_all_values_are() -> None:
    assert verdict_of(answer('{"a":1,"a":2}'), answer('{"a":1, "a":2.0}')).verdict == "match"
    assert verdict_of(answer('{"a":1,"a":2}'), answer('{"a":3, "a":2}')).kind == "duplicate_key"
    assert found(verdict_of(answer('{"a":1,"a":2,"b":1}'), answer('{"a":2,"b":2}'))) == {
        ("body:$.a", "duplicate_key"),
        ("body:$.b", "value"),
    }


def test_rules_see_values_and_not_their_text() -> None:
    rules: dict[str, Any] = {"rewrite": [["^http://orders:8080", "https://shop.example"]]}
    one, other = answer('{"next":"https://shop.example/a"}'), answer('{"next":"http:\\/\\/orders:8080\\/a"}')
    assert verdict_of(one, other, **rules).verdict == "match"
    assert documents({"s": "é"}, {"s": "e\u0301"}).kind == "value"
    assert documents({"s": "é"}, {"s": "e\u0301"}, unicode="NFC").verdict == "match"
    assert documents({"s": "é"}, {"s": "e\u0301"}, unicode={"$.s": "nfc"}).verdict == "match"


@pytest.mark.parametrize(
    ("one", "other", "tolerance", "matches"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000+00:00", 0, True),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000000001Z", 0, False),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:05Z", 5, True),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:06Z", 5, False),
        ("2024-01-01T00:00:00", "2024-01-01T00:00:01", 5, False),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", 0, True),
        ("2024-02-30T00:00:00Z", "2024-03-01T00:00:00Z", 0, False),
        ("2024-01-01 01:00+0100", "2024-01-01t00:00:00z", 0, True),
    ],
)
def test_moments(one: str, other: str, tolerance: float, matches: bool) -> None:
    verdict = documents({"t": one}, {"t": other}, datetime={"$.t": {"tolerance_s": tolerance}})
    assert (verdict.verdict == "match") is matches


def test_switches_may_be_given_by_path() -> None:
    assert found(documents({}, {"a": 1, "b": 1}, allow_added=["$.a"])) == {("body:$.b", "added")}
    assert found(documents({"a": None, "b": None}, {}, null_equals_missing=["$.a"])) == {("body:$.b", "removed")}
    assert documents({"t": [1]}, {"t": [1, 2]}, allow_added=True).kind == "added"
    assert documents({"a": []}, {"a": {}}, empty_collections_equal={"$.a": True}).verdict == "match"
    assert documents({"a": []}, {"a": {"b": 1}}, empty_collections_equal=True).kind == "type"


def test_coercion() -> None:
    assert documents({"a": "x"}, {"a": 1}, coerce={"$.a": "decimal"}).kind == "type"
    assert (
        documents({"a": "1.001"}, {"a": 1}, coerce={"$.a": "decimal"}, numeric={"$.a": {"abs": 0.01}}).verdict
        == "match"
    )
    assert documents({"a": 5}, {"a": "5"}, coerce={"$.a": "string"}).verdict == "match"
    assert documents({"a": "true"}, {"a": 1}, coerce={"$.a": "boolean"}).verdict == "match"
