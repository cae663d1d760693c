"""Whether a client's request may be asked of the other side, and how it is asked."""

from __future__ import annotations

from typing import Final

from proxy.exchange import Exchange
from proxy.messages import Headers, RequestHead
from proxy.routing.shadowing import ShadowRule
from proxy.shadow.answer import CONDITIONS
from proxy.wire.headers import connection_tokens

_OVERRIDES: Final = (b"x-http-method-override", b"x-http-method", b"x-method-override")
_NOT_SENT: Final = frozenset((b"expect", b"te", b"upgrade"))


def unfit(rule: ShadowRule, request: RequestHead, path: bytes) -> str | None:
    """Why a request is not asked of the other side, as far as its head tells."""
    fields = request.fields
    if b"x-fig-shadow" in fields:
        return "marked"  # a mirror of a mirror
    method = request.method
    if not rule.takes(method, path):
        return "method"
    if any(fields.get(name, b"").upper() not in (b"", method.encode("ascii")) for name in _OVERRIDES):
        return "method"  # many frameworks obey it: the request may write, whatever it is called
    if b"range" in fields:
        return "range"
    if not CONDITIONS.isdisjoint(fields):
        return "conditional"
    return "upgrade" if request.upgrade else None


def scheme_of(exchange: Exchange) -> str:
    """Empty where the client may have spoken TLS to somebody in front whom fig was not told to trust."""
    told = exchange.peer_trusted and b"x-forwarded-proto" in exchange.request.fields
    return exchange.scheme if told or exchange.request.scheme == "https" else ""


def shadow_requests(request: RequestHead, rule: ShadowRule, length: int) -> tuple[RequestHead, RequestHead]:
    """The same request as the candidate gets it, with the credentials that it is to have, and as the control gets it
    again, with the client's own."""
    again = _framed(request, request.headers, _without(request.fields, _NOT_SENT), length)
    if rule.replaced is None:
        return again, again
    # The client's Connection names the client's own lines, not those that stand in their place.
    named = connection_tokens(request.fields.get(b"connection", b""))
    dropped = frozenset(name for name in request.fields if rule.drops(name)) | named | {b"connection"}
    headers = [line for line in request.headers if line[0].lower() not in dropped]
    fields = _without(request.fields, _NOT_SENT | dropped)
    return _framed(request, [*headers, *rule.replaced], fields, length), again


def _without(fields: dict[bytes, bytes], names: frozenset[bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in fields.items() if name not in names}


def _framed(request: RequestHead, headers: Headers, fields: dict[bytes, bytes], length: int) -> RequestHead:
    if length and b"content-length" not in fields:
        fields = {**fields, b"content-length": b"%d" % length}
    return RequestHead(
        request.method,
        request.target,
        request.host,
        headers,
        fields,
        length,
        request.http10,
        request.peer,
        request.scheme,
    )
