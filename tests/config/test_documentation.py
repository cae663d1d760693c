from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from proxy.config import validate
from proxy.config.compare_keys import COMPARE_KEYS
from proxy.config.load import load
from proxy.config.shape import MODELS, NOT_AVAILABLE
from proxy.loader import CHECKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text()


def whole_examples() -> list[str]:
    """Those that need no other file."""
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    return [example for example in examples if "version: 1\n" in example and "include:" not in example]


EXAMPLES = [["monolith", "catalog"], ["catalog", "stock"], ["monolith", "payment"], *[["monolith", "catalog"]] * 2]
"""The upstreams of each."""


@pytest.mark.parametrize(("number", "names"), list(enumerate(EXAMPLES)))
def test_the_examples_load_without_a_warning(tmp_path: Path, number: int, names: list[str]) -> None:
    (tmp_path / "fig.yaml").write_text(whole_examples()[number])
    loaded = load(tmp_path / "fig.yaml", {}, CHECKS)
    assert (loaded.warnings, list(loaded.settings.upstreams)) == ((), names)


def test_no_whole_example_is_left_out() -> None:
    assert len(whole_examples()) == len(EXAMPLES)


@pytest.mark.parametrize("section", MODELS)
def test_every_key_stands_on_the_page(section: str) -> None:
    last = section.rpartition(".")[2]
    keys = list(MODELS[section].model_fields)
    inline = {
        key
        for key in keys
        if f"`{key}`" in PAGE or f"`{last}.{key}`" in PAGE or f"`{key}." in PAGE or f"{{{key}: " in PAGE
    }
    inline |= {key for key in keys if f", {key}: " in PAGE}
    assert inline == set(keys)


def test_every_rule_of_the_comparison_stands_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)`", PAGE.partition("#### `compare`")[2].partition("\n## ")[0], re.MULTILINE)
    assert rows[: len(COMPARE_KEYS)] == list(COMPARE_KEYS)


def test_every_key_of_a_later_feature_stands_on_the_page() -> None:
    later = PAGE.partition("## Not available yet")[2].partition("## Problems")[0]
    for section, keys in NOT_AVAILABLE.items():
        names = {f"{section}.{key}" if section in ("server", "telemetry") else key for key in keys}
        assert all(f"`{name}`" in later for name in names), section


def test_codes_are_the_same_in_code_table_and_page() -> None:
    elsewhere = [ROOT / "proxy" / "routing" / "table.py", ROOT / "proxy" / "shadow" / "rule_check.py"]
    modules = [*(ROOT / "proxy" / "config").glob("*.py"), *elsewhere]
    raised = {code for module in modules for code in re.findall(r'"(FIG\d{3})"', module.read_text())}
    assert validate.__doc__ is not None
    # A compiled module has no __doc__.
    described = [ast.get_docstring(ast.parse(module.read_text())) or "" for module in elsewhere]
    assert set(re.findall(r"FIG\d{3}", validate.__doc__ + "".join(described))) == raised
    assert re.findall(r"^\| (FIG\d{3}) \|", PAGE, re.MULTILINE) == sorted(raised)


def test_the_page_marks_the_same_warnings_as_the_table() -> None:
    assert validate.__doc__ is not None
    marked = re.findall(r"\bw (FIG\d{3})", validate.__doc__)
    assert re.findall(r"^\| (FIG\d{3}) \| warning:", PAGE, re.MULTILINE) == sorted(marked)
