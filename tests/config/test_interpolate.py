from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.interpolate import MAX_SECRET_BYTES, Interpolation

ENVIRON = {
    "HOST": "shop.example",
    "EMPTY": "",
    "NESTED": "${HOST}",
    "LATIN": b"\xe4".decode("utf-8", "surrogateescape"),
}


def expand(text: str, folder: Path = Path()) -> str:
    expansion = Interpolation(ENVIRON, folder).expand(text)
    assert expansion.errors == ()
    return expansion.text


def failure(text: str, folder: Path = Path()) -> tuple[str, str]:
    (error,) = Interpolation(ENVIRON, folder).expand(text).errors
    return error


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${HOST}", "shop.example"),
        ("http://${HOST}:80", "http://shop.example:80"),
        ("${HOST}${HOST}", "shop.exampleshop.example"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${UNSET:-a:-b c}", "a:-b c"),
        ("${UNSET:-}", ""),
        ("${HOST:-x}", "shop.example"),
        ("${HOST:?must be set}", "shop.example"),
        ("$${HOST}", "${HOST}"),
        ("$HOST $$ $", "$HOST $$ $"),
        ("${NESTED}", "${HOST}"),
    ],
)
def test_expressions_take_their_values_from_the_environment(text: str, expanded: str) -> None:
    assert expand(text) == expanded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${UNSET}", "environment variable UNSET is not set: set it, or write ${UNSET:-default}"),
        ("${UNSET:?ask the operator}", "environment variable UNSET is not set: ask the operator"),
        ("${EMPTY:?}", "environment variable EMPTY is not set: it is required"),
        ("${LATIN}", "environment variable LATIN is not UTF-8"),
        ("${LATIN:-x}", "environment variable LATIN is not UTF-8"),
        ("a ${HOST", "`${HOST` is not an expression"),
        ("${}", "`${}` is not an expression"),
        ("${HOST-x}", "`${HOST-x}` is not an expression"),
        ("${1A}", "`${1A}` is not an expression"),
        ("${file:}", "`${file:}` is not an expression"),
    ],
)
def test_an_expression_without_value_says_why(text: str, message: str) -> None:
    code, said = failure(text)
    assert code == "FIG011"
    assert said.startswith(message)


def test_every_failure_of_a_text_is_reported() -> None:
    errors = Interpolation({}, Path()).expand("${A} ${B} ${file:/nowhere/at/all}").errors
    assert [code for code, _ in errors] == ["FIG011", "FIG011", "FIG012"]


def test_only_a_text_that_is_one_expression_is_whole() -> None:
    interpolation = Interpolation(ENVIRON, Path())
    assert interpolation.expand("${HOST}").whole
    assert not any(interpolation.expand(text).whole for text in ("a${HOST}", "${HOST}${HOST}", "$${HOST}"))


@pytest.mark.parametrize(
    ("content", "value"), [(b"x", "x"), (b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b"", ""), (b" x ", " x ")]
)
def test_a_secret_file_loses_one_newline_at_its_end(tmp_path: Path, content: bytes, value: str) -> None:
    (tmp_path / "token").write_bytes(content)
    assert expand("${file:token}", tmp_path) == value
    assert expand(f"${{file:{tmp_path}/token}}") == value


def test_secret_files_are_remembered_even_where_they_are_missing(tmp_path: Path) -> None:
    interpolation = Interpolation({}, tmp_path)
    (tmp_path / "a").write_text("1")
    interpolation.expand("${file:a}${file:b}")
    assert interpolation.files == [tmp_path / "a", tmp_path / "b"]


def test_secret_files_that_cannot_be_taken_say_why(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin").write_bytes(b"\xe4")
    (tmp_path / "long").write_bytes(b"x" * (MAX_SECRET_BYTES + 1))
    reasons = {name: failure(f"${{file:{name}}}", tmp_path) for name in ("missing", "folder", "latin", "long")}
    assert {code for code, _ in reasons.values()} == {"FIG012"}
    assert reasons["missing"][1].endswith("No such file or directory")
    assert reasons["folder"][1].endswith("not a regular file")
    assert reasons["latin"][1].endswith("not UTF-8")
    assert reasons["long"][1].endswith(f"longer than {MAX_SECRET_BYTES} bytes")


@given(st.text())
def test_a_text_with_every_opening_doubled_comes_out_as_it_was(text: str) -> None:
    assert Interpolation({}, Path()).expand(text.replace("${", "$${")).text == text.replace("$${", "$" + "${")
