"""What a configuration must mean: its values beside one another. Knows no file, no YAML and no routing table.

Codes of problems, stable; all are errors but those marked w (warning), which leave a configuration usable:

    FIG001  file cannot be read                           FIG201  name is not legal, or reserved
    FIG002  YAML syntax                                   FIG202  no legacy upstream
    FIG003  empty, or not a mapping                       FIG203  stage and percent contradict each other
    FIG004  duplicate key                                 FIG204  stage or percent without `extracted`
    FIG005  YAML that is refused                        w FIG205  canary without `sticky_by`
    FIG006  unknown key                                   FIG206  the whole monolith in one extracted route
    FIG007  not available yet                             FIG207  deadline shorter than its attempts
    FIG008  missing key                                   FIG208  more canaries than `max_active_seams`
    FIG009  wrong type                                    FIG209  `requires` an unknown seam
    FIG010  value not allowed                             FIG210  `requires` in a circle
    FIG011  `${...}` has no value                         FIG211  required seam is not extracted yet
    FIG012  secret file cannot be read                    FIG212  selector
    FIG013  key not allowed in an included file         w FIG213  selector that is always absent
    FIG014  include matches no file (w for a glob)        FIG215  `force`
    FIG015  duplicate name across files                   FIG216  rewrite prefix
    FIG101  listen address                              w FIG217  key without effect
    FIG102  both ports on one address                     FIG218  bucket group
    FIG103  open admin port without token                 FIG221  method condition
    FIG104  admin token                                   FIG222  header or query condition
    FIG105  network (CIDR)                                FIG223  host condition
    FIG106  store                                         FIG224  params names no segment of the path
    FIG107  protocol to upgrade to                        FIG225  regular expression
    FIG111  endpoint                                      FIG231  breaker that contradicts itself
    FIG112  duplicate endpoint                            FIG232  retry
    FIG113  endpoint is fig itself                        FIG233  fallback
    FIG114  upstream host                                 FIG241  `shadow` without `extracted`
    FIG115  unknown upstream                              FIG242  method that is not mirrored
    FIG116  http and https endpoints in one upstream      FIG243  `writes` of shadow
    FIG117  `tls` of an upstream without https          w FIG244  what `writes` sends to both sides
    FIG118  `tls.server_name`                             FIG245  header of a shadow call, or of a version
    FIG121  certificate, key or CA file cannot be read    FIG246  waiver
    FIG122  no PEM certificate or key in it               FIG24x  what is compared: `shadow.rule_check`
    FIG123  key does not fit the certificate              FIG251  unknown issuer or API key, or one twice
  w FIG124  certificate expired or not valid yet          FIG252  `auth` that names nobody
    FIG125  `client_auth` without `client_ca`           w FIG253  API key that never has the scopes
    FIG126  certificate without its key, or reverse     w FIG254  `mode: observe` everywhere
    FIG131  queue without a bulkhead, or wait without   w FIG255  open route beside one with `auth`
            a queue                                       FIG261  rate limit
    FIG132  health probe                                w FIG262  rate limit of 0
    FIG133  discovery of endpoints                        FIG271  CORS: origin
    FIG135  webhook                                       FIG272  CORS: credentials for everybody
    FIG141  where an issuer's keys are                    FIG273  CORS: method or header
    FIG142  signature algorithm                           FIG281  `access`
    FIG143  `jwks_url`                                    FIG3xx  routes beside one another: `routing.table`
    FIG144  fetch or cooldown longer than the refresh
    FIG145  issuer or audience
    FIG146  file of keys that no algorithm can use
    FIG147  header of identities or API keys
    FIG148  hash of an API key
    FIG149  session bridge, or path of the identity keys
    FIG151  scope
    FIG152  store of rate limits
  w FIG153  password in clear text

Every check yields all that it finds. A finding names in `needs` the other keys that it rests on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import chain

from proxy.config import door, resilience, shadowing, syntax
from proxy.config.finding import Finding, did_you_mean
from proxy.config.model import (
    RouteConfig,
    SeamConfig,
    Settings,
    UpstreamConfig,
    is_https,
    split_address,
    split_endpoint,
)

_SEGMENT = re.compile(r"\{([^{}/]*)\}")
_WILD = re.compile(r"/(?:(?:\*|\{[^{}/]*\})/)*\*\*")
_DONE = ("extracted", "retired")


def validate(settings: Settings) -> Iterator[Finding]:
    """Everything that is wrong with settings whose shape is right."""
    yield from _ports(settings)
    yield from _top_level(settings)
    yield from door.check(settings)
    for name, upstream in settings.upstreams.items():
        yield from _upstream(settings, name, upstream)
    for name, seam in settings.seams.items():
        yield from _seam(settings, name, seam)
    yield from _circles(settings)


def _single(path: str, code: str, problem: str | None) -> Iterator[Finding]:
    if problem is not None:
        yield Finding(path, code, problem)


def _each(path: str, code: str, values: Iterable[str], check: Callable[[str], str | None]) -> Iterator[Finding]:
    for i, value in enumerate(values):
        yield from _single(f"{path}[{i}]", code, check(value))


def _address(listen: str) -> tuple[str, int] | None:
    try:
        return split_address(listen)
    except ValueError:
        return None


# Ports, store, policy


def _ports(settings: Settings) -> Iterator[Finding]:
    server, admin = settings.server, settings.admin
    yield from _single("server.listen", "FIG101", syntax.listen_problem(server.listen))
    yield from _single("admin.listen", "FIG101", syntax.listen_problem(admin.listen))
    yield from _single("admin.token", "FIG104", syntax.token_problem(admin.token))
    yield from _each("server.trusted_proxies", "FIG105", server.trusted_proxies, syntax.network_problem)
    yield from _each("server.upgrades", "FIG107", server.upgrades, syntax.upgrade_problem)
    data_at, admin_at = _address(server.listen), _address(admin.listen)
    if data_at and admin_at and data_at[1] == admin_at[1] != 0 and syntax.collide(data_at[0], admin_at[0]):
        message = f"`admin.listen` {admin.listen} is also the data port {server.listen}: choose another port"
        yield Finding("admin.listen", "FIG102", message, needs=("server.listen",))
    if admin_at and not admin.token and not syntax.is_loopback(admin_at[0]):
        message = f"`admin.listen` {admin.listen} is open to others without `admin.token`: set one, or use 127.0.0.1"
        yield Finding("admin.listen", "FIG103", message, needs=("admin.token",))


def _top_level(settings: Settings) -> Iterator[Finding]:
    if settings.telemetry.webhook is not None:
        yield from resilience.check_webhook("telemetry.webhook", settings.telemetry.webhook)
    yield from _single("store", "FIG106", None if _later_store(settings) else syntax.store_problem(settings.store))
    if _later_store(settings):
        yield Finding("store", "FIG007", "a Redis store is not available yet: write sqlite:PATH or memory")
    if settings.default is not None:
        yield from _known_upstream(settings, "default", settings.default)
    yield from _active_seams(settings)


def _later_store(settings: Settings) -> bool:
    return settings.store.startswith(("redis:", "rediss:"))


def _active_seams(settings: Settings) -> Iterator[Finding]:
    most = settings.policy.max_active_seams
    active = [name for name, seam in settings.seams.items() if seam.declared_stage == "canary"]
    if most is not None and len(active) > most:
        message = f"{len(active)} seams are in canary, `max_active_seams` is {most}: {', '.join(active[:10])}"
        yield Finding("policy.max_active_seams", "FIG208", message)


def _known_upstream(settings: Settings, path: str, name: str) -> Iterator[Finding]:
    if name not in settings.upstreams:
        hint = did_you_mean(name, settings.upstreams) or ": add it to `upstreams`"
        yield Finding(path, "FIG115", f"unknown upstream `{name}`{hint}", needs=(f"upstreams.{name}", "include"))


# Upstreams


def _upstream(settings: Settings, name: str, upstream: UpstreamConfig) -> Iterator[Finding]:
    path = f"upstreams.{name}"
    if problem := syntax.upstream_name_problem(name):
        yield Finding(path, "FIG201", problem, at_key=True)
    yield from _single(f"{path}.host", "FIG114", syntax.upstream_host_problem(upstream.host))
    seen: dict[tuple[str, int], int] = {}
    for i, url in enumerate(upstream.listed):
        yield from _endpoint(settings, f"{path}.endpoints[{i}]", url, seen, i)
    if upstream.discovery is not None and upstream.discovery.dns is not None:
        yield from _dns(settings, f"{path}.endpoints.dns", upstream.discovery.dns)
    yield from _schemes(path, upstream)
    yield from resilience.check_upstream(path, upstream)


def _schemes(path: str, upstream: UpstreamConfig) -> Iterator[Finding]:
    urls = upstream.listed
    for i, url in enumerate(urls):
        if "://" in url and "://" in urls[0] and is_https(url) != is_https(urls[0]):
            message = f"`{url}` and `{urls[0]}` differ in http and https: give each its own upstream"
            yield Finding(f"{path}.endpoints[{i}]", "FIG116", message, needs=(f"{path}.endpoints[0]",))
    if upstream.tls is None:
        return
    if not (any(map(is_https, urls)) or (upstream.discovery is not None and upstream.secure)):
        told = upstream.discovery is not None and upstream.discovery.dns is None
        message = f"`tls` has no meaning for http:// endpoints: write {'`scheme: https`' if told else 'https://'}, "
        needs = tuple(f"{path}.endpoints{key}" for key in ("", ".scheme", ".registry", ".dns"))
        yield Finding(f"{path}.tls", "FIG117", f"{message}or remove it", needs=needs, at_key=True)
    if upstream.tls.server_name is not None:
        at = f"{path}.tls.server_name"
        yield from _single(at, "FIG118", syntax.server_name_problem(upstream.tls.server_name))


def _endpoint(
    settings: Settings, path: str, url: str, seen: dict[tuple[str, int], int], position: int
) -> Iterator[Finding]:
    if problem := syntax.endpoint_problem(url):
        yield Finding(path, "FIG111", problem)
        return
    host, port = split_endpoint(url)
    first = seen.setdefault((host.lower(), port), position)
    if first != position:
        yield Finding(path, "FIG112", f"`{url}` stands here twice, first as endpoints[{first}]: remove one")
    yield from _own_address(settings, path, url, host, port)


def _dns(settings: Settings, path: str, url: str) -> Iterator[Finding]:
    try:
        host, port = split_endpoint(url)
    except ValueError:
        return  # `resilience` says so
    yield from _own_address(settings, path, url, host, port)


def _own_address(settings: Settings, path: str, url: str, host: str, port: int) -> Iterator[Finding]:
    for own, listen in (("server.listen", settings.server.listen), ("admin.listen", settings.admin.listen)):
        address = _address(listen)
        if address and address[1] == port and syntax.leads_back(address[0], host):
            message = f"`{url}` is fig's own address (`{own}` {listen}): requests would go in a circle"
            yield Finding(path, "FIG113", message, needs=(own,))
            return


# Seams


def _seam(settings: Settings, name: str, seam: SeamConfig) -> Iterator[Finding]:
    path = f"seams.{name}"
    if problem := syntax.seam_name_problem(name):
        yield Finding(path, "FIG201", problem, at_key=True)
    yield from _sides(settings, path, seam)
    yield from _stage(path, seam)
    yield from _sticky(path, seam)
    yield from _seam_values(path, seam)
    yield from _deadline(settings, path, seam)
    yield from _requires(settings, name, seam)
    yield from resilience.check_seam(settings, path, seam)
    yield from shadowing.check_seam(path, seam)
    yield from door.check_seam(settings, path, seam)
    for i, route in enumerate(seam.routes):
        yield from _route(f"{path}.routes[{i}]", seam, route)


def _sides(settings: Settings, path: str, seam: SeamConfig) -> Iterator[Finding]:
    if seam.legacy is not None:
        yield from _known_upstream(settings, f"{path}.legacy", seam.legacy)
    elif settings.default is None:
        message = "the seam has no legacy upstream: write `legacy`, or `default` at the top level"
        yield Finding(path, "FIG202", message, needs=(f"{path}.legacy", "default"), at_key=True)
    if seam.extracted is None:
        return
    yield from _known_upstream(settings, f"{path}.extracted", seam.extracted)
    if seam.extracted == (seam.legacy or settings.default):
        message = f"both sides are upstream `{seam.extracted}`: moving the seam changes nothing"
        yield Finding(f"{path}.extracted", "FIG217", message, "warning", (f"{path}.legacy", "default"))


def _stage(path: str, seam: SeamConfig) -> Iterator[Finding]:
    stage, percent = seam.declared_stage, seam.percent
    both = (f"{path}.stage", f"{path}.percent")
    if stage == "canary" and percent is None:
        yield Finding(f"{path}.stage", "FIG203", "stage canary needs `percent`: write it, 0 to 100", needs=both)
    if percent is not None and stage != "canary":
        message = f"`percent` {percent:g} has no meaning in stage {stage}: remove it, or write stage canary"
        yield Finding(f"{path}.percent", "FIG203", message, needs=both)
    if percent is not None and abs(percent * 100 - round(percent * 100)) > 1e-6:
        message = f"`percent` {percent!r} has more than two decimals: write {round(percent, 2):g}"
        yield Finding(f"{path}.percent", "FIG010", message)
    if seam.extracted is None and stage != "legacy":
        at = both[0] if seam.stage is not None else both[1]
        message = f"stage {stage} needs `extracted`: name its upstream, or stay legacy"
        yield Finding(at, "FIG204", message, needs=(*both, f"{path}.extracted"))


def _sticky(path: str, seam: SeamConfig) -> Iterator[Finding]:
    segments = set(chain.from_iterable(_SEGMENT.findall(route.path) for route in seam.routes))
    paths = tuple(f"{path}.routes[{i}].path" for i in range(len(seam.routes)))
    for i, selector in enumerate(seam.sticky_by):
        at = f"{path}.sticky_by[{i}]"
        if problem := syntax.selector_problem(selector, segments):
            needs = paths if selector.startswith("path.") else ()
            yield Finding(at, "FIG212", problem, needs=needs)
        elif why := door.never_there(seam, seam.routes, selector):
            yield Finding(at, "FIG213", f"{why}: remove it, or add `auth`", "warning", door.auth_keys(path, seam))
    if seam.declared_stage == "canary" and not seam.sticky_by:
        message = "canary without `sticky_by`: each request takes a side at random, so one client meets both"
        needs = (f"{path}.sticky_by", f"{path}.stage", f"{path}.percent")
        yield Finding(needs[1] if seam.stage else needs[2], "FIG205", message, "warning", needs)


def _seam_values(path: str, seam: SeamConfig) -> Iterator[Finding]:
    if seam.bucket_group is not None:
        yield from _single(f"{path}.bucket_group", "FIG218", syntax.bucket_group_problem(seam.bucket_group))
    if seam.force is not None:
        yield from _single(f"{path}.force.header", "FIG215", syntax.force_header_problem(seam.force.header))
        yield from _each(f"{path}.force.allow_from", "FIG105", seam.force.allow_from, syntax.network_problem)
    yield from _rewrite(path, seam, seam)


def _rewrite(path: str, seam: SeamConfig, holder: SeamConfig | RouteConfig) -> Iterator[Finding]:
    rewrite = holder.rewrite
    if rewrite is None:
        return
    yield from _single(f"{path}.rewrite.strip_prefix", "FIG216", syntax.prefix_problem(rewrite.strip_prefix))
    yield from _single(f"{path}.rewrite.add_prefix", "FIG216", syntax.prefix_problem(rewrite.add_prefix))
    if seam.extracted is None:
        message = "`rewrite` acts on the extracted side only, and this seam has no `extracted`"
        above = path.partition(".routes[")[0]
        yield Finding(f"{path}.rewrite", "FIG217", message, "warning", (f"{above}.extracted",), at_key=True)


def _deadline(settings: Settings, path: str, seam: SeamConfig) -> Iterator[Finding]:
    names = (seam.extracted, seam.legacy or settings.default)
    sides = [settings.upstreams[name] for name in names if name in settings.upstreams]
    least = sum(side.timeouts.response_s for side in sides)
    if len(sides) == 2 and seam.deadline_s < least:
        sums = " + ".join(f"{side.timeouts.response_s:g}" for side in sides)
        message = f"`deadline_s` {seam.deadline_s:g} is less than response_s of extracted + legacy ({sums}): "
        needs = (*(f"upstreams.{name}.timeouts.response_s" for name in names), f"{path}.legacy", "default")
        yield Finding(f"{path}.deadline_s", "FIG207", f"{message}raise it to {least:g}", needs=needs)


# Requirements between seams


def _requires(settings: Settings, name: str, seam: SeamConfig) -> Iterator[Finding]:
    path = f"seams.{name}"
    for i, required in enumerate(seam.requires):
        at, other = f"{path}.requires[{i}]", settings.seams.get(required)
        if other is None:
            hint = did_you_mean(required, settings.seams) or ": add it, or remove it here"
            yield Finding(at, "FIG209", f"unknown seam `{required}`{hint}", needs=(f"seams.{required}", "include"))
        elif _ahead(seam, other) and not _leads_to(settings, required, name):
            message = f"stage {seam.declared_stage} requires seam `{required}` to be extracted, it is "
            needs = (*_stage_keys(path), *_stage_keys(f"seams.{required}"))
            yield Finding(at, "FIG211", f"{message}{other.declared_stage}", needs=needs)


def _ahead(seam: SeamConfig, required: SeamConfig) -> bool:
    return seam.declared_stage not in ("legacy", "shadow") and required.declared_stage not in _DONE


def _stage_keys(path: str) -> tuple[str, str]:
    return f"{path}.stage", f"{path}.percent"


def _leads_to(settings: Settings, start: str, goal: str) -> bool:
    """Whether `requires` leads from `start` to `goal`: then the circle is what is wrong."""
    seen, ahead = {start}, [start]
    while ahead:
        name = ahead.pop()
        if name == goal:
            return True
        seam = settings.seams.get(name)
        fresh = [required for required in seam.requires if required not in seen] if seam else []
        seen.update(fresh)
        ahead.extend(fresh)
    return False


def _circles(settings: Settings) -> Iterator[Finding]:
    """One finding for each circle, at the key that closes it."""
    left = {name: seam.requires for name, seam in settings.seams.items() if seam.requires}
    while circle := _circle(left):
        i = left[circle[-1]].index(circle[0])
        message = f"`requires` goes in a circle: {' → '.join([*circle, circle[0]])}"
        yield Finding(f"seams.{circle[-1]}.requires[{i}]", "FIG210", message)
        left = {name: required for name, required in left.items() if name not in circle}


def _circle(requires: dict[str, tuple[str, ...]]) -> list[str]:
    """Seams each of which requires the next and the last the first, from the first in file order; or none."""
    try:
        TopologicalSorter(requires).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1][:0:-1]
        start = circle.index(next(name for name in requires if name in circle))
        return circle[start:] + circle[:start]
    return []


# Routes


def _route(path: str, seam: SeamConfig, route: RouteConfig) -> Iterator[Finding]:
    yield from _whole(path, seam, route)
    yield from _methods(f"{path}.methods", route.methods)
    yield from _headers(f"{path}.headers", route.headers)
    if route.host is not None:
        yield from _single(f"{path}.host", "FIG223", syntax.route_host_problem(route.host))
    yield from _params(path, route)
    yield from _rewrite(path, seam, route)


def _whole(path: str, seam: SeamConfig, route: RouteConfig) -> Iterator[Finding]:
    conditions = route.host or route.headers or route.query or route.params
    if seam.extracted is not None and not conditions and _WILD.fullmatch(route.path):
        message = f"`{route.path}` would move the whole monolith at once: name a part of it, "
        needs = tuple(f"{path}.{key}" for key in ("host", "headers", "query", "params"))
        yield Finding(f"{path}.path", "FIG206", f"{message}or leave it to `default`", needs=needs)


def _methods(path: str, methods: tuple[str, ...]) -> Iterator[Finding]:
    for i, method in enumerate(methods):
        problem = syntax.method_problem(method)
        if problem is None and method in methods[:i]:
            problem = f"`{method}` stands here twice: remove one"
        yield from _single(f"{path}[{i}]", "FIG221", problem)


def _headers(path: str, headers: dict[str, str]) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name, value in headers.items():
        if problem := syntax.header_problem(name):
            yield Finding(f"{path}.{name}", "FIG222", problem, at_key=True)
        yield from _single(f"{path}.{name}", "FIG222", syntax.field_value_problem(value))
        first = seen.setdefault(name.lower(), name)
        if first != name:
            message = f"`{name}` and `{first}` are one header: remove one"
            yield Finding(f"{path}.{name}", "FIG222", message, at_key=True)


def _params(path: str, route: RouteConfig) -> Iterator[Finding]:
    segments = _SEGMENT.findall(route.path)
    for name, pattern in route.params.items():
        at = f"{path}.params.{name}"
        if name not in segments:
            hint = did_you_mean(name, segments) or f": write {{{name}}} into the path, or remove it here"
            message = f"`{route.path}` has no segment {{{name}}}{hint}"
            yield Finding(at, "FIG224", message, needs=(f"{path}.path",), at_key=True)
        yield from _single(at, "FIG225", syntax.pattern_problem(pattern))
