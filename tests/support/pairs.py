"""Pairs of answers to compare."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

from proxy.shadow.answer import Answer, Ask, is_conditional
from proxy.shadow.compare import compare
from proxy.shadow.difference import Verdict
from proxy.shadow.rules import compile_rules

JSON = "application/json"
ASK = Ask("GET", b"/o/1", b"shop.example")


def answer(body: bytes | str = b"", media: str | None = JSON, status: int = 200, **fields: str) -> Answer:
    """Header names with `_` for `-`; a list of lines where a value has line ends."""
    lines = [] if media is None else [(b"Content-Type", media.encode("latin-1"))]
    for name, value in fields.items():
        lines += [(name.replace("_", "-").encode(), line.encode("latin-1")) for line in value.split("\n")]
    return Answer(status, tuple(lines), body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body)


def document(value: Any) -> Answer:
    return answer(json.dumps(value))


def verdict_of(
    control: Answer, candidate: Answer, second: Answer | None = None, ask: Ask = ASK, **rules: Any
) -> Verdict:
    return compare(ask, control, candidate, compile_rules(rules), second)


def documents(control: Any, candidate: Any, second: Any = None, **rules: Any) -> Verdict:
    return verdict_of(document(control), document(candidate), None if second is None else document(second), **rules)


def found(verdict: Verdict) -> set[tuple[str, str]]:
    """(path, class) of all differences but notes."""
    return {(one.path, one.kind) for one in verdict.differences if one.severity != "note"}


def read_answer(case: dict[str, Any]) -> Answer:
    """As in tests/cases/comparison_cases.json: `headers` a list of pairs, `body` a text or {b64}."""
    body = case["body"]
    data = base64.b64decode(body["b64"]) if isinstance(body, dict) else body.encode("utf-8", "surrogatepass")
    return Answer(case["status"], tuple((name.encode(), value.encode()) for name, value in case["headers"]), data)


def read_ask(request: dict[str, Any] | None) -> Ask:
    if request is None:
        return ASK
    url = urlsplit(request["url"])
    target = url.path + (f"?{url.query}" if url.query else "")
    names = [name.encode() for name, _ in request.get("headers", ())]
    return Ask(request["method"], target.encode(), url.netloc.encode(), url.scheme, is_conditional(names))
