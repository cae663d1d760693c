"""A seam and its history as JSON documents. Reads, decides nothing; times are RFC 3339 in UTC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.config.model import Fallback, Stage
from proxy.moment import moment
from proxy.routing.resilience import BreakerRule, own_fallback
from proxy.routing.shadowing import mirrors
from proxy.snapshot import Latch, Override, SeamRecord, SeamState, share
from proxy.telemetry.seen import Seen
from proxy.upstreams.breaker import Breaker


@dataclass(frozen=True, slots=True)
class Now:
    """One moment by both clocks: `epoch` seconds for people, `monotonic` seconds for what is measured."""

    epoch: float
    monotonic: float

    def at(self, monotonic: float) -> str:
        """A time of the monotonic clock, for people."""
        return moment(self.epoch + monotonic - self.monotonic)


def seam_document(
    state: SeamState,
    seen: Seen,
    breakers: Iterable[tuple[BreakerRule, Breaker | None]],
    falling_back: int,
    now: Now,
) -> dict[str, Any]:
    """`stage` and `percent` are effective; `yaml` is what the file says. `falling_back` counts requests that are at the
    seam's own fallback."""
    config = state.config
    return {
        "name": state.name,
        "owner": config.owner,
        "stage": state.stage,
        "percent": state.percent,
        **_record_members(state.record),
        "yaml": {"stage": config.declared_stage, "percent": config.declared_percent},
        "seen": {"window_s": seen.window_s, "requests": seen.requests, "percent": seen.percent},
        "breakers": [_breaker_document(rule, breaker, now) for rule, breaker in breakers],
        "fallback": None if config.extracted is None else _fallback_document(state, falling_back),
        "retry": None if config.retry is None else config.retry.model_dump(mode="json"),
        "comparing": mirrors(config, state.stage),
        "upstreams": {"legacy": config.legacy, "extracted": config.extracted},
        "version": state.record.version,
    }


def breaker_words(breaker: Breaker, now: Now) -> str | None:
    """What keeps it from being just closed; None where it is."""
    if breaker.forced is not None:
        return f"held {'open' if breaker.forced == 'open' else 'closed'} by an operator"
    if breaker.state == "open":
        return f"open until {now.at(breaker.open_until or now.monotonic)}"
    return "half-open: a probe is due" if breaker.state == "half_open" else None


def orphan_document(name: str, record: SeamRecord) -> dict[str, Any]:
    """What the store holds of a seam that the configuration does not have. It moves no request."""
    stage, percent = _recorded(record)
    return {
        "name": name,
        "owner": None,
        "stage": stage,
        "percent": percent,
        **_record_members(record),
        "yaml": None,
        "seen": {"window_s": 0.0, "requests": 0, "percent": None},
        "breakers": [],
        "fallback": None,
        "retry": None,
        "comparing": False,
        "upstreams": {"legacy": None, "extracted": None},
        "version": record.version,
        "orphan": True,
    }


def history_document(row: Mapping[str, Any]) -> dict[str, Any]:
    """A history row; `before` and `after` keep their members, with times as everywhere else."""
    times = {"at": moment(row["at"]), "before": _with_moments(row["before"]), "after": _with_moments(row["after"])}
    return {**row, **times}


def _breaker_document(rule: BreakerRule, breaker: Breaker | None, now: Now) -> dict[str, Any]:
    """Without a breaker no request has asked for it yet: it is closed."""
    _, side, route = rule.key
    until = None if breaker is None else breaker.open_until
    return {
        "side": side,
        "route": route,
        "state": "closed" if breaker is None else breaker.state,
        "failures": 0 if breaker is None else breaker.failures,
        "requests": 0 if breaker is None else breaker.requests,
        "open_until": None if until is None else now.at(until),
        "forced": None if breaker is None else breaker.forced,
    }


def _fallback_document(state: SeamState, falling_back: int) -> dict[str, Any]:
    """The seam's own block as it applies now: in stage retired legacy is never called."""
    config = own_fallback(state.config, (state.name, "")) or Fallback()
    static = config.static
    legacy = static is None and config.to != "none" and state.unlatched[0] != "retired"
    to = "static" if static is not None else "legacy" if legacy else "none"
    return {
        "to": to,
        "static": None if static is None else {"status": static.status, "content_type": static.content_type},
        "status": [] if to == "none" else list(config.status),
        "max_in_flight": 0 if to == "none" else config.max_in_flight,
        "in_flight": falling_back,
    }


def _record_members(record: SeamRecord) -> dict[str, Any]:
    return {
        "rolled_back": None if record.latch is None else _signed(record.latch),
        "override": None if record.override is None else _override_document(record.override),
    }


def _override_document(override: Override) -> dict[str, Any]:
    share_percent = share(override.stage, override.percent)
    return {"stage": override.stage, "percent": share_percent, **_signed(override)}


def _signed(entry: Latch | Override) -> dict[str, Any]:
    return {"at": moment(entry.at), "by": entry.by, "reason": entry.reason}


def _recorded(record: SeamRecord) -> tuple[Stage, float]:
    if record.latch is not None or record.override is None:
        return "legacy", 0.0
    return record.override.stage, share(record.override.stage, record.override.percent)


def _with_moments(state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: {**value, "at": moment(value["at"])} if isinstance(value, dict) and "at" in value else value
        for key, value in state.items()
    }
