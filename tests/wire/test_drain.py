"""A drain answers what was asked and waits for nothing else."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin
from tests.support.wire import OK, Serve, get, metric, until

DRAIN = ('admin: {listen: "', '  drain: {delay_s: 0, timeout_s: 8}\nadmin: {listen: "')
PATIENT = (
    DRAIN,
    ("head_s: 1", "head_s: 20"),
    ("keepalive_s: 2", "keepalive_s: 75"),
    ("response_s: 1, body_s: 1", "response_s: 5, body_s: 5"),
)


def _seconds_to_end(fig: Fig) -> float:
    started = time.monotonic()
    assert fig.process is not None
    fig.process.wait(20)
    return time.monotonic() - started


def _accepts(fig: Fig) -> bool:
    try:
        RawClient(fig.address, timeout_s=2).sock.close()
    except OSError:
        return False
    return True


def test_a_connection_whose_answer_ends_in_the_drain_is_not_waited_for(serve: Serve, origin: Origin) -> None:
    fig = serve(*PATIENT)
    finish = threading.Event()

    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(OK[:-1])
        finish.wait(5)
        connection.send(OK[-1:])
        connection.wait_closed(5)

    origin.behave = behave
    with RawClient(fig.address) as client:
        client.send(get("/"))
        assert client.head() is not None  # without `Connection: close`: the drain has not begun
        fig.signal(signal.SIGTERM)
        assert until(lambda: not _accepts(fig))
        finish.set()
        assert _seconds_to_end(fig) < 4
        client.ends()
        assert client.buffer == b"ok"


def test_a_connection_that_never_asked_is_not_waited_for(serve: Serve) -> None:
    fig = serve(*PATIENT)
    with RawClient(fig.address):
        assert until(lambda: metric(fig, "fig_connections") == 1)
        fig.signal(signal.SIGTERM)
        assert _seconds_to_end(fig) < 4


def test_a_half_sent_head_is_answered_in_the_drain(serve: Serve) -> None:
    fig = serve(*PATIENT)
    with RawClient(fig.address) as first, RawClient(fig.address) as later:
        first.send(b"GET /1 HTTP/1.1\r\n")
        later.send(get("/2") + b"GET /3 HT")
        assert later.answer().status == 200
        fig.signal(signal.SIGTERM)
        assert until(lambda: not _accepts(fig))
        first.send(b"Host: proxy.test\r\n\r\n")
        later.send(b"TP/1.1\r\nHost: proxy.test\r\n\r\n")
        assert first.answer().status == 200
        assert later.answer().status == 200


def test_no_connection_is_taken_and_left_alone_in_the_drain(serve: Serve, origin: Origin) -> None:
    fig = serve(*PATIENT)
    finish = threading.Event()

    def behave(connection: Connection) -> None:
        request = connection.read()
        if request is not None and request.target == "/slow":
            finish.wait(5)
        connection.send(OK)

    origin.behave = behave
    with RawClient(fig.address) as busy:
        busy.send(get("/slow"))
        assert until(lambda: len(origin.requests) == 1)
        fig.signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                other = RawClient(fig.address, timeout_s=2)
            except OSError:
                break
            with other:
                assert other.get("/other").status in (200, 503)
        else:
            pytest.fail("the listener is still open after 5 s")
        finish.set()
        assert busy.answer().status == 200


@pytest.mark.parametrize("repeat", range(2))
def test_a_drain_under_load_answers_every_accepted_request(serve: Serve, origin: Origin, repeat: int) -> None:
    """A connection that the kernel completed in the instant between the last accept and the close was never fig's:
    the kernel resets it. Handing the listening socket to the next process is what saves that one."""
    fig = serve(*PATIENT)
    counts: Counter[str] = Counter()
    threads = [threading.Thread(target=_ask_until_refused, args=(fig, counts)) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert until(lambda: counts["200"] > 300, 10)
    fig.signal(signal.SIGTERM)
    assert fig.process is not None
    assert fig.process.wait(15) == 0
    for thread in threads:
        thread.join(10)
    assert counts["lost"] == 0, counts
    assert counts["not accepted"] <= 1, counts
    assert set(counts) <= {"200", "refused", "not accepted", "lost"}, counts


def _ask_until_refused(fig: Fig, counts: Counter[str]) -> None:
    while True:
        try:
            client = RawClient(fig.address)
        except OSError:
            counts["refused"] += 1
            return
        with client:
            answered, closing = 0, False
            while not closing:
                try:
                    answer = client.get()
                except (AssertionError, OSError):
                    counts["lost" if answered else "not accepted"] += 1
                    return
                answered += 1
                counts[str(answer.status)] += 1
                closing = answer.value("connection") == "close"
                time.sleep(0.001)
