"""The upstreams as JSON documents: what their endpoints, bulkheads and retries are worth just now. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proxy.config.model import Settings
from proxy.upstreams.endpoints import Endpoint, Endpoints
from proxy.upstreams.upstream import Upstream


def upstream_documents(upstreams: Iterable[Upstream], settings: Settings, now: float) -> list[dict[str, Any]]:
    """`now` is the clock that endpoints go by, in seconds."""
    return [_upstream_document(upstream, settings, now) for upstream in upstreams]


def _upstream_document(upstream: Upstream, settings: Settings, now: float) -> dict[str, Any]:
    config, name = upstream.config, upstream.name
    return {
        "name": name,
        "endpoints": [_endpoint_document(upstream.endpoints, one, now) for one in upstream.endpoints.all],
        "host": config.host,
        "timeouts": config.timeouts.model_dump(),
        "in_flight": upstream.in_flight,
        "bulkhead": _bulkhead_document(upstream),
        "retries": _retries_document(upstream),
        "health": None if config.health is None else config.health.model_dump(),
        "discovery": _discovery_document(upstream.endpoints, now),
        "seams": {
            "legacy": [seam for seam, one in settings.seams.items() if one.legacy == name],
            "extracted": [seam for seam, one in settings.seams.items() if one.extracted == name],
        },
        "default": settings.default == name,
    }


def _endpoint_document(endpoints: Endpoints, endpoint: Endpoint, now: float) -> dict[str, Any]:
    """`available` is false also where discovery no longer names it."""
    health, pool = endpoint.health, endpoint.pool
    return {
        "endpoint": endpoint.name,
        "address": endpoint.url,
        "available": endpoints.usable(endpoint, now),
        "probed": health.probed,
        "ejected_for_s": round(max(0.0, health.ejected_until - now), 3),
        "consecutive_errors": health.consecutive,
        "in_use": pool.in_use,
        "idle": pool.idle,
    }


def _bulkhead_document(upstream: Upstream) -> dict[str, Any]:
    """As it acts: a queue that is not configured is as long as there are places."""
    bulkhead = upstream.bulkhead
    return {
        "max_in_flight": bulkhead.max_in_flight,
        "max_queue": bulkhead.max_in_flight if bulkhead.max_queue is None else bulkhead.max_queue,
        "queue_s": bulkhead.queue_s,
        "in_flight": bulkhead.in_flight,
        "queued": bulkhead.queued,
        "rejected": bulkhead.rejected,
    }


def _retries_document(upstream: Upstream) -> dict[str, Any]:
    """`success` and `failure` count requests, the others attempts."""
    budget = upstream.budget
    return {
        "budget_tokens": budget.tokens,
        "attempts": budget.attempts,
        "refused": budget.refused,
        "stale_connection": upstream.reconnects,
        "success": upstream.retried[True],
        "failure": upstream.retried[False],
    }


def _discovery_document(endpoints: Endpoints, now: float) -> dict[str, Any] | None:
    """Nothing of the configuration but the source: a registry's token is a secret."""
    if endpoints.source is None:
        return None
    found_at = endpoints.found_at
    return {
        "source": endpoints.source,
        "age_s": None if found_at is None else round(max(0.0, now - found_at), 3),
        "vacant": endpoints.vacant,
        "failures": endpoints.failures,
        "failing": endpoints.failing,
    }
