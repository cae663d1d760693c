"""When two requests are the same one, and how often the same one may count. Pure: the hour is told.

A page that is fetched a thousand times an hour is one piece of evidence, not a thousand: the tests suppose independent
samples. So at most 5 comparisons of a fingerprint count in an hour; the rest is compared and shown all the same.
"""

from __future__ import annotations

from hashlib import blake2b

_PER_HOUR = 5
_MOST = 200_000  # about 25 MiB


def fingerprint(key: bytes, method: str, path: bytes, query: bytes, body: bytes, subject: bytes) -> str:
    """16 hex digits of what a request asks for and as whom (`subject`: what tells the user apart, empty for nobody).
    The order of query parameters does not matter, that of equal names' values does not either. `key` (at most 64 bytes)
    keeps a stored fingerprint from being guessed at."""
    digest = blake2b(key=key, digest_size=8)
    for part in (method.encode("ascii"), path, b"&".join(sorted(query.split(b"&"))), body, subject):
        digest.update(len(part).to_bytes(8, "big"))  # so that no part can pass for the end of the one before
        digest.update(part)
    return digest.hexdigest()


class HourlyCap:
    """Of one seam. Keeps the fingerprints of one hour, at most 200,000: beyond these a new one counts no more."""

    def __init__(self) -> None:
        self._hour = 0
        self._seen: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<HourlyCap {len(self._seen)} fingerprints>"

    def admit(self, mark: str, now_s: float) -> bool:
        """Whether this comparison may count; it then has. `now_s` is in epoch seconds; a clock that is set back goes
        on in the hour that it was in."""
        hour = int(now_s // 3600)
        if hour > self._hour:
            self._hour = hour
            self._seen.clear()
        seen = self._seen.get(mark, 0)
        if seen >= _PER_HOUR or (seen == 0 and len(self._seen) >= _MOST):
            return False
        self._seen[mark] = seen + 1
        return True
