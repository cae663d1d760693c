from __future__ import annotations

import json
import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from proxy.config.load import load
from tests.support.admin import CONFIG
from tests.support.cli import Command, fig_command


def test_a_key_comes_with_its_hash_and_the_lines_to_paste(offline: Command, tmp_path: Path) -> None:
    shown = offline("key", "new", "--name", "partner-b")
    assert shown.exit_code == 0
    first, second, empty, *lines = shown.stdout.splitlines()
    key, digest = first.removeprefix("key     "), second.removeprefix("sha256  ")
    assert (key[:4], len(key), empty) == ("fig_", 47, "")
    assert digest == sha256(key.encode()).hexdigest()
    config = tmp_path / "fig.yaml"
    config.write_text(CONFIG + "\n".join(lines) + "\n")
    assert load(config, {}).settings.auth.api_keys.keys["partner-b"].sha256 == digest
    assert key not in "\n".join(lines)


def test_for_programs_it_is_an_object(offline: Command) -> None:
    for args in (("key", "new", "-o", "json"), ("-o", "json", "key", "new")):
        shown = json.loads(offline(*args).stdout)
        assert shown == {"key": shown["key"], "sha256": sha256(shown["key"].encode()).hexdigest()}


def test_no_two_keys_are_alike(offline: Command) -> None:
    keys = {json.loads(offline("key", "new", "-o", "json").stdout)["key"] for _ in range(20)}
    assert len(keys) == 20


def test_that_it_is_shown_once_is_said_beside_the_data(offline: Command) -> None:
    shown = offline("key", "new", "-o", "json")
    assert "shown this once" in shown.stderr
    assert "only its hash" in shown.stderr
    assert json.loads(shown.stdout)["key"] not in shown.stderr


@pytest.mark.parametrize("name", ["", "a b", 'x": {}', "x\n  y", "1", "on", "null", "1e5"])
def test_a_name_is_one_for_the_configuration_or_refused(offline: Command, tmp_path: Path, name: str) -> None:
    shown = offline("key", "new", "--name", name)
    if shown.exit_code == 2:
        assert shown.stdout == ""
        assert "--name" in shown.stderr
        return
    config = tmp_path / "fig.yaml"
    config.write_text(CONFIG + shown.stdout.partition("\n\n")[2])
    assert list(load(config, {}).settings.auth.api_keys.keys) == [name]


def test_a_name_that_no_configuration_takes_makes_no_key(offline: Command) -> None:
    assert offline("key", "new", "--name", "a b").exit_code == 2


def test_it_needs_no_running_fig_and_no_file(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root, "FIG_ADMIN_URL": "http://127.0.0.1:9"}
    run = subprocess.run(fig_command("key", "new"), cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30)
    assert run.returncode == 0
    assert run.stdout.startswith("key     fig_")
    assert list(tmp_path.iterdir()) == []
