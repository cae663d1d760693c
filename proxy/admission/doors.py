"""All that decides who may come in, as one configuration wants it. A request sees one of these from its head to its
end, as it sees one snapshot; a reload makes a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proxy.admission.auth import Authenticator
from proxy.admission.door import ByRoute, Door, KeyLimits
from proxy.admission.identity import IdentityHeaders
from proxy.admission.limit_keys import LimitKey
from proxy.admission.rate_limit import Asked, Limit, Limiter
from proxy.exchange import Exchange
from proxy.routing.match import CompiledRoute


@dataclass(frozen=True, slots=True)
class Doors:
    """`by_seam` has only seams with a door. `key_limits` are those of API keys, by name."""

    by_seam: Mapping[str, ByRoute]
    authenticator: Authenticator
    limiter: Limiter
    identity: IdentityHeaders
    key_limits: Mapping[str, KeyLimits]
    api_key_field: bytes

    def of(self, route: CompiledRoute) -> Door | None:
        """None: everybody may come in, as often as he likes."""
        by_route = self.by_seam.get(route.seam)
        return None if by_route is None else by_route[route.index]

    def limits(self) -> list[Limit]:
        """Every limit there is."""
        doors = (door for by_route in self.by_seam.values() for door in by_route if door is not None)
        found = {limit.id: limit for door in doors for limit in door.limits}
        found |= {key.limit.id: key.limit for one in self.key_limits.values() for key in one.keys}
        return list(found.values())


def asked(exchange: Exchange, keys: Sequence[LimitKey]) -> list[Asked]:
    """These limits, each with the key under which this request counts."""
    request, params = exchange.request, exchange.params or {}
    return [key.asked(request, params, exchange.client_ip) for key in keys]
