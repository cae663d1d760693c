from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import StoreError
from proxy.snapshot import Latch, Override, SeamRecord
from tests.support.admin import CONFIG, NOON, AdminPort

NOON_TEXT = "2026-03-01T12:00:00.000Z"
SEAM_MEMBERS = {
    "name",
    "owner",
    "stage",
    "percent",
    "rolled_back",
    "override",
    "yaml",
    "seen",
    "breakers",
    "fallback",
    "retry",
    "comparing",
    "upstreams",
    "version",
}

MEMBERS: dict[str, dict[str, Any]] = {"shift": {"percent": 2}, "breaker": {"state": "open"}}
"""What a change needs to say, by its verb."""


def seam(admin: AdminPort, name: str = "catalog") -> dict[str, Any]:
    document: dict[str, Any] = admin.get(f"/api/seams/{name}").json()
    return document


def actions(admin: AdminPort, query: str = "") -> list[str]:
    return [row["action"] for row in admin.get(f"/api/history{query}").json()]


# --- probes ----------------------------------------------------------------------------------------------------------


def test_health_says_that_the_process_lives(admin: AdminPort) -> None:
    admin.not_ready = "draining"
    assert admin.get("/healthz").json() == {"status": "ok"}


def test_readiness_follows_the_process(admin: AdminPort) -> None:
    assert admin.get("/readyz").json() == {"status": "ready"}
    admin.not_ready = "draining"
    answer = admin.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "draining"


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("/api/seams/catalog/shift", {"percent": 5}),
        ("/api/seams/catalog/rollback", {}),
        ("/api/seams/catalog/resume", {}),
        ("/api/seams/catalog/reset", {}),
        ("/api/seams/catalog/breaker", {"state": "open"}),
        ("/api/reload", {}),
    ],
)
def test_a_process_on_its_way_out_changes_nothing_and_says_where_to_go(
    admin: AdminPort, path: str, members: dict[str, Any]
) -> None:
    admin.refusal = "Ask the next one."
    before = seam(admin)
    answer = admin.post(path, members)
    assert (answer.status_code, answer.json()["reason"]) == (503, "draining")
    assert answer.json()["detail"] == "Ask the next one."
    assert (seam(admin), actions(admin)) == (before, [])


def test_verbose_readiness_names_a_store_that_fails_without_failing_itself(admin: AdminPort) -> None:
    admin.fault.error = StoreError("the disk is full")
    answer = admin.get("/readyz?verbose")
    assert answer.status_code == 200
    checks = {check["name"]: check for check in answer.json()["checks"]}
    assert checks["config"]["ok"] is True
    assert checks["store"] == {"name": "store", "ok": False, "detail": "the disk is full"}


def test_metrics_are_prometheus_text(admin: AdminPort) -> None:
    answer = admin.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'fig_build_info{version="1.2.3"} 1.0' in answer.text


def test_the_version_names_the_configuration_in_force(admin: AdminPort) -> None:
    assert admin.get("/api/version").json() == {"version": "1.2.3", "config": admin.runtime.fingerprint}


# --- reading seams ---------------------------------------------------------------------------------------------------


def test_seams_are_listed_in_file_order(admin: AdminPort) -> None:
    assert [one["name"] for one in admin.get("/api/seams").json()] == ["catalog", "orders", "pages"]


def test_a_seam_has_exactly_the_members_of_the_contract(admin: AdminPort) -> None:
    answer = admin.get("/api/seams/catalog")
    assert answer.headers["etag"] == '"0"'
    document = answer.json()
    assert set(document) == SEAM_MEMBERS
    assert document["owner"] == "team-catalog"
    assert (document["stage"], document["percent"], document["version"]) == ("canary", 25.0, 0)
    assert document["yaml"] == {"stage": "canary", "percent": 25.0}
    assert document["upstreams"] == {"legacy": "monolith", "extracted": "catalog"}
    assert [(breaker["side"], breaker["route"]) for breaker in document["breakers"]] == [("extracted", "")]
    assert document["rolled_back"] is document["override"] is None


def test_a_seam_that_was_never_cut_has_no_extracted_upstream(admin: AdminPort) -> None:
    assert seam(admin, "pages")["upstreams"] == {"legacy": "monolith", "extracted": None}


def test_seen_counts_what_the_meters_saw(admin: AdminPort) -> None:
    for side, count in (("legacy", 3), ("extracted", 1)):
        for _ in range(count):
            admin.metrics.meter("catalog", side).count("GET", 200, 0.01)
    admin.monotonic += 30
    assert seam(admin)["seen"] == {"window_s": 30.0, "requests": 4, "percent": 25.0}


