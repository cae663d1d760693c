"""`fig compare`, and how differences of either source are shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.compare_text import comparisons_views
from proxy.cli.differences_text import Row, body_rows, broken_lines, rules_yaml, side_text, value_text
from proxy.cli.render import Table
from proxy.shadow.rules import compile_rules
from tests.support.cli import Command, Listener, on_terminal
from tests.support.comparisons import (
    ShadowPort,
    comparisons,
    difference,
    exemplar,
    hostile,
    noise,
    nothing,
    side,
    value,
)


@pytest.fixture
def fig(listener: Listener) -> Callable[..., Result]:
    """`fig compare ARGS` where the admin port says `document`."""

    def run(document: dict[str, Any], *args: object) -> Result:
        listener.app = ShadowPort(document).app
        return Command({"FIG_ADMIN_URL": listener.url})("compare", *args)

    return run


Fig = Callable[..., Result]


def test_what_was_compared_and_what_differs(fig: Fig) -> None:
    result = fig(comparisons(), "catalog")
    assert (result.exit_code, result.stderr) == (4, "")
    lines = result.stdout.splitlines()
    assert lines[:6] == [
        "Seam:        catalog",
        "Epoch:       3f2a9c64 since 2026-03-01T10:00:00Z",
        "Versions:    legacy 2026.1 · extracted 41",
        "Compared:    1000 match · 12 mismatch · 30 uncounted",
        "Uncounted:   shadow_timeout 20, conditional 10",
        "Beside:      3 not the same when asked again",
    ]
    assert "GET /api/products/{id}  body:$.price  value  mismatch  12" in lines


def test_both_sides_stand_beside_one_another(fig: Fig) -> None:
    lines = fig(comparisons(), "catalog").stdout.splitlines()
    at = lines.index("1. GET /api/products/{id} body:$.price value")
    asked, header, answer, price = lines[at + 1 : at + 5]
    request = "GET /api/products/7 · request r-1 · 2026-03-01T12:00:00Z · the client got legacy"
    assert asked.strip() == request
    middle = header.index("EXTRACTED")
    assert header[:middle].split() == ["LEGACY"]
    assert (answer[:middle].rstrip(), answer[middle:]) == (
        "answer        200 application/json, 311 bytes",
        "200 application/json, 312 bytes",
    )
    assert (price[:middle].rstrip(), price[middle:]) == (
        "body:$.price  string decimal, 4 long, #1a2b3c4d",
        "string decimal, 4 long, #9f8e7d6c",
    )


def test_nothing_counted_is_exit_0(fig: Fig) -> None:
    result = fig(nothing(), "catalog")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "Seam:        catalog",
        "Epoch:       none: nothing was compared yet",
        "Compared:    0 match · 0 mismatch · 0 uncounted",
    ]
    uncounted = difference(severity="uncounted", **{"class": "improvement"})
    document = comparisons(totals={"match": 5, "mismatch": 0, "uncounted": 1}, differences=[uncounted])
    assert fig(document, "catalog").exit_code == 0


def test_json_is_what_the_admin_port_says(fig: Fig) -> None:
    document = comparisons(extra={"a": [1]})
    result = fig(document, "catalog", "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)) == (4, document)


def test_the_first_few_fields_are_shown(fig: Fig) -> None:
    many = [difference(path=f"body:$.f{number}") for number in range(12)]
    text = fig(comparisons(differences=many), "catalog").stdout
    assert "10. GET /api/products/{id} body:$.f9 value" in text
    assert "$.f10" not in text
    assert "… and 2 more; `-n 12` shows all" in text
    text = fig(comparisons(differences=many), "catalog", "-n", "1").stdout
    assert ("$.f0" in text, "$.f1" in text) == (True, False)
    assert "more;" not in fig(comparisons(differences=many), "catalog", "--top", "12").stdout


def test_a_rule_for_each_noisy_field_can_be_pasted(fig: Fig) -> None:
    known = [
        noise(),
        noise(path="body:$.id", standing="noisy", formats=["uuid"], rule={"ignore": ["$.id", "$.served_at"]}),
        noise(path="body:$.tags", formats=["order"], rule={"unordered": {"$.tags": True}}),
        noise(
            path="body:$['odd \u202e\"name'].at", rule={"datetime": {"$['odd \u202e\"name'].at": {"tolerance_s": 2}}}
        ),
        noise(path="status", formats=[], rule=None),
    ]
    text = fig(comparisons(noise=known), "catalog").stdout
    assert "body:$.tags" in text
    assert "volatile  5 of 40" in text
    snippet = text.partition("for `shadow.compare`:\n")[2]
    assert snippet.count("# GET /api/products/{id} body:") == 4
    rules = yaml.safe_load(snippet)
    assert rules == {
        "ignore": ["$.served_at", "$.id"],
        "unordered": {"$.tags": True},
        "datetime": {"$['odd \u202e\"name'].at": {"tolerance_s": 2}},
    }
    compile_rules(rules)


def test_rules_that_do_not_go_together_are_not_lost() -> None:
    text = rules_yaml(
        [noise(rule={"coerce": {"$.p": "decimal"}}), noise(rule={"coerce": {"$.p": "string", "$.q": "string"}})]
    )
    assert yaml.safe_load(text) == {"coerce": {"$.p": "decimal"}}
    assert 'instead of the rule below: {"coerce": {"$.p": "string", "$.q": "string"}}' in text
    assert rules_yaml([noise(rule=None)]) == ""


def test_no_more_is_merged_than_was_suggested() -> None:
    first = noise(rule={"headers": {"compare": ["a"]}})
    rules_yaml([first, noise(rule={"headers": {"compare": ["b"]}})])
    assert first["rule"] == {"headers": {"compare": ["a"]}}


@given(st.text(max_size=20))
def test_any_name_in_a_rule_is_read_back(name: str) -> None:
    text = rules_yaml([noise(path=name, rule={"ignore": [name], "coerce": {name: "string"}})])
    assert text.replace("\n", "").isprintable()
    surrogates = any("\ud800" <= c <= "\udfff" for c in name)
    assert surrogates or yaml.safe_load(text) == {"ignore": [name], "coerce": {name: "string"}}


# --- what services said is hostile -----------------------------------------------------------------------------------


def test_no_control_character_comes_out(fig: Fig) -> None:
    text = fig(hostile(), "catalog").stdout
    assert text.replace("\n", "").isprintable()
    assert text.count("[red]x[/red]") > 8


def test_on_a_terminal_neither_controls_nor_markup_count(listener: Listener) -> None:
    listener.app = ShadowPort(hostile()).app
    text = on_terminal(listener.url, "compare", "catalog", columns=400, status=4)
    assert b"[red]x[/red]" in text
    for bad in (b"\x1b]0", b"\x07", b"\x1b[2J", "\u202e".encode(), b"\x1b[31m"):
        assert bad not in text


# --- bodies ----------------------------------------------------------------------------------------------------------


def test_only_what_differs_of_the_bodies_is_shown() -> None:
    bodies = [json.dumps({**{f"f{n}": n for n in range(30)}, "price": price, "z": 1}) for price in ("a", "b")]
    rows = body_rows(exemplar(legacy=side(body=bodies[0]), extracted=side(body=bodies[1])), 40)
    assert rows == [
        Row("", '  "f29": 29,', '  "f29": 29,'),
        Row("|", '  "price": "a",', '  "price": "b",'),
        Row("", '  "z": 1', '  "z": 1'),
    ]


@pytest.mark.parametrize("bodies", [(None, None), ("{}", None), (None, "{}"), ("{}", "{}")])
def test_bodies_that_tell_nothing_are_left_out(bodies: tuple[str | None, str | None]) -> None:
    assert body_rows(exemplar(legacy=side(body=bodies[0]), extracted=side(body=bodies[1])), 40) == []


def test_a_side_without_an_answer_has_no_body() -> None:
    shown = exemplar(extracted=None, legacy=side(body="{}"))
    assert body_rows(shown, 40) == []
    views = comparisons_views(comparisons(differences=[difference(exemplars=[shown])]), 1)
    assert any(isinstance(view, Table) and "no answer" in view.text() for view in views)


def test_parts_far_from_one_another_have_a_gap() -> None:
    left = [str(number) for number in range(40)]
    right = ["x", *left[1:39], "y"]
    rows = body_rows(exemplar(legacy=side(body="\n".join(left)), extracted=side(body="\n".join(right))), 40)
    assert [row.mark for row in rows] == ["|", "", "…", "", "|"]
    assert body_rows(exemplar(legacy=side(body="\n".join(left)), extracted=side(body="")), 3)[-1] == Row("…", "", "")


def test_json_is_broken_into_lines_without_being_read() -> None:
    text = '{"a":[1,{"b":"},{\\""}],"e":{ },"a":1.0,"cut":["x", "y'
    assert broken_lines(text) == [
        "{", '  "a": [', "    1,", "    {", '      "b": "},{\\""', "    }", "  ],", '  "e": { },', '  "a": 1.0,',
        '  "cut": [', '    "x",', '    "y',
    ]  # fmt: skip
    assert broken_lines("a\nb") == ["a", "b"]


@given(st.text(alphabet='{}[]:," \\ab1\n', max_size=60))
def test_breaking_loses_nothing_but_space(text: str) -> None:
    shown = "".join("".join(broken_lines("{" + text)).split())
    assert shown == "".join(("{" + text).split())


@pytest.mark.parametrize("text", ["[" * 8000 + "1", "[1," * 2700, '{"a":' * 1600, "x\n" * 4000])
def test_a_hostile_body_takes_no_long(text: str) -> None:
    rows = body_rows(exemplar(legacy=side(body=text), extracted=side(body=text[::-1])), 40)
    assert 0 < len(rows) <= 41
    assert max(len(row.legacy) for row in rows) <= 8192 + 2 * 12


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (None, "(none)"),
        (value(), "string decimal, 4 long, #1a2b3c4d"),
        (value(value='"9.90"'), '"9.90" (string decimal, 4 long, #1a2b3c4d)'),
        (value(value=""), " (string decimal, 4 long, #1a2b3c4d)"),
        (value(type="number", format="int", length=1), "number int, #1a2b3c4d"),
        (value(type="null", format="null", length=1, hash=None), "null"),
        (value(type="object", format="object", length=3), "object, 3 long, #1a2b3c4d"),
    ],
)
def test_a_value_by_its_shape(shape: dict[str, Any] | None, text: str) -> None:
    assert value_text(shape) == text


def test_an_answer_in_short() -> None:
    assert side_text(side(content_type=None, length=None, status=204)) == "204"
    assert side_text(None) == "no answer"


# --- what does not work ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nope", "../reload", ".."])
def test_a_seam_that_is_not_there_is_exit_1(fig: Fig, name: str) -> None:
    result = fig(comparisons(), name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no seam" in result.stderr


@pytest.mark.parametrize("args", [(), ("catalog", "orders"), ("catalog", "-n", "0"), ("catalog", "-o", "html")])
def test_wrong_usage_is_exit_2(fig: Fig, args: tuple[str, ...]) -> None:
    assert fig(comparisons(), *args).exit_code == 2
