from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.config_diff import differences
from tests.support.admin import CONFIG
from tests.support.cli import Command, Served


@pytest.fixture
def wanted(tmp_path: Path) -> Path:
    """A file of one's own beside the one that is running."""
    (tmp_path / "mine").mkdir()
    path = tmp_path / "mine" / "fig.yaml"
    path.write_text(CONFIG)
    return path


def edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def test_the_same_configuration_is_exit_0(run: Command, wanted: Path) -> None:
    edit(wanted, "stage: canary\n    percent: 25", "percent: 25.0  # the same, in other words")
    result = run("diff", wanted)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no differences" in result.stderr


def test_each_changed_key_is_listed_with_old_and_new(run: Command, wanted: Path) -> None:
    edit(wanted, "percent: 25", "percent: 30")
    edit(wanted, "methods: [GET, HEAD]", "methods: [GET]")
    result = run("diff", wanted)
    assert result.exit_code == 4
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()[1:]]
    assert rows == [
        'seams.catalog.routes[0].methods ["GET", "HEAD"] → ["GET"]',
        "seams.catalog.percent 25.0 → 30.0",
    ]


def test_a_whole_seam_is_one_difference(run: Command, wanted: Path) -> None:
    edit(wanted, "  pages:", "  sites:")
    result = run("diff", wanted, "-o", "json")
    assert result.exit_code == 4
    changes = {change["key"]: change for change in json.loads(result.stdout)["changes"]}
    assert set(changes) == {"seams.pages", "seams.sites"}
    assert changes["seams.pages"]["file"] is None
    assert changes["seams.sites"]["file"]["routes"][0]["path"] == "/pages/**"


def test_overrides_and_rollbacks_are_named_with_their_cure(run: Command, wanted: Path) -> None:
    run("shift", "catalog", "40")
    run("rollback", "orders")
    result = run("diff", wanted)
    assert result.exit_code == 0
    assert "seam catalog: override canary 40 % by ana (unverified); `fig reset catalog`" in result.stdout
    assert "seam orders: rolled back by ana (unverified); `fig resume orders`" in result.stdout
    standing = json.loads(run("diff", wanted, "-o", "json").stdout)["standing"]
    assert [one["cure"] for one in standing] == ["fig reset catalog", "fig resume orders"]


def test_secrets_are_compared_masked(locked: Served, wanted: Path) -> None:
    run = locked.command(FIG_ADMIN_TOKEN="s3cret-token")
    result = run("diff", wanted)
    assert (result.exit_code, result.stdout) == (0, "")
    edit(wanted, "${FIG_ADMIN_TOKEN:-}", "")
    result = run("diff", wanted)
    assert result.exit_code == 4
    assert "s3cret" not in result.output


def test_an_invalid_file_is_exit_3(run: Command, wanted: Path) -> None:
    edit(wanted, "percent: 25", "percent: 250")
    result = run("diff", wanted)
    assert (result.exit_code, result.stdout) == (3, "")


documents = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text("xyz", min_size=1, max_size=2), below, max_size=3)
    ),
    max_leaves=8,
)


@given(documents)
def test_a_document_does_not_differ_from_itself(document: Any) -> None:
    assert differences(document, document) == []


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(below) for key, below in value.items() if below is not None}
    return [without_nulls(below) for below in value] if isinstance(value, list) else value


@given(documents, documents)
def test_documents_without_differences_are_equal_but_for_nulls(left: Any, right: Any) -> None:
    found = differences(left, right)
    mirrored = differences(right, left)
    assert {(one["key"], str(one["running"]), str(one["file"])) for one in found} == {
        (one["key"], str(one["file"]), str(one["running"])) for one in mirrored
    }
    if not found:
        assert without_nulls(left) == without_nulls(right)
