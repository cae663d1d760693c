"""`fig reload`."""

from __future__ import annotations

from typing import Any

import click

from proxy.cli.options import Common, writing
from proxy.cli.render import printable, show_json


@click.command()
@writing
def reload(common: Common) -> None:
    """Have fig read its configuration anew. Exit 3 if it is not valid: the old one keeps serving."""
    from proxy.cli.client import AdminClient

    with AdminClient(common) as client:
        result = client.post("/api/reload", {"reason": common.reason})
    for line in _talk(result):
        click.echo(printable(line), err=True)
    if common.output == "json":
        show_json(result)
    else:
        state = "in force" if result["changed"] else "unchanged"
        click.echo(f"configuration {result['fingerprint']} {state}")


def _talk(result: dict[str, Any]) -> list[str]:
    lines = list(result["warnings"])
    for seam in result["overridden"]:
        lines.append(f"seam {seam}: the file changed but an override wins; `fig reset {seam}` lets the file count")
    lines += [f"seam {seam}: the file has caught up with the override, which is gone" for seam in result["absorbed"]]
    lines += [f"{key} changed: that takes a restart" for key in result["needs_restart"]]
    return lines
