"""A seam as people read it: asked against seen, and who last moved it. Pure: documents in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.cli.render import Table, percent_text, printable

STAGES = ("legacy", "shadow", "canary", "extracted", "retired")
_HEADERS = ("SEAM", "OWNER", "STAGE", "ASKED", "SEEN", "REQUESTS", "BREAKER", "UPSTREAMS", "VERSION", "BECAUSE OF")

_BAR_CELLS = 32
_NOTES = 3
_BREAKER_STATES = ("held open", "open", "half-open", "held closed")  # the most serious first

Seam = Mapping[str, Any]
Breaker = Mapping[str, Any]


def seams_table(seams: Sequence[Seam]) -> Table:
    return Table(_HEADERS, [_row(seam) for seam in seams])


def _row(seam: Seam) -> tuple[object, ...]:
    upstreams = seam["upstreams"]
    places = " → ".join(name for name in (upstreams["legacy"], upstreams["extracted"]) if name)
    return (
        seam["name"],
        seam["owner"],
        seam["stage"],
        percent_text(seam["percent"]),
        percent_text(seam["seen"]["percent"]),
        seam["seen"]["requests"],
        _worst(seam["breakers"]),
        places,
        seam["version"],
        cause(seam),
    )


def cause(seam: Seam) -> str:
    """What the effective state goes back to."""
    signed = seam["rolled_back"] or seam["override"]
    if signed is None:
        return "no record, not configured" if seam.get("orphan") else "configuration"
    what = "rolled back" if seam["rolled_back"] else "override"
    note = "; not configured" if seam.get("orphan") else ""
    return f"{what} by {signed['by']}{note}"


def seam_text(seam: Seam) -> str:
    """Several lines, without control characters."""
    lines = [
        ("Seam", f"{seam['name']:<24} Owner: {seam['owner'] or '-'}"),
        ("Stage", _stages(seam["stage"])),
        ("Traffic", _traffic(seam)),
        *_notes(seam),
        (
            "Upstreams",
            f"legacy {seam['upstreams']['legacy'] or '-'} · extracted {seam['upstreams']['extracted'] or '-'}",
        ),
        *_breakers(seam["breakers"]),
        *_fallback(seam["fallback"]),
        *_retry(seam["retry"]),
        *_evidence(seam.get("evidence")),
        ("Version", str(seam["version"])),
    ]
    return printable("\n".join(f"{label + ':' if label else '':<12} {text}" for label, text in lines))


def place(stage: str, percent: float) -> str:
    return f"canary {percent_text(percent)}" if stage == "canary" else stage


def _stages(stage: str) -> str:
    return " → ".join(f"[{name}]" if name == stage else name for name in STAGES)


def _traffic(seam: Seam) -> str:
    filled = round(seam["percent"] / 100 * _BAR_CELLS)
    bar = "█" * filled + "░" * (_BAR_CELLS - filled)
    seen = seam["seen"]
    minutes = seen["window_s"] / 60
    last = f"{minutes:.0f} min" if minutes >= 1 else f"{seen['window_s']:.0f} s"
    lately = f"{percent_text(seen['percent'])} seen ({seen['requests']} requests, last {last})"
    return f"extracted {bar} {percent_text(seam['percent'])} asked · {lately}"


def _notes(seam: Seam) -> list[tuple[str, str]]:
    notes = []
    if seam["rolled_back"]:
        notes.append(("Rolled back", f"{_signature(seam['rolled_back'])}; `fig resume {seam['name']}` lifts it"))
    if seam["override"]:
        override = seam["override"]
        notes.append(("Override", f"{place(override['stage'], override['percent'])} {_signature(override)}"))
    if seam["yaml"]:
        notes.append(("File", place(seam["yaml"]["stage"], seam["yaml"]["percent"])))
    if seam.get("orphan"):
        notes.append(("Note", "the configuration has no such seam; this is what the store still holds"))
    return notes


def _worst(breakers: Sequence[Breaker]) -> str:
    """The most serious that any of them is in; nothing to tell of those that are just closed."""
    words = [_state(breaker) for breaker in breakers]
    told = [word for word in words if word != "closed"]
    return min(told, key=_BREAKER_STATES.index, default="closed" if words else "")


def _breakers(breakers: Sequence[Breaker]) -> list[tuple[str, str]]:
    label = "Breaker" if len(breakers) == 1 else "Breakers"
    return [(label if i == 0 else "", _breaker(breaker)) for i, breaker in enumerate(breakers)]


def _breaker(breaker: Breaker) -> str:
    name = f"{breaker['side']} {breaker['route']}".rstrip()
    until = f" until {breaker['open_until']}" if breaker["open_until"] else ""
    lately = f"{breaker['failures']} failures in {breaker['requests']} requests"
    return f"{name}: {_state(breaker)}{until} · {lately}"


def _state(breaker: Breaker) -> str:
    if breaker["forced"] is not None:
        return "held open" if breaker["forced"] == "open" else "held closed"
    return "half-open" if breaker["state"] == "half_open" else str(breaker["state"])


def _fallback(fallback: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if fallback is None:
        return []
    if fallback["to"] == "none":
        return [("Fallback", "none")]
    to = f"static {fallback['static']['status']}" if fallback["static"] else str(fallback["to"])
    statuses = ", ".join(map(str, fallback["status"]))
    on = f" · also on {statuses} if the method is safe" if statuses else ""
    return [("Fallback", f"{to} · {fallback['in_flight']}/{fallback['max_in_flight']} in flight{on}")]


def _retry(retry: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if retry is None or not retry["retries"]:
        return []
    occasions = ", ".join([*retry["on"], *map(str, retry["status"])])
    return [("Retry", f"up to {retry['retries']} on {occasions}")]


def _evidence(evidence: Mapping[str, Any] | str | None) -> list[tuple[str, str]]:
    """The meter, and what stands in the way first."""
    if evidence is None:
        return []
    if isinstance(evidence, str):
        return [("Evidence", evidence)]
    filled = int(evidence["percent"] / 100 * _BAR_CELLS)  # full is ready
    bar = "█" * filled + "░" * (_BAR_CELLS - filled)
    verdict = f"{evidence['verdict']}({evidence['reason']})" if evidence["verdict"] == "HOLD" else evidence["verdict"]
    lines = [("Evidence", f"{verdict} {bar} {int(evidence['percent'])} % · {evidence['samples']} samples")]
    notes = evidence["notes"]
    lines += [("", note["text"]) for note in notes[:_NOTES]]
    if len(notes) > _NOTES:
        lines.append(("", f"and {len(notes) - _NOTES} more: `fig report {evidence['seam']} --html FILE` has them all"))
    return lines


def _signature(signed: Mapping[str, Any]) -> str:
    reason = f' "{signed["reason"]}"' if signed["reason"] else ""
    return f"by {signed['by']} at {signed['at']}{reason}"
