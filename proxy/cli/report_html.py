"""The evidence of a seam as one page. Pure: documents of the admin port in, HTML out.

Everything that is shown goes through `_text`, which escapes it: what services said is hostile. The page has no script
and fetches nothing, which it also tells the browser (Content-Security-Policy), and prints in light colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from proxy.cli.differences_text import (
    Document,
    Row,
    asked_text,
    body_rows,
    rules_yaml,
    totals_text,
    value_rows,
    versions_text,
)
from proxy.cli.render import printable

_DIFFERENCES = 20
_EXEMPLARS = 2
_ROWS = 60
_CUT = 400


class Made(NamedTuple):
    """When, by whom, why and with which fig. `at` as RFC 3339; `by` and `why` may be empty."""

    at: str
    by: str
    why: str
    version: str


def report_html(comparisons: Document, evidence: Document, made: Made) -> str:
    """A whole document that ends with a line end."""
    seam, verdict = evidence["seam"], evidence["verdict"]
    sections = [
        _head(evidence, made),
        _section("Why", _notes(evidence)),
        _section("Strata", _strata(evidence["strata"]), _unseen(evidence), _waived(evidence["waived"])),
        _section("Differences", _paragraph(totals_text(comparisons)), *_differences(comparisons["differences"])),
        _section("Samples that count for neither side", _uncounted(evidence)),
        _section("Noise", *_noise(comparisons["noise"])),
        _section("Policy", _pairs((name, _plain(value)) for name, value in evidence["policy"].items())),
    ]
    title = _text(f"{seam}: {verdict}")
    return f"{_OPENING}<title>{title}</title>\n{_STYLE}</head>\n<body>\n{''.join(sections)}</body>\n</html>\n"


# --- sections --------------------------------------------------------------------------------------------------------


def _head(evidence: Document, made: Made) -> str:
    percent = max(0.0, min(100.0, float(evidence["percent"])))
    state = {"READY": "ready", "REGRESSED": "regressed"}.get(evidence["verdict"], "hold")
    reason = f" <small>{_text(evidence['reason'])}</small>" if evidence["reason"] else ""
    by = f" by {made.by}" if made.by else ""
    return (
        f"<header>\n<h1>{_text(evidence['seam'])}</h1>\n"
        f'<p class="verdict {state}">{_text(evidence["verdict"])}{reason}</p>\n'
        f'<div class="meter"><div style="width: {percent:.2f}%"></div></div>\n'
        f"<p>{_text(evidence['meter'])}</p>\n"
        + _pairs(
            (
                ("Epoch", evidence["epoch"] or "none: nothing was compared yet"),
                ("Since", evidence["since"]),
                ("Versions", versions_text(evidence)),
                ("Samples", evidence["samples"]),
                ("Made", f"{made.at}{by} with fig {made.version}"),
                ("Reason", made.why),
            )
        )
        + "</header>\n"
    )


def _notes(evidence: Document) -> str:
    notes = [f"<li><b>{_text(note['reason'])}</b> {_text(note['text'])}</li>" for note in evidence["notes"]]
    return f"<ul>\n{''.join(notes)}</ul>\n" if notes else _paragraph("Nothing stands in the way.")


def _strata(strata: Sequence[Document]) -> str:
    headers = ("Endpoint", "Status", "Compared", "Mismatches", "Rate (95 %)", "Evidence", "To go")
    return _table(headers, map(_stratum, strata)) if strata else _paragraph("Nothing was compared yet.")


def _stratum(group: Document) -> tuple[object, ...]:
    interval = group["rate_interval"]
    rate = f"{_percent(interval['low'])} to {_percent(interval['high'])}"
    status = "all" if group["status_class"] == "*" else group["status_class"]
    return group["endpoint"], status, group["n"], group["k"], rate, f"{group['percent']:.0f} %", _to_go(group)


def _to_go(group: Document) -> str:
    if group["ready"]:
        return "ready"
    parts = ["evidence has expired"] if group["expired"] else []
    if group["clean_to_go"]:
        parts.append(f"{group['clean_to_go']} clean comparisons")
    if group["fingerprints_to_go"]:
        parts.append(f"{group['fingerprints_to_go']} distinct requests")
    return ", ".join(parts) + ("" if group["required"] else " (waived)")


def _percent(rate: float) -> str:
    return f"{rate * 100:.3g} %"


def _unseen(evidence: Document) -> str:
    return _paragraph(f"Never seen: {', '.join(evidence['unseen'])}") if evidence["unseen"] else ""


def _waived(waived: Sequence[Document]) -> str:
    rows = [(one["what"], one["name"], one["reason"]) for one in waived]
    return _table(("Waived", "By", "Because"), rows) if rows else ""


def _differences(differences: Sequence[Document]) -> Iterator[str]:
    if not differences:
        return
    headers = ("Endpoint", "Path", "Class", "Severity", "Requests", "First", "Last")
    keys = ("endpoint", "path", "class", "severity", "count", "first", "last")
    shown = differences[:_DIFFERENCES]
    yield _table(headers, ([one[key] for key in keys] for one in shown))
    if len(differences) > len(shown):
        yield _paragraph(f"and {len(differences) - len(shown)} more")
    for number, one in enumerate(shown, 1):
        for exemplar in one["exemplars"][:_EXEMPLARS]:
            title = f"{number}. {one['endpoint']} {one['path']} {one['class']}"
            yield f"<article>\n<h3>{_text(title)}</h3>\n{_exemplar(exemplar)}</article>\n"


def _exemplar(exemplar: Document) -> str:
    beside = _table(("", "Legacy", "Extracted"), value_rows(exemplar, _ROWS), "pair")
    bodies = body_rows(exemplar, _ROWS)
    return _paragraph(asked_text(exemplar)) + beside + (_bodies(bodies) if bodies else "")


def _bodies(rows: Sequence[Row]) -> str:
    head = "<thead><tr><th>Legacy body</th><th>Extracted body</th></tr></thead>"
    return f'<table class="bodies">{head}<tbody>\n{"".join(map(_body_row, rows))}</tbody></table>\n'


def _body_row(row: Row) -> str:
    kind = "differs" if row.mark == "|" else "same"
    legacy = "…" if row.mark == "…" else row.legacy
    cells = "".join(f"<td><pre>{_text(line)}</pre></td>" for line in (legacy, row.extracted))
    return f'<tr class="{kind}">{cells}</tr>\n'


def _uncounted(evidence: Document) -> str:
    rows = sorted(evidence["uncounted"].items(), key=lambda one: (-one[1], one[0]))
    rows += [("not the same when asked again", evidence["flaky"]), ("over the hourly cap", evidence["repeated"])]
    return _table(("Class", "Samples"), rows)


def _noise(noise: Sequence[Document]) -> Iterator[str]:
    if not noise:
        yield _paragraph("No field differed between two answers of the same side.")
        return
    headers = ("Endpoint", "Path", "Standing", "Differed", "Formats")
    yield _table(
        headers,
        (
            (one["endpoint"], one["path"], one["standing"], f"{one['differed']} of {one['of']}", _plain(one["formats"]))
            for one in noise
        ),
    )
    rules = rules_yaml(noise)
    if rules:
        yield _paragraph("Rules that would excuse it, for shadow.compare:")
        yield f"<pre>{_text(rules)}</pre>\n"


# --- building blocks -------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    """Escaped, without control characters, of bounded length for a single value."""
    return escape(printable("" if value is None else value))


def _cell(value: object) -> str:
    text = str(_plain(value))
    return _text(text if len(text) <= _CUT else text[: _CUT - 1] + "…") or "–"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(_plain(item)) for item in value)
    return "" if value is None else value


def _section(title: str, *parts: str) -> str:
    return f"<section>\n<h2>{_text(title)}</h2>\n{''.join(parts)}</section>\n"


def _paragraph(text: str) -> str:
    return f"<p>{_text(text)}</p>\n"


def _pairs(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values; what has no value is left out."""
    items = [f"<dt>{_text(name)}</dt><dd>{_cell(value)}</dd>\n" for name, value in pairs if value not in (None, "")]
    return f"<dl>\n{''.join(items)}</dl>\n"


