"""What people see who sit at a terminal, or at one that knows ASCII only."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.support.cli import Served, fig_command, on_terminal


def shown(served: Served, *args: str) -> str:
    return on_terminal(served.url, *args).decode()


@pytest.mark.parametrize("what", [("seams",), ("seam", "catalog"), ("upstreams",)])
def test_a_watch_renews_the_view_in_place(served: Served, what: tuple[str, ...]) -> None:
    text = shown(served, "get", *what, "-w", "--count", "3", "--interval", "0")
    assert text.count("catalog") >= 3
    assert "\x1b[1A" in text  # cursor up: drawn over what was there


def test_a_table_shows_everything_it_is_given(served: Served) -> None:
    text = shown(served, "get", "seams")
    for word in ("SEAM", "catalog", "team-catalog", "25 %", "configuration"):
        assert word in text


def test_a_table_does_not_read_markup_in_names(served: Served) -> None:
    shown(served, "shift", "catalog", "3", "--reason", "[red]x[/red]")
    assert "[red]x[/red]" in shown(served, "history")


def test_a_terminal_without_arrows_gets_escapes_not_a_traceback(served: Served) -> None:
    env = {**os.environ, "FIG_ADMIN_URL": served.url, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(fig_command("get", "seam", "catalog"), capture_output=True, env=env, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"[canary]" in done.stdout
