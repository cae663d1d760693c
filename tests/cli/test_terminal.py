"""What people see who sit at a terminal, or at one that knows ASCII only."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.support.cli import Served


def fig_command(*args: str) -> list[str]:
    return [sys.executable, "-m", "proxy.cli.main", *args]


def on_terminal(served: Served, *args: str) -> str:
    """Everything that the command writes to its terminal."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "FIG_ADMIN_URL": served.url, "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(fig_command(*args), stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 65536):
            text += chunk
    except OSError:  # Linux: the other side has closed
        pass
    os.close(ours)
    assert process.wait(20) == 0, text.decode()
    return text.decode()


@pytest.mark.parametrize("what", [("seams",), ("seam", "catalog"), ("upstreams",)])
def test_a_watch_renews_the_view_in_place(served: Served, what: tuple[str, ...]) -> None:
    text = on_terminal(served, "get", *what, "-w", "--count", "3", "--interval", "0")
    assert text.count("catalog") >= 3
    assert "\x1b[1A" in text  # cursor up: drawn over what was there


def test_a_table_shows_everything_it_is_given(served: Served) -> None:
    text = on_terminal(served, "get", "seams")
    for word in ("SEAM", "catalog", "team-catalog", "25 %", "configuration"):
        assert word in text


def test_a_table_does_not_read_markup_in_names(served: Served) -> None:
    on_terminal(served, "shift", "catalog", "3", "--reason", "[red]x[/red]")
    assert "[red]x[/red]" in on_terminal(served, "history")


def test_a_terminal_without_arrows_gets_escapes_not_a_traceback(served: Served) -> None:
    env = {**os.environ, "FIG_ADMIN_URL": served.url, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(fig_command("get", "seam", "catalog"), capture_output=True, env=env, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"[canary]" in done.stdout
