"""The import order of the house: a module imports only from its left, or from its own package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ORDER = (  # noqa: SIM905  one line reads as the order that it is
    "moment child errors messages events config routing snapshot exchange state wire upstreams admission shadow"
    " telemetry loader runtime forward gateway rollout admin descriptors notify inherit handover app cli"
).split()
# They do not know one another: the composition root hands each what it needs of the others.
STRANGERS = {"upstreams", "admission", "shadow"}
ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "proxy").rglob("*.py"))


def _noun(path: Path) -> str:
    return path.relative_to(ROOT / "proxy").parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import, also of those inside functions and TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"{path}:{node.lineno} reaches out of its package"
            yield node.lineno, ".".join((*path.relative_to(ROOT).parts[:-1], node.module or ""))
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.lineno, node.module


def test_every_package_has_its_place_in_the_order() -> None:
    assert {_noun(path) for path in FILES} - {"__init__"} <= set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_come_from_the_left(path: Path) -> None:
    noun = _noun(path)
    for line, module in _imports(path):
        package, _, rest = module.partition(".")
        assert package not in ("legacy_monolith", "extracted_services", "tests", "bench"), f"{path}:{line} {module}"
        if package != "proxy" or noun == "__init__" or not rest:
            continue
        imported = rest.partition(".")[0]
        if imported == noun:
            continue
        assert ORDER.index(imported) < ORDER.index(noun), f"{path}:{line} imports {module} from its right"
        assert not {imported, noun} <= STRANGERS, f"{path}:{line} {noun} must not know {imported}"


@pytest.mark.parametrize("place", ["legacy_monolith", "extracted_services"])
def test_the_sample_knows_neither_the_proxy_nor_a_sibling(place: str) -> None:
    for path in sorted((ROOT / place).rglob("*.py")):
        own = ".".join(path.relative_to(ROOT).parts[: 1 if place == "legacy_monolith" else 2])
        for line, module in _imports(path):
            foreign = module.split(".")[0] in ("proxy", "legacy_monolith", "extracted_services", "tests")
            assert not foreign or module == own or module.startswith(f"{own}."), f"{path}:{line} imports {module}"


def test_only_the_composition_root_constructs_the_long_lived_objects() -> None:
    kinds = {"Runtime", "Gateway", "Edge", "TimerWheel", "DataServer", "SqliteStore", "MemoryStore", "AccessLog"}
    for path in FILES:
        if path.name == "app.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in kinds, f"{path}:{node.lineno} constructs {node.func.id}"
