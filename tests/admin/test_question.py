from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.question import build_request
from proxy.config.model import Server
from proxy.errors import BadRequest, Rejected, UnknownMethod

SERVER = Server()


def test_without_a_host_the_data_port_itself_is_meant() -> None:
    request = build_request("GET", "/a?b", [("X-A", " 1 "), ("x-a", "2")], "::1", SERVER)
    assert (request.host, request.target, request.peer) == (b"127.0.0.1:8080", b"/a?b", "::1")
    assert request.fields[b"x-a"] == b"1, 2"


def test_a_url_names_its_own_host() -> None:
    request = build_request("GET", "http://Shop.example/a", [], "::1", SERVER)
    assert (request.host, request.target) == (b"shop.example", b"/a")


def test_cookies_join_as_on_the_wire() -> None:
    request = build_request("GET", "/", [("Cookie", "a=1"), ("Cookie", "b=2")], "::1", SERVER)
    assert request.fields[b"cookie"] == b"a=1; b=2"


@pytest.mark.parametrize("method", ["get", "BREW"])
def test_a_method_that_nobody_defined_is_unknown(method: str) -> None:
    with pytest.raises(UnknownMethod):
        build_request(method, "/", [], "::1", SERVER)


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Length", "-1")],
        [("Content-Length", "9" * 30)],
        [("Content-Length", "3"), ("Transfer-Encoding", "chunked")],
        [("Content-Length", "3"), ("Content-Length", "4")],
    ],
)
def test_framing_that_the_edge_refuses_is_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(BadRequest):
        build_request("POST", "/", headers, "::1", SERVER)


def test_an_upgrade_is_an_ordinary_request() -> None:
    request = build_request("GET", "/", [("Connection", "Upgrade"), ("Upgrade", "websocket")], "::1", SERVER)
    assert request.fields[b"upgrade"] == b"websocket"


anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(anything | st.just("GET"), anything | st.just("/x"), st.lists(st.tuples(anything | st.just("X-A"), anything)))
def test_whatever_is_asked_is_a_request_or_a_refusal(method: str, target: str, headers: list[tuple[str, str]]) -> None:
    with contextlib.suppress(Rejected):
        request = build_request(method, target, headers, "::1", SERVER)
        assert b"\r" not in request.target
        assert len(request.headers) in (len(headers), len(headers) + 1)
