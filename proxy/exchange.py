"""One request and all that became of it: the only mutable object of a request. Knows no I/O.

Fields stand in the order in which the phases of `gateway.py` write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.errors import ProxyError
from proxy.messages import Headers, RequestHead
from proxy.routing.decide import Decision
from proxy.routing.match import CompiledRoute
from proxy.snapshot import Snapshot


@dataclass(slots=True, init=False)
class Exchange:
    """`started` and all `*_s` are seconds of the loop's monotonic clock; `error` is why it was refused or failed.
    `continues`: the client's own trace goes on. `decision` is in the end that of the side that answered; `fallback` is
    the cause where that is not the side decided on, or where fig said the answer itself (`said_by_fig`). `attempts`
    counts over both sides. `tunnelled`: bytes from and to the client after a switch of protocols. `identity` are lines
    for upstreams about who came, `extra`, and `limits` about rate limits, lines for the client's answer, whoever makes
    it; `cors`: an upstream's own lines about other origins do not pass. `waited`: the world may have changed since
    `snapshot` was taken. `ends_s`: when the credential ends, seconds since 1970."""

    snapshot: Snapshot
    request: RequestHead
    started: float
    peer_trusted: bool
    client_ip: str
    request_id: bytes
    trace_id: str
    traceparent: bytes
    continues: bool
    route: CompiledRoute | None
    params: Mapping[str, bytes] | None
    identity: Headers
    extra: Headers
    limits: Headers
    cors: bool
    waited: bool
    ends_s: float | None
    decision: Decision | None
    attempts: int
    fallback: str | None
    said_by_fig: bool
    upstream_s: float | None
    tunnelled: tuple[int, int] | None
    status: int
    error: ProxyError | None

    # Written out, as in messages.py.
    def __init__(self, snapshot: Snapshot, request: RequestHead, started: float) -> None:
        self.snapshot = snapshot
        self.request = request
        self.started = started
        self.peer_trusted = False
        self.client_ip = ""
        self.request_id = b""
        self.trace_id = ""
        self.traceparent = b""
        self.continues = False
        self.route = None
        self.params = None
        self.identity = []
        self.extra = []
        self.limits = []
        self.cors = False
        self.waited = False
        self.ends_s = None
        self.decision = None
        self.attempts = 0
        self.fallback = None
        self.said_by_fig = False
        self.upstream_s = None
        self.tunnelled = None
        self.status = 0
        self.error = None

    @property
    def scheme(self) -> str:
        """As the client used it: a trusted peer says so, else the connection does."""
        forwarded = self.request.fields.get(b"x-forwarded-proto", b"").lower()
        if forwarded in (b"http", b"https") and self.peer_trusted:
            return forwarded.decode("ascii")
        return self.request.scheme

    @property
    def added(self) -> Headers:
        """The lines that every answer gets, whoever makes it."""
        return self.extra + self.limits if self.limits else self.extra

    @property
    def public(self) -> bytes:
        """Scheme and authority as the client knows them."""
        return f"{self.scheme}://".encode("ascii") + self.request.host

    @property
    def authority(self) -> bytes:
        """The host, and port, that the client asked for. A trusted proxy may have asked fig for another one."""
        forwarded = self.request.fields.get(b"x-forwarded-host", b"").partition(b",")[0].strip()
        return forwarded if forwarded and self.peer_trusted else self.request.host

    @property
    def seam(self) -> str | None:
        """Whose request it is: known from the route on, so also of one that is refused before a side is decided."""
        if self.decision is not None:
            return self.decision.seam
        return None if self.route is None else self.route.seam
