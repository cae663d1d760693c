"""The door of the admin port: who may speak to it at all. Knows no endpoint but the three that are free.

without a token   peer, Host and Origin are loopback (a web page that rebinds its name to 127.0.0.1 is none of
                  these), and writes are JSON, which a foreign page cannot send without being asked (CORS)
with a token      /healthz, /readyz and /metrics are free, all else wants `Authorization: Bearer TOKEN`; wrong ones are
                  answered ever more slowly
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.admin.answers import REQUEST_ID, refuse
from proxy.admin.refusals import UnsupportedMediaType
from proxy.admin.slowdown import Slowdown
from proxy.errors import Forbidden, ProxyError, Unauthenticated

FREE_PATHS = frozenset(("/healthz", "/readyz", "/metrics"))

_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?", re.ASCII)
_ORIGIN = re.compile(r"https?://(.+)", re.ASCII)


class Guard:
    """ASGI middleware. `name_request(candidate)` gives a request its id; an empty `token` is no token."""

    def __init__(
        self, app: ASGIApp, token: str, name_request: Callable[[bytes | None], str], slowdown: Slowdown
    ) -> None:
        self._app = app
        self._token = token.encode()
        self._name_request = name_request
        self._slowdown = slowdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        candidate = Headers(scope=scope).get("x-request-id")
        scope[REQUEST_ID] = self._name_request(None if candidate is None else candidate.encode("latin-1"))
        try:
            await self._check(scope)
        except ProxyError as error:
            await refuse(scope, error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if not self._token:
            _check_local(scope, headers)
        elif scope["path"] not in FREE_PATHS:
            await self._check_token(scope, headers)
        if scope["method"] not in _SAFE_METHODS:
            _check_json(headers, required=not self._token)

    async def _check_token(self, scope: Scope, headers: Headers) -> None:
        """Where none is sent nothing was guessed, and nobody waits."""
        given, peer = headers.getlist("authorization"), (scope.get("client") or ("",))[0]
        if _is_right(given, self._token):
            self._slowdown.succeeded(peer)
            return
        if given:
            await self._slowdown.failed(peer)
        raise Unauthenticated("Send `Authorization: Bearer TOKEN` with the value of admin.token.", 'Bearer realm="fig"')


def _check_local(scope: Scope, headers: Headers) -> None:
    cure = "set admin.token to open the admin port to others"
    peer = scope.get("client")
    if peer is None or not is_loopback(peer[0]):
        raise Forbidden(f"The peer is not on this machine; {cure}.")
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not is_loopback_authority(hosts[0]):
        raise Forbidden(f"Host must be localhost or a loopback address; {cure}.")
    for origin in headers.getlist("origin"):
        match = _ORIGIN.fullmatch(origin)
        if match is None or not is_loopback_authority(match[1]):
            raise Forbidden(f"Origin must be absent or a loopback origin; {cure}.")


def _is_right(given: list[str], token: bytes) -> bool:
    scheme, _, credentials = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    right = hmac.compare_digest(credentials.strip(" ").encode("latin-1"), token)
    return right and scheme.lower() == "bearer"


def _check_json(headers: Headers, *, required: bool) -> None:
    """`required`: also a request without a body has to say it."""
    types = headers.getlist("content-type")
    if not types and not required:
        return
    if len(types) != 1 or types[0].partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Send writes with `Content-Type: application/json`.")


def is_loopback_authority(authority: str) -> bool:
    """Whether `HOST[:PORT]` is localhost or a literal loopback address. Names are not resolved."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return False
    host = match[1]
    return host.lower() == "localhost" or is_loopback(host.strip("[]"))


def is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
