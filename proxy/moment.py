"""Times as people and programs read them."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(at_s: float) -> str:
    """Seconds since 1970 as `2026-03-01T12:00:00.000Z` (RFC 3339, in UTC)."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
