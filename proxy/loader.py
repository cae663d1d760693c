"""Loads a configuration in a child process, so that parsing 2,000 seams costs the event loop nothing.

A thread would not do: libyaml and pydantic hold the interpreter lock for tens of milliseconds at a time. The child
writes the parts of a Loaded one pickle after another, and the parent takes them up a few at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from proxy.child import start_child
from proxy.config.load import Loaded, load
from proxy.errors import ConfigError, Problem
from proxy.routing import table
from proxy.shadow import rule_check

CHECKS = (table.check, rule_check.check)
"""What reads a configuration besides `config`, and may refuse it."""

_LENGTH = struct.Struct("!I")
_PARTS_A_TURN = 10


def load_file(path: Path) -> Loaded:
    """Load and check here and now. Raises ConfigError."""
    return load(path, os.environ, checks=CHECKS)


async def load_in_child(path: Path) -> Loaded:
    """The same in a child process. Raises ConfigError."""
    child = await start_child("proxy.loader", str(path), stdout=asyncio.subprocess.PIPE)
    try:
        output, _ = await child.communicate()
    except asyncio.CancelledError:  # fig ends: nobody reads what the child has to say
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        raise
    if child.returncode != 0:
        text = f"the process that loads it ended with status {child.returncode}; see its error above"
        raise ConfigError((Problem(str(path), 1, 1, "FIG000", text),))
    return await _assemble(output)


def _disassemble(loaded: Loaded) -> Iterator[Any]:
    """The frame without seams, then each seam, then the sources in handfuls."""
    yield replace(loaded, settings=loaded.settings.model_copy(update={"seams": {}}), sources={})
    yield from loaded.settings.seams.items()
    yield None
    sources = list(loaded.sources.items())
    for start in range(0, len(sources), 500):
        yield sources[start : start + 500]


async def _assemble(output: bytes) -> Loaded:
    parts = _parts(output)
    frame = pickle.loads(next(parts))  # our own child wrote it
    if isinstance(frame, ConfigError):
        raise frame
    seams: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for count, part in enumerate(parts):
        item = pickle.loads(part)
        if isinstance(item, tuple):
            seams[item[0]] = item[1]
        elif item is not None:
            sources.update(item)
        if count % _PARTS_A_TURN == 0:
            await asyncio.sleep(0)
    loaded: Loaded = replace(frame, settings=frame.settings.model_copy(update={"seams": seams}), sources=sources)
    return loaded


def _parts(output: bytes) -> Iterator[memoryview]:
    view, at = memoryview(output), 0
    while at < len(view):
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        yield view[at : at + length]
        at += length


def write_parts(path: Path, out: BinaryIO) -> None:
    """What the child does."""
    try:
        parts: Iterator[Any] = _disassemble(load_file(path))
    except ConfigError as error:
        parts = iter([error])
    for part in parts:
        text = pickle.dumps(part, pickle.HIGHEST_PROTOCOL)
        out.write(_LENGTH.pack(len(text)) + text)


if __name__ == "__main__":
    try:
        write_parts(Path(sys.argv[1]), sys.stdout.buffer)
        sys.stdout.flush()
    except BrokenPipeError:  # fig has ended meanwhile
        os._exit(1)
