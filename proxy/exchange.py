"""One request and all that became of it: the only mutable object of a request. Knows no I/O.

Fields stand in the order in which the phases of `gateway.py` write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.errors import ProxyError
from proxy.messages import RequestHead
from proxy.routing.decide import Decision
from proxy.routing.match import CompiledRoute
from proxy.snapshot import Snapshot


@dataclass(slots=True)
class Exchange:
    """`started` and all `*_s` are seconds of the loop's monotonic clock; `error` is why it was refused or failed.
    `continues`: the client's own trace goes on. `tunnelled`: bytes from and to the client after a switch of
    protocols."""

    snapshot: Snapshot
    request: RequestHead
    started: float
    peer_trusted: bool = False
    client_ip: str = ""
    request_id: bytes = b""
    trace_id: str = ""
    traceparent: bytes = b""
    continues: bool = False
    route: CompiledRoute | None = None
    params: Mapping[str, bytes] | None = None
    decision: Decision | None = None
    upstream_s: float | None = None
    tunnelled: tuple[int, int] | None = None
    status: int = 0
    error: ProxyError | None = None

    @property
    def seam(self) -> str | None:
        """Whose request it is: known from the route on, so also of one that is refused before a side is decided."""
        if self.decision is not None:
            return self.decision.seam
        return None if self.route is None else self.route.seam
