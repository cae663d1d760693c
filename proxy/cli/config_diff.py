"""`fig diff`: a configuration file against the one that a running fig has in force."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from proxy.cli.files import config_argument, load_or_fail
from proxy.cli.options import DIFFERENT, Common, connected
from proxy.cli.render import Table, printable, show, show_json
from proxy.cli.seam_text import place


@click.command()
@config_argument
@connected
@click.pass_context
def diff(context: click.Context, common: Common, config: Path) -> None:
    """Show what `fig reload` with CONFIG would change. Exit 4 if anything.

    Secrets are masked on both sides, so a changed secret does not show.
    """
    from proxy.admin.config_view import config_document
    from proxy.cli.client import AdminClient

    wanted = config_document(load_or_fail(config).settings)
    with AdminClient(common) as client:
        running, seams = client.get("/api/config"), client.get("/api/seams")
    changes = differences(running, wanted)
    standing = [found for seam in seams for found in _standing(seam)]
    if common.output == "json":
        show_json({"changes": changes, "standing": standing})
    else:
        _print(config, changes, standing)
    context.exit(DIFFERENT if changes else 0)


def differences(running: Any, wanted: Any, key: str = "") -> list[dict[str, Any]]:
    """Each key that differs: `{key, running, file}`, null where a side has none.

    An entry that only one side has (a seam, a route) is one difference; so is a list of plain values.
    """
    parts = _parts(key, running, wanted)
    if parts is None:
        return [] if running == wanted else [{"key": key, "running": running, "file": wanted}]
    return [found for below, before, after in parts for found in differences(before, after, below)]


def _parts(key: str, running: Any, wanted: Any) -> list[tuple[str, Any, Any]] | None:
    """(key, running, wanted) of everything right below; None where there is nothing to go into."""
    if isinstance(running, dict) and isinstance(wanted, dict):
        names = {**running, **wanted}
        return [(f"{key}.{name}" if key else name, running.get(name), wanted.get(name)) for name in names]
    if _holds_entries(running) and _holds_entries(wanted):
        pairs = enumerate(zip_longest(running, wanted))
        return [(f"{key}[{index}]", before, after) for index, (before, after) in pairs]
    return None


def _holds_entries(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value) and value != []


def _standing(seam: dict[str, Any]) -> Iterator[dict[str, str]]:
    """What the file does not decide, and how to let it."""
    name, latch, override = seam["name"], seam["rolled_back"], seam["override"]
    if latch:
        yield {"seam": name, "state": f"rolled back by {latch['by']}", "cure": f"fig resume {name}"}
    if override:
        state = f"override {place(override['stage'], override['percent'])} by {override['by']}"
        yield {"seam": name, "state": state, "cure": f"fig reset {name}"}


def _print(config: Path, changes: list[dict[str, Any]], standing: list[dict[str, str]]) -> None:
    if changes:
        rows = [(change["key"], _shown(change["running"]), "→", _shown(change["file"])) for change in changes]
        show(Table(("KEY", "RUNNING", "", "FILE"), rows))
    else:
        click.echo(f"{config}: no differences", err=True)
    for found in standing:
        click.echo(printable(f"seam {found['seam']}: {found['state']}; `{found['cure']}` lets the file count"))


def _shown(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "-"
    return "(whole entry)" if isinstance(value, dict) and value else json.dumps(value, ensure_ascii=False)
