"""Why a request goes where it goes: the gateway's own functions, asked aloud. Changes nothing, draws no lots.

Each step cites the configuration line behind it (`FILE:LINE`), `store` for what an operator wrote there, or "".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.admin.door_steps import add_door
from proxy.admin.resilience_steps import BreakerWords, add_resilience, fallback_words, just_closed
from proxy.admin.shadow_step import add_shadow
from proxy.admin.trail import Trail
from proxy.admission.doors import Doors
from proxy.admission.trust import Trust
from proxy.config.model import RouteConfig
from proxy.errors import AmbiguousPath, BodyTooLarge, MethodNotAllowed, ProxyError, Rejected, RouteNotFound
from proxy.messages import RequestHead
from proxy.moment import moment
from proxy.routing.decide import Decision, apply_rewrite, bucket_of, decide
from proxy.routing.path import readings, split_target
from proxy.routing.split import BUCKETS
from proxy.routing.table import Match, resolve
from proxy.snapshot import SeamState, Snapshot

_ORDER = ("rolled_back", "retired", "forced", "stage", "bucket")
_NOT_ASKED = "not asked"
_SHOWN_CHARACTERS = 80


def explain(
    snapshot: Snapshot,
    trust: Trust,
    request: RequestHead,
    client_ip: str | None = None,
    breaker_words: BreakerWords = just_closed,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """`client_ip` None: worked out from the request's peer and X-Forwarded-For, as for any request. `breaker_words`
    tells of a breaker that is not just closed. `doors` None: credentials are not verified.

    A refusal is explained too: then `seam` is null and `reason` the cause.
    """
    client = client_ip or trust.client_ip(request.peer, request.fields.get(b"x-forwarded-for"))
    trail = Trail(snapshot.sources)
    try:
        match = _find_route(trail, snapshot, request)
        if match is None:
            return _fall_through(trail, snapshot, request)
        state = snapshot.states[match.route.seam]
        inside = Trail(snapshot.sources)
        add_door(inside, state, match.route.index, request, client, doors)  # selectors read what is verified
        return _Seam(trail, snapshot, request, match, client).explained(inside, breaker_words)
    except Rejected as error:
        return explain_refusal(error, trail)


def explain_refusal(error: ProxyError, trail: Trail | None = None) -> dict[str, Any]:
    trail = trail or Trail({})
    trail.add("refused", str(error.status), error.detail or error.title)
    return _document(trail, None, None, error.cause, None)


def _document(
    trail: Trail, decision: Decision | None, route: str | None, reason: str, bucket: int | None
) -> dict[str, Any]:
    return {
        "seam": decision and decision.seam,
        "route": route,
        "side": decision and decision.side,
        "upstream": decision and decision.upstream,
        "fallback": decision and fallback_words(decision),
        "bucket": bucket,
        "reason": reason,
        "steps": trail.steps,
    }


# --- which route -----------------------------------------------------------------------------------------------------


def _find_route(trail: Trail, snapshot: Snapshot, request: RequestHead) -> Match | None:
    if request.target == b"*":
        trail.add("path", "*", "a question about the server: no route claims it")
        return None
    path, _ = split_target(request.target)
    found = readings(path)
    try:
        match = resolve(snapshot.table, request.method, request.host, request.target, request.fields)
    except AmbiguousPath:
        trail.add("path", "ambiguous", "; ".join(_reading(snapshot, request, reading) for reading in found))
        raise
    count = "one reading" if len(found) == 1 else f"{len(found)} readings, all of them select the same route"
    trail.add("path", _text(found[0]), count)
    if match is not None:
        _check_length(snapshot, match, request)
    return match


def _reading(snapshot: Snapshot, request: RequestHead, reading: bytes) -> str:
    _, query = split_target(request.target)
    match = snapshot.table.match(request.method, request.host, reading, query, request.fields)
    return f"{_text(reading)} → {'no route' if match is None else match.route.seam}"


def _check_length(snapshot: Snapshot, match: Match, request: RequestHead) -> None:
    limit = match.route.max_body_bytes
    if limit is not None and (request.length or 0) > limit:
        raise BodyTooLarge(f"A request body may have at most {limit} bytes here.")


def _fall_through(trail: Trail, snapshot: Snapshot, request: RequestHead) -> dict[str, Any]:
    path, _ = split_target(request.target)
    methods = snapshot.table.methods_for(path, request.host) if request.target != b"*" else frozenset()
    allow = tuple(sorted(methods))
    near = f"; routes with this path take {', '.join(allow)}" if allow else ""
    trail.add("route", "none", f"no seam claims this request{near}")
    decision = snapshot.fallthrough
    if decision is None:
        trail.add("default", "none", "no `default` is configured")
        if allow:
            raise MethodNotAllowed(f"{request.method} is not served here.", allow)
        raise RouteNotFound("No seam claims this request and there is no `default`.")
    trail.add("default", decision.upstream, "what no seam claims", "default")
    _add_upstream(trail, snapshot, request, decision)
    return _document(trail, decision, None, decision.reason, None)


# --- which side ------------------------------------------------------------------------------------------------------


class _Seam:
    """One request at the seam that claims it. Methods stand in the order in which a side is decided."""

    def __init__(self, trail: Trail, snapshot: Snapshot, request: RequestHead, match: Match, client_ip: str) -> None:
        self.trail = trail
        self.snapshot = snapshot
        self.request = request
        self.route, self.params = match
        self.client_ip = client_ip
        self.state: SeamState = snapshot.states[match.route.seam]
        self.plan = self.state.plan
        self.key = f"seams.{self.state.name}"
        self.split = self.state.config.extracted is not None
        self.found = bucket_of(self.plan, request, self.params, client_ip) if self.split else None
        larger = 0 if self.plan.threshold * 2 > BUCKETS else BUCKETS - 1
        self.decision = decide(self.plan, self.route, request, self.params, client_ip, lambda: larger)
        self._decided_at = _ORDER.index(self.decision.reason)

    def explained(self, door: Trail, breaker_words: BreakerWords) -> dict[str, Any]:
        self._add_route()
        self.trail.steps.extend(door.steps)
        self._add_latch()
        self._add_retired()
        self._add_force()
        self._add_stage()
        self._add_bucket()
        _add_upstream(self.trail, self.snapshot, self.request, self.decision)
        add_resilience(self.trail, self.state, self.route.index, self.request, self.decision, breaker_words)
        add_shadow(self.trail, self.state, self.request, self.params, self.client_ip, self.decision)
        number = None if self.found is None else self.found[2]
        return _document(self.trail, self.decision, self.route.pattern, self.decision.reason, number)

    def _asked(self, reason: str) -> bool:
        return _ORDER.index(reason) <= self._decided_at

    def _add_route(self) -> None:
        config = self.state.config.routes[self.route.index]
        captured = [f"{name} = {_quoted(value)}" for name, value in self.params.items()]
        detail = "; ".join([f"seam {self.state.name}", *_conditions(config), *captured])
        self.trail.add("route", self.route.pattern, detail, f"{self.key}.routes[{self.route.index}]", self.key)

    def _add_latch(self) -> None:
        latch = self.state.record.latch
        if latch is None:
            self.trail.add("latch", "none", "no rollback stands")
            return
        note = "" if self.split else "; the seam has no extracted side, so nothing changes"
        self.trail.add("latch", "rolled_back", f"{_signature(latch.by, latch.at, latch.reason)}{note}", source="store")

    def _add_retired(self) -> None:
        if not self._asked("retired"):
            self.trail.add("retired", _NOT_ASKED, "the latch decides")
        elif self.decision.reason == "retired":
            self._add_declared("retired", "yes", "the legacy side is never called")
        else:
            self.trail.add("retired", "no", "the legacy side can be called")

    def _add_force(self) -> None:
        force, keys = self.state.config.force, (f"{self.key}.force", self.key)
        if not self._asked("forced"):
            self.trail.add("force", _NOT_ASKED, "decided before", *keys)
        elif force is None:
            self.trail.add("force", "off", "the seam has no `force`", self.key)
        elif self.decision.reason == "forced":
            detail = f"{force.header} from {self.client_ip}, whom allow_from admits"
            self.trail.add("force", self.decision.side, detail, *keys)
        elif force.header.lower().encode() not in self.request.fields:
            self.trail.add("force", "none", f"the request has no {force.header}", *keys)
        else:
            detail = f"{force.header} is not legacy or extracted, or allow_from does not admit {self.client_ip}"
            self.trail.add("force", "ignored", detail, *keys)

    def _add_stage(self) -> None:
        stage, percent = self.state.unlatched
        result = f"canary {percent:g} %" if stage == "canary" else stage
        if not self._asked("stage"):
            self._add_declared("stage", _NOT_ASKED, f"would be {result}")
        elif not self.split:
            self.trail.add("stage", result, "a seam without `extracted` stays legacy", self.key)
        else:
            detail = f"decides: {self.decision.side}" if self.decision.reason == "stage" else "the bucket decides"
            self._add_declared("stage", result, detail)

    def _add_declared(self, step: str, result: str, detail: str) -> None:
        """A step whose ground is the override, or else the file."""
        override = self.state.record.override
        if override is None:
            self.trail.add(step, result, detail, f"{self.key}.percent", f"{self.key}.stage", self.key)
        else:
            by = _signature(override.by, override.at, override.reason)
            self.trail.add(step, result, f"{detail}; override {by}", source="store")

    def _add_bucket(self) -> None:
        keys = (f"{self.key}.sticky_by", self.key)
        if not self._asked("bucket"):
            self.trail.add("bucket", _NOT_ASKED, f"the sticky key would be {self._sticky()}", *keys)
            return
        if self.found is None:
            share = self.plan.threshold / 100
            detail = f"{self._sticky()}: random per request, {share:g} % go to extracted; shown is the larger share"
            self.trail.add("bucket", "random", detail, *keys)
            return
        number = self.found[2]
        sign = "<" if number < self.plan.threshold else "≥"
        detail = f"{self._sticky()}; {number} {sign} {self.plan.threshold} → {self.decision.side}"
        self.trail.add("bucket", str(number), detail, *keys)

    def _sticky(self) -> str:
        if self.found is None:
            wanted = ", ".join(self.state.config.sticky_by)
            return f"none of {wanted}" if wanted else "none, for there is no `sticky_by`"
        selector, value, number = self.found
        group = self.state.config.bucket_group or self.state.name
        return f"{selector} = {_quoted(value)}, bucket {number} of {BUCKETS} in {group}"


# --- where to --------------------------------------------------------------------------------------------------------


def _add_upstream(trail: Trail, snapshot: Snapshot, request: RequestHead, decision: Decision) -> None:
    name = decision.upstream
    config = snapshot.settings.upstreams[name]
    target = request.target if decision.rewrite is None else apply_rewrite(decision.rewrite, request.target)
    times, discovery = config.timeouts, config.discovery
    places = ", ".join(config.listed) if discovery is None else f"endpoints from {discovery.source}"
    cap = "" if config.max_in_flight is None else f"; at most {config.max_in_flight} requests at once"
    detail = (
        f"{decision.side}: {places}; target {_text(target)}; host {config.host};"
        f" connect {times.connect_s:g} s, response {times.response_s:g} s, body {times.body_s:g} s{cap}"
    )
    trail.add("upstream", name, detail, f"upstreams.{name}")


def _conditions(route: RouteConfig) -> list[str]:
    """What the route asks for beside its path."""
    named = (
        ("host", route.host or ""),
        ("methods", ", ".join(route.methods)),
        ("headers", _pairs(route.headers)),
        ("query", _pairs(route.query)),
        ("params", _pairs(route.params)),
    )
    return [f"{what} {values}" for what, values in named if values]


def _pairs(conditions: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in conditions.items())


def _signature(by: str, at: float, reason: str) -> str:
    return f"by {by} at {moment(at)}: {reason or 'no reason given'}"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _quoted(value: bytes) -> str:
    text = _text(value)
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")
