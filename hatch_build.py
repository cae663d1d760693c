"""Build hook: with FIG_COMPILE=1 the wheel carries the data path compiled by mypyc beside its sources.

The sources stay the truth: a wheel without the variable is plain Python, runs everywhere and behaves the same. A
request takes about two thirds of the processor time when compiled (docs/deploy.md). `pip install --editable` is never
compiled, so that an edit always takes effect.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "FIG_COMPILE"
# mypy checks what it compiles, so that it needs the types of what is imported too.
TOOLS = ("mypy>=2.4", "setuptools>=77", "types-PyYAML>=6.0.12")


class CompileHook(BuildHookInterface):  # type: ignore[type-arg]
    """`compile` in pyproject.toml lists modules, and packages for what is directly in them; `interpret` exceptions."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [*TOOLS, *self.metadata.core.dependencies] if _asked() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or not _asked():
            return
        if not any(map(shutil.which, ("cc", "gcc", "clang"))):
            raise RuntimeError(f"{VARIABLE} is set but there is no C compiler: install gcc, or leave {VARIABLE} out.")
        self._folder = tempfile.TemporaryDirectory(prefix="fig-compile-")
        built = Path(self._folder.name)
        command = [
            sys.executable,
            __file__,
            str(built),
            *_modules(Path(self.root), self.config["compile"], self.config["interpret"]),
        ]
        # A process of its own: setuptools and mypyc go by the current folder and write to the terminal.
        subprocess.run(command, cwd=self.root, check=True, stdout=sys.stderr)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] |= {
            str(library): str(library.relative_to(built / "lib")) for library in (built / "lib").rglob("*.so")
        }

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _asked() -> bool:
    return os.environ.get(VARIABLE, "") not in ("", "0")


def _modules(root: Path, places: list[str], exceptions: list[str]) -> list[str]:
    paths = [path for place in places for path in root.glob(place if place.endswith(".py") else f"{place}/*.py")]
    modules = {str(path.relative_to(root)) for path in paths if path.name != "__init__.py"}
    return sorted(modules - set(exceptions))


def _compile(built: Path, modules: list[str]) -> None:
    from mypyc.build import mypycify
    from setuptools import Distribution

    files = ["--cache-dir", str(built / "cache"), *modules]
    extensions = mypycify(files, opt_level="3", debug_level="0", target_dir=str(built), group_name="proxy")
    command = Distribution({"name": "proxy", "ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(built / "lib"), str(built / "temp")
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    _compile(Path(sys.argv[1]), sys.argv[2:])
