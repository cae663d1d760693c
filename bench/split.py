"""Whether a peer really splits: else its figures would be of another job. Knows no proxy."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

from bench.origin import SMALL

_USERS = 500
_LEAST, _MOST = 0.05, 0.15


def check(name: str, port: int, headers: Mapping[str, str]) -> None:
    """Raises RuntimeError where far from a tenth of the users reaches extracted, or a user changes sides. `headers`:
    what every request needs beside its user."""
    first, second = _extracted(port, headers), _extracted(port, headers)
    share = len(first) / _USERS
    if not _LEAST <= share <= _MOST:
        raise RuntimeError(f"{name} sends {share:.0%} of users to extracted: the split is not as configured")
    if first != second:
        raise RuntimeError(f"{name} moves users between the sides: the split is not by user")


def _extracted(port: int, headers: Mapping[str, str]) -> frozenset[int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        return frozenset(user for user in range(_USERS) if _side(connection, user, headers) == "extracted")
    finally:
        connection.close()


def _side(connection: http.client.HTTPConnection, user: int, headers: Mapping[str, str]) -> str | None:
    connection.request("GET", SMALL, headers={"x-user-id": f"user-{user}", **headers})
    answer = connection.getresponse()
    answer.read()
    return answer.getheader("x-origin")
