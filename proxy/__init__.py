"""Strangler Fig: a reverse proxy that moves a monolith's traffic to new services one seam at a time."""

from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec
from typing import Literal

__version__ = "0.1.0"


def build() -> Literal["compiled", "pure"]:
    """Whether the data path was compiled (hatch_build.py) or runs as plain Python. Both do the same."""
    spec = find_spec("proxy.gateway")
    return "compiled" if spec is not None and isinstance(spec.loader, ExtensionFileLoader) else "pure"
