"""What can befall a file: locks, damage, a full disk, kill -9, another program, a newer fig."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from proxy.errors import StoreError
from proxy.snapshot import Override, SeamRecord
from proxy.state.sqlite import SqliteStore
from proxy.state.store import NewRow

ROOT = Path(__file__).parents[2]


def record(version: int) -> SeamRecord:
    return SeamRecord(Override("canary", 5.0, 1.0, "ann", "more"), None, version)


def row(version: int) -> NewRow:
    return NewRow(1.0, "ann", "shift", "catalog", "more", {"version": version - 1}, {"version": version})


async def fill(path: Path, puts: int) -> None:
    store = SqliteStore(path)
    await store.open()
    for version in range(1, puts + 1):
        await store.put("catalog", record(version), row(version), version - 1)
    await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path / "fig.db", 3))
    return tmp_path / "fig.db"


def refused(path: Path, match: str) -> None:
    """Opening is refused with these words, and a second attempt is refused alike."""

    async def story() -> None:
        store = SqliteStore(path, busy_timeout_s=0.05)
        for _ in range(2):
            with pytest.raises(StoreError, match=match) as raised:
                await store.open()
            assert str(path) in raised.value.detail

    asyncio.run(story())


@contextmanager
def shell(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@contextmanager
def taken_away(path: Path, replacement: bytes | None) -> Iterator[None]:
    """The file moved aside, with other contents in its place or none, and put back after."""
    aside = path.rename(path.with_suffix(".aside"))
    if replacement is not None:
        path.write_bytes(replacement)
    yield
    aside.rename(path)


class TestOpen:
    def test_makes_the_missing_folders(self, tmp_path: Path) -> None:
        asyncio.run(fill(tmp_path / "a" / "b" / "fig.db", 1))
        assert (tmp_path / "a" / "b" / "fig.db").exists()

    def test_leaves_a_file_in_wal_mode_with_its_schema_named(self, path: Path) -> None:
        with shell(path) as connection:
            pragmas = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "user_version")]
        assert pragmas == ["wal", 1]

    def test_refuses_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        (tmp_path / "fig.db").write_bytes(b"not a database, " * 200)
        refused(tmp_path / "fig.db", "restore a backup")

    def test_refuses_a_file_with_damaged_pages(self, path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[4096:] = random.Random(1).randbytes(len(raw) - 4096)
        path.write_bytes(raw)
        refused(path, "restore a backup")

    def test_refuses_a_truncated_file(self, path: Path) -> None:
        path.write_bytes(path.read_bytes()[:5000])
        refused(path, "restore a backup")

    def test_refuses_a_newer_schema_and_leaves_it_alone(self, path: Path) -> None:
        with shell(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        refused(path, "schema 99 and this fig knows 1; run the newer fig")

    def test_refuses_another_programs_database_and_leaves_it_alone(self, tmp_path: Path) -> None:
        with shell(tmp_path / "shop.db") as connection:
            connection.execute("CREATE TABLE orders (id INTEGER)")
        before = (tmp_path / "shop.db").read_bytes()
        refused(tmp_path / "shop.db", "another program's database; name another file")
        assert (tmp_path / "shop.db").read_bytes() == before

    def test_refuses_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "var").write_text("a file")
        refused(tmp_path / "var" / "fig.db", "make the file and its folder writable")

    def test_refuses_a_path_that_is_a_folder(self, tmp_path: Path) -> None:
        refused(tmp_path, "make the file and its folder writable")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_refuses_a_file_that_it_may_not_write(self, path: Path) -> None:
        path.chmod(0o444)
        refused(path, "make the file and its folder writable")

    def test_refuses_a_new_file_that_another_process_holds(self, tmp_path: Path) -> None:
        with shell(tmp_path / "fig.db") as other:
            other.execute("BEGIN EXCLUSIVE")
            refused(tmp_path / "fig.db", "stop the other process")

    def test_reads_an_existing_file_that_another_process_holds(self, path: Path) -> None:
        async def story() -> None:
            store = SqliteStore(path, busy_timeout_s=0.05)
            with shell(path) as other:
                other.execute("BEGIN EXCLUSIVE")
                await store.open()
                assert await store.load() == {"catalog": record(3)}
                await store.close()

        asyncio.run(story())

    def test_twice_is_once(self, path: Path) -> None:
        async def story() -> None:
            store = SqliteStore(path)
            await store.open()
            await store.open()
            await store.close()

        asyncio.run(story())


class TestLoad:
    @pytest.mark.parametrize("override", ["{", "[]", '{"stage": "gone"}'])
    def test_refuses_a_record_that_it_cannot_read(self, path: Path, override: str) -> None:
        with shell(path) as connection:
            connection.execute("UPDATE seam SET override = ?", (override,))

        async def story() -> None:
            store = SqliteStore(path)
            await store.open()
            with pytest.raises(StoreError, match="record of seam 'catalog' cannot be read"):
                await store.load()
            await store.close()

        asyncio.run(story())


class TestPut:
    def test_fails_while_another_process_holds_the_file_and_works_after(self, path: Path) -> None:
        async def story() -> None:
            store = SqliteStore(path, busy_timeout_s=0.05)
            await store.open()
            with shell(path) as other:
                other.execute("BEGIN EXCLUSIVE")
                for attempt in (store.put("catalog", record(4), row(4), 3), store.ping()):
                    with pytest.raises(StoreError, match="is locked; stop the other process"):
                        await attempt
                assert await store.load() == {"catalog": record(3)}
            await store.ping()
            await store.put("catalog", record(4), row(4), 3)
            assert len(await store.history(None)) == 4
            await store.close()

        asyncio.run(story())

    def test_cancelled_lands_exactly_once_whether_under_way_or_queued(self, path: Path) -> None:
        async def story() -> None:
            store = SqliteStore(path)
            await store.open()
            with shell(path) as other:
                other.execute("BEGIN EXCLUSIVE")
                puts = [asyncio.create_task(store.put("catalog", record(v), row(v), None)) for v in (4, 5)]
                await asyncio.sleep(0)
                for put in puts:
                    put.cancel()
                outcomes = await asyncio.gather(*puts, return_exceptions=True)
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
            await store.close()
            await store.open()
            assert [entry.after["version"] for entry in await store.history(None)] == [5, 4, 3, 2, 1]
            assert await store.load() == {"catalog": record(5)}
            await store.close()

        asyncio.run(story())

    @pytest.mark.parametrize("replacement", [None, b""])
    def test_refuses_to_write_into_a_file_that_was_taken_away(self, path: Path, replacement: bytes | None) -> None:
        async def story() -> None:
            store = SqliteStore(path)
            await store.open()
            with taken_away(path, replacement), pytest.raises(StoreError, match="removed or replaced"):
                await store.put("catalog", record(4), row(4), 3)
            await store.put("catalog", record(4), row(4), 3)
            await store.close()

        asyncio.run(story())


FULL_DISK = """
import asyncio, json, resource, sys
from pathlib import Path
from proxy.errors import StoreError
from proxy.snapshot import SeamRecord
from proxy.state.sqlite import SqliteStore
from proxy.state.store import NewRow

