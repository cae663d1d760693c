from __future__ import annotations

import json
import re

import pytest

from tests.support.cli import Command, Served


@pytest.fixture
def run(served: Served) -> Command:
    """The catalog has a breaker for each side, and one for a route."""
    served.admin.edit(
        lambda text: text.replace(
            "query: {mode: full}}\n    extracted: catalog\n",
            "query: {mode: full}, breaker: {failures: 2}}\n    extracted: catalog\n    legacy_breaker: {failures: 9}\n",
        )
    )
    command = served.command()
    assert command("reload").exit_code == 0
    return command


def held(served: Served) -> dict[tuple[str, str], str | None]:
    found = served.admin.runtime.breakers("catalog")
    return {rule.key[1:]: None if breaker is None else breaker.forced for rule, breaker in found}


def test_open_holds_every_breaker_of_the_extracted_side(run: Command, served: Served) -> None:
    result = run("breaker", "open", "catalog", "--reason", "JIRA-1")
    assert result.exit_code == 0
    assert "Breakers:    extracted: held open · 0 failures in 0 requests" in result.stdout
    assert "             extracted /api/search: held open · 0 failures in 0 requests" in result.stdout
    assert "             legacy: closed · 0 failures in 0 requests" in result.stdout
    assert result.stderr == "note: held in this fig only, until `fig breaker auto catalog` or a restart\n"
    assert held(served) == {("extracted", ""): "open", ("extracted", "/api/search"): "open", ("legacy", ""): None}


def test_one_route_or_the_other_side(run: Command, served: Served) -> None:
    assert run("breaker", "open", "catalog", "--route", "/api/search").exit_code == 0
    result = run("breaker", "close", "catalog", "--side", "legacy")
    assert "`fig breaker auto catalog --side legacy`" in result.stderr
    assert held(served) == {("extracted", ""): None, ("extracted", "/api/search"): "open", ("legacy", ""): "close"}
    assert run("breaker", "close", "catalog", "--route", "").exit_code == 0
    assert held(served)["extracted", ""] == "close"


def test_auto_lets_go_of_it_and_has_no_more_to_say(run: Command, served: Served) -> None:
    run("breaker", "open", "catalog")
    result = run("breaker", "auto", "catalog", "-o", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert [(one["state"], one["forced"]) for one in document["breakers"]] == [
        ("half_open", None),
        ("half_open", None),
        ("closed", None),
    ]
    assert document == json.loads(run("get", "seam", "catalog", "-o", "json").stdout)


def test_the_worst_state_stands_in_the_list(run: Command) -> None:
    def shown() -> str:
        header, catalog, *_ = run("get", "seams").stdout.splitlines()
        column = header.index("BREAKER")
        return catalog[column:].partition("  ")[0]

    assert shown() == "closed"
    run("breaker", "close", "catalog", "--side", "legacy")
    assert shown() == "held closed"
    run("breaker", "open", "catalog", "--route", "/api/search")
    assert shown() == "held open"
    run("breaker", "auto", "catalog", "--route", "/api/search")
    assert shown() == "half-open"


def test_history_says_what_was_held_and_by_whom(run: Command) -> None:
    run("breaker", "open", "catalog", "--route", "/api/search", "--reason", "JIRA-1")
    run("breaker", "auto", "catalog")
    _, second, first = (re.split("  +", line)[1:] for line in run("history", "catalog").stdout.splitlines())
    one = "extracted /api/search"
    assert first == ["catalog", "breaker", f"{one}: auto", f"{one}: open", "ana (unverified)", "JIRA-1"]
    both = [f"extracted: auto, {one}: open", f"extracted: auto, {one}: auto"]
    assert second == ["catalog", "breaker", *both, "ana (unverified)", "-"]


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("catalog",),
        ("open",),
        ("shut", "catalog"),
        ("catalog", "open"),
        ("open", "catalog", "--side", "new"),
        ("open", "catalog", "orders"),
    ],
)
def test_wrong_usage_is_exit_2(run: Command, served: Served, args: tuple[str, ...]) -> None:
    result = run("breaker", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert set(held(served).values()) == {None}


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("open", "nope"), "nope"),
        (("open", "pages"), "none"),
        (("open", "catalog", "--route", "/api/products/{id}"), "'/api/search'"),
        (("open", "orders", "--side", "legacy"), "legacy"),
    ],
)
def test_what_is_not_there_is_exit_1_in_the_servers_words(run: Command, args: tuple[str, ...], word: str) -> None:
    result = run("breaker", *args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert word in result.stderr


def test_a_fig_on_its_way_out_refuses(run: Command, served: Served) -> None:
    served.admin.refusal = "Ask the next one."
    result = run("breaker", "open", "catalog")
    assert result.exit_code == 1
    assert "Ask the next one." in result.stderr
    assert set(held(served).values()) == {None}
