"""The OpenAPI 3.1 document of the admin port. Describes it, and is checked against it by the tests."""

from __future__ import annotations

from typing import Any, get_args

from proxy.routing.resilience import Side
from proxy.snapshot import STAGES
from proxy.state.store import Action
from proxy.upstreams.breaker import Forced, State

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_MOMENT: Schema = {"type": "string", "format": "date-time", "description": "RFC 3339, UTC"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_MAYBE_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_SIDE: Schema = {"type": ["string", "null"], "enum": ["legacy", "extracted", None]}
_STAGE: Schema = {"type": "string", "enum": list(STAGES)}
_PERCENT: Schema = {"type": "number", "minimum": 0, "maximum": 100, "description": "Share of the extracted side"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}


def openapi(version: str) -> Schema:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Strangler Fig admin API",
            "version": version,
            "description": "Moves seams, explains decisions and shows what is in force.",
        },
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "admin.token"}},
        },
        "security": [{"token": []}, {}],
    }


# --- paths -----------------------------------------------------------------------------------------------------------


def _paths() -> Schema:
    return {
        "/healthz": {"get": _read("Whether the process lives", _ref("Health"), "healthz", free=True)},
        "/readyz": {
            "get": _read("Whether it takes traffic", _ref("Ready"), "readyz", 503, parameters=[_VERBOSE], free=True)
        },
        "/metrics": {"get": _metrics()},
        "/openapi.json": {"get": _read("This document", {"type": "object"}, "openapi")},
        "/.well-known/jwks.json": {"get": _keys()},
        "/api/version": {"get": _read("Version and configuration in force", _ref("Version"), "version")},
        "/api/seams": {"get": _read("Every seam", _list("Seam"), "listSeams")},
        "/api/seams/{name}": {
            "get": _read("One seam", _ref("Seam"), "showSeam", 404, parameters=[_NAME], etag=True),
        },
        **{f"/api/seams/{{name}}/{verb}": {"post": _change(verb)} for verb in _CHANGES},
        "/api/seams/{name}/comparisons": {
            "get": _read(
                "How the two sides' answers differ", _ref("Comparisons"), "comparisons", 404, 503, parameters=[_NAME]
            )
        },
        "/api/seams/{name}/evidence": {
            "get": _read(
                "Whether that is enough to move on", _ref("Evidence"), "evidence", 404, 503, parameters=[_NAME]
            )
        },
        "/api/history": {
            "get": _read("Changes, newest first", _list("HistoryRow"), "history", 400, 503, parameters=_HISTORY)
        },
        "/api/upstreams": {"get": _read("Upstreams and their connections", _list("Upstream"), "listUpstreams")},
        "/api/config": {
            "get": _read("Effective configuration, secrets masked", {"type": "object"}, "config", etag=True)
        },
        "/api/reload": {
            "post": _write("Read the configuration anew", "ReloadBody", "Reloaded", "reload", 422, problem="Invalid")
        },
        "/api/explain": {"post": _write("Why a request goes where it goes", "Question", "Explanation", "explain", 422)},
    }


_VERBOSE: Schema = {"name": "verbose", "in": "query", "required": False, "schema": _TEXT, "allowEmptyValue": True}
_NAME: Schema = {"name": "name", "in": "path", "required": True, "schema": _TEXT}
_HISTORY: list[Schema] = [
    {"name": "seam", "in": "query", "required": False, "schema": _TEXT},
    {
        "name": "limit",
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "minimum": 1, "maximum": 10000, "default": 200},
    },
]
_IF_MATCH: Schema = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": _TEXT,
    "description": "The version that the change is meant for; another one answers 412",
}
_ACTOR: Schema = {
    "name": "X-Fig-Actor",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 200},
    "description": "Who writes; the audit trail marks it as unverified",
}
_ETAG: Schema = {"ETag": {"schema": _TEXT, "description": "The version"}}
_CHANGES = {
    "shift": ("Set share or stage", "ShiftBody", "Seam"),
    "rollback": ("Back to legacy at once, until resume", "RollbackBody", "RolledBack"),
    "resume": ("Lift a rollback", "ResumeBody", "Seam"),
    "reset": ("Forget the override: the file counts again", "ResetBody", "Seam"),
    "breaker": ("Hold breakers open or closed, or let go of them; in this process only", "BreakerBody", "Seam"),
}


