"""`fig breaker`: an operator's hand on a seam's circuit breakers."""

from __future__ import annotations

import click

from proxy.cli.options import Common, writing
from proxy.cli.render import show, show_json
from proxy.cli.seam_text import seam_text


@click.command()
@click.argument("state", type=click.Choice(["open", "close", "auto"]))
@click.argument("seam")
@click.option(
    "--side",
    type=click.Choice(["extracted", "legacy"]),
    default="extracted",
    show_default=True,
    help="Whose calls it guards.",
)
@click.option("--route", metavar="ROUTE", help="Only that of ROUTE; '' is the one that the other routes share.")
@writing
def breaker(common: Common, state: str, seam: str, side: str, route: str | None) -> None:
    """Hold SEAM's breakers open (no calls) or closed (never opens), or let go of them (auto).

    \b
    open   stop calling that side at once: its fallback answers, else 503
    close  call it whatever it answers
    auto   count failures and decide, as without an operator

    All breakers of the side are meant unless --route names one; `fig get seam` lists them. It holds in the fig that
    is asked, until auto or a restart.
    """
    from proxy.cli.client import AdminClient

    with AdminClient(common) as client:
        document = client.change(seam, "breaker", state=state, side=side, route=route, reason=common.reason)
    if common.output == "json":
        show_json(document)
    else:
        show(seam_text(document))
    if state != "auto":
        undo = f"fig breaker auto {seam}" + (" --side legacy" if side == "legacy" else "")
        click.echo(f"note: held in this fig only, until `{undo}` or a restart", err=True)
