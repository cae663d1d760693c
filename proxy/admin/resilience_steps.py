"""What would help a request on its way, asked aloud: its breaker, further attempts, and who answers instead.

Says what is configured for it. Whether a fallback comes to pass is up to what happens; only a breaker that is not just
closed is told of as it is now.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.admin.trail import Trail
from proxy.config.model import Breaker
from proxy.errors import (
    BreakerOpen,
    BulkheadFull,
    ConnectFailed,
    ConnectTimeout,
    NoHealthyEndpoint,
    ProxyError,
    ResponseTimeout,
    UpstreamProtocol,
    UpstreamReset,
)
from proxy.messages import RequestHead
from proxy.routing.decide import Decision
from proxy.routing.resilience import IDEMPOTENT, SAFE, BreakerKey, FallbackRule, RetryRule
from proxy.snapshot import SeamState
from proxy.wire.body import REPLAYABLE

BreakerWords = Callable[[BreakerKey], str | None]

_SURELY_UNKNOWN_THERE = (ConnectFailed, ConnectTimeout, BreakerOpen, BulkheadFull, NoHealthyEndpoint)
_PERHAPS_DONE = (ResponseTimeout, UpstreamReset, UpstreamProtocol)


def just_closed(_: BreakerKey) -> str | None:
    """Of a file alone there is no more to say."""
    return None


def fallback_words(decision: Decision) -> str | None:
    """Who may answer instead of the decided side."""
    if decision.instead is not None:
        return f"legacy ({decision.instead.upstream})"
    static = decision.fallback and decision.fallback.static
    return None if static is None else f"static {static.status}"


def add_resilience(
    trail: Trail,
    state: SeamState,
    route: int,
    request: RequestHead,
    decision: Decision,
    breaker_words: BreakerWords,
) -> None:
    """`route` is the index of the route in the seam. Steps stand in the order in which they are met."""
    _Road(trail, state, route, request, decision).add(breaker_words)


class _Road:
    def __init__(self, trail: Trail, state: SeamState, route: int, request: RequestHead, decision: Decision) -> None:
        self.trail = trail
        self.state = state
        self.route = state.config.routes[route]
        self.request = request
        self.decision = decision
        self._seam = f"seams.{state.name}"
        self._route = f"{self._seam}.routes[{route}]"

    def add(self, breaker_words: BreakerWords) -> None:
        self._add_breaker(breaker_words)
        self._add_retry()
        self._add_fallback()

    def _cite(self, step: str, result: str, detail: str, *, own: bool) -> None:
        """`own`: the route has a block of that name in place of the seam's."""
        self.trail.add(step, result, detail, f"{self._route if own else self._seam}.{step}", self._seam)

    def _add_breaker(self, breaker_words: BreakerWords) -> None:
        rule = self.decision.breaker
        if self.decision.side == "legacy":
            key = f"{self._seam}.legacy_breaker"
            if rule is None:
                self.trail.add("breaker", "none", "the legacy side has none", key, self._seam)
            else:
                self.trail.add("breaker", "legacy", _breaker(rule.config, breaker_words(rule.key)), key, self._seam)
            return
        own = self.route.breaker is not None
        if rule is None:
            self._cite("breaker", "none", "`enabled: false`", own=own)
        else:
            label = f"{rule.key[1]} {rule.key[2]}".rstrip()
            self._cite("breaker", label, _breaker(rule.config, breaker_words(rule.key)), own=own)

    def _add_retry(self) -> None:
        own, rule, method = self.route.retry is not None, self.decision.retry, self.request.method
        if rule is None:
            self._cite("retry", "none", "nothing is tried again", own=own)
            return
        occasions = _occasions(rule, self.request)
        if not occasions:
            self._cite("retry", "none", f"a {method} may not be repeated on anything that is configured", own=own)
            return
        budget = f"budget {rule.budget_percent:g} per 100 requests, and 3"
        self._cite("retry", f"up to {rule.retries}", f"on {', '.join(occasions)}; {budget}", own=own)

    def _add_fallback(self) -> None:
        own, rule = self.route.fallback is not None, self.decision.fallback
        if self.decision.side == "legacy":
            self.trail.add("fallback", "none", "behind the legacy side there is nobody")
        elif rule is None:
            retired = self.state.unlatched[0] == "retired"
            why = "the legacy side is never called" if retired else "a failure stays a failure"
            self._cite("fallback", "none", why, own=own)
        else:
            result = fallback_words(self.decision) or "none"
            self._cite("fallback", result, _fallback(rule, self.request), own=own)


def _breaker(config: Breaker, words: str | None) -> str:
    """When it opens, and for how long; what it is now comes first, where that matters."""
    now = "" if words is None else f"{words}; "
    within = f"within {config.window_s:g} s"
    number, ratio = config.failures, config.failure_ratio
    enough = f"of at least {config.min_requests} requests"
    grounds = []
    if number is not None:
        share = "" if ratio is None else f" that are {ratio * 100:g} % of the requests"
        grounds.append(f"{number} failures{share}")
    elif ratio is not None:
        grounds.append(f"{ratio * 100:g} % failures {enough}")
    if config.slow_ratio is not None and config.slow_call_s is not None:
        grounds.append(f"{config.slow_ratio * 100:g} % slower than {config.slow_call_s:g} s {enough}")
    longest = "" if config.open_max_s is None else f" and up to {config.open_max_s:g} s"
    return f"{now}opens at {' or '.join(grounds)} {within}, for {config.open_s:g} s{longest}"


def _occasions(rule: RetryRule, request: RequestHead) -> list[str]:
    """What this request is tried again on: as `forward` judges it."""
    declared = rule.header is not None and rule.header in request.fields
    repeatable = declared or request.method in IDEMPOTENT
    occasions = ["connect"] if rule.on_connect else []
    if repeatable and rule.on_reset:
        occasions.append("reset before an answer")
    if repeatable and rule.status:
        occasions.append(f"status {_statuses(rule.status)}")
    return occasions


def _fallback(rule: FallbackRule, request: RequestHead) -> str:
    parts = [f"on {_causes(_SURELY_UNKNOWN_THERE)}"]
    if request.method in SAFE:
        status = f", status {_statuses(rule.status)}" if rule.status else ""
        parts.append(f"{request.method} is safe: also on {_causes(_PERHAPS_DONE)}{status}")
    else:
        parts.append(f"{request.method} is not safe: on nothing else")
    if rule.legacy and (request.length is None or request.length > REPLAYABLE):
        parts.append(f"not once more than {REPLAYABLE // 1024} KiB of the body have gone out")
    return "; ".join([*parts, f"at most {rule.max_in_flight} at once"])


def _causes(errors: tuple[type[ProxyError], ...]) -> str:
    return ", ".join(error.cause for error in errors)


def _statuses(statuses: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(statuses)))
