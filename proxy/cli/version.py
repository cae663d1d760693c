"""`fig version`."""

from __future__ import annotations

import platform

import click

from proxy import __version__
from proxy.cli.options import Common, common
from proxy.cli.render import show_json


@click.command()
@common
def version(common: Common) -> None:
    """Print the version of this fig."""
    if common.output == "json":
        show_json({"version": __version__, "python": platform.python_version()})
    else:
        click.echo(f"fig {__version__}")
