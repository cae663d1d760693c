from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.messages import RequestHead
from proxy.routing.split import bucket, bucketer, compile_selector, sticky_key, sticky_value, threshold

names = st.text(alphabet="abcdefghijklmnopqrstuvwxyz-_0123456789", min_size=1, max_size=48)


def request(**fields: bytes) -> RequestHead:
    lines = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return RequestHead("GET", b"/", b"shop.example", list(lines.items()), lines, 0, False, "10.0.0.9", "http")


def read(selector: str, head: RequestHead, params: dict[str, bytes] | None = None, client_ip: str = "") -> bytes | None:
    return sticky_value((compile_selector(selector),), head, params or {}, client_ip)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("catalog", b"user-1", 200), ("catalog", b"user-2", 1594), ("catalog", b"", 705), ("warenkörbe", b"\xff", 5224)],
)
def test_buckets_are_fixed_for_ever(name: str, value: bytes, expected: int) -> None:
    assert bucket(name, value) == expected


@given(names, st.binary(max_size=64))
def test_a_bucket_follows_from_name_and_value_alone(name: str, value: bytes) -> None:
    digest = blake2b(value, key=name.encode(), digest_size=8).digest()
    expected = int.from_bytes(digest, "big") % 10000
    reused = bucketer(name)
    assert bucket(name, value) == reused(value) == reused(value) == expected


def test_every_percentage_moves_about_its_share() -> None:
    numbers = [bucket("catalog", b"user-%d" % user) for user in range(20_000)]
    for percent in (1, 10, 50, 99):
        moved = sum(number < threshold(percent) for number in numbers) / len(numbers)
        assert abs(moved * 100 - percent) < 1.2


@given(st.binary(), st.integers(0, 10000), st.integers(0, 10000))
def test_a_raised_percentage_moves_nobody_back(value: bytes, one: int, other: int) -> None:
    low, high = sorted((one / 100, other / 100))
    number = bucket("catalog", value)
    assert not (number < threshold(low)) or number < threshold(high)


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 0), (0.01, 1), (0.29, 29), (1.15, 115), (33.33, 3333), (99.99, 9999), (100, 10000)]
)
def test_two_decimals_of_a_percentage_count_exactly(percent: float, expected: int) -> None:
    assert threshold(percent) == expected


def test_each_selector_reads_its_place() -> None:
    head = request(x_user_id=b"7", cookie=b"A=1; SHOPSESSID=abc")
    assert read("header.X-User-Id", head) == b"7"
    assert read("cookie.SHOPSESSID", head) == b"abc"
    assert read("path.id", head, {"id": b"42"}) == b"42"
    assert read("client_ip", head, client_ip="10.0.0.1") == b"10.0.0.1"


@pytest.mark.parametrize(
    "selector", ["header.x-missing", "cookie.missing", "path.id", "client_ip", "jwt.sub", "api_key"]
)
def test_what_is_not_there_is_absent(selector: str) -> None:
    assert read(selector, request()) is None
    assert read(selector, request(cookie=b"", x_missing=b"", authorization=b"Bearer x")) is None


def test_the_first_selector_with_a_value_that_is_not_empty_counts() -> None:
    selectors = tuple(map(compile_selector, ("jwt.sub", "header.x-user-id", "cookie.sid", "client_ip")))
    head = request(x_user_id=b"", cookie=b"sid=s1")
    found = sticky_key(selectors, head, {}, "10.0.0.1")
    assert found is not None
    assert (found[0].text, found[1]) == ("cookie.sid", b"s1")
    assert sticky_value(selectors, head, {}, "10.0.0.1") == b"s1"
    assert sticky_value(selectors, request(x_user_id=b"7"), {}, "10.0.0.1") == b"7"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"sid=1", b"1"),
        (b"a=0; sid=1; sid=2", b"1"),
        (b"a=0;sid = 1 ;b=2", b"1"),
        (b'sid="1"', b"1"),
        (b'sid=""', b""),
        (b'sid="', b'"'),
        (b"sid=a=b==", b"a=b=="),
        (b"sid=", b""),
        (b"sid", None),
        (b"xsid=1; SID=2", None),
        (b"a=sid", None),
        (b"a=sid=1", None),
        (b"a=sid=1; sid=2", b"2"),
        (b"a=x sid=1", None),
        (b";\t sid\t=\t1", b"1"),
        (b"", None),
    ],
)
def test_a_cookie_is_read_as_user_agents_write_it(field: bytes, value: bytes | None) -> None:
    assert compile_selector("cookie.sid").read(request(cookie=field), {}, "") == value


@pytest.mark.parametrize(
    "text",
    ["", "jwt", "jwt.", "header", "header.", "header.a b", "cookie.a=b", "path.", "query.x", "client_ip.x", "ip"],
)
def test_what_is_no_selector_is_refused_with_the_list_of_those_that_are(text: str) -> None:
    with pytest.raises(ValueError, match="client_ip"):
        compile_selector(text)


@pytest.mark.timeout(10)
def test_a_name_repeated_in_values_costs_no_more_than_its_length() -> None:
    field = b"x=sid=;" * 400_000 + b"sid=1"
    assert compile_selector("cookie.sid").read(request(cookie=field), {}, "") == b"1"
