"""The wheel: deadlines are met, postponed ones cost nothing, and none is early."""

from __future__ import annotations

import asyncio
import socket
import time
import weakref

import uvloop
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.headers import Shapes
from proxy.wire.pool import EndpointPool
from proxy.wire.timer import TimerWheel


class Item:
    def __init__(self) -> None:
        self.deadline: float | None = None
        self.filed: float | None = None
        self.expired_at: list[float] = []

    def expire(self, now: float) -> None:
        self.expired_at.append(now)
        self.deadline = None


def test_a_deadline_expires_once_and_not_before_its_time() -> None:
    wheel, item = TimerWheel(0.1), Item()
    wheel.arm(item, 1.0)
    for tick in range(30):
        wheel.advance(tick / 10)
    assert len(item.expired_at) == 1
    assert 1.0 <= item.expired_at[0] <= 1.2


def test_a_cleared_deadline_never_expires() -> None:
    wheel, item = TimerWheel(0.1), Item()
    wheel.arm(item, 1.0)
    item.deadline = None
    wheel.advance(5.0)
    assert item.expired_at == []


def test_a_postponed_deadline_expires_at_its_new_time() -> None:
    wheel, item = TimerWheel(0.1), Item()
    wheel.arm(item, 1.0)
    item.deadline = 3.0
    wheel.advance(1.5)
    assert item.expired_at == []
    wheel.advance(3.2)
    assert item.expired_at == [3.2]


def test_a_nearer_deadline_is_not_missed() -> None:
    wheel, item = TimerWheel(0.1), Item()
    wheel.arm(item, 75.0)
    wheel.arm(item, 1.0)
    wheel.advance(1.2)
    assert item.expired_at == [1.2]


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5)), min_size=1, max_size=30))
def test_every_last_armed_deadline_is_met_within_two_ticks(steps: list[tuple[float, float]]) -> None:
    """Oracle: the time between the deadline and the first tick after it."""
    wheel, item, now = TimerWheel(0.1), Item(), 0.0
    for wait, timeout in steps:
        item.expired_at.clear()
        wheel.arm(item, now + timeout)
        deadline, end = now + timeout, now + wait
        while now < end:
            now += 0.1
            wheel.advance(now)
            if item.expired_at:
                assert deadline <= item.expired_at[0] <= deadline + 0.21
            else:
                assert now <= deadline + 0.21


def test_a_late_tick_spares_everybody_once() -> None:
    wheel, item = TimerWheel(0.1), Item()
    wheel.tick(10.0)
    wheel.arm(item, 10.3)
    wheel.tick(10.6)  # 0.5 s late: what would have met the deadline may lie unread
    assert item.expired_at == []
    wheel.tick(10.7)
    assert item.expired_at == [10.7]


def test_bytes_read_after_a_stall_meet_the_deadline() -> None:
    wheel, item = TimerWheel(0.1), Item()
    wheel.tick(10.0)
    wheel.arm(item, 10.3)
    wheel.tick(10.6)
    item.deadline = None  # as a connection does that reads what it waited for
    wheel.tick(10.7)
    assert item.expired_at == []


def test_a_loop_that_is_always_late_still_expires() -> None:
    wheel, item, now = TimerWheel(0.1), Item(), 10.0
    wheel.tick(now)
    wheel.arm(item, 10.5)
    for _ in range(4):
        now += 0.5
        wheel.tick(now)
    assert item.expired_at == [11.0]


def test_the_lag_is_the_worst_of_the_last_ten_seconds_and_stalls_are_counted() -> None:
    wheel, now = TimerWheel(0.1), 100.0
    wheel.tick(now)
    for step in (0.1, 0.15, 0.4, 0.1):
        now += step
        wheel.tick(now)
    assert round(wheel.lag.recent(now), 3) == 0.3
    assert wheel.lag.stalls == 1
    assert wheel.lag.recent(now + 11) == 0


def test_a_connect_that_succeeded_while_the_loop_stood_still_is_no_timeout() -> None:
    async def story(port: int) -> int:
        loop, wheel = asyncio.get_running_loop(), TimerWheel()
        wheel.start(loop)
        pool = EndpointPool(
            "127.0.0.1", port, wheel, connect_s=0.2, body_s=1.0, keepalive_s=4.0, shapes=Shapes(), max_idle=1
        )
        connecting = asyncio.create_task(pool.connect())
        loop.call_later(0, time.sleep, 0.5)
        connection = await connecting
        connection.abort()
        await asyncio.sleep(0)
        wheel.stop()
        return wheel.lag.stalls

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert uvloop.run(story(listener.getsockname()[1])) == 1


def test_a_head_that_came_in_the_turn_before_its_deadline_is_no_timeout() -> None:
    """The wheel turns before the task that waits for the head goes on."""

    async def story(port: int) -> int:
        loop, wheel = asyncio.get_running_loop(), TimerWheel()
        pool = EndpointPool("127.0.0.1", port, wheel, connect_s=1.0, body_s=1.0, keepalive_s=4.0, shapes=Shapes())
        connection = await pool.connect()
        connection.begin(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", head_only=False, body=False, chunked=False)
        waiting = asyncio.create_task(connection.response(0.2))
        await asyncio.sleep(0)
        connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        wheel.advance(loop.time() + 1)
        try:
            return (await waiting).status
        finally:
            pool.release(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert uvloop.run(story(listener.getsockname()[1])) == 200


def test_what_has_ended_is_not_kept_until_its_time() -> None:
    wheel, item, other = TimerWheel(0.1), Item(), Item()
    wheel.advance(0.0)
    wheel.arm(item, 600.0)
    wheel.arm(other, 600.0)
    kept = weakref.ref(item)
    wheel.drop(item)
    del item
    assert kept() is None
    wheel.advance(601.0)
    assert len(other.expired_at) == 1


def test_a_dropped_item_may_be_armed_again() -> None:
    wheel, item = TimerWheel(0.1), Item()
    wheel.arm(item, 5.0)
    wheel.drop(item)
    wheel.drop(item)
    wheel.arm(item, 9.0)
    wheel.advance(6.0)
    assert item.expired_at == []
    wheel.advance(9.2)
    assert len(item.expired_at) == 1
