"""A book adds up, stays bounded whatever a service says, and repeats no name that is data."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.shadow.book import MOST_RECENT, Book, EndpointPart, signature
from proxy.shadow.difference import Difference, Verdict
from proxy.shadow.endpoint import MOST_ENDPOINTS
from proxy.shadow.evidence import Stratum
from proxy.shadow.noise import OTHER, Differs, EndpointNoise

NOW_S = 1_780_000_000.0
MATCH = Verdict("match", True, "")
UUID = "0b9f6f9e-5a3c-4f0e-9d57-2f6f3c1b7a10"
DATA = [
    UUID,
    "8812345",
    "2026-05-04",
    "zQ3shokF9vLx2Tn8",
    "f" * 101,
    "a1b2c3d4e5f6a7b8",
    "anna@shop.example",
    "x\x00y\x1b",
]


def book(seed: int = 1) -> Book:
    return Book("shop", "e", "m", ("", ""), NOW_S, random.Random(seed))


def differs(*paths: str, kind: str = "value", severity: Any = "mismatch") -> Verdict:
    found = tuple(Difference(path, kind, severity, 1, None, None) for path in paths)
    return Verdict("mismatch", severity != "uncounted", kind, found, paths)


def named(name: str) -> str:
    return f"body:$.people[{json.dumps(name)}].age"


def test_each_sample_is_counted_once_in_the_totals() -> None:
    made = book()
    made.settle("GET /a", MATCH, NOW_S, "r1")
    made.settle("GET /a", MATCH, NOW_S, "r2", repeated=True)
    made.settle("GET /a", differs("body:$.a", "body:$.b"), NOW_S, "r3")
    made.settle("GET /a", differs("body:$.a"), NOW_S, "r4", flaky=True)
    made.settle("GET /a", differs("status", kind="both_error", severity="uncounted"), NOW_S, "r5")
    made.lose("dropped", 3)
    found = made.comparisons({})
    assert found["totals"] == {"match": 2, "mismatch": 1, "uncounted": 5}
    assert (found["uncounted"], found["flaky"], found["repeated"]) == ({"both_error": 1, "dropped": 3}, 1, 1)
    assert [(one["request_id"], one["class"], one["counts"]) for one in found["recent"]] == [
        ("r5", "both_error", False), ("r4", "flaky", False), ("r3", "value", True), ("r2", "", True), ("r1", "", True),
    ]  # fmt: skip
    assert {(one["path"], one["count"]) for one in found["differences"]} == {
        ("body:$.a", 1), ("body:$.b", 1), ("status", 1),
    }  # fmt: skip


def test_the_most_affected_come_first_over_all_hours() -> None:
    made = book()
    for number in range(6):
        made.settle("GET /a", differs("body:$.often"), NOW_S + 3600 * number, f"r{number}")
    made.settle("GET /b", differs("status", kind="status", severity="blocking"), NOW_S, "s")
    first, second = made.comparisons({})["differences"]
    assert (first["path"], first["count"], second["path"]) == ("body:$.often", 6, "status")
    assert first["first"] < first["last"] == "2026-05-29T01:26:40.000Z"


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_beyond_500_endpoints_all_others_of_a_method_are_one() -> None:
    made = book()
    for number in range(2000):
        endpoint = f"GET /{number}"
        made.note_traffic(endpoint, 1)
        made.settle(endpoint, differs("body:$.a"), NOW_S, f"r{number}")
        made.tally(Stratum(endpoint, "2xx"), True, "f", NOW_S)
        made.learn(endpoint, "legacy", EndpointNoise(1))
        made.keep(f"s{number}", 0, endpoint, NOW_S, {"differences": []})
    other = f"GET {OTHER}"
    assert len(made.own) == MOST_ENDPOINTS + 1
    assert made.own[other].traffic == 1500
    assert made.noise("GET /1999", "legacy").n == made.noise("GET /700", "legacy").n == 1500
    assert made.evidence(frozenset()).strata[Stratum(other, "2xx")].counts.n == 1500
    assert {endpoint for endpoint, *_ in made.dirty_spots} <= made.own.keys()
    assert {kept.endpoint for kept in made.pending.values()} <= made.own.keys()
    assert made.comparisons({})["recent"][0]["endpoint"] == other


def test_what_others_wrote_counts_towards_the_bounds() -> None:
    made = book()
    before = {f"GET /{number}": EndpointPart(traffic=1) for number in range(MOST_ENDPOINTS)}
    earlier = book(2)
    for number in range(300):
        earlier.settle("GET /0", differs(f"body:$.p{'x' * (number % 7)}_{number // 7}"), NOW_S, "r")
    made.remember({**before, "GET /0": earlier.own["GET /0"]})
    made.note_traffic("GET /new", 1)
    made.note_traffic("GET /3", 1)
    assert made.own.keys() == {f"GET {OTHER}", "GET /3"}
    made.settle("GET /0", differs("body:$.never_before"), NOW_S, "r")
    assert {place[0] for place, _ in made.own["GET /0"].spots} == {OTHER}


def test_places_are_bounded_over_all_endpoints_and_hours_and_the_totals_stay_right() -> None:
    made = Book("shop", "e", "m", ("", ""), NOW_S, random.Random(1), most_spots=500)
    for number in range(4000):
        path = f"body:$.p_{number % 100}"
        made.settle(f"GET /{number % 20}", differs(path), NOW_S + 3600 * (number // 400), f"r{number}")
    assert sum(len(part.spots) for part in made.own.values()) <= 2 * 500
    assert made.comparisons({})["totals"]["mismatch"] == 4000


def test_recent_is_bounded_in_number_and_in_size() -> None:
    made = book()
    paths = [f"body:$.{'x' * 900}{number}" for number in range(200)]
    for number in range(1100):
        made.settle("GET /a", differs(*paths), NOW_S, f"r{number}")
    recent = made.comparisons({})["recent"]
    assert len(recent) == MOST_RECENT
    assert recent[0]["paths"] and len(json.dumps(recent)) < 5_000_000


def test_what_waits_to_be_written_is_bounded() -> None:
    made = book()
    for number in range(5000):
        what = f"s{number}"
        slot = made.slot(what)
        if slot is not None:
            made.keep(what, slot, "GET /a", NOW_S, {"differences": [], "text": "x" * 10_000})
    assert sum(len(kept.document) for kept in made.pending.values()) <= 16_000_000


def test_an_exemplar_that_cannot_be_written_is_no_exemplar() -> None:
    made = book()
    made.keep("s", 0, "GET /a", NOW_S, {"differences": [], "text": "\ud800"})
    assert not made.pending


# --- names that are data ---------------------------------------------------------------------------------------------


def test_no_name_that_is_data_gets_into_what_is_kept() -> None:
    made = book()
    verdict = differs(*map(named, DATA), kind="removed", severity="blocking")
    noise = EndpointNoise().observe({named(name): Differs("value", frozenset({"text"})) for name in DATA}, set())
    made.settle("GET /a", verdict, NOW_S, "r")
    for _ in range(5):
        made.learn("GET /a", "legacy", noise)
    what = signature("GET /a", verdict)
    part = made.own["GET /a"]
    kept = json.dumps([what, part.to_json(), [place for place, _ in part.spots], list(map(str, made.dirty_spots))])
    evidence = made.evidence(frozenset())
    told = json.dumps([made.comparisons({}), list(evidence.blocking), list(evidence.paired), evidence.volatile])
    for name in DATA:
        assert name not in kept and json.dumps(name)[1:-1] not in kept
        assert name not in told and json.dumps(name)[1:-1] not in told
    assert what == "GET /a: body:$.people{*}.age removed"
    (row, *_) = made.comparisons({})["noise"]
    assert (row["path"], row["rule"]) == ("body:$.people{*}.age", {"ignore": ["$.people{*}.age"]})


def test_names_that_programmers_give_stay() -> None:
    names = "price customerBillingAddress address_line_1 @id $ref größe oauth2Token sha256Checksum isOauth2TokenValid"
    for name in [*names.split(), "odd.name", "with space", "utf8mb4Collation", "x-request-id", "ISO3166Code"]:
        verdict = differs(named(name))
        made = book()
        made.settle("GET /a", verdict, NOW_S, "r")
        (row,) = made.comparisons({})["differences"]
        assert name in row["path"] and "{*}" not in row["path"]


def test_noise_at_a_name_that_is_data_is_forgiven_while_the_process_lasts_and_not_kept_by_that_name() -> None:
    made = book()
    path = named(UUID)
    for _ in range(9):
        made.learn("GET /a", "legacy", EndpointNoise().observe({path: Differs("value", frozenset({"uuid"}))}, set()))
    assert made.noise("GET /a", "legacy").noisy == {path: frozenset({"uuid"})}
    again = EndpointPart.from_json(json.loads(json.dumps(made.own["GET /a"].to_json())))
    assert list(again.noise["legacy"].paths) == [OTHER]
    assert again.noise["legacy"].n == 9


@given(
    st.text(alphabet="0123456789abcdef", min_size=32, max_size=32).filter(lambda text: not text.isalpha()), st.data()
)
def test_a_random_key_at_any_depth_is_told_nowhere(key: str, data: st.DataObject) -> None:
    before = data.draw(st.lists(st.sampled_from([".items[*]", ".a", "{*}", "['b c']"]), max_size=4))
    after = data.draw(st.lists(st.sampled_from([".price", "[*]", "{*}"]), max_size=3))
    verdict = differs(f"body:${''.join(before)}.{key}{''.join(after)}")
    made = book()
    made.settle("GET /a", verdict, NOW_S, "r")
    told = json.dumps([made.comparisons({}), signature("GET /a", verdict), str(made.own)])
    assert key not in told


def test_of_very_many_signatures_the_oldest_are_asked_again() -> None:
    """Those that were seen once do not keep a later one from becoming sure."""
    made = book()
    for number in range(2500):
        made.confirm(f"GET /{number}: status status", True)
    asked = 0
    for _ in range(60):
        if made.doubts("GET /hot: status status"):
            asked += 1
            made.confirm("GET /hot: status status", True)
    assert 20 <= asked <= 24
