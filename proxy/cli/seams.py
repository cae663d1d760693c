"""`fig shift`, `rollback`, `resume`, `reset`: what moves a seam."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from proxy.cli.options import Common, Failure, writing
from proxy.cli.options import percent as percent_type
from proxy.cli.render import Table, printable, show, show_json
from proxy.cli.seam_text import STAGES, seam_text

if TYPE_CHECKING:
    from proxy.cli.client import AdminClient

_AT_ONCE = 16
_NOT_DURABLE = "in force, but not in the store yet: fig tries again; until then a restart would lose it"


@click.command()
@click.argument("seam")
@click.argument("percent", type=percent_type, required=False)
@click.option("--stage", type=click.Choice(STAGES), help="Set the stage instead of the share.")
@writing
def shift(common: Common, seam: str, percent: float | None, stage: str | None) -> None:
    """Send PERCENT of SEAM's traffic to the extracted side, or set its stage."""
    if percent is None and stage is None:
        raise click.UsageError("say where to: PERCENT or --stage")
    if percent is not None and stage not in (None, "canary"):
        raise click.UsageError(f"PERCENT goes with stage canary only, not with {stage}")
    _change(common, seam, "shift", percent=percent, stage=stage)


@click.command()
@click.argument("seam", required=False)
@click.option("--all", "every", is_flag=True, help="Every seam that is not retired.")
@writing
def rollback(common: Common, seam: str | None, every: bool) -> None:
    """Send all of SEAM's traffic to legacy, at once and until `fig resume`."""
    if (seam is None) != every:
        raise click.UsageError("name one SEAM, or give --all")
    if seam is None:
        _roll_all_back(common)
    else:
        _change(common, seam, "rollback")


@click.command()
@click.argument("seam")
@click.option("--percent", type=percent_type, help="Come back with this share instead of the former one.")
@writing
def resume(common: Common, seam: str, percent: float | None) -> None:
    """Lift the rollback of SEAM: its former share returns."""
    _change(common, seam, "resume", percent=percent)


@click.command()
@click.argument("seam")
@writing
def reset(common: Common, seam: str) -> None:
    """Forget what `fig shift` wrote for SEAM: the configuration file counts again."""
    _change(common, seam, "reset")


def _change(common: Common, seam: str, verb: str, **members: Any) -> None:
    from proxy.cli.client import AdminClient

    with AdminClient(common) as client:
        document = client.change(seam, verb, reason=common.reason, **members)
    if document.get("durable") is False:
        click.echo(f"warning: the rollback of {seam} is {_NOT_DURABLE}", err=True)
    if common.output == "json":
        show_json(document)
    else:
        show(seam_text(document))


# --- all at once -----------------------------------------------------------------------------------------------------


def _roll_all_back(common: Common) -> None:
    from proxy.cli.client import AdminClient

    with AdminClient(common) as client, ThreadPoolExecutor(_AT_ONCE) as pool:
        documents = [document for document in client.get("/api/seams") if not document.get("orphan")]
        outcomes = list(pool.map(lambda document: _outcome(client, document, common.reason), documents))
    for outcome in outcomes:
        if outcome["durable"] is False:
            click.echo(f"warning: the rollback of {outcome['seam']} is {_NOT_DURABLE}", err=True)
    if common.output == "json":
        show_json(outcomes)
    else:
        rows = [(outcome["seam"], outcome["result"], outcome["detail"]) for outcome in outcomes]
        show(Table(("SEAM", "RESULT", "DETAIL"), rows))
    failed = [outcome["seam"] for outcome in outcomes if outcome["result"] == "failed"]
    if failed:
        raise Failure(printable(f"not rolled back: {', '.join(failed)}"))


def _outcome(client: AdminClient, document: dict[str, Any], reason: str) -> dict[str, Any]:
    name = document["name"]
    if document["stage"] == "retired":
        return _row(name, "skipped", "retired: the legacy side has no code for it any more")
    try:
        after = client.change(name, "rollback", reason=reason)
    except Failure as error:
        return _row(name, "failed", error.message)
    before = "was rolled back already" if document["rolled_back"] else f"was {document['stage']}"
    return _row(name, "rolled back", before, after["durable"])


def _row(seam: str, result: str, detail: str, durable: bool | None = None) -> dict[str, Any]:
    return {"seam": seam, "result": result, "detail": detail, "durable": durable}
