"""How many requests may pass: GCRA, the leaky bucket that keeps one number a key (ITU-T I.371, "virtual scheduling").

A request costs `window_s / requests` seconds of debt, debt is paid off as time passes, and a request passes while the
debt with it is at most `burst` requests' worth. So in any t seconds at most `burst + floor(t * requests / window_s)`
pass, and whoever asks at a steady `requests / window_s` is never refused.

Debts are whole numbers of 1/requests of a nanosecond: in that unit a request costs exactly `window_ns`, whatever the
quotient is, and nothing is ever rounded. Pure: whoever keeps the debts (limiter_memory.py, limiter_redis.py) asks
`settle` what becomes of a request.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

Mode = Literal["enforce", "observe"]
Outcome = Literal["allowed", "limited", "observed", "error_allowed", "error_denied", "error_local", "spared"]
"""What a limit made of a request: let it pass, refused it, would have refused it; and what was done where the store did
not answer. `spared`: it had room, but another limit refused, so that nothing was taken here; it is not counted."""

NS_PER_S: Final = 1_000_000_000
LONGEST_S: Final = 1_000_000_000  # of a burst to be paid off: the Redis script counts microseconds in a double
MOST: Final = 1_000_000_000  # requests, or a burst, of one limit


@dataclass(frozen=True, slots=True)
class Limit:
    """`requests` in `window_s` seconds (to the microsecond), and at most `burst` at once. `requests` 0 blocks.

    `scope` says whose limit it is, a seam or a route of it: limits of one name in two scopes share nothing. `observe`
    reports and refuses nothing.
    """

    name: str
    requests: int
    window_s: float
    burst: int
    mode: Mode = "enforce"
    scope: str = ""
    window_ns: int = field(init=False, repr=False, compare=False)  # what one request costs
    burst_ns: int = field(init=False, repr=False, compare=False)  # the highest debt, in the same unit
    id: str = field(init=False, repr=False, compare=False)
    enforced: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that are no limit."""
        problem = problem_of(self.requests, self.window_s, self.burst)
        if problem is not None:
            raise ValueError(f"limit {self.name}: {problem}")
        window_ns = round(self.window_s * 1_000_000) * 1000
        object.__setattr__(self, "window_ns", window_ns)
        object.__setattr__(self, "burst_ns", self.burst * window_ns)
        object.__setattr__(self, "id", f"{self.scope}/{self.name}")
        object.__setattr__(self, "enforced", self.mode == "enforce")

    @property
    def blocks(self) -> bool:
        return self.requests == 0


def problem_of(requests: int, window_s: float, burst: int) -> str | None:
    """Why these three are no limit, with the cure; None where they are."""
    if not 0 <= requests <= MOST:
        return f"requests {requests} is not between 0 and {MOST}; 0 blocks"
    if not 0.000001 <= window_s <= LONGEST_S:
        return f"window_s {window_s:g} is not between 0.000001 and {LONGEST_S}"
    if requests and not 1 <= burst <= MOST:
        return f"burst {burst} is not between 1 and {MOST}; to let nothing through write requests: 0"
    if requests and burst * window_s / requests > LONGEST_S:
        return f"a burst of {burst} would be paid off after {LONGEST_S} s only; raise requests or lower burst"
    return None


Asked = tuple[Limit, str]
"""A limit, and the key (limit_keys.py) under which this request counts for it."""


@dataclass(slots=True, init=False)
class Result:
    """What one limit says. `debt` is the one after the request, in 1/requests nanoseconds; -1: the store did not tell.

    `short`: it had no room, so that it refuses, or would."""

    limit: Limit
    outcome: Outcome
    short: bool
    debt: int

    # Written out, as in messages.py: there are some a request.
    def __init__(self, limit: Limit, outcome: Outcome, short: bool, debt: int) -> None:
        self.limit = limit
        self.outcome = outcome
        self.short = short
        self.debt = debt

    @property
    def known(self) -> bool:
        return self.debt >= 0

    @property
    def refused(self) -> bool:
        return self.short and self.limit.enforced

    @property
    def remaining(self) -> int:
        """Requests that could pass at once now; 0 where that is not known."""
        limit = self.limit
        return 0 if limit.blocks or self.debt < 0 else (limit.burst_ns - self.debt) // limit.window_ns

    @property
    def reset_ns(self) -> int:
        """Until all of `burst` could pass at once again, rounded up. Of a limit that blocks: its window, for lack of
        anything better."""
        limit = self.limit
        return limit.window_ns if limit.blocks else -(-max(0, self.debt) // limit.requests)

    @property
    def retry_after_ns(self) -> int:
        """Until one request could pass, rounded up: 0 where it could now. Of a limit that blocks: its window."""
        limit = self.limit
        if limit.blocks:
            return limit.window_ns
        return -(-max(0, self.debt + limit.window_ns - limit.burst_ns) // limit.requests)

    @property
    def reset_s(self) -> float:
        return self.reset_ns / NS_PER_S

    @property
    def retry_after_s(self) -> float:
        return self.retry_after_ns / NS_PER_S


@dataclass(slots=True, init=False)
class Verdict:
    """What all limits of a request say together. `unavailable`: it is refused because the store did not answer and
    `on_error` is `deny`, not because anybody asked too much."""

    allowed: bool
    results: list[Result]
    unavailable: bool

    def __init__(self, allowed: bool, results: list[Result], unavailable: bool = False) -> None:
        self.allowed = allowed
        self.results = results
        self.unavailable = unavailable

    @property
    def violated(self) -> tuple[str, ...]:
        """Names of the limits that refuse, for the problem's `violated-policies`."""
        return tuple(result.limit.name for result in self.results if result.refused)

    @property
    def retry_after_s(self) -> float:
        """Until every limit that refuses would let one pass; 0 where none refuses."""
        return max((result.retry_after_s for result in self.results if result.refused), default=0.0)


class Limiter(Protocol):
    """Keeps the debts. What it counts, by name of the limit and outcome, is in `outcomes`."""

    outcomes: dict[tuple[str, str], int]

    def check(self, asked: Sequence[Asked], now_s: float) -> Verdict | Future[Verdict]:
        """All limits of one request at once: where one refuses nothing is taken from any. `now_s`: monotonic seconds.

        A future, never failing, where others must be asked. Raises nothing.
        """


def judge(limit: Limit, debt: int) -> Result:
    """What `limit` by itself says to one request more. `debt`: the one before it, not above `burst_ns`."""
    if limit.requests:
        after = debt + limit.window_ns
        if after <= limit.burst_ns:
            return Result(limit, "allowed", False, after)
    return Result(limit, "limited" if limit.enforced else "observed", True, debt)


def spare(results: Iterable[Result]) -> None:
    """One of them refuses: take nothing from the others."""
    for result in results:
        if not result.short:
            result.debt -= result.limit.window_ns
            result.outcome = "spared"


def settle(limits: Iterable[Limit], debts: Iterable[int]) -> Verdict:
    """All or nothing, of debts as for `judge`.

    A limit that is only observed refuses nothing; where it has no room nothing is added to its debt either.
    """
    results = [judge(limit, debt) for limit, debt in zip(limits, debts, strict=True)]
    for result in results:
        if result.short and result.limit.enforced:
            spare(results)
            return Verdict(False, results)
    return Verdict(True, results)


def count(outcomes: dict[tuple[str, str], int], verdict: Verdict) -> None:
    """Enter what became of a request."""
    for result in verdict.results:
        key = (result.limit.name, result.outcome)
        if key in outcomes:
            outcomes[key] += 1
        elif result.outcome != "spared":
            outcomes[key] = 1
