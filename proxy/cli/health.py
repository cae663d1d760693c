"""`fig health`: for container health checks."""

from __future__ import annotations

import click

from proxy.cli.options import Common, connected
from proxy.cli.render import show_json


@click.command()
@click.option("--ready", is_flag=True, help="Ask whether it takes traffic, not only whether it lives.")
@connected
def health(common: Common, ready: bool) -> None:
    """Exit 0 if fig lives (or is ready), else 1."""
    from proxy.cli.client import AdminClient

    with AdminClient(common) as client:
        document = client.get("/readyz" if ready else "/healthz")
    if common.output == "json":
        show_json(document)
    else:
        click.echo(document["status"])
