from __future__ import annotations

import pytest

from proxy.config import syntax


@pytest.mark.parametrize(
    ("listen", "host", "reaches"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "LOCALHOST.", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "127.1", True),
        ("127.0.0.1", "2130706433", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("localhost", "::1", True),
        ("0.0.0.0", "127.0.0.7", True),
        ("::", "127.0.0.1", True),
        ("::", "::1", True),
        ("10.0.0.5", "10.0.0.5", True),
        ("fig.internal", "FIG.internal", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "::1", False),
        ("10.0.0.5", "127.0.0.1", False),
        ("0.0.0.0", "10.0.0.5", False),
        ("0.0.0.0", "monolith", False),
        ("127.0.0.1", "cafe", False),
    ],
)
def test_an_endpoint_leads_back_by_any_spelling_of_the_own_address(listen: str, host: str, reaches: bool) -> None:
    assert syntax.leads_back(listen, host) is reaches


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("127.0.0.1", "localhost", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("10.0.0.5", "::", True),
        ("127.0.0.1", "::1", False),
        ("127.0.0.1", "127.0.0.2", False),
    ],
)
def test_sockets_collide_where_their_hosts_overlap(one: str, other: str, collide: bool) -> None:
    assert syntax.collide(one, other) is syntax.collide(other, one) is collide


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("fig.internal", False),
        ("127.0.0.1.example", False),
    ],
)
def test_loopback_is_told_by_the_spelling(host: str, loopback: bool) -> None:
    assert syntax.is_loopback(host) is loopback


@pytest.mark.parametrize(
    "selector",
    [
        "api_key",
        "client_ip",
        "jwt.sub",
        "jwt.https://claims.example/id",
        "header.X-User",
        "cookie.__Host-id",
        "path.id",
    ],
)
def test_selectors_of_every_kind_are_taken(selector: str) -> None:
    assert syntax.selector_problem(selector, {"id"}) is None


@pytest.mark.parametrize(
    ("selector", "hint"),
    [
        ("clientip", "did you mean `client_ip`"),
        ("headers.x-user", "did you mean `header.x-user`"),
        ("cookies.SID", "did you mean `cookie.SID`"),
        ("header", "did you mean `header.`"),
        ("header.", "no name of a header value"),
        ("header.x user", "no name of a header value"),
        ("cookie.a;b", "no name of a cookie value"),
        ("path.idd", "did you mean `id`"),
        ("client_ip ", "did you mean `client_ip`"),
        ("", "known are"),
    ],
)
def test_a_wrong_selector_names_the_right_one(selector: str, hint: str) -> None:
    assert hint in (syntax.selector_problem(selector, {"id"}) or "")


@pytest.mark.parametrize("text", ["10.0.0.0/8", "127.0.0.1", "::1/128", "fd00::/8", "0.0.0.0/0"])
def test_networks_and_single_addresses_are_taken(text: str) -> None:
    assert syntax.network_problem(text) is None


def test_a_network_with_host_bits_is_told_its_network() -> None:
    assert "write 10.0.0.0/8" in (syntax.network_problem("10.0.0.1/8") or "")
    assert "write ADDRESS/BITS" in (syntax.network_problem("10.0.0.0/33") or "")


@pytest.mark.parametrize("text", ["memory", "memory:", "sqlite:var/fig.db", "sqlite:/var/fig.db"])
def test_stores_that_exist_are_taken(text: str) -> None:
    assert syntax.store_problem(text) is None


@pytest.mark.parametrize("text", ["memory:x", "sqlite:", "sqlite", "sqlite:///var/x", "sqlite::memory:", "mysql:x", ""])
def test_stores_that_do_not_exist_are_refused(text: str) -> None:
    assert syntax.store_problem(text) is not None


@pytest.mark.parametrize("text", ["preserve", "endpoint", "shop.example", "shop.example:8080", "[::1]:80", "my_host"])
def test_upstream_hosts_are_taken(text: str) -> None:
    assert syntax.upstream_host_problem(text) is None


@pytest.mark.parametrize("text", ["", "http://a", "a b", "a/b", "a:99999", "a\r\nb", "-a", "a:"])
def test_upstream_hosts_that_are_none_are_refused(text: str) -> None:
    assert syntax.upstream_host_problem(text) is not None


@pytest.mark.parametrize("name", ["a", "A-1_b", "9", "x" * 48])
def test_seam_names_are_taken(name: str) -> None:
    assert syntax.seam_name_problem(name) is None