def _read(
    summary: str,
    schema: Schema,
    operation: str,
    *statuses: int,
    parameters: list[Schema] | None = None,
    etag: bool = False,
    free: bool = False,
) -> Schema:
    ok: Schema = {"description": "OK", "content": {"application/json": {"schema": schema}}}
    found = {
        "summary": summary,
        "operationId": operation,
        "parameters": parameters or [],
        "responses": {"200": {**ok, "headers": _ETAG} if etag else ok, **_problems(*statuses)},
    }
    return {**found, "security": [{}]} if free else found


def _keys() -> Schema:
    """RFC 7517 8.5.2."""
    found = _read("Public keys of identity tokens", {"type": "object", "required": ["keys"]}, "keys")
    content = found["responses"]["200"]["content"]
    content["application/jwk-set+json"] = content.pop("application/json")
    return found


def _metrics() -> Schema:
    text = {"description": "OK", "content": {"text/plain; version=0.0.4; charset=utf-8": {"schema": _TEXT}}}
    return {
        "summary": "Prometheus metrics",
        "operationId": "metrics",
        "parameters": [],
        "responses": {"200": text, **_problems()},
        "security": [{}],
    }


def _change(verb: str) -> Schema:
    summary, body, result = _CHANGES[verb]
    found = _write(summary, body, result, verb, 404, 409, 412, 422, 503)
    found["parameters"] = [_NAME, _IF_MATCH, _ACTOR]
    found["responses"]["200"]["headers"] = _ETAG
    return found


def _write(summary: str, body: str, result: str, operation: str, *statuses: int, problem: str = "Problem") -> Schema:
    responses: Schema = {"200": {"description": "Done", "content": {"application/json": {"schema": _ref(result)}}}}
    responses |= _problems(413, 415, *statuses)
    if problem != "Problem":
        responses["422"] = _problem(problem)
    return {
        "summary": summary,
        "operationId": operation,
        "parameters": [_ACTOR],
        "requestBody": {"required": False, "content": {"application/json": {"schema": _ref(body)}}},
        "responses": responses,
    }


def _problems(*statuses: int) -> Schema:
    return {str(status): _problem("Problem") for status in (401, 403, 429, *statuses)}


def _problem(name: str) -> Schema:
    return {"description": "Problem (RFC 9457)", "content": {"application/problem+json": {"schema": _ref(name)}}}


# --- schemas ---------------------------------------------------------------------------------------------------------


def _schemas() -> Schema:
    return {
        **_problem_schemas(),
        **_seam_schemas(),
        **_body_schemas(),
        **_explain_schemas(),
        **_process_schemas(),
        "HistoryRow": _object(
            id=_COUNT,
            at=_MOMENT,
            actor=_TEXT,
            action={"type": "string", "enum": list(get_args(Action))},
            seam=_TEXT,
            reason=_TEXT,
            before={"type": "object"},
            after={"type": "object"},
        ),
        **_upstream_schemas(),
        **_comparison_schemas(),
        **_evidence_schemas(),
    }


def _problem_schemas() -> Schema:
    members = {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "reason": _TEXT,
        "request_id": _TEXT,
    }
    finding = _object(
        file=_TEXT,
        line=_COUNT,
        column=_COUNT,
        code=_TEXT,
        message=_TEXT,
        severity={"type": "string", "enum": ["error", "warning"]},
    )
    return {
        "Problem": _object(**members),
        "Invalid": _object(["problems"], **members, problems={"type": "array", "items": finding}),
    }


def _seam_schemas() -> Schema:
    signature = {"at": _MOMENT, "by": _TEXT, "reason": _TEXT}
    place = {"stage": _STAGE, "percent": _PERCENT}
    members = {
        "name": _TEXT,
        "owner": _MAYBE_TEXT,
        **place,
        "rolled_back": _nullable(_object(**signature)),
        "override": _nullable(_object(**place, **signature)),
        "yaml": _nullable(_object(**place)),
        "seen": _object(window_s={"type": "number"}, requests=_COUNT, percent={"type": ["number", "null"]}),
        "breakers": {"type": "array", "items": _breaker_schema()},
        "fallback": _nullable(_fallback_schema()),
        "retry": {"type": ["object", "null"], "description": "The seam's block"},
        "comparing": {"type": "boolean", "description": "Whether answers of both sides are compared at this stage"},
        "upstreams": _object(legacy=_MAYBE_TEXT, extracted=_MAYBE_TEXT),
        "version": _COUNT,
    }
    orphan = {"type": "boolean", "description": "Only where the configuration has no such seam"}
    durable = {"type": "boolean", "description": "Whether the store has it; if not, it will within 5 s of its return"}
    return {
        "Seam": _object(["orphan"], **members, orphan=orphan),
        "RolledBack": _object(**members, durable=durable),
    }


