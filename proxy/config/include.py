"""Which files an `include` names. Knows patterns and folders, not what the files mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from proxy.config.document import read
from proxy.config.interpolate import Expansion

_MENTION = re.compile(rb"\binclude[\"']?\s*:")
_BLOCK = re.compile(rb"^include[ \t]*:[^\n]*\n?(?:[ \t\r\]#-][^\n]*\n?|\n)*", re.MULTILINE)
_WILD = frozenset("*?[")


def is_glob(pattern: str) -> bool:
    return not _WILD.isdisjoint(pattern)


def matches(main: Path, pattern: str) -> list[Path]:
    """The files that match now, sorted, spelled from the main file's folder; never the main file itself.

    Hidden files match only a pattern that begins with a dot, as in a shell. Nothing matches an impossible pattern.
    """
    try:
        found = _globbed(main.parent, pattern) if is_glob(pattern) else [main.parent / pattern]
        return [path for path in found if path.is_file() and not _same(path, main)]
    except (ValueError, NotImplementedError, OSError):
        return []


def _globbed(folder: Path, pattern: str) -> list[Path]:
    start, relative = _start(folder, pattern)
    return sorted(path for path in start.glob(relative) if _visible(path, relative))


def patterns_of(content: bytes) -> list[str]:
    """The `include` of a main file, read without the rest of it where that is possible; nothing if it is broken."""
    if not _MENTION.search(content):
        return []
    block = _BLOCK.search(content)
    value = _include(block[0]) if block else None
    return _strings(value if value is not None else _include(content))


def _include(content: bytes) -> Any:
    value = read(content, "", lambda text: Expansion(text, False, ())).value
    return value.get("include") if isinstance(value, dict) else None


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, tuple) else []


def _start(folder: Path, pattern: str) -> tuple[Path, str]:
    path = Path(pattern)
    return (Path(path.anchor), str(path.relative_to(path.anchor))) if path.is_absolute() else (folder, pattern)


def _visible(path: Path, pattern: str) -> bool:
    return not path.name.startswith(".") or pattern.rpartition("/")[2].startswith(".")


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False
