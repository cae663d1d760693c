"""The proxy that one would write first: an ASGI application, uvicorn below it, httpx.AsyncClient behind it.

A peer to measure against, not an example to follow. Run as `python -m bench.asgi_proxy PORT LEGACY EXTRACTED`.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import uvicorn

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"))


class AsgiProxy:
    """A tenth of all users, chosen by a hash of x-user-id, goes to `extracted`."""

    def __init__(self, legacy: str, extracted: str) -> None:
        self._legacy, self._extracted = legacy, extracted
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=600)
        self._client = httpx.AsyncClient(limits=limits, timeout=30, trust_env=False, verify=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = dict(scope["headers"])
        has_body = b"content-length" in fields or b"transfer-encoding" in fields
        request = self._client.build_request(
            scope["method"],
            self._upstream(fields) + scope["path"],
            headers=_forwarded(scope["headers"]),
            content=_body(receive) if has_body else None,
        )
        response = await self._client.send(request, stream=True)
        try:
            await _answer(response, send)
        finally:
            await response.aclose()

    def _upstream(self, fields: dict[bytes, bytes]) -> str:
        user = fields.get(b"x-user-id", b"")
        return self._extracted if zlib.crc32(user) % 10000 < 1000 else self._legacy


def _forwarded(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP]


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _answer(response: httpx.Response, send: Send) -> None:
    headers = _forwarded(response.headers.raw)
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    async for chunk in response.aiter_raw():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def main(port: str, legacy: str, extracted: str) -> None:
    uvicorn.run(
        AsgiProxy(f"http://127.0.0.1:{legacy}", f"http://127.0.0.1:{extracted}"),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        ws="none",
        log_level="critical",
        access_log=False,
        backlog=4096,
        timeout_keep_alive=600,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
