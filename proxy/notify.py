"""Tells a service manager how far the process is: sd_notify(3), one datagram a message. Knows no fig."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping


class Notifier:
    """Silent where nobody asked. `beat_s` is how often the watchdog wants to hear of us, None where there is none."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        span_us = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        watched = bool(self._address) and meant and span_us.isdigit() and int(span_us) > 0
        self.beat_s = int(span_us) / 2e6 if watched else None

    def __call__(self, *lines: str) -> None:
        """Send `KEY=VALUE` lines. A manager that does not listen is no reason to stop."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)
