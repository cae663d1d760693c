"""A circuit breaker: stops calls to what keeps failing, and finds out when that is over (Nygard, "Release It!").

    closed ── tripped ──► open ── waited ──► half_open ── probes_passed ──► closed
                            ▲                    │
                            └─── probe_failed ───┘

Closed, calls go on and their outcomes are counted over a sliding window; too many failures or slow answers trip it.
Open, calls fail fast. Half-open, a few probes go on and the rest fails fast: one failed probe opens it anew, and when
all have passed it closes. An operator can hold it open or closed, and let go of it.

`TRANSITIONS` is the whole machine: every change of state is looked up there. Each one raises the epoch and empties the
window. A call carries the epoch that admitted it, so what began before a change says nothing after it.

Knows no HTTP: what is a failure, and what is slow, others say. Whether there is a breaker at all is theirs too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from proxy.config import model

State = Literal["closed", "half_open", "open"]
Forced = Literal["open", "close"]
"""What an operator holds it at; None in its place is automatic."""
Happening = Literal[
    "tripped", "waited", "probe_failed", "probes_passed", "held_open", "held_closed", "let_go", "reconfigured"
]

# A pair that does not stand here leaves everything as it is; one that leads to its own state begins that state anew.
TRANSITIONS: Final[dict[tuple[State, Happening], State]] = {
    ("closed", "tripped"): "open",
    ("open", "waited"): "half_open",
    ("half_open", "probe_failed"): "open",
    ("half_open", "probes_passed"): "closed",
    ("closed", "held_open"): "open",
    ("half_open", "held_open"): "open",
    ("open", "held_closed"): "closed",
    ("half_open", "held_closed"): "closed",
    ("open", "let_go"): "half_open",
    ("closed", "let_go"): "closed",  # what was counted under the hold must not open it
    ("open", "reconfigured"): "closed",
    ("half_open", "reconfigured"): "closed",
}

_SLOTS = 100


class Breaker:
    """`clock` gives monotonic seconds; `changed(was, to, why)` is told of each change of state, once.

    Whoever was admitted owes exactly one of `settle` and `cancel`: a probe that gives neither keeps its place, and the
    breaker stays half-open.
    """

    def __init__(
        self, config: model.Breaker, clock: Callable[[], float], changed: Callable[[State, State, str], None]
    ) -> None:
        self.config = config
        self.state: State = "closed"
        self.forced: Forced | None = None
        self._clock = clock
        self._changed = changed
        self._window = _Window(config.window_s)
        self._epoch = 1
        self._open_s = config.open_s  # how long the next opening lasts
        self._until = 0.0  # its end, in clock seconds; read while open only
        self._places = 0  # for probes, still free
        self._passed = 0

    def __repr__(self) -> str:
        return f"<Breaker {self.state} {self.failures} failures in {self.requests} requests>"

    # --- what calls do -----------------------------------------------------------------------------------------------

    def admit(self) -> int:
        """The current epoch (>= 1) where the call may go on, 0 where it fails fast. In half-open exactly
        `half_open_requests` places exist."""
        if self.state == "closed":
            return self._epoch
        self.tick()
        if self.state != "half_open" or self._places == 0:
            return 0
        self._places -= 1
        return self._epoch

    def stands_by(self, epoch: int) -> bool:
        """Whether a call that was admitted at `epoch`, and has waited since, may still go on. Either way it owes its
        outcome."""
        return self.state == "closed" or epoch == self._epoch

    def settle(self, epoch: int, failed: bool, slow: bool = False) -> None:
        """The outcome of an admitted call. Ignored when its epoch is over."""
        if epoch != self._epoch:
            return
        if self.state == "closed":
            self._window.add(self._clock(), 1, failed, slow)
            if failed or slow:
                self._judge()
        elif failed or (slow and self.config.slow_ratio is not None):
            self._happen("probe_failed", "a probe failed" if failed else "a probe was slow")
        else:
            self._passed += 1
            if self._passed == self.config.half_open_requests:
                self._happen("probes_passed", "every probe was good")

    def cancel(self, epoch: int) -> None:
        """The client left, or we turned the call away ourselves: frees a probe's place, counts nothing."""
        if epoch == self._epoch and self.state == "half_open":
            self._places += 1

    def amend(self) -> None:
        """A call that was settled as good has failed later, in its body: one more failure if closed, else nothing."""
        if self.state == "closed":
            self._window.add(self._clock(), 0, True, False)
            self._judge()

    def tick(self) -> None:
        """From open to half-open when its time has come, without a request."""
        if self.state == "open" and self.forced is None and self._clock() >= self._until:
            self._happen("waited", f"{self._open_s:g} s are over")

    # --- what operators do -------------------------------------------------------------------------------------------

    def force(self, forced: Forced | None) -> None:
        """Hold it open or closed, or let go of it. Held closed it counts on and never opens."""
        if forced == self.forced:
            return
        self.forced = forced
        if forced == "open":
            self._happen("held_open", "held open by an operator")
        elif forced == "close":
            self._happen("held_closed", "held closed by an operator")
        else:
            self._happen("let_go", "let go of by an operator")

    def adopt(self, old: Breaker) -> None:
        """Stand in for `old`, whose configuration has changed: begin anew, but stay as an operator holds it. Calls that
        `old` admitted settle there, where nobody hears of it any more. Call before the first `admit`."""
        old._changed = _unheard
        self.state, self.forced = old.state, old.forced
        if self.forced != "open":
            self._happen("reconfigured", "its configuration changed")

    # --- what there is to see ----------------------------------------------------------------------------------------

    @property
    def probing(self) -> bool:
        """Half-open: a call that is admitted now is a probe."""
        return self.state == "half_open"

    @property
    def failures(self) -> int:
        """Within the window now."""
        self._window.roll(self._clock())
        return self._window.failures

    @property
    def requests(self) -> int:
        """Within the window now."""
        self._window.roll(self._clock())
        return self._window.requests

    @property
    def open_until(self) -> float | None:
        """Clock seconds; None unless it is open and will probe by itself."""
        return self._until if self.state == "open" and self.forced is None else None

    @property
    def retry_after_s(self) -> float:
        """Seconds until a call may pass again, not rounded; 1.0 where that is not known."""
        if self.state == "open" and self.forced is None:
            return max(0.0, self._until - self._clock())
        return 0.0 if self.state == "closed" else 1.0

    # --- the machine -------------------------------------------------------------------------------------------------

    def _happen(self, happening: Happening, why: str) -> None:
        was = self.state
        to = TRANSITIONS.get((was, happening))
        if to is None:
            return
        self.state = to
        self._epoch += 1
        self._window.clear()
        if to == "closed":
            self._open_s = self.config.open_s
        elif to == "open":
            if happening == "probe_failed":
                self._grow()
            self._until = self._clock() + self._open_s
        else:
            self._places = self.config.half_open_requests
            self._passed = 0
        if to != was:
            self._changed(was, to, why)

    def _grow(self) -> None:
        most_s = self.config.open_max_s
        if most_s is not None:
            self._open_s = min(2 * self._open_s, most_s)

    def _judge(self) -> None:
        """Open it if the window asks for that. Divisions are of whole numbers: the nearest float to 3/10 is 0.3, as in
        the configuration, while 0.3 times a number may be just above."""
        if self.forced is not None:
            return
        config, window = self.config, self._window
        number, ratio = config.failures, config.failure_ratio
        requests, failures, slow = window.requests, window.failures, window.slow
        enough = requests >= config.min_requests
        if number is not None or ratio is not None:
            many = enough if number is None else failures >= number
            if many and (ratio is None or failures / requests >= ratio):
                self._happen("tripped", f"{failures} failures in {requests} requests within {config.window_s:g} s")
                return
        if config.slow_ratio is not None and enough and slow / requests >= config.slow_ratio:
            self._happen("tripped", f"{slow} slow answers in {requests} requests within {config.window_s:g} s")


