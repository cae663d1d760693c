"""What becomes of a sample, by the rules of the judge in their order."""

from __future__ import annotations

import json
import random
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.shadow.answer import Answer, Ask
from proxy.shadow.book import Book
from proxy.shadow.judge import WAIT_S, Outcome
from proxy.shadow.ledger import Ledger
from tests.support.pairs import answer, document, read_answer, read_ask
from tests.support.samples import NOW_S, ONE, TWO, Court, sample

FILE = Path(__file__).parents[1] / "cases" / "comparison_cases.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
DOWN = answer("down", status=500)
SAME = Ask("GET", b"/a/same", b"shop.example", at=NOW_S)


def told(outcome: Outcome) -> tuple[str, str]:
    return outcome.verdict, outcome.kind


def versioned(version: str, body: str = '{"a":1}', status: int = 200) -> Answer:
    return answer(body, status=status, **({"x_version": version} if version else {}))


# --- every pair that is known --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_pair_is_entered_with_its_verdict(case: dict[str, Any]) -> None:
    court = Court(compare=case["config"])
    second = read_answer(case["legacy2"]) if "legacy2" in case else None
    ask = read_ask(case.get("request"))
    court.hear(read_answer(case["legacy"]), read_answer(case["new"]), ask=ask, second=second)
    (row,) = court.comparisons["recent"]
    assert row["verdict"] == case["expect"]
    assert row["counts"] == case.get("counts", True)
    assert row["class"] == case.get("kind", "")
    if case["paths"] == ["*"]:
        assert row["paths"]
    else:
        assert sorted(row["paths"]) == sorted(case["paths"])
    orjson.dumps(court.comparisons), orjson.dumps(court.evidence)
    court.ledger.flush()


# --- no whole answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failure", "kind"), [("timeout", "shadow_timeout"), ("unreachable", "dropped")])
def test_who_did_not_answer_says_nothing(failure: str, kind: str) -> None:
    court = Court()
    assert told(court.hear(candidate=None, failure=failure)) == ("mismatch", kind)
    assert court.comparisons["uncounted"] == {kind: 1}
    assert court.counted == (0, 0)
    assert not court.asked_again


def test_a_candidate_that_breaks_off_would_have_been_a_502() -> None:
    court = Court()
    assert told(court.hear(candidate=None, failure="broken", again=(None, ONE))) == ("mismatch", "status")
    assert court.counted == (1, 1)
    (difference,) = court.comparisons["differences"]
    assert (difference["path"], difference["class"], difference["severity"]) == ("status", "status", "blocking")
    (shown,) = difference["exemplars"]
    assert (shown["legacy"]["status"], shown["extracted"]["status"]) == (200, 502)


def test_two_that_fail_are_no_evidence() -> None:
    court = Court()
    assert told(court.hear(DOWN, None, failure="broken")) == ("match", "both_error")
    assert court.counted == (0, 0)


# --- whoever served ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("legacy", "extracted", "expected", "severity"),
    [
        (ONE, DOWN, ("mismatch", "status"), "blocking"),
        (DOWN, ONE, ("mismatch", "improvement"), "uncounted"),
        (DOWN, DOWN, ("match", "both_error"), None),
        (ONE, answer("{}", status=404), ("mismatch", "status"), "blocking"),
        (answer("{}", status=404), ONE, ("mismatch", "status"), "mismatch"),
    ],
)
def test_whose_failure_it_is_does_not_depend_on_who_served(
    legacy: Answer, extracted: Answer, expected: tuple[str, str], severity: str | None
) -> None:
    for served in ("legacy", "extracted"):
        court = Court()
        pair = (legacy, extracted) if served == "legacy" else (extracted, legacy)
        assert told(court.hear(*pair, served=served)) == expected
        rows = court.comparisons["differences"]
        assert [row["severity"] for row in rows] == ([severity] if severity else [])
        for row in rows:
            (shown,) = row["exemplars"]
            sides = shown["legacy"]["status"], shown["extracted"]["status"]
            assert sides == (legacy.status, extracted.status)
            values = shown["differences"][0]
            assert values["legacy"]["hash"] != values["extracted"]["hash"]


def test_a_stratum_is_that_of_legacys_status() -> None:
    court = Court()
    court.hear(answer("{}", status=404), answer("{}"), served="extracted")
    court.hear(answer("{}", status=404), answer("{}"), served="legacy")
    assert {one["status_class"]: one["n"] for one in court.evidence["strata"]} == {"2xx": 1, "4xx": 1}


