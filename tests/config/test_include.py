from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.include import matches, patterns_of


@pytest.fixture
def main(tmp_path: Path) -> Path:
    for name in ("fig.yaml", "seams/b.yaml", "seams/a.yaml", "seams/deep/c.yaml", "seams/.hidden.yaml", "seams/a.txt"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("seams: {}\n")
    (tmp_path / "seams/folder.yaml").mkdir()
    return tmp_path / "fig.yaml"


def names(main: Path, pattern: str) -> list[str]:
    return [str(path.relative_to(main.parent)) for path in matches(main, pattern)]


def test_a_glob_matches_visible_files_in_order(main: Path) -> None:
    assert names(main, "seams/*.yaml") == ["seams/a.yaml", "seams/b.yaml"]
    assert names(main, "seams/**/*.yaml") == ["seams/a.yaml", "seams/b.yaml", "seams/deep/c.yaml"]
    assert names(main, "seams/.h*.yaml") == ["seams/.hidden.yaml"]


def test_a_glob_never_matches_the_main_file(main: Path) -> None:
    assert names(main, "*.yaml") == []


def test_absolute_patterns_and_plain_names_match(main: Path) -> None:
    assert names(main, f"{main.parent}/seams/[ab].yaml") == ["seams/a.yaml", "seams/b.yaml"]
    assert names(main, "seams/a.yaml") == ["seams/a.yaml"]
    assert names(main, "seams/c.yaml") == []


@pytest.mark.parametrize("pattern", ["", "**x.yaml", "seams", "a\0*", "a\0", "."])
def test_nothing_matches_an_impossible_pattern(main: Path, pattern: str) -> None:
    assert matches(main, pattern) == []


def test_brackets_in_the_folder_are_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "conf[1]*"
    folder.mkdir()
    (folder / "a.yaml").write_text("")
    assert matches(folder / "fig.yaml", "*.yaml") == [folder / "a.yaml"]


@pytest.mark.parametrize(
    "content",
    [
        b"version: 1\ninclude: [a, 'b']\nseams: {}\n",
        b"include:\n  - a\n\n  # why\n  - b\nseams: {}\n",
        b"include:\n- a\n- b\n",
        b"include: [\n  a,\n  b\n]\nseams: {}\n",
        b"'include': [a, b]",
        b'{"version": 1, "include": ["a", "b"]}',
        b"  version: 1\n  include: [a, b]\n",
        b"x: &x [a, b]\ninclude: *x\n",
        b"include:\r\n  - a\r\n  - b\r\nseams: {}\r\n",
    ],
)
def test_patterns_are_found_however_they_are_written(content: bytes) -> None:
    assert patterns_of(content) == ["a", "b"]


@pytest.mark.parametrize(
    "content", [b"", b"seams: {include: [a]}", b"include: a", b"include: [", b"\xff include: [a]", b"# include: [a]"]
)
def test_no_patterns_are_found_where_there_are_none(content: bytes) -> None:
    assert patterns_of(content) == []
