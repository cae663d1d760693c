"""`fig report`: one page, whole, harmless, and the exit code of a gate."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from proxy.cli.report_html import Made, report_html
from proxy.shadow.evidence import Evidence, Policy, Stratum, Tally, Waiver, assess
from proxy.shadow.sequential import Counts
from tests.support.cli import Command, Listener
from tests.support.comparisons import (
    HOSTILE,
    ShadowPort,
    comparisons,
    difference,
    exemplar,
    hostile,
    nothing,
    side,
    value,
)

DAY_S = 86_400.0
MADE = Made("2026-03-01T12:00:00Z", "ana", "JIRA-1", "1.2.3")
VOID = {"meta", "br", "hr", "img", "link", "input"}


def evidence(k: int = 0, n: int = 6000, **members: Any) -> dict[str, Any]:
    """As the admin port makes it of a verdict."""
    marks = tuple(f"{number:016x}" for number in range(40))
    tally = Tally(Counts(n, k), marks, 0.0, 2 * DAY_S)
    book = Evidence(
        "3f2a9c64",
        strata={Stratum("GET /api/products/{id}", "2xx"): tally} if n else {},
        traffic={"GET /api/products/{id}": n},
        known=frozenset({"GET /api/old"}),
        uncounted={"shadow_timeout": 20} if n else {},
        controls={"GET /api/products/{id}": 500},
    )
    waivers = [Waiver("GET /api/old", "bea", "gone in May")]
    verdict = assess(book, Policy(), now_s=2 * DAY_S, epoch="3f2a9c64", waivers=waivers)
    return {
        "seam": "catalog", "epoch": "3f2a9c64", "since": "2026-03-01T10:00:00Z",
        "versions": {"legacy": "2026.1", "extracted": "41"}, "meter": "evidence 43%, 3000 clean comparisons to go",
        "samples": book.samples, "uncounted": dict(book.uncounted), "flaky": 3, "repeated": 1,
        "policy": asdict(Policy()), **verdict.to_json(), **members,
    }  # fmt: skip


class Page(HTMLParser):
    """Checks that elements close, and gathers what a reader and a browser would find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture
def fig(listener: Listener) -> Callable[..., Result]:
    """`fig report catalog ARGS` where the admin port says `evidence`."""

    def run(document: dict[str, Any], *args: object, seam: str = "catalog") -> Result:
        listener.app = ShadowPort(comparisons(), document).app
        return Command({"FIG_ADMIN_URL": listener.url, "FIG_ACTOR": "ana"})("report", seam, *args)

    return run


Fig = Callable[..., Result]


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_says_it_all() -> None:
    page = Page(report_html(comparisons(), evidence(), MADE))
    for word in (
        "catalog", "READY", "evidence 43%", "3f2a9c64", "legacy 2026.1 · extracted 41", "2026-03-01T10:00:00Z",
        "2026-03-01T12:00:00Z by ana with fig 1.2.3", "JIRA-1", "Nothing stands in the way.",
        "1000 match · 12 mismatch · 30 uncounted", 'ignore: ["$.served_at"]',
    ):  # fmt: skip
        assert word in page.text
    stratum = _row(page, "GET /api/products/{id}", "2xx")
    assert stratum[2:] == ["6000", "0", "0 % to 0.0615 %", "100 %", "ready"]
    assert ["GET /api/old", "bea", "gone in May"] in page.rows
    assert ["shadow_timeout", "20"] in page.rows
    assert ["not the same when asked again", "3"] in page.rows
    assert "min_duration_s" in page.text
    assert _row(page, "body:$.price")[1:] == [
        "string decimal, 4 long, #1a2b3c4d", "string decimal, 4 long, #9f8e7d6c"
    ]  # fmt: skip
    assert _row(page, "GET /api/products/{id}", "body:$.served_at")[2:] == ["volatile", "5 of 40", "datetime"]


def _row(page: Page, *start: str) -> list[str]:
    (row,) = [row for row in page.rows if row[: len(start)] == [*start]]
    return row


def test_what_stands_in_the_way_is_listed() -> None:
    page = Page(report_html(comparisons(), evidence(n=100), MADE))
    assert "HOLD" in page.text
    assert "insufficient" in page.text
    row = next(row for row in page.rows if row[0] == "GET /api/products/{id}" and row[2] == "100")
    assert re.fullmatch(r"\d+ clean comparisons", row[6])
    assert row[4] == "0 % to 3.62 %"
    page = Page(report_html(comparisons(), evidence(k=300), MADE))
    assert "REGRESSED" in page.text
    assert "differs more often than tolerated" in page.text


def test_a_page_about_nothing() -> None:
    empty = evidence(n=0, epoch=None, since=None, versions={}, meter="evidence 0%")
    page = Page(report_html(nothing(), empty, Made(MADE.at, "", "", "1.2.3")))
    for word in ("no_traffic", "none: nothing was compared yet", "No field differed", "2026-03-01T12:00:00Z with fig"):
        assert word in page.text


def test_bodies_stand_beside_one_another() -> None:
    shown = exemplar(legacy=side(body='{"a":1,"b":2}'), extracted=side(body='{"a":1,"b":3}'))
    page = Page(report_html(comparisons(differences=[difference(exemplars=[shown] * 5)]), evidence(), MADE))
    assert page.rows.count(['  "b": 2', '  "b": 3']) == 2
    assert ("class", "differs") in page.attributes


