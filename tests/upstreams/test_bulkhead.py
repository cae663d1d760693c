"""The bulkhead: never more than its cap, first come first served, no slot lost or leaked whatever befalls a waiter.

The loop's clock is a number here, and the tests decide what comes in the same turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import BulkheadFull
from proxy.upstreams.bulkhead import Bulkhead

LONG_S = 1e6


class Loop(asyncio.SelectorEventLoop):
    """Its clock stands unless a test moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.failed: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.failed.append(context))

    def time(self) -> float:
        return self.now


class Crowd:
    """Requests at one bulkhead, by number in order of arrival."""

    def __init__(self, bulkhead: Bulkhead, loop: Loop) -> None:
        self.bulkhead = bulkhead
        self.loop = loop
        self.tasks: list[asyncio.Task[None]] = []
        self.holders: list[int] = []
        self.waited: list[int] = []  # in the order in which they got in
        self.refused: list[int] = []
        self.cancelled: list[int] = []
        self.most = 0

    def arrive(self, limit_s: float = LONG_S) -> int:
        number = len(self.tasks)
        self.tasks.append(self.loop.create_task(self._arrive(number, limit_s)))
        return number

    async def _arrive(self, number: int, limit_s: float) -> None:
        if self.bulkhead.take():
            self._enter(number)
            return
        try:
            await self.bulkhead.wait(limit_s)
        except BulkheadFull as error:
            assert (error.status, error.cause, error.retry_after_s) == (503, "bulkhead_full", 1.0)
            self.refused.append(number)
        except asyncio.CancelledError:
            self.cancelled.append(number)
        else:
            self.waited.append(number)
            self._enter(number)

    def _enter(self, number: int) -> None:
        self.holders.append(number)
        self.most = max(self.most, len(self.holders))

    def leave(self, number: int) -> None:
        self.holders.remove(number)
        self.bulkhead.release()

    def cancel(self, number: int) -> None:
        self.tasks[number].cancel()

    async def time_out(self) -> None:
        """Until the timer of the one waiter has fired, and the waiter itself has not run yet."""
        self.loop.now += 2.0
        for _ in range(2):
            await asyncio.sleep(0)
        assert (self.bulkhead.queued, self.refused) == (0, [])

    async def settle(self) -> None:
        """Until nothing moves any more."""
        for _ in range(6):
            await asyncio.sleep(0)


Story = Callable[[Crowd], Awaitable[None]]


def tell(story: Story, cap: int | None = 1, queue: int | None = 10, queue_s: float = 1.0) -> Crowd:
    """Run a story, let everybody go, and see that the bulkhead is as it was."""

    async def whole(loop: Loop) -> Crowd:
        crowd = Crowd(Bulkhead(cap, queue, queue_s), loop)
        await story(crowd)
        await crowd.settle()
        while crowd.holders:
            crowd.leave(crowd.holders[0])
            await crowd.settle()
        assert all(task.done() for task in crowd.tasks), "somebody waits for a slot that is free"
        assert (crowd.bulkhead.in_flight, crowd.bulkhead.queued) == (0, 0)
        assert crowd.bulkhead.rejected == len(crowd.refused)
        assert loop.failed == []
        return crowd

    loop = Loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(whole(loop))


def test_it_lets_in_as_many_as_its_cap() -> None:
    bulkhead = Bulkhead(2, 0, 1.0)
    assert [bulkhead.take() for _ in range(3)] == [True, True, False]
    bulkhead.release()
    assert bulkhead.take()
    assert bulkhead.in_flight == 2


def test_without_a_cap_it_only_counts() -> None:
    bulkhead = Bulkhead(None, None, 1.0)
    assert all(bulkhead.take() for _ in range(1000))
    assert bulkhead.in_flight == 1000


def test_waiters_get_in_in_the_order_of_arrival() -> None:
    async def story(crowd: Crowd) -> None:
        for _ in range(5):
            crowd.arrive()
        await crowd.settle()
        assert (crowd.bulkhead.queued, crowd.bulkhead.in_flight) == (4, 1)

    crowd = tell(story)
    assert crowd.waited == [1, 2, 3, 4]
    assert crowd.most == 1