def test_an_unknown_seam_is_404(admin: AdminPort) -> None:
    for method, path in (("GET", "/api/seams/nope"), ("POST", "/api/seams/nope/rollback")):
        answer = admin.call(method, path)
        assert (answer.status_code, answer.json()["reason"]) == (404, "unknown_seam")


@pytest.mark.parametrize("name", ["%2e", "%2e%2e", "a%2Fb", "catalog%00", "%F0%9F%8C%B3"])
def test_a_hostile_name_is_just_unknown(admin: AdminPort, name: str) -> None:
    for path in (f"/api/seams/{name}", f"/api/seams/{name}/resume"):
        answer = admin.call("POST" if path.endswith("resume") else "GET", path)
        assert answer.status_code in (404, 405), answer.text


def test_records_of_seams_that_the_file_no_longer_has_are_listed(tmp_path: Path) -> None:
    records = {
        "gone": SeamRecord(Override("canary", 10.0, NOON, "ana", "x"), Latch(NOON, "bo", "y"), 7),
        "moved": SeamRecord(Override("extracted", 0.0, NOON, "ana", "x"), None, 2),
    }
    admin = AdminPort(tmp_path, records=records)
    gone, moved = admin.get("/api/seams").json()[-2:]
    assert set(gone) == SEAM_MEMBERS | {"orphan"}
    assert (gone["name"], gone["orphan"], gone["stage"], gone["percent"], gone["version"]) == (
        "gone",
        True,
        "legacy",
        0.0,
        7,
    )
    assert (moved["stage"], moved["percent"]) == ("extracted", 100.0)
    assert seam(admin, "gone") == gone
    assert admin.post("/api/seams/gone/resume").status_code == 404
    admin.close()


# --- moving a seam ---------------------------------------------------------------------------------------------------


def test_a_shift_answers_with_the_seam_as_it_is_now(admin: AdminPort) -> None:
    answer = admin.post(
        "/api/seams/catalog/shift", {"percent": 12.5, "reason": "JIRA-1"}, headers={"X-Fig-Actor": "ana"}
    )
    assert answer.status_code == 200
    assert answer.headers["etag"] == '"1"'
    signed = {"at": NOON_TEXT, "by": "ana (unverified)", "reason": "JIRA-1"}
    assert answer.json()["override"] == {"stage": "canary", "percent": 12.5, **signed}
    assert answer.json() == seam(admin)


@pytest.mark.parametrize("percent", [0, 100, 33.33])
def test_a_shift_to_any_share_stays_canary(admin: AdminPort, percent: float) -> None:
    document = admin.post("/api/seams/catalog/shift", {"percent": percent}).json()
    assert (document["stage"], document["percent"]) == ("canary", percent)


@pytest.mark.parametrize(("stage", "percent"), [("legacy", 0), ("shadow", 0), ("extracted", 100), ("retired", 100)])
def test_a_shift_to_a_stage_has_its_share(admin: AdminPort, stage: str, percent: float) -> None:
    document = admin.post("/api/seams/catalog/shift", {"stage": stage}).json()
    assert (document["stage"], document["percent"]) == (stage, percent)
    assert (document["override"]["stage"], document["override"]["percent"]) == (stage, percent)


def test_a_shift_of_a_seam_that_was_never_cut_is_a_conflict(admin: AdminPort) -> None:
    answer = admin.post("/api/seams/pages/shift", {"percent": 5})
    assert (answer.status_code, answer.json()["reason"]) == (409, "conflict")


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"percent": 101},
        {"percent": -1},
        {"percent": 1.234},
        {"percent": "10"},
        {"percent": True},
        {"percent": [10]},
        {"stage": "gone"},
        {"stage": 3},
        {"stage": "extracted", "percent": 10},
        {"percent": 10, "reason": 7},
    ],
)
def test_a_change_that_makes_no_sense_is_422_and_changes_nothing(admin: AdminPort, members: dict[str, Any]) -> None:
    answer = admin.post("/api/seams/catalog/shift", members)
    assert (answer.status_code, answer.json()["reason"]) == (422, "invalid")
    assert seam(admin)["version"] == 0


