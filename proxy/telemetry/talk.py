"""What fig says of itself, on the same way as its other lines. Knows no request."""

from __future__ import annotations

import logging
from collections.abc import Callable


class LineHandler(logging.Handler):
    """What `logging` says, on its way through a LineWriter: a terminal or a pipe that blocks holds nobody up."""

    def __init__(self, write: Callable[[bytes], None], format: logging.Formatter | None) -> None:
        super().__init__()
        self._put = write
        self.setFormatter(format)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)  # a mistake in a log call must not become one of its caller
            return
        self._put(line.encode("utf-8", "backslashreplace") + b"\n")
