"""The house style of the replies: headers, refusals, the error page, trailing-slash twins. Knows no module."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

Endpoint = Callable[[Request], Response] | Callable[[Request], Awaitable[Response]]

FORWARDED = ("forwarded", "via", "x-forwarded-for")

ERROR_PAGE = """<!DOCTYPE html>
<html><head><title>Corner Shop</title></head>
<body><h1>500 Internal Server Error</h1><p>Something went wrong at the Corner Shop. Please try again.</p></body></html>
"""


def reply(fields: Mapping[str, Any]) -> JSONResponse:
    """Nulls are left out."""
    return JSONResponse({name: value for name, value in fields.items() if value is not None})


def refusal(_request: Request, why: Exception) -> Response:
    return JSONResponse({"ok": False, "error": str(why)})


def error_page(_request: Request, _why: Exception) -> Response:
    return HTMLResponse(ERROR_PAGE, status_code=500)


def came_through_a_proxy(request: Request) -> bool:
    """Then it came from outside, and for the outside there is no /internal."""
    return any(name in request.headers for name in FORWARDED)


def twins(path: str, endpoint: Endpoint, *methods: str) -> list[Route]:
    """Both spellings are pages of their own: neither redirects to the other."""
    return [Route(spelling, endpoint, methods=methods or ("GET",)) for spelling in (path, path + "/")]