def test_a_reason_that_is_too_long_is_cut_and_never_stops_a_rollback(admin: AdminPort) -> None:
    answer = admin.post("/api/seams/catalog/rollback", {"reason": "x" * 5000})
    assert answer.status_code == 200
    assert answer.json()["rolled_back"]["reason"] == "x" * 1000


@pytest.mark.parametrize(
    ("verb", "member", "meant"),
    [("shift", "percnt", "percent"), ("rollback", "reson", "reason"), ("resume", "percents", "percent")],
)
def test_an_unknown_member_is_refused_with_what_was_meant(admin: AdminPort, verb: str, member: str, meant: str) -> None:
    answer = admin.post(f"/api/seams/catalog/{verb}", {member: "x"})
    assert answer.status_code == 422
    assert member in answer.json()["detail"]
    assert meant in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"null", b"1", b'{"percent": NaN}', b"\xff", b"[" * 60000])
def test_a_body_that_is_no_json_object_is_422(admin: AdminPort, body: bytes) -> None:
    answer = admin.call("POST", "/api/seams/catalog/shift", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


def test_a_body_beyond_64_kib_is_413(admin: AdminPort) -> None:
    body = json.dumps({"reason": "x" * 70_000}).encode()
    answer = admin.call(
        "POST", "/api/seams/catalog/rollback", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["reason"]) == (413, "body_too_large")
    assert seam(admin)["rolled_back"] is None


def test_a_store_that_fails_leaves_a_shift_undone(admin: AdminPort) -> None:
    admin.fault.error = StoreError("the disk is full")
    answer = admin.post("/api/seams/catalog/shift", {"percent": 50})
    assert (answer.status_code, answer.json()["reason"]) == (503, "store")
    assert "disk is full" in answer.json()["detail"]
    assert seam(admin)["percent"] == 25


# --- rollback and resume ---------------------------------------------------------------------------------------------


def test_a_rollback_is_in_force_and_durable(admin: AdminPort) -> None:
    answer = admin.post("/api/seams/catalog/rollback", {"reason": "errors"}, headers={"X-Fig-Actor": "bo"})
    document = answer.json()
    assert set(document) == SEAM_MEMBERS | {"durable"}
    assert document["durable"] is True
    assert (document["stage"], document["percent"]) == ("legacy", 0)
    assert document["rolled_back"] == {"at": NOON_TEXT, "by": "bo (unverified)", "reason": "errors"}
    assert document["yaml"] == {"stage": "canary", "percent": 25.0}


def test_a_rollback_without_the_store_is_in_force_and_says_that_it_is_not_durable(admin: AdminPort) -> None:
    admin.fault.error = StoreError("the disk is full")
    answer = admin.post("/api/seams/catalog/rollback")
    assert answer.status_code == 200
    assert (answer.json()["durable"], answer.json()["stage"]) == (False, "legacy")
    admin.fault.error = None
    admin.runner.run(admin.runtime.make_durable())
    assert admin.post("/api/seams/catalog/rollback").json()["durable"] is True


def test_a_rolled_back_seam_cannot_be_shifted(admin: AdminPort) -> None:
    admin.post("/api/seams/catalog/rollback")
    answer = admin.post("/api/seams/catalog/shift", {"percent": 50})
    assert answer.status_code == 409
    assert "resume" in answer.json()["detail"]


def test_a_retired_seam_cannot_be_rolled_back(admin: AdminPort) -> None:
    admin.post("/api/seams/catalog/shift", {"stage": "retired"})
    assert admin.post("/api/seams/catalog/rollback").status_code == 409


def test_resume_brings_the_former_share_back(admin: AdminPort) -> None:
    admin.post("/api/seams/catalog/shift", {"percent": 40})
    admin.post("/api/seams/catalog/rollback")
    document = admin.post("/api/seams/catalog/resume", {"reason": "fixed"}).json()
    assert (document["stage"], document["percent"], document["rolled_back"]) == ("canary", 40.0, None)
    assert set(document) == SEAM_MEMBERS


def test_resume_with_a_share_sets_it_in_the_same_write(admin: AdminPort) -> None:
    admin.post("/api/seams/catalog/rollback")
    document = admin.post("/api/seams/catalog/resume", {"percent": 5}).json()
    assert (document["percent"], document["version"]) == (5.0, 2)


def test_resume_of_what_is_not_rolled_back_is_a_conflict(admin: AdminPort) -> None:
    assert admin.post("/api/seams/catalog/resume").status_code == 409


def test_a_rollback_file_forbids_resume_and_is_named(admin: AdminPort) -> None:
    admin.post("/api/seams/catalog/rollback")
    admin.rollback_files.folder.mkdir(parents=True)
    admin.rollback_files.path("catalog").touch()
    answer = admin.post("/api/seams/catalog/resume")
    assert answer.status_code == 409
    assert str(admin.rollback_files.path("catalog")) in answer.json()["detail"]
    admin.rollback_files.path("catalog").unlink()
    assert admin.post("/api/seams/catalog/resume").status_code == 200


def test_reset_lets_the_file_count_again(admin: AdminPort) -> None:
    admin.post("/api/seams/catalog/shift", {"percent": 40})
    document = admin.post("/api/seams/catalog/reset").json()
    assert (document["percent"], document["override"]) == (25.0, None)
    assert admin.post("/api/seams/catalog/reset").status_code == 409


# --- If-Match --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ['"1"', "1", 'W/"1"', "*", '"0", "1"', '"x", 1'])
@pytest.mark.parametrize("verb", ["shift", "rollback", "breaker"])
def test_a_change_for_the_current_version_is_made(admin: AdminPort, tag: str, verb: str) -> None:
    admin.post("/api/seams/catalog/shift", {"percent": 1})
    members = MEMBERS.get(verb, {})
    assert admin.post(f"/api/seams/catalog/{verb}", members, headers={"If-Match": tag}).status_code == 200


@pytest.mark.parametrize("tag", ['"0"', "0", 'W/"2"', '"0", "2"', "nonsense", '""', '"-1"', "", "*, *", '"1'])
@pytest.mark.parametrize("verb", ["shift", "rollback", "resume", "reset", "breaker"])
def test_a_lost_race_is_412_and_changes_nothing(admin: AdminPort, tag: str, verb: str) -> None:
    admin.post("/api/seams/catalog/shift", {"percent": 1})
    members = MEMBERS.get(verb, {})
    answer = admin.post(f"/api/seams/catalog/{verb}", members, headers={"If-Match": tag})
    assert (answer.status_code, answer.json()["reason"]) == (412, "version_mismatch")
    assert seam(admin)["version"] == 1


def test_several_if_match_lines_are_one_list(admin: AdminPort) -> None:
    admin.post("/api/seams/catalog/shift", {"percent": 1})
    lines = [("If-Match", '"0"'), ("If-Match", '"1"')]
    assert admin.post("/api/seams/catalog/rollback", headers=lines).status_code == 200
    assert (
        admin.post("/api/seams/catalog/rollback", headers=[("If-Match", "*"), ("If-Match", '"0"')]).status_code == 412
    )


# --- who -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "recorded"),
    [
        (None, "unknown"),
        (b"", "unknown"),
        ("Zoë".encode(), "Zoë"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"a\x1b[31mred", "a [31mred"),
        (b"x" * 500, "x" * 200),
    ],
)
def test_the_actor_is_recorded_as_claimed_but_printable(admin: AdminPort, sent: bytes | None, recorded: str) -> None:
    headers = {} if sent is None else {"X-Fig-Actor": sent}
    document = admin.post("/api/seams/catalog/rollback", headers=headers).json()
    assert document["rolled_back"]["by"] == f"{recorded} (unverified)"


