"""What a process tree has used, from /proc (proc(5)). Knows no proxy."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and all its descendants, parents first. Empty when it is gone."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(one for child in children for one in tree(child))]


def used_s(pid: int) -> float:
    """User + system seconds of the tree so far, ended children included. Steps of a clock tick, mostly 10 ms."""
    return sum(_ticks(one) for one in tree(pid)) / _TICKS_PER_S


def _ticks(pid: int) -> int:
    """utime, stime, cutime, cstime: fields 14-17 of /proc/PID/stat; the name before them may hold blanks."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, text.rpartition(")")[2].split()[11:15]))


def rss_bytes(pid: int) -> int:
    """Resident memory of the tree; what its processes share counts in each."""
    return sum(_rss(one) for one in tree(pid))


def _rss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
