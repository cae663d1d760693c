"""`fig compare`: where the two sides of a seam differ."""

from __future__ import annotations

import click

from proxy.cli.compare_text import comparisons_views
from proxy.cli.options import DIFFERENT, Common, connected
from proxy.cli.render import show, show_json


@click.command()
@click.argument("seam")
@click.option(
    "-n", "--top", metavar="N", type=click.IntRange(1), default=10, show_default=True, help="Most fields to show."
)
@connected
@click.pass_context
def compare(context: click.Context, common: Common, seam: str, top: int) -> None:
    """Show where SEAM's sides differ: fields, both answers, and rules for what is noise.

    Exit 4 if a difference was counted in this epoch, 0 if none was (or nothing was compared yet). Values are shown as
    shapes and hashes, except at the paths of `store_values`.
    """
    from proxy.cli.client import AdminClient

    with AdminClient(common) as client:
        document = client.of_seam(seam, "comparisons")
    if common.output == "json":
        show_json(document)
    else:
        for view in comparisons_views(document, top):
            show(view)
    context.exit(DIFFERENT if document["totals"]["mismatch"] else 0)
