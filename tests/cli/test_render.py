from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.render import Table, printable

words = st.text(max_size=12)


@given(words)
def test_nothing_but_printable_text_and_line_ends_comes_out(text: str) -> None:
    assert printable(text).replace("\n", "").isprintable() or printable(text) in ("", "\n")


@given(st.lists(st.tuples(words, words), max_size=5))
def test_a_table_has_a_line_a_row_and_aligned_columns(rows: list[tuple[str, str]]) -> None:
    lines = Table(("NAME", "VALUE"), rows).text().split("\n")
    assert len(lines) == len(rows) + 1
    at = lines[0].index("VALUE")
    for line, (_, value) in zip(lines[1:], rows, strict=True):
        shown = "-" if value == "" else printable(value).replace("\n", " ")
        assert line[at:] == shown.rstrip()


def test_a_table_without_headers_is_its_rows() -> None:
    assert Table((), [("a", 1), (None, "")]).text() == "a  1\n-  -"
    assert Table((), []).text() == ""
