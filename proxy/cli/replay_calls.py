"""One question to one side, and its whole answer within a time. Knows HTTP by httpx; knows no rule and no other side.

Nothing goes from one call to the next: no cookie, no redirect followed, nothing from the environment. A call that is
not over in time is cancelled, and the connections it had are given up with it: httpx limits each read and not their
sum, and its pool does not survive a cancelled call.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import TracebackType
from typing import Literal

import httpx

from proxy.shadow.answer import Answer
from proxy.wire.headers import Internal, relocate

COPY_BYTES = 1_048_576
"""Of a body; the rest is only hashed."""

Headers = Sequence[tuple[bytes, bytes]]
Failure = Literal["timeout", "unreachable", "broken"]
"""No whole answer in time, no connection, or one that broke off or does not speak HTTP."""

_WITH_USER = re.compile(r"(?:[^:/?#]*:)?/*[^/?#]*@")
_PORTS = {"http": 80, "https": 443}
_KEPT = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=1.0)


@dataclass(frozen=True, slots=True)
class Side:
    """Where a side is asked: `base` is put before each path, `authority` is its own Host."""

    url: httpx.URL
    base: bytes
    internal: Internal

    @classmethod
    def of(cls, text: str) -> Side:
        """Raises ValueError, which does not repeat what may be a password."""
        if _WITH_USER.match(text):
            raise ValueError("a URL with a user or password is refused: leave them out, and use -H 'Authorization: …'")
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL as error:
            raise ValueError(f"it is no URL ({error})") from None
        if url.scheme not in _PORTS or not url.host:
            raise ValueError(f"{text!r} is not like http://127.0.0.1:8000 or https://shop.example/base")
        if url.query or url.fragment or "?" in text or "#" in text:
            raise ValueError(f"{text!r} has a query or a fragment: leave them out")
        return cls(url, url.raw_path.rstrip(b"/"), _internal(url))

    @property
    def authority(self) -> bytes:
        return self.url.netloc

    def public(self, headers: Headers, origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """The header fields of an answer as a client of `origin` (`scheme://host`) would get them from fig."""
        return tuple(relocate(list(headers), self.internal, origin, self._without_base))

    def _without_base(self, target: bytes) -> bytes:
        rest = target.removeprefix(self.base)
        return rest if rest[:1] == b"/" else target


def _internal(url: httpx.URL) -> Internal:
    host, port = url.raw_host, url.port or _PORTS[url.scheme]
    shown = b"[%b]" % host if b":" in host else host
    bare = {shown} if port == _PORTS[url.scheme] else set()
    return Internal(frozenset({b"%b:%d" % (shown, port), *bare}), frozenset({host}))


class Lane:
    """Asks one side, one call at a time, over a connection that is kept for a second."""

    def __init__(self, side: Side, headers: Headers, origin: bytes, trust: ssl.SSLContext | bool, timeout_s: float):
        self._side = side
        self._headers = list(headers)
        self._origin = origin
        self._trust = trust
        self._timeout_s = timeout_s
        self._transport = self._connected()

    def __repr__(self) -> str:
        return f"<Lane to {self._side.url}>"

    async def __aenter__(self) -> Lane:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    async def ask(self, method: str, target: bytes) -> Answer | Failure:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._answer(method, target)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return "unreachable"
        except (TimeoutError, httpx.TimeoutException):
            await self._transport.aclose()
            self._transport = self._connected()
            return "timeout"
        except (httpx.HTTPError, OSError):
            return "broken"

    def _connected(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(verify=self._trust, trust_env=False, limits=_KEPT)

    async def _answer(self, method: str, target: bytes) -> Answer:
        # Not by a client, which would keep cookies; and the path by `target`, because a URL would spell it anew.
        request = httpx.Request(
            method, self._side.url, headers=self._headers, extensions={"target": self._side.base + target}
        )
        response = await self._transport.handle_async_request(request)
        try:
            return await self._whole(response)
        finally:
            await response.aclose()

    async def _whole(self, response: httpx.Response) -> Answer:
        kept, length, digest = bytearray(), 0, sha256()
        async for chunk in response.aiter_raw():
            length += len(chunk)
            digest.update(chunk)
            kept += chunk[: max(0, COPY_BYTES - len(kept))]
        headers = self._side.public(response.headers.raw, self._origin)
        if length <= len(kept):
            return Answer(response.status_code, headers, bytes(kept))
        return Answer(response.status_code, headers, bytes(kept), True, length, digest.digest())
