"""What every module is given, and the words in which they refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .database import Database


@dataclass(frozen=True, slots=True)
class Shop:
    """`now()` is seconds since the epoch; `new_sid()` is a session id that nobody can guess."""

    database: Database
    now: Callable[[], float]
    new_sid: Callable[[], str]


class Refused(Exception):
    """A business "no". The client gets 200 and `{"ok":false,"error":…}`; an open transaction is rolled back."""
