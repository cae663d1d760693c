"""Nothing of what people said is kept, but where the operator has said so; and what is kept is bounded."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.shadow.answer import Answer, Ask
from proxy.shadow.exemplar import exemplar
from proxy.shadow.ledger import Ledger
from proxy.shadow.redact import (
    MOST_BODY_CHARACTERS,
    Storing,
    redacted_body,
    redacted_headers,
    redacted_path,
    redacted_target,
    shown_type,
)
from tests.support.pairs import answer, document
from tests.support.samples import NOW_S, Court, sample

KEY = b"k" * 32
SECRET = "Zq7xSecretW9"
CAP = 1_000_000


def storing(*paths: str) -> Storing:
    return Storing.of(KEY, paths)


def body(value: Any, *paths: str) -> str:
    text = redacted_body(document(value), storing(*paths), CAP)
    assert text is not None
    return text


@pytest.mark.parametrize(
    "place",
    [
        {"a": SECRET},
        {"a": [1, {"b": SECRET}]},
        [SECRET],
        SECRET,
        {SECRET + "9999": 1},
        {"a": {f"id-{SECRET}": {"b": 2}}},
        {"price": 19.99, "name": f"x {SECRET} y"},
    ],
)
def test_no_value_and_no_key_that_is_data_is_kept(place: Any) -> None:
    assert SECRET not in body(place)


def test_what_is_listed_is_shown_and_only_that() -> None:
    text = body(
        {"price": 19.99, "name": SECRET, "items": [{"price": 5}, {"price": "a\nb"}]}, "$.price", "$.items[*].price"
    )
    assert '"price": 19.99' in text and '"price": 5' in text and '"price": "a\\nb"' in text
    assert SECRET not in text


def test_numbers_stay_as_they_were_written() -> None:
    long = answer('{"n": 1.10000000000000000001e400, "m": 12345678901234567890123}')
    text = redacted_body(long, storing("$.n", "$.m"), CAP)
    assert text is not None and "1.10000000000000000001e400" in text and "12345678901234567890123" in text


def test_equal_values_look_equal_within_one_ledger_only() -> None:
    assert body({"a": "x"}) == body({"a": "x"}) != body({"a": "y"})
    other = redacted_body(document({"a": "x"}), Storing.of(b"o" * 32, ()), CAP)
    assert other != body({"a": "x"})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
        max_leaves=30,
    )
)
def test_any_document_is_drawn_within_bounds(value: Any) -> None:
    text = body(value)
    assert len(text) <= MOST_BODY_CHARACTERS
    for leaf in leaves(value):
        assert leaf not in text


def leaves(value: Any) -> list[str]:
    """Texts that nothing else in a drawing could spell."""
    if isinstance(value, dict):
        return [leaf for member in value.values() for leaf in leaves(member)]
    if isinstance(value, list):
        return [leaf for element in value for leaf in leaves(element)]
    return [value] if isinstance(value, str) and len(value) > 8 and not value.isascii() else []


@pytest.mark.parametrize(
    "hostile",
    [
        answer("[" * 5000 + "]" * 5000),
        answer("{" + ",".join(f'"k{n}":{n}' for n in range(20_000)) + "}"),
        answer('{"a": "' + "x" * 500_000 + '"}'),
        answer("not json"),
        answer(b"\xff\xfe\x00"),
        answer("{}", "text/html"),
        answer(SECRET.encode() * 1000, "application/octet-stream"),
        Answer(200, ((b"Content-Type", b"application/json"),), b'{"a": 1', truncated=True),
    ],
)
def test_hostile_bodies_are_bounded(hostile: Answer) -> None:
    text = redacted_body(hostile, storing(), CAP)
    assert text is None or len(text) <= MOST_BODY_CHARACTERS


def test_headers_say_how_and_never_who() -> None:
    lines = [
        (b"Authorization", b"Bearer " + SECRET.encode()),
        (b"authorization", SECRET.encode()),
        (b"Cookie", b"sid=" + SECRET.encode()),
        (b"X-Api-Key", SECRET.encode()),
        (b"X-CSRF-Token", SECRET.encode()),
        (b"Referer", b"https://a/?q=" + SECRET.encode()),
        (b"X-Whatever", SECRET.encode()),
        (b"Accept", b"application/json"),
        (b"X-" + SECRET.encode() + b"99999", b"1"),
    ]
    found = redacted_headers(lines, storing())
    assert SECRET not in json.dumps(found)
    assert found[0] == ["Authorization", "Bearer ***"] and found[1] == ["authorization", "***"]
    assert ["Accept", "application/json"] in found
    assert len(redacted_headers(lines * 100, storing())) <= 40


@pytest.mark.parametrize(
    "target",
    [
        f"/a/b?token={SECRET}",
        f"/a/b?q={SECRET}&x=1",
        f"/a/b?{SECRET}999=1",
        f"/users/{SECRET}99/orders",
        f"/a?{SECRET}",
        "/a?" + "&".join(f"p{n}={SECRET}" for n in range(1000)),
    ],
)
def test_a_target_keeps_its_shape_alone(target: str) -> None:
    text = redacted_target(target.encode(), storing())
    assert SECRET not in text
    assert len(text) < 4000


PLANTED: dict[str, dict[str, Any]] = {
    "query": {"ask": Ask("GET", f"/a/1?q={SECRET}".encode(), b"shop.example", at=NOW_S)},
    "segment": {"ask": Ask("GET", f"/a/{SECRET}77".encode(), b"shop.example", at=NOW_S)},
    "header": {"headers": ((b"X-Who", SECRET.encode()), (b"Cookie", SECRET.encode()))},
    "body": {"body": SECRET.encode()},
    "subject": {"subject": SECRET.encode()},
    "control": {"control": document({"a": 1, "who": SECRET})},
    "candidate": {"candidate": document({"a": 2, "who": SECRET, "more": SECRET})},
    "cookie": {"control": answer('{"a": 1}', Set_Cookie=f"sid={SECRET}; Path=/")},
    "location": {"candidate": answer("", status=302, Location=f"/x?t={SECRET}")},
    "type": {"candidate": answer(SECRET, f"text/{SECRET}")},
    "type suffix": {"candidate": answer("{}", f"application/vnd.{SECRET}+json; profile={SECRET}")},
    "request type": {"headers": ((b"Content-Type", f"multipart/form-data; boundary={SECRET}".encode()),)},
    "accept": {"headers": ((b"Accept", f"text/html, application/{SECRET};q={SECRET}, {SECRET}".encode()),)},
    "scheme": {"headers": ((b"Authorization", f"{SECRET} x".encode()),)},
    "member": {"candidate": document({"a": 1, SECRET: 2})},
    "member below": {"control": document({"a": {"x": 1, SECRET: [{"b": SECRET}]}}), "candidate": document({"a": {}})},
    "map": {"candidate": document({"a": {f"{number}-{SECRET}": 2 for number in range(60)}})},
    "bare query": {"ask": Ask("GET", f"/a/1?{SECRET}".encode(), b"shop.example", at=NOW_S)},
    "header name": {"headers": ((f"X-{SECRET}".encode(), b"1"),)},
    "long": {"candidate": document({"a": 1, SECRET * 300: {SECRET: 2}})},
    "control characters": {"candidate": document({"a": 1, f"\x00\n\x1b[31m{SECRET}": 2})},
    "text": {"control": answer(SECRET, "text/plain"), "candidate": answer("else", "text/plain")},
    "html": {"control": answer(f"<p>{SECRET}</p>", "text/html"), "candidate": answer("<p>else</p>", "text/html")},
}


@pytest.mark.parametrize("place", PLANTED)
def test_nothing_of_it_reaches_the_file_or_a_report(tmp_path: Path, place: str) -> None:
    path = tmp_path / "l.db"

    class OnDisk(Ledger):
        def __init__(self, _path: Path | None, clock: Any, rng: random.Random) -> None:
            super().__init__(path, clock, rng)

    court = Court(OnDisk)
    members = {"control": document({"a": 1}), "candidate": document({"a": 2}), **PLANTED[place]}
    for _ in range(3):
        court.hear(**members)
    assert court.comparisons["recent"]
    assert SECRET.lower() not in (json.dumps(court.comparisons) + json.dumps(court.evidence)).lower()
    court.ledger.close()
    written = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    assert SECRET.encode().lower() not in written.lower()
    assert b"GET /a/{id}" in written


PLACES = (
    "leaf",
    "element",
    "key",
    "query",
    "segment",
    "header",
    "cookie",
    "set-cookie",
    "authorization",
    "type",
    "location",
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    secret=st.uuids().map(lambda one: one.hex) | st.text("ABCDEFabcdef0123456789", min_size=24, max_size=60).filter(
        lambda text: any(sign.isdigit() for sign in text) and any(sign.isalpha() for sign in text)
    ),
    places=st.sets(st.sampled_from(PLACES), min_size=1),
    second=st.booleans(),
    listed=st.booleans(),
)  # fmt: skip
def test_a_random_secret_is_found_nowhere(
    tmp_path_factory: pytest.TempPathFactory, secret: str, places: set[str], second: bool, listed: bool
) -> None:
    directory = tmp_path_factory.mktemp("ledger")

    class OnDisk(Ledger):
        def __init__(self, _path: Path | None, clock: Any, rng: random.Random) -> None:
            super().__init__(directory / "l.db", clock, rng)

    def at(place: str, otherwise: str = "x") -> str:
        return secret if place in places else otherwise

    court = Court(OnDisk, store_values=["$.shown", "$..b", "$.password"] if listed else [])
    try:
        for number in range(3):
            value = {"shown": number, "leaf": at("leaf"), "list": [at("element"), {"c": number}], "password": secret}
            control, candidate = (
                answer(
                    json.dumps({**value, "side": side, **({secret: side} if "key" in places else {})}),
                    f"application/{at('type')}+json" if side == "two" else "application/json",
                    Set_Cookie=f"sid={at('set-cookie')}{side}; Path=/",
                    Location=f"/{side}?t={at('location')}",
                )
                for side in ("one", "two")
            )
            court.hear(
                control,
                candidate,
                ask=Ask("GET", f"/a/{at('segment')}?q={at('query')}".encode(), b"shop.example", at=NOW_S),
                headers=(
                    (b"X-Who", at("header").encode()),
                    (b"Cookie", f"sid={at('cookie')}".encode()),
                    (b"Authorization", f"Bearer {at('authorization')}".encode()),
                ),
                second=control if second else None,
            )
        told = json.dumps(court.comparisons) + json.dumps(court.evidence)
    finally:
        court.ledger.close()
    assert "GET /a/{id}" in told
    assert secret.lower() not in told.lower()
    assert all(secret.encode().lower() not in one.read_bytes().lower() for one in directory.iterdir())


def test_credentials_are_never_shown_whatever_is_listed() -> None:
    taken = sample(
        1, answer('{"a": 1}', Set_Cookie=f"sid={SECRET}"), answer('{"a": 1}', Set_Cookie=f"other={SECRET}"),
        headers=((b"Authorization", f"Bearer {SECRET}".encode()),),
    )  # fmt: skip
    court = Court()
    court.judge.rules("shop", "m1", {"store_values": ["$..a", "$.*"]})
    court.hear(taken.control, taken.candidate, headers=taken.headers)
    assert SECRET not in json.dumps(court.comparisons)


def test_what_is_called_a_credential_is_not_shown_even_where_it_is_listed() -> None:
    value = {"password": SECRET, "user": {"apiToken": [SECRET], "author": "shown"}}
    text = body(value, "$.password", "$..author", "$.user.apiToken", "$.user.apiToken[*]")
    assert SECRET not in text and '"author": "shown"' in text
    shows = storing("$.password", "$.author", "$.*.*")
    assert not shows.shows("body:$.password") and shows.shows("body:$.author")
    assert not shows.shows("body:$.tokens.a")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("status", "status"),
        ("header:set-cookie", "header:set-cookie"),
        ("body", "body"),
        ("*", "*"),
        ("body:$", "body:$"),
        ("body:$.items[*].price", "body:$.items[*].price"),
        ("body:$['odd.name'].a", "body:$['odd.name'].a"),
        ("body:$.by_id{*}.line2", "body:$.by_id{*}.line2"),
        ("body:$.8812[*].a", "body:$[*].a".replace("$", "${*}")),
        ("body:$.a['anna@shop.example']", "body:$.a{*}"),
        (f"body:$.{'x' * 65}", "body:${*}"),
        (f"body:$.a.{'x' * 980}...", "body:$..."),
        ("body:$['unclosed", "body:$..."),
    ],
)
def test_a_path_keeps_the_names_that_programmers_give(path: str, told: str) -> None:
    assert redacted_path(path) == told
    assert redacted_path(told) == told


@pytest.mark.parametrize(
    ("media", "told"),
    [
        ("application/json; charset=utf-8", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("application/vnd.shop.v2+json", "application/{id}+json"),
        ("text/anything", "text/{id}"),
        ("anything", None),
        ("any/thing", None),
    ],
)
def test_only_known_media_types_are_spelled_out(media: str, told: str | None) -> None:
    assert shown_type(answer("", media)) == told


def test_an_exemplar_has_both_sides_in_their_places() -> None:
    court = Court()
    court.hear(document({"a": 1}), document({"a": 2}), served="extracted")
    (shown,) = court.comparisons["differences"][0]["exemplars"]
    storing_ = Storing.of(court.ledger.key, ["$.a"])
    from proxy.shadow.compare import compare
    from proxy.shadow.rules import compile_rules

    taken = sample(1, document({"a": 1}), document({"a": 2}), served="extracted")
    assert taken.candidate is not None
    verdict = compare(taken.ask, taken.control, taken.candidate, compile_rules({}))
    made = exemplar(taken, verdict, storing_, CAP)
    assert (made["legacy"]["body"], made["extracted"]["body"]) == ('{\n  "a": 2\n}', '{\n  "a": 1\n}')
    assert (made["differences"][0]["legacy"]["value"], made["differences"][0]["extracted"]["value"]) == ("2", "1")
    assert shown["served"] == "extracted"
