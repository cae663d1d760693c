from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.admin import CONFIG
from tests.support.cli import Command
from tests.support.fig import Fig

FLAGS = ("serve", "--legacy", "http://127.0.0.1:9", "--extracted", "http://127.0.0.1:10", "--path", "/api/x/**")


def test_problems_of_a_file_are_exit_3_on_stderr(offline: Command, tmp_path: Path) -> None:
    config = tmp_path / "fig.yaml"
    config.write_text(CONFIG.replace("percent: 25", "percent: 250"))
    for result in (offline("serve", config), offline("serve", FIG_CONFIG=str(config))):
        assert (result.exit_code, result.stdout) == (3, "")
        assert f"{config}:18" in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        FLAGS[:3],
        FLAGS[:5],
        ("serve", "--percent", "5"),
        ("serve", "--listen", "127.0.0.1:1"),
        ("serve", "fig.yaml", *FLAGS[1:]),
        (*FLAGS, "--percent", "101"),
        (*FLAGS, "--stage", "canary"),
    ],
)
def test_flags_that_do_not_go_together_are_exit_2(offline: Command, args: tuple[str, ...]) -> None:
    assert offline(*args).exit_code == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--path", "no-slash"), ("--path",)),
        (("--path", "/**"), ("--path",)),
        (("--legacy", "ftp://x"), ("--legacy",)),
        (("--listen", "nowhere"), ("--listen", "nowhere")),
        (("--admin-listen", "0.0.0.0:9901"), ("--admin-listen", "token")),
        (("--listen", "127.0.0.1:9"), ("http://127.0.0.1:9",)),
        (("--listen", "127.0.0.1:9901"), ("9901",)),
    ],
)
def test_flags_that_are_no_configuration_are_exit_3(
    offline: Command, flags: tuple[str, str], words: tuple[str, ...]
) -> None:
    result = offline(*FLAGS, *flags)
    assert (result.exit_code, result.stdout) == (3, "")
    for word in words:
        assert word in result.stderr


def test_a_port_that_is_taken_is_exit_3_and_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = tmp_path / "fig.yaml"
        config.write_text(CONFIG.replace("127.0.0.1:18080", address))
        command = [sys.executable, "-m", "proxy.cli.main", "serve", str(config)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stdout) == (3, "")
    assert address in result.stderr


def test_fig_serves_a_file_until_a_signal_ends_it(tmp_path: Path) -> None:
    text = CONFIG.replace("127.0.0.1:18080", '"{data}"').replace("127.0.0.1:19901", '"{admin}"')
    with Fig(tmp_path, text) as fig:
        assert fig.call("GET", "/api/seams").json()[0]["name"] == "catalog"
        answer = httpx.get(f"http://127.0.0.1:{fig.port}/", trust_env=False)
        assert (answer.status_code, answer.json()["reason"]) == (502, "connect_failed")
    assert fig.stop() == 0