def _breaker_schema() -> Schema:
    return _object(
        side={"type": "string", "enum": list(get_args(Side))},
        route={"type": "string", "description": "Of the route with a breaker of its own; empty for the seam's"},
        state={"type": "string", "enum": list(get_args(State))},
        failures=_COUNT,
        requests=_COUNT,
        open_until=_nullable(_MOMENT),
        forced={"enum": [*get_args(Forced), None], "description": "As an operator holds it"},
    )


def _fallback_schema() -> Schema:
    return _object(
        to={"type": "string", "enum": ["legacy", "static", "none"]},
        static=_nullable(_object(status=_COUNT, content_type=_TEXT)),
        status={"type": "array", "items": {"type": "integer"}},
        max_in_flight=_COUNT,
        in_flight=_COUNT,
    )


def _upstream_schemas() -> Schema:
    endpoint = _object(
        endpoint=_TEXT,
        address=_TEXT,
        available={
            "type": "boolean",
            "description": "Whether it may be asked: a legacy upstream without any is anyway",
        },
        probed={"type": ["boolean", "null"], "description": "What active probes say; null while they have not"},
        ejected_for_s=_SECONDS,
        consecutive_errors=_COUNT,
        in_use=_COUNT,
        idle=_COUNT,
    )
    bulkhead = _object(
        max_in_flight=_MAYBE_COUNT,
        max_queue=_MAYBE_COUNT,
        queue_s=_SECONDS,
        in_flight=_COUNT,
        queued=_COUNT,
        rejected=_COUNT,
    )
    retries = _object(
        budget_tokens={"type": "number", "minimum": 0, "maximum": 3},
        attempts=_COUNT,
        refused=_COUNT,
        stale_connection=_COUNT,
        success=_COUNT,
        failure=_COUNT,
    )
    health = _object(path=_TEXT, interval_s=_SECONDS, timeout_s=_SECONDS, unhealthy_after=_COUNT, healthy_after=_COUNT)
    discovery = _object(
        source=_TEXT,
        age_s={"type": ["number", "null"], "description": "Since the last good answer; null before the first"},
        vacant={"type": "boolean", "description": "The answer was that nobody is there"},
        failures=_COUNT,
        failing={"type": ["string", "null"], "description": "Why the last question was not answered"},
    )
    return {
        "Upstream": _object(
            name=_TEXT,
            endpoints={"type": "array", "items": endpoint},
            host=_TEXT,
            timeouts={"type": "object", "additionalProperties": {"type": "number"}},
            in_flight=_COUNT,
            bulkhead=bulkhead,
            retries=retries,
            health=_nullable(health),
            discovery=_nullable(discovery),
            seams=_object(legacy=_TEXTS, extracted=_TEXTS),
            default=_FLAG,
        ),
    }


_PLACE: Schema = {
    "endpoint": {"type": "string", "description": "METHOD and route"},
    "path": {"type": "string", "description": "body:$.a[*].b, header:name or status"},
}


def _epoch() -> Schema:
    return {
        "seam": _TEXT,
        "epoch": {"type": ["string", "null"], "description": "Of rules and versions; another one counts anew"},
        "since": _nullable(_MOMENT),
        "versions": _object(legacy=_TEXT, extracted=_TEXT),
        "uncounted": {"type": "object", "additionalProperties": _COUNT, "description": "No evidence, by class"},
        "flaky": {**_COUNT, "description": "Mismatches that a second question did not reproduce"},
        "repeated": {**_COUNT, "description": "Beyond five of the same request in an hour"},
    }


