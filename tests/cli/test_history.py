from __future__ import annotations

import json

from tests.support.cli import Command


def test_history_is_a_line_a_change_newest_first(run: Command) -> None:
    run("shift", "catalog", "40", "--reason", "JIRA-1")
    run("rollback", "orders")
    header, rollback, shift = run("history").stdout.splitlines()
    assert header.split() == ["AT", "SEAM", "ACTION", "BEFORE", "AFTER", "ACTOR", "REASON"]
    assert "rolled back" in rollback
    assert shift.split()[1:3] == ["catalog", "shift"]
    assert "canary 25 %" in shift
    assert "canary 40 %" in shift
    assert shift.endswith("JIRA-1")


def test_history_of_one_seam_and_its_limit(run: Command) -> None:
    for percent in (1, 2, 3):
        run("shift", "catalog", percent)
    run("rollback", "orders")
    rows = json.loads(run("history", "catalog", "--limit", "2", "-o", "json").stdout)
    assert [row["after"]["percent"] for row in rows] == [3.0, 2.0]


def test_an_empty_history_is_an_empty_table(run: Command) -> None:
    assert run("history").exit_code == 0
    assert json.loads(run("history", "-o", "json").stdout) == []