def _table(headers: Sequence[str], rows: Iterable[Sequence[object]], kind: str = "plain") -> str:
    head = "".join(f"<th>{_text(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(map(_data, row))}</tr>\n" for row in rows)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>\n'


def _data(value: object) -> str:
    number = ' class="number"' if isinstance(value, (int, float)) else ""
    return f"<td{number}>{_cell(value)}</td>"


_OPENING = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
"""

_STYLE = """\
<style>
:root {
  --ink: #1b1f24; --paper: #fff; --line: #d0d7de; --soft: #f3f5f7; --mark: #fff3d6;
  --ready: #1a7f37; --hold: #9a6700; --regressed: #cf222e;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e6edf3; --paper: #14181d; --line: #3a424b; --soft: #1e242b; --mark: #3d3115;
    --ready: #3fb950; --hold: #d29922; --regressed: #f85149;
  }
}
body { color: var(--ink); background: var(--paper); font: 15px/1.45 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin-top: 2rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: 1rem; }
p, li, dd { overflow-wrap: anywhere; }
.verdict { font-size: 1.6rem; font-weight: 700; margin: .5rem 0; }
.verdict.ready { color: var(--ready); } .verdict.hold { color: var(--hold); }
.verdict.regressed { color: var(--regressed); }
.meter { height: .7rem; border: 1px solid var(--line); border-radius: .35rem; overflow: hidden; }
.meter div { height: 100%; background: var(--ready); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; margin: .75rem 0; }
th, td { border: 1px solid var(--line); padding: .25rem .5rem; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; } th { background: var(--soft); }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
table.bodies, table.pair { table-layout: fixed; }
table.bodies td { padding: 0 .5rem; border-top: 0; border-bottom: 0; }
table.bodies .differs td { background: var(--mark); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
pre { font: 13px/1.4 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
pre { min-height: 1em; }
section > pre { background: var(--soft); padding: .5rem; }
@media print {
  body { max-width: none; margin: 0; font-size: 11px; } pre { font-size: 9.5px; }
  tr, article h3, dl { break-inside: avoid; } h2, h3 { break-after: avoid; } thead { display: table-header-group; }
}
</style>
"""