def test_a_shared_token_does_not_verify_a_name(locked: AdminPort) -> None:
    headers = {"Authorization": b"Bearer s3cret-token", "X-Fig-Actor": b"ana"}
    document = locked.post("/api/seams/catalog/rollback", headers=headers).json()
    assert document["rolled_back"]["by"] == "ana (unverified)"


def test_a_reason_cannot_forge_log_lines(admin: AdminPort) -> None:
    document = admin.post("/api/seams/catalog/rollback", {"reason": "a\nERROR \x1b[2Jb"}).json()
    assert document["rolled_back"]["reason"] == "a ERROR  [2Jb"


# --- history ---------------------------------------------------------------------------------------------------------


def test_history_tells_every_change_newest_first(admin: AdminPort) -> None:
    admin.post("/api/seams/catalog/shift", {"percent": 40, "reason": "more"})
    admin.post("/api/seams/orders/rollback")
    admin.post("/api/seams/catalog/reset")
    rows = admin.get("/api/history").json()
    assert [row["action"] for row in rows] == ["reset", "rollback", "shift"]
    first = rows[-1]
    assert set(first) == {"id", "at", "actor", "action", "seam", "reason", "before", "after"}
    assert (first["at"], first["seam"], first["reason"]) == (NOON_TEXT, "catalog", "more")
    assert first["before"]["percent"] == 25
    assert first["after"]["percent"] == 40
    assert first["after"]["override"]["at"] == NOON_TEXT