# --- a second control ----------------------------------------------------------------------------------------------


def test_a_candidate_that_equals_either_control_matches() -> None:
    court = Court()
    assert told(court.hear(ONE, TWO, second=TWO)) == ("match", "")
    assert told(court.hear(ONE, ONE, second=TWO)) == ("match", "")
    assert told(court.hear(document({"a": 1}), document({"b": 1}), second=document({"b": 1}))) == ("match", "")
    assert told(court.hear(ONE, answer("{}", status=404), second=answer("{}", status=404))) == ("match", "")


def test_a_control_that_fails_the_second_time_excuses_no_candidate_that_does() -> None:
    court = Court()
    assert told(court.hear(ONE, DOWN, second=DOWN)) == ("mismatch", "status")
    assert court.counted == (1, 1)


def test_an_outage_of_both_is_not_the_candidates() -> None:
    court = Court()
    assert told(court.hear(ONE, DOWN, second=DOWN, again=(DOWN, DOWN))) == ("mismatch", "flaky")
    assert court.counted == (0, 0)


def test_only_controls_of_legacy_tell_of_the_extracted_side() -> None:
    court = Court(gate={"min_controls": 3})
    court.hear(second=ONE)
    court.hear(second=ONE, served="extracted")
    court.hear()
    assert [note["text"] for note in court.evidence["notes"] if "second questions" in note["text"]] == [
        "GET /a/{id}: 2 more second questions to the control"
    ]


def test_what_varies_is_learned_for_samples_without_a_second_control() -> None:
    court = Court()

    def fresh() -> Answer:
        return document({"id": str(uuid.uuid4()), "n": random.randrange(10**6)})

    for _ in range(50):
        court.hear(fresh(), fresh(), second=fresh())
    rows = {row["path"]: row for row in court.comparisons["noise"]}
    assert rows["body:$.id"]["standing"] == "noisy"
    assert rows["body:$.n"]["standing"] == "volatile"
    assert rows["body:$.n"]["rule"] == {"ignore": ["$.n"]}
    one = {"id": str(uuid.uuid4()), "n": 1}
    assert told(court.hear(document(one), document({**one, "id": str(uuid.uuid4())}))) == ("match", "")
    assert told(court.hear(document(one), document({**one, "n": 2}))) == ("mismatch", "value")
    assert told(court.hear(document(one), document({**one, "id": None}))) == ("mismatch", "type")
    assert told(court.hear(document(one), document({"n": 1}))) == ("mismatch", "removed")


# --- asked again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("again", "kind", "counted"),
    [
        ((TWO, ONE), "value", (1, 1)),
        ((ONE, ONE), "flaky", (0, 0)),
        ((TWO, TWO), "flaky", (0, 0)),
        ((None, ONE), "value", (1, 1)),
        ((ONE, None), "value", (1, 1)),
        ((None, None), "value", (1, 1)),
    ],
)
def test_a_mismatch_counts_if_it_comes_again(
    again: tuple[Answer | None, Answer | None], kind: str, counted: tuple[int, int]
) -> None:
    court = Court()
    assert told(court.hear(ONE, TWO, again=again)) == ("mismatch", kind)
    assert court.counted == counted
    assert court.asked_again == 1
    (row,) = court.comparisons["recent"]
    assert (row["class"], row["counts"]) == (kind, bool(counted[0]))
    assert court.comparisons["flaky"] == (kind == "flaky")
    assert bool(court.comparisons["differences"]) == (kind != "flaky")


def test_a_match_and_what_counts_nothing_are_not_asked_again() -> None:
    court = Court()
    court.hear()
    court.hear(DOWN, ONE)
    court.hear(candidate=None, failure="timeout")
    assert court.asked_again == 0


def test_what_may_not_be_repeated_is_not_asked_again() -> None:
    court = Court()
    ask = Ask("POST", b"/a/search", b"shop.example", at=NOW_S)
    assert told(court.hear(ONE, TWO, ask=ask, endpoint="POST /a/search")) == ("mismatch", "value")
    assert court.asked_again == 0
    assert court.counted == (1, 1)


