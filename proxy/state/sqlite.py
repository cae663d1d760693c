"""The embedded store: one SQLite file in WAL mode, one connection on a thread of its own. Knows no seam rule.

Every commit is synced to the disk before `put` returns (synchronous=FULL), so a write that was acknowledged survives
kill -9 and loss of power; one that was not acknowledged is there whole or not at all.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from proxy.errors import StoreError
from proxy.snapshot import SeamRecord
from proxy.state.store import HistoryRow, NewRow, check_version, numbered, record_from, storable, to_json

T = TypeVar("T")

BUSY_TIMEOUT_S = 2.0
APPLICATION_ID = 0x66696700  # "fig\0": tells our file from another program's

# One entry a schema version. A published entry never changes; a new version is a new entry.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE seam (
            name TEXT PRIMARY KEY, version INTEGER NOT NULL, override TEXT, latch TEXT
        ) WITHOUT ROWID""",
        """CREATE TABLE history (
            id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
            seam TEXT NOT NULL, reason TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL
        )""",
        "CREATE INDEX history_by_seam ON history (seam, id)",
    ),
)

RECORDS = "SELECT name, override, latch, version FROM seam"
VERSION = "SELECT version FROM seam WHERE name = ?"
UPSERT = """INSERT INTO seam (name, version, override, latch) VALUES (?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET version = excluded.version, override = excluded.override, latch = excluded.latch"""
APPEND = "INSERT INTO history (at, actor, action, seam, reason, before, after) VALUES (?, ?, ?, ?, ?, ?, ?)"
HISTORY = "SELECT id, at, actor, action, seam, reason, before, after FROM history ORDER BY id DESC LIMIT ?"
HISTORY_OF_SEAM = HISTORY.replace("ORDER BY", "WHERE seam = ? ORDER BY")

RESTORE = "restore a backup, or move the file away and repeat the rollbacks that stood in it"
ONE_EACH = "stop the other process that holds it, or give each fig its own store"
WRITABLE = "make the file and its folder writable for this user"
CURES = {
    sqlite3.SQLITE_BUSY: ONE_EACH,
    sqlite3.SQLITE_LOCKED: ONE_EACH,
    sqlite3.SQLITE_FULL: "free disk space; writes go on by themselves then",
    sqlite3.SQLITE_IOERR: "check the disk, its free space, quota and file size limit",
    sqlite3.SQLITE_READONLY: WRITABLE,
    sqlite3.SQLITE_PERM: WRITABLE,
    sqlite3.SQLITE_CANTOPEN: WRITABLE,
    sqlite3.SQLITE_CORRUPT: RESTORE,
    sqlite3.SQLITE_NOTADB: RESTORE,
}


class SqliteStore:
    """Store in the file `path`; file and folder are made when missing.

    The one thread of the executor makes, uses and closes the connection, and takes the calls in order. A call waits up
    to `busy_timeout_s` for another process to let go of the file.
    """

    def __init__(self, path: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._path = path
        self._file = _File(path, busy_timeout_s)
        self._executor: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        if self._executor is not None:
            return
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fig-store")
        try:
            await self._run(self._file.open)
        except StoreError:
            await self.close()
            raise

    async def load(self) -> dict[str, SeamRecord]:
        return await self._run(self._file.load)

    async def put(self, seam: str, record: SeamRecord, row: NewRow, expected_version: int | None) -> HistoryRow:
        return await self._run(self._file.put, seam, record, storable(row), expected_version)

    async def history(self, seam: str | None, limit: int = 200) -> list[HistoryRow]:
        return await self._run(self._file.history, seam, max(limit, 0))

    async def ping(self) -> None:
        await self._run(self._file.ping)

    async def close(self) -> None:
        executor, self._executor = self._executor, None
        if executor is None:
            return
        closed = asyncio.get_running_loop().run_in_executor(executor, self._file.close)
        executor.shutdown(wait=False)
        await asyncio.shield(closed)

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        if self._executor is None:
            raise _refusal(self._path, "it is not open", "open it first")
        # A cancelled await would otherwise take a write that still waits in the queue out of it.
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._executor, self._answer, work, args))

    def _answer(self, work: Callable[..., T], args: tuple[object, ...]) -> T:
        try:
            return work(*args)
        except sqlite3.Error as error:
            raise _refusal(self._path, str(error), _cure(error)) from error
        except OSError as error:
            raise _refusal(self._path, str(error), WRITABLE) from error


