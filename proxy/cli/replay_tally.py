"""What a replay has found, in bounded memory, as a document like that of `GET /api/seams/{name}/comparisons`.

Knows answers and verdicts; asks nobody. Values become shapes and hashes keyed anew in each run, raw only where asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.cli.replay_lines import Line, Read, Skipped, Unreadable
from proxy.shadow.answer import Answer
from proxy.shadow.decode import media_type
from proxy.shadow.difference import Difference, Shape, Verdict
from proxy.shadow.endpoint import templated
from proxy.shadow.noise import OTHER, EndpointNoise
from proxy.shadow.redact import Storing, hashed_shape
from proxy.shadow.suggest import differing, noise_row

Outcome = Answer | str
"""What came of asking a side: its answer, or a word for why there is none."""

_ENDPOINTS: Final = 500
_FIELDS: Final = 5000
_NAMED: Final = 100
_LONGEST: Final = 300


def endpoint_of(method: str, target: bytes) -> str:
    """`GET /api/products/{id}`: without the query, and with segments that look like ids named alike."""
    return f"{method} {templated(target.partition(b'?')[0])}"[:_LONGEST]


@dataclass(slots=True)
class _Field:
    """One class of difference at one place; `line` is the first that has it, and `exemplar` is of it."""

    severity: str
    line: int
    exemplar: dict[str, Any]
    count: int = 0


@dataclass(slots=True)
class Tally:
    """`storing` makes hashes comparable within this run only. `alone`: requests that legacy answered and extracted did
    not."""

    storing: Storing
    show_values: bool = False
    replayed: int = 0
    second_controls: int = 0
    alone: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    totals: Counter[str] = field(default_factory=Counter)
    uncounted: Counter[str] = field(default_factory=Counter)
    unanswered: dict[str, Counter[str]] = field(default_factory=lambda: {"legacy": Counter(), "extracted": Counter()})
    _named: list[Unreadable] = field(default_factory=list)
    _fields: dict[tuple[str, str, str], _Field] = field(default_factory=dict)
    _noise: dict[str, EndpointNoise] = field(default_factory=dict)
    _endpoints: set[str] = field(default_factory=set)

    def passed_over(self, read: Read) -> None:
        if isinstance(read, Skipped):
            self.skipped[read.method] += 1
        elif isinstance(read, Unreadable):
            self.unreadable += 1
            if len(self._named) < _NAMED:
                self._named.append(read)

    def failed(self, line: Line, control: Outcome, candidate: Outcome) -> None:
        """At least one of the two is no answer."""
        self.replayed += 1
        self.totals["uncounted"] += 1
        for side, outcome in (("legacy", control), ("extracted", candidate)):
            if isinstance(outcome, str):
                self.unanswered[side][outcome] += 1
        self.uncounted["unanswered"] += 1
        if isinstance(candidate, str) and isinstance(control, Answer):
            self.alone += 1
            missing = Difference("answer", candidate, "uncounted", 1, None, None)
            self._enter(line, control, None, (missing,))

    def observe(
        self, line: Line, control: Answer, candidate: Answer, verdict: Verdict, varied: Sequence[Difference] | None
    ) -> None:
        """One pair. `varied`: how the control differs from its second answer, None where it was asked once."""
        self.replayed += 1
        if verdict.counts:
            self.totals[verdict.verdict] += 1
        else:
            self.totals["uncounted"] += 1
            self.uncounted[verdict.kind] += 1
        differences = [one for one in verdict.differences if one.severity != "note"]
        self._enter(line, control, candidate, differences)
        if varied is not None:
            self.second_controls += 1
            endpoint = self._endpoint(line)
            known = self._noise.get(endpoint, EndpointNoise())
            self._noise[endpoint] = known.observe(differing(varied), {one.path for one in differences})

    def _endpoint(self, line: Line) -> str:
        endpoint = endpoint_of(line.method, line.target)
        if endpoint not in self._endpoints:
            if len(self._endpoints) >= _ENDPOINTS:
                return f"{line.method} {OTHER}"
            self._endpoints.add(endpoint)
        return endpoint

    def _enter(self, line: Line, control: Answer, candidate: Answer | None, differences: Sequence[Difference]) -> None:
        endpoint = self._endpoint(line)
        exemplar: dict[str, Any] | None = None
        for one in differences:
            key = (endpoint, one.path, one.kind)
            if key not in self._fields and len(self._fields) >= _FIELDS:
                key = (OTHER, "*", one.kind)
            known = self._fields.get(key)
            if known is None or line.number < known.line:
                exemplar = exemplar or self._exemplar(line, control, candidate, differences)
                count = 0 if known is None else known.count
                known = self._fields[key] = _Field(one.severity, line.number, exemplar, count)
            known.count += 1

    def _exemplar(
        self, line: Line, control: Answer, candidate: Answer | None, differences: Sequence[Difference]
    ) -> dict[str, Any]:
        return {
            "line": line.number,
            "request": {"method": line.method, "target": line.target.decode("ascii"), "headers": []},
            "served": "legacy",
            "legacy": _side(control),
            "extracted": None if candidate is None else _side(candidate),
            "differences": [
                {
                    "path": one.path,
                    "class": one.kind,
                    "severity": one.severity,
                    "legacy": self._value(one.control),
                    "extracted": self._value(one.candidate),
                }
                for one in differences[:_NAMED]
            ],
        }

    def _value(self, shape: Shape | None) -> dict[str, Any] | None:
        if shape is None:
            return None
        value = hashed_shape(shape, self.storing)
        if self.show_values and shape.excerpt:
            value["value"] = shape.excerpt
        return value

    def document(self) -> dict[str, Any]:
        """Most requests first; what counts before what does not."""
        return {
            "requests": self.replayed,
            "skipped": dict(self.skipped),
            "unreadable": {"count": self.unreadable, "lines": [{"line": r.number, "why": r.why} for r in self._named]},
            "unanswered": {side: dict(words) for side, words in self.unanswered.items()},
            "extracted_alone": self.alone,
            "second_controls": self.second_controls,
            "totals": {name: self.totals[name] for name in ("match", "mismatch", "uncounted")},
            "uncounted": dict(self.uncounted),
            "differences": self._differences(),
            "noise": self._noisy(),
        }

    def _differences(self) -> list[dict[str, Any]]:
        found = sorted(self._fields.items(), key=lambda one: (one[1].severity == "uncounted", -one[1].count, one[0]))
        return [
            {
                "endpoint": endpoint,
                "path": path,
                "class": kind,
                "severity": known.severity,
                "count": known.count,
                "exemplars": [known.exemplar],
            }
            for (endpoint, path, kind), known in found
        ]

    def _noisy(self) -> list[dict[str, Any]]:
        """All that legacy did not answer alike, also what is not noise by experience yet."""
        return [
            noise_row(endpoint, path, noise)
            for endpoint, noise in sorted(self._noise.items())
            for path, seen in sorted(noise.paths.items())
            if seen.k
        ]


def _side(answer: Answer) -> dict[str, Any]:
    types = [value for name, value in answer.headers if name.lower() == b"content-type"]
    length = answer.length if answer.truncated else len(answer.body)
    media = media_type(types[0]) if types else None
    return {"status": answer.status, "content_type": media or None, "length": length, "body": None}
