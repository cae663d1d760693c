"""`fig diff`: a configuration file against the one that a running fig has in force."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from proxy.cli.files import config_argument, load_or_fail
from proxy.cli.options import DIFFERENT, Common, connected
from proxy.cli.render import Table, printable, show, show_json
from proxy.cli.seam_text import place

_ABSENT = object()


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
    standing = [found for seam in seams if (found := _standing(seam))]
    if common.output == "json":
        show_json({"changes": changes, "standing": standing})
    else:
        _print(config, changes, standing)
    context.exit(DIFFERENT if changes else 0)


def differences(running: Any, wanted: Any) -> list[dict[str, Any]]:
    """Each key that differs: `{key, running, file}`, in the order of the running document; null where there is none."""
    before, after = dict(_leaves("", running)), dict(_leaves("", wanted))
    keys = [key for key in {**before, **after} if before.get(key, _ABSENT) != after.get(key, _ABSENT)]
    return [{"key": key, "running": before.get(key), "file": after.get(key)} for key in keys]


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values; a list of plain values is one value."""
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _leaves(f"{key}.{name}" if key else name, below)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(f"{key}[{index}]", item)
    else:
        yield key, value


def _standing(seam: dict[str, Any]) -> dict[str, str] | None:
    """What the file does not decide, and how to let it."""
    name, override = seam["name"], seam["override"]
    if seam["rolled_back"]:
        return {"seam": name, "state": f"rolled back by {seam['rolled_back']['by']}", "cure": f"fig resume {name}"}
    if override:
        state = f"override {place(override['stage'], override['percent'])} by {override['by']}"
        return {"seam": name, "state": state, "cure": f"fig reset {name}"}
    return None


def _print(config: Path, changes: list[dict[str, Any]], standing: list[dict[str, str]]) -> None:
    if changes:
        rows = [(change["key"], _shown(change["running"]), "→", _shown(change["file"])) for change in changes]
        show(Table(("KEY", "RUNNING", "", "FILE"), rows))
    else:
        click.echo(f"{config}: no differences", err=True)
    for found in standing:
        click.echo(printable(f"seam {found['seam']}: {found['state']}; `{found['cure']}` lets the file count"))


def _shown(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
