"""A file's name alone rolls back: whatever kind of file it is, it neither stops nor costs the others anything."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from proxy.rollout.rollback_file import RollbackFiles


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"orders are lost", "orders are lost"),
        (b"  orders are lost \r\nsecond line\n", "orders are lost"),
        (b"x" * 9000, "x" * 500),
        ("für später".encode(), "für später"),
        (b"caf\xe9", "caf\ufffd"),
    ],
)
def test_the_first_line_is_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "catalog").write_bytes(content)
    assert RollbackFiles(tmp_path).read() == {"catalog": reason}


@pytest.mark.parametrize("content", [b"", b"\n", b"  \t\nsecond line\n"])
def test_a_file_that_says_nothing_is_its_own_reason(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "catalog").write_bytes(content)
    assert RollbackFiles(tmp_path).read() == {"catalog": f"file {tmp_path / 'catalog'}"}


def test_every_file_but_hidden_ones_counts(tmp_path: Path) -> None:
    for name in ("catalog", "orders", ".catalog.swp"):
        (tmp_path / name).write_text(f"because of {name}")
    assert RollbackFiles(tmp_path).read() == {"catalog": "because of catalog", "orders": "because of orders"}


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    files = RollbackFiles(tmp_path / "var" / "rollback")
    assert files.read() == {}
    assert not files.exists("catalog")


def test_a_file_in_place_of_the_folder_holds_none(tmp_path: Path) -> None:
    (tmp_path / "rollback").touch()
    assert RollbackFiles(tmp_path / "rollback").read() == {}


def test_a_file_that_is_removed_counts_no_longer(tmp_path: Path) -> None:
    files = RollbackFiles(tmp_path)
    (tmp_path / "catalog").touch()
    assert files.exists("catalog")
    (tmp_path / "catalog").unlink()
    assert not files.exists("catalog")
    assert files.read() == {}


def _made(folder: Path, kind: str) -> Path:
    path = folder / "catalog"
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "socket":
            with closing(socket.socket(socket.AF_UNIX)) as listening:
                listening.bind(str(path))
        case "dangling link":
            path.symlink_to(folder / "nowhere" / "at all")
        case "link to itself":
            path.symlink_to(path)
    return path


KINDS = ["folder", "fifo", "socket", "dangling link", "link to itself"]


@pytest.mark.timeout(5)  # a FIFO that is waited for would wait for ever
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_bears_the_name_rolls_back_and_forbids_resume(tmp_path: Path, kind: str) -> None:
    path = _made(tmp_path, kind)
    (tmp_path / "orders").write_text("because")
    files = RollbackFiles(tmp_path)
    assert files.read() == {"catalog": f"file {path}", "orders": "because"}
    assert files.exists("catalog")


@pytest.mark.timeout(5)
@pytest.mark.parametrize("kind", KINDS)
def test_looking_again_and_again_keeps_no_descriptor(tmp_path: Path, kind: str) -> None:
    _made(tmp_path, kind)
    files = RollbackFiles(tmp_path)
    before = os.listdir("/dev/fd")  # noqa: PTH208  names of descriptors, not paths
    for _ in range(20):
        files.read()
    assert len(os.listdir("/dev/fd")) == len(before)  # noqa: PTH208


@pytest.mark.timeout(5)
def test_a_fifo_whose_writer_is_silent_rolls_back(tmp_path: Path) -> None:
    path = _made(tmp_path, "fifo")
    writer = os.open(path, os.O_RDWR)
    try:
        assert RollbackFiles(tmp_path).read() == {"catalog": f"file {path}"}
    finally:
        os.close(writer)
