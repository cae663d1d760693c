"""How the admin port answers: JSON documents, plain text, and problems (RFC 9457). Knows no endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Scope

from proxy.admin.refusals import TooManyFailures
from proxy.errors import MethodNotAllowed, ProxyError

REQUEST_ID = "fig.request_id"
"""Key of the ASGI scope under which the guard leaves the id of a request."""


def reply(scope: Scope, document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return _answer(scope, orjson.dumps(document), "application/json", status, headers)


def reply_text(scope: Scope, text: bytes, media_type: str) -> Response:
    return _answer(scope, text, media_type, 200, None)


def refuse(scope: Scope, error: ProxyError) -> Response:
    text = orjson.dumps(error.problem(scope.get(REQUEST_ID, "")))
    return _answer(scope, text, "application/problem+json", error.status, _extra(error))


def _extra(error: ProxyError) -> Mapping[str, str]:
    if isinstance(error, MethodNotAllowed):
        return {"Allow": ", ".join(error.allow)}
    if isinstance(error, TooManyFailures):
        return {"Retry-After": str(error.retry_after_s)}
    return {name.decode("ascii"): value.decode("ascii") for name, value in error.lines}


def _answer(scope: Scope, body: bytes, media_type: str, status: int, headers: Mapping[str, str] | None) -> Response:
    fixed = {
        "Cache-Control": "no-store",
        "Content-Type": media_type,  # as a header, for Starlette would add a charset to text
        "X-Content-Type-Options": "nosniff",
        "X-Request-ID": scope.get(REQUEST_ID, ""),
    }
    return Response(body, status, {**fixed, **(headers or {})})
