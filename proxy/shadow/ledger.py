"""The books of all seams, in an SQLite file. Knows no rule and no verdict.

What a book gathers is written once a second, in one transaction: after a crash at most that second is missing. Each
process writes rows of its own (`writer`), so that two may gather at the same time; who reads adds them up, and reads
again at each sweep. Rows of writers that have been silent for an hour are taken together; one that only slept finds its
own gone, and begins anew.
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
_MOST_EPOCHS = 10  # of a seam; one more, and the one that rested longest is forgotten
_OPENING_S = 5.0  # two processes may make the file at once
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
    `busy_s`: how long a locked file is waited for, each time; `most_bytes`: of all exemplars together."""

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], float],
        rng: random.Random,
        *,
        busy_s: float = 0.25,
        most_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self._path = path
        self._clock = clock
        self._rng = rng
        self._most_bytes = most_bytes
        self._writer = ""
        self._books: dict[str, Book] = {}
        self._current: dict[str, str] = {}
        self._returning: dict[str, tuple[str, int]] = {}
        self._moved: set[str] = set()  # seams whose current epoch is not written down yet
        self._forgotten: set[str] = set()  # epochs that are still in the file
        with self._guarded("opened"):
            self._db = _opened(path)
            try:
                self._begin(busy_s)
            except BaseException:
                self._db.close()
                raise

    def _begin(self, busy_s: float) -> None:
        with self._transaction():
            self.key = self._own_key()
            self._gather()
            self._register()
        with self._transaction("DEFERRED"):  # all of one moment
            self._load()
        self._db.execute(f"PRAGMA busy_timeout = {int(busy_s * 1000)}")

    def _name(self) -> str:
        return f"{self._rng.getrandbits(64):016x}"

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
            before = self.current(seam)
            book = self._books[epoch] = Book(seam, epoch, mark, versions, self._clock(), self._rng)
            self._forgotten.discard(epoch)
            self._make_current(book)
            self._forget_most()
            if before is None or before.mark != mark:
                # At once: who comes after a crash in the first second has a book for what was lost by it. A version
                # waits for the next flush, for some services name another one each time.
                with contextlib.suppress(LedgerError), self._guarded("written"), self._transaction():
                    self._write_current(seam)
        return book

    def _return_to(self, book: Book) -> None:
        epoch, number = self._returning.get(book.seam, ("", 0))
        number = number + 1 if epoch == book.epoch else 1
        self._returning[book.seam] = book.epoch, number
        if number >= _RETURNED or book.mark != self._books[self._current[book.seam]].mark:
            self._make_current(book)

    def _make_current(self, book: Book) -> None:
        self._returning.pop(book.seam, None)
        self._current[book.seam] = book.epoch
        self._moved.add(book.seam)

    def _forget_most(self) -> None:
        """A service that names another version each time makes no more epochs than are kept."""
        seams: dict[str, list[Book]] = {}
        for book in self._books.values():
            seams.setdefault(book.seam, []).append(book)
        for seam, books in seams.items():
            if len(books) > _MOST_EPOCHS:
                others = [book for book in books if book.epoch != self._current[seam]]
                for book in sorted(others, key=lambda one: one.started_s)[: len(books) - _MOST_EPOCHS]:
                    self._forget(book)

    def _forget(self, book: Book) -> None:
        del self._books[book.epoch]
        self._forgotten.add(book.epoch)

    def current(self, seam: str) -> Book | None:
        epoch = self._current.get(seam)
        return None if epoch is None else self._books[epoch]

    def exemplars(self, book: Book) -> dict[str, list[Mapping[str, Any]]]:
        """What is kept of an epoch, by endpoint, newest first; what waits to be written too. Raises LedgerError."""
        query = "SELECT endpoint, document FROM exemplars WHERE epoch = ? ORDER BY at_s DESC LIMIT ?"
        found: dict[str, list[Mapping[str, Any]]] = {}
        for kept in reversed(list(book.pending.values())):
            found.setdefault(kept.endpoint, []).append(orjson.loads(kept.document))
        with self._guarded("read"):
            for endpoint, document in self._db.execute(query, (book.epoch, _MOST_SHOWN)):
                found.setdefault(endpoint, []).append(orjson.loads(document))
        return found

    # --- writing -----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write down what is new. Raises LedgerError; then nothing was written, and the next time tries again."""
        changed = [book for book in self._books.values() if book.dirty or book.dirty_spots or book.pending]
        if not (changed or self._moved or self._forgotten):
            return
        with self._guarded("written"), self._transaction():
            if not self._is_registered():
                changed = []
                self._begin_anew()
            for book in changed:
                self._write_epoch(book)
                self._db.executemany("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", self._parts(book))
                self._db.executemany(
                    "INSERT OR REPLACE INTO spots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._spots(book)
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO exemplars VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _exemplars(book)
                )
            for seam in self._moved:
                self._write_current(seam)
            self._delete_forgotten()
        for book in changed:
            book.written()
        self._moved.clear()
        self._forgotten.clear()

    def _write_current(self, seam: str) -> None:
        epoch = self._current[seam]
        self._write_epoch(self._books[epoch])
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_CURRENT + seam, epoch))

    def _write_epoch(self, book: Book) -> None:
        row = (book.epoch, book.seam, book.mark, *book.versions, book.started_s)
        self._db.execute("INSERT OR IGNORE INTO epochs VALUES (?, ?, ?, ?, ?, ?)", row)

    def _delete_forgotten(self) -> None:
        for table in ("epochs", "parts", "spots", "exemplars"):
            self._db.executemany(f"DELETE FROM {table} WHERE epoch = ?", [(epoch,) for epoch in self._forgotten])

    def _is_registered(self) -> bool:
        """Tells that this writer lives; false where others took it for dead."""
        row = (self._clock(), self._writer)
        return self._db.execute("UPDATE writers SET seen_s = ? WHERE writer = ?", row).rowcount == 1

    def _register(self) -> None:
        """Under a name that nobody has."""
        row = (self._name(), self._clock())
        while self._db.execute("INSERT OR IGNORE INTO writers VALUES (?, ?)", row).rowcount != 1:
            row = (self._name(), self._clock())
        self._writer = row[0]

    def _begin_anew(self) -> None:
        self._register()
        for book in self._books.values():
            book.forget_own()
        self._read_past()

    def _parts(self, book: Book) -> Iterator[tuple[Any, ...]]:
        for endpoint in book.dirty:
            yield book.epoch, endpoint, self._writer, orjson.dumps(book.own[endpoint].to_json()).decode()

    def _spots(self, book: Book) -> Iterator[tuple[Any, ...]]:
        for endpoint, place, hour in book.dirty_spots:
            spot = book.own[endpoint].spots[place, hour]
            yield book.epoch, endpoint, *place, hour, self._writer, spot.n, spot.first_s, spot.last_s

    def sweep(self) -> None:
        """Forget what is too old, or too much, and read what others have written. Raises LedgerError."""
        now = self._clock()
        hour = int((now - _BUCKETS_S) // _HOUR_S)
        for book in list(self._books.values()):
            book.forget_hours(hour)
            if book.epoch != self._current[book.seam] and book.last_s < now - _BUCKETS_S:
                self._forget(book)
        with self._guarded("written"), self._transaction():
            if not self._is_registered():
                self._begin_anew()
            self._delete_forgotten()
            self._db.execute("DELETE FROM exemplars WHERE at_s < ?", (now - _KEPT_S,))
            self._db.execute("DELETE FROM spots WHERE hour < ?", (hour,))
            self._forget_beyond(self._most_bytes)
        self._forgotten.clear()
        with self._guarded("read"), self._transaction("DEFERRED"):
            self._load()

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
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('key', ?)", (self._rng.randbytes(32),))
        (key,) = self._db.execute("SELECT value FROM meta WHERE name = 'key'").fetchone()
        return bytes(key)

    def _gather(self) -> None:
        """Take the rows of silent writers together: their number must not grow with every restart. The heir's name is
        new, for any of them may only have slept and would write its own rows once more."""
        silent = self._db.execute("SELECT writer FROM writers WHERE seen_s < ?", (self._clock() - _SILENT_S,))
        names = [name for (name,) in silent]
        if len(names) < 2:
            return
        heir = self._name()
        marks = ", ".join("?" * len(names))
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
        for table in ("parts", "spots", "writers"):
            self._db.execute(f"DELETE FROM {table} WHERE writer IN ({marks})", names)
        self._db.execute("INSERT INTO writers VALUES (?, 0)", (heir,))
        self._db.executemany(
            "INSERT INTO parts VALUES (?, ?, ?, ?)",
            [(*key, heir, orjson.dumps(part.to_json()).decode()) for key, part in sums.items()],
        )
        self._db.executemany(
            "INSERT INTO spots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [(*row[:6], heir, *row[6:]) for row in spots]
        )

    def _load(self) -> None:
        self._read_epochs()
        self._forget_most()
        self._read_past()
        self._read_seen()

    def _read_epochs(self) -> None:
        """Those that are not known yet. Where a seam has none, the one that was its current one is it again, or else
        the last."""
        found: dict[str, str] = {}
        for epoch, seam, mark, legacy, extracted, started_s in self._db.execute(
            "SELECT epoch, seam, mark, legacy, extracted, started_s FROM epochs ORDER BY started_s"
        ):
            found[seam] = epoch
            if epoch not in self._books and epoch not in self._forgotten:
                self._books[epoch] = Book(seam, epoch, mark, (legacy, extracted), started_s, self._rng)
        for name, epoch in self._db.execute("SELECT name, value FROM meta WHERE name LIKE ?", (_CURRENT + "%",)):
            if epoch in self._books:
                found[name.removeprefix(_CURRENT)] = epoch
        for seam, epoch in found.items():
            self._current.setdefault(seam, epoch)

    def _read_past(self) -> None:
        """What others have written, for each book."""
        past: dict[str, dict[str, EndpointPart]] = {epoch: {} for epoch in self._books}
        for epoch, endpoint, document in self._db.execute(
            "SELECT epoch, endpoint, document FROM parts WHERE writer <> ?", (self._writer,)
        ):
            if epoch in past:
                part = past[epoch].setdefault(endpoint, EndpointPart())
                part.add(EndpointPart.from_json(orjson.loads(document)))
        for epoch, endpoint, *place, hour, n, first_s, last_s in self._db.execute(
            "SELECT epoch, endpoint, path, class, severity, hour, n, first_s, last_s FROM spots WHERE writer <> ?",
            (self._writer,),
        ):
            if epoch in past:
                part = past[epoch].setdefault(endpoint, EndpointPart())
                part.spots.setdefault(((place[0], place[1], place[2]), hour), Spot()).add(n, first_s, last_s)
        for epoch, parts in past.items():
            self._books[epoch].remember(parts)

    def _read_seen(self) -> None:
        """How many exemplars of each signature there were, of those that are kept."""
        kept: dict[str, set[str]] = {epoch: set() for epoch in self._books}
        for epoch, signature, seen in self._db.execute(
            "SELECT epoch, signature, max(seen) FROM exemplars GROUP BY epoch, signature"
        ):
            if epoch in kept:
                kept[epoch].add(signature)
                counts = self._books[epoch].seen
                counts[signature] = max(seen, counts[signature])
        for epoch, signatures in kept.items():
            self._books[epoch].forget_seen(signatures)

    @contextlib.contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Holding the write lock, or DEFERRED to read; committed on the way out, undone by any error."""
        self._db.execute(f"BEGIN {kind}")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite has undone it by itself after some errors (disk full, I/O)
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            raise

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
_CURRENT = "current of "


def _opened(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_private(path)
    db = sqlite3.connect(":memory:" if path is None else path, timeout=_OPENING_S, isolation_level=None)
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


def _make_private(path: Path) -> None:
    """It holds the key of its hashes."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _epoch(seam: str, mark: str, versions: tuple[str, str]) -> str:
    return blake2b("\0".join((seam, mark, *versions)).encode(), digest_size=6).hexdigest()


def _exemplars(book: Book) -> Iterator[tuple[Any, ...]]:
    for (signature, slot), kept in book.pending.items():
        text = kept.document.decode()
        yield book.epoch, signature, slot, kept.endpoint, kept.at_s, kept.seen, len(kept.document), text