def test_the_page_needs_nothing_else() -> None:
    text = report_html(hostile(), evidence(), MADE)
    page = Page(text)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "form", "a", "base", "svg"}
    assert {name for name, _ in page.attributes} <= {
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "style",
    }
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text
    for media in ("@media print", "prefers-color-scheme: dark"):
        assert media in text


def test_what_services_said_is_text_and_nothing_else() -> None:
    breaking = f"{HOSTILE}\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;"
    document = json.loads(json.dumps(hostile()).replace(json.dumps(HOSTILE)[1:-1], json.dumps(breaking)[1:-1]))
    said = evidence(
        seam=breaking, verdict=breaking, reason=breaking, meter=breaking, epoch=breaking, since=breaking,
        notes=[{"reason": breaking, "text": breaking}], unseen=[breaking], uncounted={breaking: 1},
        waived=[{"what": breaking, "name": breaking, "reason": breaking}], policy={breaking: breaking},
        versions={"legacy": breaking},
    )  # fmt: skip
    text = report_html(document, said, Made(MADE.at, breaking, breaking, "1.2.3"))
    page = Page(text)
    assert not page.tags & {"script", "img", "b x", "red"}
    assert text.replace("\n", "").isprintable()
    assert page.text.count("<script>alert(1)</script>") > 15
    assert "&amp;amp;" in text


def test_a_long_value_is_cut() -> None:
    shown = exemplar(differences=[{**exemplar()["differences"][0], "legacy": value(value="x" * 10_000)}])
    text = report_html(comparisons(differences=[difference(exemplars=[shown])]), evidence(), MADE)
    assert "x" * 300 in text
    assert "x" * 401 not in text


def test_of_many_differences_the_first_are_shown() -> None:
    many = [difference(path=f"body:$.f{number}") for number in range(25)]
    page = Page(report_html(comparisons(differences=many), evidence(), MADE))
    assert "and 5 more" in page.text
    assert ("$.f19" in page.text, "$.f20" in page.text) == (True, False)


# --- the command -----------------------------------------------------------------------------------------------------


def test_ready_is_exit_0_and_stdout_stays_empty(fig: Fig, tmp_path: Path) -> None:
    path = tmp_path / "ticket.html"
    result = fig(evidence(), "--html", path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{path}: READY\n")
    page = Page(path.read_text())
    assert "READY" in page.text
    assert " by ana with fig " in page.text


def test_a_gate_that_is_not_met_is_exit_4_and_the_page_is_there(fig: Fig, tmp_path: Path) -> None:
    path = tmp_path / "ticket.html"
    result = fig(evidence(n=100), "--html", path)
    assert (result.exit_code, result.stderr) == (4, f"{path}: HOLD (insufficient)\n")
    assert "HOLD" in path.read_text()
    result = fig(evidence(k=300), "--html", path)
    assert (result.exit_code, result.stderr) == (4, f"{path}: REGRESSED (regressed)\n")


def test_help_says_what_the_exit_codes_mean(fig: Fig) -> None:
    assert "Exit 0 if the verdict is READY, 4 if it is HOLD or REGRESSED" in fig(evidence(), "--help").stdout


def test_a_page_may_go_to_stdout(fig: Fig, tmp_path: Path) -> None:
    result = fig(evidence(), "--html", "-")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("<!DOCTYPE html>\n")
    assert result.stdout.endswith("</html>\n")
    Page(result.stdout)


def test_json_prints_what_the_page_was_made_of(fig: Fig, tmp_path: Path) -> None:
    result = fig(evidence(), "--html", tmp_path / "a.html", "-o", "json")
    assert json.loads(result.stdout) == {"evidence": evidence(), "comparisons": comparisons()}
    assert fig(evidence(), "--html", "-", "-o", "json").exit_code == 2


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(fig: Fig, tmp_path: Path) -> None:
    path = tmp_path / "ticket.html"
    path.write_text("old")
    before = path.stat().st_ino
    assert fig(evidence(), "--html", path).exit_code == 0
    assert path.stat().st_ino != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()
    assert [entry.name for entry in tmp_path.iterdir()] == ["ticket.html"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_without_an_answer_the_old_page_stays(fig: Fig, tmp_path: Path) -> None:
    path = tmp_path / "ticket.html"
    path.write_text("old")
    result = fig(evidence(), "--html", path, seam="nope")
    assert (result.exit_code, result.stdout, path.read_text()) == (1, "", "old")


def test_a_link_stays_a_link_and_a_pipe_a_pipe(fig: Fig, tmp_path: Path) -> None:
    path, link, pipe = tmp_path / "ticket.html", tmp_path / "link.html", tmp_path / "pipe"
    link.symlink_to(path)
    assert fig(evidence(), "--html", link).exit_code == 0
    assert link.is_symlink()
    assert path.read_text().startswith("<!DOCTYPE html>")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert fig(evidence(), "--html", pipe).exit_code == 0
    assert os.read(reader, 15) == b"<!DOCTYPE html>"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_place_that_cannot_be_written_is_exit_1(fig: Fig, tmp_path: Path) -> None:
    result = fig(evidence(), "--html", tmp_path / "nope" / "a.html")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot be written (No such file or directory)" in result.stderr


@pytest.mark.parametrize("args", [(), ("--html",), ("--html", "a", "b")])
def test_wrong_usage_is_exit_2(fig: Fig, args: tuple[str, ...]) -> None:
    assert fig(evidence(), *args).exit_code == 2


def test_a_folder_is_no_file(fig: Fig, tmp_path: Path) -> None:
    assert fig(evidence(), "--html", tmp_path).exit_code == 2
