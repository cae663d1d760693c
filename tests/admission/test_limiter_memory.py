"""The limiter in memory: bounded, and a flood of keys frees nobody."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.admission.limiter_memory import _SHARED, MemoryLimiter
from proxy.admission.rate_limit import Limit
from tests.support.limits import BruteForce

LIMIT = Limit("per-user", 10, 60, 10)


def _exhaust(limiter: MemoryLimiter, limit: Limit, key: str, now_s: float) -> int:
    passed = 0
    while limiter.check([(limit, key)], now_s).allowed:
        passed += 1
    return passed


def test_a_flood_of_keys_frees_nobody_and_does_not_grow_the_table() -> None:
    limiter = MemoryLimiter(most_keys=1000)
    assert _exhaust(limiter, LIMIT, "victim", 0.0) == 10
    for n in range(50_000):
        limiter.check([(LIMIT, f"flood-{n}")], 1.0)
    assert len(limiter) <= 1000 + _SHARED
    assert not limiter.check([(LIMIT, "victim")], 1.0).allowed
    assert limiter.check([(LIMIT, "victim")], 6.0).allowed
    assert not limiter.check([(LIMIT, "victim")], 6.0).allowed


def test_a_flood_at_one_limit_does_not_reach_the_next() -> None:
    limiter = MemoryLimiter(most_keys=100)
    other = Limit("per-user", 10, 60, 10, scope="orders")
    for n in range(100 + 20 * _SHARED):
        limiter.check([(LIMIT, f"flood-{n}")], 0.0)
    refused = sum(not limiter.check([(LIMIT, f"new-{n}")], 0.0).allowed for n in range(100))
    assert refused > 80  # the flood has used up what newcomers share: that is the price of a bound
    assert all(limiter.check([(other, f"new-{n}")], 0.0).allowed for n in range(100))


def test_when_a_flood_is_over_newcomers_have_their_own_again() -> None:
    limiter = MemoryLimiter(most_keys=100)
    for n in range(100 + 20 * _SHARED):
        limiter.check([(LIMIT, f"flood-{n}")], 0.0)
    assert all(_exhaust(limiter, LIMIT, f"new-{n}", 61.0) == 10 for n in range(90))
    assert len(limiter) <= 100


def test_keys_whose_debt_is_paid_off_make_room_behind_one_that_has_much() -> None:
    """A hundred that used one request each are free again after 6 s; the first of the table is not for a minute."""
    limiter = MemoryLimiter(most_keys=100)
    assert _exhaust(limiter, LIMIT, "greedy", 0.0) == 10
    for n in range(99):
        limiter.check([(LIMIT, f"old-{n}")], 0.0)
    for n in range(99):
        assert _exhaust(limiter, LIMIT, f"new-{n}", 7.0) == 10
    assert len(limiter) <= 100 + 1
    assert _exhaust(limiter, LIMIT, "greedy", 7.0) == 1


def test_the_table_empties_as_new_keys_come() -> None:
    limiter = MemoryLimiter()
    for n in range(10_000):
        limiter.check([(LIMIT, f"old-{n}")], 0.0)
    for n in range(4_000):
        limiter.check([(LIMIT, f"new-{n}")], 100.0)
    assert len(limiter) <= 4_000 + 4


def test_new_numbers_of_a_limit_keep_the_time_that_a_client_owes() -> None:
    limiter = MemoryLimiter()
    assert _exhaust(limiter, LIMIT, "k", 0.0) == 10  # a minute of debt
    faster = Limit("per-user", 20, 60, 20)
    assert not limiter.check([(faster, "k")], 0.0).allowed
    assert _exhaust(limiter, faster, "k", 30.0) == 10
    lower = Limit("per-user", 1, 3, 1)  # owes at most its own burst from now on
    assert not limiter.check([(lower, "k")], 32.9).allowed
    assert limiter.check([(lower, "k")], 36.0).allowed


def test_a_limit_that_blocked_for_a_while_finds_its_debts_again() -> None:
    limiter = MemoryLimiter()
    assert _exhaust(limiter, LIMIT, "k", 0.0) == 10
    assert not limiter.check([(Limit("per-user", 0, 60, 10), "k")], 0.0).allowed
    assert not limiter.check([(LIMIT, "k")], 5.9).allowed
    assert limiter.check([(LIMIT, "k")], 6.0).allowed


def test_what_a_reload_took_away_is_forgotten() -> None:
    limiter = MemoryLimiter()
    other = Limit("other", 1, 60, 1)
    limiter.check([(LIMIT, "k"), (other, "k")], 0.0)
    limiter.retain([Limit("other", 5, 60, 5)])
    assert len(limiter) == 1
    assert _exhaust(limiter, LIMIT, "k", 0.0) == 10


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.one_of(st.just(0), st.integers(0, 3 * 10**9), st.integers(0, 10**11))),
        min_size=1,
        max_size=80,
    ),
    st.integers(0, 4),
)
def test_however_small_the_table_no_key_gets_more_than_its_limit(visits: list[tuple[int, int]], most_keys: int) -> None:
    limit = Limit("x", 3, 10, 2)
    limiter, models, now_ns = MemoryLimiter(most_keys), [BruteForce(limit) for _ in range(6)], 0
    for key, gap in visits:
        now_ns += gap
        if limiter.check([(limit, f"k{key}")], now_ns / 1e9).allowed:
            models[key].passed.append(now_ns)
    assert all(model.keeps_the_bound() for model in models)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3 * 10**9)), min_size=1, max_size=80),
)
def test_where_there_is_room_every_key_gets_exactly_its_limit(visits: list[tuple[int, int]]) -> None:
    limit = Limit("x", 3, 10, 2)
    limiter, models, now_ns = MemoryLimiter(6), [BruteForce(limit) for _ in range(6)], 0
    for key, gap in visits:
        now_ns += gap
        room = models[key].would_pass(now_ns)
        assert limiter.check([(limit, f"k{key}")], now_ns / 1e9).allowed == room
        if room:
            models[key].passed.append(now_ns)
