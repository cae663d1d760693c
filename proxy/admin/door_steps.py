"""Whether a request would come in, asked aloud: a step for each block that its route has. Counts nothing, fetches no
key, and asks no store."""

from __future__ import annotations

from proxy.admin.trail import Trail
from proxy.admission.access import AccessList
from proxy.admission.door import rule_of
from proxy.admission.doors import Doors
from proxy.config.model import AuthRule, RouteConfig
from proxy.messages import RequestHead
from proxy.snapshot import SeamState


def add_door(
    trail: Trail,
    state: SeamState,
    index: int,
    request: RequestHead,
    client_ip: str,
    doors: Doors | None,
) -> None:
    """`index` is the route's. `doors` None: there are no keys here, so credentials are not looked at. What is
    verified stands in `request.principal` afterwards, for selectors."""
    route = state.config.routes[index]
    paths = (f"seams.{state.name}.routes[{index}]", f"seams.{state.name}")
    _add_access(trail, state, route, client_ip, paths)
    _add_auth(trail, state.config.auth_of(route), request, doors, paths)
    _add_limits(trail, state, route, paths)


def _add_access(trail: Trail, state: SeamState, route: RouteConfig, client_ip: str, paths: tuple[str, ...]) -> None:
    access = state.config.access_of(route)
    if access is None:
        return
    admitted = AccessList.of(access.allow, access.deny).admits(client_ip)
    detail = f"{client_ip}; allow {', '.join(access.allow) or 'all'}; deny {', '.join(access.deny) or 'none'}"
    trail.add("access", "admitted" if admitted else "403", detail, *_keys(paths, "access"))


def _add_auth(
    trail: Trail,
    rule: AuthRule | None,
    request: RequestHead,
    doors: Doors | None,
    paths: tuple[str, ...],
) -> None:
    if rule is None:
        return
    asked = f"{_wanted(rule)}; mode {rule.mode}"
    if doors is None:
        trail.add("auth", "needed", f"{asked}; not verified here", *_keys(paths, "auth"))
        return
    verdict = doors.authenticator.look(request, rule_of(rule))
    if verdict is None:
        trail.add("auth", "unknown", f"{asked}; only the monolith knows whose session it is", *_keys(paths, "auth"))
        return
    request.principal = verdict.principal
    doors.identity.verified(request)
    refusal = verdict.refusal
    if refusal is None:
        trail.add("auth", "ok", asked, *_keys(paths, "auth"))
    else:
        result = str(refusal.status) if verdict.enforced else f"would be {refusal.status}"
        trail.add("auth", result, f"{refusal.reason}: {refusal.detail} Asked: {asked}", *_keys(paths, "auth"))


def _wanted(rule: AuthRule) -> str:
    ways = [f"a token of {name}" for name in rule.issuers] + [f"API key {name}" for name in rule.api_keys]
    if rule.session:
        ways.append("a session")
    scopes = f" with {' and '.join(rule.all_scopes)}" if rule.all_scopes else ""
    one_of = f"{' and' if scopes else ' with'} one of {', '.join(rule.any_scope)}" if rule.any_scope else ""
    return " or ".join(ways) + scopes + one_of


def _add_limits(trail: Trail, state: SeamState, route: RouteConfig, paths: tuple[str, ...]) -> None:
    limits = state.config.limits_of(route)
    if not limits:
        return
    told = [
        f"{one.name}: {one.requests} in {one.window_s:g} s, burst {one.capacity}, by {one.by}, {one.mode}"
        for one in limits
    ]
    names = ", ".join(one.name for one in limits)
    trail.add("rate_limit", names, "; ".join(told), *_keys(paths, "rate_limit"))


def _keys(paths: tuple[str, ...], key: str) -> tuple[str, ...]:
    return (*(f"{path}.{key}" for path in paths), *paths)
