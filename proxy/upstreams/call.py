"""One request at one upstream, and all that it holds until its body has ended: a breaker's place, a slot, a connection.

Whatever happens to the request, exactly one of `fail` and `end` is called, once; both let go of everything.
"""

from __future__ import annotations

from proxy.errors import UpstreamError
from proxy.messages import ResponseHead
from proxy.routing.resilience import BreakerRule
from proxy.upstreams.breaker import Breaker
from proxy.upstreams.bulkhead import Bulkhead
from proxy.upstreams.endpoints import Endpoint
from proxy.upstreams.upstream import Upstream
from proxy.wire.client import UpstreamConnection


class Call:
    """`epoch`: the breaker's word that the call may go on, 0 once its outcome is told. `slotted`: it has a place in the
    upstream's bulkhead. `exposed`: the upstream may have received the request. `cap` is the place of a fallback."""

    __slots__ = (
        "_good",
        "_slow",
        "breaker",
        "cap",
        "connection",
        "endpoint",
        "epoch",
        "exposed",
        "head",
        "slotted",
        "upstream",
    )

    def __init__(self, upstream: Upstream, breaker: Breaker | None, epoch: int) -> None:
        self.upstream = upstream
        self.breaker = breaker
        self.epoch = epoch
        self.slotted = False
        self.exposed = False
        self.endpoint: Endpoint | None = None
        self.connection: UpstreamConnection | None = None
        self.head: ResponseHead | None = None
        self.cap: Bulkhead | None = None
        self._good = False
        self._slow = False

    def answered(self, rule: BreakerRule, seconds: float) -> None:
        """A head came after `seconds`. A failure, a probe and a switch of protocols are settled by it; what else the
        call comes to is known when its body has ended."""
        breaker, head = self.breaker, self.head
        if breaker is None or head is None:
            return
        failed = rule.fails(head.status)
        limit_s = rule.config.slow_call_s
        self._slow = limit_s is not None and seconds > limit_s
        if failed or breaker.probing or head.status == 101:
            epoch, self.epoch = self.epoch, 0
            self._good = not failed
            breaker.settle(epoch, failed, self._slow)

    def fail(self, error: BaseException) -> None:
        """It ended before there was an answer to relay. Only an upstream's failure counts against it."""
        breaker = self.breaker
        if breaker is not None and self.epoch:
            if isinstance(error, UpstreamError):
                breaker.settle(self.epoch, True)
            else:
                breaker.cancel(self.epoch)
        self._let_go()

    def end(self, error: BaseException | None) -> None:
        """Its body has ended, or broke off with `error`."""
        breaker = self.breaker
        if breaker is not None:
            if error is None:
                if self.epoch:
                    breaker.settle(self.epoch, False, self._slow)
            elif isinstance(error, UpstreamError):
                if self.epoch:
                    breaker.settle(self.epoch, True)
                elif self._good:
                    breaker.amend()
            elif self.epoch:
                breaker.cancel(self.epoch)
        if error is not None and isinstance(error, UpstreamError) and self.endpoint is not None:
            self.upstream.endpoints.failed_at(self.endpoint, error.cause)
        self._let_go()

    def drop(self) -> None:
        """Nobody wants this answer; another attempt follows."""
        endpoint, connection = self.endpoint, self.connection
        self.connection = None
        if endpoint is not None and connection is not None:
            endpoint.pool.release(connection)

    def _let_go(self) -> None:
        self.epoch = 0
        self.drop()
        if self.slotted:
            self.slotted = False
            self.upstream.bulkhead.release()
        cap = self.cap
        if cap is not None:
            self.cap = None
            cap.release()
