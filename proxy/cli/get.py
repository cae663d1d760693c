"""`fig get`: seams and upstreams as they are now, once or again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count
from typing import TYPE_CHECKING, Any

import click

from proxy.cli.options import Command, Common, Failure, connected
from proxy.cli.render import View, json_text, show, watching
from proxy.cli.seam_text import seam_text, seams_table
from proxy.cli.upstreams_text import upstreams_table

if TYPE_CHECKING:
    from proxy.cli.client import AdminClient


@click.group()
def get() -> None:
    """Show seams, one seam, or upstreams."""


def _watching_options(command: Command) -> Command:
    command = click.option("--interval", type=click.FloatRange(min=0), default=1.0, hidden=True)(command)
    command = click.option("--count", "times", type=click.IntRange(1), hidden=True)(command)
    return click.option("-w", "--watch", is_flag=True, help="Show it again each second.")(command)


@get.command()
@_watching_options
@connected
def seams(common: Common, watch: bool, times: int | None, interval: float) -> None:
    """Show every seam: stage, share asked and seen, breakers that are not closed."""
    _show(common, lambda client: client.get("/api/seams"), seams_table, _turns(watch, times, interval))


@get.command()
@click.argument("name")
@_watching_options
@connected
def seam(common: Common, name: str, watch: bool, times: int | None, interval: float) -> None:
    """Show one seam in full."""
    fetch = _document if common.output == "json" else _document_with_evidence
    _show(common, lambda client: fetch(client, name), seam_text, _turns(watch, times, interval))


@get.command()
@_watching_options
@connected
def upstreams(common: Common, watch: bool, times: int | None, interval: float) -> None:
    """Show upstreams: which endpoints are in use, and how busy they are."""
    _show(common, lambda client: client.get("/api/upstreams"), upstreams_table, _turns(watch, times, interval))


def _document(client: AdminClient, name: str) -> Any:
    return client.seam(name)


def _document_with_evidence(client: AdminClient, name: str) -> Any:
    """For people one page: with what the comparer knows, or the reason why it does not say."""
    found = client.seam(name)
    if not found["comparing"]:
        return found
    try:
        return {**found, "evidence": client.of_seam(name, "evidence")}
    except Failure as failure:
        return {**found, "evidence": str(failure.message)}


def _turns(watch: bool, times: int | None, interval_s: float) -> Iterator[int] | None:
    """None for once; else yields each `interval_s`, until `times` or an interrupt."""
    return _clock(times, interval_s) if watch else None


def _clock(times: int | None, interval_s: float) -> Iterator[int]:
    for turn in count() if times is None else range(times):
        if turn:
            time.sleep(interval_s)
        yield turn


def _show(
    common: Common,
    fetch: Callable[[AdminClient], Any],
    view: Callable[[Any], View],
    turns: Iterator[int] | None,
) -> None:
    from proxy.cli.client import AdminClient

    as_json = common.output == "json"
    try:
        with AdminClient(common) as client, watching() if turns and not as_json else nullcontext(show) as show_view:
            for _ in turns or (0,):
                document = fetch(client)
                show_view(json_text(document) if as_json else view(document))
    except KeyboardInterrupt:
        return  # the way to end a watch
