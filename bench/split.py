"""Whether a peer really splits: else its figures would be of another job. Knows no proxy."""

from __future__ import annotations

import http.client

from bench.origin import SMALL

_USERS = 500
_LEAST, _MOST = 0.05, 0.15


def check(name: str, port: int) -> None:
    """Raises RuntimeError where far from a tenth of the users reaches extracted, or a user changes sides."""
    first, second = _extracted(port), _extracted(port)
    share = len(first) / _USERS
    if not _LEAST <= share <= _MOST:
        raise RuntimeError(f"{name} sends {share:.0%} of users to extracted: the split is not as configured")
    if first != second:
        raise RuntimeError(f"{name} moves users between the sides: the split is not by user")


def _extracted(port: int) -> frozenset[int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        return frozenset(user for user in range(_USERS) if _side(connection, user) == "extracted")
    finally:
        connection.close()


def _side(connection: http.client.HTTPConnection, user: int) -> str | None:
    connection.request("GET", SMALL, headers={"x-user-id": f"user-{user}"})
    answer = connection.getresponse()
    answer.read()
    return answer.getheader("x-origin")
