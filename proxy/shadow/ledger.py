"""The books of all seams, in an SQLite file. Knows no rule and no verdict.

What a book gathers is written once a second, in one transaction: after a crash at most that second is missing. Each
process writes rows of its own (`writer`), so that two may gather at the same time; who reads adds them up. Rows of
writers that have been silent for an hour are taken together.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import orjson

from proxy.shadow.book import Book, EndpointPart, Spot

SCHEMA: Final = 1
_SILENT_S = 3600.0
_KEPT_S = 7 * 86_400.0
_BUCKETS_S = 35 * 86_400.0
_MOST_SHOWN = 500
_HOUR_S = 3600
_RETURNED = 20
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS writers (writer TEXT PRIMARY KEY, seen_s REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS epochs (
  epoch TEXT PRIMARY KEY, seam TEXT NOT NULL, mark TEXT NOT NULL, legacy TEXT NOT NULL, extracted TEXT NOT NULL,
  started_s REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
  epoch TEXT NOT NULL, endpoint TEXT NOT NULL, writer TEXT NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (epoch, endpoint, writer)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spots (
  epoch TEXT NOT NULL, endpoint TEXT NOT NULL, path TEXT NOT NULL, class TEXT NOT NULL, severity TEXT NOT NULL,
  hour INTEGER NOT NULL, writer TEXT NOT NULL, n INTEGER NOT NULL, first_s REAL NOT NULL, last_s REAL NOT NULL,
  PRIMARY KEY (epoch, endpoint, path, class, severity, hour, writer)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS exemplars (
  epoch TEXT NOT NULL, signature TEXT NOT NULL, slot INTEGER NOT NULL, endpoint TEXT NOT NULL, at_s REAL NOT NULL,
  seen INTEGER NOT NULL, size INTEGER NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (epoch, signature, slot)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS exemplars_by_age ON exemplars (at_s);
"""


class LedgerError(Exception):
    """The file cannot be used, or not just now. Says what would mend it."""


