from __future__ import annotations

import json

import pytest

from proxy.errors import StoreError
from tests.support.cli import Command, Served


def test_shift_prints_the_seam_as_it_is_now(run: Command) -> None:
    result = run("shift", "catalog", "40", "--reason", "JIRA-1", "-o", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert (document["stage"], document["percent"]) == ("canary", 40.0)
    assert (document["override"]["by"], document["override"]["reason"]) == ("ana (unverified)", "JIRA-1")


@pytest.mark.parametrize(("text", "percent"), [("0", 0), ("100", 100), ("33.33", 33.33), ("5%", 5)])
def test_a_share_may_be_written_with_a_percent_sign(run: Command, text: str, percent: float) -> None:
    assert json.loads(run("shift", "catalog", text, "-o", "json").stdout)["percent"] == percent


@pytest.mark.parametrize("text", ["101", "1.234", "ten", "nan", "inf", "", "5%%"])
def test_a_share_that_is_none_is_a_usage_error(run: Command, served: Served, text: str) -> None:
    assert run("shift", "catalog", text).exit_code == 2
    assert served.admin.runtime.state("catalog").record.version == 0


def test_shift_to_a_stage(run: Command) -> None:
    result = run("shift", "catalog", "--stage", "extracted")
    assert result.exit_code == 0
    assert "[extracted]" in result.stdout
    assert "100 % asked" in result.stdout


@pytest.mark.parametrize(
    "args",
    [
        ("shift", "catalog"),
        ("shift",),
        ("shift", "catalog", "5", "--stage", "extracted"),
        ("shift", "catalog", "--stage", "gone"),
        ("rollback",),
        ("rollback", "catalog", "--all"),
        ("resume",),
        ("reset",),
        ("rollback", "catalog", "-o", "yaml"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_exit_2(run: Command, args: tuple[str, ...]) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("rollback", "nope"), "nope"),
        (("rollback", "../reload"), "reload"),
        (("rollback", ".."), ".."),
        (("shift", "pages", "5"), "extracted"),
        (("resume", "catalog"), "not rolled back"),
        (("reset", "catalog"), "no override"),
    ],
)
def test_what_the_server_refuses_is_exit_1_in_its_words(run: Command, args: tuple[str, ...], word: str) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert word in result.stderr


def test_rollback_and_resume_and_reset(run: Command, served: Served) -> None:
    run("shift", "catalog", "40")
    assert "Rolled back: by ana (unverified)" in run("rollback", "catalog", "--reason", "errors").stdout
    assert served.admin.runtime.state("catalog").percent == 0
    assert json.loads(run("resume", "catalog", "-o", "json").stdout)["percent"] == 40
    run("rollback", "catalog")
    assert json.loads(run("resume", "catalog", "--percent", "7", "-o", "json").stdout)["percent"] == 7
    assert json.loads(run("reset", "catalog", "-o", "json").stdout)["override"] is None


def test_a_rollback_that_is_not_in_the_store_warns_and_succeeds(run: Command, served: Served) -> None:
    served.admin.fault.error = StoreError("the disk is full")
    result = run("rollback", "catalog", "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["durable"] is False
    assert "warning" in result.stderr
    assert "restart" in result.stderr


def test_rollback_all_takes_everything_back_but_what_is_retired(run: Command, served: Served) -> None:
    run("shift", "orders", "--stage", "retired")
    result = run("rollback", "--all", "--reason", "fire")
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "rolled back" in lines["catalog"]
    assert "was canary" in lines["catalog"]
    assert "skipped" in lines["orders"]
    assert "rolled back" in lines["pages"]
    states = served.admin.runtime.snapshot.states
    assert {name for name, state in states.items() if state.record.latch} == {"catalog", "pages"}
    assert states["catalog"].record.latch is not None
    assert states["catalog"].record.latch.reason == "fire"


def test_rollback_all_tells_what_was_rolled_back_already_and_what_is_not_durable(run: Command, served: Served) -> None:
    run("rollback", "catalog")
    served.admin.fault.error = StoreError("the disk is full")
    result = run("rollback", "--all", "-o", "json")
    assert result.exit_code == 0
    rows = {row["seam"]: row for row in json.loads(result.stdout)}
    assert rows["catalog"] == {
        "seam": "catalog",
        "result": "rolled back",
        "detail": "was rolled back already",
        "durable": True,
    }
    assert rows["pages"]["durable"] is False
    assert "warning: the rollback of pages" in result.stderr
