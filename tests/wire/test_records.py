"""Whatever became of a request, one access line and the counters tell it."""

from __future__ import annotations

import time

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin, saying
from tests.support.wire import access_line


def test_an_answer_is_recorded_with_side_reason_and_sizes(client: RawClient, fig: Fig) -> None:
    client.send(b"POST /recorded/1?token=secret HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 5\r\n\r\nhello")
    answer = client.answer()
    entry = access_line(fig, "/recorded/1?token=***")
    assert (entry["status"], entry["bytes_in"], entry["bytes_out"]) == (200, 5, 2)
    assert (entry["seam"], entry["side"], entry["upstream"], entry["reason"]) == (
        "default",
        "legacy",
        "origin",
        "default",
    )
    assert (entry["cause"], entry["request_id"]) == (None, answer.value("x-request-id"))


@pytest.mark.parametrize(
    ("answer", "status", "cause"),
    [
        (b"garbage\r\n\r\n", 502, "upstream_protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 200, "upstream_reset"),
    ],
)
def test_an_upstreams_fault_is_recorded_with_what_the_client_got(
    client: RawClient, fig: Fig, origin: Origin, answer: bytes, status: int, cause: str
) -> None:
    origin.behave = saying(answer, close=True)
    client.get(f"/recorded/{cause}")
    entry = access_line(fig, f"/recorded/{cause}")
    assert (entry["status"], entry["cause"], entry["side"]) == (status, cause, "legacy")


def test_a_client_that_left_is_499_and_no_fault_of_the_upstream(fig: Fig, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.wait_closed(5)

    origin.behave = behave
    with RawClient(fig.address) as client:
        client.send(b"GET /recorded/gone HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
        time.sleep(0.1)
    entry = access_line(fig, "/recorded/gone")
    assert (entry["status"], entry["cause"]) == (499, "client_gone")
    assert 'fig_upstream_errors_total{cause="client_gone"' not in fig.call("GET", "/metrics").text


def test_a_refusal_after_routing_names_its_seam(client: RawClient, fig: Fig) -> None:
    client.send(b"POST /small/refused HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 2000\r\n\r\n")
    assert client.answer().status == 413
    entry = access_line(fig, "/small/refused")
    assert (entry["seam"], entry["side"], entry["cause"]) == ("small", None, "body_too_large")


def test_what_never_became_a_request_is_counted_by_cause(client: RawClient, fig: Fig) -> None:
    def count() -> float:
        lines = fig.call("GET", "/metrics").text.splitlines()
        return sum(
            float(text.split()[-1]) for text in lines if text.startswith('fig_rejected_total{cause="bad_request"')
        )

    before = count()
    client.send(b"NONSENSE\r\n\r\n")
    client.answer()
    assert count() == before + 1