class Ledger:
    """`path` None keeps everything in memory. Opens at once; raises LedgerError. `key` is for hashes, made once.
    `busy_s`: how long a locked file is waited for; `most_bytes`: of all exemplars together."""

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], float],
        rng: random.Random,
        *,
        busy_s: float = 2.0,
        most_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self._path = path
        self._clock = clock
        self._rng = rng
        self._most_bytes = most_bytes
        self._writer = f"{rng.getrandbits(64):016x}"
        self._books: dict[str, Book] = {}
        self._current: dict[str, str] = {}
        self._returning: dict[str, tuple[str, int]] = {}
        with self._guarded("opened"):
            self._db = _opened(path, busy_s)
            self.key = self._own_key()
            with self._db:
                self._say_alive()
            self._gather()
            self._load()

    def __repr__(self) -> str:
        return f"<Ledger {self._path or 'in memory'}>"

    # --- books -------------------------------------------------------------------------------------------------------

    def book(self, seam: str, mark: str, versions: tuple[str, str]) -> Book:
        """Of the epoch that these make, for one sample. A new one is the seam's current one at once, and so is one of
        other rules; an older version becomes it again only by 20 samples in a row, for while instances are replaced
        both answer."""
        epoch = _epoch(seam, mark, versions)
        book = self._books.get(epoch)
        if book is not None:
            if epoch != self._current[seam]:
                self._return_to(book)
            elif self._returning:
                self._returning.pop(seam, None)
        else:
            now = self._clock()
            book = self._books[epoch] = Book(seam, epoch, mark, versions, now, self._rng)
            self._current[seam] = epoch
            row = (epoch, seam, mark, *versions, now)
            with contextlib.suppress(LedgerError), self._guarded("written"), self._db:
                self._db.execute("INSERT OR IGNORE INTO epochs VALUES (?, ?, ?, ?, ?, ?)", row)
        return book

    def _return_to(self, book: Book) -> None:
        epoch, number = self._returning.get(book.seam, ("", 0))
        number = number + 1 if epoch == book.epoch else 1
        self._returning[book.seam] = book.epoch, number
        if number >= _RETURNED or book.mark != self._books[self._current[book.seam]].mark:
            self._current[book.seam] = book.epoch
            del self._returning[book.seam]

    def current(self, seam: str) -> Book | None:
        epoch = self._current.get(seam)
        return None if epoch is None else self._books[epoch]

    def exemplars(self, book: Book) -> dict[str, list[Mapping[str, Any]]]:
        """What is kept of an epoch, by endpoint, newest first; what waits to be written too. Raises LedgerError."""
        query = "SELECT endpoint, document FROM exemplars WHERE epoch = ? ORDER BY at_s DESC LIMIT ?"
        found: dict[str, list[Mapping[str, Any]]] = {}
        for endpoint, _, _, document in reversed(list(book.pending.values())):
            found.setdefault(endpoint, []).append(document)
        with self._guarded("read"):
            for endpoint, document in self._db.execute(query, (book.epoch, _MOST_SHOWN)):
                found.setdefault(endpoint, []).append(orjson.loads(document))
        return found

    # --- writing -----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write down what is new. Raises LedgerError; then nothing was written, and the next time tries again."""
        changed = [book for book in self._books.values() if book.dirty or book.dirty_spots or book.pending]
        if not changed:
            return
        with self._guarded("written"), self._db:
            self._say_alive()
            for book in changed:
                row = (book.epoch, book.seam, book.mark, *book.versions, book.started_s)
                self._db.execute("INSERT OR IGNORE INTO epochs VALUES (?, ?, ?, ?, ?, ?)", row)
                self._db.executemany("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", self._parts(book))
                self._db.executemany(
                    "INSERT OR REPLACE INTO spots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._spots(book)
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO exemplars VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _exemplars(book)
                )
        for book in changed:
            book.dirty.clear()
            book.dirty_spots.clear()
            book.pending.clear()

    def _parts(self, book: Book) -> Iterator[tuple[Any, ...]]:
        for endpoint in book.dirty:
            yield book.epoch, endpoint, self._writer, orjson.dumps(book.own[endpoint].to_json()).decode()

    def _spots(self, book: Book) -> Iterator[tuple[Any, ...]]:
        for endpoint, place, hour in book.dirty_spots:
            spot = book.own[endpoint].spots[place, hour]
            yield book.epoch, endpoint, *place, hour, self._writer, spot.n, spot.first_s, spot.last_s

    def _say_alive(self) -> None:
        self._db.execute("INSERT OR REPLACE INTO writers VALUES (?, ?)", (self._writer, self._clock()))

    def sweep(self) -> None:
        """Forget what is too old, or too much. Raises LedgerError."""
        now = self._clock()
        hour = int((now - _BUCKETS_S) // _HOUR_S)
        with self._guarded("written"), self._db:
            self._say_alive()
            self._db.execute("DELETE FROM exemplars WHERE at_s < ?", (now - _KEPT_S,))
            self._db.execute("DELETE FROM spots WHERE hour < ?", (hour,))
            self._forget_beyond(self._most_bytes)
        for book in self._books.values():
            for parts in (book.past, book.own):
                for part in parts.values():
                    for key in [key for key in part.spots if key[1] < hour]:
                        del part.spots[key]

    def _forget_beyond(self, most: int) -> None:
        (size,) = self._db.execute("SELECT coalesce(sum(size), 0) FROM exemplars").fetchone()
        rows = (
            self._db.execute("SELECT epoch, signature, slot, size FROM exemplars ORDER BY at_s") if size > most else ()
        )
        gone = []
        for epoch, signature, slot, bytes_ in rows:
            if size <= most:
                break
            size -= bytes_
            gone.append((epoch, signature, slot))
        self._db.executemany("DELETE FROM exemplars WHERE epoch = ? AND signature = ? AND slot = ?", gone)

    def close(self) -> None:
        """Write down what is left. Raises LedgerError; closed it is anyway."""
        try:
            self.flush()
        finally:
            self._db.close()

    # --- reading -----------------------------------------------------------------------------------------------------

    def _own_key(self) -> bytes:
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('key', ?)", (self._rng.randbytes(32),))
        (key,) = self._db.execute("SELECT value FROM meta WHERE name = 'key'").fetchone()
        return bytes(key)

    def _gather(self) -> None:
        """Take the rows of silent writers together as our own past: their number must not grow with every restart."""
        silent = "SELECT writer FROM writers WHERE seen_s < ?"
        limit = (self._clock() - _SILENT_S,)
        names = [name for (name,) in self._db.execute(silent, limit)]
        if len(names) < 2:
            return
        heir = names[0]
        marks = ", ".join("?" * len(names))
        with self._db:
            sums: dict[tuple[str, str], EndpointPart] = {}
            for epoch, endpoint, document in self._db.execute(
                f"SELECT epoch, endpoint, document FROM parts WHERE writer IN ({marks})", names
            ):
                sums.setdefault((epoch, endpoint), EndpointPart()).add(EndpointPart.from_json(orjson.loads(document)))
            spots = self._db.execute(
                "SELECT epoch, endpoint, path, class, severity, hour, sum(n), min(first_s), max(last_s) FROM spots"
                f" WHERE writer IN ({marks}) GROUP BY epoch, endpoint, path, class, severity, hour",
                names,
            ).fetchall()
            for table in ("parts", "spots"):
                self._db.execute(f"DELETE FROM {table} WHERE writer IN ({marks})", names)
            self._db.execute(f"DELETE FROM writers WHERE writer IN ({marks}) AND writer <> ?", (*names, heir))
            self._db.executemany(
                "INSERT INTO parts VALUES (?, ?, ?, ?)",
                [(*key, heir, orjson.dumps(part.to_json()).decode()) for key, part in sums.items()],
            )
            self._db.executemany(
                "INSERT INTO spots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [(*row[:6], heir, *row[6:]) for row in spots]
            )

    def _load(self) -> None:
        for epoch, seam, mark, legacy, extracted, started_s in self._db.execute(
            "SELECT epoch, seam, mark, legacy, extracted, started_s FROM epochs ORDER BY started_s"
        ):
            self._books[epoch] = Book(seam, epoch, mark, (legacy, extracted), started_s, self._rng)
            self._current[seam] = epoch
        for epoch, endpoint, document in self._db.execute("SELECT epoch, endpoint, document FROM parts"):
            past = self._books[epoch].past
            past.setdefault(endpoint, EndpointPart()).add(EndpointPart.from_json(orjson.loads(document)))
        for epoch, endpoint, *place, hour, n, first_s, last_s in self._db.execute(
            "SELECT epoch, endpoint, path, class, severity, hour, n, first_s, last_s FROM spots"
        ):
            part = self._books[epoch].past.setdefault(endpoint, EndpointPart())
            part.spots.setdefault(((place[0], place[1], place[2]), hour), Spot()).add(n, first_s, last_s)
        for epoch, signature, seen in self._db.execute(
            "SELECT epoch, signature, max(seen) FROM exemplars GROUP BY epoch, signature"
        ):
            self._books[epoch].seen[signature] = seen

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            cure = "free the disk or the file; what was compared waits in memory" if what == "written" else _CURE
            raise LedgerError(f"the ledger {self._path or 'in memory'} cannot be {what} ({error}): {cure}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerError(
                f"the ledger {self._path} holds what this version cannot read ({error!r}): {_CURE}"
            ) from error


_CURE = "move it away, a new one is made"


def _opened(path: Path | None, busy_s: float) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # it holds the key of its hashes
    db = sqlite3.connect(":memory:" if path is None else path, timeout=busy_s)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise ValueError(f"schema {version}, known is {SCHEMA}")
        db.executescript(_TABLES)
        db.execute(f"PRAGMA user_version = {SCHEMA}")
    except BaseException:
        db.close()
        raise
    return db


def _epoch(seam: str, mark: str, versions: tuple[str, str]) -> str:
    return blake2b("\0".join((seam, mark, *versions)).encode(), digest_size=6).hexdigest()


def _exemplars(book: Book) -> Iterator[tuple[Any, ...]]:
    for (signature, slot), (endpoint, at_s, seen, document) in book.pending.items():
        text = orjson.dumps(document)
        yield book.epoch, signature, slot, endpoint, at_s, seen, len(text), text.decode()
