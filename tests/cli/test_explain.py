from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.admin import CONFIG
from tests.support.cli import Command, Served

QUESTION = ("explain", "get", "/api/products/7", "-H", "X-User-Id: 42", "--header", "Accept: a/b")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "fig.yaml"
    path.write_text(CONFIG)
    return path


def test_a_running_fig_explains_with_its_overrides(run: Command) -> None:
    run("shift", "catalog", "--stage", "extracted", "--reason", "done")
    result = run(*QUESTION)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "override by ana (unverified)" in result.stdout
    verdict = "→ extracted of catalog, upstream catalog (stage); fallback legacy (monolith)"
    assert result.stdout.splitlines()[-1] == verdict


def test_without_a_fallback_the_verdict_names_none(run: Command) -> None:
    run("rollback", "catalog")
    assert run(*QUESTION).stdout.splitlines()[-1] == "→ legacy of catalog, upstream monolith (rolled_back)"


def test_a_running_fig_tells_of_a_breaker_that_is_held(run: Command) -> None:
    run("shift", "catalog", "--stage", "extracted")
    run("breaker", "open", "catalog")
    (line,) = [line for line in run(*QUESTION).stdout.splitlines() if line.split()[1] == "breaker"]
    assert "held open by an operator; opens at 5 failures" in line


def test_a_file_alone_explains_the_same_as_a_fresh_fig(served: Served, run: Command, offline: Command) -> None:
    online = run(*QUESTION, "-o", "json")
    by_file = offline(*QUESTION, "-o", "json", "--config", served.admin.config)
    assert by_file.exit_code == 0
    assert json.loads(by_file.stdout) == json.loads(online.stdout)
    assert "by the file alone" in by_file.stderr


def test_steps_are_numbered_with_their_lines(offline: Command, config: Path) -> None:
    lines = offline(*QUESTION, "--config", config).stdout.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["1", "path"], ["2", "route"], ["3", "latch"]]
    assert f"{config}:13" in lines[1]


def test_a_repeated_header_is_sent_as_often(run: Command) -> None:
    answer = run("explain", "GET", "/", "-H", "Host: a", "-H", "Host: b", "-o", "json").stdout
    assert json.loads(answer)["reason"] == "bad_request"


def test_a_refusal_is_an_explanation(offline: Command, run: Command, config: Path) -> None:
    question = ("explain", "GET", "/api/products/7;x")
    for result in (run(*question), offline(*question, "--config", config)):
        assert result.exit_code == 0
        assert result.stdout.splitlines()[-1] == "→ refused: ambiguous_path"
    assert offline("explain", "BREW", "/", "--config", config).stdout.endswith("→ refused: bad_request\n")


def test_the_client_address_can_be_given(offline: Command, run: Command, config: Path) -> None:
    question = ("explain", "GET", "/api/products/7", "-H", "x-fig-force: extracted", "-o", "json")
    for result in (
        run(*question, "--client-ip", "10.0.0.1"),
        offline(*question, "--client-ip", "10.0.0.1", "--config", config),
    ):
        assert json.loads(result.stdout)["reason"] == "bucket"
    assert json.loads(run(*question).stdout)["reason"] == "forced"


@pytest.mark.parametrize("extra", [("-H", "no colon"), ("-H", ": value"), ("--client-ip", "nobody")])
def test_a_malformed_option_is_a_usage_error(offline: Command, config: Path, extra: tuple[str, str]) -> None:
    assert offline("explain", "GET", "/", *extra, "--config", config).exit_code == 2


def test_an_invalid_file_is_exit_3(offline: Command, config: Path) -> None:
    config.write_text(CONFIG.replace("percent: 25", "percent: 250"))
    result = offline("explain", "GET", "/", "--config", config)
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"{config}:18" in result.stderr
