"""A seam, its history and the upstreams as JSON documents. Reads, decides nothing; times are RFC 3339 in UTC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from proxy.config.model import Settings, Stage
from proxy.snapshot import Latch, Override, SeamRecord, SeamState, share
from proxy.telemetry.seen import Seen
from proxy.upstreams.upstream import Upstream


def moment(at: float) -> str:
    """Seconds since the epoch as `2026-03-01T12:00:00.000Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seam_document(state: SeamState, seen: Seen) -> dict[str, Any]:
    """`stage` and `percent` are effective; `yaml` is what the file says."""
    config = state.config
    return {
        "name": state.name,
        "owner": config.owner,
        "stage": state.stage,
        "percent": state.percent,
        **_record_members(state.record),
        "yaml": {"stage": config.declared_stage, "percent": config.declared_percent},
        "seen": {"window_s": seen.window_s, "requests": seen.requests, "percent": seen.percent},
        "breakers": [],
        "upstreams": {"legacy": config.legacy, "extracted": config.extracted},
        "version": state.record.version,
    }


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
        "upstreams": {"legacy": None, "extracted": None},
        "version": record.version,
        "orphan": True,
    }


def history_document(row: Mapping[str, Any]) -> dict[str, Any]:
    """A history row; `before` and `after` keep their members, with times as everywhere else."""
    times = {"at": moment(row["at"]), "before": _with_moments(row["before"]), "after": _with_moments(row["after"])}
    return {**row, **times}


def upstream_documents(upstreams: Iterable[Upstream], settings: Settings) -> list[dict[str, Any]]:
    return [_upstream_document(upstream, settings) for upstream in upstreams]


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


def _upstream_document(upstream: Upstream, settings: Settings) -> dict[str, Any]:
    config, name = upstream.config, upstream.name
    connections = upstream.connections.items()
    return {
        "name": name,
        "endpoints": [{"endpoint": endpoint, **counts} for endpoint, counts in connections],
        "host": config.host,
        "timeouts": config.timeouts.model_dump(),
        "in_flight": upstream.in_flight,
        "seams": {
            "legacy": [seam for seam, one in settings.seams.items() if one.legacy == name],
            "extracted": [seam for seam, one in settings.seams.items() if one.extracted == name],
        },
        "default": settings.default == name,
    }
