"""`fig history`: who moved what, when and why."""

from __future__ import annotations

from typing import Any

import click

from proxy.cli.options import Common, connected
from proxy.cli.render import Table, show, show_json
from proxy.cli.seam_text import place

_HEADERS = ("AT", "SEAM", "ACTION", "BEFORE", "AFTER", "ACTOR", "REASON")


@click.command()
@click.argument("seam", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most rows to show.")
@connected
def history(common: Common, seam: str | None, limit: int) -> None:
    """Show the changes of SEAM, or of all, newest first."""
    from proxy.cli.client import AdminClient

    query: dict[str, str | int] = {"limit": limit} if seam is None else {"limit": limit, "seam": seam}
    with AdminClient(common) as client:
        rows = client.get("/api/history", **query)
    if common.output == "json":
        show_json(rows)
    else:
        show(Table(_HEADERS, [_row(row) for row in rows]))


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    before, after = _state(row["before"]), _state(row["after"])
    return row["at"], row["seam"], row["action"], before, after, row["actor"], row["reason"]


def _state(state: dict[str, Any]) -> str:
    if "breakers" in state:  # of a row that is about them; the stage is what it was
        return ", ".join(f"{one['side']} {one['route']}".rstrip() + f": {one['held']}" for one in state["breakers"])
    if "stage" not in state:
        return ""
    return "rolled back" if state.get("rolled_back") else place(state["stage"], state.get("percent", 0.0))
