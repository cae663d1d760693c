"""Snapshots made of plain words: no file, no store, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.config.load import Loaded
from proxy.config.model import Settings, Stage
from proxy.snapshot import Latch, Override, SeamRecord, Snapshot, compile_now

LATCH = Latch(50.0, "pager", "errors")


def override(stage: Stage, percent: float = 0.0) -> Override:
    return Override(stage, percent, 10.0, "ann", "earlier")


def loaded(seams: Mapping[str, Mapping[str, Any]], **settings: Any) -> Loaded:
    """Each seam has a route of its own name and both upstreams, unless its keys say otherwise."""
    cut = {name: {"routes": [{"path": f"/{name}"}], "extracted": "new", **keys} for name, keys in seams.items()}
    read = {"version": 1, "default": "old", **settings}
    read["upstreams"] = {"old": {"endpoints": ["http://127.0.0.1:1"]}, "new": {"endpoints": ["http://127.0.0.1:2"]}}
    read["seams"] = {name: {"legacy": "old", **keys} for name, keys in cut.items()}
    return Loaded(Settings.model_validate(read), {}, (), (), "digest")


def snapshot(
    seams: Mapping[str, Mapping[str, Any]], records: Mapping[str, SeamRecord] | None = None, **settings: Any
) -> Snapshot:
    return compile_now(loaded(seams, **settings), records or {})