def test_a_candidate_that_is_wrong_now_and_then_is_caught_all_the_same() -> None:
    court = Court()
    for number in range(200):
        wrong = number % 10 == 0
        court.hear(ONE, TWO if wrong else ONE, second=ONE, again=(ONE, ONE) if wrong else None)
    assert court.evidence["verdict"] == "REGRESSED"
    assert any("(flaky)" in note["text"] for note in court.evidence["notes"])


def test_an_unknown_number_is_nobodys() -> None:
    court = Court()
    assert court.judge.again(77, ONE, ONE) is None
    court.hear(ONE, TWO)
    assert court.judge.again(1, ONE, ONE) is None


# --- the waiting list ----------------------------------------------------------------------------------------------


def wait(court: Court, count: int, first: int = 1000, candidate: Answer = TWO) -> None:
    for number in range(first, first + count):
        assert court.judge.take(sample(number, ONE, candidate)) is None


def test_who_waits_too_long_is_settled_as_it_was() -> None:
    court = Court()
    wait(court, 1)
    court.now_s += WAIT_S - 1
    assert list(court.judge.expire()) == []
    wait(court, 1, first=2000)
    court.now_s += 1
    assert [(one.number, told(one)) for one in court.judge.expire()] == [(1000, ("mismatch", "value"))]
    assert court.judge.again(1000, ONE, ONE) is None
    assert court.judge.again(2000, ONE, ONE) is not None


def test_a_thousand_may_wait() -> None:
    court = Court()
    wait(court, 1003)
    assert [one.number for one in court.judge.expire()] == [1000, 1001, 1002]


def test_64_mib_may_wait() -> None:
    court = Court()
    wait(court, 70, candidate=answer("x" * 1024 * 1024, media="text/plain"))
    assert [one.number for one in court.judge.expire()] == [1000 + number for number in range(7)]
    assert [one.number for one in court.judge.finish()] == [1007 + number for number in range(63)]
    assert list(court.judge.expire()) == []
    assert court.counted == (70, 70)
    wait(court, 60, first=3000, candidate=answer("x" * 1024 * 1024, media="text/plain"))
    assert list(court.judge.expire()) == []  # the bytes of those that went are given back


# --- how it counts -------------------------------------------------------------------------------------------------


def test_the_same_request_counts_five_times_an_hour() -> None:
    court = Court()
    for _ in range(8):
        court.hear(ask=SAME)
    court.hear(ask=Ask("GET", b"/a/same?b=1&a=2", b"shop.example"))
    court.hear(ask=SAME, subject=b"anna")
    assert court.counted == (7, 0)
    assert court.comparisons["repeated"] == 3
    court.now_s += 3600
    court.hear(ask=SAME)
    assert court.counted == (8, 0)


def test_what_counts_no_more_is_not_asked_again() -> None:
    court = Court()
    for _ in range(20):
        assert told(court.hear(ONE, TWO, ask=SAME)) == ("mismatch", "value")
    assert court.asked_again == 5
    assert court.counted == (5, 5)
    (difference,) = court.comparisons["differences"]
    assert difference["count"] == 20


def test_a_new_epoch_counts_the_same_requests_anew() -> None:
    court = Court(version_header="x-version")
    for version in ("1", "2"):
        for _ in range(7):
            court.hear(versioned("old"), versioned(version), ask=SAME)
        assert court.counted == (5, 0)


def test_five_exemplars_are_kept_and_none_of_a_match() -> None:
    court = Court()
    for _ in range(40):
        court.hear(ONE, TWO)
        court.hear()
        court.hear(DOWN, ONE)
    rows = {row["class"]: row for row in court.comparisons["differences"]}
    assert {kind: len(row["exemplars"]) for kind, row in rows.items()} == {"value": 5, "improvement": 5}
    assert {kind: row["count"] for kind, row in rows.items()} == {"value": 40, "improvement": 40}


def test_how_long_each_took_is_evidence() -> None:
    court = Court()
    for _ in range(150):
        court.hear(second=ONE, served_s=0.1, second_s=0.1, candidate_s=0.5)
    assert any(note["text"].startswith("slower than the control") for note in court.evidence["notes"])
    court = Court()
    for _ in range(150):
        court.hear(second=ONE, served="extracted", served_s=0.1, second_s=0.1, candidate_s=0.5)
    assert not any("latency" in note["text"] or "slower" in note["text"] for note in court.evidence["notes"])