def test_history_is_filtered_and_limited(admin: AdminPort) -> None:
    for percent in (1, 2, 3):
        admin.post("/api/seams/catalog/shift", {"percent": percent})
    admin.post("/api/seams/orders/rollback")
    assert actions(admin, "?seam=orders") == ["rollback"]
    assert actions(admin, "?seam=catalog&limit=2") == ["shift", "shift"]
    assert actions(admin, "?seam=nope") == []


@pytest.mark.parametrize("limit", ["0", "-1", "x", "", "10001", "1e3", "²", "9" * 50])
def test_a_limit_that_is_no_number_of_rows_is_400(admin: AdminPort, limit: str) -> None:
    answer = admin.get("/api/history", params={"limit": limit})
    assert (answer.status_code, answer.json()["reason"]) == (400, "bad_request")


def test_history_without_the_store_is_503(admin: AdminPort) -> None:
    admin.fault.error = StoreError("the disk is gone")
    assert admin.get("/api/history").status_code == 503


# --- configuration ---------------------------------------------------------------------------------------------------


def test_the_configuration_is_shown_with_defaults(admin: AdminPort) -> None:
    answer = admin.get("/api/config")
    document = answer.json()
    assert answer.headers["etag"] == f'"{admin.runtime.fingerprint}"'
    assert document["server"]["timeouts"]["keepalive_s"] == 75
    assert document["store"] == "memory:"
    assert document["seams"]["orders"]["stage"] == "legacy"
    assert document["seams"]["orders"]["legacy"] == "monolith"


def test_secrets_are_masked(locked: AdminPort) -> None:
    answer = locked.get("/api/config", headers={"Authorization": b"Bearer s3cret-token"})
    assert answer.json()["admin"]["token"] == "***"
    assert "s3cret" not in answer.text


def test_upstreams_tell_their_endpoints_and_users(admin: AdminPort) -> None:
    monolith, catalog = admin.get("/api/upstreams").json()
    assert monolith["default"] is True
    assert [endpoint["endpoint"] for endpoint in catalog["endpoints"]] == ["127.0.0.1:2"]
    assert catalog["timeouts"]["response_s"] == 3
    assert catalog["seams"] == {"legacy": [], "extracted": ["catalog", "orders"]}


def test_a_reload_takes_the_file_as_it_is_now(admin: AdminPort) -> None:
    admin.edit(lambda text: text.replace("percent: 25", "percent: 30"))
    result = admin.post("/api/reload", {"reason": "more"}).json()
    assert set(result) == {"changed", "fingerprint", "overridden", "absorbed", "needs_restart", "warnings"}
    assert result["changed"] is True
    assert seam(admin)["percent"] == 30
    assert actions(admin) == ["reload"]


def test_a_reload_of_an_equal_file_changes_nothing(admin: AdminPort) -> None:
    admin.edit(lambda text: "# a comment\n" + text)
    answer = admin.post("/api/reload")
    assert (answer.status_code, answer.json()["changed"]) == (200, False)


def test_an_override_that_wins_over_the_file_is_named(admin: AdminPort) -> None:
    admin.post("/api/seams/catalog/shift", {"percent": 40})
    admin.edit(lambda text: text.replace("percent: 25", "percent: 30"))
    assert admin.post("/api/reload").json()["overridden"] == ["catalog"]
    admin.edit(lambda text: text.replace("percent: 30", "percent: 40"))
    assert admin.post("/api/reload").json()["absorbed"] == ["catalog"]
    assert seam(admin)["override"] is None


def test_an_invalid_file_is_422_naming_the_keys_and_the_old_one_stays(admin: AdminPort) -> None:
    admin.edit(lambda text: text.replace("percent: 25", "percnt: 25").replace("owner:", "ovner:"))
    answer = admin.post("/api/reload")
    assert (answer.status_code, answer.json()["reason"]) == (422, "config_invalid")
    assert "percnt" in answer.json()["detail"]
    found = {(problem["file"], problem["line"], problem["severity"]) for problem in answer.json()["problems"]}
    lines = [line.strip().partition(":")[0] for line in CONFIG.splitlines()]
    assert found >= {(str(admin.config), lines.index(key) + 1, "error") for key in ("owner", "percent")}
    assert seam(admin)["percent"] == 25


