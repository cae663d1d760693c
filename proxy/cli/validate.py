"""`fig validate` and `fig schema`: a configuration file, without a running fig."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy.cli.files import config_argument, load_checked
from proxy.cli.options import INVALID, Common, common
from proxy.cli.render import printable, show_json

if TYPE_CHECKING:
    from proxy.errors import Problem


@click.command()
@config_argument
@common
@click.pass_context
def validate(context: click.Context, common: Common, config: Path) -> None:
    """Check CONFIG: every problem at once, as FILE:LINE:COL CODE message. Exit 3 if it cannot be used."""
    from proxy.errors import ConfigError

    try:
        loaded = load_checked(config)
    except ConfigError as error:
        _print_problems(common, error.problems)
        errors = sum(problem.severity == "error" for problem in error.problems)
        click.echo(f"{config}: {_count(errors, 'error')}{_warnings(len(error.problems) - errors)}", err=True)
        context.exit(INVALID)
    _print_problems(common, loaded.warnings)
    settings = loaded.settings
    contents = f"{_count(len(settings.seams), 'seam')}, {_count(len(settings.upstreams), 'upstream')}"
    click.echo(f"{config}: valid, {contents}{_warnings(len(loaded.warnings))}", err=True)


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    from proxy.config.schema import schema as document

    show_json(document())


def _print_problems(common: Common, problems: tuple[Problem, ...]) -> None:
    if common.output == "json":
        show_json([asdict(problem) for problem in problems])
    else:
        for problem in problems:
            click.echo(printable(problem))


def _warnings(count: int) -> str:
    return f", {_count(count, 'warning')}" if count else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
