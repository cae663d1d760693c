"""What all commands share: options before or after the verb, exit codes, errors. Knows no command and no endpoint."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import click

Output = Literal["table", "json"]
Command = Callable[..., Any]

FAILED = 1
INVALID = 3
DIFFERENT = 4

DEFAULT_ADMIN = "http://127.0.0.1:9901"
DEFAULT_CONFIG = "config/proxy.yaml"


class Failure(click.ClickException):
    """Ends the command with `error: …` on stderr."""

    exit_code = FAILED

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.message}", err=True)


class Invalid(Failure):
    """The configuration cannot be used."""

    exit_code = INVALID


@dataclass(frozen=True, slots=True)
class Common:
    """The common options, from wherever they were given. `actor` is "" where nobody is logged in."""

    admin: str = DEFAULT_ADMIN
    token: str = ""
    actor: str = ""
    output: Output = "table"
    reason: str = ""


ADMIN = ("--admin", {"metavar": "URL", "help": "Admin port."})
TOKEN = ("--token", {"metavar": "TOKEN", "help": "Admin token."})
REASON = ("--reason", {"metavar": "TEXT", "help": "Why, for the audit trail."})
OUTPUT = ("-o", "--output", {"type": click.Choice(["table", "json"]), "help": "Form of the data on stdout."})


def common(command: Command) -> Command:
    """`-o` after the verb. The command gets a `common` argument instead."""
    return _with_options(command, OUTPUT)


def connected(command: Command) -> Command:
    """Also `--admin` and `--token`."""
    return _with_options(command, ADMIN, TOKEN, OUTPUT)


def writing(command: Command) -> Command:
    """Also `--reason`."""
    return _with_options(command, REASON, ADMIN, TOKEN, OUTPUT)


def _with_options(command: Command, *options: tuple[Any, ...]) -> Command:
    @functools.wraps(command)
    def wrapped(*args: Any, **given: Any) -> Any:
        here = {name: given.pop(name, None) for name in ("admin", "token", "output", "reason")}
        before = cast(Common | None, click.get_current_context().find_object(Common)) or Common()
        return command(*args, common=_merged(before, here), **given)

    for *flags, settings in reversed(options):
        wrapped = click.option(*flags, default=None, **settings)(wrapped)
    return wrapped


def _merged(before: Common, here: dict[str, str | None]) -> Common:
    def value(name: str) -> str:
        chosen = here[name]
        return getattr(before, name) if chosen is None else chosen

    output = cast(Output, value("output"))
    return Common(value("admin"), value("token"), before.actor, output, value("reason"))


def login_name() -> str:
    """A container may run under a uid that has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def percent(text: str) -> float:
    """Type of a parameter: 0 to 100 with at most two decimals, with or without a percent sign."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100 or round(number, 2) != number:
        raise click.BadParameter(f"{text!r} is not a share from 0 to 100 with at most two decimals")
    return number
