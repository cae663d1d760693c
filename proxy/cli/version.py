"""`fig version`."""

from __future__ import annotations

import platform

import click

from proxy import __version__, build
from proxy.cli.options import Common, common
from proxy.cli.render import show_json


@click.command()
@common
def version(common: Common) -> None:
    """Print the version of this fig, and whether its data path is compiled."""
    if common.output == "json":
        show_json({"version": __version__, "build": build(), "python": platform.python_version()})
    else:
        click.echo(f"fig {__version__} ({build()})")
