"""The sample stays what it claims: services that can be deployed alone, a configuration that names real routes."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "extracted_services" / "catalog"


def imported(path):
    """Top-level names of absolute imports; relative ones must not climb out of the folder."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{path.name} imports from beyond its folder"
            if node.level == 0:
                yield node.module.split(".")[0]


@pytest.mark.parametrize("path", sorted(CATALOG.glob("*.py")), ids=lambda path: path.name)
def test_the_catalog_imports_only_itself_the_standard_library_and_what_it_declares(path):
    project = tomllib.loads((CATALOG / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {line.partition(">=")[0] for line in project["dependencies"]}
    assert set(imported(path)) <= declared | sys.stdlib_module_names


def test_the_rules_of_the_catalog_do_no_io():
    assert set(imported(CATALOG / "domain.py")) <= {"__future__", "collections", "dataclasses", "re"}


def test_the_schema_has_no_word_for_who_buys():
    assert "customer" not in (CATALOG / "schema.sql").read_text(encoding="utf-8")


def test_the_configuration_starts_with_its_schema_and_moves_nobody():
    text = (ROOT / "config" / "proxy.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=./schema.json\n")
    seam = yaml.safe_load(text)["seams"]["catalog"]
    assert (seam["stage"], seam["percent"]) == ("canary", 0)


def test_the_seams_routes_are_routes_of_the_catalog(catalog):
    seam = yaml.safe_load((ROOT / "config" / "proxy.yaml").read_text(encoding="utf-8"))["seams"]["catalog"]
    for route in seam["routes"]:
        for method in route["methods"]:
            assert catalog.request(method, route["path"].replace("{id}", "7")).status_code == 200
