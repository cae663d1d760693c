from __future__ import annotations

import json

from tests.support.cli import Command, Served


def test_a_reload_tells_what_is_in_force(run: Command, served: Served) -> None:
    assert "unchanged" in run("reload").stdout
    served.admin.edit(lambda text: text.replace("percent: 25", "percent: 30"))
    result = run("reload", "--reason", "more")
    assert result.exit_code == 0
    assert f"{served.admin.runtime.fingerprint} in force" in result.stdout
    assert json.loads(run("history", "-o", "json").stdout)[0]["reason"] == "more"


def test_an_override_that_wins_is_named_with_its_cure(run: Command, served: Served) -> None:
    run("shift", "catalog", "40")
    served.admin.edit(lambda text: text.replace("percent: 25", "percent: 30"))
    result = run("reload", "-o", "json")
    assert "fig reset catalog" in result.stderr
    assert json.loads(result.stdout)["overridden"] == ["catalog"]


def test_an_invalid_file_is_exit_3_with_every_problem(run: Command, served: Served) -> None:
    served.admin.edit(lambda text: text.replace("percent: 25", "percent: 250").replace("owner:", "ovner:"))
    result = run("reload")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "ovner" in result.stderr
    assert "FIG" in result.stderr
    assert "250" in result.stderr


def test_a_fig_without_a_file_cannot_reload(run: Command, served: Served) -> None:
    served.admin.config.unlink()
    result = run("reload")
    assert result.exit_code == 3
    assert "flags" in result.stderr
