"""From parsed parts to a RequestHead: pure, so checked with generated input too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import Limits
from proxy.errors import BadRequest, HeadTooLarge, Rejected
from proxy.messages import RequestHead
from proxy.wire.head import read_head


def head(url: bytes = b"/", *headers: tuple[bytes, bytes], method: str = "GET", version: str = "1.1") -> RequestHead:
    lines = list(headers) or [(b"Host", b"Shop.Example:8080")]
    return read_head(method, url, version, lines, Limits(), fed=1_000_000, peer="192.0.2.1", scheme="http")


def test_host_is_lower_case_with_its_port() -> None:
    assert head().host == b"shop.example:8080"


def test_fields_join_with_commas_and_cookies_with_semicolons() -> None:
    made = head(b"/", (b"Host", b"a"), (b"X", b"1"), (b"x", b"2"), (b"Cookie", b"a=1"), (b"cookie", b"b=2"))
    assert made.fields[b"x"] == b"1, 2"
    assert made.fields[b"cookie"] == b"a=1; b=2"
    assert len(made.headers) == 5


@pytest.mark.parametrize("host", [b"a b", b"a/b", b"a@b", b"a#b", b"[::1", b"a:b", b"", b"a,b"])
def test_an_invalid_host_is_refused(host: bytes) -> None:
    with pytest.raises(BadRequest):
        head(b"/", (b"Host", host))


@pytest.mark.parametrize("host", [b"a", b"a.b:1", b"[::1]", b"[::1]:80", b"127.0.0.1", b"a_b"])
def test_a_valid_host_is_kept(host: bytes) -> None:
    assert head(b"/", (b"Host", host)).host == host


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        (b"http://Other.test/x?y", b"/x?y", b"other.test"),
        (b"http://other.test", b"/", b"other.test"),
        (b"http://other.test?y", b"/?y", b"other.test"),
    ],
)
def test_absolute_form_overrides_host(url: bytes, target: bytes, host: bytes) -> None:
    made = head(url, (b"Host", b"a"))
    assert (made.target, made.host) == (target, host)


def test_too_many_lines_are_refused_by_name() -> None:
    with pytest.raises(HeadTooLarge, match="100 header lines"):
        head(b"/", (b"Host", b"a"), *[(b"X", b"y")] * 100)


@given(st.binary(max_size=60), st.binary(max_size=30))
def test_any_target_and_host_is_a_head_or_a_refusal(url: bytes, host: bytes) -> None:
    try:
        made = head(url, (b"Host", host))
    except Rejected:
        return
    assert made.target.startswith(b"/")
    assert not set(made.target) & set(b"\0\r\n #")
    assert made.host
    assert not set(made.host) & set(b"\0\r\n /@#?\t")
