"""Further attempts: what is asked again, where, with which bytes, and what the client gets when it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.support.client import Answer, RawClient
from tests.support.fig import Fig, free_port
from tests.support.origin import Connection, Origin, ok
from tests.support.tally import Tally
from tests.support.wire import access_line, until

CONFIG = """
version: 1
server: {{listen: "{{data}}"}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
upstreams:
  one: {{endpoints: ["{one}"], timeouts: {{connect_s: 0.5, response_s: 0.5}}}}
  pair: {{endpoints: ["{one}", "http://127.0.0.1:{closed}"], timeouts: {{connect_s: 0.5, response_s: 0.5}}}}
default: one
seams:
  plain: {{routes: [{{path: /plain/**}}]}}
  again: {{routes: [{{path: /again/**}}], retry: {{retries: 2, status: [503], idempotent_header: Idempotency-Key}}}}
  connect: {{routes: [{{path: /connect/**}}], retry: {{"on": [connect]}}}}
  held: {{routes: [{{path: /held/**}}], retry: {{retries: 1, status: [503]}}, legacy_breaker: {{failures: 1}}}}
  pair: {{routes: [{{path: /pair/**}}], legacy: pair, retry: {{retries: 2, budget_percent: 100}}}}
  short: {{routes: [{{path: /short/**}}], retry: {{retries: 5, status: [503], retry_after_max_s: 5}}, deadline_s: 1}}
"""


@dataclass
class Script:
    """A connection each request: the answers in turn, then the last one for ever. None resets, before any byte."""

    answers: tuple[bytes | None, ...]
    seen: list[tuple[str, bytes]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def __call__(self, connection: Connection) -> None:
        request = connection.read()
        if request is None:
            return
        said = self.answers[min(len(self.seen), len(self.answers) - 1)]
        self.seen.append((request.line.split(" ")[0], request.body))
        self.at.append(time.monotonic())
        if said is None:
            connection.reset()
        else:
            connection.send(said)


def says(status: int, body: bytes = b"ok", *lines: str) -> bytes:
    extra = "".join(f"{line}\r\n" for line in (*lines, "Connection: close"))
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


OK = says(200)
BUSY = says(503, b"busy", "X-Own: 1")


@dataclass
class Rig:
    fig: Fig
    origin: Origin

    def script(self, *answers: bytes | None) -> Script:
        script = Script(answers)
        self.origin.reset(script)
        return script

    def ask(self, method: str, target: str, body: bytes = b"", *lines: str, chunked: bool = False) -> Answer:
        extra = "".join(f"{line}\r\n" for line in lines)
        if chunked:
            extra += "Transfer-Encoding: chunked\r\n"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        elif body:
            extra += f"Content-Length: {len(body)}\r\n"
        with RawClient(self.fig.address) as client:
            client.send(f"{method} {target} HTTP/1.1\r\nHost: proxy.test\r\n{extra}\r\n".encode() + body)
            return client.answer()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    origin = Origin()
    text = CONFIG.format(one=origin.url, closed=free_port())
    with Fig(tmp_path_factory.mktemp("retries"), text) as fig:
        yield Rig(fig, origin)
    assert "Traceback" not in fig.errors(), fig.errors()
    origin.close()


@pytest.fixture
def rig(running: Rig) -> Iterator[Rig]:
    """With the retry budget full again: thirty requests earn more than three attempts."""
    running.origin.reset(ok)
    with RawClient(running.fig.address) as client:
        for _ in range(30):
            client.get("/plain/x")
    yield running
    running.origin.reset(ok)


@pytest.mark.parametrize(
    ("method", "lines", "statuses"),
    [
        ("GET", (), [200, 200]),
        ("PUT", (), [200, 200]),
        ("DELETE", (), [200, 200]),
        ("POST", (), [502, 503]),
        ("PATCH", (), [502, 503]),
        ("POST", ("Idempotency-Key: 7",), [200, 200]),
    ],
)
def test_a_reset_and_a_busy_answer_are_asked_again_where_that_does_nothing_twice(
    rig: Rig, method: str, lines: tuple[str, ...], statuses: list[int]
) -> None:
    got, attempts = [], []
    for first in (None, BUSY):
        script = rig.script(first, OK)
        got.append(rig.ask(method, "/again/x", b"payload", *lines).status)
        attempts.append(script.seen)
    assert got == statuses
    expected = [(method, b"payload")] * (2 if got == [200, 200] else 1)
    assert attempts == [expected, expected]


def test_without_the_key_nothing_is_asked_again(rig: Rig) -> None:
    for first, status in ((None, 502), (BUSY, 503)):
        script = rig.script(first, OK)
        assert rig.ask("GET", "/plain/x").status == status
        assert len(script.seen) == 1


def test_what_is_not_named_is_not_asked_again(rig: Rig) -> None:
    script = rig.script(None, OK)
    assert rig.ask("GET", "/connect/x").status == 502
    assert len(script.seen) == 1


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [1, 32 * 1024])
def test_the_body_is_sent_again_byte_for_byte(rig: Rig, size: int, chunked: bool) -> None:
    body = bytes(number % 251 for number in range(size))
    script = rig.script(None, None, OK)
    assert rig.ask("PUT", "/again/x", body, chunked=chunked).status == 200
    assert script.seen == [("PUT", body)] * 3


def test_a_body_that_is_not_here_any_more_is_not_sent_again(rig: Rig) -> None:
    script = rig.script(None, OK)
    assert rig.ask("PUT", "/again/x", b"x" * 100_000).status == 502
    assert len(script.seen) == 1


def test_when_the_attempts_are_over_the_last_answer_passes_untouched(rig: Rig) -> None:
    script = rig.script(BUSY)
    tally = Tally(rig.fig)
    got = rig.ask("GET", "/again/over")
    assert (got.status, got.body, got.value("x-own")) == (503, b"busy", "1")
    assert len(script.seen) == 3
    assert tally.grown('fig_retries_total{upstream="one",outcome="failure"}') == 1
    assert access_line(rig.fig, "/again/over")["attempts"] == 3


def test_an_answer_that_has_begun_is_never_asked_for_again(rig: Rig) -> None:
    script = rig.script(b"HTTP/1.1 200 OK\r\nContent-Le", OK)
    assert rig.ask("GET", "/again/x").status == 502
    script = rig.script(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK)
    with RawClient(rig.fig.address) as client:
        client.send(b"GET /again/y HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
        interim = client.head()
        assert interim is not None and interim.status == 103
        assert client.answer().status == 502
    assert len(script.seen) == 1


def test_the_budget_ends_a_storm_and_the_upstreams_own_answer_comes(rig: Rig) -> None:
    script = rig.script(BUSY)
    tally = Tally(rig.fig)
    for _ in range(20):
        assert rig.ask("GET", "/again/x").body == b"busy"
    assert len(script.seen) <= 20 * 1.2 + 3
    assert tally.grown('fig_retries_total{upstream="one",outcome="budget_exhausted"}') > 0


@pytest.mark.parametrize(("told", "pause_s"), [("0", 0.0), ("1", 1.0)])
def test_retry_after_is_waited_for(rig: Rig, told: str, pause_s: float) -> None:
    script = rig.script(says(503, b"busy", f"Retry-After: {told}"), OK)
    assert rig.ask("GET", "/again/x").status == 200
    waited_s = script.at[1] - script.at[0]
    assert pause_s <= waited_s < pause_s + 0.5


@pytest.mark.parametrize("told", ["2", "3600", "9" * 50, "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_retry_after_beyond_the_patience_ends_the_attempts(rig: Rig, told: str) -> None:
    script = rig.script(says(503, b"busy", f"Retry-After: {told}"), OK)
    got = rig.ask("GET", "/again/x")
    assert (got.status, got.value("retry-after"), len(script.seen)) == (503, told, 1)


def test_no_attempt_begins_beyond_the_deadline(rig: Rig) -> None:
    script = rig.script(says(503, b"busy", "Retry-After: 2"), OK)
    begun = time.monotonic()
    assert rig.ask("GET", "/short/x").status == 503
    assert time.monotonic() - begun < 0.5
    assert len(script.seen) == 1


def test_another_attempt_goes_to_another_endpoint_whatever_the_method(rig: Rig) -> None:
    """Half of the first attempts meet the dead one of the two."""
    script = rig.script(OK)
    statuses = [rig.ask("POST", f"/pair/{number}", b"x").status for number in range(12)]
    assert statuses == [200] * 12
    assert len(script.seen) == 12
    assert access_line(rig.fig, "/pair/0")["attempts"] in (1, 2)


def test_no_attempt_begins_past_a_breaker_that_has_opened_meanwhile(rig: Rig) -> None:
    script = rig.script(says(503, b"busy", "Retry-After: 1"), says(500), OK)
    with RawClient(rig.fig.address) as client:
        client.send(b"GET /held/x HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
        assert until(lambda: len(script.seen) == 1)
        assert rig.ask("GET", "/held/opens").status == 500
        got = client.answer()
    assert (got.status, b'"reason":"breaker_open"' in got.body) == (503, True)
    assert len(script.seen) == 2


def test_a_client_that_leaves_while_it_waits_for_the_next_attempt_is_let_go(rig: Rig) -> None:
    script = rig.script(says(503, b"busy", "Retry-After: 1"), OK)
    with RawClient(rig.fig.address) as client:
        client.send(b"GET /again/left HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
        deadline = time.monotonic() + 3
        while not script.seen and time.monotonic() < deadline:
            time.sleep(0.01)
        client.reset()
    assert access_line(rig.fig, "/again/left")["status"] == 499
    time.sleep(1.2)
    assert len(script.seen) == 1