class _Window:
    """Counts of the last `length_s` seconds, sharp to a hundredth of that: a ring of slots, and their sums. What moves
    out is taken off when the clock has moved on, a slot at most once, so an entry costs the same at any rate."""

    def __init__(self, length_s: float) -> None:
        self.failures = 0
        self.slow = 0
        self._requests = 0
        self._slot_s = length_s / _SLOTS
        self._newest = 0
        self._requests_in = [0] * _SLOTS
        self._failures_in = [0] * _SLOTS
        self._slow_in = [0] * _SLOTS

    @property
    def requests(self) -> int:
        """At least the failures: one that came late may outlast its request here."""
        return max(self._requests, self.failures)

    def add(self, now: float, requests: int, failed: bool, slow: bool) -> None:
        self.roll(now)
        place = self._newest % _SLOTS
        self._requests += requests
        self._requests_in[place] += requests
        if failed:
            self.failures += 1
            self._failures_in[place] += 1
        if slow:
            self.slow += 1
            self._slow_in[place] += 1

    def roll(self, now: float) -> None:
        """Let go of what is a whole window old at `now`."""
        newest = int(now / self._slot_s)
        steps = newest - self._newest
        if steps <= 0:
            return
        self._newest = newest
        if steps >= _SLOTS:
            self.clear()
            return
        for slot in range(newest - steps + 1, newest + 1):
            self._empty(slot % _SLOTS)

    def clear(self) -> None:
        for place in range(_SLOTS):
            self._empty(place)

    def _empty(self, place: int) -> None:
        self._requests -= self._requests_in[place]
        self.failures -= self._failures_in[place]
        self.slow -= self._slow_in[place]
        self._requests_in[place] = self._failures_in[place] = self._slow_in[place] = 0


def _unheard(was: State, to: State, why: str) -> None:
    """Nobody is told."""
