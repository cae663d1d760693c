"""What an explanation says of breakers, further attempts and fallbacks, and of endpoints that are discovered."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.routing.resilience import BreakerKey
from proxy.snapshot import Latch, Override, SeamRecord
from tests.admin.test_explain import ask, snapshot, step
from tests.support.admin import NOON, AdminPort

CONFIG = """\
version: 1
store: "memory:"
upstreams:
  monolith: {endpoints: [http://127.0.0.1:1]}
  catalog: {endpoints: {registry: "http://127.0.0.1:8500", service: catalog, token: t0p-s3cret}, max_in_flight: 20}
default: monolith
seams:
  catalog:
    extracted: catalog
    stage: extracted
    breaker: {failures: 4, failure_ratio: 0.25, window_s: 20, open_s: 15, open_max_s: 60}
    legacy_breaker: {failures: null, min_requests: 30, slow_ratio: 0.8, slow_call_s: 1.5}
    retry: {retries: 2, on: [connect, reset], status: [503], idempotent_header: Idempotency-Key, budget_percent: 10}
    fallback: {status: [503], max_in_flight: 7}
    force: {header: x-fig-force, allow_from: [127.0.0.0/8]}
    routes:
      - {path: /items}
      - path: /pay
        breaker: {failures: 2, failure_ratio: null}
        retry: {retries: 1, on: [reset]}
        fallback: {static: {status: 202}, status: []}
      - path: /plain
        breaker: {enabled: false}
        retry: {retries: 0}
        fallback: none
  bare:
    extracted: catalog
    stage: extracted
    routes: [{path: /bare}]
"""
UNREACHED = "on connect_failed, connect_timeout, breaker_open, bulkhead_full, no_healthy_endpoint"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def line_of(snippet: str) -> int:
    return next(number for number, line in enumerate(CONFIG.splitlines(), 1) if snippet in line)


def told(folder: Path, name: str, target: str = "/items", *headers: str, method: str = "GET") -> tuple[str, str, int]:
    """(result, detail, line cited) of a step."""
    found = step(ask(snapshot(folder, text=CONFIG), target, *headers, method=method), name)
    file, _, line = found["source"].rpartition(":")
    assert file == str(folder / "fig.yaml")
    return found["result"], found["detail"], int(line)


# --- the upstream ----------------------------------------------------------------------------------------------------


def test_discovered_endpoints_are_shown_by_who_knows_them(folder: Path) -> None:
    _, detail, line = told(folder, "upstream")
    assert detail.startswith("extracted: endpoints from registry http://127.0.0.1:8500 catalog http; target /items;")
    assert detail.endswith("; at most 20 requests at once")
    assert "s3cret" not in detail
    assert line == line_of("  catalog: {endpoints:")


# --- the breaker -----------------------------------------------------------------------------------------------------


def test_the_breaker_of_the_seam_says_when_it_opens(folder: Path) -> None:
    words = "opens at 4 failures that are 25 % of the requests within 20 s, for 15 s and up to 60 s"
    assert told(folder, "breaker") == ("extracted", words, line_of("    breaker: {failures: 4"))


def test_a_route_has_a_breaker_of_its_own(folder: Path) -> None:
    words = "opens at 2 failures within 10 s, for 30 s"
    assert told(folder, "breaker", "/pay") == ("extracted /pay", words, line_of("breaker: {failures: 2"))


def test_the_legacy_side_has_a_breaker_only_if_it_is_given_one(folder: Path) -> None:
    words = (
        "opens at 50 % failures of at least 30 requests or 80 % slower than 1.5 s of at least 30 requests"
        " within 10 s, for 30 s"
    )
    forced = told(folder, "breaker", "/items", "X-Fig-Force: legacy")
    assert forced == ("legacy", words, line_of("legacy_breaker:"))
    record = SeamRecord(None, Latch(NOON, "bo", ""), 1)
    text = CONFIG.replace("legacy_breaker: {failures: null, min_requests: 30, slow_ratio: 0.8, slow_call_s: 1.5}", "")
    found = step(ask(snapshot(folder, record, text), "/items"), "breaker")
    assert (found["result"], found["detail"]) == ("none", "the legacy side has none")


def test_a_breaker_may_be_turned_off(folder: Path) -> None:
    assert told(folder, "breaker", "/plain") == ("none", "`enabled: false`", line_of("breaker: {enabled: false}"))


def test_a_breaker_that_is_not_just_closed_is_told_of(folder: Path) -> None:
    asked: list[BreakerKey] = []

    def words(key: BreakerKey) -> str:
        asked.append(key)
        return "open until noon"

    answer = ask(snapshot(folder, text=CONFIG), "/pay", breaker_words=words)
    assert asked == [("catalog", "extracted", "/pay")]
    assert step(answer, "breaker")["detail"].startswith("open until noon; opens at 2 failures")
    assert answer["side"] == "extracted"


def test_a_running_fig_knows_what_its_breakers_are(folder: Path) -> None:
    admin = AdminPort(folder, CONFIG)

    def detail() -> str:
        document = admin.post("/api/explain", {"method": "GET", "path": "/pay"}).json()
        found: str = step(document, "breaker")["detail"]
        return found.partition("opens at")[0]

    rules = {rule.key[2]: rule for rule, _ in admin.runtime.breakers("catalog") if rule.key[1] == "extracted"}
    breaker = admin.runtime.guards.breaker(rules["/pay"])
    assert detail() == ""
    for _ in range(2):
        breaker.settle(breaker.admit(), True)
    assert detail() == "open until 2026-03-01T12:00:30.000Z; "
    admin.monotonic += 30
    admin.runtime.guards.tick()
    assert detail() == "half-open: a probe is due; "
    for state, words in (("open", "held open"), ("close", "held closed")):
        admin.post("/api/seams/catalog/breaker", {"state": state})
        assert detail() == f"{words} by an operator; "
    admin.close()


# --- further attempts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers", "occasions"),
    [
        ("GET", (), "connect, reset before an answer, status 503"),
        ("PUT", (), "connect, reset before an answer, status 503"),
        ("POST", (), "connect"),
        ("POST", ("idempotency-key: 1",), "connect, reset before an answer, status 503"),
    ],
)
def test_what_is_tried_again_depends_on_what_may_be_repeated(
    folder: Path, method: str, headers: tuple[str, ...], occasions: str
) -> None:
    result, detail, line = told(folder, "retry", "/items", *headers, method=method)
    assert (result, line) == ("up to 2", line_of("retry: {retries: 2"))
    assert detail == f"on {occasions}; budget 10 per 100 requests, and 3"


def test_a_retry_that_never_comes_to_pass_is_none(folder: Path) -> None:
    line = line_of("retry: {retries: 1")
    assert told(folder, "retry", "/pay")[0] == "up to 1"
    words = "a POST may not be repeated on anything that is configured"
    assert told(folder, "retry", "/pay", method="POST") == ("none", words, line)
    assert told(folder, "retry", "/plain") == ("none", "nothing is tried again", line_of("retry: {retries: 0}"))
    assert told(folder, "retry", "/bare") == ("none", "nothing is tried again", line_of("  bare:"))


# --- who answers instead ---------------------------------------------------------------------------------------------


def test_a_safe_request_falls_back_on_more(folder: Path) -> None:
    safe = "GET is safe: also on response_timeout, upstream_reset, upstream_protocol, status 503"
    line = line_of("fallback: {status: [503]")
    assert told(folder, "fallback") == ("legacy (monolith)", f"{UNREACHED}; {safe}; at most 7 at once", line)
    unsafe = "POST is not safe: on nothing else"
    words = f"{UNREACHED}; {unsafe}; at most 7 at once"
    assert told(folder, "fallback", method="POST") == ("legacy (monolith)", words, line)


def test_a_body_that_is_gone_cannot_be_sent_to_legacy(folder: Path) -> None:
    gone = "; not once more than 32 KiB of the body have gone out; "
    for length, said in ((0, False), (32768, False), (32769, True)):
        detail = told(folder, "fallback", "/items", f"Content-Length: {length}", method="PUT")[1]
        assert (gone in detail) is said
    assert gone in told(folder, "fallback", "/items", "Transfer-Encoding: chunked", method="PUT")[1]
    assert gone not in told(folder, "fallback", "/pay", "Transfer-Encoding: chunked", method="PUT")[1]


def test_a_fixed_answer_is_named_by_its_status(folder: Path) -> None:
    result, detail, line = told(folder, "fallback", "/pay")
    assert (result, line) == ("static 202", line_of("fallback: {static:"))
    assert detail.endswith("upstream_protocol; at most 20 at once")
    assert ask(snapshot(folder, text=CONFIG), "/pay")["fallback"] == "static 202"


def test_no_fallback_is_null_and_says_why(folder: Path) -> None:
    assert told(folder, "fallback", "/plain") == ("none", "a failure stays a failure", line_of("fallback: none"))
    frozen = snapshot(folder, text=CONFIG)
    assert ask(frozen, "/items")["fallback"] == "legacy (monolith)"
    assert ask(frozen, "/bare")["fallback"] == "legacy (monolith)"
    assert ask(frozen, "/plain")["fallback"] is None
    legacy = ask(frozen, "/items", "X-Fig-Force: legacy")
    assert (legacy["fallback"], step(legacy, "fallback")["detail"]) == (None, "behind the legacy side there is nobody")
    assert ask(frozen, "/elsewhere")["fallback"] is None


def test_retired_takes_the_fallback_to_legacy_away_but_no_fixed_answer(folder: Path) -> None:
    frozen = snapshot(folder, SeamRecord(Override("retired", 0.0, NOON, "ana", ""), None, 1), CONFIG)
    found = step(ask(frozen, "/items"), "fallback")
    assert (found["result"], found["detail"]) == ("none", "the legacy side is never called")
    assert ask(frozen, "/items")["fallback"] is None
    assert ask(frozen, "/pay")["fallback"] == "static 202"
