"""Which web pages of other origins may ask, and read the answer (Fetch, 3.2 "HTTP-CORS protocol"). Pure.

fig is the authority where a seam has `cors`: a preflight is answered here, and what an upstream says of it is replaced.
Whoever is refused gets no CORS field: it is the browser that refuses, so a request without a preflight is carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.messages import Headers, RequestHead


def preflighted(request: RequestHead) -> str | None:
    """The method that a preflight asks for; None where the request is none. It asks before the request itself, never
    carries a credential, and goes by the route of that method: one that takes GET alone has no OPTIONS of its own."""
    fields = request.fields
    if request.method != "OPTIONS" or b"origin" not in fields:
        return None
    asked = fields.get(b"access-control-request-method")
    return None if asked is None else asked.decode("latin-1")


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """Values as in the configuration; `*` alone is everything, except where `credentials` may go along."""

    origins: frozenset[bytes]
    methods: Sequence[str]
    headers: Sequence[str]
    exposed: Sequence[str]
    credentials: bool
    max_age_s: int

    def admits_upgrade(self, request: RequestHead, authority: bytes) -> bool:
        """Whether a page of this origin may open a WebSocket: no browser asks before that, and none keeps its answers
        from a page, so here it is fig that refuses (RFC 6455 10.2). `authority` is what clients call this server; its
        own pages may, and so may who says no origin, for that is no page."""
        origin = request.fields.get(b"origin")
        if request.upgrade != b"websocket" or origin is None or self._everybody or origin in self.origins:
            return True
        return origin.partition(b"://")[2].lower() == authority.lower()

    def preflight_fields(self, request: RequestHead) -> Headers:
        """Of the answer to a preflight, which is 204. Vary keeps a cache from giving one origin another's answer."""
        lines: Headers = [
            (b"Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]
        asked = request.fields[b"access-control-request-method"].decode("latin-1")
        allowed = self._origin_fields(request)
        if not allowed or not ("*" in self.methods or asked in self.methods):
            return lines
        lines += allowed
        lines.append((b"Access-Control-Allow-Methods", _listed(self.methods)))
        if self.headers:
            lines.append((b"Access-Control-Allow-Headers", _listed(self.headers)))
        lines.append((b"Access-Control-Max-Age", b"%d" % self.max_age_s))
        return lines

    def answer_fields(self, request: RequestHead) -> Headers:
        """Of any other answer, fig's own refusals included: a page should be able to tell a 401 from a network
        error."""
        lines: Headers = [] if self._everybody else [(b"Vary", b"Origin")]
        allowed = self._origin_fields(request)
        if allowed:
            lines += allowed
            if self.exposed:
                lines.append((b"Access-Control-Expose-Headers", _listed(self.exposed)))
        return lines

    @property
    def _everybody(self) -> bool:
        return b"*" in self.origins

    def _origin_fields(self, request: RequestHead) -> Headers:
        """Empty for an origin that may not. `null` is an origin that any sandboxed page can have: it is never
        listed."""
        if self._everybody:  # also who says no origin: a cache may give that answer to a page later
            return [(b"Access-Control-Allow-Origin", b"*")]
        origin = request.fields.get(b"origin")
        if origin is None or origin not in self.origins:
            return []
        lines: Headers = [(b"Access-Control-Allow-Origin", origin)]
        if self.credentials:
            lines.append((b"Access-Control-Allow-Credentials", b"true"))
        return lines


def _listed(names: Sequence[str]) -> bytes:
    return ", ".join(names).encode("ascii")
