from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.shadow.markup import NoMarkup, TooMuchMarkup, html_tokens, xml_tokens
from tests.support.pairs import JSON, answer, found, verdict_of

HTML, XML, TEXT = "text/html", "application/xml", "text/plain"
META = '<meta charset="latin1"><p>é'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<p>a  b\n c</p>", "<p>a b c</p>"),
        ("<BR/><IMG SRC=x>", '<br><img src="x">'),
        ("<input disabled>", '<input disabled="">'),
        ("<p><!-- a --><b>x</b></p>", "<p><b>x</b><!-- other --></p>"),
        ("<p>a<!-- x -->b</p>", "<p>ab</p>"),
        ("<!DOCTYPE html>\n<p>", "<!doctype HTML><p>"),
        ("<a href='?a=1&amp;b=2'>", '<a href="?a=1&b=2">'),
        ("<p>1 < 2 & 3</p>", "<p>1 &lt; 2 &amp; 3</p>"),
        ("<ul>\n <li>a\n</ul>", "<ul><li>a </ul>"),
    ],
)
def test_pages_that_show_the_same(one: str, other: str) -> None:
    assert verdict_of(answer(one, HTML), answer(other, HTML)).verdict == "match"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<pre>a  b</pre>", "<pre>a b</pre>"),
        ("<textarea>a\n</textarea>", "<textarea>a</textarea>"),
        ("<script>a  = '&lt;'</script>", "<script>a = '<'</script>"),
        ("<b>a</b> <i>b</i>", "<b>a</b><i>b</i>"),
        ("<a title='\"x\"'>", "<a title=x>"),
        ("<p>a</p>", "<p>a"),
        ("<svg><g/></svg>", "<svg><g></svg>"),
        ("<p>a</p><!-- never ends", "<p>a</p>"),
        ("<p>a</p><script>x", "<p>a</p><script>y"),
        ("<a b='1' b='2'>", "<a b='1'>"),
        ("<p class='a b'>", "<p class='b a'>"),
        ("<p 'x>y</p>", "<p>y</p>"),
    ],
)
def test_pages_that_do_not(one: str, other: str) -> None:
    got = verdict_of(answer(one, HTML), answer(other, HTML))
    assert (got.kind, got.paths) == ("html", ("body",))


def test_rules_for_pages() -> None:
    one, other = (
        f'<input name="csrf" value="{token}"><a href="{host}/x">' for token, host in (("a", "http://o:1"), ("b", ""))
    )
    pair = (answer(one, HTML), answer(other, HTML))
    ignore = ['<input[^>]*name="csrf"[^>]*>']
    assert verdict_of(*pair, html_ignore=ignore).kind == "html"
    assert verdict_of(*pair, html_ignore=ignore, rewrite=[["^http://o:1", ""]]).verdict == "match"
    assert verdict_of(answer("<br/>", HTML), answer("<br>", HTML), html="exact").kind == "html"


PIECES = """<p> </p> <b x='1'> a < > & ' " = / <!-- --> <!x <script> </script> <pre> ;""".split()  # noqa: SIM905


@given(st.lists(st.sampled_from([*PIECES, " ", "\n"])))
def test_any_text_has_tokens_and_all_of_it_counts(parts: list[str]) -> None:
    text = "".join(parts)
    assert html_tokens(text) == html_tokens(text)
    assert html_tokens(f"{text}<i>") != html_tokens(f"{text}<u>") or "<" in text


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("<a><![CDATA[x]]></a>", "<a>x</a>", ""),
        ("<?xml version='1.0'?><a>&#65;<!-- c --></a>", "<a>A</a>", ""),
        ('<a xmlns:u="urn:unused"/>', "<a/>", ""),
        ('<p:a xmlns:p="urn:x"/>', '<p:a xmlns:p="urn:y"/>', "xml"),
        ('<p:a xmlns:p="urn:x"/>', '<q:a xmlns:q="urn:x"/>', "xml"),
        ("<a> <b/></a>", "<a><b/></a>", "xml"),
        ("<a x='1'/>", "<a x='2'/>", "xml"),
        ("<a/>", "<a>", "unparseable"),
        ("<a", "<b", "xml"),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "<!DOCTYPE a [<!ENTITY x 'y'>]><a>y</a>", "xml"),
        ("\ufeff<a/>", "<a></a>", ""),
        ("<?xml version='1.0' encoding='latin-1'?><a>\u00e9</a>".encode("latin-1"), "<a>\u00e9</a>".encode(), ""),
    ],
)
def test_xml(one: str | bytes, other: str | bytes, kind: str) -> None:
    assert verdict_of(answer(one, XML), answer(other, XML)).kind == kind


