from __future__ import annotations

import random
import uuid
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.shadow.answer import Answer, Ask
from proxy.shadow.compare import compare, varying
from proxy.shadow.difference import uncounted
from proxy.shadow.rules import Rules, compile_rules
from tests.support.pairs import ASK, answer, document, documents, found, verdict_of

NOW = 1_760_000_000.0
RULES = compile_rules({})


@pytest.mark.parametrize(
    ("control", "candidate", "verdict", "counts", "kind", "severities"),
    [
        (200, 404, "mismatch", True, "status", ["blocking"]),
        (200, 500, "mismatch", True, "status", ["blocking"]),
        (301, 302, "mismatch", True, "status", ["mismatch"]),
        (500, 500, "match", False, "both_error", []),
        (500, 503, "match", False, "both_error", []),
        (503, 302, "mismatch", False, "improvement", ["uncounted"]),
        (500, 404, "mismatch", True, "status", ["blocking"]),
        (304, 200, "mismatch", False, "conditional", ["uncounted"]),
        (304, 304, "match", False, "conditional", []),
    ],
)
def test_statuses(control: int, candidate: int, verdict: str, counts: bool, kind: str, severities: list[str]) -> None:
    more = {} if control == candidate else {"Vary": "a"}
    got = verdict_of(answer('{"a":1}', status=control), answer('{"a":2}', status=candidate, **more))
    assert (got.verdict, got.counts, got.kind) == (verdict, counts, kind)
    assert [one.severity for one in got.differences] == severities
    assert got.paths == (("status",) if severities else ())


def test_a_conditional_request_is_no_evidence() -> None:
    ask = Ask("GET", b"/", b"shop.example", conditional=True)
    differs = verdict_of(document({"a": 1}), document({"a": 2}), ask=ask)
    assert (differs.verdict, differs.counts, differs.kind, differs.paths) == (
        "mismatch",
        False,
        "conditional",
        ("body:$.a",),
    )
    equal = verdict_of(document(1), document(1), ask=ask)
    assert (equal.verdict, equal.counts, equal.paths) == ("match", False, ())


def test_bodies_of_errors_may_be_left_out() -> None:
    pair = (answer('{"a":1}', status=404), answer('{"a":2}', status=404, Allow="GET"))
    assert found(verdict_of(*pair, error_bodies="ignore")) == {("header:allow", "header")}
    assert verdict_of(document(1), document(2), error_bodies="ignore").kind == "value"


def test_another_kind_of_body_is_reported_alone() -> None:
    page = answer("<p>oops</p>", media="text/html")
    got = verdict_of(document({"a": 1}), page)
    assert (got.kind, got.paths, got.differences[0].severity) == ("content_type", ("header:content-type",), "blocking")
    named = answer('{"a":2}', media="application/hal+json")
    assert found(verdict_of(document({"a": 1}), named)) == {
        ("header:content-type", "content_type"),
        ("body:$.a", "value"),
    }


def test_head_has_no_body_to_compare() -> None:
    ask = Ask("HEAD", b"/", b"shop.example")
    assert verdict_of(answer("x"), answer(""), ask=ask).verdict == "match"
    assert verdict_of(answer("", media="text/html"), answer(""), ask=ask).kind == "content_type"


@pytest.mark.parametrize(("control", "candidate", "severity"), [("{}", "", "blocking"), ("", "{}", "mismatch")])
def test_a_body_against_none(control: str, candidate: str, severity: str) -> None:
    got = verdict_of(answer(control), answer(candidate))
    assert (got.kind, got.paths, got.differences[0].severity) == ("body", ("body",), severity)


def test_ignored_things() -> None:
    pair = (answer('{"a":1}', Vary="a"), answer('{"a":2}', Vary="b", media="text/plain"))
    assert found(verdict_of(*pair, ignore=["header:Vary", "header:content-type", "body"])) == set()
    assert found(verdict_of(document({"a": 1}), document({"a": 2}), ignore=["body:$.a"])) == set()


