"""What is compared: a question, and an answer as a client would have seen it. Knows no side, no seam, no rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

CONDITIONS: Final = frozenset(
    (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range")
)
"""With one of these the answer depends on validators, or is a part (RFC 9110 13.1, 14.2)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The request both sides answered. `target` is the request target as received; `host` the value of Host. `scheme`
    is empty where nobody vouches for it: a relative reference then means whichever the other side's URL names.

    `conditional`: it carried a precondition or Range (RFC 9110 13.1, 14.2), so each side answered about its own
    validators. `at`: when it was asked, seconds since 1970; it tells times near now from other times.
    """

    method: str
    target: bytes
    host: bytes
    scheme: str = "https"
    conditional: bool = False
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` as on the wire, content codings still on. Where it was longer than the copy: `truncated`, and `length` and
    `sha256` (32 bytes) of all of it if the end was seen, else None."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    truncated: bool = False
    length: int | None = None
    sha256: bytes | None = None


def is_conditional(names: Iterable[bytes]) -> bool:
    """Whether one of these request header names makes the answer depend on validators or ask for a part."""
    return any(name.lower() in CONDITIONS for name in names)
