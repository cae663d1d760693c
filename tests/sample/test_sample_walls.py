"""The sample stays what it claims: services that can be deployed alone, a configuration that names real routes."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent for path in (ROOT / "extracted_services").glob("*/pyproject.toml"))
MODULES = [module for service in SERVICES for module in sorted(service.glob("*.py"))]
CATALOG, REGISTRY = (ROOT / "extracted_services" / name for name in ("catalog", "registry"))


def imported(path):
    """Top-level names of absolute imports; relative ones must not climb out of the folder."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{path.name} imports from beyond its folder"
            if node.level == 0:
                yield node.module.split(".")[0]


def test_every_service_can_be_deployed_alone():
    assert SERVICES == [CATALOG, REGISTRY]
    for service in SERVICES:
        names = {path.name for path in service.iterdir()}
        assert names >= {"__init__.py", "__main__.py", "app.py", "Dockerfile", "README.md", ".dockerignore"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_service_imports_only_itself_the_standard_library_and_what_it_declares(path):
    project = tomllib.loads((path.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {line.partition(">=")[0] for line in project["dependencies"]}
    assert set(imported(path)) <= declared | sys.stdlib_module_names


PURE = {"__future__", "collections", "dataclasses", "math", "re", "typing"}


@pytest.mark.parametrize("path", [CATALOG / "domain.py", REGISTRY / "members.py", REGISTRY / "consul.py"])
def test_the_rules_do_no_io_and_read_no_clock(path):
    assert set(imported(path)) <= PURE


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
