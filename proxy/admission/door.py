"""What one route asks of who comes, compiled from the configuration. Pure; nothing here is ever changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from proxy.admission.access import AccessList
from proxy.admission.auth_rules import AuthRule
from proxy.admission.cors import CorsPolicy
from proxy.admission.limit_headers import policy_value
from proxy.admission.limit_keys import LimitKey
from proxy.admission.rate_limit import Limit
from proxy.config import model
from proxy.config.model import Identity, RouteConfig, SeamConfig
from proxy.routing.split import compile_selector


@dataclass(frozen=True, slots=True)
class Door:
    """`by_client` are the limits that need not know who comes, `by_principal` the others. `policy` is the value of
    RateLimit-Policy for both; empty: no such field."""

    access: AccessList | None
    cors: CorsPolicy | None
    by_client: tuple[LimitKey, ...]
    auth: AuthRule | None
    by_principal: tuple[LimitKey, ...]
    policy: bytes

    @property
    def limits(self) -> Iterable[Limit]:
        return (key.limit for key in (*self.by_client, *self.by_principal))


ByRoute = tuple[Door | None, ...]
"""The doors of a seam, at their route's index; None where anybody may come in as often as he likes."""


def doors_of(name: str, seam: SeamConfig, identity: Identity) -> ByRoute:
    """Raises ValueError for what `config.load` would have refused."""
    cors = None if seam.cors is None else _cors(seam.cors)
    made: dict[bool, _Limits] = {}  # those of the seam, for routes without their own: by whether they are open
    return tuple(_door(name, seam, route, identity, cors, made) for route in seam.routes)


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Those of one API key, over all seams."""

    keys: tuple[LimitKey, ...]
    policy: bytes


def key_limits(keys: Mapping[str, model.ApiKey]) -> dict[str, KeyLimits]:
    """By the name of the key, where it has any."""
    found: dict[str, KeyLimits] = {}
    for name, key in keys.items():
        limits = tuple(LimitKey(_limit(limit, f"key {name}")) for limit in key.rate_limit)
        if limits:
            found[name] = KeyLimits(limits, policy_value(one.limit for one in limits))
    return found


@dataclass(frozen=True, slots=True)
class _Limits:
    by_client: tuple[LimitKey, ...]
    by_principal: tuple[LimitKey, ...]
    policy: bytes


def _door(
    name: str,
    seam: SeamConfig,
    route: RouteConfig,
    identity: Identity,
    cors: CorsPolicy | None,
    made: dict[bool, _Limits],
) -> Door | None:
    access, rule, limits = seam.access_of(route), seam.auth_of(route), seam.limits_of(route)
    if access is None and cors is None and rule is None and not limits:
        return None
    verified = () if rule is None else tuple(f"header.{header.lower()}" for header in identity.headers)
    own, mark = route.rate_limit is not None, _mark(route)
    shared = not own and all(limit.by != "route" for limit in limits)
    compiled = made.get(rule is None) if shared else None
    if compiled is None:
        compiled = _limits(limits, f"{name} {mark}" if own else name, mark, verified)
        if shared:
            made[rule is None] = compiled
    return Door(
        None if access is None else AccessList.of(access.allow, access.deny),
        cors,
        compiled.by_client,
        None if rule is None else rule_of(rule),
        compiled.by_principal,
        compiled.policy,
    )


def _limits(limits: Iterable[model.RateLimit], scope: str, mark: str, verified: Collection[str]) -> _Limits:
    keys = [
        LimitKey(_limit(limit, scope), () if limit.by == "route" else (compile_selector(limit.by),), verified, mark)
        for limit in limits
    ]
    return _Limits(
        tuple(key for key in keys if not key.after_auth),
        tuple(key for key in keys if key.after_auth),
        policy_value(key.limit for key in keys),
    )


def _limit(limit: model.Limit, scope: str) -> Limit:
    return Limit(limit.name, limit.requests, limit.window_s, limit.capacity, limit.mode, scope)


def _mark(route: RouteConfig) -> str:
    """What a route matches, by which its own buckets are known: they outlive a change of order."""
    told = repr((route.methods, sorted(route.headers.items()), sorted(route.query.items()), route.host, route.params))
    return f"{route.path} {blake2b(told.encode(), digest_size=4).hexdigest()}"


def rule_of(rule: model.AuthRule) -> AuthRule:
    """As `auth.py` takes it."""
    return AuthRule(
        rule.issuers,
        rule.api_keys,
        frozenset(rule.all_scopes),
        frozenset(rule.any_scope),
        rule.mode,
        rule.session,
    )


def _cors(cors: model.Cors) -> CorsPolicy:
    return CorsPolicy(
        frozenset(origin.encode() for origin in cors.allow_origins),
        cors.allow_methods,
        cors.allow_headers,
        cors.expose_headers,
        cors.allow_credentials,
        cors.max_age_s,
    )
