"""What a seam's `shadow` must mean, and what makes an epoch of its comparisons. Knows no file, no routing table and no
comparer.

Every check yields all that it finds, as in `validate`, where the codes stand. What `compare` and `store_values` hold is
judged by those who read it: `proxy.shadow.rule_check`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import blake2b
from itertools import zip_longest
from typing import Any

from proxy.config import syntax
from proxy.config.compare_keys import COMPARE_KEYS
from proxy.config.finding import Finding, did_you_mean
from proxy.config.model import Rewrite, RouteConfig, SeamConfig, Shadow, ShadowGate, ShadowWrites

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that may be mirrored unasked: those that are safe (RFC 9110 9.2.1), without TRACE."""

_WILD_SEGMENT = re.compile(r"\*|\{[A-Za-z_][A-Za-z0-9_-]*\}", re.ASCII)


def check_seam(path: str, seam: SeamConfig) -> Iterator[Finding]:
    """`path` is that of the seam."""
    if seam.shadow is None:
        return
    at = f"{path}.shadow"
    if seam.extracted is None:
        message = "`shadow` compares two sides, and this seam has one: write `extracted`, or remove it"
        yield Finding(at, "FIG241", message, needs=(f"{path}.extracted",), at_key=True)
    yield from _methods(at, seam, seam.shadow)
    if seam.shadow.writes is not None:
        yield from _writes(path, seam, seam.shadow.writes)
    yield from _headers(at, seam.shadow)
    yield from _unknown_rules(f"{at}.compare", seam.shadow)
    yield from _controls(at, seam.shadow)
    yield from _waivers(f"{at}.gate.waive", seam.shadow.gate)


# Which requests are mirrored


def _methods(at: str, seam: SeamConfig, shadow: Shadow) -> Iterator[Finding]:
    for i, method in enumerate(shadow.methods):
        if problem := _method_problem(method) or _twice(method, shadow.methods[:i]):
            yield Finding(f"{at}.methods[{i}]", "FIG242", problem)
    routes = _deciding(at.removesuffix(".shadow"), seam)
    own = tuple(f"{at}.methods[{i}]" for i in range(len(shadow.methods)))
    idle = [i for i, method in enumerate(shadow.methods) if not _is_taken(seam, method)]
    if len(idle) == len(shadow.methods) and shadow.writes is None:
        which = " or ".join(shadow.methods)
        why = f"no route of this seam takes {which}" if which else "`methods` is empty and there is no `writes`"
        message = f"nothing is mirrored: {why}"
        yield Finding(at, "FIG217", message, "warning", (*routes, *own, f"{at}.methods", f"{at}.writes"), at_key=True)
    elif shadow.methods != Shadow.model_fields["methods"].default:
        for i in idle:
            message = f"no route of this seam takes {shadow.methods[i]}: remove it"
            yield Finding(f"{at}.methods[{i}]", "FIG217", message, "warning", routes)


def _deciding(path: str, seam: SeamConfig) -> tuple[str, ...]:
    """The keys that say which requests the routes take."""
    keys: list[str] = []
    for i, route in enumerate(seam.routes):
        at = f"{path}.routes[{i}]"
        keys += [f"{at}.path", f"{at}.methods", *(f"{at}.methods[{j}]" for j in range(len(route.methods)))]
    return tuple(keys)


def _method_problem(method: str) -> str | None:
    if method in SAFE:
        return None
    if method.upper() in SAFE:
        return f"`{method}` would never match, for methods are case-sensitive: write {method.upper()}"
    if method == "POST":
        return "POST stands for a write here: name those that only read by `writes: {level: read_posts, paths: […]}`"
    cure = f"only {', '.join(SAFE)} are mirrored, and by `writes` such POSTs as only read"
    return f"`{method}` cannot be mirrored{did_you_mean(method, SAFE)}: {cure}"


def _is_taken(seam: SeamConfig, method: str) -> bool:
    return any(not route.methods or method in route.methods for route in seam.routes)


def _twice(value: str, before: tuple[str, ...]) -> str | None:
    return f"`{value}` stands here twice: remove one" if value in before else None


def _writes(path: str, seam: SeamConfig, writes: ShadowWrites) -> Iterator[Finding]:
    at = f"{path}.shadow.writes"
    routes = _deciding(path, seam)
    hits: dict[str, None] = {}
    for i, entry in enumerate(writes.paths):
        if problem := _path_problem(entry) or _twice(entry, writes.paths[:i]):
            yield Finding(f"{at}.paths[{i}]", "FIG243", problem)
            continue
        here = _hits(seam, entry)
        hits.update(here)
        if not here:
            message = f"`{entry}` hits nothing: no route of this seam takes a POST there; mend it, or remove it"
            yield Finding(f"{at}.paths[{i}]", "FIG243", message, needs=routes)
    listed = ", ".join(f"POST {one}" for one in hits)
    if not writes.acknowledge:
        message = f"both sides will carry out each of these requests: {listed or 'POSTs'}. Where they only read, add "
        yield Finding(f"{at}.acknowledge", "FIG243", f"{message}`acknowledge: true`; else remove `writes`")
    elif hits:
        message = f"`writes` sends these requests to both sides: {listed}"
        yield Finding(f"{at}.paths", "FIG244", message, "warning", (*routes, f"{at}.level"), at_key=True)


