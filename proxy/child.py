"""A child process that runs a module of this package, wherever fig was started from."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any


async def start_child(module: str, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
    """`options` are those of asyncio.create_subprocess_exec; it reads nothing from the terminal. Raises OSError."""
    root = str(Path(__file__).parent.parent)
    search = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # a file in the working folder must not stand in for a module
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": search},
        **options,
    )
