"""Notices that a configuration's files changed. Reads them; decides nothing.

Polling, since it sees what inotify does not: a ConfigMap's symlink swap, network folders, a rename over the file. Most
polls only ask for times and sizes; contents decide, and always do while a file is so young that a second write could
share its time stamp.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from proxy.config import include
from proxy.config.load import fingerprint

_YOUNG_S = 3.0

_Stat = tuple[int, int, int] | None


class FileWatch:
    """Knows the files as they were at `remember`. Times are epoch seconds. Calls do not overlap."""

    def __init__(self, path: Path, files: Iterable[Path]) -> None:
        self._path = path
        self._files = tuple(files)
        self._main: _Stat = None
        self._patterns: list[str] = []
        self.remember()

    def remember(self) -> None:
        """What the files hold now is about to be loaded."""
        self._stats = self._look()
        self._contents = fingerprint(self._path, self._files)

    def forget(self) -> None:
        """What was remembered has not been loaded: it counts as changed at the next look."""
        self._stats, self._contents = (), b""

    def follow(self, files: Iterable[Path]) -> None:
        """The configuration in force was made of these. New ones count as changed once: they may have changed since
        they were loaded, and loading the same again is cheap."""
        if set(files) != set(self._files):
            self._files = tuple(files)
            self._stats, self._contents = (), b""

    def changed(self, now: float) -> bool:
        """Whether any file differs from what is remembered. What is reported is remembered: once a change."""
        stats = self._look()
        young = any(stat is not None and abs(now - stat[0] / 1e9) < _YOUNG_S for stat in stats)
        if stats == self._stats and not young:
            return False
        self._stats = stats
        contents = fingerprint(self._path, self._files)
        if contents == self._contents:
            return False
        self._contents = contents
        return True

    def _look(self) -> tuple[_Stat, ...]:
        """Files and their folders: a file that comes under an include pattern changes its folder."""
        files = {self._path, *self._files, *self._included()}
        return tuple(_stat(path) for path in sorted(files | {file.parent for file in files}))

    def _included(self) -> list[Path]:
        """What the patterns match now: the first file in a folder changes no folder that is known already."""
        stat = _stat(self._path)
        if stat != self._main:
            self._main = stat
            self._patterns = include.patterns_of(self._path.read_bytes() if self._path.is_file() else b"")
        return [file for pattern in self._patterns for file in include.matches(self._path, pattern)]


def _stat(path: Path) -> _Stat:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
