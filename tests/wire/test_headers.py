"""Which lines cross, which are added: pure functions on heads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamProtocol
from proxy.messages import Headers, RequestHead
from proxy.wire.headers import (
    DROP,
    KEEP_ALIVE,
    LOCATED,
    PASS,
    DateField,
    FieldKinds,
    Internal,
    Shapes,
    relocate,
    request_kind,
    request_lines,
    response_kind,
)


def request(*lines: tuple[bytes, bytes], length: int | None = 0, target: bytes = b"/p") -> RequestHead:
    fields: dict[bytes, bytes] = {}
    for name, value in lines:
        low = name.lower()
        fields[low] = fields[low] + b", " + value if low in fields else value
    return RequestHead("GET", target, b"shop.example", list(lines), fields, length, False, "192.0.2.9", "http")


def sent(
    *lines: tuple[bytes, bytes], trusted: bool = False, continues: bool = False, length: int | None = 0
) -> list[bytes]:
    head = request_lines(
        FieldKinds(request_kind),
        request(*lines, length=length),
        target=b"/p",
        host=b"up:80",
        via=b"1.1 fig-1",
        request_id=b"rid-12345",
        traceparent=b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
        peer_trusted=trusted,
        continues=continues,
    )
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def test_order_spelling_and_bytes_of_other_lines_are_kept() -> None:
    lines = sent((b"X-MiXeD", b"caf\xe9"), (b"Accept", b"a"), (b"accept", b"b"))
    assert lines[2:5] == [b"X-MiXeD: caf\xe9", b"Accept: a", b"accept: b"]


def test_hop_by_hop_fields_and_those_that_connection_names_are_removed() -> None:
    lines = sent(
        (b"Connection", b"close, x-hop"),
        (b"Connection", b"X-Other"),
        (b"X-Hop", b"1"),
        (b"X-OTHER", b"1"),
        (b"Keep-Alive", b"5"),
        (b"TE", b"gzip"),
        (b"Upgrade", b"h2c"),
        (b"Proxy-Authorization", b"x"),
        (b"Proxy", b"http://evil"),
    )
    assert not any(line.lower().startswith((b"connection", b"x-hop", b"x-other", b"keep", b"te:")) for line in lines)
    assert not any(line.lower().startswith((b"upgrade", b"proxy")) for line in lines)


def test_connection_cannot_remove_what_fig_adds() -> None:
    lines = sent((b"Connection", b"X-Forwarded-For, Host, Via, X-Request-ID, Content-Length"))
    assert b"X-Forwarded-For: 192.0.2.9" in lines
    assert b"Host: up:80" in lines
    assert b"Via: 1.1 fig-1" in lines
    assert b"X-Request-ID: rid-12345" in lines


def test_an_untrusted_client_cannot_say_where_it_came_from() -> None:
    lines = sent(
        (b"X-Forwarded-For", b"6.6.6.6"),
        (b"X-Forwarded-Host", b"evil"),
        (b"X-Forwarded-Prefix", b"/x"),
        (b"Forwarded", b"for=6.6.6.6"),
        (b"X-Real-IP", b"6.6.6.6"),
        (b"X_Forwarded_For", b"6.6.6.6"),
        (b"X-Fig-Side", b"extracted"),
    )
    text = b"\n".join(lines)
    assert b"6.6.6.6" not in text
    assert b"evil" not in text
    assert b"Prefix" not in text
    assert b"X-Fig" not in text
    assert b"X-Forwarded-Host: shop.example" in lines


def test_a_trusted_proxy_is_believed_and_extended() -> None:
    lines = sent(
        (b"X-Forwarded-For", b"203.0.113.5"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Port", b"443"),
        trusted=True,
    )
    assert b"X-Forwarded-For: 203.0.113.5, 192.0.2.9" in lines
    assert b"X-Forwarded-Proto: https" in lines
    assert b"X-Forwarded-Port: 443" in lines


OTHER_TARGETS = ((b"X-Original-URL", b"/admin"), (b"X-Rewrite-Url", b"/admin"))


def test_only_a_trusted_proxy_may_name_another_target() -> None:
    assert not any(b"/admin" in line for line in sent(*OTHER_TARGETS))
    assert [line for line in sent(*OTHER_TARGETS, trusted=True) if b"/admin" in line] == [
        b"%b: %b" % line for line in OTHER_TARGETS
    ]


CERTIFICATES = (
    (b"X-Forwarded-Client-Cert", b"Subject=CN=admin"),
    (b"x-forwarded-client-cert", b"Subject=CN=admin"),
    (b"X_Forwarded_Client_Cert", b"Subject=CN=admin"),
    (b"Client-Cert", b":YWRtaW4=:"),
    (b"Client-Cert-Chain", b":YWRtaW4=:"),
)


def test_only_a_trusted_proxy_may_say_which_certificate_a_client_has_shown() -> None:
    assert not any(b"cert" in line.lower() for line in sent(*CERTIFICATES))
    lines = sent(*CERTIFICATES, trusted=True)
    assert [line for line in lines if b"cert" in line.lower()] == [
        b"%b: %b" % line for line in CERTIFICATES if b"_" not in line[0]
    ]


def test_names_with_an_underscore_are_dropped() -> None:
    assert not any(line.startswith(b"X_User") for line in sent((b"X_User_Id", b"1")))


def test_a_tracestate_goes_only_with_its_own_trace() -> None:
    assert b"tracestate: a=1" in sent((b"tracestate", b"a=1"), continues=True)
    assert b"tracestate: a=1" not in sent((b"tracestate", b"a=1"))


def test_via_is_appended() -> None:
    assert b"Via: 1.0 old, 1.1 fig-1" in sent((b"Via", b"1.0 old"))


@given(st.lists(st.tuples(st.from_regex(rb"[A-Za-z0-9_-]{1,20}", fullmatch=True), st.binary(max_size=5)), max_size=20))
def test_one_host_one_framing_whatever_the_client_names(lines: Headers) -> None:
    clean = [(name, value.replace(b"\r", b"").replace(b"\n", b"")) for name, value in lines]
    names = [line.partition(b":")[0].lower() for line in sent(*clean, length=None)[1:]]
    assert names.count(b"host") == 1
    assert names.count(b"transfer-encoding") == 1
    assert names.count(b"content-length") == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"X-Anything", PASS),
        (b"Server", PASS),
        (b"WWW-Authenticate", PASS),
        (b"Keep-Alive", KEEP_ALIVE),
        (b"Proxy-Authenticate", DROP),
        (b"Upgrade", DROP),
        (b"X-Request-Id", DROP),
        (b"X-FIG-Side", DROP),
        (b"SET-COOKIE", LOCATED),
    ],
)
def test_a_response_line_is_known_by_name_in_any_spelling(name: bytes, kind: int) -> None:
    kinds = FieldKinds(response_kind)
    assert [kinds[name], kinds[name.lower()], kinds[name.upper()]] == [kind] * 3


def test_invented_names_do_not_grow_the_memory() -> None:
    kinds = FieldKinds(request_kind)
    for number in range(20_000):
        assert kinds[b"X-%d" % number] == PASS
    assert len(kinds) <= 4096


def test_a_date_is_made_once_a_second() -> None:
    date = DateField()
    first = date.at(0.2)
    assert first == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert date.at(0.9) is first
    assert date.at(1.0) == b"Thu, 01 Jan 1970 00:00:01 GMT"


INTERNAL = Internal(frozenset((b"catalog:8101",)), frozenset((b"catalog",)))


def moved(name: bytes, value: bytes) -> bytes:
    return relocate([(name, value)], INTERNAL, b"https://shop.example", lambda target: b"/api" + target)[0][1]


def test_a_location_that_names_an_endpoint_is_made_public() -> None:
    assert moved(b"Location", b"http://catalog:8101/x?y#z") == b"https://shop.example/api/x?y#z"
    assert moved(b"Content-Location", b"HTTP://CATALOG:8101") == b"https://shop.example"
    assert moved(b"location", b"//catalog:8101/x") == b"https://shop.example/api/x"


def test_other_locations_are_not_touched() -> None:
    for value in (b"/x", b"http://catalog/x", b"http://elsewhere/x?http://catalog:8101/", b"http://catalog:81010/"):
        assert moved(b"Location", value) == value


def test_a_cookie_domain_that_names_an_endpoint_is_dropped() -> None:
    assert moved(b"Set-Cookie", b"a=1; Domain=.Catalog; Path=/") == b"a=1; Path=/"
    assert moved(b"Set-Cookie", b"a=1; Domain=shop.example") == b"a=1; Domain=shop.example"
    assert moved(b"Set-Cookie", b"domain=catalog; Path=/") == b"domain=catalog; Path=/"


def test_a_shape_tells_what_goes_on_and_where_the_framing_stands() -> None:
    names = (b"Server", b"Content-Length", b"connection", b"Date", b"Set-Cookie", b"X-Fig-Side", b"Keep-Alive")
    shape = Shapes()[names]
    lines = [(name, b"%d" % number) for number, name in enumerate(names)]
    assert [name for name, _ in shape.keep(lines)] == [b"Server", b"Date", b"Set-Cookie"]
    assert (shape.length, shape.coding, shape.keepalive, shape.connections) == (1, -1, 6, (2,))
    assert (shape.dated, shape.located) == (True, True)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_shape_keeps_any_number_of_lines(count: int) -> None:
    lines = [(b"X-%d" % number, b"v") for number in range(count)] + [(b"Connection", b"close")]
    assert list(Shapes()[tuple(name for name, _ in lines)].keep(lines)) == lines[:-1]


@pytest.mark.parametrize("name", [b"Content-Length", b"Transfer-Encoding"])
def test_two_lines_that_frame_one_body_are_refused(name: bytes) -> None:
    with pytest.raises(UpstreamProtocol):
        Shapes()[(name, b"X", name)]


def test_invented_shapes_do_not_grow_the_memory() -> None:
    shapes = Shapes()
    for number in range(3000):
        shapes[(b"X-%d" % number,)]
    shapes[(b"y" * 100_000,)]
    assert len(shapes) <= 512
