from __future__ import annotations

import json

import httpx
import pytest

from tests.support.cli import Command, Served


def test_seams_are_listed_with_share_asked_and_seen(run: Command, served: Served) -> None:
    served.admin.metrics.meter("catalog", "extracted").count("GET", 200, 0.01)
    run("shift", "catalog", "40")
    header, catalog, orders, pages = run("get", "seams").stdout.splitlines()
    assert header.split()[:6] == ["SEAM", "OWNER", "STAGE", "ASKED", "SEEN", "REQUESTS"]
    assert "canary" in catalog
    assert "40 %" in catalog
    assert "100 %" in catalog
    assert "override by ana (unverified)" in catalog
    assert orders.endswith("configuration")
    assert pages.split()[0] == "pages"


def test_one_seam_in_full(run: Command) -> None:
    run("shift", "catalog", "40", "--reason", "JIRA-1")
    text = run("get", "seam", "catalog").stdout
    assert "legacy → shadow → [canary] → extracted → retired" in text
    assert "█" * 13 + "░" * 19 in text
    assert 'canary 40 % by ana (unverified) at 2026-03-01T12:00:00.000Z "JIRA-1"' in text
    assert "File:        canary 25 %" in text


def test_json_is_what_the_admin_port_says(run: Command) -> None:
    assert [seam["name"] for seam in json.loads(run("get", "seams", "-o", "json").stdout)] == [
        "catalog",
        "orders",
        "pages",
    ]
    assert json.loads(run("get", "seam", "catalog", "-o", "json").stdout)["owner"] == "team-catalog"
    assert json.loads(run("get", "upstreams", "-o", "json").stdout)[0]["name"] == "monolith"


def test_upstreams_have_a_line_an_endpoint(run: Command) -> None:
    lines = run("get", "upstreams").stdout.splitlines()
    assert "127.0.0.1:2" in lines[2]
    assert "catalog, orders" in lines[2]


def test_documents_are_printed_as_they_are(run: Command, served: Served) -> None:
    trip(served)
    for what, path in ((("seams",), "seams"), (("seam", "catalog"), "seams/catalog"), (("upstreams",), "upstreams")):
        said = httpx.get(f"{served.url}/api/{path}", trust_env=False).json()
        assert json.loads(run("get", *what, "-o", "json").stdout) == said


def test_an_open_breaker_is_seen_in_the_list_and_in_full(run: Command, served: Served) -> None:
    header, catalog, orders, pages = run("get", "seams").stdout.splitlines()
    column = header.index("BREAKER")
    assert [line[column:].split()[0] for line in (catalog, orders, pages)] == ["closed", "closed", "-"]
    trip(served)
    assert run("get", "seams").stdout.splitlines()[1][column:].split()[0] == "open"
    text = run("get", "seam", "catalog").stdout
    assert "Breaker:     extracted: open until 2026-03-01T12:00:30.000Z · 0 failures in 0 requests" in text
    assert "Fallback:    legacy · 0/20 in flight · also on 500, 502, 503, 504 if the method is safe" in text


def trip(served: Served) -> None:
    """Let the breaker of the catalog open."""
    ((rule, _),) = served.admin.runtime.breakers("catalog")
    breaker = served.admin.runtime.guards.breaker(rule)
    for _ in range(5):
        breaker.settle(breaker.admit(), True)


@pytest.mark.parametrize("what", [("seams",), ("seam", "catalog"), ("upstreams",)])
def test_a_watch_shows_it_again_and_again(run: Command, what: tuple[str, ...]) -> None:
    once = run("get", *what, "-o", "json").stdout
    result = run("get", *what, "-w", "--count", "3", "--interval", "0", "-o", "json")
    assert (result.exit_code, result.stdout) == (0, once * 3)
    assert run("get", *what, "-w", "--count", "2", "--interval", "0").exit_code == 0


def test_a_watch_ends_when_fig_does(run: Command, served: Served) -> None:
    result = run("get", "seam", "nope", "-w", "--interval", "0")
    assert result.exit_code == 1
    assert "nope" in result.stderr


def test_what_others_wrote_cannot_steer_the_terminal(run: Command) -> None:
    run("shift", "catalog", "40", "--reason", "\x1b[2J\x07")
    for args in (("get", "seams"), ("get", "seam", "catalog"), ("history",)):
        assert "\x1b" not in run(*args).stdout
