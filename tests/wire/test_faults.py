"""The fault table: an origin or a client does one thing wrong; what the client sees, the cause in the access line, the
counter and the pool afterwards are asserted together. docs/faults.md shows these very rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.support.client import Answer, RawClient
from tests.support.fig import Fig
from tests.support.origin import Behaviour, Connection, Origin, deaf_port, ok, resetting, saying
from tests.support.tally import Tally, pool
from tests.support.wire import OK, BySize, Serve, access_line, get, post, until

Ask = Callable[[str], bytes]

_PART = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"
_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"
_HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
_EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
_TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
_HALF_SENT_S = 0.05  # what came before the fault is on its way by then


# --- what an origin does ---------------------------------------------------------------------------------------------


def _silent(connection: Connection) -> None:
    connection.read()
    connection.wait_closed(5)


def _closing(connection: Connection) -> None:
    connection.read()


def _saying(data: bytes, then: Behaviour | None = None) -> Behaviour:
    """One answer, and after a moment `then`: a close, unless it does something else."""

    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(data)
        time.sleep(_HALF_SENT_S)
        if then is not None:
            then(connection)

    return behave


def _stay(connection: Connection) -> None:
    connection.wait_closed(5)


def _second(then: Behaviour) -> Behaviour:
    """The first connection answers once and does `then` with the next request; all others answer."""
    first = threading.Lock()

    def behave(connection: Connection) -> None:
        if first.acquire(blocking=False):
            connection.read()
            connection.send(OK)
            then(connection)
        else:
            ok(connection)

    return behave


def _slowly(connection: Connection) -> None:
    """Longer than `body_s` in all, never that long without a byte."""
    connection.read()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n")
    for _ in range(15):
        time.sleep(0.08)
        connection.send(b"x")
    ok(connection)


def _refusing_early(end: Behaviour) -> Behaviour:
    """413 as soon as the head is here; the body is never read."""

    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(_TOO_LARGE)
        end(connection)

    return behave


def _leave(connection: Connection) -> None:
    """Close; with bytes unread the kernel makes a reset of it."""


# --- what a client asks ----------------------------------------------------------------------------------------------


def _upload(target: str) -> bytes:
    return post(target, 1_000_000) + b"x" * 100_000


def _head(target: str) -> bytes:
    return get(target).replace(b"GET", b"HEAD", 1)


def _post(target: str) -> bytes:
    return post(target, 1) + b"x"


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One line of docs/faults.md. `left` is what becomes of the upstream connection."""

    number: str
    what: str
    sees: str
    cause: str | None
    metric: str
    left: str
    test: str

    def __str__(self) -> str:
        cause = f"`{self.cause}`" if self.cause else "–"
        return (
            f"| {self.number} | {self.what} | {self.sees} | {cause} | `{self.metric}` | {self.left} | `{self.test}` |"
        )


@dataclass(frozen=True)
class Fault:
    """`status` and `whole` are what the client sees; `kept`: the upstream connection serves again afterwards.

    `metric` grows by one. Without a `cause` it is no failure, and no counter of failures grows. `reused`: the fault
    meets a connection that has served before.
    """

    number: str
    what: str
    behave: Behaviour
    status: int
    cause: str | None
    metric: str
    kept: bool = False
    whole: bool = True
    ask: Ask = get
    reused: bool = False

    @property
    def row(self) -> Row:
        sees = f"{self.status}" if self.whole else f"{self.status}, then the connection is cut"
        left = "kept" if self.kept else "closed"
        return Row(self.number, self.what, sees, self.cause, self.metric, left, "test_an_origin_at_fault")


def _answered(status: int) -> str:
    return f'fig_requests_total{{code="{status}"}}'


def _failed(cause: str) -> str:
    return f'fig_upstream_errors_total{{cause="{cause}"}}'


def _fault(number: str, what: str, behave: Behaviour, status: int, cause: str, **more: bool | Ask) -> Fault:
    return Fault(number, what, behave, status, cause, _failed(cause), **more)  # type: ignore[arg-type]


