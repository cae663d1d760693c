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


def _aged(folder: Path) -> None:
    """Everything in `folder` is so old that only a difference counts."""
    for path in (folder, *folder.rglob("*")):
        _age(path, 1000)


def _watching(folder: Path, pattern: str) -> FileWatch:
    """A watch that has seen everything that is there now, and knows the main file only."""
    path = folder / "fig.yaml"
    path.write_text(f"version: 1\ninclude: [{pattern}]\n")
    _aged(folder)
    watch = FileWatch(path, [path])
    assert not watch.changed(LATER)
    return watch


def test_the_first_file_in_an_empty_folder_is_noticed_once(tmp_path: Path) -> None:
    (tmp_path / "seams").mkdir()
    watch = _watching(tmp_path, "seams/*.yaml")
    (tmp_path / "seams" / "a.yaml").write_text("seams: {}\n")
    assert watch.changed(LATER)
    assert not watch.changed(LATER)


def test_a_folder_that_was_not_there_is_noticed_with_its_first_file(tmp_path: Path) -> None:
    watch = _watching(tmp_path, "seams/*.yaml")
    (tmp_path / "seams").mkdir()
    assert not watch.changed(LATER)
    (tmp_path / "seams" / "a.yaml").write_text("seams: {}\n")
    assert watch.changed(LATER)


def test_a_new_folder_under_a_pattern_of_folders_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "teams" / "x").mkdir(parents=True)
    (tmp_path / "teams" / "x" / "seams.yaml").write_text("seams: {}\n")
    watch = _watching(tmp_path, "teams/*/seams.yaml")
    (tmp_path / "teams" / "y").mkdir()
    (tmp_path / "teams" / "y" / "seams.yaml").write_text("seams: {}\n")
    assert watch.changed(LATER)
    assert not watch.changed(LATER)


def test_a_file_that_leaves_a_pattern_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "seams").mkdir()
    (tmp_path / "seams" / "a.yaml").write_text("seams: {}\n")
    watch = _watching(tmp_path, "seams/*.yaml")
    (tmp_path / "seams" / "a.yaml").rename(tmp_path / "seams" / "a.yaml.off")
    assert watch.changed(LATER)
    assert not watch.changed(LATER)


def test_an_edit_under_a_pattern_is_noticed_by_its_time_alone(tmp_path: Path) -> None:
    (tmp_path / "seams").mkdir()
    included = tmp_path / "seams" / "a.yaml"
    included.write_text("seams: {}\n")
    watch = _watching(tmp_path, "seams/*.yaml")
    included.write_text("seams:   \n")  # of the same size, and the folder's time stays
    _age(included, 1001)
    assert watch.changed(LATER)


def test_files_of_a_pattern_that_the_main_file_takes_up_are_watched(tmp_path: Path) -> None:
    (tmp_path / "teams").mkdir()
    watch = _watching(tmp_path, "seams/*.yaml")
    (tmp_path / "fig.yaml").write_text("version: 1\ninclude: [teams/*.yaml]\n")
    assert watch.changed(LATER)
    (tmp_path / "teams" / "a.yaml").write_text("seams: {}\n")
    assert watch.changed(LATER)


def test_a_file_beside_the_pattern_is_not_a_change(tmp_path: Path) -> None:
    (tmp_path / "seams").mkdir()
    watch = _watching(tmp_path, "seams/*.yaml")
    (tmp_path / "seams" / "notes.txt").write_text("x")
    assert not watch.changed(LATER)


def test_what_is_forgotten_counts_as_changed_once(tmp_path: Path) -> None:
    _, watch = made(tmp_path)
    watch.forget()
    assert watch.changed(LATER)
    assert not watch.changed(LATER)


def test_what_is_remembered_is_no_change(tmp_path: Path) -> None:
    path, watch = made(tmp_path)
    path.write_text("version: 1\n# other\n")
    watch.remember()
    assert not watch.changed(LATER)


def test_a_main_file_that_is_gone_and_back_is_noticed_both_times(tmp_path: Path) -> None:
    path, watch = made(tmp_path)
    content = path.read_text()
    path.unlink()
    assert watch.changed(LATER)
    path.write_text(content)
    _age(path, 1000)
    assert watch.changed(LATER)
