"""What a body may cost: bounded, whatever it is."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Callable

import pytest

from proxy.shadow.answer import Answer
from proxy.shadow.decode import MOST_BYTES, content_of
from tests.support.pairs import answer, verdict_of

MIB = 1 << 20
CAP = MIB


def coded(body: bytes, coding: str, media: str = "application/json") -> Answer:
    return answer(body, media, Content_Encoding=coding)


def raw_deflate(body: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-15)
    return compress.compress(body) + compress.flush()


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(b"[1,2]"), "GZIP"),
        (gzip.compress(b"[1,") + gzip.compress(b"2]"), "x-gzip"),
        (gzip.compress(b"[1,2]") + b"\0\0", "gzip"),
        (zlib.compress(b"[1,2]"), "deflate"),
        (raw_deflate(b"[1,2]"), "deflate"),
        (gzip.compress(zlib.compress(b"[1,2]")), "deflate, gzip"),
        (b"[1,2]", "identity"),
    ],
)
def test_codings(body: bytes, coding: str) -> None:
    assert verdict_of(coded(body, coding), answer("[1, 2]")).verdict == "match"


@pytest.mark.parametrize("body", [gzip.compress(b"[1,2]")[:-3], b"\x1f\x8b", b"x", gzip.compress(b"[1]") + b"junk"])
def test_a_body_that_is_not_what_its_coding_says(body: bytes) -> None:
    got = verdict_of(answer("[1,2]"), coded(body, "gzip"))
    assert (got.kind, got.paths, got.counts) == ("decode_error", ("body",), True)
    assert verdict_of(coded(body, "gzip"), coded(body, "gzip")).verdict == "match"
    assert verdict_of(coded(body, "gzip"), coded(b"y", "gzip")).kind == "opaque"


def test_an_unknown_coding_is_compared_as_bytes_where_both_have_it() -> None:
    assert verdict_of(coded(b"a", "br"), coded(b"a", "br")).verdict == "match"
    assert verdict_of(coded(b"a", "br"), coded(b"b", "br")).kind == "opaque"
    got = verdict_of(coded(b"a", "br"), answer("[1]"))
    assert (got.kind, got.counts) == ("not_comparable", False)


def test_a_bomb_is_given_up_in_bounded_memory() -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    content = content_of(coded(bomb, "gzip"), CAP)
    assert (content.data, content.problem) == (None, "too_much")
    twice = gzip.compress(gzip.compress(bytes(1024 * MIB >> 4)))
    assert content_of(coded(twice, "gzip, gzip"), CAP).problem == "too_much"
    assert content_of(coded(bomb, ", ".join(["gzip"] * 5)), CAP).problem == "too_much"
    got = verdict_of(answer("[1]"), coded(bomb, "gzip"))
    assert (got.kind, got.counts) == ("not_comparable", False)


def test_a_body_that_unpacks_beyond_the_cap_is_hashed() -> None:
    whole = b"x" * (2 * MIB)
    assert 2 * MIB < MOST_BYTES
    content = content_of(coded(gzip.compress(whole), "gzip"), CAP)
    assert (content.data, content.length) == (None, 2 * MIB)
    text = "text/plain"
    other = gzip.compress(whole, 1)
    assert verdict_of(coded(gzip.compress(whole), "gzip", text), coded(other, "gzip", text)).verdict == "match"
    assert verdict_of(coded(gzip.compress(whole), "gzip", text), answer(whole, text)).verdict == "match"
    assert verdict_of(coded(gzip.compress(whole), "gzip", text), answer(whole + b"y", text)).kind == "opaque"


def deep(levels: int, leaf: str) -> str:
    return "[" * levels + leaf + "]" * levels


@pytest.mark.parametrize(
    ("levels", "kind"), [(64, "value"), (65, "opaque"), (300, "opaque"), (1500, "opaque"), (100_000, "opaque")]
)
def test_depth(levels: int, kind: str) -> None:
    assert verdict_of(answer(deep(levels, "1")), answer(deep(levels, "2"))).kind == kind


def test_deep_documents_that_are_surely_equal_match() -> None:
    assert verdict_of(answer(deep(100, "1")), answer(deep(100, " 1"))).verdict == "match"


def test_nodes() -> None:
    many = list(range(60_000))
    assert verdict_of(answer(json.dumps(many)), answer(json.dumps([*many[:-1], 0]))).kind == "opaque"
    assert verdict_of(answer(json.dumps(many)), answer(json.dumps(many, indent=0))).verdict == "match"
    some = list(range(40_000))
    assert verdict_of(answer(json.dumps(some)), answer(json.dumps([*some[:-1], 0]))).kind == "value"


def page(unit: str) -> Callable[[], tuple[Answer, Answer]]:
    text = unit * (MIB // len(unit))
    return lambda: (answer(text + "a", "text/html"), answer(text + "b", "text/html"))


def tree(one: str, other: str) -> Callable[[], tuple[Answer, Answer]]:
    return lambda: (answer(one), answer(other))


def names(first: int) -> str:
    return json.dumps({f"k{i}": i + first for i in range(24_000)})


def items(first: int) -> str:
    return json.dumps([{"id": i, "p": [i + first, i + 1]} for i in range(9000)])


def lists(length: int, first: int) -> str:
    return json.dumps([[{"id": first + i, "k": i} for i in range(length)] for _ in range(120)])


def repeated(last: int) -> str:
    return "{" + '"a":1,' * 50_000 + f'"a":{last}}}'


HOSTILE: dict[str, tuple[str, Callable[[], tuple[Answer, Answer]]]] = {
    "unclosed comments": ("html", page("<!--")),
    "unclosed tags": ("html", page("<a ")),
    "unclosed quotes": ("html", page("<a b='")),
    "unclosed declarations": ("html", page("<!")),
    "unclosed scripts": ("html", page("<script>")),
    "mixed quotes": ("html", page("<a b=\"' c='\"> ")),
    "ampersands": ("html", page("&")),
    "long references": ("html", lambda: (answer("&#" + "9" * MIB, "text/html"), answer("&#" + "8" * MIB, "text/html"))),
    "spaces in a tag": ("html", lambda: (answer("<a" + " " * MIB + "b>", "text/html"), answer("<a>", "text/html"))),
    "equal signs": ("html", lambda: (answer("<a" + " =" * (MIB // 2) + ">", "text/html"), answer("<a>", "text/html"))),
    "nested xml": ("xml", lambda: (answer("<a>" * 300_000, "text/xml"), answer("<b>" * 300_000, "text/xml"))),
    "alternating arrays": ("removed", tree(json.dumps([0, 1] * 1000), json.dumps([1, 0] * 999))),
    "nothing in common": ("removed", tree(json.dumps(list(range(1900))), json.dumps(list(range(3000, 4890))))),
    "everything differs": ("value", tree(items(0), items(2))),
    "many alignments": ("removed", tree(lists(100, 0), lists(99, 500))),
    "a huge number": ("value", tree("1" * MIB, "1" * (MIB - 1) + "2")),
    "a huge exponent": ("", tree("[1e999999999999]", "[1.0E+999999999999]")),
    "many names": ("value", tree(names(0), names(1))),
    "one name again and again": ("duplicate_key", tree(repeated(1), repeated(2))),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "make"), HOSTILE.values(), ids=HOSTILE.keys())
def test_time_is_bounded(kind: str, make: Callable[[], tuple[Answer, Answer]]) -> None:
    one, other = make()
    began = time.process_time()
    got = verdict_of(one, other, max_body_bytes=2 * MIB)
    assert time.process_time() - began < 5.0  # a fraction of a second on an idle core
    assert got.kind == kind