# --- epochs --------------------------------------------------------------------------------------------------------


def test_another_version_of_a_side_is_another_epoch() -> None:
    court = Court(version_header="X-Version")
    epochs = set()
    for legacy, extracted in (("1", "1"), ("1", "2"), ("2", "2")):
        court.hear(versioned(legacy), versioned(extracted))
        assert court.comparisons["versions"] == {"legacy": legacy, "extracted": extracted}
        assert court.counted == (1, 0)
        epochs.add(court.comparisons["epoch"])
    assert len(epochs) == 3


def test_whichever_side_served_the_versions_are_their_own() -> None:
    court = Court(version_header="x-version")
    court.hear(versioned("new"), versioned("old"), served="extracted")
    assert court.comparisons["versions"] == {"legacy": "old", "extracted": "new"}


@pytest.mark.parametrize(
    ("control", "candidate", "failure"),
    [
        (versioned("1"), None, "timeout"),
        (versioned("1"), None, "broken"),
        (versioned("1"), versioned("", status=503), ""),
        (versioned(""), versioned(""), ""),
        (versioned("", status=404), versioned("2", status=404), ""),
    ],
)
def test_an_answer_that_names_no_version_is_of_the_current_one(
    control: Answer, candidate: Answer | None, failure: str
) -> None:
    court = Court(version_header="x-version")
    court.hear(versioned("1"), versioned("2"))
    epoch = court.comparisons["epoch"]
    court.hear(control, candidate, failure=failure)
    court.hear(versioned("1"), versioned("2"))
    assert court.comparisons["epoch"] == epoch
    assert len(court.comparisons["recent"]) == 3


def test_a_failure_right_after_the_rules_changed_names_the_versions_that_were() -> None:
    court = Court(version_header="x-version")
    court.hear(versioned("1"), versioned("2"))
    court.judge.rules("shop", "m2", {"version_header": "x-version"})
    court.hear(versioned("1"), None, failure="timeout", mark="m2")
    assert court.comparisons["versions"] == {"legacy": "1", "extracted": "2"}


@pytest.mark.parametrize("differing", [False, True])
def test_an_older_version_is_the_current_one_again_after_20_samples_in_a_row(differing: bool) -> None:
    """Each sample counts once, also one that is asked again."""
    court = Court(version_header="x-version")

    def hear(version: str) -> str:
        court.hear(versioned("1"), versioned(version, '{"a":2}' if differing else '{"a":1}'))
        return str(court.comparisons["versions"]["extracted"])

    assert [hear("1"), hear("2")] == ["1", "2"]
    assert [hear("1") for _ in range(19)] == ["2"] * 19
    assert hear("2") == "2"
    assert [hear("1") for _ in range(20)] == ["2"] * 19 + ["1"]


def test_a_failure_that_waits_is_of_the_version_that_failed() -> None:
    """While it was asked again, another version came: nothing of it is held against that one."""
    court = Court(version_header="x-version")
    court.hear(versioned("1"), versioned("1"))
    old = sample(900, versioned("1"), DOWN)
    assert court.judge.take(old) is None
    court.hear(versioned("1"), versioned("2"))
    assert court.judge.again(900, DOWN, versioned("1")) is not None
    assert court.comparisons["versions"]["extracted"] == "2"
    assert court.counted == (1, 0)
    assert court.differences == set()


def test_a_hostile_version_is_cut() -> None:
    court = Court(version_header="x-version")
    court.hear(versioned("1"), answer('{"a":1}', x_version="\x1b[2J" + "v\u00e9" * 500))
    version = court.comparisons["versions"]["extracted"]
    assert len(version) == 100
    assert version.isascii() and version.isprintable()


def test_other_rules_begin_anew_and_may_come_back() -> None:
    court = Court()
    court.hear(ONE, TWO)
    epoch = court.comparisons["epoch"]
    court.judge.rules("shop", "m2", {"compare": {"ignore": ["$.a"]}})
    assert court.comparisons["epoch"] is None
    assert court.evidence["verdict"] == "HOLD"
    assert told(court.hear(ONE, TWO, mark="m2")) == ("match", "")
    assert told(court.hear(ONE, TWO, mark="m1")) == ("mismatch", "value")  # one that was under way
    court.judge.rules("shop", "m1", {})
    court.hear(ONE, ONE)
    assert court.comparisons["epoch"] == epoch
    assert court.counted == (3, 2)


