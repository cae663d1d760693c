from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.main import fig
from proxy.cli.options import percent
from tests.support.cli import Command, Served


@pytest.mark.parametrize(
    "args",
    [
        ("-o", "json", "get", "seams"),
        ("get", "seams", "-o", "json"),
        ("-o", "table", "get", "seams", "--output", "json"),
    ],
)
def test_common_options_stand_before_or_after_the_verb(run: Command, args: tuple[str, ...]) -> None:
    assert json.loads(run(*args).stdout)[0]["name"] == "catalog"


def test_a_reason_before_the_verb_counts_too(run: Command) -> None:
    assert '"why"' in run("--reason", "why", "shift", "catalog", "3").stdout


def test_the_admin_port_is_named_by_option_before_environment(served: Served, offline: Command) -> None:
    nobody = "http://127.0.0.1:9"
    assert offline("get", "seams", "--admin", served.url, FIG_ADMIN_URL=nobody).exit_code == 0
    assert offline("--admin", served.url, "get", "seams", FIG_ADMIN_URL=nobody).exit_code == 0
    assert offline("get", "seams", FIG_ADMIN_URL=served.url).exit_code == 0
    assert offline("--admin", served.url, "get", "seams", "--admin", nobody).exit_code == 1


def test_a_token_opens_the_port(locked: Served) -> None:
    run = locked.command()
    result = run("get", "seams")
    assert result.exit_code == 1
    assert "--token" in result.stderr
    assert "$FIG_ADMIN_TOKEN" in result.stderr
    assert run("get", "seams", "--token", "s3cret-token").exit_code == 0
    assert run("get", "seams", FIG_ADMIN_TOKEN="s3cret-token").exit_code == 0
    assert run("get", "seams", "--token", "wrong", FIG_ADMIN_TOKEN="s3cret-token").exit_code == 1
    assert run("health").exit_code == 0


def test_an_actor_may_have_any_name(served: Served) -> None:
    run = served.command()
    document = json.loads(run("rollback", "catalog", "-o", "json", FIG_ACTOR="Zoë 🌳").stdout)
    assert document["rolled_back"]["by"] == "Zoë 🌳 (unverified)"


def test_without_an_actor_somebody_is_named_all_the_same(served: Served) -> None:
    document = json.loads(served.command()("rollback", "catalog", "-o", "json", FIG_ACTOR="").stdout)
    assert document["rolled_back"]["by"].endswith(" (unverified)")


def test_nobody_there_names_the_url_and_the_cure(offline: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    result = offline("get", "seams", "--admin", url)
    assert (result.exit_code, result.stdout) == (1, "")
    for word in (url, "--admin", "$FIG_ADMIN_URL"):
        assert word in result.stderr


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port", "127.0.0.1:9901"])
def test_what_is_no_url_is_a_usage_error(offline: Command, url: str) -> None:
    result = offline("get", "seams", "--admin", url)
    assert result.exit_code == 2
    assert "--admin" in result.stderr


def test_a_proxy_of_the_environment_is_not_asked(run: Command) -> None:
    assert run("get", "seams", HTTP_PROXY="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9").exit_code == 0


def test_help_names_the_exit_codes_and_needs_no_heavy_module(offline: Command) -> None:
    assert "configuration invalid, or cannot start" in offline("--help").stdout
    program = "import sys; import proxy.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"httpx", "pydantic", "rich", "starlette", "uvicorn", "yaml"} & set(loaded)


@pytest.mark.parametrize("verb", list(fig.commands))
def test_every_verb_has_help(offline: Command, verb: str) -> None:
    result = offline(verb, "--help")
    assert (result.exit_code, result.stderr) == (0, "")


def test_there_is_a_verb_for_everything_that_fig_can_do() -> None:
    verbs = "serve validate schema explain get shift rollback resume reset breaker history diff reload"
    assert list(fig.commands) == [*verbs.split(), "compare", "replay", "report", "key", "health", "version"]


@given(st.integers(0, 10_000))
def test_every_share_of_two_decimals_is_taken_exactly(hundredths: int) -> None:
    assert percent(f"{hundredths / 100}") == hundredths / 100
    assert percent(f"{hundredths / 100}%") == hundredths / 100
