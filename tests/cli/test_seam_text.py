"""What `fig get seam` says of breakers, fallback and retries. The rest of it is read through the command."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.cli.seam_text import seam_text, seams_table


def breaker(side: str = "extracted", route: str = "", **members: Any) -> dict[str, Any]:
    well = {"state": "closed", "failures": 0, "requests": 0, "open_until": None, "forced": None}
    return {"side": side, "route": route, **well, **members}


def seam(**members: Any) -> dict[str, Any]:
    return {
        "name": "catalog", "owner": None, "stage": "extracted", "percent": 100.0, "rolled_back": None,
        "override": None, "yaml": {"stage": "extracted", "percent": 100.0},
        "seen": {"window_s": 60.0, "requests": 0, "percent": None}, "breakers": [], "fallback": None, "retry": None,
        "upstreams": {"legacy": "monolith", "extracted": "catalog"}, "version": 0, **members,
    }  # fmt: skip


def lines(document: dict[str, Any], label: str) -> list[str]:
    """The lines under a label, without it."""
    text = seam_text(document).splitlines()
    starts = [i for i, line in enumerate(text) if line.startswith(f"{label}:")]
    if not starts:
        return []
    (start,) = starts
    more = next((i for i, line in enumerate(text[start + 1 :], start + 1) if not line.startswith(" ")), len(text))
    return [line.partition(f"{label}:")[2].strip() or line.strip() for line in text[start:more]]


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({}, "extracted: closed · 0 failures in 0 requests"),
        ({"failures": 3, "requests": 40}, "extracted: closed · 3 failures in 40 requests"),
        ({"state": "open", "open_until": "T"}, "extracted: open until T · 0 failures in 0 requests"),
        ({"state": "half_open"}, "extracted: half-open · 0 failures in 0 requests"),
        ({"state": "open", "forced": "open"}, "extracted: held open · 0 failures in 0 requests"),
        ({"forced": "close", "failures": 9, "requests": 9}, "extracted: held closed · 9 failures in 9 requests"),
    ],
)
def test_a_breaker_in_each_state(members: dict[str, Any], text: str) -> None:
    assert lines(seam(breakers=[breaker(**members)]), "Breaker") == [text]


def test_breakers_are_told_by_side_and_route() -> None:
    found = lines(seam(breakers=[breaker(), breaker(route="/pay"), breaker("legacy")]), "Breakers")
    assert [line.partition(":")[0] for line in found] == ["extracted", "extracted /pay", "legacy"]
    assert lines(seam(), "Breaker") == lines(seam(), "Breakers") == []


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([], "-"),
        ([{}], "closed"),
        ([{}, {"state": "half_open"}], "half-open"),
        ([{"state": "half_open"}, {"state": "open"}], "open"),
        ([{"state": "open"}, {"state": "open", "forced": "open"}], "held open"),
        ([{"forced": "close"}, {}], "held closed"),
        ([{"forced": "close"}, {"state": "half_open"}], "half-open"),
    ],
)
def test_the_list_shows_the_most_serious(states: list[dict[str, Any]], word: str) -> None:
    table = seams_table([seam(breakers=[breaker(**state) for state in states])])
    ((*cells,),) = table.cells()
    assert cells[list(table.headers).index("BREAKER")] == word


@pytest.mark.parametrize(
    ("fallback", "text"),
    [
        ({"to": "none", "static": None, "status": [], "max_in_flight": 0}, "none"),
        ({"to": "legacy", "static": None, "status": [], "max_in_flight": 20}, "legacy · 2/20 in flight"),
        (
            {"to": "static", "static": {"status": 202}, "status": [500, 503], "max_in_flight": 20},
            "static 202 · 2/20 in flight · also on 500, 503 if the method is safe",
        ),
    ],
)
def test_the_fallback(fallback: dict[str, Any], text: str) -> None:
    assert lines(seam(fallback={"in_flight": 2, **fallback}), "Fallback") == [text]


def test_a_seam_without_an_extracted_side_has_no_fallback() -> None:
    assert lines(seam(), "Fallback") == []


def test_retries() -> None:
    retry = {"retries": 2, "on": ["connect", "reset"], "status": [503]}
    assert lines(seam(retry=retry), "Retry") == ["up to 2 on connect, reset, 503"]
    assert lines(seam(retry={**retry, "retries": 0}), "Retry") == []


EVIDENCE = {
    "seam": "catalog", "verdict": "HOLD", "reason": "insufficient", "percent": 62.9, "samples": 1250, "meter": "",
    "notes": [{"reason": "insufficient", "text": f"GET /{number}: more\x1b[31m to go"} for number in range(5)],
}  # fmt: skip


def test_the_meter_says_what_stands_in_the_way_first() -> None:
    told = seam_text(seam(evidence=EVIDENCE)).splitlines()
    (at,) = (number for number, line in enumerate(told) if line.startswith("Evidence:"))
    assert told[at] == f"Evidence:    HOLD(insufficient) {'█' * 20}{'░' * 12} 62 % · 1250 samples"
    assert [line.strip()[:6] for line in told[at + 1 : at + 4]] == ["GET /0", "GET /1", "GET /2"]
    assert told[at + 4].strip() == "and 2 more: `fig report catalog --html FILE` has them all"
    assert "\x1b" not in "".join(told)


def test_evidence_that_cannot_be_had_is_said() -> None:
    assert "Evidence:    the comparer is away" in seam_text(seam(evidence="the comparer is away"))
    assert "Evidence" not in seam_text(seam())
