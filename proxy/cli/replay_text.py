"""What a replay has found, as people read it. Pure: the document of `replay_tally` in, views out."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.cli.differences_text import (
    Document,
    counts_text,
    differences_views,
    labelled,
    noise_views,
    totals_text,
)
from proxy.cli.render import View

_NAMED = 10


def replay_views(document: Document, top: int) -> Iterator[View]:
    """`top`: how many of the differing fields are shown."""
    unanswered = document["unanswered"]
    yield labelled(
        [
            ("Requests", f"{document['requests']}: {totals_text(document)}"),
            ("Uncounted", counts_text(document["uncounted"])),
            (
                "No answer",
                " · ".join(f"{side} {counts_text(unanswered[side])}" for side in unanswered if unanswered[side]),
            ),
            ("Asked twice", str(document["second_controls"] or "")),
            ("Skipped", counts_text(document["skipped"])),
        ]
    )
    yield from differences_views(document, top)
    yield from noise_views(document)


def unreadable_lines(document: Document) -> Iterator[str]:
    """For stderr: the first few, each with its number."""
    unreadable = document["unreadable"]
    named = unreadable["lines"][:_NAMED]
    for one in named:
        yield f"line {one['line']}: {one['why']}"
    rest = unreadable["count"] - len(named)
    if rest:
        yield f"and {rest} more lines that cannot be read"