def test_the_worst_class_names_the_verdict() -> None:
    got = documents({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": "x"})
    assert (got.kind, set(got.paths)) == ("removed", {"body:$.a", "body:$.b", "body:$.c"})


def test_differences_of_one_template_are_one_with_a_count_and_both_sides() -> None:
    got = documents([{"p": i} for i in range(9)], [{"p": i + 1} for i in range(9)])
    (one,) = got.differences
    assert (one.path, one.count, one.formats, one.forgivable, one.rising) == ("body:$[*].p", 9, ("int",), True, True)
    assert one.control is not None and one.candidate is not None
    assert (one.control.type, one.control.excerpt, one.candidate.excerpt) == ("number", "0", "1")
    assert one.control.digest != one.candidate.digest


def test_excerpts_are_short_and_show_where_texts_part() -> None:
    got = documents({"s": "x" * 5000 + "\u00a0a"}, {"s": "x" * 5000 + " a"})
    (one,) = got.differences
    assert one.control is not None and one.candidate is not None
    assert one.control.excerpt.endswith('\\u00a0a"...') and one.candidate.excerpt.endswith(' a"...')
    assert len(one.control.excerpt) <= 200 and one.control.length == 5002


def ids(rid: Any, **more: Any) -> Answer:
    return document({"rid": rid, "v": 1, **more})


ID = [str(uuid.UUID(int=number << 64 | 7)) for number in range(1, 9)]


@pytest.mark.parametrize(
    ("rid", "kind"),
    [(ID[3], ""), (None, "type"), (17, "type"), ("n/a", "format"), ("", "format"), ("2024-01-01T00:00:00Z", "format")],
)
def test_noise_forgives_values_and_neither_types_nor_formats(rid: Any, kind: str) -> None:
    got = verdict_of(ids(ID[0]), ids(rid), ids(ID[1]))
    assert (got.kind, got.paths) == (kind, ("body:$.rid",) if kind else ())


def test_a_candidate_equal_to_either_control_matches() -> None:
    one, other = document({"t": "x", "n": [1]}), document({"t": None, "n": []})
    assert verdict_of(one, other).kind == "removed"
    assert verdict_of(one, other, other).verdict == "match"
    assert verdict_of(one, document({"t": None, "n": [1]}), other).verdict == "mismatch"


def test_noise_of_one_path_explains_no_other() -> None:
    got = verdict_of(ids(ID[0], w=1), ids(ID[2], w=2), ids(ID[1], w=1))
    assert got.paths == ("body:$.w",)


def test_an_order_that_the_control_does_not_keep_is_forgiven_but_no_element() -> None:
    one, second = document({"t": [1, 2, 3]}), document({"t": [2, 1, 3]})
    assert verdict_of(one, document({"t": [3, 2, 1]}), second).verdict == "match"
    assert verdict_of(one, document({"t": [3, 2, 9]}), second).paths == ("body:$.t[*]",)


def test_noise_in_pages_is_known_by_its_place() -> None:
    def page(token: str, title: str) -> Answer:
        return answer(f'<h1>{title}</h1><input name="csrf" value="{token}">', media="text/html")

    one, second = page("3f2c8c1e00aa11bb", "Shop"), page("9d1b7a2f00aa11bb", "Shop")
    assert verdict_of(one, page("0a0b0c0d00aa11bb", "Shop"), second).verdict == "match"
    assert verdict_of(one, page("0a0b0c0d00aa11bb", "Shap"), second).kind == "html"
    assert verdict_of(one, page("", "Shop"), second).kind == "html"


def test_noise_in_a_header_field() -> None:
    def at(place: str | None) -> Answer:
        return answer(status=302, media=None, **({"Location": place} if place else {}))

    one, second = at(f"/a/{ID[0]}"), at(f"/a/{ID[1]}")
    assert verdict_of(one, at(f"/a/{ID[2]}"), second).verdict == "match"
    assert verdict_of(one, at(None), second).kind == "header"


def test_bytes_that_the_control_does_not_repeat_are_not_comparable() -> None:
    one, second, candidate = (answer(data, "image/png") for data in (b"a", b"b", b"c"))
    assert verdict_of(one, candidate, one).kind == "opaque"
    got = verdict_of(one, candidate, second)
    assert (got.kind, got.counts) == ("not_comparable", False)
    assert verdict_of(one, second, second).verdict == "match"


def test_learned_noise_is_given_by_path_and_format() -> None:
    noisy = {"body:$.rid": frozenset(("uuid",))}
    assert compare(ASK, ids(ID[0]), ids(ID[1]), RULES, noisy=noisy).verdict == "match"
    assert compare(ASK, ids(ID[0]), ids("n/a"), RULES, noisy=noisy).kind == "format"
    assert compare(ASK, ids(ID[0], w=1), ids(ID[1], w=2), RULES, noisy=noisy).paths == ("body:$.w",)


def test_what_varies_is_told_with_formats() -> None:
    ask = Ask("GET", b"/", b"shop.example", at=NOW)
    one = document({"rid": ID[0], "at": "2025-10-09T08:53:21Z", "n": 1, "same": 1, "x": "a"})
    other = document({"rid": ID[1], "at": "2025-10-09T08:53:22Z", "n": 2, "same": 1, "x": None})
    got = {one.path: (one.kind, one.formats, one.forgivable) for one in varying(ask, one, other, RULES)}
    assert got == {
        "body:$.rid": ("value", ("uuid",), True),
        "body:$.at": ("value", ("datetime_now",), True),
        "body:$.n": ("value", ("int",), True),
        "body:$.x": ("type", (), False),
    }


def test_random_ids_times_and_shuffled_tags_never_count() -> None:
    chance = random.Random(7)
    ask = Ask("GET", b"/", b"shop.example", at=NOW)

    def reply() -> Answer:
        tags = ["a", "b", "c"]
        chance.shuffle(tags)
        return document({
            "id": str(uuid.UUID(int=chance.getrandbits(128))), "hex": f"{chance.getrandbits(32):08x}",
            "token": "".join(chance.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", k=16)),
            "at": f"2025-10-09T08:53:{chance.randrange(60):02d}.{chance.randrange(1000):03d}Z", "tags": tags,
            "load": chance.choice([0, 1, 0.5, chance.random()]), "price": 3.5,
        })  # fmt: skip

    rules = compile_rules({"unordered": {"$.tags": True}})
    noisy = {
        "body:$.id": frozenset(("uuid",)), "body:$.hex": frozenset(("hex",)), "body:$.token": frozenset(("token",)),
        "body:$.at": frozenset(("datetime_now",)), "body:$.load": frozenset(("decimal",)),
    }  # fmt: skip
    wrong = [v for v in (compare(ask, reply(), reply(), rules, noisy=noisy) for _ in range(2000)) if v.kind]
    assert wrong == []


def test_a_body_over_the_cap_is_compared_by_hash() -> None:
    whole = b"x" * 100
    same = Answer(200, ((b"Content-Type", b"text/plain"),), whole[:10], True, 100, sha256(whole).digest())
    other = Answer(200, same.headers, whole[:10], True, 100, sha256(b"y").digest())
    cut = Answer(200, same.headers, whole[:10], True)
    longer = Answer(200, same.headers, whole[:10], True, 101)
    assert verdict_of(same, same).verdict == "match"
    assert verdict_of(same, answer(whole, "text/plain")).verdict == "match"
    assert (verdict_of(same, other).kind, verdict_of(same, other).counts) == ("opaque", True)
    assert (verdict_of(same, cut).kind, verdict_of(same, cut).counts) == ("not_comparable", False)
    assert verdict_of(same, longer).kind == "opaque"


def test_other_bytes_over_the_cap_say_nothing_of_documents() -> None:
    got = verdict_of(document({"a": 1, "b": 2}), document({"b": 2, "a": 1}), max_body_bytes=4)
    assert (got.verdict, got.counts, got.kind, got.paths) == ("mismatch", False, "not_comparable", ("body",))
    assert verdict_of(document({"a": 1}), document({"a": 1}), max_body_bytes=4).verdict == "match"


def test_a_crash_is_a_counted_difference() -> None:
    class Broken(Rules):
        def statuses_equal(self, one: int, other: int) -> bool:
            raise ZeroDivisionError("planted")

    got = compare(ASK, document(1), document(2), Broken(RULES.root))
    assert (got.verdict, got.counts, got.kind) == ("mismatch", True, "compare_error")
    assert got.differences[0].candidate is not None
    assert "ZeroDivisionError: planted" in got.differences[0].candidate.excerpt


def test_a_pair_that_never_was_complete() -> None:
    got = uncounted("shadow_timeout")
    assert (got.verdict, got.counts, got.kind, got.paths) == ("mismatch", False, "shadow_timeout", ("body",))


NAMES = b"Content-Type content-encoding Location Set-Cookie Link Vary WWW-Authenticate Content-Disposition X".split()
NAMES += [b"Content-Security-Policy", b"Strict-Transport-Security"]
VALUES = [b"application/json", b"text/html", b"text/plain; charset=utf-16", b"text/xml", b"application/x-ndjson", b"br"]
VALUES += [b"text/html; charset=rot13", b"gzip", b"deflate, gzip", b"http://[", b"//h:99999999/", b"a=b; Path=/"]
fields = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.binary(max_size=20)), max_size=4)
bodies = st.binary(max_size=60) | st.text("<>!-&;#0aé/\"' =\n[]{}:,\\u", max_size=60).map(str.encode)
answers = st.builds(Answer, st.sampled_from([200, 204, 302, 404, 500]), fields.map(tuple), bodies)


@given(answers, answers, st.none() | answers, st.binary(max_size=20), st.binary(max_size=10))
def test_nothing_raises_and_the_verdict_is_symmetric(
    one: Answer, other: Answer, second: Answer | None, target: bytes, host: bytes
) -> None:
    ask = Ask("GET", target, host, at=NOW)
    got = compare(ask, one, other, RULES, second)
    assert got.kind != "compare_error", got
    assert (got.verdict == "match") == (not got.paths)
    if second is None and one.status < 500 and other.status < 500:
        assert compare(ask, other, one, RULES).verdict == got.verdict


@given(answers)
def test_an_answer_matches_itself(one: Answer) -> None:
    assert compare(ASK, one, one, RULES).verdict == "match"
