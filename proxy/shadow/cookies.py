"""What a client is told to keep: Set-Cookie fields by name, domain and path. Knows no rule but whose values count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

_LIFE: Final = re.compile(r"-?\d{1,18}")
_YEAR: Final = re.compile(r"\b(\d{4})\b")
_PAST = 2000  # a year before it in Expires is how a cookie is taken back


@dataclass(frozen=True, slots=True)
class Cookie:
    """`life`: `session`, `deleted`, a Max-Age in seconds, or `expires`, whose moment is left out: it is clock noise.
    `guards`: Secure, HttpOnly, SameSite and Partitioned, in lower case. `value` is "" where values do not count."""

    life: str
    guards: frozenset[tuple[str, str]]
    value: str
    others: frozenset[tuple[str, str]]


_GUARDS: Final = frozenset(("secure", "httponly", "samesite", "partitioned"))

Key = tuple[str, str, str]


def read_cookies(lines: Iterable[str], values: bool | frozenset[str]) -> Mapping[Key, Cookie]:
    """By (name, domain, path); the last of equal ones counts, as with clients (RFC 6265 5.3)."""
    return dict(_read(line, values) for line in lines)


def _read(line: str, values: bool | frozenset[str]) -> tuple[Key, Cookie]:
    pair, *rest = line.split(";")
    name, _, value = pair.partition("=")
    name = name.strip()
    attributes: dict[str, str] = {}
    for one in rest:
        key, _, text = one.partition("=")
        attributes[key.strip().lower()] = text.strip().strip('"')
    attributes.pop("", None)
    domain = attributes.pop("domain", "").lower().removeprefix(".")
    path = attributes.pop("path", "")
    life = _life(attributes.pop("max-age", ""), attributes.pop("expires", ""))
    guards = frozenset((key, text.lower()) for key, text in attributes.items() if key in _GUARDS)
    others = frozenset((key, text) for key, text in attributes.items() if key not in _GUARDS)
    counts = values if isinstance(values, bool) else name in values
    return (name, domain, path if path.startswith("/") else ""), Cookie(
        life, guards, value.strip() if counts else "", others
    )


def _life(seconds: str, expires: str) -> str:
    """Max-Age wins over Expires (RFC 6265 5.3)."""
    if _LIFE.fullmatch(seconds):
        return seconds if int(seconds) > 0 else "deleted"
    if not expires:
        return "session"
    year = _YEAR.search(expires)
    return "deleted" if year is not None and int(year[1]) < _PAST else "expires"


def guards_differ(one: Mapping[Key, Cookie], other: Mapping[Key, Cookie]) -> bool:
    """Whether a cookie of both sides is guarded otherwise on one."""
    return any(key in other and cookie.guards != other[key].guards for key, cookie in one.items())


def shown(cookies: Mapping[Key, Cookie]) -> str:
    """For a report, without any value that does not count."""
    return " | ".join(_line(key, cookie) for key, cookie in sorted(cookies.items(), key=lambda item: item[0]))


def _line(key: Key, cookie: Cookie) -> str:
    name, domain, path = key
    parts = [f"{name}={cookie.value or '…'}", cookie.life]
    parts += [f"Domain={domain}"] if domain else []
    parts += [f"Path={path}"] if path else []
    parts += [f"{guard}={text}" if text else guard for guard, text in sorted(cookie.guards | cookie.others)]
    return "; ".join(parts)