@pytest.mark.parametrize("name", ["", "-a", "a.b", "a b", "ä", "x" * 49, "default", "a\n"])
def test_other_seam_names_are_refused(name: str) -> None:
    assert syntax.seam_name_problem(name) is not None


@pytest.mark.parametrize(
    ("group", "taken"), [("shop", True), ("x" * 48, True), ("ä" * 24, True), ("ä" * 25, False), ("", False)]
)
def test_a_bucket_group_is_measured_in_bytes(group: str, taken: bool) -> None:
    assert (syntax.bucket_group_problem(group) is None) is taken


@pytest.mark.parametrize("url", ["http://a:1", "HTTP://[::1]:1", "http://127.0.0.1:65535"])
def test_endpoints_are_taken(url: str) -> None:
    assert syntax.endpoint_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "a:1",
        "http://",
        "http://a",
        "http://a:0",
        "http://a:65536",
        "http://:1",
        "http://a:1/",
        "http://a:1?x",
        "ftp://a:1",
    ],
)
def test_other_endpoints_are_refused(url: str) -> None:
    assert syntax.endpoint_problem(url) is not None


def test_a_password_in_an_endpoint_is_not_repeated() -> None:
    assert "s3cret" not in (syntax.endpoint_problem("http://user:s3cret@a:1") or "s3cret")
    assert "s3cret" not in (syntax.token_problem("s3cret with spaces") or "s3cret")


@pytest.mark.parametrize("pattern", ["[0-9", "(", "a**", "(?P<x>a)(?P<x>b)"])
def test_broken_regular_expressions_are_refused(pattern: str) -> None:
    assert syntax.pattern_problem(pattern) is not None


@pytest.mark.parametrize(
    ("value", "taken"), [("2", True), ("a b", True), ("", True), (" a", False), ("a\r\nb: c", False)]
)
def test_header_values_are_what_can_arrive(value: str, taken: bool) -> None:
    assert (syntax.field_value_problem(value) is None) is taken


@pytest.mark.parametrize(
    ("prefix", "taken"), [("", True), ("/", True), ("/api", True), ("api", False), ("/a?b", False), ("/a b", False)]
)
def test_rewrite_prefixes_are_paths(prefix: str, taken: bool) -> None:
    assert (syntax.prefix_problem(prefix) is None) is taken


@pytest.mark.parametrize(
    "url", ["http://a", "https://a.b.:443/x?y=@z#w", "http://[::1]:65535", "http://10.0.0.1/", "https://a_b:00080"]
)
def test_addresses_to_call_are_taken(url: str) -> None:
    assert syntax.url_problem("url", url) is None


@pytest.mark.parametrize(
    "url",
    ["", "a", "ftp://s3cret", "http://", "http:///s3cret", "http://u:s3cret@a", "http://a/s3cret b", "http://[s3]"],
)
def test_addresses_that_cannot_be_called_are_refused_and_not_repeated(url: str) -> None:
    problem = syntax.url_problem("url", url)
    assert problem is not None
    assert problem.startswith("`url` ")
    assert "s3" not in problem


def test_paths_go_behind_an_address_without_a_query() -> None:
    assert syntax.base_url_problem("registry", "http://a:8500/consul/") is None
    assert "leave out ? and #" in (syntax.base_url_problem("registry", "http://a?dc=b") or "")
    assert "leave out ? and #" in (syntax.base_url_problem("registry", "http://a#b") or "")
    assert "must start with" in (syntax.base_url_problem("registry", "a:8500") or "")


def test_a_port_beyond_all_measure_is_no_port() -> None:
    assert syntax.upstream_host_problem(f"a:{'9' * 5000}") is not None
    assert syntax.url_problem("url", f"http://a:{'9' * 5000}") is not None


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("application/json", True),
        ("text/plain; charset=utf-8", True),
        ("application/problem+json;a=b ; c", True),
        ("json", False),
        ("text/", False),
        ("text/plain ", False),
        ("text/plain;", False),
        ("text/plain; a=ä", False),
        ("text/plain\r\nx: y", False),
    ],
)
def test_media_types(text: str, taken: bool) -> None:
    assert (syntax.media_type_problem(text) is None) is taken


def test_a_header_that_every_request_has_declares_nothing() -> None:
    assert syntax.repeatable_header_problem("Idempotency-Key") is None
    assert "each POST would be repeated" in (syntax.repeatable_header_problem("HOST") or "")
    assert "not a header name" in (syntax.repeatable_header_problem("a b") or "")
