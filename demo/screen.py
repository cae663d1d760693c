"""What the audience sees: one table that grows, live on a terminal, line by line elsewhere. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.traffic import Tally

# 80 columns are enough for it.
COLUMNS = ("you type", "asked", "seen", "sent", "2xx", "4xx", "5xx", "p50 ms", "p99 ms", "moved back", "failed")
WIDTHS = (21, 5, 5, 5, 5, 3, 3, 6, 6, 10, 6)


@dataclass(frozen=True, slots=True)
class Row:
    """`percent` is the share that was asked for; None where it was just changing."""

    label: str
    percent: float | None
    tally: Tally

    def cells(self) -> tuple[str, ...]:
        tally = self.tally
        return (
            self.label,
            "" if self.percent is None else f"{self.percent:g}%",
            _number(tally.seen_percent, "{:.0f}%"),
            f"{tally.requests:,}",
            f"{tally.class_of(2):,}",
            f"{tally.class_of(4)}",
            f"{tally.class_of(5)}",
            _number(tally.latency_ms(0.50), "{:.1f}"),
            _number(tally.latency_ms(0.99), "{:.1f}"),
            str(tally.moved_back),
            str(tally.failed),
        )

    @property
    def bad(self) -> bool:
        tally = self.tally
        return bool(tally.failed or tally.moved_back or tally.misplaced or tally.contradicted)


class Screen:
    """`begin` a row, `refresh` while it grows, `finish` it; `say` prints beside the table. A context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._rows: list[Row] = []
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str = "") -> None:
        self.console.print(Text(text), soft_wrap=True)

    def begin(self, row: Row) -> None:
        if self._live is None and not self._rows:
            self.say(_line(COLUMNS))
        self._rows.append(row)
        if self._live is not None and not self._live.is_started:
            self._live.start()
        self.refresh()

    def refresh(self) -> None:
        if self._live is not None:
            self._live.update(_table(self._rows), refresh=True)

    def finish(self) -> None:
        self.refresh()
        if self._live is None:
            self.say(_line(self._rows[-1].cells()))

    def close_table(self) -> None:
        """What is said from now on comes below it."""
        if self._live is not None:
            self._live.stop()


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    for position, name in enumerate(COLUMNS):
        table.add_column(name.replace(" b", "\nb"), justify="left" if position == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.cells(), style="bold red" if row.bad else "")
    return table


def _line(cells: Sequence[str]) -> str:
    label, *numbers = (cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return " ".join((label.strip().ljust(WIDTHS[0]), *numbers))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
