"""What an upstream does wrong becomes 502, 503 or 504 by cause, or a visible truncation, and stays with its request."""

from __future__ import annotations

import json
import threading

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Behaviour, Connection, Origin, resetting, saying


def _silent(connection: Connection) -> None:
    connection.read()
    connection.wait_closed(5)


def _closes(connection: Connection) -> None:
    connection.read()


def _answers(data: bytes) -> Behaviour:
    return saying(data, close=True)


FAULTS: dict[str, tuple[Behaviour, int, str]] = {
    "silence": (_silent, 504, "response_timeout"),
    "close": (_closes, 502, "upstream_reset"),
    "reset": (resetting, 502, "upstream_reset"),
    "half a head": (_answers(b"HTTP/1.1 200 OK\r\nX: y\r\n"), 502, "upstream_reset"),
    "not HTTP": (_answers(b"bad protocol data!\r\n\r\n"), 502, "upstream_protocol"),
    "bad length": (_answers(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), 502, "upstream_protocol"),
    "two lengths": (
        _answers(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok"),
        502,
        "upstream_protocol",
    ),
    "both framings": (
        _answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        502,
        "upstream_protocol",
    ),
    "unknown coding": (_answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: foo\r\n\r\n"), 502, "upstream_protocol"),
    "stacked coding": (
        _answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        502,
        "upstream_protocol",
    ),
    "unasked switch": (
        _answers(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        502,
        "upstream_protocol",
    ),
    "endless interim": (_answers(b"HTTP/1.1 102 Processing\r\n\r\n" * 100), 502, "upstream_protocol"),
    "huge head": (_answers(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400_000 + b"\r\n\r\n"), 502, "upstream_protocol"),
    "folded line": (_answers(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"), 502, "upstream_protocol"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_before_the_head_it_becomes_an_answer_with_its_cause(client: RawClient, origin: Origin, name: str) -> None:
    behave, status, cause = FAULTS[name]
    origin.behave = behave
    answer = client.get()
    assert (answer.status, json.loads(answer.body)["reason"]) == (status, cause)
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
    assert client.get("/next").body == b"next"


def test_a_refused_connection_is_502_with_cause(client: RawClient) -> None:
    answer = client.get("/dead/x")
    assert (answer.status, json.loads(answer.body)["reason"]) == (502, "connect_failed")
    assert client.get("/alive").status == 200


TRUNCATIONS: dict[str, Behaviour] = {
    "short length": _answers(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"),
    "no last chunk": _answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"),
    "bad chunk": _answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nZZ\r\nx\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("name", TRUNCATIONS)
def test_after_the_head_the_truncation_is_visible(client: RawClient, origin: Origin, name: str) -> None:
    origin.behave = TRUNCATIONS[name]
    try:
        answer = client.get()
    except AssertionError:
        return  # cut before the head went out: visible as well
    assert answer.status == 502 or not answer.complete


def test_a_stalled_body_is_cut_after_body_s(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        connection.wait_closed(5)

    origin.behave = behave
    answer = client.get()
    assert (answer.body, answer.complete) == (b"part", False)


def test_bytes_after_a_response_never_answer_another_request(client: RawClient, origin: Origin) -> None:
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst" + evil)
    assert client.get("/1").body == b"first"
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")
    assert client.get("/2").body == b"second"


def test_late_bytes_on_an_idle_connection_close_it(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")
        if connection.wait_closed(5):
            closed.set()

    closed = threading.Event()
    origin.behave = behave
    assert client.get("/1").body == b"first"
    assert closed.wait(5)
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")
    assert client.get("/2").body == b"second"


def test_interim_answers_before_the_final_one_do_no_harm(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    assert client.get().body == b"ok"


def test_an_early_refusal_reaches_a_client_that_still_uploads(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        connection.wait_closed(2)

    origin.behave = behave
    client.send(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
    answer = client.answer()
    assert (answer.status, answer.body) == (413, b"big")


def test_a_kept_connection_that_closes_as_we_send_costs_a_get_nothing(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
        connection.read_head()  # the next request arrives, and the connection goes without a word

    origin.behave = behave
    assert client.get("/1").body == b"one"
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo")
    assert client.get("/2").body == b"two"


def test_a_post_on_such_a_connection_is_never_sent_twice(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
        connection.read()

    origin.behave = behave
    assert client.get("/1").body == b"one"
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo")
    client.send(b"POST /2 HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 1\r\n\r\nx")
    assert client.answer().status == 502
    assert [request.target for request in origin.requests].count("/2") == 1


def test_the_error_log_names_cause_and_upstream(client: RawClient, fig: Fig) -> None:
    client.get("/dead/x")
    assert '"cause":"connect_failed","upstream":"nobody"' in fig.errors()