def _harmless(number: str, what: str, behave: Behaviour, status: int, **more: bool | Ask) -> Fault:
    return Fault(number, what, behave, status, None, _answered(status), **more)  # type: ignore[arg-type]


def _protocol(what: str, data: bytes) -> Fault:
    return _fault("F7", what, _saying(data), 502, "upstream_protocol")


_STALE = 'fig_retries_total{upstream="origin"}'
FAULTS = (
    _fault("F3", "closes before the status", _closing, 502, "upstream_reset"),
    _fault("F3", "resets before the status", resetting, 502, "upstream_reset"),
    _fault("F3", "closes within the head", _saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"), 502, "upstream_reset"),
    _fault("F4", "closes within a body with a length", _saying(_PART), 200, "upstream_reset", whole=False),
    _fault("F4", "closes before the last chunk", _saying(_CHUNKS), 200, "upstream_reset", whole=False),
    _fault("F4", "resets within the body", _saying(_PART, Connection.reset), 200, "upstream_reset", whole=False),
    _fault("F4", "stalls within the body for `body_s`", _saying(_PART, _stay), 200, "body_timeout", whole=False),
    _fault(
        "F4",
        "sends a broken chunk within the body",
        _saying(_CHUNKS, lambda connection: connection.send(b"ZZ\r\nx\r\n0\r\n\r\n")),
        200,
        "upstream_protocol",
        whole=False,
    ),
    _fault("F5", "no head within `response_s`", _silent, 504, "response_timeout"),
    _harmless("F5", "a slow body that moves", _slowly, 200, kept=True),
    _protocol("a length that is no number", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    _protocol("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok"),
    _protocol(
        "length and chunks at once",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    _protocol("an unknown transfer coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: foo\r\n\r\n"),
    _protocol("a broken first chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nZZ\r\nx\r\n"),
    _protocol("NUL in a field", b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n"),
    _protocol("a folded field", b"HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    _protocol("a head of 400 kB", b"HTTP/1.1 200 OK\r\nX-A: " + b"y" * 400_000 + b"\r\n\r\n"),
    _protocol("no HTTP at all", b"220 mail.example ESMTP\r\n"),
    _harmless("F8", "a second answer behind the first", _saying(OK + _EVIL, _stay), 200),
    _harmless("F8", "a body behind an answer to HEAD", _saying(OK, _stay), 200, ask=_head),
    _harmless(
        "F9", "103 and 100 before the answer", saying(_HINT + b"HTTP/1.1 100 Continue\r\n\r\n" + OK), 200, kept=True
    ),
    _fault("F9", "interim answers without end", _saying(_HINT * 100, _stay), 502, "upstream_protocol"),
    _fault("F9", "100, then closes", _saying(b"HTTP/1.1 100 Continue\r\n\r\n"), 502, "upstream_reset", ask=_post),
    _fault(
        "F9",
        "101 that nobody asked for",
        _saying(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", _stay),
        502,
        "upstream_protocol",
    ),
    _harmless("F10", "413 during the upload, then stays", _refusing_early(_stay), 413, ask=_upload),
    _harmless("F10", "413 during the upload, then closes", _refusing_early(_leave), 413, ask=_upload),
    _harmless("F10", "413 during the upload, then resets", _refusing_early(Connection.reset), 413, ask=_upload),
    Fault(
        "F11",
        "a kept connection closes as a GET is sent",
        _second(_closing),
        200,
        None,
        _STALE,
        kept=True,
        reused=True,
    ),
    Fault(
        "F11",
        "a kept connection resets as a GET is sent",
        _second(resetting),
        200,
        None,
        _STALE,
        kept=True,
        reused=True,
    ),
    _fault(
        "F11",
        "a kept connection closes as a POST is sent",
        _second(_closing),
        502,
        "upstream_reset",
        ask=_post,
        reused=True,
    ),
)


def _rejected(cause: str) -> str:
    return f'fig_rejected_total{{cause="{cause}"}}'


_CUT = "the connection is cut"
REFUSED = Row(
    "F1",
    "refuses the connection",
    "502 within 50 ms",
    "connect_failed",
    _failed("connect_failed"),
    "none",
    "test_a_refused_connection",
)
DEAF = Row(
    "F2",
    "does not answer the connect within `connect_s`",
    "504",
    "connect_timeout",
    _failed("connect_timeout"),
    "none",
    "test_a_connect_without_an_answer",
)
HALF_CLOSED = Row(
    "F6",
    "a client closes its direction behind its request",
    "200",
    None,
    _answered(200),
    "kept",
    "test_a_client_that_half_closes",
)
HALF_BODY = Row(
    "F6",
    "a client closes its direction within its body",
    "400",
    "client_gone",
    _rejected("client_gone"),
    "closed",
    "test_a_client_that_half_closes_within_its_body",
)
EARLY_HINT = Row(
    "F9",
    "103, as HTTP/1.1 clients see it; those of HTTP/1.0 see the answer only",
    "103, then 200",
    None,
    _answered(200),
    "kept",
    "test_interim_answers_reach_those_who_know_them",
)
ANNOUNCED = Row(
    "F11",
    "announces `Keep-Alive: timeout=2`, and another request comes after a second",
    "200",
    None,
    _answered(200),
    "replaced before the upstream closes it",
    "test_a_connection_is_given_up_before_its_announced_end",
)
SLOW_HEAD = Row(
    "F21",
    "a client sends its head slower than `head_s`",
    "408",
    "bad_request",
    _rejected("bad_request"),
    "none",
    "test_a_client_with_a_slow_head",
)
SILENT = Row(
    "F21",
    "a client connects and sends nothing for `head_s`",
    _CUT,
    None,
    "fig_connections",
    "none",
    "test_a_client_that_sends_nothing",
)
SLOW_BODY = Row(
    "F21",
    "a client sends its body slower than 1 KiB in `body_s`",
    "408",
    "body_timeout",
    _rejected("body_timeout"),
    "closed",
    "test_a_client_with_a_slow_body",
)
SLOW_READER = Row(
    "F21",
    "a client takes nothing of its answer for `write_s`",
    f"200, then {_CUT}",
    "client_gone",
    _rejected("client_gone"),
    "closed",
    "test_a_client_that_does_not_read",
)
GONE_WAITING = Row(
    "F22",
    "a client leaves while it waits",
    "nothing (499 in the log)",
    "client_gone",
    _rejected("client_gone"),
    "closed within a second",
    "test_a_client_that_leaves_while_it_waits",
)
GONE_SENDING = Row(
    "F22",
    "a client leaves within its upload",
    "nothing (499 in the log)",
    "client_gone",
    _rejected("client_gone"),
    "closed within a second",
    "test_a_client_that_leaves_within_its_upload",
)
LOOP = Row("F29", "leads back to fig", "508", "loop", _rejected("loop"), "kept", "test_an_origin_that_leads_back")

ROWS = (
    *(fault.row for fault in FAULTS),
    *(REFUSED, DEAF, HALF_CLOSED, HALF_BODY, EARLY_HINT, ANNOUNCED),
    *(SLOW_HEAD, SILENT, SLOW_BODY, SLOW_READER, GONE_WAITING, GONE_SENDING, LOOP),
)


def _assert_pool(fig: Fig, upstream: str, idle: int) -> None:
    assert until(lambda: pool(fig, upstream) == (0, idle), 2), f"{upstream}: {pool(fig, upstream)}, wanted (0, {idle})"


def _assert_recorded(fig: Fig, tally: Tally, target: str, status: int, cause: str | None, metric: str) -> None:
    """The access line, its counter, and no other counter of failures."""
    entry = access_line(fig, target)
    assert (entry["status"], entry["cause"]) == (status, cause)
    assert tally.grown(metric) == 1, metric
    failures = tally.grown("fig_upstream_errors_total") + tally.grown("fig_rejected_total")
    assert failures == (0 if cause is None else 1)


def _answer(client: RawClient, ask: Ask, target: str) -> Answer:
    client.send(request := ask(target))
    return client.answer(head_only=request.startswith(b"HEAD"))


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{fault.number} {fault.what}" for fault in FAULTS])
def test_an_origin_at_fault(fig: Fig, origin: Origin, fault: Fault) -> None:
    origin.behave = fault.behave
    target = f"/fault/{FAULTS.index(fault)}"
    _assert_pool(fig, "origin", 0)
    with RawClient(fig.address) as client:
        if fault.reused:
            assert client.get("/prime").status == 200
        tally = Tally(fig)
        answer = _answer(client, fault.ask, target)
        assert (answer.status, answer.complete) == (fault.status, fault.whole)
        assert b"EVIL" not in answer.body
        _assert_recorded(fig, tally, target, fault.status, fault.cause, fault.metric)
        _assert_pool(fig, "origin", int(fault.kept))
    assert sum(request.target == target for request in origin.requests) <= (2 if fault.metric == _STALE else 1)
    origin.behave = ok
    with RawClient(fig.address) as client:
        assert client.get("/after").body == b"ok"


def test_a_refused_connection(fig: Fig, origin: Origin) -> None:
    took = []
    with RawClient(fig.address) as client:
        for number in range(5):
            tally, started = Tally(fig), time.monotonic()
            target = f"/dead/{number}"
            assert client.get(target).status == 502
            took.append(time.monotonic() - started)
            _assert_recorded(fig, tally, target, 502, REFUSED.cause, REFUSED.metric)
    _assert_pool(fig, "nobody", 0)
    assert min(took) < 0.05


def test_a_connect_without_an_answer(serve: Serve, origin: Origin) -> None:
    with deaf_port() as port:
        fig = serve((origin.url, f"http://127.0.0.1:{port}"), ("connect_s: 1", "connect_s: 0.3"))
        tally = Tally(fig)
        with RawClient(fig.address) as client:
            assert client.get("/deaf").status == 504
        _assert_recorded(fig, tally, "/deaf", 504, DEAF.cause, DEAF.metric)
        _assert_pool(fig, "origin", 0)


def test_a_client_that_half_closes(fig: Fig, origin: Origin) -> None:
    _assert_pool(fig, "origin", 0)
    tally = Tally(fig)
    with RawClient(fig.address) as client:
        client.send(get("/half-closed"))
        client.half_close()
        assert client.answer().status == 200
        assert client.ends()
    _assert_recorded(fig, tally, "/half-closed", 200, HALF_CLOSED.cause, HALF_CLOSED.metric)
    _assert_pool(fig, "origin", 1)


def test_a_client_that_half_closes_within_its_body(fig: Fig, origin: Origin) -> None:
    tally = Tally(fig)
    with RawClient(fig.address) as client:
        client.send(post("/half-body", 10) + b"hello")
        assert until(lambda: len(origin.requests) == 1)
        client.half_close()
        assert client.answer().status == 400
    _assert_recorded(fig, tally, "/half-body", 400, HALF_BODY.cause, HALF_BODY.metric)
    _assert_pool(fig, "origin", 0)
    assert not origin.requests[0].complete


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_interim_answers_reach_those_who_know_them(fig: Fig, origin: Origin, version: str) -> None:
    origin.behave = saying(_HINT + OK)
    target = f"/hint/{version}"
    _assert_pool(fig, "origin", 0)
    tally = Tally(fig)
    with RawClient(fig.address) as client:
        client.send(get(target).replace(b"HTTP/1.1", b"HTTP/" + version.encode()))
        for status in (103, 200) if version == "1.1" else (200,):
            head = client.head()
            assert head is not None
            assert head.status == status
    _assert_recorded(fig, tally, target, 200, EARLY_HINT.cause, EARLY_HINT.metric)
    _assert_pool(fig, "origin", 1)


def test_a_connection_is_given_up_before_its_announced_end(fig: Fig, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 2\r\n\r\nok")
    with RawClient(fig.address) as client:
        assert [client.get("/announced").status for _ in range(2)] == [200] * 2
        assert len(origin.connections) == 1
        time.sleep(1.1)
        tally = Tally(fig)
        assert client.get("/later").status == 200
    assert len(origin.connections) == 2
    assert tally.grown(_STALE) == 0
    _assert_recorded(fig, tally, "/later", 200, ANNOUNCED.cause, ANNOUNCED.metric)
    _assert_pool(fig, "origin", 1)


def test_a_client_with_a_slow_head(serve: Serve, origin: Origin) -> None:
    fig = serve(("head_s: 1", "head_s: 0.4"))
    tally, started = Tally(fig), time.monotonic()
    with RawClient(fig.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: proxy.test\r\nX-A: ")
        for _ in range(10):
            client.send(b"y")
            time.sleep(0.03)
        assert client.answer().status == 408
        assert 0.3 < time.monotonic() - started < 1.4
        assert client.ends()
    _assert_recorded(fig, tally, "-", 408, SLOW_HEAD.cause, SLOW_HEAD.metric)
    _assert_pool(fig, "origin", 0)
    assert origin.connections == []


def test_a_client_that_sends_nothing(serve: Serve, origin: Origin) -> None:
    fig = serve(("head_s: 1", "head_s: 0.4"))
    tally, started = Tally(fig), time.monotonic()
    with RawClient(fig.address) as client:
        assert until(lambda: tally.grown(SILENT.metric) == 1)
        assert client.ends()
        assert 0.3 < time.monotonic() - started < 1.4
    assert until(lambda: tally.grown(SILENT.metric) == 0)
    assert (fig.folder / "out.log").read_text() == ""
    assert tally.grown("fig_rejected_total") == 0
    assert origin.connections == []


def test_a_client_with_a_slow_body(fig: Fig, origin: Origin) -> None:
    tally = Tally(fig)
    with RawClient(fig.address) as client:
        client.send(post("/slow-body", 5000) + b"x" * 500)
        assert client.answer().status == 408
        assert client.ends()
    _assert_recorded(fig, tally, "/slow-body", 408, SLOW_BODY.cause, SLOW_BODY.metric)
    _assert_pool(fig, "origin", 0)
    assert not any(request.complete for request in origin.requests)


def test_a_client_that_does_not_read(impatient: Fig, origin: Origin) -> None:
    origin.behave = BySize()
    tally = Tally(impatient)
    with RawClient(impatient.address, window_bytes=4096) as client:
        client.send(get("/unread/50000000"))
        assert until(lambda: pool(impatient, "origin")[0] == 1)
        _assert_pool(impatient, "origin", 0)
        _assert_recorded(impatient, tally, "/unread/50000000", 200, SLOW_READER.cause, SLOW_READER.metric)
        assert not client.answer().complete


def test_a_client_that_leaves_while_it_waits(impatient: Fig, origin: Origin) -> None:
    _assert_upstream_is_let_go(impatient, origin, "/left/waiting", get("/left/waiting"), GONE_WAITING)


def test_a_client_that_leaves_within_its_upload(impatient: Fig, origin: Origin) -> None:
    _assert_upstream_is_let_go(impatient, origin, "/left/sending", post("/left/sending", 9) + b"half", GONE_SENDING)


def _assert_upstream_is_let_go(fig: Fig, origin: Origin, target: str, sent: bytes, row: Row) -> None:
    """The timeouts towards that origin are 5 s: only the client's leaving ends the exchange."""
    arrived, closed = threading.Event(), threading.Event()

    def behave(connection: Connection) -> None:
        connection.read_head()
        arrived.set()
        if connection.wait_closed(5):
            closed.set()

    origin.behave = behave
    tally = Tally(fig)
    with RawClient(fig.address) as client:
        client.send(sent)
        assert arrived.wait(5)
        client.reset()
    assert closed.wait(1)
    _assert_recorded(fig, tally, target, 499, row.cause, row.metric)
    assert tally.grown(_answered(499)) == 1
    _assert_pool(fig, "origin", 0)


def test_an_origin_that_leads_back(fig: Fig, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            with RawClient(fig.address) as again:
                again.send(request.head)
                answer = again.answer()
            connection.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (answer.status, len(answer.body)))
            connection.send(answer.body)

    origin.behave = behave
    tally = Tally(fig)
    with RawClient(fig.address) as client:
        answer = client.get("/loop")
    assert answer.status == 508
    assert len(origin.requests) == 1
    _assert_recorded(fig, tally, "/loop", 508, LOOP.cause, LOOP.metric)
    _assert_pool(fig, "origin", 1)
