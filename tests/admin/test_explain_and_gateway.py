"""The explanation of a request and what a running fig does with it are the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.admin import CONFIG
from tests.support.client import Answer, RawClient
from tests.support.fig import Fig, free_port
from tests.support.origin import Connection, Origin

TARGETS = (
    "/api/products/7", "/api/products/x", "/api/products/7;v=1", "/api//products/7", "/api/products/../products/7",
    "/api/products/%37", "/api/products%2F7", "/api/search?mode=full", "/api/search?mode=some", "/api/orders",
    "/api/orders/1/lines", "/pages/", "/pages", "/", "/nowhere", "/%zz", "*",
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "OPTIONS", "get", "BREW", "TRACE")
CAUSES = {"reset": "upstream_reset", "hang": "response_timeout", "nonsense": "upstream_protocol"}

UPSTREAMS = """\
  faulty: {endpoints: ["FAULTY"], timeouts: {response_s: 0.2}}
default: monolith
"""
SEAMS = """\
  faults:
    extracted: faulty
    stage: extracted
    breaker: {enabled: false}
    fallback: {status: [503]}
    routes:
      - {path: "/faults/*"}
      - {path: "/faults/alone/*", fallback: none}
      - {path: "/faults/told/*", fallback: {static: {status: 202}, status: [502]}}
  absent:
    extracted: catalog
    stage: extracted
    breaker: {enabled: false}
    routes:
      - {path: /absent}
      - {path: /absent/alone, fallback: none}
      - {path: /absent/told, fallback: {static: {status: 202}}}
"""


def faulty(connection: Connection) -> None:
    """Does what the target says."""
    while (request := connection.read()) is not None:
        fault = request.target.rpartition("/")[2]
        if fault == "reset":
            return connection.reset()
        if fault == "hang":
            connection.wait_closed()
        elif fault == "nonsense":
            return connection.send(b"nonsense\r\n\r\n")
        else:
            connection.send(f"HTTP/1.1 {fault} X\r\nContent-Length: 0\r\n\r\n".encode())
    return None


@pytest.fixture(scope="module")
def fig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fig]:
    """The catalog is not there; the monolith is, and says 200."""
    monolith, service = Origin(), Origin(faulty)
    text = CONFIG.replace("{listen: 127.0.0.1:18080}", '{listen: "{data}", debug_headers: true}')
    text = text.replace("listen: 127.0.0.1:19901", 'listen: "{admin}"').replace('"off"', "off")
    text = text.replace("http://127.0.0.1:1]", f"{monolith.url}]").replace("127.0.0.1:2", f"127.0.0.1:{free_port()}")
    text = text.replace("default: monolith\n", UPSTREAMS.replace("FAULTY", service.url)) + SEAMS
    with Fig(tmp_path_factory.mktemp("fig"), text) as running:
        yield running
    monolith.close()
    service.close()


def headers(rng: random.Random) -> list[str]:
    found = [f"X-User-Id: {rng.randrange(50)}"]  # without a sticky key the side is drawn by lot
    if rng.random() < 0.3:
        found.append(f"X-Fig-Force: {rng.choice(['legacy', 'Extracted', 'both', ''])}")
    return found


def put(fig: Fig, state: str) -> None:
    """Into a state, from whichever it is in."""
    fig.call("POST", "/api/seams/catalog/resume")
    fig.call("POST", "/api/seams/catalog/reset")
    if state == "rolled back":
        fig.call("POST", "/api/seams/catalog/rollback")
    elif state == "extracted":
        fig.call("POST", "/api/seams/catalog/shift", stage="extracted")


def asked_and_explained(fig: Fig, method: str, target: str, sent: list[str]) -> tuple[Answer, dict[str, Any]]:
    with RawClient(fig.address) as client:
        answer = client.get(target, *sent, method=method)
    fields = dict(line.split(": ") for line in ("Host: proxy.test", *sent))
    question = {"method": method, "path": target, "headers": fields}
    explained: dict[str, Any] = httpx.post(
        f"{fig.admin}/api/explain", json=question, trust_env=False, verify=False
    ).json()
    return answer, explained


def stood_in(answer: Answer, explained: dict[str, Any]) -> bool:
    """Whether another answered than the side decided on; then it must be the one that was named."""
    if answer.value("x-fig-fallback") is None:
        assert answer.value("x-fig-side") == explained["side"]
        return False
    if explained["fallback"] == "legacy (monolith)":
        assert (answer.status, answer.value("x-fig-side")) == (200, "legacy")
    else:
        assert explained["fallback"] == f"static {answer.status}"
        assert answer.value("x-fig-side") == explained["side"]
    return True


def step(explained: dict[str, Any], name: str) -> dict[str, str]:
    (found,) = [one for one in explained["steps"] if one["step"] == name]
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize("state", ["canary", "rolled back", "extracted"])
def test_explain_never_disagrees_with_what_fig_does(fig: Fig, state: str) -> None:
    put(fig, state)
    rng = random.Random(state)
    sides = set()
    for _ in range(300):
        method, target, sent = rng.choice(METHODS), rng.choice(TARGETS), headers(rng)
        asked = f"{method} {target} {sent}"
        answer, explained = asked_and_explained(fig, method, target, sent)
        did = tuple(answer.value(f"x-fig-{what}") for what in ("seam", "reason"))
        sides.add(explained["side"])
        if explained["side"] is None:
            assert did == (None, None), asked
            assert str(answer.status) == explained["steps"][-1]["result"], asked
        else:
            assert did == (explained["seam"], explained["reason"]), asked
            # nobody is at the extracted side: what is decided for it ends at its fallback
            assert stood_in(answer, explained) is (explained["side"] == "extracted"), asked
    assert sides == {None, "legacy"} | ({"extracted"} if state != "rolled back" else set())


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("route", ["", "alone/", "told/"])
@pytest.mark.parametrize("fault", ["500", "502", "503", "404", *CAUSES])
def test_a_fallback_comes_to_pass_exactly_where_explain_says_so(fig: Fig, method: str, route: str, fault: str) -> None:
    answer, explained = asked_and_explained(fig, method, f"/faults/{route}{fault}", [])
    fallback = step(explained, "fallback")
    assert stood_in(answer, explained) is (CAUSES.get(fault, f"status {fault}") in fallback["detail"])
    assert (fallback["result"] == "none") is (explained["fallback"] is None) is (route == "alone/")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_where_nobody_is_any_method_falls_back(fig: Fig, method: str) -> None:
    for target, word in (("/absent", "connect_failed"), ("/absent/alone", None), ("/absent/told", "connect_failed")):
        answer, explained = asked_and_explained(fig, method, target, [])
        assert answer.value("x-fig-fallback") == word
        assert stood_in(answer, explained) is ("connect_failed" in step(explained, "fallback")["detail"])


def test_a_breaker_that_a_running_fig_holds_open_is_told_of(fig: Fig) -> None:
    put(fig, "extracted")
    fig.call("POST", "/api/seams/catalog/breaker", state="open")
    answer, explained = asked_and_explained(fig, "POST", "/api/search?mode=full", [])
    assert (answer.value("x-fig-fallback"), answer.status) == ("breaker_open", 200)
    assert step(explained, "breaker")["detail"].startswith("held open by an operator; ")
    assert "breaker_open" in step(explained, "fallback")["detail"]
    fig.call("POST", "/api/seams/catalog/breaker", state="auto")