def test_a_newcomer_does_not_overtake_a_waiter() -> None:
    async def story(crowd: Crowd) -> None:
        first, second = crowd.arrive(), crowd.arrive()
        await crowd.settle()
        crowd.leave(first)
        assert not crowd.bulkhead.take()  # in the same turn: the slot is the waiter's already
        await crowd.settle()
        assert crowd.holders == [second]

    tell(story)


@pytest.mark.parametrize(("cap", "queue", "refused"), [(1, 2, [3, 4]), (1, 0, [1, 2, 3, 4]), (2, None, [4])])
def test_a_full_queue_refuses_at_once(cap: int, queue: int | None, refused: list[int]) -> None:
    async def story(crowd: Crowd) -> None:
        for _ in range(5):
            crowd.arrive()
        await crowd.settle()
        assert crowd.refused == refused

    tell(story, cap, queue)


@pytest.mark.parametrize("limit_s", [0.4, LONG_S])
def test_a_waiter_gives_up_when_its_time_is_over(limit_s: float) -> None:
    async def story(crowd: Crowd) -> None:
        crowd.arrive()
        second = crowd.arrive(limit_s)
        await crowd.settle()
        crowd.loop.now += min(limit_s, 1.0) - 0.01
        await crowd.settle()
        assert crowd.refused == []
        crowd.loop.now += 0.02
        await crowd.settle()
        assert (crowd.refused, crowd.bulkhead.queued) == ([second], 0)

    tell(story)


@pytest.mark.parametrize("limit_s", [0.0, -3.0])
def test_who_has_no_time_does_not_wait(limit_s: float) -> None:
    bulkhead = Bulkhead(1, 10, 1.0)
    bulkhead.take()
    with pytest.raises(BulkheadFull):
        bulkhead.wait(limit_s).send(None)
    assert (bulkhead.rejected, bulkhead.queued) == (1, 0)


def test_a_wait_where_a_slot_is_free_is_none() -> None:
    bulkhead = Bulkhead(1, 0, 1.0)
    asyncio.run(bulkhead.wait(1.0))
    assert bulkhead.in_flight == 1


def test_a_cancelled_waiter_leaves_the_queue() -> None:
    async def story(crowd: Crowd) -> None:
        crowd.arrive()
        second, third = crowd.arrive(), crowd.arrive()
        await crowd.settle()
        crowd.cancel(second)
        await crowd.settle()
        assert crowd.bulkhead.queued == 1
        crowd.leave(0)
        await crowd.settle()
        assert crowd.holders == [third]

    assert tell(story).cancelled == [1]


def test_a_slot_handed_to_who_is_cancelled_in_the_same_turn_goes_on_to_the_next() -> None:
    async def story(crowd: Crowd) -> None:
        crowd.arrive()
        second, third = crowd.arrive(), crowd.arrive()
        await crowd.settle()
        crowd.leave(0)
        crowd.cancel(second)
        await crowd.settle()
        assert (crowd.holders, crowd.cancelled) == ([third], [second])

    tell(story)


def test_a_slot_is_not_handed_to_who_was_cancelled_in_the_same_turn() -> None:
    async def story(crowd: Crowd) -> None:
        crowd.arrive()
        second, third = crowd.arrive(), crowd.arrive()
        await crowd.settle()
        crowd.cancel(second)
        crowd.leave(0)
        await crowd.settle()
        assert (crowd.holders, crowd.cancelled) == ([third], [second])

    tell(story)


@pytest.mark.parametrize("turns", [0, 1])  # the waiter wakes before its timer fires, or after
def test_a_slot_handed_as_the_time_is_over_is_taken(turns: int) -> None:
    async def story(crowd: Crowd) -> None:
        crowd.arrive()
        second = crowd.arrive()
        await crowd.settle()
        crowd.loop.now += 2.0
        for _ in range(turns):
            await asyncio.sleep(0)
        crowd.leave(0)
        await crowd.settle()
        assert (crowd.holders, crowd.refused) == ([second], [])

    tell(story)


def test_a_slot_is_not_handed_to_who_has_just_given_up() -> None:
    async def story(crowd: Crowd) -> None:
        crowd.arrive()
        second = crowd.arrive()
        await crowd.settle()
        await crowd.time_out()
        third = crowd.arrive()
        crowd.leave(0)
        await crowd.settle()
        assert (crowd.holders, crowd.refused) == ([third], [second])

    tell(story)


