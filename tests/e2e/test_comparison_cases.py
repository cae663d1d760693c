"""Every pair of tests/cases/comparison_cases.json through a running fig: two origins serve it, a client asks, and what
`recent` on the admin port says is what the case expects."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.shadow.answer import Answer
from tests.shadow.test_comparison_cases import CASES
from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Behaviour, Connection, Origin, Request
from tests.support.pairs import read_answer, read_ask

Case = dict[str, Any]

CONFIG = """
version: 1
server: {listen: "{data}"}
admin: {listen: "{admin}"}
store: "memory:"
upstreams:
  monolith: {endpoints: ["LEGACY"]}
  service: {endpoints: ["EXTRACTED"]}
default: monolith
seams:
"""
SEAM = """
  rules{number}:
    routes: [{{path: /{number}/**}}]
    extracted: service
    rewrite: {{strip_prefix: /{number}}}
    stage: shadow
    shadow: {{methods: [GET, HEAD, OPTIONS], max_per_s: null, control_percent: 100, timeout_s: 10, compare: {rules}}}
"""


def serving(which: str) -> Behaviour:
    """Says what the case asks for: `legacy`, or `legacy2` to whoever asks only to compare; or `new`."""

    def behave(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            case = case_of(request)
            again = which == "legacy" and request.value("x-fig-shadow") is not None
            connection.send(wire(read_answer(case["legacy2" if again and "legacy2" in case else which]), request))

    return behave


def case_of(request: Request) -> Case:
    name = request.value("x-case")
    return next(case for case in CASES if case["name"] == name)


def wire(answer: Answer, request: Request) -> bytes:
    lines = b"".join(b"%b: %b\r\n" % line for line in answer.headers)
    bodyless = request.line.startswith("HEAD ") or answer.status in (204, 304)
    length = b"" if answer.status in (204, 304) else b"Content-Length: %d\r\n" % len(answer.body)
    return b"HTTP/1.1 %d X\r\n%b%b\r\n%b" % (answer.status, lines, length, b"" if bodyless else answer.body)


RULES = list({json.dumps(case["config"], sort_keys=True): case["config"] for case in CASES}.values())


@pytest.fixture(scope="module")
def recent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """What was found, by the name of the case."""
    with (
        contextlib.closing(Origin(serving("legacy"))) as legacy,
        contextlib.closing(Origin(serving("new"))) as extracted,
    ):
        text = CONFIG.replace("LEGACY", legacy.url).replace("EXTRACTED", extracted.url)
        text += "".join(SEAM.format(number=number, rules=json.dumps(rules)) for number, rules in enumerate(RULES))
        with Fig(tmp_path_factory.mktemp("cases"), text) as fig:
            names = {ask_for(fig, case): case["name"] for case in CASES}
            yield {names[one["request_id"]]: one for one in found(fig)}


def ask_for(fig: Fig, case: Case) -> str:
    """The id of the request."""
    ask = read_ask(case.get("request"))
    headers = "".join(f"{name}: {value}\r\n" for name, value in case.get("request", {}).get("headers", ()))
    # The rules' seam has a prefix that the client's URL does not: a Location counts from the root in either.
    target = f"/{RULES.index(case['config'])}{ask.target.decode()}"
    with RawClient(fig.address) as client:
        head = f"{ask.method} {target} HTTP/1.1\r\nHost: {ask.host.decode()}\r\nX-Case: {case['name']}\r\n{headers}\r\n"
        client.send(head.encode())
        got = client.answer(head_only=ask.method == "HEAD")
    control = read_answer(case["legacy"])
    assert got.status == control.status
    assert got.body == (b"" if ask.method == "HEAD" or got.status == 204 else control.body)
    return got.value("x-request-id") or ""


def found(fig: Fig) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        seams = [fig.call("GET", f"/api/seams/rules{number}/comparisons").json() for number in range(len(RULES))]
        rows = [row for seam in seams for row in seam["recent"]]
        if len(rows) == len(CASES):
            return rows
        time.sleep(0.2)
    raise AssertionError(f"{len(rows)} of {len(CASES)} cases were compared\n{fig.errors()}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(recent: dict[str, dict[str, Any]], case: Case) -> None:
    row = recent[case["name"]]
    assert (row["verdict"], row["counts"]) == (case["expect"], case.get("counts", True))
    assert row["class"] == case.get("kind", "")
    if case["paths"] == ["*"]:
        assert row["paths"]
    else:
        assert sorted(row["paths"]) == sorted(case["paths"])
