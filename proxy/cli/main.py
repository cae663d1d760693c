"""The entry point: the group `fig` and its commands. Imports no more than it takes to print help."""

from __future__ import annotations

import io
import sys

import click

from proxy.cli.breaker import breaker
from proxy.cli.compare import compare
from proxy.cli.config_diff import diff
from proxy.cli.explain import explain
from proxy.cli.get import get
from proxy.cli.health import health
from proxy.cli.history import history
from proxy.cli.key import key
from proxy.cli.options import DEFAULT_ADMIN, Common, Output, login_name
from proxy.cli.reload import reload
from proxy.cli.replay import replay
from proxy.cli.report import report
from proxy.cli.seams import reset, resume, rollback, shift
from proxy.cli.serve import serve
from proxy.cli.validate import schema, validate
from proxy.cli.version import version

EPILOG = """\b
Exit codes:
  0  ok
  1  failed
  2  wrong usage
  3  configuration invalid, or cannot start
  4  differences found, or gate not met
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--admin",
    metavar="URL",
    envvar="FIG_ADMIN_URL",
    default=DEFAULT_ADMIN,
    show_default=True,
    show_envvar=True,
    help="Admin port of the fig to ask.",
)
@click.option("--token", metavar="TOKEN", envvar="FIG_ADMIN_TOKEN", default="", show_envvar=True, help="Its token.")
@click.option(
    "--actor",
    metavar="NAME",
    envvar="FIG_ACTOR",
    default="",
    show_envvar=True,
    help="Your name in the audit trail; default: login name.",
)
@click.option("--reason", metavar="TEXT", default="", help="Why, for the audit trail.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Form of the data on stdout.",
)
@click.pass_context
def fig(context: click.Context, admin: str, token: str, actor: str, reason: str, output: Output) -> None:
    """Strangler Fig: moves a monolith's traffic to new services one seam at a time, and takes it back at once.

    Common options may stand before or after the verb.
    """
    context.obj = Common(admin or DEFAULT_ADMIN, token, actor or login_name(), output, reason)


for command in (
    serve, validate, schema, explain, get, shift, rollback, resume, reset, breaker, history, diff, reload, compare,
    replay, report, key, health, version,
):  # fmt: skip
    fig.add_command(command)


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know no arrows
    fig(prog_name="fig")


if __name__ == "__main__":
    main()
