"""`fig replay`: a list of paths or an access log against both sides, before any traffic is moved."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from proxy.cli.options import DIFFERENT, Common, Failure, Invalid, common
from proxy.cli.render import printable, show, show_json

if TYPE_CHECKING:
    from proxy.cli.replay_calls import Side
    from proxy.cli.replay_run import Plan
    from proxy.shadow.rules import Rules

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_FRAMING = frozenset({"connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"})


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--legacy", metavar="URL", required=True, help="Where the monolith listens.")
@click.option("--extracted", metavar="URL", required=True, help="Where the new service listens.")
@click.option(
    "--rules",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="YAML with the keys of a seam's `compare:`, or with `compare:` itself.",
)
@click.option("-H", "--header", "headers", multiple=True, metavar="'N: V'", help="Sent with each request; repeatable.")
@click.option("--concurrency", metavar="N", type=click.IntRange(1, 256), default=8, show_default=True, help="At once.")
@click.option(
    "--timeout-s",
    metavar="N",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="For a whole answer.",
)
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Most requests to replay.")
@click.option(
    "--control-percent",
    metavar="N",
    type=click.FloatRange(0, 100),
    default=10.0,
    show_default=True,
    help="Share that asks legacy twice from the start; 0: never twice.",
)
@click.option("--show-values", is_flag=True, help="Show values as they are, not as shapes and hashes.")
@click.option("-n", "--top", metavar="N", type=click.IntRange(1), default=10, show_default=True, help="Fields to show.")
@common
@click.pass_context
def replay(
    context: click.Context,
    common: Common,
    file: BinaryIO,
    legacy: str,
    extracted: str,
    rules: Path | None,
    headers: tuple[str, ...],
    concurrency: int,
    timeout_s: float,
    limit: int | None,
    control_percent: float,
    show_values: bool,
    top: int,
) -> None:
    """Ask both sides what FILE says (- for stdin), and show where their answers differ.

    FILE has a path or `GET path` a line, or is an access log in the combined format. Only GET and HEAD are replayed.
    A request that differs is asked of legacy once more: what legacy itself does not answer alike twice is forgiven
    where its format stays. Both sides get the same Host: that of --legacy, or the one of -H.

    Exit 0 if all is alike, 4 if extracted answers otherwise or leaves unanswered what legacy answers, 1 if nothing
    could be compared, 3 if the rules are not valid.
    """
    from proxy.cli.replay_run import Plan, request_headers

    sides = _side("--legacy", legacy), _side("--extracted", extracted)
    host, fields = request_headers(_headers(headers), sides[0], _agent())
    plan = Plan(*sides, host, fields, _rules(rules), concurrency, timeout_s, control_percent, limit)
    document = _replay(file, plan, show_values)
    _print(common, document, top)
    context.exit(_exit_code(document))


def _replay(file: BinaryIO, plan: Plan, show_values: bool) -> dict[str, Any]:
    import asyncio
    import secrets
    import time

    from proxy.cli.replay_lines import read_lines
    from proxy.cli.replay_run import replay as run
    from proxy.cli.replay_tally import Tally
    from proxy.shadow.redact import Storing

    tally = Tally(Storing.of(secrets.token_bytes(16), ()), show_values)
    asyncio.run(run(read_lines(file), plan, tally, time.time))
    return tally.document()


def _print(common: Common, document: dict[str, Any], top: int) -> None:
    from proxy.cli.replay_text import replay_views, unreadable_lines

    for line in unreadable_lines(document):
        click.echo(f"warning: {printable(line)}", err=True)
    if common.output == "json":
        show_json(document)
    else:
        for view in replay_views(document, top):
            show(view)


def _exit_code(document: dict[str, Any]) -> int:
    """Raises Failure where nothing could be compared."""
    totals = document["totals"]
    if not totals["match"] and not totals["mismatch"]:
        raise Failure(f"nothing could be compared: {_why_nothing(document)}")
    return DIFFERENT if totals["mismatch"] or document["extracted_alone"] else 0


def _why_nothing(document: dict[str, Any]) -> str:
    from proxy.cli.differences_text import counts_text

    if not document["requests"]:
        return "the file has no GET or HEAD request that can be read"
    silent = [f"{side} {counts_text(words)}" for side, words in document["unanswered"].items() if words]
    if silent:
        return f"no answer ({', '.join(silent)}); are both sides up at --legacy and --extracted?"
    return f"no pair counts ({counts_text(document['uncounted'])})"


# --- what was given --------------------------------------------------------------------------------------------------


def _side(flag: str, url: str) -> Side:
    from proxy.cli.replay_calls import Side

    try:
        return Side.of(url)
    except ValueError as error:
        raise click.BadParameter(printable(error), param_hint=flag) from None


def _agent() -> bytes:
    from proxy import __version__

    return f"fig-replay/{__version__}".encode()


def _headers(texts: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    fields = [_header(text) for text in texts]
    if sum(name.lower() == b"host" for name, _ in fields) > 1:
        raise click.BadParameter("Host is given twice", param_hint="-H")
    return fields


def _header(text: str) -> tuple[bytes, bytes]:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon or not _TOKEN.fullmatch(name) or not value.replace("\t", "").isprintable():
        raise click.BadParameter(printable(f"{text!r} is not 'NAME: VALUE'"), param_hint="-H")
    if name.lower() in _FRAMING:
        raise click.BadParameter(f"{name} belongs to the connection, not to the request", param_hint="-H")
    return name.encode("ascii"), value.encode()


def _rules(path: Path | None) -> Rules:
    """Raises Invalid with everything that is wrong with the file."""
    from proxy.shadow.rules import compile_rules

    if path is None:
        return compile_rules({})
    try:
        return compile_rules(_read_rules(path))
    except OSError as error:
        raise Invalid(printable(f"{path} cannot be read: {error.strerror or error}")) from None
    except ValueError as error:
        raise Invalid(printable(f"{path} is not valid: {error}")) from None


def _read_rules(path: Path) -> dict[str, Any]:
    from proxy.config.document import read
    from proxy.config.interpolate import Interpolation

    raw = path.read_bytes()
    document = read(raw, str(path), Interpolation(os.environ, path.parent).expand)
    if document.problems and document.value is None and not raw.strip():
        return {}
    if document.problems:
        raise Invalid(printable("\n".join([f"{path} is not valid:", *map(str, document.problems)])))
    value = _plain(document.value)
    if isinstance(value, dict) and set(value) == {"compare"}:
        value = value["compare"]
    if not isinstance(value, dict | None):
        raise ValueError("it is a mapping with the keys of `compare:`, or with `compare:` itself")
    return value or {}


def _plain(value: Any) -> Any:
    """With lists for the tuples of a document."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