def test_who_gave_up_and_is_cancelled_in_the_same_turn_holds_nothing() -> None:
    async def story(crowd: Crowd) -> None:
        crowd.arrive()
        second = crowd.arrive()
        await crowd.settle()
        await crowd.time_out()
        crowd.cancel(second)
        await crowd.settle()
        assert (crowd.bulkhead.in_flight, crowd.cancelled) == (1, [second])

    tell(story)


def test_a_wait_that_is_dropped_leaves_the_queue() -> None:
    async def story(crowd: Crowd) -> None:
        crowd.arrive()
        await crowd.settle()
        wait = crowd.bulkhead.wait(1.0)
        wait.send(None)
        assert crowd.bulkhead.queued == 1
        wait.close()

    tell(story)


@pytest.mark.parametrize(("cap", "holders"), [(3, [0, 1, 2]), (None, [0, 1, 2, 3, 4])])
def test_a_larger_cap_lets_waiters_in_at_once(cap: int | None, holders: list[int]) -> None:
    async def story(crowd: Crowd) -> None:
        for _ in range(5):
            crowd.arrive()
        await crowd.settle()
        crowd.bulkhead.resize(cap, 10, 1.0)
        await crowd.settle()
        assert crowd.holders == holders

    tell(story)


def test_a_smaller_cap_is_reached_as_slots_come_back() -> None:
    async def story(crowd: Crowd) -> None:
        for _ in range(4):
            crowd.arrive()
        await crowd.settle()
        crowd.bulkhead.resize(1, 10, 1.0)
        for number in (0, 1):
            crowd.leave(number)
            await crowd.settle()
            assert 3 not in crowd.holders
        crowd.leave(2)
        await crowd.settle()
        assert crowd.holders == [3]

    tell(story, cap=3)


def test_a_new_queue_length_and_wait_hold_for_who_comes_next() -> None:
    async def story(crowd: Crowd) -> None:
        crowd.arrive()
        patient = crowd.arrive()
        await crowd.settle()
        crowd.bulkhead.resize(1, 2, 0.1)
        hasty, third = crowd.arrive(), crowd.arrive()
        await crowd.settle()
        assert crowd.refused == [third]
        crowd.loop.now += 0.2
        await crowd.settle()
        assert crowd.refused == [third, hasty]
        crowd.leave(0)
        await crowd.settle()
        assert crowd.holders == [patient]

    tell(story)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.sampled_from([0, 1, 3, 100])),
        st.tuples(st.just("arrive"), st.sampled_from([100])),
        st.tuples(st.just("leave"), st.integers(0, 50)),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        st.tuples(st.just("pass"), st.sampled_from([1, 2, 5])),
        st.tuples(st.just("turn"), st.integers(1, 2)),
        st.tuples(st.just("resize"), st.integers(1, 5)),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(cap=st.integers(1, 4), queue=st.none() | st.integers(0, 6), steps=STEPS)
def test_any_mix_keeps_the_cap_and_the_order_and_loses_no_slot(
    cap: int, queue: int | None, steps: list[tuple[str, int]]
) -> None:
    """Steps without a turn between them come in one turn of the loop. `ceiling`: after a smaller cap as many as were
    in flight, less with each that leaves."""

    async def story(crowd: Crowd) -> None:
        bulkhead, ceiling = crowd.bulkhead, cap
        for step, number in steps:
            if step == "arrive":
                crowd.arrive(number / 10)
            elif step == "leave" and crowd.holders:
                crowd.leave(crowd.holders[number % len(crowd.holders)])
            elif step == "cancel" and crowd.tasks:
                crowd.cancel(number % len(crowd.tasks))
            elif step == "pass":
                crowd.loop.now += number / 10
            elif step == "turn":
                for _ in range(number):
                    await asyncio.sleep(0)
            elif step == "resize":
                ceiling = max(number, bulkhead.in_flight)
                bulkhead.resize(number, queue, 0.5)
            assert bulkhead.max_in_flight is not None
            ceiling = max(bulkhead.max_in_flight, min(ceiling, bulkhead.in_flight))
            assert len(crowd.holders) <= bulkhead.in_flight <= ceiling
            if bulkhead.queued:
                assert bulkhead.in_flight >= bulkhead.max_in_flight

    crowd = tell(story, cap, queue, 0.5)
    assert crowd.waited == sorted(crowd.waited)