def test_a_fig_that_was_started_with_flags_says_so_on_reload(admin: AdminPort) -> None:
    admin.config.unlink()
    answer = admin.post("/api/reload")
    assert answer.status_code == 422
    assert "flags" in answer.json()["detail"]


# --- explain ---------------------------------------------------------------------------------------------------------


def test_explain_tells_seam_route_and_side(admin: AdminPort) -> None:
    answer = admin.post(
        "/api/explain",
        {"method": "GET", "path": "/api/products/7", "headers": {"X-User-Id": "42", "Accept": ["a/b", "c/d"]}},
    )
    document = answer.json()
    assert set(document) == {"seam", "route", "side", "upstream", "fallback", "bucket", "reason", "steps"}
    assert (document["seam"], document["route"]) == ("catalog", "/api/products/{id}")
    assert isinstance(document["bucket"], int)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"method": "GET"},
        {"path": "/"},
        {"method": 1, "path": "/"},
        {"method": "GET", "path": "/", "headers": []},
        {"method": "GET", "path": "/", "headers": {"a": 1}},
        {"method": "GET", "path": "/", "headers": {"a": ["b", None]}},
        {"method": "GET", "path": "/", "client_ip": "nobody"},
        {"method": "GET", "path": "/", "client_ip": 7},
        {"method": "GET", "path": "/", "header": {}},
    ],
)
def test_a_question_that_is_no_request_is_422(admin: AdminPort, members: dict[str, Any]) -> None:
    assert admin.post("/api/explain", members).status_code == 422


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"method": "GET", "path": "no-slash"}, "bad_request"),
        ({"method": "GET", "path": "/a b"}, "bad_request"),
        ({"method": "G ET", "path": "/"}, "bad_request"),
        ({"method": "NOPE", "path": "/"}, "bad_request"),
        ({"method": "CONNECT", "path": "/"}, "method_not_allowed"),
        ({"method": "GET", "path": "/", "headers": {"a b": "c"}}, "bad_request"),
        ({"method": "GET", "path": "/", "headers": {"a": "b\r\nHost: evil"}}, "bad_request"),
        ({"method": "GET", "path": "/", "headers": {"Content-Length": "x"}}, "bad_request"),
        ({"method": "GET", "path": "/", "headers": {"Host": ["a", "b"]}}, "bad_request"),
        ({"method": "GET", "path": "/", "headers": {"a": ["b"] * 100}}, "head_too_large"),
        ({"method": "GET", "path": "/api/products/7;x"}, "ambiguous_path"),
    ],
)
def test_a_request_that_the_edge_would_refuse_is_explained_as_refused(
    admin: AdminPort, members: dict[str, Any], reason: str
) -> None:
    answer = admin.post("/api/explain", members)
    assert answer.status_code == 200
    assert (answer.json()["seam"], answer.json()["reason"]) == (None, reason)


# --- everything else -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/seams", "GET, HEAD"),
        ("GET", "/api/reload", "POST"),
        ("DELETE", "/api/seams/catalog", "GET, HEAD"),
        ("GET", "/api/seams/catalog/rollback", "POST"),
        ("GET", "/api/seams/catalog/breaker", "POST"),
        ("PUT", "/healthz", "GET, HEAD"),
        ("OPTIONS", "/api/seams/catalog/shift", "POST"),
    ],
)
def test_a_wrong_method_is_405_with_allow(admin: AdminPort, method: str, path: str, allow: str) -> None:
    answer = admin.call(method, path, headers={"Content-Type": "application/json"}, content=b"")
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert answer.json()["reason"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/seams/nobody/comparisons", "/api/seams/nobody/evidence", "/healthz/", "/api/seams/a/b/c"],
)
def test_what_is_not_there_is_404(admin: AdminPort, path: str) -> None:
    assert admin.get(path).status_code == 404


def test_head_has_no_body(admin: AdminPort) -> None:
    answer = admin.call("HEAD", "/api/seams/catalog")
    assert (answer.status_code, answer.headers["etag"]) == (200, '"0"')


def test_a_bug_is_a_500_that_tells_nothing_of_itself(admin: AdminPort) -> None:
    admin.fault.error = RuntimeError("the password is 1234")
    answer = admin.get("/api/history", raising=False)
    assert (answer.status_code, answer.json()["reason"]) == (500, "internal")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "1234" not in answer.text
    with pytest.raises(RuntimeError):  # and the server hears of it
        admin.get("/api/history")
