from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import AmbiguousPath, BadRequest
from proxy.routing.path import canonical, readings, split_target

PIECES = ["a", "b", "admin", "/", "//", ".", "..", "/../", "/./", "\\", ";", ";x=1"]
PIECES += ["%2F", "%2f", "%5C", "%3B", "%2e", "%41"]
hostile_paths = st.lists(st.sampled_from(PIECES), max_size=7).map(lambda pieces: ("/" + "".join(pieces)).encode())


@pytest.mark.parametrize("path", [b"/", b"/a", b"/a/", b"/api/products/42", b"/a:b@c,d=e!", b"/a.b/c..d/x~"])
def test_a_clean_path_has_one_reading_and_that_is_itself(path: bytes) -> None:
    assert readings(path) == (path,)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/%61pi/%7Euser", b"/api/~user"),
        (b"/users/%40me", b"/users/@me"),
        (b"/caf%c3%a9", b"/caf%C3%A9"),
        ("/café".encode(), b"/caf%C3%A9"),
        (b"/a%20b", b"/a%20b"),
        (b"/100%25", b"/100%25"),
        (b"/%252e%252e", b"/%252e%252e"),
        (b"/{id}", b"/%7Bid%7D"),
        (b"/.well-known/x", b"/.well-known/x"),
    ],
)
def test_one_octet_has_one_spelling(path: bytes, expected: bytes) -> None:
    assert readings(path) == (expected,)


@pytest.mark.parametrize(
    ("path", "others"),
    [
        (b"/a//b", {b"/a/b"}),
        (b"//admin", {b"/admin"}),
        (b"/a/../b", {b"/b"}),
        (b"/a/./b", {b"/a/b"}),
        (b"/a/..", {b"/"}),
        (b"/a/b/..", {b"/a/"}),
        (b"/a/.", {b"/a/"}),
        (b"/../../a", {b"/a"}),
        (b"/a;v=1/b", {b"/a/b"}),
        (b"/a\\b", {b"/a/b"}),
        (b"/a%2fb", {b"/a/b"}),
        (b"/a%5cb", {b"/a/b"}),
        (b"/a%3bv/b", {b"/a/b"}),
        (b"/pub/..;/admin", {b"/pub/../admin", b"/admin"}),
        (b"/x//..//admin", {b"/x/../admin", b"/x//admin", b"/x/admin", b"/admin"}),
    ],
)
def test_other_readings_follow_the_path_as_sent(path: bytes, others: set[bytes]) -> None:
    first, *rest = readings(path)
    assert first == canonical(path)
    assert set(rest) == others


def test_encoded_dots_count_as_dots() -> None:
    assert readings(b"/a/%2e%2E/b") == (b"/a/../b", b"/b")


def test_a_notation_counts_by_itself_even_where_all_of_them_together_look_harmless() -> None:
    path = b"/pub/x%2F..%2F..%2Fadmin/y%5C..%5C..%5C..%5C..%5Cpub%5Cx"
    assert any(reading.startswith(b"/admin/") for reading in readings(path))


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        (b"", "start with /"),
        (b"a/b", "start with /"),
        (b"*", "start with /"),
        (b"/a%", "escape at byte 2"),
        (b"/a%4", "escape at byte 2"),
        (b"/a%zz", "escape at byte 2"),
        (b"/a#b", "fragment at byte 2"),
        (b"/a b", "space or control"),
        (b"/a\x00", "space or control"),
        (b"/a\r\nb", "space or control"),
        (b"/a\x7f", "space or control"),
        (b"/a%00", "space or control"),
        (b"/a%0d%0a", "space or control"),
        (b"/a%1F", "space or control"),
        (b"/a%7f", "space or control"),
    ],
)
def test_what_is_no_path_is_refused(path: bytes, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        readings(path)


def test_a_long_path_with_many_readings_is_refused_rather_than_worked_through() -> None:
    with pytest.raises(AmbiguousPath, match="too many readings"):
        readings(b"/a/../b//c;d%2Fe%5Cf\\" + b"/x" * 30_000)


def test_a_long_path_with_one_reading_is_fine() -> None:
    path = b"/caf%C3%A9" + b"/x" * 100_000
    assert readings(path) == (path,)


@given(hostile_paths)
def test_readings_are_distinct_paths_and_the_first_is_canonical(path: bytes) -> None:
    found = readings(path)
    assert found[0] == canonical(path)
    assert len(set(found)) == len(found)
    assert all(reading.startswith(b"/") for reading in found)


@given(st.binary(max_size=12).map(lambda tail: b"/" + tail))
def test_any_bytes_either_have_a_stable_canonical_reading_or_are_refused(path: bytes) -> None:
    try:
        first = readings(path)[0]
    except BadRequest:
        return
    assert canonical(first) == first
    assert unquote_to_bytes(first) == unquote_to_bytes(path)


def resolved(path: str) -> str:
    """RFC 3986 5.2.4, as its own pseudocode writes it."""
    rest, output = path, ""
    while rest:
        if rest.startswith("/./") or rest == "/.":
            rest = "/" + rest[3:]
        elif rest.startswith("/../") or rest == "/..":
            rest, output = "/" + rest[4:], output.rpartition("/")[0]
        else:
            segment = re.match("/?[^/]*", rest)
            assert segment is not None
            output, rest = output + segment[0], rest[segment.end() :]
    return output or "/"


def unescaped(path: str) -> str:
    """Decoded once, as a server does it before it looks at segments."""
    return unquote_to_bytes(path).decode()


def nginx(path: str) -> str:
    return resolved(re.sub("//+", "/", unescaped(path)))


def envoy(path: str) -> str:
    return re.sub("//+", "/", resolved(path.replace("%2e", ".").replace("\\", "/")))


def tomcat(path: str) -> str:
    return resolved(re.sub("//+", "/", unescaped(re.sub("%2[Ff]", "%252F", re.sub(";[^/]*", "", path)))))


def iis(path: str) -> str:
    return resolved(re.sub("//+", "/", unescaped(path).replace("\\", "/")))


def comparable(path: str) -> str:
    """Decoded, but for a slash or backslash that is no separator."""
    return unescaped(re.sub("%2[Ff]", "%252F", path).replace("%5C", "\\")).replace("\\", "%5C")


@pytest.mark.parametrize("server", [nginx, envoy, tomcat, iis])
@given(path=hostile_paths)
def test_what_a_known_server_makes_of_a_path_is_among_its_readings(server: Callable[[str], str], path: bytes) -> None:
    assert comparable(server(path.decode())) in {comparable(reading.decode()) for reading in readings(path)}


@given(st.text(alphabet="abc/.~-_", max_size=20).map(lambda tail: f"/{tail}"))
def test_escaping_every_octet_changes_no_reading(path: str) -> None:
    escaped = "".join(character if character == "/" else f"%{ord(character):02x}" for character in path)
    assert readings(escaped.encode()) == readings(path.encode())


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/a", (b"/a", None)),
        (b"/a?", (b"/a", b"")),
        (b"/a?b=1?c", (b"/a", b"b=1?c")),
        (b"?b", (b"", b"b")),
    ],
)
def test_a_target_splits_at_its_first_question_mark(target: bytes, expected: tuple[bytes, bytes | None]) -> None:
    assert split_target(target) == expected
