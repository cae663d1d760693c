from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.finding import Finding, did_you_mean, dotted, lineage, printable


def test_a_path_lies_in_each_of_its_ancestors() -> None:
    assert list(lineage("seams.a.routes[0].path")) == [
        "seams.a.routes[0].path",
        "seams.a.routes[0]",
        "seams.a.routes",
        "seams.a",
        "seams",
    ]


def test_a_finding_follows_from_anything_broken_that_it_lies_in_or_needs() -> None:
    finding = Finding("seams.a.percent", "FIG203", "", needs=("seams.a.stage",))
    assert all(finding.follows_from({path}) for path in ("seams.a.percent", "seams.a", "seams", "seams.a.stage"))
    assert not any(finding.follows_from({path}) for path in ("seams.a.stage.x", "seams.ab", "seams.a.percentage"))


def test_a_dotted_path_numbers_items_in_brackets() -> None:
    assert dotted(("seams", "a", "routes", 0, "path")) == "seams.a.routes[0].path"
    assert dotted(()) == ""


def test_the_nearest_word_is_suggested_whatever_its_case_and_dashes() -> None:
    assert did_you_mean("stickyBy", ["stage", "sticky_by"]) == " (did you mean `sticky_by`?)"
    assert did_you_mean("strip-prefix", ["strip_prefix"]) == " (did you mean `strip_prefix`?)"
    assert did_you_mean("zzz", ["stage", "sticky_by"]) == ""


@given(st.text())
def test_a_printable_message_is_one_line(text: str) -> None:
    assert len(printable(text).splitlines()) <= 1
