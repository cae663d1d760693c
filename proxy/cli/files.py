"""A configuration from a file, or the end of the command. The heavy modules are imported on use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy.cli.options import DEFAULT_CONFIG, Invalid

if TYPE_CHECKING:
    from proxy.config.load import Loaded

config_argument = click.argument(
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_CONFIG,
    envvar="FIG_CONFIG",
    required=False,
)


def load_checked(path: Path) -> Loaded:
    """Raises ConfigError with every problem."""
    from proxy.loader import load_file

    return load_file(path)


def load_or_fail(path: Path) -> Loaded:
    """Problems go to stderr, and the exit code is 3."""
    from proxy.errors import ConfigError

    try:
        return load_checked(path)
    except ConfigError as error:
        raise Invalid(f"{path} is not valid:\n{error}") from None
