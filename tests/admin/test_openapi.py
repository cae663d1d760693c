from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from proxy.admin.openapi import openapi
from proxy.errors import StoreError
from tests.support.admin import AdminPort

DOCUMENT = openapi("1.2.3")
OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]


def checked(admin: AdminPort, method: str, path: str, template: str, **content: Any) -> Any:
    """Call, and hold the answer against what the document says of it."""
    answer = admin.call(method, path, **content)
    described = DOCUMENT["paths"][template][method.lower()]["responses"][str(answer.status_code)]
    media = answer.headers["content-type"]
    schema = described["content"][media]["schema"]
    for header in described.get("headers", {}):
        assert header.lower() in answer.headers
    if media.startswith("text/plain"):
        return answer.text
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(answer.json())
    return answer.json()


def test_the_document_describes_exactly_the_routes_there_are(admin: AdminPort) -> None:
    routes = {(route.path, method.lower()) for route in admin.app.routes for method in route.methods - {"HEAD"}}  # type: ignore[attr-defined]
    assert set(OPERATIONS) == routes


def test_it_is_served_with_the_version(admin: AdminPort) -> None:
    assert checked(admin, "GET", "/openapi.json", "/openapi.json") == DOCUMENT
    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [found for below in value.values() for found in references(below)]
        return [found for below in value for found in references(below)] if isinstance(value, list) else []

    assert {reference.rpartition("/")[2] for reference in references(DOCUMENT)} == set(schemas)


def test_operations_have_names_of_their_own() -> None:
    names = [DOCUMENT["paths"][path][method]["operationId"] for path, method in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "path", [path for path, method in OPERATIONS if method == "get" and path not in ("/api/seams/{name}",)]
)
def test_every_reading_answer_is_as_described(admin: AdminPort, path: str) -> None:
    checked(admin, "POST", "/api/seams/catalog/shift", "/api/seams/{name}/shift", json={"percent": 1})
    checked(admin, "GET", path, path)


def test_every_change_answers_as_described(admin: AdminPort) -> None:
    template = "/api/seams/{name}/"
    for verb, members in (
        ("shift", {"percent": 1, "reason": "x"}),
        ("rollback", {}),
        ("resume", {"percent": 3}),
        ("reset", {}),
        ("reset", {}),
        ("breaker", {"state": "open", "reason": "x"}),
        ("breaker", {"state": "auto", "side": "extracted", "route": ""}),
        ("breaker", {"state": "close", "side": "legacy"}),
        ("shift", {"percent": 101}),
    ):
        body = DOCUMENT["paths"][template + verb]["post"]["requestBody"]["content"]["application/json"]["schema"]
        if members.get("percent") != 101:
            Draft202012Validator({**body, "components": DOCUMENT["components"]}).validate(members)
        checked(admin, "POST", f"/api/seams/catalog/{verb}", template + verb, json=members)
        checked(admin, "GET", "/api/seams/catalog", "/api/seams/{name}")


def test_refusals_are_as_described(admin: AdminPort, locked: AdminPort) -> None:
    checked(locked, "GET", "/api/seams", "/api/seams")
    checked(admin, "GET", "/api/seams", "/api/seams", host="evil.example")
    checked(admin, "GET", "/api/seams/nope", "/api/seams/{name}")
    checked(admin, "GET", "/api/history?limit=x", "/api/history")
    checked(admin, "POST", "/api/reload", "/api/reload", content=b"{}", headers={"Content-Type": "text/plain"})
    checked(admin, "POST", "/api/explain", "/api/explain", json={"method": "GET"})
    headers = {"Content-Type": "application/json"}
    checked(admin, "POST", "/api/reload", "/api/reload", content=b" " * 70_000, headers=headers)
    admin.not_ready = "draining"
    checked(admin, "GET", "/readyz", "/readyz")
    admin.edit(lambda text: text.replace("percent: 25", "percnt: 25"))
    checked(admin, "POST", "/api/reload", "/api/reload")
    admin.fault.error = StoreError("full")
    checked(admin, "GET", "/api/history", "/api/history")
    checked(admin, "GET", "/readyz?verbose", "/readyz")


def test_an_explanation_is_as_described(admin: AdminPort) -> None:
    for path in ("/api/products/7", "/", "/api/products/7;x"):
        checked(
            admin, "POST", "/api/explain", "/api/explain", json={"method": "GET", "path": path, "headers": {"a": "b"}}
        )
