from __future__ import annotations

import json

from tests.support.cli import Command, Served


def test_health_is_about_life_and_ready_about_traffic(run: Command, served: Served) -> None:
    assert (run("health").stdout, run("health", "--ready").stdout) == ("ok\n", "ready\n")
    served.admin.not_ready = "draining"
    assert run("health").exit_code == 0
    result = run("health", "--ready")
    assert result.exit_code == 1
    assert "draining" in result.stderr


def test_health_as_json(run: Command) -> None:
    assert json.loads(run("health", "-o", "json").stdout) == {"status": "ok"}


def test_no_fig_is_exit_1(offline: Command) -> None:
    assert offline("health", "--admin", "http://127.0.0.1:9").exit_code == 1
