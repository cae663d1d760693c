"""From counts to a verdict: what makes READY, what holds it, what is REGRESSED."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.shadow.evidence import POOLED, Evidence, Policy, Stratum, Tally, Verdict, Waiver, assess
from proxy.shadow.latency import Latency
from proxy.shadow.sequential import Counts, Paired

DAY_S = 86_400.0
NOW_S = 1_000_000.0 + DAY_S
MARKS = tuple(f"{number:016x}" for number in range(30))
LIST = "GET /api/products"
ITEM = "GET /api/products/{id}"
OK = Stratum(LIST, "2xx")


def tally(n: int, k: int = 0, marks: tuple[str, ...] = MARKS) -> Tally:
    return Tally(Counts(n, k), marks, NOW_S - DAY_S, NOW_S)


GOOD = Evidence("e1", {OK: tally(3327)}, {LIST: 4000}, known=frozenset({LIST}), controls={LIST: 50})


def verdict(evidence: Evidence, policy: Policy | None = None, **more: object) -> Verdict:
    return assess(evidence, policy or Policy(), **{"now_s": NOW_S, "epoch": "e1", **more})  # type: ignore[arg-type]


def reasons(found: Verdict) -> list[str]:
    return [note.reason for note in found.notes]


def test_all_that_is_asked_is_ready() -> None:
    found = verdict(GOOD)
    assert (found.state, found.reason, found.notes, found.percent) == ("READY", None, (), 100.0)
    assert str(found) == "READY"


# --- no data is always HOLD ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence("e1"),
        Evidence("e1", known=frozenset({LIST})),
        Evidence("e1", traffic={LIST: 10_000}),
        Evidence("e1", {OK: Tally()}),
        Evidence("e1", blocking={"s": 9}, paired={"p": Paired(99, 0)}),
    ],
)
def test_no_data_is_hold(evidence: Evidence) -> None:
    lenient = Policy(min_duration_s=0, min_fingerprints=0, min_controls=0)
    for policy in (Policy(), lenient):
        found = verdict(evidence, policy)
        assert (found.state, found.reason, found.percent) == ("HOLD", "no_traffic", 0.0)
    assert str(found) == "HOLD(no_traffic)"


def test_nothing_but_what_is_no_evidence_is_blind() -> None:
    assert str(verdict(Evidence("e1", uncounted={"both_error": 500}))) == "HOLD(blind)"
    assert str(verdict(Evidence("e1", repeated=500, traffic={LIST: 500}))) == "HOLD(insufficient)"


def test_evidence_of_another_epoch_is_stale_even_where_it_had_regressed() -> None:
    found = verdict(replace(GOOD, epoch="e0", blocking={"s": 9}))
    assert str(found) == "HOLD(stale)"
    assert found.percent == 0.0
    assert [group.n for group in found.groups] == [0]
    assert "epoch e0, now it is e1" in found.notes[0].text


def test_evidence_expires_after_seven_days() -> None:
    assert verdict(GOOD, now_s=NOW_S + 7 * DAY_S).state == "READY"
    found = verdict(replace(GOOD, blocking={"s": 9}), now_s=NOW_S + 7 * DAY_S + 1)
    assert str(found) == "HOLD(stale)"
    assert found.percent == 0.0


def test_one_endpoint_that_is_not_asked_any_more_is_stale() -> None:
    old = Tally(Counts(5000), MARKS, NOW_S - 9 * DAY_S, NOW_S - 8 * DAY_S)
    evidence = replace(GOOD, strata={**GOOD.strata, Stratum(ITEM, "2xx"): old}, controls={LIST: 50, ITEM: 50})
    found = verdict(evidence)
    assert str(found) == "HOLD(stale)"
    assert "GET /api/products/{id} 2xx" in found.notes[0].text
    broken = replace(evidence, strata={**evidence.strata, OK: tally(5000, 200)})
    assert verdict(broken).state == "REGRESSED"  # what is fresh is heard first


def test_what_expired_accuses_no_more() -> None:
    old = Tally(Counts(500, 100), MARKS, NOW_S - 9 * DAY_S, NOW_S - 8 * DAY_S)
    assert str(verdict(replace(GOOD, strata={**GOOD.strata, Stratum(ITEM, "2xx"): old}))) == "HOLD(stale)"


# --- what holds it ---------------------------------------------------------------------------------------------------


def test_one_clean_comparison_less_is_not_enough() -> None:
    found = verdict(replace(GOOD, strata={OK: tally(3326)}))
    assert str(found) == "HOLD(insufficient)"
    (group,) = found.groups
    assert (group.needed, group.clean_to_go, group.mismatch_cost) == (3327, 1, 2557)
    assert group.meter == "evidence 99%, 1 clean comparisons to go"
    assert 99.9 < found.percent < 100


def test_the_figures_say_what_to_do() -> None:
    (group,) = verdict(replace(GOOD, strata={OK: tally(4635, 1, MARKS[:18])})).groups
    assert (group.n, group.k, group.clean_to_go) == (4635, 1, 5885 - 4635)
    assert group.s == pytest.approx(1.87, abs=0.01)
    assert group.meter == (
        "evidence 62%, 1250 clean comparisons to go, 12 more distinct requests, 1 mismatch cost 2557 each"
    )
    low, high = group.interval
    assert low == pytest.approx(5.46e-6, rel=0.01)
    assert high == pytest.approx(1.2e-3, rel=0.01)
    shown = group.to_json()["rate_interval"]
    assert (shown["low"], shown["high"], shown["use"]) == (low, high, "descriptive")


def test_too_few_distinct_requests_are_not_enough() -> None:
    found = verdict(replace(GOOD, strata={OK: tally(10_000, 0, MARKS[:29])}))
    assert str(found) == "HOLD(insufficient)"
    assert "1 more distinct requests" in found.notes[0].text


def test_a_day_must_have_been_seen() -> None:
    short = Tally(Counts(5000), MARKS, NOW_S - DAY_S / 2, NOW_S)
    found = verdict(replace(GOOD, strata={OK: short}))
    assert str(found) == "HOLD(waiting_duration)"
    assert found.notes[0].text == "12.0 h more of traffic to see"
    assert verdict(replace(GOOD, strata={OK: short}), Policy(min_duration_s=DAY_S / 2)).state == "READY"


@pytest.mark.parametrize(("uncounted", "state"), [(831, "READY"), (832, "HOLD")])
def test_more_than_a_fifth_that_says_nothing_is_blind(uncounted: int, state: str) -> None:
    found = verdict(replace(GOOD, uncounted={"dropped": 31, "shadow_timeout": uncounted - 31}))
    assert found.state == state
    if state == "HOLD":
        assert found.reason == "blind"
        assert found.notes[0].text == "832 of 4159 samples say nothing: dropped 31, shadow_timeout 801"


def test_repeats_and_flaky_ones_are_samples_but_do_not_blind() -> None:
    assert verdict(replace(GOOD, uncounted={"dropped": 900}, repeated=200, flaky=73)).state == "READY"
    assert verdict(replace(GOOD, repeated=50_000)).state == "READY"


def test_noise_that_waits_for_a_rule_holds() -> None:
    found = verdict(replace(GOOD, volatile=(f"{LIST} body:$.rank",)))
    assert str(found) == "HOLD(noise_unaccepted)"
    assert "body:$.rank" in found.notes[0].text


def test_the_control_must_have_been_asked_twice_50_times() -> None:
    found = verdict(replace(GOOD, controls={LIST: 38}))
    assert str(found) == "HOLD(insufficient)"
    assert found.notes[0].text == f"{LIST}: 12 more second questions to the control"
    assert verdict(replace(GOOD, controls={}), Policy(min_controls=0)).state == "READY"


def test_what_is_posted_is_never_asked_twice() -> None:
    search = Stratum("POST /api/search", "2xx")
    evidence = Evidence("e1", {search: tally(3327)})
    assert verdict(evidence).state == "READY"


def test_a_closed_gate_holds_what_is_ready_otherwise() -> None:
    found = verdict(GOOD, closed_gates=("replication lag is 40 s",))
    assert str(found) == "HOLD(gate_closed)"
    assert found.notes[0].text == "gate closed: replication lag is 40 s"


def test_all_reasons_are_told_and_the_gravest_is_first() -> None:
    short = Tally(Counts(10), MARKS[:3], NOW_S - 60, NOW_S)
    evidence = Evidence("e1", {OK: short}, uncounted={"dropped": 9}, volatile=("p",))
    found = verdict(evidence, closed_gates=("g",))
    assert reasons(found) == [
        "blind", "noise_unaccepted", "insufficient", "insufficient", "waiting_duration", "gate_closed",
    ]  # fmt: skip


# --- coverage --------------------------------------------------------------------------------------------------------


def test_a_major_endpoint_must_be_ready_itself() -> None:
    evidence = replace(
        GOOD, strata={OK: tally(90_000), Stratum(ITEM, "2xx"): tally(1_000)}, controls={LIST: 50, ITEM: 50}, traffic={}
    )
    found = verdict(evidence)
    assert str(found) == "HOLD(insufficient)"
    assert [(group.endpoint, group.ready) for group in found.groups] == [(LIST, True), (ITEM, False)]
    assert found.percent == pytest.approx(30.06, abs=0.01)


def test_a_major_endpoint_that_was_never_compared_holds() -> None:
    found = verdict(replace(GOOD, traffic={LIST: 4000, ITEM: 41}, controls={LIST: 50, ITEM: 50}))
    assert str(found) == "HOLD(insufficient)"
    assert f"{ITEM}: evidence 0%, 3327 clean comparisons to go, 30 more distinct requests" in [
        note.text for note in found.notes
    ]


@pytest.mark.parametrize(("requests", "endpoint"), [(100, ITEM), (99, POOLED)])
def test_exactly_one_percent_is_major(requests: int, endpoint: str) -> None:
    found = verdict(replace(GOOD, traffic={LIST: 10_000 - requests, ITEM: requests}))
    assert [group.endpoint for group in found.groups] == [LIST, endpoint]


def test_a_major_endpoint_cannot_be_waived() -> None:
    waiver = Waiver(LIST, "ann", "in a hurry")
    found = verdict(replace(GOOD, strata={OK: tally(100)}), waivers=[waiver])
    assert str(found) == "HOLD(insufficient)"
    assert found.waived == ()


def rare(n: int, k: int = 0, endpoints: int = 30) -> Evidence:
    strata = {Stratum(f"GET /rare/{number}", "2xx"): tally(n, k) for number in range(endpoints)}
    return replace(GOOD, strata={OK: tally(100_000), **strata}, traffic={})


def test_all_minor_endpoints_are_one_stratum() -> None:
    found = verdict(rare(111))
    assert found.state == "READY"
    assert [(group.endpoint, group.n, len(group.members)) for group in found.groups] == [
        (LIST, 100_000, 1), (POOLED, 3330, 30),
    ]  # fmt: skip
    assert str(verdict(rare(110))) == "HOLD(insufficient)"


def test_a_minor_endpoint_can_be_waived_and_then_holds_nothing() -> None:
    waivers = [Waiver(f"GET /rare/{number}", "ann", "ends in May") for number in range(3)]
    assert verdict(rare(20, endpoints=3)).state == "HOLD"
    found = verdict(rare(20, endpoints=3), waivers=waivers)
    assert found.state == "READY"
    assert found.waived == tuple(waivers)
    assert [group.required for group in found.groups] == [True, False, False, False]


def test_a_waived_endpoint_that_is_not_asked_any_more_holds_nothing() -> None:
    old = Tally(Counts(20), MARKS, NOW_S - 9 * DAY_S, NOW_S - 8 * DAY_S)
    evidence = replace(rare(20, endpoints=0), strata={OK: tally(100_000), Stratum("GET /rare", "2xx"): old})
    assert str(verdict(evidence)) == "HOLD(stale)"
    assert verdict(evidence, waivers=[Waiver("GET /rare", "ann", "ends in May")]).state == "READY"


def test_a_waived_endpoint_can_still_regress() -> None:
    found = verdict(rare(20, 10, endpoints=1), waivers=[Waiver("GET /rare/0", "ann", "ends in May")])
    assert found.state == "REGRESSED"


def test_a_broken_minor_endpoint_is_seen_among_many_good_ones() -> None:
    good = rare(900)
    strata = {**good.strata, Stratum("GET /rare/7", "2xx"): tally(900, 9)}
    found = verdict(replace(good, strata=strata))
    assert found.state == "REGRESSED"
    assert found.notes[0].text.startswith("GET /rare/7 2xx differs more often than tolerated (R = ")


def test_the_pool_names_also_what_was_never_compared() -> None:
    found = verdict(replace(GOOD, traffic={LIST: 4000, "GET /rare": 1}))
    assert str(found) == "HOLD(insufficient)"
    assert [(group.endpoint, group.endpoints, group.members) for group in found.groups] == [
        (LIST, (LIST,), (OK,)),
        (POOLED, ("GET /rare",), ()),
    ]


def test_a_rate_that_only_the_pool_shows_is_seen_too() -> None:
    thin = rare(100, endpoints=60)
    strata = {one: tally(100, 1) if one != OK else counted for one, counted in thin.strata.items()}
    found = verdict(replace(thin, strata=strata))
    assert found.state == "REGRESSED"
    assert found.notes[0].text.startswith(f"{POOLED} differs")


def test_a_status_class_of_some_weight_is_judged_alone_and_a_rare_one_with_the_largest() -> None:
    strata = {OK: tally(10_000), Stratum(LIST, "4xx"): tally(200, 2), Stratum(LIST, "3xx"): tally(50)}
    found = verdict(replace(GOOD, strata=strata, traffic={}))
    assert [(group.status_class, group.n) for group in found.groups] == [("4xx", 200), ("2xx", 10_050)]
    assert not found.groups[0].ready
    assert found.groups[1].ready
    strata[Stratum(LIST, "4xx")] = tally(90, 1)
    found = verdict(replace(GOOD, strata=strata, traffic={}))
    assert [(group.status_class, group.n, group.k) for group in found.groups] == [("2xx", 10_140, 1)]
    assert found.state == "READY"


def test_a_known_endpoint_that_was_never_seen_is_listed_and_needs_a_waiver() -> None:
    evidence = replace(GOOD, known=frozenset({LIST, ITEM}))
    found = verdict(evidence)
    assert str(found) == "HOLD(insufficient)"
    assert found.unseen == (ITEM,)
    waiver = Waiver(ITEM, "ann", "used at the end of the year only")
    found = verdict(evidence, waivers=[waiver])
    assert (found.state, found.unseen, found.waived) == ("READY", (), (waiver,))


# --- REGRESSED -------------------------------------------------------------------------------------------------------


def test_a_blocking_difference_holds_and_the_third_one_is_a_regression() -> None:
    for count, wanted in ((0, "READY"), (1, "HOLD(insufficient)"), (2, "HOLD(insufficient)"), (3, "REGRESSED")):
        assert str(verdict(replace(GOOD, blocking={"GET /a removed $.b": count}))) == wanted
    assert str(verdict(replace(GOOD, blocking={"one": 2, "two": 2}))) == "HOLD(insufficient)"


def test_a_blocking_difference_can_be_waived_by_its_signature() -> None:
    waiver = Waiver("sig", "ann", "the field is documented as gone")
    found = verdict(replace(GOOD, blocking={"sig": 40}), waivers=[waiver])
    assert (found.state, found.waived) == ("READY", (waiver,))
    assert verdict(replace(GOOD, blocking={"other": 40}), waivers=[waiver]).state == "REGRESSED"


def test_a_waiver_takes_no_mismatch_out_of_the_tests() -> None:
    waiver = Waiver("sig", "ann", "the field is documented as gone")
    found = verdict(replace(GOOD, strata={OK: tally(3327, 40)}, blocking={"sig": 40}), waivers=[waiver])
    assert found.state == "REGRESSED"


def test_a_rate_surely_above_the_tolerated_one_is_a_regression() -> None:
    assert verdict(replace(GOOD, strata={OK: tally(37, 2)})).state == "REGRESSED"
    assert verdict(replace(GOOD, strata={OK: tally(43, 2)})).state == "HOLD"


def test_a_candidate_that_strays_more_than_the_control_is_a_regression() -> None:
    assert verdict(replace(GOOD, paired={"body:$.a": Paired(9, 0)})).state == "READY"
    found = verdict(replace(GOOD, paired={"body:$.a": Paired(10, 0), "body:$.b": Paired(500, 500)}))
    assert str(found) == "REGRESSED"
    assert [note.text.partition(" ")[0] for note in found.notes] == ["body:$.a"]


def test_a_regression_outranks_what_holds() -> None:
    evidence = replace(GOOD, strata={OK: tally(10, 5, ())}, uncounted={"dropped": 500}, volatile=("p",))
    found = verdict(evidence, closed_gates=("g",))
    assert str(found) == "REGRESSED"
    assert found.notes[0].reason == "regressed"


def test_latency_is_judged_where_it_is_given() -> None:
    assert verdict(replace(GOOD, latency=Latency(tail=Counts(141)))).state == "READY"
    found = verdict(replace(GOOD, latency=Latency(tail=Counts(140))))
    assert str(found) == "HOLD(insufficient)"
    assert found.notes[0].text == "latency: 1 more answers within the limit to go"
    assert verdict(replace(GOOD, latency=Latency(Paired(10, 0), Counts(141)))).state == "REGRESSED"


# --- state and shape -------------------------------------------------------------------------------------------------

MARK = st.integers(0, 200).map(lambda number: f"{number:016x}")
TALLIES = st.lists(st.tuples(st.booleans(), MARK, st.floats(0, 1e9)), max_size=20).map(
    lambda samples: sum((Tally().observe(*sample) for sample in samples), Tally())
)


@given(TALLIES, TALLIES, TALLIES)
def test_tallies_can_be_added_in_any_order_and_grouping(a: Tally, b: Tally, c: Tally) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Tally() == a


@given(TALLIES)
def test_a_tally_survives_json(kept: Tally) -> None:
    assert Tally.from_json(json.loads(json.dumps(kept.to_json()))) == kept


def test_fingerprints_are_counted_exactly_up_to_64_whatever_the_order() -> None:
    marks = [f"{number:016x}" for number in range(100)] * 2
    random.Random(1).shuffle(marks)
    kept, seen = Tally(), set()
    for mark in marks:
        kept = kept.observe(False, mark, 0.0)
        seen.add(mark)
        assert len(kept.fingerprints) == min(64, len(seen))
    assert kept.fingerprints == tuple(sorted(seen)[:64])


@given(st.integers(0, 8_000), st.integers(0, 4))
def test_a_clean_comparison_never_worsens_the_verdict_and_a_mismatch_never_betters_it(n: int, k: int) -> None:
    rank = {"REGRESSED": 0, "HOLD": 1, "READY": 2}

    def rank_of(n: int, k: int) -> int:
        return rank[verdict(replace(GOOD, strata={OK: tally(n, k)})).state]

    n = max(n, k)
    assert rank_of(n + 1, k) >= rank_of(n, k) >= rank_of(n + 1, k + 1)


def test_a_stratum_is_named_after_the_answer_of_the_legacy() -> None:
    assert Stratum.of("GET", "/api/products/{id}", 404) == Stratum(ITEM, "4xx")


def test_a_verdict_can_be_sent_as_json() -> None:
    evidence = replace(rare(20, endpoints=3), known=frozenset({ITEM}), blocking={"sig": 1})
    found = verdict(evidence, waivers=[Waiver("sig", "ann", "known")])
    sent = json.loads(json.dumps(found.to_json()))
    assert (sent["verdict"], sent["reason"], sent["unseen"]) == ("HOLD", "insufficient", [ITEM])
    assert sent["waived"] == [{"what": "sig", "name": "ann", "reason": "known"}]
    assert [(row["endpoint"], row["ready"], row["percent"]) for row in sent["strata"]] == [
        (LIST, True, 100.0), (POOLED, False, pytest.approx(1.8, abs=0.1)),
    ]  # fmt: skip


@pytest.mark.parametrize(("what", "name", "reason"), [("", "ann", "r"), ("s", " ", "r"), ("s", "ann", "")])
def test_a_waiver_needs_a_name_and_a_reason(what: str, name: str, reason: str) -> None:
    with pytest.raises(ValueError, match="give what is waived, a name and a reason"):
        Waiver(what, name, reason)


@pytest.mark.parametrize("wrong", [{"p0": 0.0}, {"p0": 0.3}, {"alpha": 1.0}, {"min_fingerprints": 65}])
def test_a_policy_that_decides_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Policy(**wrong)  # type: ignore[arg-type]
