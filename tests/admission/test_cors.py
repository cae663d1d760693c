"""What a browser is told (Fetch, 3.2)."""

from __future__ import annotations

import pytest

from proxy.admission.cors import CorsPolicy, preflighted
from proxy.messages import RequestHead

SHOP = b"https://shop.example"


def _policy(
    *origins: bytes, methods: tuple[str, ...] = ("GET", "PUT"), credentials: bool = False, **more: tuple[str, ...]
) -> CorsPolicy:
    return CorsPolicy(
        frozenset(origins or (SHOP,)), methods, more.get("headers", ()), more.get("exposed", ()), credentials, 600
    )


def _request(method: str = "GET", **fields: bytes) -> RequestHead:
    named = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return RequestHead(method, b"/", b"api", [], named, 0, False, "192.0.2.1", "https")


def _preflight(policy: CorsPolicy, origin: bytes = SHOP, method: bytes = b"PUT") -> dict[bytes, bytes]:
    request = _request("OPTIONS", origin=origin, access_control_request_method=method)
    assert preflighted(request) is not None
    return dict(policy.preflight_fields(request))


def test_a_preflight_is_an_OPTIONS_with_both_fields() -> None:
    assert not preflighted(_request("OPTIONS", origin=SHOP))
    assert not preflighted(_request("OPTIONS", access_control_request_method=b"GET"))
    assert not preflighted(_request("GET", origin=SHOP, access_control_request_method=b"GET"))


def test_a_preflight_of_a_listed_origin_is_told_what_it_may() -> None:
    assert _preflight(_policy(headers=("authorization", "content-type"), credentials=True)) == {
        b"Vary": b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        b"Access-Control-Allow-Origin": SHOP,
        b"Access-Control-Allow-Credentials": b"true",
        b"Access-Control-Allow-Methods": b"GET, PUT",
        b"Access-Control-Allow-Headers": b"authorization, content-type",
        b"Access-Control-Max-Age": b"600",
    }


@pytest.mark.parametrize(
    ("origin", "method"),
    [
        (b"https://evil.example", b"PUT"),
        (b"https://shop.example.evil.example", b"PUT"),
        (b"http://shop.example", b"PUT"),
        (b"https://shop.example:444", b"PUT"),
        (b"HTTPS://SHOP.EXAMPLE", b"PUT"),
        (b"null", b"PUT"),
        (b"", b"PUT"),
        (SHOP, b"DELETE"),
        (SHOP, b"put"),  # methods have letter case
    ],
)
def test_whoever_may_not_is_told_nothing(origin: bytes, method: bytes) -> None:
    assert list(_preflight(_policy(), origin, method)) == [b"Vary"]


def test_everybody_is_a_star_and_needs_no_vary() -> None:
    policy = _policy(b"*", methods=("*",), exposed=("x-total-count",))
    for request in (_request(origin=b"https://any.example"), _request()):  # the second may be cached, and reused
        assert policy.answer_fields(request) == [
            (b"Access-Control-Allow-Origin", b"*"),
            (b"Access-Control-Expose-Headers", b"x-total-count"),
        ]
    assert _preflight(policy, b"null", b"DELETE")[b"Access-Control-Allow-Origin"] == b"*"


def test_an_answer_varies_by_origin_also_where_none_was_sent() -> None:
    policy = _policy()
    assert policy.answer_fields(_request()) == [(b"Vary", b"Origin")]
    assert policy.answer_fields(_request(origin=b"https://evil.example")) == [(b"Vary", b"Origin")]
    assert policy.answer_fields(_request(origin=SHOP)) == [
        (b"Vary", b"Origin"),
        (b"Access-Control-Allow-Origin", SHOP),
    ]


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        (SHOP, True),
        (b"https://api.example", True),  # its own pages
        (b"http://API.example", True),  # TLS may end in front of fig
        (b"https://api.example:444", False),
        (b"https://evil.example", False),
        (b"https://api.example.evil.example", False),
        (b"null", False),
        (b"", False),
    ],
)
def test_pages_of_other_origins_open_no_websocket(origin: bytes, may: bool) -> None:
    request = _request(origin=origin)
    assert _policy().admits_upgrade(request, b"api.example")  # the browser sees to all but upgrades
    request.upgrade = b"websocket"
    assert _policy().admits_upgrade(request, b"api.example") == may
    assert _policy(b"*").admits_upgrade(request, b"api.example")
    del request.fields[b"origin"]
    assert _policy().admits_upgrade(request, b"api.example")  # no page
