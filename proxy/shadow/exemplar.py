"""One difference as people look at it: both answers side by side, redacted. Pure."""

from __future__ import annotations

from typing import Any, Final

from proxy.moment import moment
from proxy.shadow.answer import Answer
from proxy.shadow.difference import Verdict
from proxy.shadow.redact import (
    Storing,
    redacted_body,
    redacted_headers,
    redacted_path,
    redacted_target,
    redacted_value,
    shown_type,
)
from proxy.shadow.sample import Sample

_MOST_DIFFERENCES: Final = 50


def exemplar(sample: Sample, verdict: Verdict, storing: Storing, cap: int) -> dict[str, Any]:
    """As `GET /api/seams/{name}/comparisons` shows it. `cap`: the longest body that is looked into, in bytes."""
    legacy, extracted = sides(sample)
    swapped = sample.served == "extracted"
    return {
        "at": moment(sample.at_s),
        "request_id": sample.request_id,
        "request": {
            "method": sample.ask.method,
            "target": redacted_target(sample.ask.target, storing),
            "headers": redacted_headers(sample.headers, storing),
        },
        "served": sample.served,
        "legacy": _side(legacy, storing, cap),
        "extracted": _side(extracted, storing, cap),
        "differences": [
            {
                "path": redacted_path(one.path),
                "class": one.kind,
                "severity": one.severity,
                "legacy": redacted_value(one.candidate if swapped else one.control, one.path, storing),
                "extracted": redacted_value(one.control if swapped else one.candidate, one.path, storing),
            }
            for one in verdict.differences[:_MOST_DIFFERENCES]
        ],
    }


def sides(sample: Sample) -> tuple[Answer | None, Answer | None]:
    """Legacy's answer and the extracted side's."""
    pair = sample.control, sample.candidate
    return pair if sample.served == "legacy" else (pair[1], pair[0])


def _side(answer: Answer | None, storing: Storing, cap: int) -> dict[str, Any]:
    if answer is None:
        return {"status": None, "content_type": None, "length": None, "body": None}
    return {
        "status": answer.status,
        "content_type": shown_type(answer),
        "length": answer.length if answer.truncated else len(answer.body),
        "body": redacted_body(answer, storing, cap),
    }
