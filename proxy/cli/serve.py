"""`fig serve`: the proxy itself, from a file or from four flags."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy.cli.files import load_or_fail
from proxy.cli.options import DEFAULT_CONFIG, Invalid
from proxy.cli.options import percent as percent_type

if TYPE_CHECKING:
    from proxy.config.load import Loaded


@click.command()
@click.argument("config", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--legacy", metavar="URL", help="Without a file: where the monolith listens.")
@click.option("--extracted", metavar="URL", help="Without a file: where the new service listens.")
@click.option("--path", "pattern", metavar="PATTERN", help="Without a file: what it serves, like '/api/x/**'.")
@click.option("--percent", type=percent_type, help="Without a file: its share of these requests; 0 unless given.")
@click.option("--listen", metavar="HOST:PORT", help="Without a file: data port; 127.0.0.1:8080 unless given.")
@click.option("--admin-listen", metavar="HOST:PORT", help="Without a file: admin port; 127.0.0.1:9901 unless given.")
@click.pass_context
def serve(
    context: click.Context,
    config: Path | None,
    legacy: str | None,
    extracted: str | None,
    pattern: str | None,
    percent: float | None,
    listen: str | None,
    admin_listen: str | None,
) -> None:
    """Serve CONFIG ($FIG_CONFIG, else config/proxy.yaml), or what --legacy, --extracted and --path say.

    Exit 3 if the configuration is not valid or fig cannot start.
    """
    if all(flag is None for flag in (legacy, extracted, pattern, percent, listen, admin_listen)):
        path = config or Path(os.environ.get("FIG_CONFIG") or DEFAULT_CONFIG)
        context.exit(_run(load_or_fail(path), path))
    if config is not None:
        raise click.UsageError(f"{config} or flags, not both: write it all into the file")
    if legacy is None or extracted is None or pattern is None:
        raise click.UsageError("without a file it takes --legacy, --extracted and --path")
    loaded = _load_flags(legacy, extracted, pattern, percent or 0.0, listen, admin_listen)
    context.exit(_run(loaded, None))


def _run(loaded: Loaded, path: Path | None) -> int:
    from proxy import app

    return app.serve(loaded, path)


def _load_flags(
    legacy: str, extracted: str, pattern: str, percent: float, listen: str | None, admin_listen: str | None
) -> Loaded:
    from proxy.config.load import from_flags
    from proxy.errors import ConfigError
    from proxy.routing.table import check

    try:
        loaded = from_flags(legacy, extracted, pattern, percent, os.environ, checks=(check,))
        return _listening(loaded, listen, admin_listen)
    except ConfigError as error:
        lines = "\n".join(f"{problem.file}: {problem.code} {problem.message}" for problem in error.problems)
        raise Invalid(f"the flags are not valid:\n{lines}") from None


def _listening(loaded: Loaded, listen: str | None, admin_listen: str | None) -> Loaded:
    """With other addresses, judged like those of a file. Raises ConfigError."""
    from dataclasses import replace

    from proxy.config.validate import validate
    from proxy.errors import ConfigError, Problem

    settings = loaded.settings
    flags = {"server": ("--listen", listen), "admin": ("--admin-listen", admin_listen)}
    changed = {
        section: getattr(settings, section).model_copy(update={"listen": address})
        for section, (_, address) in flags.items()
        if address is not None
    }
    settings = settings.model_copy(update=changed)
    named = {f"{section}.listen": flag for section, (flag, _) in flags.items()}
    errors = [finding for finding in validate(settings) if finding.severity == "error"]
    problems = [Problem(named.get(found.path, found.path), 1, 1, found.code, found.message) for found in errors]
    if problems:
        raise ConfigError(tuple(problems))
    return replace(loaded, settings=settings)
