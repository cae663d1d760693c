"""Two bodies of one kind: unpacked, read and compared as what they are. Knows no header but through its parameters.

What cannot be read is compared as bytes; what was not kept, by hash and length; and where neither says anything of
what a client would see, the pair is `not_comparable`, which is evidence for nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from proxy.shadow.answer import Answer
from proxy.shadow.characters import as_utf8, known_charset, read_characters
from proxy.shadow.compare_json import compare_trees
from proxy.shadow.compare_text import compare_html, compare_text, compare_xml
from proxy.shadow.decode import Content, Family, charset, codings_of, content_of, family_of, is_empty, media_type
from proxy.shadow.difference import MISSING, Found
from proxy.shadow.json_tree import BOM, SORTED, TooMuch, Unparseable, proved_equal, read_tree
from proxy.shadow.rules import Rules


def compare_bodies(control: Answer, candidate: Answer, left: bytes, right: bytes, rules: Rules, found: Found) -> None:
    """`left` and `right` are the Content-Type of each side, b"" for none; their media types are of one family."""
    if is_empty(control) or is_empty(candidate):
        if is_empty(control) != is_empty(candidate):
            gone = is_empty(candidate)
            one, other = control.body or MISSING, candidate.body or MISSING
            found.add("body", "body", one, other, severity="blocking" if gone else "mismatch")
        return
    whole = not control.truncated and not candidate.truncated
    if whole and control.body == candidate.body and left == right and codings_of(control) == codings_of(candidate):
        return
    family = family_of(media_type(left) or media_type(right))
    one_content = content_of(control, rules.max_body_bytes)
    other_content = content_of(candidate, rules.max_body_bytes)
    if one_content.problem or other_content.problem:
        _compare_undecoded(control, candidate, one_content, other_content, found)
    elif one_content.data is None or other_content.data is None:
        _compare_hashes(control, candidate, one_content, other_content, family, rules, found)
    else:
        _compare_contents(one_content.data, other_content.data, left, right, family, rules, found)


def _compare_undecoded(control: Answer, candidate: Answer, one: Content, other: Content, found: Found) -> None:
    """A coding that cannot be undone: wrong on one side is an error of it, else only equal bytes are comparable."""
    broken = (one.problem == "broken", other.problem == "broken")
    if broken[0] != broken[1]:
        found.add("body", "decode_error", control.body, candidate.body)
    elif codings_of(control) == codings_of(candidate) and not control.truncated and not candidate.truncated:
        too_much = "too_much" in (one.problem, other.problem)
        if control.body != candidate.body:
            found.add("body", "not_comparable" if too_much else "opaque", control.body, candidate.body)
    else:
        found.add("body", "not_comparable", control.body, candidate.body)


def _compare_hashes(
    control: Answer, candidate: Answer, one: Content, other: Content, family: Family, rules: Rules, found: Found
) -> None:
    """Over the cap. Equal hashes are equal bodies; other bytes are another body only where bytes are what counts."""
    left, right = _hash(one), _hash(other)
    if left is not None and left == right:
        return
    wires = [answer.sha256 for answer in (control, candidate) if answer.truncated]
    if len(wires) == 2 and None not in wires and wires[0] == wires[1] and codings_of(control) == codings_of(candidate):
        return
    lengths = (one.length, other.length)
    known = (left is not None and right is not None) or (None not in lengths and lengths[0] != lengths[1])
    exact = family == "bytes" or (family == "text" and not rules.normal_newlines and not rules.rewrites)
    found.add("body", "opaque" if known and exact else "not_comparable", control.body, candidate.body)


def _hash(content: Content) -> bytes | None:
    if content.sha256 is None and content.data is not None:
        return sha256(content.data).digest()
    return content.sha256


def _compare_contents(
    one: bytes, other: bytes, left: bytes, right: bytes, family: Family, rules: Rules, found: Found
) -> None:
    labels = known_charset(charset(left)), known_charset(charset(right))
    if one == other and (labels[0] == labels[1] or one.isascii()):
        return
    if family == "json":
        _compare_json(one, other, labels, rules, found)
    elif family == "ndjson":
        _compare_lines(one, other, rules, found)
    elif family == "bytes":
        found.add("body", "opaque", one, other)
    else:
        _compare_texts(one, other, labels, family, rules, found)


def _compare_json(one: bytes, other: bytes, labels: tuple[str | None, str | None], rules: Rules, found: Found) -> None:
    left, right = as_utf8(one, labels[0]), as_utf8(other, labels[1])
    marks = [data is not None and data.startswith(BOM) for data in (left, right)]
    if marks[0] != marks[1] and left is not None and right is not None:
        found.add("body", "unparseable", one, other)  # strict parsers refuse the mark, RFC 8259 8.1
        return
    trees = [_tree(data.removeprefix(BOM) if data is not None else None) for data in (left, right)]
    _compare_read(trees[0], trees[1], one, other, rules, found)


def _compare_lines(one: bytes, other: bytes, rules: Rules, found: Found) -> None:
    """A document a line: compared as one array of them."""
    documents = [[_tree(line) for line in data.split(b"\n") if line.strip()] for data in (one, other)]
    trees: list[Any] = [next((one for one in found if type(one) is _Problem), found) for found in documents]
    _compare_read(trees[0], trees[1], one, other, rules, found)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why there is no tree."""

    kind: str


def _tree(data: bytes | None) -> Any:
    if data is None:
        return _Problem("decode_error")
    try:
        return read_tree(data)
    except UnicodeDecodeError:
        return _Problem("decode_error")
    except Unparseable:
        return _Problem("unparseable")
    except TooMuch:
        return _Problem("too_much")


def _compare_read(left: Any, right: Any, one: bytes, other: bytes, rules: Rules, found: Found) -> None:
    problems = [tree.kind for tree in (left, right) if type(tree) is _Problem]
    if not problems:
        try:
            compare_trees(left, right, rules, found)
        except TooMuch:
            if not proved_equal(left, right, SORTED):
                found.add("body", "opaque", one, other)
    elif problems == ["unparseable", "unparseable"]:
        compare_text(one.decode(), other.decode(), rules, found)
    elif len(problems) == 2 and problems[0] == problems[1]:
        found.add("body", "opaque", one, other)
    else:
        worst = next((kind for kind in ("decode_error", "unparseable") if kind in problems), "opaque")
        found.add("body", worst, one, other)


def _compare_texts(
    one: bytes, other: bytes, labels: tuple[str | None, str | None], family: Family, rules: Rules, found: Found
) -> None:
    (left, left_declared), (right, right_declared) = (
        read_characters(data, label, family) for data, label in ((one, labels[0]), (other, labels[1]))
    )
    if left is None or right is None:
        both = left is None and right is None
        found.add("body", "opaque" if both else "decode_error", one, other)
        return
    if not left_declared and not right_declared and (_is_latin(left, one) or _is_latin(right, other)):
        left, right = one.decode("latin-1"), other.decode("latin-1")
    {"html": compare_html, "xml": compare_xml}.get(family, compare_text)(left, right, rules, found)


def _is_latin(text: str, data: bytes) -> bool:
    """Whether it was read byte by byte."""
    return len(text) == len(data) and not text.isascii()
