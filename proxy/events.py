"""What happened, as frozen facts. Decisions emit them; telemetry is the only sink, so decisions hold no counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Transition:
    """The effective state of a seam changed, or a change was recorded for it."""

    seam: str
    action: str
    actor: str
    reason: str
    stage: str
    percent: float
    rolled_back: bool


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A configuration took effect. `moved` names seams whose effective state it changed, `overridden` those whose YAML
    changed but whose override wins; `needs_restart` the keys whose new value waits for a restart."""

    fingerprint: str
    seams: int
    moved: tuple[str, ...] = ()
    overridden: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    changed: bool = True


@dataclass(frozen=True, slots=True)
class ReloadFailed:
    """The old configuration keeps serving."""

    detail: str


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """A write or read of the store failed. `seam` is "" where it concerns none in particular."""

    store: str
    seam: str
    detail: str


@dataclass(frozen=True, slots=True)
class StoreRecovered:
    """A rollback that was only in memory is durable now."""

    store: str
    seam: str


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """`route` is "" for the breaker that a side's routes share."""

    seam: str
    side: str
    route: str
    was: str
    to: str
    reason: str


@dataclass(frozen=True, slots=True)
class EndpointChanged:
    """An endpoint is taken out of use, or is back."""

    upstream: str
    endpoint: str
    available: bool
    reason: str


@dataclass(frozen=True, slots=True)
class EndpointsFound:
    """Discovery names other endpoints than before. None at all: the service says that it has none."""

    upstream: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DiscoveryFailed:
    """The last good endpoints stay. Told once, however long it lasts."""

    upstream: str
    source: str
    detail: str


@dataclass(frozen=True, slots=True)
class DiscoveryRecovered:
    upstream: str
    source: str


@dataclass(frozen=True, slots=True)
class KeysFailed:
    """The keys of an issuer cannot be fetched. Those that are known stay in use for a time. Told once."""

    issuer: str
    detail: str


@dataclass(frozen=True, slots=True)
class KeysRecovered:
    issuer: str


@dataclass(frozen=True, slots=True)
class LimitsStoreFailed:
    """Redis is not asked any more; `on_error` says what becomes of requests. Told once."""

    on_error: str
    detail: str


@dataclass(frozen=True, slots=True)
class LimitsStoreRecovered:
    detail: str


Event = (
    Transition
    | Reloaded
    | ReloadFailed
    | StoreFailed
    | StoreRecovered
    | BreakerChanged
    | EndpointChanged
    | EndpointsFound
    | DiscoveryFailed
    | DiscoveryRecovered
    | KeysFailed
    | KeysRecovered
    | LimitsStoreFailed
    | LimitsStoreRecovered
)


class Emit(Protocol):
    def __call__(self, event: Event) -> None: ...
