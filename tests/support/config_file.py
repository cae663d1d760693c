"""A configuration in a file, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.config.load import Check, load
from proxy.config.model import Settings
from proxy.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Rejects:
    """The only problem that this text has; `^` stands before the place at which it must point."""

    text: str
    code: str
    message: str

    def expected(self, severity: str) -> tuple[str, str, str, str]:
        before = self.text.partition("^")[0]
        place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        return place, severity, self.code, self.message


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """`fig.yaml` in a folder, read in this environment with these checks."""

    environ: Mapping[str, str]
    checks: Sequence[Check]

    def problems(self, folder: Path, text: str) -> tuple[Problem, ...]:
        """All of them; errors or only warnings."""
        path = folder / "fig.yaml"
        path.write_text(text)
        try:
            return load(path, self.environ, self.checks).warnings
        except ConfigError as error:
            return error.problems

    def loaded(self, folder: Path, text: str) -> Settings:
        path = folder / "fig.yaml"
        path.write_text(text)
        return load(path, self.environ, self.checks).settings

    def said(self, folder: Path, text: str) -> list[tuple[str, str, str, str]]:
        """(line:column, severity, code, message) of each problem."""
        found = self.problems(folder, text)
        return [(f"{one.line}:{one.column}", one.severity, one.code, one.message) for one in found]
