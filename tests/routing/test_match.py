from __future__ import annotations

from typing import Any

import pytest

from proxy.config.model import RouteConfig
from proxy.routing.match import (
    CompiledRoute,
    Kind,
    PatternError,
    Segment,
    compile_route,
    first_value,
    host_name,
    parse_pattern,
)


def route(path: str = "/a", **conditions: Any) -> CompiledRoute:
    return compile_route("catalog", 0, RouteConfig(path=path, **conditions))


def accepts(
    compiled: CompiledRoute,
    method: str = "GET",
    query: bytes | None = None,
    path: bytes = b"/a",
    **fields: bytes,
) -> bool:
    lines = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return compiled.accepts(method, query, lines, path.split(b"/"))


def test_a_pattern_is_parsed_segment_by_segment() -> None:
    assert parse_pattern("/api/{id}/*/**") == (
        Segment(Kind.LITERAL, b"api"),
        Segment(Kind.ONE, name="id"),
        Segment(Kind.ONE),
        Segment(Kind.REST),
    )


@pytest.mark.parametrize(
    ("path", "texts"),
    [("/", [b""]), ("/a/", [b"a", b""]), ("/%7Eme", [b"~me"]), ("/café", [b"caf%C3%A9"]), ("/%40x", [b"@x"])],
)
def test_literals_are_compared_in_canonical_spelling(path: str, texts: list[bytes]) -> None:
    assert [segment.text for segment in parse_pattern(path)] == texts


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("", "start with /"),
        ("api", "start with /"),
        ("/**/a", "last segment"),
        ("/a/**/", "last segment"),
        ("/{id}/{id}", "two segments {id}"),
        ("/{}", "bad segment name"),
        ("/{1}", "bad segment name"),
        ("/{rest*}", "bad segment name"),
        ("/{id}.json", "whole segment"),
        ("/v{n}", "whole segment"),
        ("/a*", "whole segment"),
        ("/a//b", "second reading"),
        ("/a/../b", "second reading"),
        ("/a/./b", "second reading"),
        ("/{id}/..", "second reading"),
        ("/a%2Fb", "second reading"),
        ("/a\\b", "second reading"),
        ("/a;v", "second reading"),
        ("/a%", "percent escape"),
        ("/a%00", "control character"),
        ("/a b", "matches no request"),
        ("/a?b=1", "conditions on the query"),
        ("/a#b", "fragment"),
    ],
)
def test_a_pattern_that_no_request_could_match_is_refused(path: str, complaint: str) -> None:
    with pytest.raises(PatternError, match=complaint):
        parse_pattern(path)


def test_params_must_name_a_segment_of_the_path_and_compile() -> None:
    with pytest.raises(PatternError, match=r"'id'.*no such segment"):
        compile_route("catalog", 0, RouteConfig(path="/a/{sku}", params={"id": "x"}))
    with pytest.raises(PatternError, match="bad pattern"):
        compile_route("catalog", 0, RouteConfig(path="/a/{sku}", params={"sku": "("}))


def test_no_methods_means_any_and_get_does_not_imply_head() -> None:
    assert accepts(route(), method="BREW")
    assert accepts(route(methods=("GET",)), method="GET")
    assert not accepts(route(methods=("GET",)), method="HEAD")


def test_a_header_condition_wants_the_exact_value_whatever_the_case_of_its_name() -> None:
    versioned = route(headers={"X-Api-Version": "2"})
    assert accepts(versioned, x_api_version=b"2")
    assert not accepts(versioned, x_api_version=b"2, 2")
    assert not accepts(versioned, x_api_version=b"")
    assert not accepts(versioned)


def test_a_query_condition_wants_the_first_value_of_the_form_decoded_key() -> None:
    full = route(query={"view mode": "a&b"})
    assert accepts(full, query=b"x=1&view+mode=a%26b&view+mode=other")
    assert not accepts(full, query=b"view%20mode=other&view+mode=a%26b")
    assert not accepts(full, query=None)


def test_every_condition_has_to_hold() -> None:
    both = route(headers={"x": "1", "y": "2"}, query={"q": "1"})
    assert accepts(both, query=b"q=1", x=b"1", y=b"2")
    assert not accepts(both, query=b"q=1", x=b"1")
    assert not accepts(both, query=b"q=2", x=b"1", y=b"2")


def test_a_pattern_must_match_the_whole_segment() -> None:
    numbered = route("/a/{id}", params={"id": "[0-9]+"})
    assert accepts(numbered, path=b"/a/42")
    assert not accepts(numbered, path=b"/a/42x")
    assert not accepts(numbered, path=b"/a/x42")


def test_a_segment_over_256_bytes_matches_no_pattern() -> None:
    numbered = route("/a/{id}", params={"id": "[0-9]+"})
    assert accepts(numbered, path=b"/a/" + b"1" * 256)
    assert not accepts(numbered, path=b"/a/" + b"1" * 257)


@pytest.mark.parametrize(
    ("greater", "lesser"),
    [
        (route("/a/b"), route("/a/{x}")),
        (route("/a/*"), route("/a/**", host="h", methods=("GET",))),
        (route("/a"), route("/a/**")),
        (route("/a/{x}"), route("/{y}/b", host="h")),
        (route(host="h"), route(methods=("GET",), headers={"x": "1"})),
        (route(methods=("GET",)), route(headers={"x": "1"})),
        (route(headers={"x": "1"}), route(query={"x": "1", "y": "1"})),
        (route("/{x}", query={"x": "1"}), route("/{x}", params={"x": "1"})),
        (route("/{x}", params={"x": "1"}), route("/{x}")),
    ],
)
def test_specificity_counts_path_then_host_methods_headers_query_params(
    greater: CompiledRoute, lesser: CompiledRoute
) -> None:
    assert greater.specificity > lesser.specificity


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        (b"shop.example", b"shop.example"),
        (b"Shop.Example:8080", b"shop.example"),
        (b"shop.example.", b"shop.example"),
        (b"shop.example.:80", b"shop.example"),
        (b"[::1]:8080", b"[::1]"),
        (b"[::1]", b"[::1]"),
        (b"", b""),
    ],
)
def test_a_host_is_compared_without_port_and_final_dot(authority: bytes, name: bytes) -> None:
    assert host_name(authority) == name


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (None, None),
        (b"", None),
        (b"&&", None),
        (b"other=1", None),
        (b"key", b""),
        (b"key=", b""),
        (b"key=1&key=2", b"1"),
        (b"k%65y=%zz+", b"%zz "),
        (b"key=a=b", b"a=b"),
        (b"a;key=1", None),
    ],
)
def test_the_first_value_of_a_key_counts(query: bytes | None, value: bytes | None) -> None:
    assert first_value(query, b"key") == value
