"""The comparisons of a seam as people read them. Pure: the document of the admin port in, views out."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.cli.differences_text import (
    Document,
    counts_text,
    differences_views,
    labelled,
    noise_views,
    totals_text,
    versions_text,
)
from proxy.cli.render import View


def comparisons_views(document: Document, top: int) -> Iterator[View]:
    """`top`: how many of the differing fields are shown."""
    uncounted = counts_text(document["uncounted"])
    yield labelled(
        [
            ("Seam", document["seam"]),
            ("Epoch", _epoch(document)),
            ("Versions", versions_text(document)),
            ("Compared", totals_text(document)),
            ("Uncounted", uncounted),
            ("Beside", _beside(document)),
        ]
    )
    yield from differences_views(document, top)
    yield from noise_views(document)


def _epoch(document: Document) -> str:
    if document["epoch"] is None:
        return "none: nothing was compared yet"
    return f"{document['epoch']} since {document['since']}"


def _beside(document: Document) -> str:
    """What is neither match nor mismatch, and no less evidence for it."""
    counts = {"not the same when asked again": document["flaky"], "over the hourly cap": document["repeated"]}
    return " · ".join(f"{count} {name}" for name, count in counts.items() if count)