def test_a_sample_of_unknown_rules_is_lost_and_counted() -> None:
    court = Court()
    court.hear()
    assert told(court.hear(mark="m9")) == ("mismatch", "dropped")
    assert told(court.hear(seam="nobody")) == ("mismatch", "dropped")
    assert court.comparisons["uncounted"] == {"dropped": 1}


# --- what goes wrong -----------------------------------------------------------------------------------------------


class Forgetful(Ledger):
    """Has no book when one is asked for."""

    def book(self, seam: str, mark: str, versions: tuple[str, str]) -> Book:
        raise RuntimeError("the dog ate it")


class Stumbling(Ledger):
    """Its books fail once, at whatever is asked of them first."""

    stumbled = False

    def book(self, seam: str, mark: str, versions: tuple[str, str]) -> Book:
        if not self.stumbled:
            self.stumbled = True
            raise RuntimeError("once")
        return super().book(seam, mark, versions)


def test_whatever_breaks_the_judging_is_a_difference() -> None:
    court = Court(Stumbling)
    assert told(court.hear()) == ("mismatch", "compare_error")
    assert court.differences == {("*", "compare_error", "mismatch")}
    assert court.counted == (1, 1)
    assert told(court.hear()) == ("match", "")


def test_whatever_breaks_the_counting_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    court = Court(Forgetful)
    assert told(court.hear()) == ("mismatch", "compare_error")
    assert "RuntimeError" in caplog.text
    assert "the dog" not in caplog.text  # what an error says may be what a service said
    assert told(court.hear(ONE, TWO)) == ("mismatch", "compare_error")


# --- reports -------------------------------------------------------------------------------------------------------


def test_of_an_unknown_seam_there_is_nothing() -> None:
    judge = Court().judge
    none = {"seam": "x", "epoch": None, "since": None, "versions": {"legacy": "", "extracted": ""}}
    assert judge.comparisons("x") == {
        **none, "totals": {"match": 0, "mismatch": 0, "uncounted": 0}, "uncounted": {}, "flaky": 0, "repeated": 0,
        "differences": [], "noise": [], "recent": [],
    }  # fmt: skip
    evidence = judge.evidence("x", ["GET /a"])
    assert {**evidence, **none} == evidence
    assert (evidence["verdict"], evidence["reason"], evidence["samples"]) == ("HOLD", "no_traffic", 0)
    assert evidence["unseen"] == ["GET /a"]
    assert evidence["policy"]["p0"] == 0.001


def test_the_gate_is_the_seams() -> None:
    gate = {
        "max_mismatch_percent": 25, "alpha": 0.05, "min_duration_s": 0, "min_requests": 3, "min_controls": 50,
        "max_uncounted_percent": 50, "expires_s": 60,
        "waive": [{"what": "GET /b", "name": "anna", "reason": "gone"}],
    }  # fmt: skip
    court = Court(gate=gate, control_percent=0)
    for _ in range(12):
        court.hear()
    evidence = court.judge.evidence("shop", ["GET /b", "GET /a/{id}"])
    assert (evidence["verdict"], evidence["reason"]) == ("READY", None)
    assert evidence["waived"] == [{"what": "GET /b", "name": "anna", "reason": "gone"}]
    assert evidence["samples"] == 12
    assert evidence["meter"] == "GET /a/{id} 2xx: evidence 100%"
    assert evidence["policy"] == {
        "p0": 0.25, "alpha": 0.05, "min_duration_s": 0, "min_fingerprints": 3, "min_controls": 0,
        "max_uncounted_percent": 50, "expires_s": 60,
    }  # fmt: skip
    court.now_s += 61
    assert court.evidence["reason"] == "stale"


def test_traffic_and_losses_that_the_proxy_counts_are_in_the_evidence() -> None:
    court = Court()
    court.hear()
    court.judge.note_traffic("shop", {"GET /a/{id}": 10, "GET /b": 990})
    court.judge.lose("shop", {"queue_full": 4})
    court.judge.note_traffic("nobody", {"GET /a": 1})
    court.judge.lose("nobody", {"queue_full": 1})
    assert court.comparisons["uncounted"] == {"queue_full": 4}
    assert court.evidence["samples"] == 5
    assert court.evidence["reason"] == "blind"
    assert {one["endpoint"] for one in court.evidence["strata"]} == {"GET /a/{id}", "GET /b"}


