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
from tests.support.origin import Behaviour, Connection, Origin, ok, saying
from tests.support.tally import Tally, pool
from tests.support.wire import OK, access_line, get, post, until

Ask = Callable[[str], bytes]

_PART = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"
_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"
_HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
_EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
_TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
_HALF_SENT_S = 0.1  # what came before the fault is on its way by then


# --- what an origin does ---------------------------------------------------------------------------------------------


def _silent(connection: Connection) -> None:
    connection.read()
    connection.wait_closed(5)


def _closing(connection: Connection) -> None:
    connection.read()


def _resetting(connection: Connection) -> None:
    connection.read()
    connection.reset()


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
    def row(self) -> str:
        """This fault's line in docs/faults.md."""
        sees = f"{self.status}" if self.whole else f"{self.status}, then the connection is cut"
        cause = f"`{self.cause}`" if self.cause else "–"
        kept = "kept" if self.kept else "closed"
        test = "`tests/wire/test_faults.py::test_an_origin_at_fault`"
        return f"| {self.number} | {self.what} | {sees} | {cause} | `{self.metric}` | {kept} | {test} |"


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


_RETRIED = 'fig_retries_total{upstream="origin"}'

FAULTS = (
    _fault("F3", "closes before the status", _closing, 502, "upstream_reset"),
    _fault("F3", "resets before the status", _resetting, 502, "upstream_reset"),
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
        _RETRIED,
        kept=True,
        reused=True,
    ),
    Fault(
        "F11",
        "a kept connection resets as a GET is sent",
        _second(_resetting),
        200,
        None,
        _RETRIED,
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
    assert sum(request.target == target for request in origin.requests) <= (2 if fault.metric == _RETRIED else 1)
    origin.behave = ok
    with RawClient(fig.address) as client:
        assert client.get("/after").body == b"ok"
