"""Tokens that were verified, by hash: the second request of a client costs a hash and no signature. Knows no request.

An entry ends with its token, after `LONGEST_S`, when the keys of its issuer change, or when newer ones need its place.
Only good tokens are kept, so whoever sends bad ones displaces nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from proxy.admission.jwks import Keys
from proxy.messages import Principal

MOST_ENTRIES = 10_000
LONGEST_S = 60.0  # what was verified is verified again: keys may have become stale without a change


@dataclass(frozen=True, slots=True)
class Verified:
    """`until_s` in seconds since 1970; `version` of `keys` when it was verified."""

    principal: Principal
    keys: Keys
    version: int
    until_s: float


class TokenCache:
    """The least recently used goes first. The tokens themselves are not kept: a dump of memory shows none of them."""

    def __init__(self, most: int = MOST_ENTRIES) -> None:
        self._most = most
        self._entries: dict[bytes, Verified] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, compact: bytes, now_s: float) -> Principal | None:
        digest = sha256(compact).digest()
        entry = self._entries.pop(digest, None)
        if entry is None or now_s >= entry.until_s or entry.version != entry.keys.version:
            return None
        self._entries[digest] = entry
        return entry.principal

    def keep(self, compact: bytes, principal: Principal, keys: Keys, until_s: float, now_s: float) -> None:
        """`until_s`: when the token ends, leeway included."""
        if len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        until_s = min(until_s, now_s + LONGEST_S)
        self._entries[sha256(compact).digest()] = Verified(principal, keys, keys.version, until_s)

    def clear(self) -> None:
        self._entries.clear()
