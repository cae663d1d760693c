"""What is learned of a control that does not answer alike twice, and how little that forgives."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.shadow.noise import ACCEPTED, OTHER, Differs, EndpointNoise, Flaky, after_resend
from proxy.shadow.sequential import Paired


def value(*formats: str, rising: bool = False) -> Differs:
    return Differs("value", frozenset(formats), rising)


UUID = value("uuid")
TEXT = value("text")
RISING = value("int", rising=True)
GONE = Differs("removed")


def learned(*differences: Differs, of: int | None = None) -> EndpointNoise:
    """What was learned at $.id of as many second controls that differed so, and of others that did not, `of` in all."""
    noise = EndpointNoise()
    for difference in differences:
        noise = noise.observe({"$.id": difference}, set())
    for _ in range((of or len(differences)) - len(differences)):
        noise = noise.observe({}, set())
    return noise


# --- by experience ---------------------------------------------------------------------------------------------------


def test_an_id_is_noisy_once_it_has_differed_twice() -> None:
    assert learned(UUID).standing("$.id") == "quiet"
    assert learned(UUID, UUID).standing("$.id") == "noisy"
    assert learned(UUID, UUID).standing("$.other") == "quiet"


def test_a_path_is_noisy_only_where_it_surely_differs_in_more_than_half_a_percent() -> None:
    assert learned(UUID, UUID, of=71).standing("$.id") == "noisy"
    assert learned(UUID, UUID, of=72).standing("$.id") == "quiet"
    assert learned(UUID, UUID, of=72).noisy == {}


@pytest.mark.parametrize("format_", sorted(ACCEPTED))
def test_ids_times_near_now_and_tokens_are_accepted_by_themselves(format_: str) -> None:
    noise = learned(*[value(format_)] * 3)
    assert noise.standing("$.id") == "noisy"
    assert noise.forgives("$.id", value(format_))
    assert noise.noisy == {"$.id": frozenset({format_})}
    assert noise.volatile == ()


@pytest.mark.parametrize("format_", ["text", "int", "datetime", "date", "url", "decimal", "boolean", "order"])
def test_anything_else_waits_for_a_rule(format_: str) -> None:
    noise = learned(*[value(format_)] * 30)
    assert noise.standing("$.id") == "volatile"
    assert noise.volatile == ("$.id",)
    assert not noise.forgives("$.id", value(format_))
    assert noise.noisy == {}


@pytest.mark.parametrize("kind", ["removed", "added", "type", "content_type", "unparseable"])
def test_presence_and_type_wait_for_a_rule_too(kind: str) -> None:
    noise = learned(*[Differs(kind)] * 30)
    assert noise.volatile == ("$.id",)
    assert not noise.forgives("$.id", Differs(kind))


@pytest.mark.parametrize("difference", [GONE, Differs("type"), TEXT, value("uuid", "text"), value("hex"), value("int")])
def test_a_noisy_path_forgives_nothing_but_values_of_the_learned_format(difference: Differs) -> None:
    noise = learned(*[UUID] * 50)
    assert noise.forgives("$.id", UUID)
    assert not noise.forgives("$.id", difference)
    assert not noise.forgives("$.name", UUID)


def test_a_counter_must_have_risen_eight_times_and_never_fallen() -> None:
    assert learned(*[RISING] * 7).standing("$.id") == "volatile"
    noise = learned(*[RISING] * 8)
    assert noise.standing("$.id") == "noisy"
    assert noise.noisy == {"$.id": frozenset({"int"})}
    assert noise.forgives("$.id", value("int"))
    assert learned(*[RISING] * 40, value("int")).standing("$.id") == "volatile"


@pytest.mark.parametrize("stranger", [TEXT, value("uuid", "text"), GONE, Differs("type")])
def test_differences_of_another_kind_that_are_noise_themselves_take_the_acceptance_away(stranger: Differs) -> None:
    assert learned(*[UUID] * 40, stranger).standing("$.id") == "noisy"
    noise = learned(*[UUID] * 40, stranger, stranger)
    assert noise.standing("$.id") == "volatile"
    assert not noise.forgives("$.id", UUID)
    assert learned(*[UUID] * 400, stranger, stranger).standing("$.id") == "noisy"
    assert not learned(*[UUID] * 400, stranger, stranger).forgives("$.id", stranger)


def test_one_of_each_kind_is_not_yet_accepted() -> None:
    assert learned(UUID, TEXT).standing("$.id") == "volatile"


def test_a_hex_token_now_and_then_has_no_letter() -> None:
    noise = learned(*[value("hex")] * 20, value("hex", "int"), value("hex", "int"), value("int"))
    assert noise.standing("$.id") == "noisy"
    assert noise.noisy == {"$.id": frozenset({"hex"})}
    assert learned(*[value("int", "uuid")] * 20).standing("$.id") == "volatile"


# --- who strays ------------------------------------------------------------------------------------------------------


def test_only_who_strays_alone_is_entered() -> None:
    noise = EndpointNoise()
    noise = noise.observe({"$.a": TEXT}, {"$.a", "$.b"})  # both at a, the candidate alone at b
    noise = noise.observe({"$.b": TEXT}, set())  # the control alone at b
    assert noise.n == 2
    assert noise.paths["$.a"].paired == Paired(0, 0)
    assert noise.paths["$.b"].paired == Paired(1, 1)
    assert (noise.paths["$.a"].k, noise.paths["$.b"].k) == (1, 1)


def test_a_mismatch_is_what_comes_again() -> None:
    assert after_resend(True) == "mismatch"
    assert after_resend(False) == "flaky"
    assert after_resend(None) == "mismatch"  # nobody could be asked: nothing is excused


def test_a_candidate_that_is_wrong_now_and_then_is_told_from_a_control_that_races() -> None:
    racing = wrong = EndpointNoise()
    for number in range(1_000):
        racing = racing.with_flaky(candidate=number % 100 == 0, control=number % 100 == 50)
        wrong = wrong.with_flaky(candidate=number % 100 == 0, control=False)
    assert racing.flaky == Flaky(1_000, 10, Paired(10, 10))
    assert racing.flaky.paired.log_e < 0
    assert wrong.flaky.paired.log_e > 4.6051  # ln 100


# --- state -----------------------------------------------------------------------------------------------------------

DIFFERS = st.sampled_from([UUID, TEXT, RISING, value("uuid", "text"), GONE])
FEW = st.sampled_from(["$.a", "$.b", "$.c[*].d"])


@st.composite
def noises(draw: st.DrawFn, paths: st.SearchStrategy[str] = FEW) -> EndpointNoise:
    noise = EndpointNoise()
    for _ in range(draw(st.integers(0, 4))):
        noise = noise.observe(draw(st.dictionaries(paths, DIFFERS, max_size=3)), draw(st.sets(paths, max_size=3)))
        noise = noise.with_flaky(draw(st.booleans()), draw(st.booleans()))
    return noise


@given(noises(), noises(), noises())
def test_parts_can_be_added_in_any_order_and_grouping(a: EndpointNoise, b: EndpointNoise, c: EndpointNoise) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + EndpointNoise() == a


def wide(start: int, step: int) -> EndpointNoise:
    return EndpointNoise().observe({f"$.p{number:04}": UUID for number in range(start, 700, step)}, {"$.p0001"})


def test_parts_beyond_200_paths_can_too() -> None:
    parts = [wide(0, 2), wide(1, 2), wide(0, 3), wide(5, 7)]
    forwards = (parts[0] + parts[1]) + (parts[2] + parts[3])
    backwards = parts[3] + (parts[2] + (parts[1] + parts[0]))
    assert forwards == backwards
    assert len(forwards.paths) == 201
    assert sum(noise.k for noise in forwards.paths.values()) == 350 + 350 + 234 + 100
    assert [forwards.paths[f"$.p{number:04}"].k for number in range(6)] == [2, 1, 1, 2, 1, 2]


def test_what_is_counted_together_is_never_forgiven() -> None:
    noise = wide(0, 1) + wide(0, 1)
    assert noise.standing("$.p0000") == "noisy"
    assert noise.paths[OTHER].k == 1_000
    assert noise.standing(OTHER) == "quiet"
    assert not noise.forgives(OTHER, UUID)
    assert OTHER not in noise.noisy


@given(noises())
def test_the_state_survives_json(noise: EndpointNoise) -> None:
    assert EndpointNoise.from_json(json.loads(json.dumps(noise.to_json()))) == noise


@given(st.integers(0, 60), st.integers(0, 400))
def test_a_path_that_differs_more_often_is_no_quieter(differing: int, agreeing: int) -> None:
    def standing(k: int) -> str:
        labels = {"$.id": UUID}
        noise = EndpointNoise(agreeing)
        for _ in range(k):
            noise = noise.observe(labels, set())
        return noise.standing("$.id")

    order = ["quiet", "noisy"]
    standings = [order.index(standing(k)) for k in (differing, differing + 1)]
    assert all(before <= after for before, after in pairwise(standings))