def _comparison_schemas() -> Schema:
    severity = {"type": "string", "enum": ["blocking", "mismatch", "note", "uncounted"]}
    value = _nullable(_object(["value"], type=_TEXT, format=_TEXT, length=_COUNT, hash=_TEXT, value=_TEXT))
    side = _object(
        status={"type": ["integer", "null"]}, content_type=_MAYBE_TEXT, length=_MAYBE_COUNT, body=_MAYBE_TEXT
    )
    found = {"path": _TEXT, "class": _TEXT, "severity": severity, "legacy": value, "extracted": value}
    exemplar = _object(
        at=_MOMENT,
        request_id=_TEXT,
        request=_object(method=_TEXT, target=_TEXT, headers={"type": "array", "items": _TEXTS}),
        served={"type": "string", "enum": list(get_args(Side))},
        legacy=side,
        extracted=side,
        differences={"type": "array", "items": _object(**found)},
    )
    difference = _object(
        **_PLACE,
        **{"class": _TEXT},
        severity=severity,
        count={**_COUNT, "description": "Requests"},
        first=_MOMENT,
        last=_MOMENT,
        exemplars={"type": "array", "items": exemplar},
    )
    noise = _object(
        **_PLACE,
        standing={"type": "string", "enum": ["noisy", "volatile"]},
        differed=_COUNT,
        of=_COUNT,
        formats=_TEXTS,
        rule={"type": ["object", "null"], "description": "What to write under `compare` to accept it"},
    )
    recent = _object(
        at=_MOMENT,
        request_id=_TEXT,
        endpoint=_TEXT,
        verdict={"type": "string", "enum": ["match", "mismatch"]},
        counts=_FLAG,
        **{"class": _TEXT},
        paths=_TEXTS,
    )
    return {
        "Comparisons": _object(
            **_epoch(),
            totals=_object(match=_COUNT, mismatch=_COUNT, uncounted=_COUNT),
            differences={"type": "array", "items": difference},
            noise={"type": "array", "items": noise},
            recent={"type": "array", "items": recent},
        ),
    }


def _evidence_schemas() -> Schema:
    return {
        "Evidence": _object(
            **_epoch(),
            verdict={"type": "string", "enum": ["READY", "HOLD", "REGRESSED"]},
            reason={"type": ["string", "null"], "description": "Of the first note; null where READY"},
            notes={"type": "array", "items": _object(reason=_TEXT, text=_TEXT)},
            percent={"type": "number", "minimum": 0, "maximum": 100},
            meter={"type": "string", "description": "One line for people"},
            samples=_COUNT,
            strata={"type": "array", "items": {"type": "object"}},
            unseen=_TEXTS,
            waived={"type": "array", "items": _object(what=_TEXT, name=_TEXT, reason=_TEXT)},
            policy={"type": "object"},
        ),
    }


def _body_schemas() -> Schema:
    reason = {"type": "string", "maxLength": 1000}
    names = ["reason", "percent", "stage"]
    return {
        "ShiftBody": _object(names, percent=_PERCENT, stage=_STAGE, reason=reason),
        "RollbackBody": _object(names, reason=reason),
        "ResumeBody": _object(names, percent=_PERCENT, reason=reason),
        "ResetBody": _object(names, reason=reason),
        "BreakerBody": _object(
            ["side", "route", "reason"],
            state={"type": "string", "enum": ["open", "close", "auto"]},
            side={"type": "string", "enum": list(get_args(Side)), "default": "extracted"},
            route={"type": "string", "description": "Empty for the seam's own breaker; without it all of the side"},
            reason=reason,
        ),
        "ReloadBody": _object(names, reason=reason),
    }


def _explain_schemas() -> Schema:
    values = {"anyOf": [_TEXT, _TEXTS]}
    step = _object(step=_TEXT, result=_TEXT, detail=_TEXT, source=_TEXT)
    return {
        "Question": _object(
            ["headers", "client_ip"],
            method=_TEXT,
            path=_TEXT,
            headers={"type": "object", "additionalProperties": values},
            client_ip=_TEXT,
        ),
        "Explanation": _object(
            seam=_MAYBE_TEXT,
            route=_MAYBE_TEXT,
            side=_SIDE,
            upstream=_MAYBE_TEXT,
            fallback=_MAYBE_TEXT,
            bucket={"type": ["integer", "null"], "minimum": 0, "maximum": 9999},
            reason={"type": "string", "description": "Of the decision, or the cause of a refusal"},
            steps={"type": "array", "items": step},
        ),
    }


def _process_schemas() -> Schema:
    check = _object(name=_TEXT, ok=_FLAG, detail=_TEXT)
    return {
        "Health": _object(status={"const": "ok"}),
        "Ready": _object(["checks"], status={"const": "ready"}, checks={"type": "array", "items": check}),
        "Version": _object(version=_TEXT, config={"type": "string", "description": "Fingerprint"}),
        "Reloaded": _object(
            changed=_FLAG,
            fingerprint=_TEXT,
            overridden=_TEXTS,
            absorbed=_TEXTS,
            needs_restart=_TEXTS,
            warnings=_TEXTS,
        ),
    }


def _object(optional: list[str] | None = None, /, **properties: Schema) -> Schema:
    required = [name for name in properties if name not in (optional or [])]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}
