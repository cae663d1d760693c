"""The share that was really seen: since the last change, and five minutes back at most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.metrics import Metrics
from proxy.telemetry.seen import NOTE_EVERY_S, WINDOW_S, Seen, SeenShare

START = 1000.0


class Traffic:
    """Meters and the window over them; `now` is the clock."""

    def __init__(self) -> None:
        self.now = START
        self.metrics = Metrics("1.2.3", lambda: 0)
        self.share = SeenShare(self.metrics, self.now)

    def answer(self, legacy: int = 0, extracted: int = 0, seam: str = "a") -> None:
        for side, count in (("legacy", legacy), ("extracted", extracted)):
            for _ in range(count):
                self.metrics.meter(seam, side).count("GET", 200, 0.001)

    def pass_time(self, seconds: float) -> None:
        """Note every NOTE_EVERY_S, as the process does."""
        end = self.now + seconds
        while self.now + NOTE_EVERY_S <= end:
            self.now += NOTE_EVERY_S
            self.share.note(["a", "b"], self.now)
        self.now = end

    def seen(self, seam: str = "a") -> Seen:
        return self.share.seen(seam, self.now)


def test_nothing_was_seen_of_a_seam_without_requests() -> None:
    traffic = Traffic()
    traffic.pass_time(25)
    assert traffic.seen() == Seen(25.0, 0, None)
    assert traffic.share.seen("never noted", traffic.now) == Seen(25.0, 0, None)


@pytest.mark.parametrize(
    ("legacy", "extracted", "percent"), [(4, 0, 0.0), (0, 4, 100.0), (3, 1, 25.0), (2, 1, 33.33), (1, 2, 66.67)]
)
def test_the_share_is_of_what_both_sides_answered(legacy: int, extracted: int, percent: float) -> None:
    traffic = Traffic()
    traffic.answer(legacy, extracted)
    assert traffic.seen() == Seen(0.0, legacy + extracted, percent)


def test_requests_since_the_last_note_count_at_once() -> None:
    traffic = Traffic()
    traffic.pass_time(20)
    traffic.answer(extracted=1)
    assert traffic.seen() == Seen(20.0, 1, 100.0)


def test_seams_are_seen_apart() -> None:
    traffic = Traffic()
    traffic.answer(legacy=2)
    traffic.answer(extracted=3, seam="b")
    assert (traffic.seen("a").percent, traffic.seen("b").percent) == (0.0, 100.0)


def test_what_no_seam_answered_is_not_seen() -> None:
    traffic = Traffic()
    traffic.metrics.meter("a", "none").count("GET", 404, 0.001)
    assert traffic.seen().requests == 0


def test_a_change_of_the_seam_begins_a_new_window() -> None:
    traffic = Traffic()
    traffic.answer(legacy=90, extracted=10)
    traffic.pass_time(40)
    traffic.share.restart("a", traffic.now)
    assert traffic.seen() == Seen(0.0, 0, None)
    traffic.now += 4
    traffic.answer(legacy=1, extracted=1)
    assert traffic.seen() == Seen(4.0, 2, 50.0)


def test_a_change_of_one_seam_leaves_the_window_of_another() -> None:
    traffic = Traffic()
    traffic.answer(extracted=2, seam="b")
    traffic.pass_time(40)
    traffic.share.restart("a", traffic.now)
    assert traffic.seen("b") == Seen(40.0, 2, 100.0)


def test_a_new_window_does_not_reach_back_over_the_change_later_either() -> None:
    traffic = Traffic()
    traffic.answer(legacy=90)
    traffic.pass_time(100)
    traffic.share.restart("a", traffic.now)
    traffic.answer(extracted=3)
    traffic.pass_time(200)
    assert traffic.seen() == Seen(200.0, 3, 100.0)


def test_what_is_older_than_the_window_is_no_longer_seen() -> None:
    traffic = Traffic()
    traffic.answer(legacy=90)
    traffic.pass_time(10)
    traffic.answer(extracted=10)
    assert traffic.seen().requests == 100
    traffic.pass_time(WINDOW_S + 10)
    assert traffic.seen().requests == 0


@given(st.floats(0, 3 * WINDOW_S))
def test_the_window_is_five_minutes_at_most_and_all_there_was_until_then(seconds: float) -> None:
    traffic = Traffic()
    traffic.pass_time(seconds)
    window_s = traffic.seen().window_s
    assert window_s <= WINDOW_S
    if seconds <= WINDOW_S - NOTE_EVERY_S:
        assert window_s == round(seconds, 3)
    else:
        assert window_s >= WINDOW_S - 2 * NOTE_EVERY_S


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=60))
def test_the_window_holds_exactly_what_was_answered_since_its_begin(rounds: list[tuple[int, int]]) -> None:
    traffic = Traffic()
    answered: list[tuple[float, int, int]] = []
    for legacy, extracted in rounds:
        traffic.pass_time(NOTE_EVERY_S)
        traffic.answer(legacy, extracted)  # after the note of that moment
        answered.append((traffic.now, legacy, extracted))
    seen = traffic.seen()
    begin = traffic.now - seen.window_s
    assert seen.requests == sum(legacy + extracted for at, legacy, extracted in answered if at >= begin)
