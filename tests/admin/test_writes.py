from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from proxy.admin.writes import author, expected_version
from proxy.errors import VersionMismatch

versions = st.integers(0, 10**15)


def if_match(*values: str) -> Headers:
    return Headers(raw=[(b"if-match", value.encode("latin-1")) for value in values])


@given(versions, versions, st.sampled_from(['"{}"', "{}", 'W/"{}"', ' "{}" ']))
def test_a_tag_names_its_version(version: int, current: int, form: str) -> None:
    assert expected_version(if_match(form.format(version)), current) == version


@given(st.lists(versions, min_size=1, max_size=5), versions)
def test_of_several_versions_the_current_one_counts(listed: list[int], current: int) -> None:
    found = expected_version(if_match(", ".join(f'"{version}"' for version in listed)), current)
    assert (found == current) is (current in listed)


@given(st.text(st.characters(max_codepoint=255), max_size=30), versions)
def test_no_text_passes_for_any_version_but_a_star(text: str, current: int) -> None:
    try:
        found = expected_version(if_match(text), current)
    except VersionMismatch:
        return
    assert found is not None or text.strip() == "*"


def test_no_tag_expects_nothing() -> None:
    assert expected_version(Headers(raw=[]), 4) is None


@given(st.binary(max_size=400), st.text(st.characters(exclude_categories=["Cs"]), max_size=100))
def test_an_author_is_always_printable_and_never_empty(actor: bytes, reason: str) -> None:
    made = author(Headers(raw=[(b"x-fig-actor", actor)]), {"reason": reason}, 1.0)
    assert made.actor.isprintable()
    assert made.actor.endswith(" (unverified)")
    assert len(made.actor) <= 220
    assert made.reason.isprintable()


@pytest.mark.parametrize("members", [{}, {"reason": None}, {"reason": ""}])
def test_a_reason_may_be_missing(members: dict[str, object]) -> None:
    assert author(Headers(raw=[]), members, 1.0).reason == ""
