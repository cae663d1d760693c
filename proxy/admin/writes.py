"""What a write says: its JSON members, its author, the version that it expects. Knows no seam and changes nothing."""

from __future__ import annotations

import re
import reprlib
from typing import Any, TypeVar

import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from proxy.config.finding import did_you_mean
from proxy.errors import BodyTooLarge, ClientGone, InvalidChange, VersionMismatch
from proxy.runtime import Author

T = TypeVar("T")

MAX_BODY_BYTES = 64 * 1024
MAX_REASON_CHARACTERS = 1000
MAX_ACTOR_CHARACTERS = 200

_TAG = re.compile(r'(?:W/)?"(\d{1,18})"|(\d{1,18})', re.ASCII)


async def read_members(request: Request, *known: str) -> dict[str, Any]:
    """The members of the JSON object in the body, {} for no body. `known` are the names it may have.

    Raises BodyTooLarge, InvalidChange.
    """
    body = await _read_body(request)
    try:
        members = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise InvalidChange(f"The body is not JSON: {error}.") from None
    if not isinstance(members, dict):
        raise InvalidChange(f"The body must be a JSON object, not {type(members).__name__}.")
    for name in members:
        if name not in known:
            cure = did_you_mean(name, known) or f"; it takes {', '.join(known)}"
            raise InvalidChange(f"Unknown member {name[:100]!r}{cure}.")
    return members


def one_of(value: object, name: str, legal: tuple[T, ...]) -> T:
    """The member `name`, if its value is legal. Raises InvalidChange, which names what would be."""
    for known in legal:
        if value == known:
            return known
    raise InvalidChange(f"{name} must be one of {', '.join(map(str, legal))}, not {reprlib.repr(value)}.")


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise BodyTooLarge(f"A body may have at most {MAX_BODY_BYTES} bytes here.")
    except ClientDisconnect:
        raise ClientGone from None
    return bytes(body)


def author(headers: Headers, members: dict[str, Any], at: float) -> Author:
    """Who writes, by X-Fig-Actor, and why. Whoever has the token, or this machine, can claim any name: hence the mark.

    Control characters become spaces: names and reasons stand in logs and on terminals. What is too long is cut: an
    emergency rollback must not fail for its reason's length.
    """
    reason = members.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise InvalidChange(f"reason must be a string, not {reprlib.repr(reason)}.")
    claimed = headers.get("x-fig-actor", "").encode("latin-1").decode("utf-8", "replace")
    name = _printable(claimed)[:MAX_ACTOR_CHARACTERS] or "unknown"
    return Author(at, f"{name} (unverified)", _printable(reason or "")[:MAX_REASON_CHARACTERS])


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


def expected_version(headers: Headers, current: int) -> int | None:
    """The version that If-Match names; None without one, or for `*`.

    `3`, `"3"` and `W/"3"` mean the same. Of several the current one counts (RFC 9110 13.1.1). Raises VersionMismatch
    where none is a version.
    """
    tags = [tag.strip() for line in headers.getlist("if-match") for tag in line.split(",")]
    if not tags or tags == ["*"]:
        return None
    found = [_TAG.fullmatch(tag) for tag in tags]
    versions = [int(match[1] or match[2]) for match in found if match]
    if not versions:
        raise VersionMismatch(f"If-Match names no version; the seam is at version {current}.")
    return current if current in versions else versions[0]
