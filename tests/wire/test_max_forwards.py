"""Max-Forwards on OPTIONS (RFC 9110 7.6.2), and what a 426 must say (15.5.22)."""

from __future__ import annotations

import pytest

from tests.support.client import RawClient
from tests.support.origin import Origin, saying


@pytest.mark.parametrize("target", ["/", "*"])
def test_at_zero_fig_answers_itself(client: RawClient, origin: Origin, target: str) -> None:
    answer = client.get(target, "Max-Forwards: 0", method="OPTIONS")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.value("x-request-id")
    assert origin.requests == []
    assert client.get().status == 200


def test_else_it_goes_on_one_less(client: RawClient, origin: Origin) -> None:
    assert client.get("/", "max-forwards: 5", method="OPTIONS").status == 200
    assert origin.requests[0].values("max-forwards") == ["4"]


@pytest.mark.parametrize("line", ["Max-Forwards: x", "Max-Forwards: -1", "Max-Forwards:"])
def test_what_is_no_number_is_passed_as_it_is(client: RawClient, origin: Origin, line: str) -> None:
    assert client.get("/", line, method="OPTIONS").status == 200
    assert origin.requests[0].values("max-forwards") == [line.partition(":")[2].strip()]


def test_other_methods_do_not_count_it(client: RawClient, origin: Origin) -> None:
    assert client.get("/", "Max-Forwards: 0").status == 200
    assert origin.requests[0].values("max-forwards") == ["0"]


def test_a_426_says_what_to_upgrade_to(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"
    )
    answer = client.get()
    assert (answer.status, answer.value("upgrade"), answer.value("connection")) == (426, "websocket", "Upgrade")
    assert client.get().status == 426
