"""`var/rollback/SEAM`: the rollback that works when the admin port does not. Knows the folder and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

_MAX_REASON_BYTES = 500


class RollbackFiles:
    """A folder whose file names are seams to roll back; a file's first line is the reason."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, seam: str) -> Path:
        return self.folder / seam

    def exists(self, seam: str) -> bool:
        return os.path.lexists(self.path(seam))  # what `read` sees, dangling symlinks too

    def read(self) -> dict[str, str]:
        """Reason by seam of every file there is. A folder that is not there or not readable holds none."""
        try:
            names = [entry.name for entry in self.folder.iterdir() if not entry.name.startswith(".")]
        except OSError:
            return {}
        return {name: self._reason(name) for name in names}

    def _reason(self, name: str) -> str:
        try:
            # The name alone rolls back: a FIFO must not stop the event loop for its reason.
            file = os.open(self.path(name), os.O_RDONLY | os.O_NONBLOCK)
            try:
                line = os.read(file, _MAX_REASON_BYTES).partition(b"\n")[0].decode("utf-8", "replace")
            finally:
                os.close(file)
        except OSError:
            line = ""
        line = "".join(letter if letter.isprintable() else " " for letter in line).strip()
        return line or f"file {self.path(name)}"
