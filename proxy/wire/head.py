"""From the parts of a parsed request head to a RequestHead, or a refusal. Pure: no socket, no clock.

llhttp has checked tokens, line ends and lengths; left to its caller are the version, the size, exactly one valid Host,
the form of the target and the transfer coding (RFC 9112 3.2, 6.1, 6.3).
"""

from __future__ import annotations

import re

from proxy.config.model import Limits
from proxy.errors import BadRequest, BodyTooLarge, HeadTooLarge, RefusedMethod, UnknownCoding
from proxy.messages import Headers, RequestHead

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(?::[0-9]{1,5})?")
_TARGET = re.compile(rb"[!-\"$-~]+")  # visible ASCII without `#` (RFC 9112 3.2; a fragment is never sent)
_ABSOLUTE = re.compile(rb"https?://([^/?#@]*)(/[^#]*|\?[^#]*|)", re.IGNORECASE)
_MAX_LENGTH = 2**63 - 1  # what an upstream's signed 64-bit counter can hold
# Two of these never mean one thing (RFC 9112 3.2, 6.3; RFC 9110 11.6.2).
_SINGLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization"))


def read_head(
    method: str, url: bytes, version: str, headers: Headers, limits: Limits, *, fed: int, peer: str, scheme: str
) -> RequestHead:
    """Raises a Rejected that says what is wrong. Values in `headers` have no surrounding white space.

    `fed` is how many bytes were read since the head began: the head has no more, so most need not be measured.
    """
    if version not in ("1.1", "1.0"):
        raise BadRequest("The HTTP version is not 1.0 or 1.1.")
    if len(headers) > limits.max_headers:
        raise HeadTooLarge(f"More than {limits.max_headers} header lines.")
    if fed > limits.max_head_bytes:
        _check_size(url, headers, limits)
    fields = {name.lower(): value for name, value in headers}
    if len(fields) != len(headers):
        fields = _joined(headers)
    if method in ("CONNECT", "TRACE"):
        raise RefusedMethod(f"{method} is not served.")
    target, host = _read_target(method, url, fields.get(b"host"), version)
    length: int | None = 0
    if b"content-length" in fields or b"transfer-encoding" in fields:
        length = _read_length(fields, version, limits.max_body_bytes)
    return RequestHead(method, target, host, headers, fields, length, version == "1.0", peer, scheme)


def _joined(headers: Headers) -> dict[bytes, bytes]:
    """Lines of one name joined (RFC 9110 5.3), those of Cookie as cookies (RFC 6265 5.4)."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        low = name.lower()
        if low not in fields:
            fields[low] = value
        elif low in _SINGLE:
            raise BadRequest(f"More than one {low.decode('ascii')} field.")
        else:
            fields[low] += (b"; " if low == b"cookie" else b", ") + value
    return fields


def _check_size(url: bytes, headers: Headers, limits: Limits) -> None:
    size = len(url) + sum(len(name) + len(value) + 4 for name, value in headers)
    if size > limits.max_head_bytes:
        raise HeadTooLarge(f"The request head is larger than {limits.max_head_bytes} bytes.")


def _read_target(method: str, target: bytes, host: bytes | None, version: str) -> tuple[bytes, bytes]:
    """Origin-form target and lower-case authority. Absolute-form overrides Host (RFC 9112 3.2.2)."""
    if host is None:
        if version == "1.1":
            raise BadRequest("The Host field is missing.")
        host = b"localhost"  # HTTP/1.0 may leave it out
    elif not _HOST.fullmatch(host):
        raise BadRequest("The Host field is not a valid authority.")
    if not _TARGET.fullmatch(target):
        raise BadRequest("The request target has a character that is not allowed.")
    if target[:1] == b"/" or (target == b"*" and method == "OPTIONS"):
        return target, host.lower()
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _HOST.fullmatch(absolute[1]):
        raise BadRequest("The request target is neither origin-form nor an http URL.")
    path = absolute[2]
    return (path if path[:1] == b"/" else b"/" + path), absolute[1].lower()


def _read_length(fields: dict[bytes, bytes], version: str, limit: int | None) -> int | None:
    """Body length in bytes; None for chunked. llhttp has refused Content-Length beside Transfer-Encoding."""
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if version == "1.0":
            raise BadRequest("Transfer-Encoding is not part of HTTP/1.0.")
        if coding.lower() != b"chunked":
            raise UnknownCoding("Only the chunked transfer coding is served.")
        return None
    length = int(fields.get(b"content-length", b"0"))
    if length > _MAX_LENGTH:
        raise BadRequest("The Content-Length is beyond all measure.")
    if limit is not None and length > limit:
        raise BodyTooLarge(f"A request body may have at most {limit} bytes.")
    return length