# --- a legacy that answers nothing twice alike ---------------------------------------------------------------------


class Restless:
    """Ids, times and the order of tags are new in each answer."""

    def __init__(self) -> None:
        self._rng = random.Random(7)
        self.serial = 0

    def answer(self, now_s: float, **members: Any) -> Answer:
        rng = self._rng
        self.serial += rng.randrange(1, 4)
        tags = ["new", "sale", "red", "wool", "wool"]
        rng.shuffle(tags)
        body = {
            "request_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            "trace": f"{rng.getrandbits(128):032x}",
            "short": f"{rng.getrandbits(32):08x}",
            "csrf": "".join(rng.choices("ABCDEFGHijklmnop0123456789_-", k=24)),
            "at": datetime.fromtimestamp(now_s + rng.random(), UTC).isoformat(),
            "epoch_ms": int((now_s + rng.random()) * 1000),
            "serial": self.serial,
            "tags": tags,
            "price": "12.50",
            "items": [{"id": 7, "etag": f"{rng.getrandbits(64):016x}", "stock": 3}],
        }
        return document({**body, **members})


def test_restless_answers_are_no_mismatches_and_what_is_wrong_among_them_is_found() -> None:
    court = Court(compare={"unordered": {"$.tags": True}})
    side, rng = Restless(), random.Random(3)

    def turn(first: bool = False, **members: Any) -> Outcome:
        court.now_s += 1.0
        now_s = court.now_s
        ask = Ask("GET", b"/a/%d" % int(now_s), b"shop.example", at=now_s)
        control = side.answer(now_s)
        candidate = side.answer(now_s, **members)
        second = side.answer(now_s) if first or rng.random() < 0.1 else None
        again = side.answer(now_s, **members), side.answer(now_s)
        return court.hear(control, candidate, second=second, ask=ask, again=again)

    for _ in range(50):
        turn(first=True)
    wrong = [outcome for outcome in (turn() for _ in range(5000)) if outcome.verdict == "mismatch"]
    assert wrong == []
    assert court.counted == (5050, 0)
    assert {row["standing"] for row in court.comparisons["noise"]} == {"noisy"}
    planted: list[tuple[dict[str, Any], str]] = [
        ({"request_id": None}, "type"),
        ({"request_id": "unknown"}, "format"),
        ({"trace": 7}, "type"),
        ({"at": "1999-12-31T00:00:00Z"}, "format"),
        ({"epoch_ms": int(NOW_S)}, "format"),
        ({"csrf": ""}, "format"),
        ({"items": [{"id": 7, "etag": None, "stock": 3}]}, "type"),
        ({"items": [{"id": 7, "stock": 3}]}, "removed"),
        ({"tags": ["new", "sale", "red", "wool"]}, "removed"),
    ]
    for members, kind in planted:
        found = next((number for number in range(50) if told(turn(**members)) == ("mismatch", kind)), None)
        assert found is not None, (members, kind)


def test_who_is_asked_twice_only_now_and_then_learns_as_well() -> None:
    """Noise that is seen in one second control of ten."""
    court = Court()

    def make() -> Answer:
        return document({"id": str(uuid.uuid4())})

    kinds = []
    for number in range(200):
        second = make() if number % 10 == 0 else None
        kinds.append(told(court.hear(make(), make(), second=second, again=(make(), make()))))
    assert kinds[100:] == [("match", "")] * 100


def test_what_comes_back_each_time_is_not_asked_each_time() -> None:
    """20 in a row, then each 20th; one that does not come back is a reason to ask all of them again."""
    court = Court()
    for _ in range(20):
        court.hear(ONE, TWO)
    assert court.asked_again == 20
    for _ in range(200):
        assert told(court.hear(ONE, TWO)) == ("mismatch", "value")
    assert 30 <= court.asked_again <= 31
    assert court.comparisons["totals"]["mismatch"] == 220
    before = court.asked_again
    while court.asked_again == before:
        court.hear(ONE, TWO, again=(ONE, ONE))
    assert court.comparisons["flaky"] == 1
    for _ in range(5):
        court.hear(ONE, TWO)
    assert court.asked_again == before + 6
    court.hear(ONE, document({"b": 1}))  # something else is another matter
    assert court.asked_again == before + 7
