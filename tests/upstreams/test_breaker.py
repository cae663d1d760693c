"""The breaker: when it opens, when it probes, what counts, and what an operator may do. Time is a number here."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.config import model
from proxy.upstreams.breaker import TRANSITIONS, Breaker, Forced, State

START = 1000.0


class Rig:
    """A breaker with the defaults (5 failures and half of all within 10 s, 30 s open, one probe) but for `keys`."""

    def __init__(self, **keys: object) -> None:
        self.now = START
        self.changes: list[tuple[State, State]] = []
        self.reasons: list[str] = []
        self.breaker = Breaker(model.Breaker.model_validate(keys), lambda: self.now, self.note)

    def note(self, was: State, to: State, why: str) -> None:
        self.changes.append((was, to))
        self.reasons.append(why)

    def call(self, outcomes: str, every_s: float = 0.0) -> State:
        """Calls one after another: `.` good, `F` failed, `s` slow, `S` slow and failed."""
        for outcome in outcomes:
            epoch = self.breaker.admit()
            assert epoch, f"fails fast before the {outcome} of {outcomes}"
            self.breaker.settle(epoch, outcome in "FS", outcome in "sS")
            self.now += every_s
        return self.breaker.state

    def open(self) -> None:
        assert self.call("FFFFF") == "open"
        self.changes.clear()

    def half_open(self) -> None:
        self.open()
        self.now += 30
        self.breaker.tick()
        self.changes.clear()


def counts(breaker: Breaker) -> tuple[int, int]:
    return breaker.failures, breaker.requests


# --- from closed to open ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "outcomes", "state"),
    [
        ({}, "FFFF", "closed"),
        ({}, "FFFFF", "open"),
        ({}, "......FFFFF", "closed"),
        ({}, ".....FFFFF", "open"),
        ({}, "FFFF.....F", "open"),
        ({}, "FFFF......F", "closed"),
        ({"failure_ratio": None}, "." * 100 + "FFFFF", "open"),
        ({"failure_ratio": None}, "." * 100 + "FFFF", "closed"),
        ({"failures": None}, "F" * 19, "closed"),
        ({"failures": None}, "F" * 20, "open"),
        ({"failures": None}, "." * 10 + "F" * 9, "closed"),
        ({"failures": None}, "." * 10 + "F" * 10, "open"),
        ({"failures": None}, "." * 11 + "F" * 10, "closed"),
        ({"failures": None, "min_requests": 3}, "FF", "closed"),
        ({"failures": None, "min_requests": 3}, "FF.", "closed"),  # looked at when something goes wrong
        ({"failures": None, "min_requests": 3}, "FF.F", "open"),
        ({"failures": 3, "min_requests": 100}, "FFF", "open"),  # a number needs no least number of requests
        ({"failures": 3, "failure_ratio": 0.3}, "." * 7 + "FFF", "open"),
        ({"failures": 7, "failure_ratio": 0.07}, "." * 93 + "F" * 7, "open"),  # 100 * 0.07 is 7.000000000000001
        ({"failures": 1, "failure_ratio": 1}, ".F", "closed"),
        ({"failures": 1, "failure_ratio": 1}, "F", "open"),
    ],
)
def test_what_opens_it(keys: dict[str, object], outcomes: str, state: State) -> None:
    rig = Rig(**keys)
    assert rig.call(outcomes) == state
    assert rig.changes == ([("closed", "open")] if state == "open" else [])


@pytest.mark.parametrize(
    ("keys", "outcomes", "state"),
    [
        ({}, "s" * 100, "closed"),  # nothing is slow where nobody asks
        ({"slow_ratio": 0.8, "min_requests": 10}, "s" * 9, "closed"),
        ({"slow_ratio": 0.8, "min_requests": 10}, "s" * 10, "open"),
        ({"slow_ratio": 0.8, "min_requests": 10}, ".." + "s" * 8, "open"),
        ({"slow_ratio": 0.8, "min_requests": 10}, "..." + "s" * 8, "closed"),
        ({"slow_ratio": 0.8, "min_requests": 10}, "s" * 8 + "..", "closed"),
        ({"slow_ratio": 0.8, "min_requests": 10}, "s" * 8 + "..S", "open"),
        ({"slow_ratio": 0.8, "min_requests": 10, "failures": None, "failure_ratio": None}, "F" * 50, "closed"),
        ({"slow_ratio": 0.8, "min_requests": 10, "failures": None, "failure_ratio": None}, "S" * 10, "open"),
        ({"failures": 1, "failure_ratio": None}, "ssS", "open"),
    ],
)
def test_slow_answers(keys: dict[str, object], outcomes: str, state: State) -> None:
    assert Rig(**keys).call(outcomes) == state


def test_failures_spread_over_more_than_the_window_leave_it_closed() -> None:
    rig = Rig()
    assert rig.call("FFFFF", every_s=2.55) == "closed"
    assert counts(rig.breaker) == (3, 3)


def test_failures_spread_over_less_than_the_window_open_it() -> None:
    assert Rig().call("FFFFF", every_s=2.45) == "open"


@pytest.mark.parametrize(("age_s", "counted"), [(0.0, 1), (98.9, 1), (99.0, 1), (99.5, 1), (100.0, 0), (1e6, 0)])
def test_the_window_ends_where_it_should(age_s: float, counted: int) -> None:
    rig = Rig(window_s=100)
    rig.call("F")
    rig.now += age_s
    assert counts(rig.breaker) == (counted, counted)


@pytest.mark.parametrize(("age_s", "counted"), [(99.0, 1), (99.1, 0)])
def test_its_edge_is_at_most_a_hundredth_early(age_s: float, counted: int) -> None:
    rig = Rig(window_s=100)
    rig.now += 1.9375  # just before a slot ends
    rig.call("F")
    rig.now += age_s
    assert counts(rig.breaker) == (counted, counted)


def test_a_steady_stream_is_counted_a_window_deep() -> None:
    rig = Rig(window_s=100, failures=1000)
    for second in range(350):
        rig.call("F")
        assert counts(rig.breaker) == (min(second + 1, 100),) * 2
        rig.now += 1


def test_a_request_that_leaves_the_window_no_longer_dilutes() -> None:
    rig = Rig(window_s=100)
    rig.call("." * 50)
    rig.now += 100
    assert rig.call("FFFFF") == "open"


def test_the_reason_names_the_numbers() -> None:
    rig = Rig()
    rig.call("...FFFFF")
    assert rig.reasons == ["5 failures in 8 requests within 10 s"]


# --- from open to half-open -------------------------------------------------------------------------------------------


def test_open_it_fails_fast_and_then_probes_with_one_call() -> None:
    rig = Rig()
    rig.open()
    assert counts(rig.breaker) == (0, 0)
    assert rig.breaker.open_until == START + 30
    rig.now = START + 29.9
    assert rig.breaker.admit() == 0
    assert (rig.breaker.state, rig.changes) == ("open", [])
    rig.now = START + 30
    assert rig.breaker.admit() > 0
    assert (rig.breaker.state, rig.changes) == ("half_open", [("open", "half_open")])
    assert rig.breaker.open_until is None


def test_time_alone_makes_it_half_open() -> None:
    rig = Rig()
    rig.open()
    rig.now += 29.9
    rig.breaker.tick()
    assert rig.breaker.state == "open"
    rig.now = START + 30
    rig.breaker.tick()
    rig.breaker.tick()
    assert rig.changes == [("open", "half_open")]


@pytest.mark.parametrize("places", [1, 3, 50])
def test_half_open_has_exactly_so_many_places(places: int) -> None:
    rig = Rig(half_open_requests=places)
    rig.open()
    rig.now += 30
    assert sum(rig.breaker.admit() > 0 for _ in range(1000)) == places
    assert rig.breaker.probing


def test_a_good_probe_closes_it_with_an_empty_window() -> None:
    rig = Rig()
    rig.half_open()
    assert rig.call(".") == "closed"
    assert rig.changes == [("half_open", "closed")]
    assert counts(rig.breaker) == (0, 0)
    assert rig.call("FFFF") == "closed"
    assert rig.call("F") == "open"


def test_a_failed_probe_opens_it_and_the_time_starts_anew() -> None:
    rig = Rig()
    rig.half_open()
    rig.now += 5
    assert rig.call("F") == "open"
    assert rig.changes == [("half_open", "open")]
    rig.now += 29.9
    assert rig.breaker.admit() == 0
    rig.now = START + 30 + 5 + 30
    assert rig.breaker.admit() > 0


def test_every_probe_must_succeed() -> None:
    rig = Rig(half_open_requests=3)
    rig.half_open()
    assert rig.call("..") == "half_open"
    assert rig.call(".") == "closed"


def test_one_failed_probe_of_three_opens_it_and_the_others_say_nothing() -> None:
    rig = Rig(half_open_requests=3)
    rig.half_open()
    first, second, third = (rig.breaker.admit() for _ in range(3))
    rig.breaker.settle(second, False)
    rig.breaker.settle(first, True)
    rig.breaker.settle(third, True)
    rig.breaker.cancel(third)
    assert rig.changes == [("half_open", "open")]
    rig.now += 30
    assert [rig.breaker.admit() > 0 for _ in range(4)] == [True, True, True, False]


def test_a_cancelled_probe_frees_its_place_and_counts_nothing() -> None:
    rig = Rig()
    rig.half_open()
    epoch = rig.breaker.admit()
    assert rig.breaker.admit() == 0
    rig.breaker.cancel(epoch)
    assert (rig.breaker.state, rig.changes) == ("half_open", [])
    assert rig.call(".") == "closed"


def test_a_cancelled_call_counts_nothing_while_closed() -> None:
    rig = Rig()
    rig.breaker.cancel(rig.breaker.admit())
    assert counts(rig.breaker) == (0, 0)


@pytest.mark.parametrize(("keys", "state"), [({"slow_ratio": 0.5}, "open"), ({}, "closed")])
def test_a_slow_probe_fails_where_slow_answers_count(keys: dict[str, object], state: State) -> None:
    rig = Rig(**keys)
    rig.half_open()
    assert rig.call("s") == state


def test_probing_is_said_while_half_open_only() -> None:
    rig = Rig()
    seen = [rig.breaker.probing]
    rig.open()
    seen.append(rig.breaker.probing)
    rig.now += 30
    rig.breaker.admit()
    seen.append(rig.breaker.probing)
    assert seen == [False, False, True]


def _openings(rig: Rig, count: int) -> list[float]:
    """How long each of so many openings in a row lasts."""
    lengths = []
    rig.call("FFFFF")
    for _ in range(count):
        until = rig.breaker.open_until
        assert until is not None
        lengths.append(until - rig.now)
        rig.now = until
        rig.call("F")
    return lengths


def test_each_opening_after_a_failed_probe_lasts_twice_as_long_up_to_a_limit() -> None:
    rig = Rig(open_s=30, open_max_s=200)
    assert _openings(rig, 5) == [30, 60, 120, 200, 200]


def test_without_a_limit_every_opening_lasts_as_long() -> None:
    assert _openings(Rig(), 4) == [30, 30, 30, 30]


def test_closing_forgets_the_growth() -> None:
    rig = Rig(open_s=30, open_max_s=200)
    _openings(rig, 3)
    assert rig.breaker.open_until is not None
    rig.now = rig.breaker.open_until
    assert rig.call(".") == "closed"
    assert _openings(rig, 2) == [30, 60]


# --- what comes late --------------------------------------------------------------------------------------------------


def test_a_call_from_before_it_opened_is_no_probe() -> None:
    rig = Rig()
    early = rig.breaker.admit()
    rig.half_open()
    rig.breaker.settle(early, False)
    rig.breaker.settle(early, True)
    rig.breaker.cancel(early)
    assert (rig.breaker.state, rig.changes) == ("half_open", [])
    assert [rig.breaker.admit() > 0 for _ in range(2)] == [True, False]


def test_a_call_that_waits_goes_on_unless_it_has_opened_meanwhile() -> None:
    rig = Rig()
    waiting = rig.breaker.admit()
    assert rig.breaker.stands_by(waiting)
    rig.open()
    assert not rig.breaker.stands_by(waiting)
    rig.now += 30
    probe = rig.breaker.admit()
    assert (rig.breaker.stands_by(waiting), rig.breaker.stands_by(probe)) == (False, True)
    rig.breaker.settle(probe, False)
    assert rig.breaker.state == "closed"
    assert rig.breaker.stands_by(waiting)


def test_a_call_from_before_it_opened_does_not_count_after_it_closed() -> None:
    rig = Rig()
    early = rig.breaker.admit()
    rig.half_open()
    rig.call(".")
    rig.breaker.settle(early, True)
    assert counts(rig.breaker) == (0, 0)


def test_an_outcome_counts_when_it_is_known_not_when_the_call_began() -> None:
    rig = Rig()
    epoch = rig.breaker.admit()
    rig.now += 60
    rig.breaker.settle(epoch, True)
    assert counts(rig.breaker) == (1, 1)


def test_a_body_that_breaks_off_later_is_one_more_failure() -> None:
    rig = Rig()
    rig.call("FFFF.")
    rig.breaker.amend()
    assert rig.changes == [("closed", "open")]


def test_a_body_that_breaks_off_after_its_probe_has_closed_it_counts() -> None:
    rig = Rig(failures=1)
    rig.call("F")
    rig.now += 30
    rig.call(".")
    rig.breaker.amend()
    assert rig.breaker.state == "open"
    assert rig.reasons[-1] == "1 failures in 1 requests within 10 s"


@pytest.mark.parametrize("state", ["open", "half_open"])
def test_a_body_that_breaks_off_while_it_is_not_closed_says_nothing(state: State) -> None:
    rig = Rig()
    rig.open() if state == "open" else rig.half_open()
    for _ in range(10):
        rig.breaker.amend()
    assert (rig.breaker.state, rig.changes, counts(rig.breaker)) == (state, [], (0, 0))


# --- held by an operator ----------------------------------------------------------------------------------------------


def test_held_open_it_admits_nobody_however_long() -> None:
    rig = Rig()
    rig.breaker.force("open")
    rig.now += 1e6
    rig.breaker.tick()
    assert rig.breaker.admit() == 0
    assert (rig.breaker.state, rig.breaker.open_until, rig.breaker.retry_after_s) == ("open", None, 1.0)
    assert rig.changes == [("closed", "open")]


def test_let_go_after_it_was_held_open_it_probes() -> None:
    rig = Rig()
    rig.breaker.force("open")
    rig.breaker.force(None)
    assert rig.changes == [("closed", "open"), ("open", "half_open")]
    assert rig.call(".") == "closed"


def test_held_closed_it_counts_and_never_opens() -> None:
    rig = Rig()
    rig.breaker.force("close")
    assert rig.call("F" * 100) == "closed"
    rig.breaker.amend()
    assert (counts(rig.breaker), rig.changes) == ((101, 101), [])


def test_let_go_after_it_was_held_closed_it_begins_anew() -> None:
    rig = Rig()
    rig.breaker.force("close")
    rig.call("F" * 100)
    pending = rig.breaker.admit()
    rig.breaker.force(None)
    rig.breaker.settle(pending, True)
    assert counts(rig.breaker) == (0, 0)
    assert rig.call("FFFF") == "closed"
    assert rig.call("F") == "open"


@pytest.mark.parametrize(
    ("before", "steps", "changes"),
    [
        ("open", ["open"], []),
        ("open", ["open", None], [("open", "half_open")]),
        ("open", ["close"], [("open", "closed")]),
        ("half_open", ["open"], [("half_open", "open")]),
        ("half_open", ["close", "close"], [("half_open", "closed")]),
        ("half_open", [None], []),
        ("closed", ["close", None], []),
        ("closed", [None], []),
        ("closed", ["open", "close", "open"], [("closed", "open"), ("open", "closed"), ("closed", "open")]),
    ],
)
def test_a_hold_is_told_only_where_it_changes_something(
    before: State, steps: list[Forced | None], changes: list[tuple[State, State]]
) -> None:
    rig = Rig()
    if before != "closed":
        rig.open() if before == "open" else rig.half_open()
    for forced in steps:
        rig.breaker.force(forced)
        assert rig.breaker.forced == forced
    assert rig.changes == changes


def _adopted(old: Rig, **keys: object) -> Rig:
    rig = Rig(**keys)
    rig.now = old.now
    rig.breaker.adopt(old.breaker)
    return rig


@pytest.mark.parametrize("forced", ["open", "close"])
def test_a_new_configuration_leaves_the_hold_and_tells_nobody(forced: Forced) -> None:
    old = Rig()
    old.breaker.force(forced)
    new = _adopted(old, failures=1)
    assert (new.breaker.forced, new.breaker.state, new.changes) == (forced, old.breaker.state, [])
    assert (new.breaker.admit() > 0) == (forced == "close")


def test_a_new_configuration_begins_anew_where_nobody_holds_it() -> None:
    old = Rig()
    old.open()
    new = _adopted(old, failures=1)
    assert (new.changes, counts(new.breaker)) == ([("open", "closed")], (0, 0))
    assert new.call("F") == "open"


def test_a_replaced_breaker_is_not_heard_of_any_more() -> None:
    old = Rig()
    epochs = [old.breaker.admit() for _ in range(10)]
    _adopted(old)
    for epoch in epochs:
        old.breaker.settle(epoch, True)
    assert old.changes == []


# --- what a refused client is told ------------------------------------------------------------------------------------


def test_the_wait_is_what_is_left_of_the_opening() -> None:
    rig = Rig()
    assert rig.breaker.retry_after_s == 0.0
    rig.open()
    rig.now += 12.5
    assert rig.breaker.retry_after_s == 17.5
    rig.now += 100
    assert rig.breaker.retry_after_s == 0.0
    rig.breaker.admit()
    assert rig.breaker.retry_after_s == 1.0


# --- against an oracle ------------------------------------------------------------------------------------------------


def test_every_change_of_state_is_reachable_and_each_state_has_a_way_out() -> None:
    """Of the table alone: no row leads nowhere, and whatever happens it can close again."""
    ways: dict[State, set[State]] = {"closed": set(), "open": set(), "half_open": set()}
    for (was, _), to in TRANSITIONS.items():
        ways[was].add(to)
    assert ways == {
        "closed": {"open", "closed"},
        "open": {"half_open", "closed"},
        "half_open": {"open", "closed"},
    }


class Oracle:
    """The same rules, told as a story: a list of all that was recorded, and a list of who is out for a probe."""

    def __init__(self, config: model.Breaker) -> None:
        self.config = config
        self.state: State = "closed"
        self.forced: Forced | None = None
        self.now = Fraction(START)
        self.records: list[tuple[int, str]] = []  # (slot, "request" | "failure" | "slow")
        self.era = 0
        self.out: list[object] = []
        self.good_probes = 0
        self.bad_openings = 0
        self.probe_at = Fraction(0)
        self.changes: list[tuple[State, State]] = []

    def slot(self) -> int:
        return int(self.now * 100 / Fraction(self.config.window_s))

    def count(self, kind: str) -> int:
        return sum(1 for slot, what in self.records if what == kind and slot > self.slot() - 100)

    def requests(self) -> int:
        return max(self.count("request"), self.count("failure"))

    def become(self, state: State) -> None:
        self.era += 1
        self.records, self.out, self.good_probes = [], [], 0
        if state != self.state:
            self.changes.append((self.state, state))
        self.state = state
        if state == "closed":
            self.bad_openings = 0
        if state == "open":
            length = Fraction(self.config.open_s)
            if self.config.open_max_s is not None:
                length = min(length * 2**self.bad_openings, Fraction(self.config.open_max_s))
            self.probe_at = self.now + length

    def wake(self) -> None:
        if self.state == "open" and not self.forced and self.now >= self.probe_at:
            self.become("half_open")

    def admit(self, call: object) -> bool:
        self.wake()
        if self.state == "half_open" and len(self.out) + self.good_probes < self.config.half_open_requests:
            self.out.append(call)
            return True
        return self.state == "closed"

    def record(self, kinds: Iterable[str]) -> None:
        self.records += [(self.slot(), kind) for kind in kinds]
        if self.forced or set(kinds) == {"request"}:
            return
        requests, failures, slow = self.requests(), self.count("failure"), self.count("slow")
        config = self.config
        tests = []
        if config.failures is not None:
            tests.append(failures >= config.failures)
        if config.failure_ratio is not None:
            tests.append(failures >= Fraction(config.failure_ratio) * requests)
            tests.append(config.failures is not None or requests >= config.min_requests)
        too_slow = config.slow_ratio is not None and requests >= config.min_requests
        if (tests and all(tests)) or (too_slow and slow >= Fraction(config.slow_ratio or 0) * requests):
            self.become("open")

    def settle(self, call: object, era: int, failed: bool, slow: bool) -> None:
        if era != self.era:
            return
        if self.state == "closed":
            self.record(["request"] + ["failure"] * failed + ["slow"] * slow)
        elif failed or (slow and self.config.slow_ratio):
            self.bad_openings += 1
            self.become("open")
        else:
            self.out.remove(call)
            self.good_probes += 1
            if self.good_probes == self.config.half_open_requests:
                self.become("closed")

    def cancel(self, call: object, era: int) -> None:
        if era == self.era and self.state == "half_open":
            self.out.remove(call)

    def force(self, forced: Forced | None) -> None:
        held, self.forced = self.forced, forced
        if held == forced:
            return
        target: State = {"open": "open", "close": "closed"}.get(forced or "", self.state)  # type: ignore[assignment]
        if forced is None:
            self.become("half_open" if held == "open" else "closed")
        elif target != self.state:
            self.become(target)


# Ratios that a float holds exactly, so that the oracle may multiply.
CONFIGS: st.SearchStrategy[dict[str, object]] = st.builds(
    dict,
    failures=st.none() | st.integers(1, 4),
    failure_ratio=st.none() | st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    min_requests=st.integers(1, 6),
    slow_ratio=st.none() | st.sampled_from([0.5, 1.0]),
    window_s=st.sampled_from([25, 100, 200]),
    open_s=st.sampled_from([0.25, 8, 30]),
    open_max_s=st.none() | st.sampled_from([30, 100]),
    half_open_requests=st.integers(1, 3),
)


class BreakerMachine(RuleBasedStateMachine):
    @initialize(keys=CONFIGS)
    def begin(self, keys: dict[str, object]) -> None:
        self.rig = Rig(**keys)
        self.oracle = Oracle(self.rig.breaker.config)
        self.calls: list[tuple[object, int, int]] = []  # call, its epoch here, its era there

    @rule(quarters=st.sampled_from([1, 3, 8, 40, 99, 100, 101, 120, 400, 1000]))
    def pass_time(self, quarters: int) -> None:
        self.rig.now += quarters / 4
        self.oracle.now += Fraction(quarters, 4)

    @rule()
    def admit(self) -> None:
        call, epoch = object(), self.rig.breaker.admit()
        assert (epoch > 0) == self.oracle.admit(call)
        if epoch:
            self.calls.append((call, epoch, self.oracle.era))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), failed=st.booleans(), slow=st.booleans())
    def settle(self, data: st.DataObject, failed: bool, slow: bool) -> None:
        call, epoch, era = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.rig.breaker.settle(epoch, failed, slow)
        self.oracle.settle(call, era, failed, slow)

    @rule(outcomes=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8))
    def burst(self, outcomes: list[tuple[bool, bool]]) -> None:
        for failed, slow in outcomes:
            self.admit()
            if self.calls:
                call, epoch, era = self.calls.pop()
                self.rig.breaker.settle(epoch, failed, slow)
                self.oracle.settle(call, era, failed, slow)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        call, epoch, era = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.rig.breaker.cancel(epoch)
        self.oracle.cancel(call, era)

    @rule()
    def amend(self) -> None:
        self.rig.breaker.amend()
        if self.oracle.state == "closed":
            self.oracle.record(["failure"])

    @rule()
    def tick(self) -> None:
        self.rig.breaker.tick()
        self.oracle.wake()

    @rule(forced=st.sampled_from(["open", "close", None, None]))
    def force(self, forced: Forced | None) -> None:
        self.rig.breaker.force(forced)
        self.oracle.force(forced)

    @invariant()
    def agree(self) -> None:
        breaker, oracle = self.rig.breaker, self.oracle
        assert (breaker.state, self.rig.changes) == (oracle.state, oracle.changes)
        assert counts(breaker) == (oracle.count("failure"), oracle.requests())
        until = oracle.probe_at if oracle.state == "open" and oracle.forced is None else None
        assert breaker.open_until == until
        assert breaker.probing == (oracle.state == "half_open")


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
