"""The upstreams as people read them when a service is down. Pure: documents in, a table out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy.cli.render import Table

_HEADERS = (
    "UPSTREAM",
    "ENDPOINT",
    "STATE",
    "IN FLIGHT",
    "CONNECTIONS",
    "IDLE",
    "RETRIES",
    "DISCOVERY",
    "LEGACY OF",
    "EXTRACTED OF",
)
_SHOWN_CHARACTERS = 60

Upstream = Mapping[str, Any]
Endpoint = Mapping[str, Any]


def upstreams_table(upstreams: Sequence[Upstream]) -> Table:
    """A line an endpoint; one that has none has a line too. What is the upstream's stands in each of its lines, so that
    a line says it all to `grep`."""
    return Table(_HEADERS, [row for upstream in upstreams for row in _rows(upstream)])


def _rows(upstream: Upstream) -> Iterator[tuple[object, ...]]:
    legacy, extracted = (", ".join(upstream["seams"][side]) for side in ("legacy", "extracted"))
    shared = _in_flight(upstream["bulkhead"])
    rest = _retries(upstream["retries"]), _discovery(upstream["discovery"]), legacy, extracted
    for endpoint in upstream["endpoints"]:
        state = _state(upstream, endpoint)
        yield upstream["name"], endpoint["endpoint"], state, shared, endpoint["in_use"], endpoint["idle"], *rest
    if not upstream["endpoints"]:
        yield upstream["name"], None, "none", shared, None, None, *rest


def _state(upstream: Upstream, endpoint: Endpoint) -> str:
    """`gone`: discovery does not name it any more."""
    if endpoint["available"]:
        errors = endpoint["consecutive_errors"]
        return f"ok, {_counted(errors, 'error')}" if errors else "ok"
    if upstream["discovery"] and upstream["discovery"]["vacant"]:
        return "gone"
    if endpoint["ejected_for_s"]:
        return f"ejected {endpoint['ejected_for_s']:.0f} s"
    return "unhealthy"


def _in_flight(bulkhead: Mapping[str, Any]) -> str:
    most = "" if bulkhead["max_in_flight"] is None else f"/{bulkhead['max_in_flight']}"
    queued = f" +{bulkhead['queued']} queued" if bulkhead["queued"] else ""
    rejected = f", {bulkhead['rejected']} rejected" if bulkhead["rejected"] else ""
    return f"{bulkhead['in_flight']}{most}{queued}{rejected}"


def _retries(retries: Mapping[str, Any]) -> str:
    refused = f", {retries['refused']} refused" if retries["refused"] else ""
    return f"{retries['attempts']}{refused}"


def _discovery(discovery: Mapping[str, Any] | None) -> str:
    """How old the endpoints are; why no newer ones are there, in full by `-o json`."""
    if discovery is None:
        return ""
    age = "never answered" if discovery["age_s"] is None else f"{discovery['age_s']:.0f} s ago"
    why = discovery["failing"]
    if why is None:
        return age
    return f"FAILING, {age}: {why if len(why) <= _SHOWN_CHARACTERS else why[:_SHOWN_CHARACTERS] + '…'}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
