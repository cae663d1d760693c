"""Data for people or for programs. Imports rich only for a terminal; knows no endpoint.

What comes from elsewhere (reasons, names) may hold control characters; none of them reaches a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class Table:
    """`headers` may be empty. Cells are shown on one line, None and "" as a dash."""

    headers: Sequence[str]
    rows: Sequence[Sequence[object]]

    def cells(self) -> list[list[str]]:
        return [[_cell(value) for value in row] for row in self.rows]

    def text(self) -> str:
        """Left-aligned columns, two spaces apart."""
        rows = [*([list(self.headers)] if self.headers else []), *self.cells()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)


View = str | Table
Show = Callable[[View], None]


def show(view: View) -> None:
    """On stdout; a table fits itself to a terminal."""
    if isinstance(view, str):
        click.echo(view)
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(_renderable(view))
    else:
        click.echo(view.text())


@contextmanager
def watching() -> Iterator[Show]:
    """A `show` whose view takes the place of the one before, where there is a terminal."""
    if not sys.stdout.isatty():
        yield show
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield lambda view: live.update(_renderable(view), refresh=True)


def show_json(document: Any) -> None:
    click.echo(json_text(document))


def json_text(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def printable(text: object) -> str:
    """One line, or several, without control characters other than line ends."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in str(text))


def percent_text(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:g} %"


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else printable(value).replace("\n", " ")


def _renderable(view: View) -> RenderableType:
    from rich.table import Table as RichTable
    from rich.text import Text

    if isinstance(view, str):
        return Text(view)
    table = RichTable(*view.headers, box=None, pad_edge=False, header_style="bold", show_header=bool(view.headers))
    for row in view.cells():
        table.add_row(*map(Text, row))
    return table