def _hits(seam: SeamConfig, entry: str) -> dict[str, None]:
    """The patterns of the POSTs that the entry lets through, in the order of the routes."""
    takers = (route for route in seam.routes if not route.methods or "POST" in route.methods)
    both = (_meet(entry.split("/"), route.path.split("/")) for route in takers)
    return {"/".join(pattern): None for pattern in both if pattern is not None}


def _meet(one: list[str], other: list[str]) -> list[str] | None:
    """The pattern of the paths that match both; None where there is none. `**` is any number of segments."""
    pattern: list[str] = []
    for i, (here, there) in enumerate(zip_longest(one, other)):
        if here == "**":
            return [*pattern, *other[i:]]
        if there == "**":
            return [*pattern, *one[i:]]
        if not here or not there:  # no wildcard takes the empty segment of `/`
            narrower = here if here == there else None
        elif _WILD_SEGMENT.fullmatch(here):
            narrower = there
        else:
            narrower = here if here == there or _WILD_SEGMENT.fullmatch(there) else None
        if narrower is None:
            return None
        pattern.append(narrower)
    return pattern


def _path_problem(entry: str) -> str | None:
    """As `proxy.routing.match` reads the path of a route."""
    if not entry.startswith("/"):
        return f"`{entry}` must start with /"
    segments = entry[1:].split("/")
    if "**" in segments[:-1]:
        return f"`{entry}` goes on after **: that is only allowed as the last segment"
    for segment in segments:
        if set(segment) & set("{}*") and segment != "**" and not _WILD_SEGMENT.fullmatch(segment):
            return f"`{entry}` has a wildcard that is no whole segment: write {{name}}, * or, at the end, **"
        if set(segment) & set("?#"):
            return f"`{entry}` has a query or fragment: leave it out"
    return None


# What they carry, and what is said of the answers


def _headers(at: str, shadow: Shadow) -> Iterator[Finding]:
    if shadow.version_header is not None and (problem := syntax.header_problem(shadow.version_header)):
        yield Finding(f"{at}.version_header", "FIG245", problem)
    if isinstance(shadow.credentials, str):
        return
    seen: dict[str, str] = {}
    for name, value in shadow.credentials.items():
        key = f"{at}.credentials.{name}"
        first = seen.setdefault(name.lower(), name)
        problem = syntax.credential_header_problem(name)
        if first != name:
            problem = f"`{name}` and `{first}` are one header: remove one"
        if problem is not None:
            yield Finding(key, "FIG245", problem, at_key=True)
        if problem := syntax.credential_problem(name, value):
            yield Finding(key, "FIG245", problem)


def _unknown_rules(at: str, shadow: Shadow) -> Iterator[Finding]:
    for key in shadow.compare:
        if key not in COMPARE_KEYS:
            hint = did_you_mean(key, COMPARE_KEYS) or f": known are {', '.join(COMPARE_KEYS)}"
            yield Finding(f"{at}.{key}", "FIG006", f"unknown key `{key}` in `{at}`{hint}", at_key=True)


def _controls(at: str, shadow: Shadow) -> Iterator[Finding]:
    if shadow.sample_percent and not shadow.control_percent and shadow.gate.min_controls:
        message = "`control_percent: 0` asks no control a second time, and without "
        cure = f"{shadow.gate.min_controls} of these (`gate.min_controls`) the evidence is never READY: raise it"
        needs = (f"{at}.sample_percent", f"{at}.gate.min_controls")
        yield Finding(f"{at}.control_percent", "FIG217", message + cure, "warning", needs)


def _waivers(at: str, gate: ShadowGate) -> Iterator[Finding]:
    seen: list[str] = []
    for i, waiver in enumerate(gate.waive):
        for key in ("what", "name", "reason"):
            if not getattr(waiver, key).strip():
                message = f"`{key}` is empty: a waiver says what is waived, who answers for it, and why"
                yield Finding(f"{at}[{i}].{key}", "FIG246", message)
        if waiver.what.strip() and waiver.what in seen:
            message = f"`{waiver.what}` is waived twice: remove one"
            yield Finding(f"{at}[{i}].what", "FIG246", message, needs=(f"{at}[{seen.index(waiver.what)}].what",))
        seen.append(waiver.what)


# Epochs


def rules_mark(seam: SeamConfig) -> str:
    """16 hex digits, equal for seams that route, rewrite and compare alike, whatever the order of their keys and
    routes. Evidence gathered under one mark says nothing of another. `seam.legacy` is a name, as `load` returns it."""
    shadow = seam.shadow or Shadow()
    made_of = {
        "compare": shadow.compare,
        "epoch": shadow.epoch,
        "credentials": _whose_credentials(shadow),
        "legacy": seam.legacy,
        "extracted": seam.extracted,
        "routes": sorted(_canonical(_routing(seam, route)) for route in seam.routes),
    }
    return blake2b(_canonical(made_of).encode(), digest_size=8).hexdigest()


def _whose_credentials(shadow: Shadow) -> str | list[str]:
    """Never a value: a token that is renewed must not start the evidence anew."""
    return shadow.credentials if isinstance(shadow.credentials, str) else sorted(map(str.lower, shadow.credentials))


def _routing(seam: SeamConfig, route: RouteConfig) -> dict[str, Any]:
    """What decides which requests it takes, and how they reach the extracted side."""
    rewrite = route.rewrite or seam.rewrite or Rewrite()
    return {
        "path": route.path,
        "methods": sorted(route.methods),
        "headers": {name.lower(): value for name, value in route.headers.items()},
        "query": route.query,
        "host": route.host and route.host.lower(),
        "params": route.params,
        "rewrite": rewrite.model_dump(),
    }


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
