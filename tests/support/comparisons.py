"""What the admin port says of a shadowed seam, and a port that says it."""

from __future__ import annotations

import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Json = dict[str, Any]

HOSTILE = "\x1b]0;pwned\x07\x1b[2J\u202e[red]x[/red]<b>\r"
"""Moves a cursor, turns the direction of text, and is markup."""


def value(**members: Any) -> Json:
    return {"type": "string", "format": "decimal", "length": 4, "hash": "1a2b3c4d", **members}


def side(**members: Any) -> Json:
    return {"status": 200, "content_type": "application/json", "length": 311, "body": None, **members}


def exemplar(**members: Any) -> Json:
    difference = {
        "path": "body:$.price", "class": "value", "severity": "mismatch",
        "legacy": value(), "extracted": value(hash="9f8e7d6c"),
    }  # fmt: skip
    return {
        "at": "2026-03-01T12:00:00Z", "request_id": "r-1",
        "request": {"method": "GET", "target": "/api/products/7", "headers": [["accept", "*/*"]]},
        "served": "legacy", "legacy": side(), "extracted": side(length=312), "differences": [difference], **members,
    }  # fmt: skip


def difference(**members: Any) -> Json:
    return {
        "endpoint": "GET /api/products/{id}", "path": "body:$.price", "class": "value", "severity": "mismatch",
        "count": 12, "first": "2026-03-01T11:00:00Z", "last": "2026-03-01T12:00:00Z", "exemplars": [exemplar()],
        **members,
    }  # fmt: skip


def noise(**members: Any) -> Json:
    return {
        "endpoint": "GET /api/products/{id}", "path": "body:$.served_at", "standing": "volatile",
        "differed": 5, "of": 40, "formats": ["datetime"], "rule": {"ignore": ["$.served_at"]}, **members,
    }  # fmt: skip


def comparisons(**members: Any) -> Json:
    return {
        "seam": "catalog", "epoch": "3f2a9c64", "since": "2026-03-01T10:00:00Z",
        "versions": {"legacy": "2026.1", "extracted": "41"},
        "totals": {"match": 1000, "mismatch": 12, "uncounted": 30},
        "uncounted": {"conditional": 10, "shadow_timeout": 20}, "flaky": 3, "repeated": 0,
        "differences": [difference()], "noise": [noise()], "recent": [], **members,
    }  # fmt: skip


def nothing(seam: str = "catalog") -> Json:
    return {
        "seam": seam, "epoch": None, "since": None, "versions": {}, "uncounted": {}, "flaky": 0, "repeated": 0,
        "totals": {"match": 0, "mismatch": 0, "uncounted": 0}, "differences": [], "noise": [], "recent": [],
    }  # fmt: skip


def hostile() -> Json:
    """Each text that a service or a client has a hand in."""
    both = {
        "legacy": side(content_type=HOSTILE, body=f'{{"a":"{HOSTILE}"}}'),
        "extracted": side(body=f"{HOSTILE}\n[bold]"),
    }
    shown = {
        "path": HOSTILE, "class": "value", "severity": "mismatch",
        "legacy": value(format=HOSTILE, value=HOSTILE), "extracted": value(type=HOSTILE, hash=HOSTILE),
    }  # fmt: skip
    asked = {"method": "GET", "target": HOSTILE, "headers": [[HOSTILE, HOSTILE]]}
    one = exemplar(request=asked, request_id=HOSTILE, differences=[shown], **both)
    return comparisons(
        versions={"legacy": HOSTILE, "extracted": HOSTILE},
        uncounted={HOSTILE: 1},
        differences=[difference(endpoint=HOSTILE, path=HOSTILE, exemplars=[one])],
        noise=[noise(endpoint=HOSTILE, path=HOSTILE, formats=[HOSTILE], rule={"ignore": [HOSTILE], HOSTILE: HOSTILE})],
    )


class ShadowPort:
    """An admin port that has two documents of `catalog` and 404 for any other seam."""

    def __init__(self, comparisons: Json, evidence: Json | None = None) -> None:
        self.documents = {"comparisons": comparisons, "evidence": evidence}
        self.app = Starlette(routes=[Route("/api/seams/{name}/{what}", self._answer)])

    async def _answer(self, request: Request) -> Response:
        name, what = request.path_params["name"], request.path_params["what"]
        if name != "catalog":
            problem = json.dumps({"title": "Not Found", "status": 404, "detail": f"There is no seam {name}"})
            return Response(problem, 404, media_type="application/problem+json")
        return JSONResponse(self.documents[what])
