"""What a compiled build may not have. Of a build in plain Python there is nothing to say."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import proxy
from proxy import build
from proxy.telemetry.metrics import Metrics

# One for the life of the process, and nobody refers to it weakly.
KEPT = {Metrics}


def _compiled_classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(proxy.__path__, "proxy."):
        found = vars(importlib.import_module(module.name)).values()
        yield from (one for one in found if isinstance(one, type) and _compiled(one) and one.__module__ == module.name)


def _compiled(one: type) -> bool:
    return "__mypyc_attrs__" in vars(one)


def _keeps_something(base: type) -> bool:
    """Whether an instance has a dict or slots by this base: what a compiled subclass would never free."""
    slots = vars(base).get("__slots__", ("__dict__",) if base.__flags__ & HEAP else ())
    return bool(slots)


HEAP = 1 << 9


@pytest.mark.skipif(build() == "pure", reason="not compiled")
def test_no_compiled_class_has_a_foreign_base_that_keeps_something() -> None:
    classes = set(_compiled_classes())
    assert classes
    leaking = {
        one.__qualname__: base.__qualname__
        for one in classes - KEPT
        for base in one.__mro__[1:]
        if not _compiled(base) and not issubclass(base, BaseException) and _keeps_something(base)
    }
    assert not leaking
