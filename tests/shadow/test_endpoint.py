"""Requests of one kind are one endpoint, whatever ids their paths hold; and nobody can make fig remember more."""

from __future__ import annotations

import sys
import time
from uuid import UUID

import pytest

from proxy.shadow.endpoint import MOST_ENDPOINTS, Endpoints, endpoint_of, templated

IDS = (
    b"7", b"-12", b"0042", b"2024-01-31", b"2024-01-31T10:00:00Z", b"1,2,3", b"10.0.0.1", b"12:30",
    str(UUID(int=7 << 100)).encode(), b"deadbeef", b"3f2a9c64", b"DEADBEEF01", b"ORD-2024-001", b"u1001", b"sku_4711",
    b"dQw4w9WgXcQ-1x2", b"01ARZ3NDEKTSV4RRFFQ69G5FAV", b"V1StGXR8_Z5jdHi6B-myT", b"x" * 41, b"caf\xc3\xa9",
    b"caf%C3%A9", b"anna@shop.example", b"a b", b"=",
)  # fmt: skip
WORDS = (
    b"orders", b"v2", b"a3f1", b"decade", b"getOrderListV2", b"oauth2-callback", b"robots.txt", b"docs:batchGet",
    b"$metadata", b"re-orders_all", b"x" * 40, b"",
)  # fmt: skip


@pytest.mark.parametrize("segment", IDS)
def test_what_looks_like_an_id_is_one(segment: bytes) -> None:
    assert endpoint_of("GET", "/api/**", b"/api/orders/" + segment + b"/lines") == "GET /api/orders/{id}/lines"


@pytest.mark.parametrize("segment", WORDS)
def test_a_name_stays(segment: bytes) -> None:
    assert templated(b"/api/" + segment) == f"/api/{segment.decode()}"


def test_parameters_of_a_segment_say_nothing() -> None:
    assert templated(b"/orders;jsessionid=0A1B/7;v=2") == "/orders/{id}"


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/orders/{id}", b"/orders/7", "GET /orders/{id}"),
        ("/orders/*", b"/orders/7", "GET /orders/*"),
        ("/**", b"/", "GET /"),
        ("/**", b"/orders/7", "GET /orders/{id}"),
        ("/orders/**", b"/orders", "GET /orders"),
        ("/orders/**", b"/orders/", "GET /orders/"),
        ("/users/{name}/**", b"/users/anna", "GET /users/{name}"),
        ("/users/{name}/**", b"/users/anna/orders/7", "GET /users/{name}/orders/{id}"),
        ("/2024-01/**", b"/2024-01/7", "GET /2024-01/{id}"),
        ("/**", b"/a/b/c/d/e/f/g/h", "GET /a/b/c/d/e/f/g/h"),
        ("/**", b"/a/b/c/d/e/f/g/h/i/j", "GET /a/b/c/d/e/f/g/h/**"),
    ],
)
def test_the_pattern_is_kept_and_the_path_tells_the_rest(pattern: str, path: bytes, expected: str) -> None:
    assert endpoint_of("GET", pattern, path) == expected
    assert Endpoints().of("GET", pattern, path) == expected


def test_methods_that_nobody_knows_are_one() -> None:
    assert endpoint_of("PROPFIND", "/a", b"/a") == "_OTHER /a"
    assert endpoint_of("get", "/a", b"/a") == "_OTHER /a"


def test_beyond_500_endpoints_all_others_are_one() -> None:
    endpoints = Endpoints()
    names = {endpoints.of("GET", "/**", b"/page/" + _word(number)) for number in range(2000)}
    assert len(names) == MOST_ENDPOINTS + 1
    assert endpoints.of("POST", "/**", b"/page/new") == "POST __other__"
    assert endpoints.of("GET", "/**", b"/page/" + _word(0)) == f"GET /page/{_word(0).decode()}"


def test_hostile_paths_are_not_remembered() -> None:
    endpoints = Endpoints()
    for number in range(20_000):
        endpoints.of("GET", "/**", b"/p/%d" % number)
    for number in range(1000):
        endpoints.of("GET", "/**", b"/p/%d/" % number + b"x" * 8000)
    remembered = endpoints._by_path
    assert sum(sys.getsizeof(key[2]) for key in remembered) < 1_000_000
    assert len(remembered) <= 4096


def test_a_path_of_32_kib_takes_no_time() -> None:
    slashes, digits, mixed = b"/a" * 16_000, b"/" + b"7" * 32_000, b"/" + b"a1-b2." * 5000
    began = time.perf_counter()
    for path in (slashes, digits, mixed):
        for _ in range(20):
            templated(path)
    assert time.perf_counter() - began < 0.05  # some 2 ms; every segment looked at would be 1 s


def _word(number: int) -> bytes:
    """Letters alone, none of a hex digit."""
    return bytes(b"ghijklmnop"[int(digit)] for digit in str(number))
