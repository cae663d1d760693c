"""Who counts as one client."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission.limit_keys import LimitKey, address_key
from proxy.admission.rate_limit import Limit
from proxy.messages import Principal, RequestHead
from proxy.routing.split import compile_selector

LIMIT = Limit("per-user", 100, 60, 100, scope="catalog")


def _head(**fields: bytes) -> RequestHead:
    named = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return RequestHead("GET", b"/", b"shop", [], named, 0, False, "192.0.2.1", "http")


def _key(
    by: list[str],
    head: RequestHead | None = None,
    client_ip: str = "192.0.2.1",
    principal: Principal | None = None,
    limit: Limit = LIMIT,
) -> str:
    selectors = [compile_selector(text) for text in by]
    request = head or _head()
    request.principal = principal
    return LimitKey(limit, selectors).asked(request, {"id": b"7"}, client_ip)[1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "::ffff:c000:201", True),
        ("192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("2001:DB8:0:1::1", "2001:db8:0:1:0:0:0:1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("::1", "::2", True),
        ("unix", "unix", True),
        ("unix", "other", False),
        ("", "0.0.0.0", False),
    ],
)
def test_an_address(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same
    assert (_key(["client_ip"], client_ip=one) == _key(["client_ip"], client_ip=other)) is same


@given(st.text(max_size=50))
def test_whatever_stands_for_an_address_has_a_key(text: str) -> None:
    assert re.fullmatch(r"\{fig:catalog\}:per-user:[0-9a-f]{32}", _key(["client_ip"], client_ip=text))


def test_a_key_is_short_tagged_by_its_scope_and_tells_no_value() -> None:
    key = _key(["header.x-user"], _head(x_user=b"alice" * 10_000))
    assert re.fullmatch(r"\{fig:catalog\}:per-user:[0-9a-f]{32}", key)
    bare = _key(["client_ip"], limit=Limit("x", 1, 1, 1))
    assert bare.startswith("{fig:}:x:")  # an empty tag would be none


def test_what_is_absent_or_empty_counts_by_the_address() -> None:
    address = _key(["client_ip"])
    assert _key(["header.x-user"]) == address
    assert _key(["header.x-user"], _head(x_user=b"")) == address
    assert _key(["jwt.sub"]) == address
    assert _key(["jwt.sub"], principal=Principal("", issuer="shop")) == address
    assert _key(["api_key"], principal=Principal("alice", issuer="shop")) == address
    assert _key(["jwt.sub"], principal=Principal("", api_key="partner-a")) == address


def test_nobody_can_call_himself_like_an_address() -> None:
    assert _key(["header.x-user"], _head(x_user=b"192.0.2.1")) != _key(["client_ip"])
    assert _key(["header.x-user"], _head(x_user=address_key("192.0.2.1"))) != _key(["client_ip"])


def test_the_first_selector_with_a_value_counts() -> None:
    by = ["jwt.sub", "cookie.S", "path.id"]
    assert _key(by) == _key(["path.id"])
    assert _key(by, _head(cookie=b"S=abc")) == _key(["cookie.S"], _head(cookie=b"S=abc"))
    assert _key(by, principal=Principal("alice", issuer="shop")) not in (_key(by), _key(by, _head(cookie=b"S=abc")))
    assert _key(["header.a", "client_ip", "header.b"], _head(b=b"x")) == _key(["client_ip"])


def test_the_same_value_of_two_selectors_or_issuers_is_two_clients() -> None:
    keys = {
        _key(["header.a"], _head(a=b"x")),
        _key(["header.b"], _head(b=b"x")),
        _key(["jwt.sub"], principal=Principal("x", issuer="shop")),
        _key(["jwt.sub"], principal=Principal("x", issuer="partner")),
        _key(["jwt.tenant"], principal=Principal("a", issuer="shop", claims={"tenant": "x"})),
        _key(["api_key"], principal=Principal("", api_key="x")),
    }
    assert len(keys) == 6


def test_without_a_selector_all_share_one_key() -> None:
    assert _key([]) == _key([], client_ip="198.51.100.9") == "{fig:catalog}:per-user:all"


@pytest.mark.parametrize(
    ("by", "after"),
    [
        (["client_ip"], False),
        (["header.a", "path.id"], False),
        ([], False),
        (["jwt.sub"], True),
        (["header.a", "api_key"], True),
    ],
)
def test_limits_by_principal_run_after_authentication(by: list[str], after: bool) -> None:
    assert LimitKey(LIMIT, [compile_selector(text) for text in by]).after_auth is after
