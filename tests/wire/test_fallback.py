"""The faults of an extracted side and what the client gets then: legacy's answer wherever nothing can happen twice.

docs/faults.md shows these very rows, in the table of the faults that have another side to go to.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Answer, RawClient
from tests.support.fig import Fig, free_port
from tests.support.origin import Behaviour, Connection, Origin, deaf_port, ok, resetting, saying
from tests.support.tally import Tally, pool
from tests.support.wire import access_line, until

CONFIG = """
version: 1
server: {{listen: "{{data}}", debug_headers: true}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
upstreams:
  monolith: {{endpoints: ["{legacy}"]}}
  service: {{endpoints: ["{extracted}"], timeouts: {{connect_s: 0.5, response_s: 0.5, body_s: 0.5}}}}
  dead: {{endpoints: ["http://127.0.0.1:{closed}"], timeouts: {{connect_s: 0.5}}}}
  deaf: {{endpoints: ["http://127.0.0.1:{deaf}"], timeouts: {{connect_s: 0.5}}}}
  calm: {{endpoints: ["{extracted}"]}}
  narrow: {{endpoints: ["{extracted}"], max_in_flight: 1, max_queue: 0, timeouts: {{response_s: 5}}}}
  queue: {{endpoints: ["{extracted}"], max_in_flight: 1, max_queue: 5, queue_s: 5, timeouts: {{response_s: 5}}}}
default: monolith
seams:
  service: {{routes: [{{path: /service/**}}], extracted: service, stage: extracted, breaker: {{enabled: false}}}}
  calm: {{routes: [{{path: /calm/**}}], extracted: calm, stage: extracted, breaker: {{enabled: false}}}}
  dead: {{routes: [{{path: /dead/**}}], extracted: dead, stage: extracted, breaker: {{enabled: false}}}}
  deaf: {{routes: [{{path: /deaf/**}}], extracted: deaf, stage: extracted, breaker: {{enabled: false}}}}
  narrow: {{routes: [{{path: /narrow/**}}], extracted: narrow, stage: extracted}}
  queue: {{routes: [{{path: /queue/**}}], extracted: queue, stage: extracted}}
  line: {{routes: [{{path: /line/**}}], extracted: queue, stage: extracted, breaker: {{failures: 2}}}}
  open: {{routes: [{{path: /open/**}}], extracted: service, stage: extracted}}
  alone:
    {{routes: [{{path: /alone/**}}], extracted: service, stage: extracted, fallback: none, breaker: {{enabled: false}}}}
  told:
    routes: [{{path: /told/**}}]
    extracted: dead
    stage: extracted
    breaker: {{enabled: false}}
    fallback: {{static: {{status: 202, content_type: application/json, body: '{{"status":"pending"}}'}}}}
  gone: {{routes: [{{path: /gone/**}}], extracted: dead, stage: retired, breaker: {{enabled: false}}}}
  few:
    routes: [{{path: /few/**}}]
    extracted: dead
    stage: extracted
    breaker: {{enabled: false}}
    fallback: {{max_in_flight: 1}}
  both:
    {{routes: [{{path: /both/**}}], legacy: dead, extracted: service, stage: extracted, breaker: {{enabled: false}}}}
"""
# Apart from the others: its probes call the service at any moment, and would take a turn of another test's script.
PROBED = """
version: 1
server: {{listen: "{{data}}", debug_headers: true}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
upstreams:
  monolith: {{endpoints: ["{legacy}"]}}
  service:
    endpoints: ["{extracted}"]
    health: {{path: /health, interval_s: 0.3, timeout_s: 0.3, unhealthy_after: 1}}
default: monolith
seams:
  service: {{routes: [{{path: /service/**}}], extracted: service, stage: extracted}}
"""
OK_LEGACY = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Powered-By: shop\r\n\r\nlegacy"


@dataclass
class Sides:
    fig: Fig
    legacy: Origin
    extracted: Origin

    def script(self, extracted: Behaviour, legacy: Behaviour | None = None) -> None:
        self.extracted.reset(extracted)
        self.legacy.reset(legacy or saying(OK_LEGACY))

    def ask(self, method: str, target: str, body: bytes = b"", *lines: str) -> Answer:
        with RawClient(self.fig.address) as client:
            extra = "".join(f"{line}\r\n" for line in lines)
            length = f"Content-Length: {len(body)}\r\n" if method not in ("GET", "HEAD", "OPTIONS") or body else ""
            client.send(f"{method} {target} HTTP/1.1\r\nHost: proxy.test\r\n{length}{extra}\r\n".encode() + body)
            return client.answer(head_only=method == "HEAD")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    legacy, extracted = Origin(), Origin()
    folder: Path = tmp_path_factory.mktemp("fallback")
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(deaf_port())
        text = CONFIG.format(legacy=legacy.url, extracted=extracted.url, closed=free_port(), deaf=deaf)
        fig = stack.enter_context(Fig(folder, text))
        yield Sides(fig, legacy, extracted)
    assert "Traceback" not in fig.errors(), fig.errors()
    legacy.close()
    extracted.close()


@pytest.fixture
def sides(running: Sides) -> Iterator[Sides]:
    running.script(ok)
    yield running
    running.script(ok)


# --- the table -------------------------------------------------------------------------------------------------------


def _read(connection: Connection) -> None:
    connection.read()


def _silent(connection: Connection) -> None:
    connection.read()
    connection.wait_closed(5)


def _once(data: bytes) -> Behaviour:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(data)
        time.sleep(0.05)

    return behave


def _early(connection: Connection) -> None:
    connection.read_head()
    connection.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy")
    connection.wait_closed(5)


def _closing_second(connection: Connection) -> None:
    """A kept connection that ends without a byte when it is used again."""
    connection.read()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    connection.read()


@dataclass(frozen=True)
class Fault:
    """`cause` is why legacy answered a GET. `posted` is what a POST gets: 200 from legacy only if surely unreceived."""

    number: str
    what: str
    seam: str
    behave: Behaviour
    cause: str
    posted: int

    def __str__(self) -> str:
        posted = "200 of legacy" if self.posted == 200 else f"{self.posted}, never legacy"
        test = "tests/wire/test_fallback.py::test_a_fault"
        return f"| {self.number} | {self.what} | 200 of legacy | {posted} | `{self.cause}` | `{test}` |"


_HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
FAULTS = (
    Fault("F1", "refuses the connection", "dead", ok, "connect_failed", 200),
    Fault("F2", "does not answer the connect within `connect_s`", "deaf", ok, "connect_timeout", 200),
    Fault("F3", "closes before the status", "service", _read, "upstream_reset", 502),
    Fault("F3", "resets before the status", "service", resetting, "upstream_reset", 502),
    Fault("F3", "closes within the head", "service", _once(b"HTTP/1.1 200 OK\r\nContent-"), "upstream_reset", 502),
    Fault("F5", "no head within `response_s`", "service", _silent, "response_timeout", 504),
    Fault(
        "F7",
        "an invalid head",
        "service",
        _once(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        "upstream_protocol",
        502,
    ),
    Fault("F9", "interim answers without end", "service", _once(_HINT * 100), "upstream_protocol", 502),
    Fault("F9", "103, then closes", "service", _once(_HINT), "upstream_reset", 502),
    Fault("F10", "503 before the body is complete", "service", _early, "status", 503),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.number}-{fault.what}")
def test_a_fault(sides: Sides, fault: Fault) -> None:
    sides.script(fault.behave)
    for method, body in (("GET", b""), ("GET", b"with a body"), ("HEAD", b"")):
        tally = Tally(sides.fig)
        target = f"/{fault.seam}/{fault.number}/{method}/{len(body)}/{len(fault.what)}"
        with RawClient(sides.fig.address) as client:
            length = f"Content-Length: {len(body)}\r\n" if body else ""
            client.send(f"{method} {target} HTTP/1.1\r\nHost: proxy.test\r\n{length}\r\n".encode() + body)
            got = client.answer(head_only=method == "HEAD")
        assert (got.status, got.body) == (200, b"" if method == "HEAD" else b"legacy")
        assert (got.value("x-fig-side"), got.value("x-fig-fallback")) == ("legacy", fault.cause)
        assert sides.legacy.requests[-1].body == body
        line = access_line(sides.fig, target)
        assert (line["side"], line["fallback"], line["cause"]) == ("legacy", fault.cause, None)
        assert tally.grown(f'fig_fallbacks_total{{seam="{fault.seam}",cause="{fault.cause}"}}') == 1
        if fault.cause != "status":
            assert tally.grown(f'fig_upstream_errors_total{{side="extracted",cause="{fault.cause}"}}') == 1
        assert until(lambda: pool(sides.fig, "service")[0] == 0 and pool(sides.fig, "monolith")[0] == 0)
    sides.script(fault.behave)
    with RawClient(sides.fig.address) as client:
        target = f"/{fault.seam}/post".encode()
        client.send(b"POST %b HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 4\r\n\r\nbody" % target)
        got = client.answer()
    assert got.status == fault.posted
    assert [request.body for request in sides.legacy.requests] == ([b"body"] if fault.posted == 200 else [])


def test_a_fault_within_the_body_cuts_the_client_and_never_asks_legacy(sides: Sides) -> None:
    sides.script(_once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"))
    got = sides.ask("GET", "/service/half")
    assert (got.status, got.body, got.complete) == (200, b"part", False)
    assert sides.legacy.requests == []


def test_a_stale_connection_is_replaced_before_anybody_falls_back(sides: Sides) -> None:
    turns = iter([_closing_second, ok])
    sides.script(lambda connection: next(turns)(connection))
    assert sides.ask("GET", "/service/1").body == b"ok"
    got = sides.ask("GET", "/service/2")
    assert (got.body, got.value("x-fig-side"), got.value("x-fig-fallback")) == (b"ok", "extracted", None)


def test_a_put_that_a_kept_connection_may_have_taken_is_not_given_to_legacy(sides: Sides) -> None:
    """The stale connection may have delivered it; that the next connect is refused does not undo that."""
    with contextlib.closing(Origin()) as dying:

        def once_then_gone(connection: Connection) -> None:
            connection.read()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.read()
            dying.deafen()  # whoever connects now is refused

        dying.reset(once_then_gone)
        text = CONFIG.format(legacy=sides.legacy.url, extracted=dying.url, closed=free_port(), deaf=free_port())
        folder = sides.fig.folder / "put"
        folder.mkdir()
        with Fig(folder, text) as fig:
            one = Sides(fig, sides.legacy, dying)
            assert one.ask("GET", "/calm/1").body == b"ok"  # not legacy's, for want of time
            assert one.ask("PUT", "/calm/2", b"body").status == 502
    assert sides.legacy.requests == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_error_answer_is_replaced_for_safe_methods_only(sides: Sides, status: int) -> None:
    sides.script(saying(b"HTTP/1.1 %d Oops\r\nContent-Length: 4\r\nX-Own: 1\r\n\r\noops" % status))
    assert sides.ask("GET", "/service/a").body == b"legacy"
    for method in ("POST", "PUT", "DELETE"):
        got = sides.ask(method, "/service/a", b"x")
        assert (got.status, got.body, got.value("x-own")) == (status, b"oops", "1")
    assert sides.ask("GET", "/alone/a").status == status
    assert [request.line.split(" ")[0] for request in sides.legacy.requests] == ["GET"]


def test_where_legacy_fails_too_the_first_answer_stands(sides: Sides) -> None:
    sides.script(saying(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nX-Own: 1\r\n\r\nbusy"))
    got = sides.ask("GET", "/both/a")
    assert (got.status, got.body, got.value("x-own"), got.value("x-fig-side")) == (503, b"busy", "1", "extracted")
    assert until(lambda: pool(sides.fig, "service")[0] == 0)


def test_a_client_error_is_an_answer(sides: Sides) -> None:
    sides.script(saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"))
    assert sides.ask("GET", "/service/a").status == 404
    assert sides.legacy.requests == []


def test_a_fixed_answer_stands_in(sides: Sides) -> None:
    tally = Tally(sides.fig)
    got = sides.ask("POST", "/told/pay", b"x")
    assert (got.status, got.body) == (202, b'{"status":"pending"}')
    assert (got.value("content-type"), got.value("x-fig-fallback")) == ("application/json", "connect_failed")
    assert sides.ask("HEAD", "/told/pay").value("content-length") == "20"
    assert sides.legacy.requests == []
    assert tally.grown('fig_requests_total{seam="told",side="none",code="202"}') == 2


def test_retired_never_calls_legacy(sides: Sides) -> None:
    assert sides.ask("GET", "/gone/a").status == 502
    assert sides.legacy.requests == []


def test_a_fallback_has_its_own_cap(sides: Sides) -> None:
    """F24 of the fallback: what does not fit gets the failure itself."""

    def slow(connection: Connection) -> None:
        connection.read()
        time.sleep(0.5)
        connection.send(OK_LEGACY)

    sides.script(ok, slow)
    tally = Tally(sides.fig)
    with RawClient(sides.fig.address) as first:
        first.send(b"GET /few/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert until(lambda: len(sides.legacy.requests) == 1)
        assert sides.ask("GET", "/few/2").status == 502
        assert first.answer().body == b"legacy"
    assert tally.grown('fig_fallbacks_refused_total{seam="few",cause="connect_failed"}') == 1
    assert sides.ask("GET", "/few/3").body == b"legacy", "the place is free again"


def test_an_open_breaker_falls_back_for_any_method(sides: Sides) -> None:
    sides.script(saying(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"))
    for _ in range(5):
        sides.ask("POST", "/open/a", b"x")
    asked = lambda: [one.line.split(" ")[0] for one in sides.extracted.requests if one.target == "/open/a"]  # noqa: E731
    assert asked() == ["POST"] * 5
    for method in ("GET", "POST", "PUT", "DELETE"):
        got = sides.ask(method, "/open/a", b"" if method == "GET" else b"payload")
        assert (got.status, got.body, got.value("x-fig-fallback")) == (200, b"legacy", "breaker_open")
    assert asked() == ["POST"] * 5
    assert [request.body for request in sides.legacy.requests] == [b"", b"payload", b"payload", b"payload"]


def test_a_full_bulkhead_falls_back_for_any_method(sides: Sides) -> None:
    sides.script(_silent)
    with RawClient(sides.fig.address) as first:
        first.send(b"GET /narrow/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert until(lambda: any(request.target == "/narrow/1" for request in sides.extracted.requests))
        for method in ("GET", "POST"):
            got = sides.ask(method, "/narrow/2", b"" if method == "GET" else b"x")
            assert (got.body, got.value("x-fig-fallback")) == (b"legacy", "bulkhead_full")
        assert [request.target for request in sides.extracted.requests] == ["/narrow/1"]


def test_who_waits_for_a_place_while_the_seam_is_rolled_back_goes_to_legacy(sides: Sides) -> None:
    """And the place that was handed over is free again."""

    def told(connection: Connection) -> None:
        connection.read()
        assert rolled_back.wait(5)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    def bulkhead() -> dict[str, int]:
        found = sides.fig.call("GET", "/api/upstreams").json()
        held: dict[str, int] = next(one for one in found if one["name"] == "queue")["bulkhead"]
        return held

    rolled_back = threading.Event()
    sides.script(told)
    with RawClient(sides.fig.address) as first, RawClient(sides.fig.address) as second:
        first.send(b"GET /queue/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert until(lambda: bulkhead()["in_flight"] == 1)
        second.send(b"POST /queue/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        assert until(lambda: bulkhead()["queued"] == 1)
        assert sides.fig.call("POST", "/api/seams/queue/rollback", reason="test").status_code == 200
        rolled_back.set()
        assert first.answer().body == b"ok"
        got = second.answer()
        assert (got.body, got.value("x-fig-fallback")) == (b"legacy", "rolled_back")
    assert [request.target for request in sides.extracted.requests] == ["/queue/1"]
    assert until(lambda: bulkhead()["in_flight"] == 0), "the place that was handed over is lost"


def test_who_waits_for_a_place_while_the_breaker_opens_goes_to_legacy(sides: Sides) -> None:
    """An open breaker fails fast also for those that it admitted before."""

    def failing(connection: Connection) -> None:
        while connection.read() is not None:
            assert all_wait.wait(5)
            connection.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops")

    def bulkhead() -> tuple[int, int]:
        found = sides.fig.call("GET", "/api/upstreams").json()
        held = next(one for one in found if one["name"] == "queue")["bulkhead"]
        return held["in_flight"], held["queued"]

    all_wait = threading.Event()
    sides.script(failing)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(sides.fig.address)) for _ in range(6)]
        for client in clients:
            client.send(b"POST /line/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        assert until(lambda: bulkhead() == (1, 5))
        all_wait.set()
        answers = [client.answer() for client in clients]
    got = sorted((answer.body, answer.value("x-fig-fallback") or "") for answer in answers)
    assert got == [(b"legacy", "breaker_open")] * 4 + [(b"oops", "")] * 2
    assert [request.target for request in sides.extracted.requests] == ["/line/a"] * 2
    assert until(lambda: bulkhead() == (0, 0))


def test_an_unhealthy_service_falls_back_for_any_method(tmp_path: Path, sides: Sides) -> None:
    def ill(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            status = b"500 Ill" if request.target == "/health" else b"200 OK"
            connection.send(b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\nok" % status)

    with Fig(tmp_path, PROBED.format(legacy=sides.legacy.url, extracted=sides.extracted.url)) as fig:
        one = Sides(fig, sides.legacy, sides.extracted)
        one.script(ill)

        def probed() -> object:
            found = fig.call("GET", "/api/upstreams").json()
            return next(one for one in found if one["name"] == "service")["endpoints"][0]["probed"]

        assert until(lambda: probed() is False)
        for method in ("GET", "POST"):
            got = one.ask(method, "/service/2", b"" if method == "GET" else b"x")
            assert (got.body, got.value("x-fig-fallback")) == (b"legacy", "no_healthy_endpoint")
        one.script(ok)
        assert until(lambda: probed() is True)
        assert one.ask("GET", "/service/3").body == b"ok"


def test_an_upload_that_was_surely_not_received_goes_to_legacy_whole(sides: Sides) -> None:
    body = bytes(range(256)) * 4_000  # beyond every buffer: it must not have been touched
    got = sides.ask("POST", "/dead/up", body)
    assert got.body == b"legacy"
    assert sides.legacy.requests[-1].body == body


def test_a_large_body_that_was_poured_already_is_not_given_to_legacy(sides: Sides) -> None:
    sides.script(resetting)
    got = sides.ask("GET", "/service/up", b"x" * 100_000)
    assert got.status == 502
    assert sides.legacy.requests == []
