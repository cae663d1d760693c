from __future__ import annotations

import pytest

from proxy.shadow.answer import Ask, is_conditional
from proxy.shadow.compare_headers import request_urls, resolved
from tests.support.pairs import answer, verdict_of


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("Vary", "Accept, Origin", "origin\naccept"),
        ("Allow", "GET, HEAD", "HEAD,GET"),
        ("Cache-Control", "max-age=60, Public", 'public,max-age="60"'),
        ("Location", "/x", "https://SHOP.example:443/x"),
        ("Location", "y", "/o/y"),
        ("Location", "https://other.example", "https://other.example/"),
        ("Link", '</a>; rel="next", </b>; rel=last', "<https://shop.example/b>; rel=last\n</a>; rel=next"),
        ("WWW-Authenticate", 'Digest realm="a, b", nonce="1", qop=auth', 'digest realm="a, b", qop="auth", nonce="2"'),
        ("Content-Disposition", "Attachment; filename=a.csv", 'attachment; filename="a.csv"'),
        ("Content-Security-Policy", "script-src 'nonce-a' 'self'; img-src *", "img-src *;script-src 'self' 'nonce-b'"),
        ("Strict-Transport-Security", "max-age=60; includeSubDomains", "includesubdomains;max-age=60"),
        ("X-Frame-Options", "DENY", "deny"),
        ("Access-Control-Allow-Headers", "A, B", "b,a"),
        ("Retry-After", "Mon, 01 Jan 2024 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:02 GMT"),
        ("ETag", '"a"', '"b"'),
        ("Set-Cookie", "a=1; Path=/; SameSite=Lax", "a=2; samesite=lax; path=/"),
        ("Set-Cookie", "a=1; Domain=.Shop.example", "a=1; domain=shop.example"),
        ("Set-Cookie", "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "a=; Max-Age=0"),
        ("Set-Cookie", "a=1\nb=2", "b=2\na=1"),
    ],
)
def test_alike(name: str, one: str, other: str) -> None:
    assert verdict_of(answer(**{name: one}), answer(**{name: other})).verdict == "match"


@pytest.mark.parametrize(
    ("name", "one", "other", "severity"),
    [
        ("Vary", "Accept", "Accept, Origin", "mismatch"),
        ("Cache-Control", "max-age=60", "max-age=61", "mismatch"),
        ("Location", "/x", "/x/", "mismatch"),
        ("Location", "/x", "http://shop.example/x", "mismatch"),
        ("Link", "</a>; rel=next", "</a>; rel=prev", "mismatch"),
        ("WWW-Authenticate", "Bearer", "Basic", "blocking"),
        ("Access-Control-Allow-Origin", "https://a.example", "*", "blocking"),
        ("Content-Security-Policy", "script-src 'self'", "script-src 'self' 'unsafe-inline'", "blocking"),
        ("Strict-Transport-Security", "max-age=60", "max-age=0", "blocking"),
        ("Retry-After", "1", "2", "mismatch"),
        ("Set-Cookie", "a=1; Secure", "a=1", "blocking"),
        ("Set-Cookie", "a=1; SameSite=Strict", "a=1; SameSite=None", "blocking"),
        ("Set-Cookie", "a=1; Path=/", "a=1; Path=/x", "mismatch"),
        ("Set-Cookie", "a=1; Max-Age=60", "a=1", "mismatch"),
        ("Set-Cookie", "a=1; Max-Age=60", "a=1; Max-Age=0", "mismatch"),
        ("Set-Cookie", "a=1\nb=1", "a=1", "mismatch"),
    ],
)
def test_not_alike(name: str, one: str, other: str, severity: str) -> None:
    got = verdict_of(answer(**{name: one}), answer(**{name: other}))
    assert (got.kind, got.paths) == ("header", (f"header:{name.lower()}",))
    assert got.differences[0].severity == severity


def test_a_field_on_one_side_alone() -> None:
    got = verdict_of(answer(Vary="a"), answer())
    assert got.differences[0].candidate is None and got.differences[0].control is not None
    assert verdict_of(answer(Set_Cookie="a=1"), answer()).paths == ("header:set-cookie",)


def test_configured_names_are_compared_exactly() -> None:
    pair = (answer(X_Total_Count="10"), answer(X_Total_Count="11"))
    assert verdict_of(*pair).verdict == "match"
    assert verdict_of(*pair, headers={"compare": ["X-Total-Count"]}).paths == ("header:x-total-count",)


def test_cookie_values_count_where_a_rule_says_so_and_are_never_shown_else() -> None:
    pair = (answer(Set_Cookie="a=secret; Secure\nb=1"), answer(Set_Cookie="a=other; Secure\nb=2"))
    assert verdict_of(*pair, cookies={"compare_values": True}).kind == "header"
    assert verdict_of(*pair, cookies={"compare_values": ["c"]}).verdict == "match"
    got = verdict_of(*pair, cookies={"compare_values": ["b"]})
    assert got.differences[0].control is not None
    assert "secret" not in got.differences[0].control.excerpt


def test_the_request_urls() -> None:
    assert request_urls(Ask("GET", b"/a?b", b"shop.example", "http")) == ("http://shop.example/a?b",)
    assert request_urls(Ask("GET", b"http://x.example/a", b"shop.example")) == ("http://x.example/a",)
    assert request_urls(Ask("OPTIONS", b"*", b"shop.example")) == ("https://shop.example/",)
    assert is_conditional([b"Accept", b"If-None-Match"]) and not is_conditional([b"Accept"])


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("HTTP://A.example:80/x#y", "http://A.example/x#y".lower()),
        ("https://u@[::1]:8443", "https://u@[::1]:8443/"),
        ("http://[", "http://["),
        ("http://a:bc/", "http://a:bc/"),
        ("mailto:a@b", "mailto:a@b"),
        ("?q=1", "https://shop.example/o?q=1"),
    ],
)
def test_references(reference: str, expected: str) -> None:
    assert resolved(reference, "https://shop.example/o") == expected


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_where_the_scheme_is_not_known_a_relative_location_means_either(scheme: str) -> None:
    ask = Ask("GET", b"/o/1", b"shop.example", scheme="")
    there = answer("", status=302, Location="/x")
    assert verdict_of(there, answer("", status=302, Location=f"{scheme}://shop.example/x"), ask=ask).verdict == "match"
    assert verdict_of(there, answer("", status=302, Location=f"{scheme}://shop.test/x"), ask=ask).verdict == "mismatch"
    two = (
        answer("", status=302, Location="http://shop.example/x"),
        answer("", status=302, Location="https://shop.example/x"),
    )
    assert verdict_of(*two, ask=ask).verdict == "mismatch"