class _File:
    """The synchronous half: what is done on the store's thread. Raises sqlite3.Error and OSError as they come."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._wal: tuple[int, int] | None = None
        self._lock: int | None = None

    def open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_out_others()
        # isolation_level None: transactions are the BEGINs below, never an implicit one.
        self._connection = sqlite3.connect(self._path, timeout=self._busy_timeout_s, isolation_level=None)
        self._check_readable()
        self._set_durable()
        self._identity = self._identity_now()
        # A start on a full or locked disk must still read the latches, so nothing is written without need.
        if self._pragma("user_version") < len(MIGRATIONS):
            self._migrate()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _lock_out_others(self) -> None:
        """Embedded is one process: a second one would decide from its own memory and write over the first one's
        rollback. The kernel lets go of the lock when a process ends, however it ends."""
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            cure = "stop it, or give this one a `store` of its own"
            raise _refusal(self._path, "another fig uses it", cure) from None
        self._lock = lock

    def load(self) -> dict[str, SeamRecord]:
        return {name: self._record(name, *stored) for name, *stored in self._opened().execute(RECORDS)}

    def put(self, seam: str, record: SeamRecord, row: NewRow, expected_version: int | None) -> HistoryRow:
        texts = [to_json(part) if part else None for part in (record.override, record.latch)]
        audit = (row.at, row.actor, row.action, row.seam, row.reason, to_json(row.before), to_json(row.after))
        with self._transaction() as connection:
            stored = connection.execute(VERSION, (seam,)).fetchone()
            check_version(seam, stored[0] if stored else 0, expected_version)
            connection.execute(UPSERT, (seam, record.version, *texts))
            row_id = connection.execute(APPEND, audit).lastrowid
        assert row_id is not None
        return numbered(row, row_id)

    def history(self, seam: str | None, limit: int) -> list[HistoryRow]:
        query, args = (HISTORY, (limit,)) if seam is None else (HISTORY_OF_SEAM, (seam, limit))
        return [self._row(stored) for stored in self._opened().execute(query, args)]

    def ping(self) -> None:
        with self._transaction():
            pass

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection holding the write lock; committed on the way out, undone by any error."""
        connection = self._opened()
        self._check_identity()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # SQLite has undone it by itself after some errors (disk full, I/O).
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise _refusal(self._path, "it is not open", "open it first")
        return self._connection

    def _check_readable(self) -> None:
        """Refuse a damaged file, another program's and one of a newer fig, before anything is written to it."""
        finding = self._pragma("quick_check(1)")
        if finding != "ok":
            raise _refusal(self._path, f"it is damaged: {finding}", RESTORE)
        tables = self._opened().execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and self._pragma("application_id") != APPLICATION_ID:
            raise _refusal(self._path, "it is another program's database", "name another file")
        schema = self._pragma("user_version")
        if schema > len(MIGRATIONS):
            cure = "run the newer fig, or restore the backup from before the upgrade"
            raise _refusal(self._path, f"it has schema {schema} and this fig knows {len(MIGRATIONS)}", cure)

    def _set_durable(self) -> None:
        mode = self._pragma("journal_mode = WAL")
        if mode != "wal":
            raise _refusal(self._path, f"its journal mode stays {mode!r}", "put it on a local disk that can do WAL")
        self._opened().execute("PRAGMA synchronous = FULL")

    def _migrate(self) -> None:
        with self._transaction() as connection:
            for statements in MIGRATIONS[self._pragma("user_version") :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _pragma(self, text: str) -> Any:
        return self._opened().execute(f"PRAGMA {text}").fetchone()[0]

    def _identity_now(self) -> tuple[int, int]:
        return _identity(self._path)

    def _check_identity(self) -> None:
        """A file that was removed or replaced takes writes and forgets them: SQLite does not notice."""
        try:
            same = self._identity_now() == self._identity
            log = Path(f"{self._path}-wal")
            if self._wal is not None or log.exists():
                same = same and self._wal in (None, _identity(log))
                self._wal = _identity(log)
        except FileNotFoundError:
            same = False
        if not same:
            raise _refusal(self._path, "the file was removed or replaced while open", "put it back, or restart fig")

    def _record(self, seam: str, override: str | None, latch: str | None, version: int) -> SeamRecord:
        try:
            return record_from(override, latch, version)
        except ValueError as error:
            raise _refusal(self._path, f"the record of seam {seam!r} cannot be read: {error}", RESTORE) from error

    def _row(self, stored: tuple[Any, ...]) -> HistoryRow:
        row_id, at, actor, action, seam, reason, before, after = stored
        try:
            return HistoryRow(row_id, at, actor, action, seam, reason, json.loads(before), json.loads(after))
        except ValueError as error:
            raise _refusal(self._path, f"history row {row_id} cannot be read: {error}", RESTORE) from error


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _refusal(path: Path, what: str, cure: str) -> StoreError:
    return StoreError(f"store sqlite:{path}: {what}; {cure}")


def _cure(error: sqlite3.Error) -> str:
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return CURES.get(primary, RESTORE)
