"""`fig report`: the evidence of a seam as one file for a change ticket."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import click

from proxy.cli.options import DIFFERENT, Common, Failure, connected
from proxy.cli.render import printable, show_json

_STDOUT = Path("-")


@click.command()
@click.argument("seam")
@click.option(
    "--html",
    "path",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Where to write the page; - for stdout.",
)
@connected
@click.pass_context
def report(context: click.Context, common: Common, seam: str, path: Path) -> None:
    """Write the evidence of SEAM as one HTML page: verdict, figures, differences, noise, policy.

    The page needs nothing else: no script, no other file. FILE is replaced whole or not at all.

    Exit 0 if the verdict is READY, 4 if it is HOLD or REGRESSED: the gate is not met. The page is written either way.
    -o json also prints what it was made of.
    """
    from proxy import __version__
    from proxy.cli.client import AdminClient
    from proxy.cli.report_html import Made, report_html

    if path == _STDOUT and common.output == "json":
        raise click.UsageError("`--html -` and `-o json` both want stdout: name a file")
    with AdminClient(common) as client:
        evidence = client.of_seam(seam, "evidence")
        comparisons = client.of_seam(seam, "comparisons")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    page = report_html(comparisons, evidence, Made(at, common.actor, common.reason, __version__))
    if path == _STDOUT:
        click.echo(page, nl=False)
    else:
        _write(path, page)
        reason = f" ({evidence['reason']})" if evidence["reason"] else ""
        click.echo(printable(f"{path}: {evidence['verdict']}{reason}"), err=True)
    if common.output == "json":
        show_json({"evidence": evidence, "comparisons": comparisons})
    context.exit(0 if evidence["verdict"] == "READY" else DIFFERENT)


def _write(path: Path, text: str) -> None:
    """Whole or not at all, through a link to what it points at. Raises Failure."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():  # a pipe or a device has no place to be renamed to
            target.write_bytes(data)
        else:
            _replace(target, data)
    except OSError as error:
        raise Failure(printable(f"{path} cannot be written ({error.strerror or error}): name another file")) from None


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
