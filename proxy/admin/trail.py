"""The steps of an explanation, and the configuration lines that they cite. Knows no seam."""

from __future__ import annotations

from collections.abc import Mapping

Step = dict[str, str]


class Trail:
    """The steps so far. `sources` maps dotted configuration paths to FILE:LINE."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.steps: list[Step] = []
        self._sources = sources

    def add(self, step: str, result: str, detail: str, *keys: str, source: str = "") -> None:
        """`keys` are dotted paths; the first that the file has is cited."""
        found = next((self._sources[key] for key in keys if key in self._sources), source)
        self.steps.append({"step": step, "result": result, "detail": detail, "source": found})