def test_xml_entities_are_never_expanded() -> None:
    bomb = "<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
        f"<!ENTITY {chr(98 + i)} '{f'&{chr(97 + i)};' * 10}'>" for i in range(9)
    )
    with pytest.raises(TooMuchMarkup):
        xml_tokens(bomb + "]><a>&j;</a>")
    with pytest.raises(TooMuchMarkup):
        xml_tokens("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>")
    with pytest.raises(NoMarkup):
        xml_tokens("<!DOCTYPE a SYSTEM 'http://x.example/a.dtd'><a>&x;</a>x")
    with pytest.raises(TooMuchMarkup):
        xml_tokens("<a>" * 1000 + "</a>" * 1000)


@pytest.mark.parametrize(
    ("one", "other", "rules", "kind"),
    [
        ("a\r\nb", "a\nb", {}, "text"),
        ("a\r\nb", "a\rb", {"text": {"newlines": "normalize"}}, ""),
        ("a\n", "a", {"text": {"newlines": "normalize"}}, "text"),
        ("see http://o:1/x", "see /x", {"rewrite": [["http://o:1", ""]]}, ""),
        ("\ufeffa", "a", {}, "text"),
    ],
)
def test_plain_text(one: str, other: str, rules: dict[str, object], kind: str) -> None:
    assert verdict_of(answer(one, TEXT), answer(other, TEXT), **rules).kind == kind


@pytest.mark.parametrize(
    ("one", "one_type", "other", "other_type", "kind"),
    [
        ("é".encode("latin-1"), "text/plain; charset=ISO-8859-1", "é".encode(), "text/plain; charset=utf-8", ""),
        ("€".encode("cp1252"), "text/plain; charset=latin1", "€".encode(), "text/plain; charset=utf-8", ""),
        ("é".encode(), "text/plain; charset=latin1", "é".encode(), "text/plain; charset=utf-8", "text"),
        ("é".encode("latin-1"), "text/plain", "é".encode(), "text/plain", "text"),
        (META.encode("latin-1"), HTML, META.encode(), "text/html; charset=utf-8", ""),
        ('{"a":"é"}'.encode("utf-16"), "application/json; charset=utf-16", '{"a": "é"}'.encode(), JSON, ""),
        (b'{"a":"\xff"}', JSON, b'{"a":"b"}', JSON, "decode_error"),
        (b'{"a":"\xff"}', JSON, b'{"a":"\xfe"}', JSON, "opaque"),
        (b"\xef\xbb\xbf[1]", JSON, b"\xef\xbb\xbf[ 1]", JSON, ""),
        (b"x", "text/plain; charset=no-such", b"y", "text/plain; charset=no-such", "text"),
    ],
)  # fmt: skip
def test_charsets(one: bytes, one_type: str, other: bytes, other_type: str, kind: str) -> None:
    assert verdict_of(answer(one, one_type), answer(other, other_type)).kind == kind


def test_lines_of_json() -> None:
    media = "application/x-ndjson"
    one = '{"a":1}\n{"a":2}\n'
    assert found(verdict_of(answer(one, media), answer('{"a":1}\r\n\n{"a":3}', media))) == {("body:$[*].a", "value")}
    assert found(verdict_of(answer(one, media), answer('{"a":2}\n{"a":1}', media))) == {("body:$", "order")}
    assert verdict_of(answer(one, media), answer('{"a":2}\n{"a":1}', media), unordered={"$": True}).verdict == "match"
    assert verdict_of(answer(one, media), answer('{"a":1}\n{"a":', media)).kind == "unparseable"


@pytest.mark.parametrize(
    ("one", "other", "kind"), [("{a:1}", "{a:2}", "text"), ("[1", "[1]", "unparseable"), ("[]", "x", "unparseable")]
)
def test_what_is_no_json(one: str, other: str, kind: str) -> None:
    assert verdict_of(answer(one), answer(other)).kind == kind
