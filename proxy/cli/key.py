"""`fig key`: API keys. Knows no running fig: of a key the configuration has the hash alone."""

from __future__ import annotations

import json
import secrets

import click

from proxy.admission.api_key import SECRET_BYTES, ApiKey, api_key_of
from proxy.cli.options import Common, common
from proxy.cli.render import show_json


@click.group()
def key() -> None:
    """Make API keys."""


def _checked_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    from proxy.config.syntax import door_name_problem

    problem = door_name_problem("an API key", name)
    if problem:
        raise click.BadParameter(problem)
    return name


@key.command()
@click.option(
    "--name",
    metavar="NAME",
    default="partner-a",
    show_default=True,
    callback=_checked_name,
    help="Who gets it, in the lines for the configuration.",
)
@common
def new(common: Common, name: str) -> None:
    """Make an API key: print it, its SHA-256, and the lines for the configuration.

    The key goes to whoever is to call, in X-API-Key; the hash into auth.api_keys.keys. Nothing is kept or sent, and a
    seam takes the key once its `auth` names it.
    """
    made = api_key_of(secrets.token_bytes(SECRET_BYTES))
    if common.output == "json":
        show_json({"key": made.text, "sha256": made.sha256})
    else:
        click.echo(_text(made, name))
    click.echo("note: the key is shown this once; only its hash belongs in the configuration", err=True)


def _text(made: ApiKey, name: str) -> str:
    """No table: on a narrow terminal it would break the key in two. Quoted, for YAML may take a hash for a number."""
    return (
        f"key     {made.text}\n"
        f"sha256  {made.sha256}\n"
        "\n"
        "auth:\n"
        "  api_keys:\n"
        "    keys:\n"
        f'      {json.dumps(name)}: {{sha256: "{made.sha256}"}}'
    )
