"""The session bridge: the monolith's opaque session cookie becomes a Principal, by asking the monolith about it.

The question is that of token introspection (RFC 7662): an answer is kept for a moment, one question is in the air for
each cookie however many requests wait for it, and no more than `MOST_ASKED` for all, so that invented cookies cannot
turn the gateway against the monolith. A cookie is remembered by its hash alone. Knows no seam, and not how the monolith
is reached.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from proxy.admission.auth_rules import is_scope
from proxy.messages import Principal, RequestHead
from proxy.routing.split import compile_selector

MOST_ASKED = 64  # questions in the air
MOST_ENTRIES = 10_000
MOST_BYTES = 65_536  # of an answer
LONGEST_SID = 4096
INACTIVE_S = 5.0  # the longest that somebody who has just logged in is taken for a stranger
PAUSE_S = 1.0  # after a failure: an outage of the monolith is not made worse by asking about one cookie again and again

_SID = re.compile(rb"[ -~]{1,%d}" % LONGEST_SID)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Ask = Callable[[str], Awaitable[bytes]]


class SessionUnreachable(Exception):
    """Nobody can say what the cookie stands for. The text says why, and names no cookie."""


@dataclass(frozen=True, slots=True)
class SessionRule:
    """`cookie` is the name of the monolith's session cookie; `cache_s` how long its word is good, in seconds: also how
    long somebody who has logged out may still come in."""

    cookie: str
    cache_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Known:
    """What a cookie stands for; `principal` None: no session that is active."""

    principal: Principal | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """`until_s` on the monotonic clock."""

    known: Known
    until_s: float


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    until_s: float


_INACTIVE = Known(None)


class Sessions:
    """`ask` posts `{"sid": ...}` to the monolith and gives the body of a 200; whatever else happens it raises, within a
    time of its own, and what that error says is shown, so it must not name the cookie. `clock` gives seconds since
    1970, for `exp` is one of those; `monotonic` all other times."""

    def __init__(
        self,
        rule: SessionRule,
        ask: Ask,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        most: int = MOST_ENTRIES,
    ) -> None:
        """Raises ValueError where `rule.cookie` cannot be the name of a cookie."""
        self.rule = rule
        self.asked = 0
        self._cookie = compile_selector(f"cookie.{rule.cookie}").read
        self._ask = ask
        self._clock = clock
        self._monotonic = monotonic
        self._most = most
        # Apart, so that invented cookies push nobody out who has a session.
        self._active: dict[bytes, _Entry] = {}
        self._inactive: dict[bytes, _Entry] = {}
        self._failures: dict[bytes, _Failure] = {}
        self._flights: dict[bytes, asyncio.Task[Known | _Failure]] = {}

    def read(self, head: RequestHead) -> bytes | None:
        """The value of the cookie; None where it is absent or empty."""
        return self._cookie(head, {}, "") or None

    def known(self, sid: bytes) -> Known | None:
        """Without waiting. None: only the monolith can tell, see `look_up`."""
        return self._find(sha256(sid).digest()) if _SID.fullmatch(sid) else _INACTIVE

    async def look_up(self, sid: bytes) -> Principal | None:
        """Whose session it is, None where it is not active; asks the monolith where that is not known. A caller that
        is cancelled leaves the question to the others. Raises SessionUnreachable."""
        known = self.known(sid)
        if known is not None:
            return known.principal
        digest = sha256(sid).digest()
        found = await asyncio.shield(self._flights.get(digest) or self._start(digest, sid))
        if isinstance(found, _Failure):
            raise SessionUnreachable(found.reason)
        return found.principal

    def _find(self, digest: bytes) -> Known | None:
        entries = self._active if digest in self._active else self._inactive
        entry = entries.pop(digest, None)
        if entry is None or self._monotonic() >= entry.until_s or self._ended(entry.known.principal):
            return None
        entries[digest] = entry  # the least recently used is the first
        return entry.known

    def _ended(self, principal: Principal | None) -> bool:
        return principal is not None and principal.expires_s is not None and self._clock() >= principal.expires_s

    def _start(self, digest: bytes, sid: bytes) -> asyncio.Task[Known | _Failure]:
        """Raises SessionUnreachable where the monolith must not be asked now."""
        failure = self._failures.get(digest)
        if failure is not None and self._monotonic() < failure.until_s:
            raise SessionUnreachable(failure.reason)
        if len(self._flights) >= MOST_ASKED:
            raise SessionUnreachable(f"{MOST_ASKED} sessions are being asked about already")
        flight = asyncio.get_running_loop().create_task(self._fly(digest, sid.decode("ascii")))
        self._flights[digest] = flight
        flight.add_done_callback(lambda _: self._flights.pop(digest, None))
        return flight

    async def _fly(self, digest: bytes, sid: str) -> Known | _Failure:
        """A failure is a result: nobody may be waiting any more, and each who does raises an error of his own."""
        began_s, self.asked = self._monotonic(), self.asked + 1
        try:
            principal = principal_in(await self._ask(sid))
        except Exception as error:
            failure = _Failure(_reason(error), self._monotonic() + PAUSE_S)
            self._keep(self._failures, digest, failure)
            return failure
        if principal is None or self._ended(principal):
            self._keep(self._inactive, digest, _Entry(_INACTIVE, began_s + min(self.rule.cache_s, INACTIVE_S)))
            return _INACTIVE
        known = Known(principal)
        self._keep(self._active, digest, _Entry(known, began_s + self.rule.cache_s))
        return known

    def _keep(self, entries: dict[bytes, Any], digest: bytes, entry: Any) -> None:
        """As the most recently used."""
        entries.pop(digest, None)
        if len(entries) >= self._most:
            del entries[next(iter(entries))]
        entries[digest] = entry


def principal_in(answer: bytes) -> Principal | None:
    """Of an introspection answer (RFC 7662 2.2), None where `active` is false. Raises SessionUnreachable for what is no
    such answer: a monolith that has gone wrong has not said that the session ended."""
    members = _object(answer)
    if members.get("active") is False:
        return None
    if members.get("active") is not True:
        raise SessionUnreachable("its answer has no `active` that is true or false")
    return Principal(_subject(members.get("sub")), _scopes(members), expires_s=_end(members), session=True)


def _object(answer: bytes) -> dict[str, Any]:
    """orjson goes first: it refuses what the standard library lets pass (NaN, lone surrogates), and cannot see a member
    that comes twice."""
    if len(answer) > MOST_BYTES:
        raise SessionUnreachable(f"its answer has more than {MOST_BYTES} bytes")
    try:
        if isinstance(orjson.loads(answer), dict):
            return dict(json.loads(answer, object_pairs_hook=_once))
    except (ValueError, RecursionError):
        pass
    raise SessionUnreachable("its answer is not a JSON object whose members are all named once")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member comes twice")
    return members


def _subject(value: Any) -> str:
    """As Principal has it. A whole number is common for a user's id, and taken as its digits."""
    subject = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(subject, str) or not subject or subject != subject.strip() or _CONTROL.search(subject):
        raise SessionUnreachable("`sub` in its answer is not a text of one line, or a whole number")
    return subject


def _scopes(members: dict[str, Any]) -> tuple[str, ...]:
    """Of `scope`, a text with spaces, and `scopes`, a list. What is no scope is left out."""
    text, listed = members.get("scope", ""), members.get("scopes", [])
    if not isinstance(text, str) or not isinstance(listed, list):
        raise SessionUnreachable("`scope` in its answer is not a text, or `scopes` not a list")
    named = [*text.split(" "), *listed]
    return tuple(dict.fromkeys(scope for scope in named if isinstance(scope, str) and is_scope(scope)))


def _end(members: dict[str, Any]) -> float | None:
    """`exp`, a NumericDate (RFC 7519 2); None where there is none."""
    if "exp" not in members:
        return None
    value = members["exp"]
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        pass
    raise SessionUnreachable("`exp` in its answer is not a number of seconds since 1970")


def _reason(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else (str(error) or type(error).__name__)[:200]
