"""docs/faults.md shows what the tests assert: each of its rows is one that a test holds, and each test exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.wire.test_fallback import FAULTS
from tests.wire.test_faults import ROWS

ROOT = Path(__file__).parents[2]
LINES = [line for line in (ROOT / "docs" / "faults.md").read_text().splitlines() if re.match(r"\| F\d+[ ,]", line)]
ONE_HOP = {f"F{number}" for number in (*range(1, 12), 16, 17, *range(19, 25), *range(27, 31))}
_TEST = re.compile(r"`(?:([\w/]+\.py)::)?(test_\w+)`")


def _functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_table_shows_every_row_that_is_tested_and_no_other_of_that_file() -> None:
    shown = [line for line in LINES if "::" not in line]
    assert shown == [str(row) for row in sorted(ROWS, key=lambda row: int(row.number[1:]))]


def test_the_table_of_the_other_side_shows_every_row_that_is_tested() -> None:
    shown = [line for line in LINES if line.endswith("::test_a_fault` |")]
    assert shown == list(map(str, FAULTS))


def test_every_row_names_tests_that_exist() -> None:
    for line in LINES:
        named = _TEST.findall(line)
        assert named, f"no test in {line}"
        for path, function in named:
            assert function in _functions(path or "tests/wire/test_faults.py"), f"{function} of {line}"


def test_every_fault_of_one_hop_has_a_row() -> None:
    assert {number for line in LINES for number in line.split(" | ")[0].strip("| ").split(", ")} == ONE_HOP
