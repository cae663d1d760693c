from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.admin import CONFIG
from tests.support.cli import Command


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "proxy.yaml"
    path.write_text(CONFIG)
    return path


def broken(config: Path) -> Path:
    config.write_text(CONFIG.replace("owner:", "ovner:").replace("percent: 25", "percent: 250"))
    return config


def test_a_valid_file_prints_nothing_on_stdout(offline: Command, config: Path) -> None:
    result = offline("validate", config)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{config}: valid, 3 seams, 2 upstreams\n"


def test_problems_go_to_stdout_all_at_once(offline: Command, config: Path) -> None:
    result = offline("validate", broken(config))
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{config}:11:5 FIG006 ")
    assert "ovner" in lines[0]
    assert lines[1].startswith(f"{config}:18:")
    assert result.stderr == f"{config}: 2 errors\n"


def test_warnings_leave_the_exit_code_0(offline: Command, config: Path) -> None:
    config.write_text(CONFIG.replace("[header.x-user-id]", "[header.x-user-id, api_key]"))
    result = offline("validate", config)
    assert result.exit_code == 0
    assert "warning:" in result.stdout
    assert "1 warning" in result.stderr


def test_problems_as_json(offline: Command, config: Path) -> None:
    problems = json.loads(offline("validate", broken(config), "-o", "json").stdout)
    assert [(problem["line"], problem["severity"]) for problem in problems] == [(11, "error"), (18, "error")]
    config.write_text(CONFIG)
    assert json.loads(offline("validate", config, "-o", "json").stdout) == []


def test_a_missing_file_is_exit_3_and_named(offline: Command, tmp_path: Path) -> None:
    result = offline("validate", tmp_path / "nope.yaml")
    assert result.exit_code == 3
    assert "nope.yaml:1:1 FIG001" in result.stdout


def test_the_file_is_named_by_argument_then_environment(offline: Command, config: Path, tmp_path: Path) -> None:
    assert offline("validate", FIG_CONFIG=str(config)).exit_code == 0
    assert offline("validate", tmp_path / "nope.yaml", FIG_CONFIG=str(config)).exit_code == 3


def test_routes_beside_one_another_are_checked_too(offline: Command, config: Path) -> None:
    config.write_text(CONFIG.replace("/pages/**", "/api/orders/**"))
    result = offline("validate", config)
    assert result.exit_code == 3
    assert "FIG303" in result.stdout


def test_the_schema_is_json_on_stdout(offline: Command) -> None:
    result = offline("schema")
    assert result.exit_code == 0
    assert "seams" in json.loads(result.stdout)["properties"]
