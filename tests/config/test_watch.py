"""A change of any file is noticed once, whatever way it was made, and nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

from proxy.config.watch import FileWatch

LATER = 10_000.0


def _age(path: Path, at: float) -> None:
    os.utime(path, (at, at))


def made(folder: Path) -> tuple[Path, FileWatch]:
    path = folder / "fig.yaml"
    path.write_text("version: 1\ninclude: [seams/*.yaml]\n")
    _age(path, 1000)
    return path, FileWatch(path, [path])


def test_nothing_changed_is_nothing_changed(tmp_path: Path) -> None:
    _, watch = made(tmp_path)
    assert not watch.changed(LATER)


def test_a_write_in_place_is_noticed_once(tmp_path: Path) -> None:
    path, watch = made(tmp_path)
    path.write_text("version: 1\n# other\n")
    assert watch.changed(LATER)
    assert not watch.changed(LATER)


def test_a_touch_without_new_contents_is_not_a_change(tmp_path: Path) -> None:
    path, watch = made(tmp_path)
    _age(path, 2000)
    assert not watch.changed(LATER)


def test_a_second_write_within_the_time_stamp_is_noticed(tmp_path: Path) -> None:
    path, watch = made(tmp_path)
    path.write_text("version: 1\n# aaaaa\n")
    _age(path, 1000)
    assert watch.changed(1001)
    path.write_text("version: 1\n# bbbbb\n")
    _age(path, 1000)
    assert watch.changed(1001)


def test_a_rename_over_the_file_is_noticed(tmp_path: Path) -> None:
    path, watch = made(tmp_path)
    other = tmp_path / "new"
    other.write_text("version: 1\n# new\n")
    _age(other, 1000)
    other.replace(path)
    assert watch.changed(LATER)


def test_a_file_that_comes_under_an_include_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "seams").mkdir()
    _, watch = made(tmp_path)
    (tmp_path / "seams" / "a.yaml").write_text("seams: {}\n")
    assert watch.changed(LATER) or watch.changed((tmp_path / "seams").stat().st_mtime)


def test_a_file_that_is_gone_is_noticed(tmp_path: Path) -> None:
    path, watch = made(tmp_path)
    path.unlink()
    assert watch.changed(LATER)


def test_a_new_part_of_the_configuration_counts_as_changed_once(tmp_path: Path) -> None:
    path, watch = made(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("x")
    watch.follow([path, secret])
    assert watch.changed(LATER)
    assert not watch.changed(LATER)
    secret.write_text("yy")
    assert watch.changed(LATER)
