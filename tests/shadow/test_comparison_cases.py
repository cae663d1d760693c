"""Every pair of tests/cases/comparison_cases.json gives its verdict, class and paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.shadow.compare import compare
from proxy.shadow.rules import compile_rules
from tests.support.pairs import read_answer, read_ask

FILE = Path(__file__).parents[1] / "cases" / "comparison_cases.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case: dict[str, Any]) -> None:
    second = read_answer(case["legacy2"]) if "legacy2" in case else None
    verdict = compare(
        read_ask(case.get("request")),
        read_answer(case["legacy"]),
        read_answer(case["new"]),
        compile_rules(case["config"]),
        second,
    )
    assert verdict.verdict == case["expect"]
    assert verdict.counts == case.get("counts", True)
    assert verdict.kind == case.get("kind", "")
    if case["paths"] == ["*"]:
        assert verdict.paths
    else:
        assert sorted(verdict.paths) == sorted(case["paths"])


def test_there_are_cases() -> None:
    assert len(CASES) >= 79