async def main(path):
    store = SqliteStore(path)
    await store.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (96 * 1024, hard))
    acknowledged, detail = 0, ""
    while not detail and acknowledged < 1000:
        version = acknowledged + 1
        row = NewRow(1.0, "ann", "shift", "catalog", "", {}, {"version": version})
        try:
            await store.put("catalog", SeamRecord(version=version), row, acknowledged)
            acknowledged = version
        except StoreError as error:
            detail = error.detail
    kept = (await store.load())["catalog"].version
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await store.put("catalog", SeamRecord(version=acknowledged + 1), row, acknowledged)
    rows = await store.history(None, 2000)
    await store.close()
    print(json.dumps([acknowledged, kept, len(rows), detail]))

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_full_disk_refuses_the_write_keeps_the_others_and_recovers(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "fig.db")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=30)
    acknowledged, kept, rows, detail = json.loads(done.stdout)
    assert 0 < acknowledged < 1000
    assert kept == acknowledged
    assert rows == acknowledged + 1
    assert "check the disk" in detail or "free disk space" in detail


WRITER = """
import asyncio, sys
from pathlib import Path
from proxy.snapshot import Override, SeamRecord
from proxy.state.sqlite import SqliteStore
from proxy.state.store import NewRow

async def main(path):
    print("start", flush=True)
    store = SqliteStore(path)
    await store.open()
    stored = (await store.load()).get("catalog", SeamRecord())
    version = stored.version
    while True:
        version += 1
        record = SeamRecord(Override("canary", version % 100, 1.0, "ann", ""), None, version)
        row = NewRow(1.0, "ann", "shift", "catalog", "", {"version": version - 1}, {"version": version})
        await store.put("catalog", record, row, version - 1)
        print(version, flush=True)

asyncio.run(main(Path(sys.argv[1])))
"""


def acknowledged_before_kill(path: Path, lines: int) -> int:
    """Run the writer, kill it (SIGKILL) after so many lines, and return the last version that it acknowledged."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        heard = [writer.stdout.readline() for _ in range(lines)]
        writer.kill()
        heard += writer.stdout.read().splitlines()
    return max((int(line) for line in heard if line.strip().isdigit()), default=0)


async def stored_versions(path: Path) -> tuple[int, list[int]]:
    """The record's version and the versions of its audit rows, oldest first."""
    store = SqliteStore(path)
    await store.open()
    rows = await store.history("catalog", 1_000_000)
    seam = (await store.load()).get("catalog", SeamRecord())
    await store.close()
    return seam.version, [entry.after["version"] for entry in reversed(rows)]


def test_kill_9_at_any_moment_loses_no_acknowledged_write(tmp_path: Path) -> None:
    path, rng = tmp_path / "fig.db", random.Random(7)
    last = 0
    for lines in [1, *(rng.randrange(2, 60) for _ in range(7))]:
        last = max(last, acknowledged_before_kill(path, lines))
        if path.exists():
            with shell(path) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        version, audited = asyncio.run(stored_versions(path))
        assert last <= version <= last + 1
        assert audited == list(range(1, version + 1))
        last = version


def test_a_second_process_on_the_same_file_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    async def story() -> None:
        first, second = SqliteStore(tmp_path / "fig.db"), SqliteStore(tmp_path / "fig.db")
        await first.open()
        with pytest.raises(StoreError, match="another fig uses it"):
            await second.open()
        await second.close()
        await first.close()
        third = SqliteStore(tmp_path / "fig.db")
        await third.open()
        await third.close()

    asyncio.run(story())


def test_a_write_ahead_log_that_was_removed_under_us_is_noticed(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteStore(tmp_path / "fig.db")
        await store.open()
        await store.put("a", record(1), row(1), None)
        (tmp_path / "fig.db-wal").unlink()
        with pytest.raises(StoreError, match="removed or replaced"):
            await store.put("a", record(2), row(2), None)
        await store.close()

    asyncio.run(story())
