"""Keys of the door that are read and checked, and that nothing obeys yet: a configuration with one of them is refused,
for a seam that says `auth` and lets everybody in would be worse than none."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.config.model import Auth, RateLimits, Settings
from proxy.routing.table import Finding


def check(settings: Settings) -> Iterable[Finding]:
    """As `routing.table.check`: what is refused, by dotted path."""
    if settings.auth != Auth():
        yield _refused("auth")
    if settings.rate_limits != RateLimits():
        yield _refused("rate_limits")
    for name, seam in settings.seams.items():
        for key in ("auth", "rate_limit", "cors", "access"):
            if getattr(seam, key):
                yield _refused(f"seams.{name}.{key}")
        for number, route in enumerate(seam.routes):
            for key in ("auth", "rate_limit", "access"):
                if getattr(route, key) is not None:
                    yield _refused(f"seams.{name}.routes[{number}].{key}")


def _refused(path: str) -> Finding:
    return path, "FIG007", f"`{path.rpartition('.')[2]}` is not available yet: remove it"
