from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.admin.explain import explain
from proxy.admin.question import build_request
from proxy.admin.resilience_steps import BreakerWords, just_closed
from proxy.admission.trust import Trust
from proxy.config.load import load
from proxy.routing.split import bucket
from proxy.routing.table import check
from proxy.snapshot import Latch, Override, SeamRecord, Snapshot, compile_now
from tests.support.admin import CONFIG, NOON

STEPS = [
    "path", "route", "latch", "retired", "force", "stage", "bucket", "upstream", "breaker", "retry", "fallback",
    "shadow",
]  # fmt: skip
LATCHED = SeamRecord(None, Latch(NOON, "bo", "errors"), 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def snapshot(folder: Path, record: SeamRecord | None = None, text: str = CONFIG) -> Snapshot:
    path = folder / "fig.yaml"
    path.write_text(text)
    return compile_now(load(path, {}, checks=(check,)), {"catalog": record} if record else {})


def ask(
    snapshot: Snapshot,
    target: str = "/api/products/7",
    *headers: str,
    method: str = "GET",
    client_ip: str | None = None,
    breaker_words: BreakerWords = just_closed,
) -> dict[str, Any]:
    server = snapshot.settings.server
    lines = [(name, value.strip()) for name, _, value in (header.partition(":") for header in headers)]
    request = build_request(method, target, lines, "127.0.0.1", server)
    return explain(snapshot, Trust(server.trusted_proxies), request, client_ip, breaker_words)


def step(answer: dict[str, Any], name: str) -> dict[str, str]:
    (found,) = [one for one in answer["steps"] if one["step"] == name]
    return found  # type: ignore[no-any-return]


def line_of(snippet: str) -> int:
    return next(number for number, line in enumerate(CONFIG.splitlines(), 1) if snippet in line)


def user_below(percent: float) -> str:
    return next(str(n) for n in range(1000) if bucket("catalog", str(n).encode()) < percent * 100)


def user_above(percent: float) -> str:
    return next(str(n) for n in range(1000) if bucket("catalog", str(n).encode()) >= percent * 100)


def test_each_step_cites_the_line_behind_it(folder: Path) -> None:
    answer = ask(snapshot(folder), "/api/products/7", f"X-User-Id: {user_below(25)}")
    assert [one["step"] for one in answer["steps"]] == STEPS
    cited = {one["step"]: one["source"] for one in answer["steps"]}
    file = folder / "fig.yaml"
    seam = f"{file}:{CONFIG.splitlines().index('  catalog:') + 1}"
    assert cited == {
        "path": "",
        "route": f"{file}:{line_of('/api/products/{id}')}",
        "latch": "",
        "retired": "",
        "force": f"{file}:{line_of('force:')}",
        "stage": f"{file}:{line_of('percent: 25')}",
        "bucket": f"{file}:{line_of('sticky_by:')}",
        "upstream": f"{file}:{line_of('catalog: {endpoints')}",
        "breaker": seam,
        "retry": seam,
        "fallback": seam,
        "shadow": seam,
    }


def test_the_bucket_is_shown_with_the_number_that_decides(folder: Path) -> None:
    user = user_below(25)
    answer = ask(snapshot(folder), "/api/products/7", f"X-User-Id: {user}")
    number = bucket("catalog", user.encode())
    assert (answer["side"], answer["reason"], answer["bucket"]) == ("extracted", "bucket", number)
    assert step(answer, "bucket")["result"] == str(number)
    assert f"{number} < 2500" in step(answer, "bucket")["detail"]
    assert "/v2/products/7" in step(answer, "upstream")["detail"]


def test_a_bucket_beyond_the_share_stays_on_legacy_with_the_target_as_sent(folder: Path) -> None:
    answer = ask(snapshot(folder), "/api/products/7", f"X-User-Id: {user_above(25)}")
    assert (answer["side"], answer["upstream"]) == ("legacy", "monolith")
    assert "/api/products/7" in step(answer, "upstream")["detail"]


@pytest.mark.parametrize(
    ("percent", "side"), [(25, "legacy"), (50, "legacy"), (50.01, "extracted"), (99.99, "extracted")]
)
def test_without_a_sticky_key_the_larger_share_is_shown_and_said_to_be_random(
    folder: Path, percent: float, side: str
) -> None:
    answer = ask(snapshot(folder, text=CONFIG.replace("percent: 25", f"percent: {percent}")))
    assert (answer["side"], answer["bucket"], answer["reason"]) == (side, None, "bucket")
    assert step(answer, "bucket")["result"] == "random"
    assert "random per request" in step(answer, "bucket")["detail"]


def test_a_latch_decides_before_all_else(folder: Path) -> None:
    user = user_below(25)
    answer = ask(snapshot(folder, LATCHED), "/api/products/7", f"X-User-Id: {user}", "X-Fig-Force: extracted")
    assert (answer["side"], answer["reason"]) == ("legacy", "rolled_back")
    assert step(answer, "latch")["source"] == "store"
    assert "bo" in step(answer, "latch")["detail"]
    assert {step(answer, name)["result"] for name in ("retired", "force", "stage", "bucket")} == {"not asked"}


def test_an_override_is_cited_with_its_author(folder: Path) -> None:
    record = SeamRecord(Override("extracted", 0.0, NOON, "ana", "JIRA-1"), None, 1)
    answer = ask(snapshot(folder, record), "/api/products/7", "X-User-Id: 1")
    assert (answer["side"], answer["reason"]) == ("extracted", "stage")
    assert step(answer, "stage")["source"] == "store"
    assert "ana" in step(answer, "stage")["detail"]
    assert step(answer, "bucket")["result"] == "not asked"


def test_a_retired_seam_cannot_be_forced(folder: Path) -> None:
    record = SeamRecord(Override("retired", 0.0, NOON, "ana", ""), None, 1)
    answer = ask(snapshot(folder, record), "/api/products/7", "X-Fig-Force: legacy")
    assert (answer["side"], answer["reason"]) == ("extracted", "retired")
    assert step(answer, "retired")["result"] == "yes"
    assert step(answer, "force")["result"] == "not asked"


def test_a_force_header_is_explained_whether_it_counts_or_not(folder: Path) -> None:
    frozen = snapshot(folder)
    forced = ask(frozen, "/api/products/7", "X-Fig-Force: extracted")
    assert (forced["side"], forced["reason"], step(forced, "force")["result"]) == ("extracted", "forced", "extracted")
    foreign = ask(frozen, "/api/products/7", "X-Fig-Force: extracted", client_ip="10.0.0.1")
    assert (foreign["reason"], step(foreign, "force")["result"]) == ("bucket", "ignored")
    assert "10.0.0.1" in step(foreign, "force")["detail"]
    assert step(ask(frozen), "force")["result"] == "none"


def test_a_seam_without_an_extracted_side_says_so(folder: Path) -> None:
    answer = ask(snapshot(folder), "/pages/x", "X-User-Id: 1")
    assert (answer["side"], answer["reason"], answer["bucket"]) == ("legacy", "stage", None)
    assert "without `extracted`" in step(answer, "stage")["detail"]


def test_what_no_seam_claims_goes_to_default(folder: Path) -> None:
    answer = ask(snapshot(folder), "/elsewhere")
    assert (answer["seam"], answer["route"], answer["reason"]) == ("default", None, "default")
    assert step(answer, "default")["source"].endswith(f":{line_of('default: monolith')}")


def test_a_near_miss_by_method_is_hinted_at(folder: Path) -> None:
    answer = ask(snapshot(folder), "/api/products/7", method="DELETE")
    assert answer["seam"] == "default"
    assert "GET, HEAD" in step(answer, "route")["detail"]


@pytest.mark.parametrize(
    ("target", "method", "reason", "status"),
    [
        ("/elsewhere", "GET", "no_route", "404"),
        ("/api/products/7", "DELETE", "method_not_allowed", "405"),
        ("/api/products/7;x", "GET", "ambiguous_path", "400"),
        ("/api/%zz", "GET", "bad_request", "400"),
        ("*", "OPTIONS", "no_route", "404"),
    ],
)
def test_a_refusal_is_explained(folder: Path, target: str, method: str, reason: str, status: str) -> None:
    text = CONFIG.replace("default: monolith\n", "").replace(
        "    extracted: catalog\n", "    extracted: catalog\n    legacy: monolith\n"
    )
    text = text.replace('  pages:\n    routes: [{path: "/pages/**"}]\n', "")
    answer = ask(snapshot(folder, text=text), target, method=method)
    assert (answer["seam"], answer["side"], answer["reason"]) == (None, None, reason)
    assert answer["steps"][-1]["step"] == "refused"
    assert answer["steps"][-1]["result"] == status


def test_the_readings_of_an_ambiguous_path_are_listed(folder: Path) -> None:
    answer = ask(snapshot(folder), "/api/products/7;x")
    assert step(answer, "path")["result"] == "ambiguous"
    assert "/api/products/7 → catalog" in step(answer, "path")["detail"]


def test_the_client_address_comes_from_trusted_proxies_only(folder: Path) -> None:
    text = CONFIG.replace("server: {", "server: {trusted_proxies: [127.0.0.0/8], ")
    header = "X-Forwarded-For: 10.1.2.3"
    believed = ask(snapshot(folder, text=text), "/api/products/7", header, "X-Fig-Force: extracted")
    assert "10.1.2.3" in step(believed, "force")["detail"]
    distrusted = ask(snapshot(folder), "/api/products/7", header, "X-Fig-Force: extracted")
    assert distrusted["reason"] == "forced"


def test_a_body_that_is_too_long_for_the_route_is_refused(folder: Path) -> None:
    text = CONFIG.replace('{path: "/api/orders/**"}', '{path: "/api/orders/**", max_body_bytes: 10}')
    answer = ask(snapshot(folder, text=text), "/api/orders/1", "Content-Length: 11", method="POST")
    assert answer["reason"] == "body_too_large"
