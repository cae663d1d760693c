"""What the door must mean: issuers, API keys, rate limits, CORS, networks. Knows no file and no routing table.

Every check yields all that it finds, as in `validate`, where the codes stand. What key files hold is judged in
`key_files`. No message repeats a hash or the address of a store: somebody may have written the secret itself there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from proxy.config import syntax
from proxy.config.finding import Finding, did_you_mean, twice
from proxy.config.model import (
    MAX_WINDOW_S,
    Access,
    Auth,
    AuthRule,
    Cors,
    IdentityToken,
    Issuer,
    Limit,
    Mode,
    RateLimit,
    RateLimits,
    RouteConfig,
    SeamConfig,
    Settings,
)

HMAC = ("HS256", "HS384", "HS512")
PUBLIC_KEY = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Signature algorithms that an issuer may have (RFC 7518 3.1, RFC 8037 3.1, RFC 9864)."""

_NOT_ISSUERS = ("session", "api_key")
_SOURCES = ("jwks_url", "jwks_file", "key_file")
_OF_FETCHING = ("refresh_s", "timeout_s", "cooldown_s", "stale_s")
_MAX_PER_S = 1_000_000
_NO_CREDENTIALS = ("allow_origins", "allow_methods", "allow_headers", "expose_headers")
_CAPTURED = re.compile(r"\{([^{}/]*)\}")
_COOKIE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 6265 4.1.1
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
OWN_HEADER = "x-fig-identity"
"""No client's header of this family ever passes, so this one needs no further look."""
_WILD = re.compile(r"\{[^{}/]*\}")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def check(settings: Settings) -> Iterator[Finding]:
    """`auth` and `rate_limits`, and what all seams say together."""
    for name, issuer in settings.auth.issuers.items():
        yield from _named(f"auth.issuers.{name}", "an issuer", name)
        if name in _NOT_ISSUERS:
            message = f"`{name}` is what identity tokens call another kind of credential: choose another name"
            yield Finding(f"auth.issuers.{name}", "FIG201", message, at_key=True)
        yield from _issuer(f"auth.issuers.{name}", issuer)
    yield from _one_issuer_twice(settings.auth)
    yield from _headers(settings.auth)
    yield from _api_keys(settings.auth)
    yield from _token(settings.auth.identity.token)
    yield from _session(settings)
    yield from _store(settings.rate_limits)
    yield from _nothing_enforced("auth", _auth_modes(settings))
    yield from _nothing_enforced("rate_limit", _limit_modes(settings))
    yield from _ways_around(settings)


def check_seam(settings: Settings, path: str, seam: SeamConfig) -> Iterator[Finding]:
    """`path` is that of the seam."""
    for i, route in enumerate(seam.routes):
        at = f"{path}.routes[{i}]"
        yield from _blocks(_Holder(at, settings, (route,), (at,), path), route)
    routes = tuple(f"{path}.routes[{i}]" for i in range(len(seam.routes)))
    yield from _blocks(_Holder(path, settings, seam.routes, routes, path), seam)
    for key in ("auth", "rate_limit", "access"):
        if getattr(seam, key) and all(getattr(route, key) is not None for route in seam.routes):
            message = f"every route has its own `{key}`, so that of the seam has no effect: remove it"
            needs = tuple(f"{route}.{key}" for route in routes)
            yield Finding(f"{path}.{key}", "FIG217", message, "warning", needs, at_key=True)
    if seam.cors is not None:
        yield from _cors(f"{path}.cors", seam.cors)


def never_there(seam: SeamConfig, routes: Iterable[RouteConfig], selector: str) -> str | None:
    """Why a selector has no value on any of these routes of the seam, as far as authentication says."""
    kind = "issuers" if selector.startswith("jwt.") else "api_keys"
    if kind == "api_keys" and selector != "api_key":
        return None
    rules = [rule for route in routes if (rule := seam.auth_of(route)) is not None]
    if any(getattr(rule, kind) or (rule.session and selector == "jwt.sub") for rule in rules):
        return None
    return f"`{selector}` is never there: {f'`auth` here names no `{kind}`' if rules else 'there is no `auth` here'}"


def auth_keys(path: str, seam: SeamConfig) -> tuple[str, ...]:
    """The keys that `never_there` goes by where it is asked about all routes; `path` is that of the seam."""
    return _auth_keys((path, *(f"{path}.routes[{i}]" for i in range(len(seam.routes)))))


def _auth_keys(holders: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{holder}.auth.{key}" for holder in holders for key in ("issuers", "api_keys", "session"))


def clear_text(limits: RateLimits, written: str | None) -> Iterator[Finding]:
    """`written` is the address of the store as it stands in the file, where it holds `${...}`."""
    url = limits.redis_url or ""
    if ":" not in url.partition("://")[2].rpartition("@")[0]:
        return
    before, at, _ = (written or "").rpartition("@")
    if "${" not in (before if at else written or ""):
        message = "the password of `store` stands here in clear text: write ${file:/run/secrets/redis} in its place"
        yield Finding("rate_limits.store", "FIG153", message, "warning")


def _single(path: str, code: str, problem: str | None) -> Iterator[Finding]:
    if problem is not None:
        yield Finding(path, code, problem)


def _each(path: str, code: str, values: tuple[str, ...], check: Callable[[str], str | None]) -> Iterator[Finding]:
    """What is wrong with each, and which of them stand there twice."""
    for i, value in enumerate(values):
        yield from _single(f"{path}[{i}]", code, check(value))
    yield from twice(path, code, values)


def _named(path: str, what: str, name: str) -> Iterator[Finding]:
    if problem := syntax.door_name_problem(what, name):
        yield Finding(path, "FIG201", problem, at_key=True)


# Issuers


def _issuer(path: str, issuer: Issuer) -> Iterator[Finding]:
    for key in ("issuer", "scope_claim"):
        if not getattr(issuer, key).strip():
            yield Finding(f"{path}.{key}", "FIG145", f"`{key}` is empty: write the value that its tokens have")
    yield from _each(f"{path}.audience", "FIG145", issuer.audience, _empty_audience)
    yield from _sources(path, issuer)
    yield from _algorithms(path, issuer)
    if issuer.jwks_url is not None:
        yield from _single(f"{path}.jwks_url", "FIG143", syntax.jwks_url_problem(issuer.jwks_url))
        for key in ("timeout_s", "cooldown_s"):
            yield from _within_refresh(path, issuer, key)


def _empty_audience(audience: str) -> str | None:
    return None if audience.strip() else "`audience` is empty, and no token is meant for nobody: name this gateway"


def _within_refresh(path: str, issuer: Issuer, key: str) -> Iterator[Finding]:
    value = getattr(issuer, key)
    if value > issuer.refresh_s:
        message = (
            f"`{key}` {value:g} is longer than `refresh_s` {issuer.refresh_s:g}, after which the next fetch is due"
        )
        yield Finding(f"{path}.{key}", "FIG144", f"{message}: lower it", needs=(f"{path}.refresh_s",))


def _sources(path: str, issuer: Issuer) -> Iterator[Finding]:
    given = [key for key in _SOURCES if getattr(issuer, key) is not None]
    needs = tuple(f"{path}.{key}" for key in _SOURCES)
    if not given:
        message = "the issuer has no keys: write one of `jwks_url`, `jwks_file` and `key_file`"
        yield Finding(path, "FIG141", message, needs=needs, at_key=True)
    for key in given[1:]:
        message = f"`{given[0]}` and `{key}` both say where its keys are: keep one"
        yield Finding(f"{path}.{key}", "FIG141", message, needs=needs, at_key=True)
    if len(given) == 1 and issuer.jwks_url is None:
        for key in issuer.chosen(*_OF_FETCHING):
            message = f"`{key}` has no meaning for `{given[0]}`, which is read again when it changes: remove it"
            yield Finding(f"{path}.{key}", "FIG141", message, needs=needs, at_key=True)
    for key in given:
        if key != "jwks_url" and not getattr(issuer, key):
            yield Finding(f"{path}.{key}", "FIG141", f"`{key}` is empty: name a file, or remove it")


def _algorithms(path: str, issuer: Issuer) -> Iterator[Finding]:
    at = f"{path}.algorithms"
    yield from _each(at, "FIG142", issuer.algorithms, _algorithm_problem)
    secret = [i for i, name in enumerate(issuer.algorithms) if name in HMAC]
    public = [i for i, name in enumerate(issuer.algorithms) if name in PUBLIC_KEY]
    if not secret:
        return
    hmac = issuer.algorithms[secret[0]]
    if public:
        i = max(secret[0], public[0])
        message = (
            f"`{hmac}` takes a shared secret and `{issuer.algorithms[public[0]]}` a public key, which anyone could "
        )
        cure = "use as that secret: make two issuers of them"
        needs = (f"{at}[{secret[0]}]", f"{at}[{public[0]}]")
        yield Finding(f"{at}[{i}]", "FIG142", message + cure, needs=needs)
    elif issuer.jwks_file is None and (source := next((key for key in _SOURCES if getattr(issuer, key)), None)):
        why = "would be published there" if source == "jwks_url" else "is no public key"
        message = f"the shared secret of `{hmac}` {why}: keep it in a `jwks_file`, as a key of type oct"
        yield Finding(f"{path}.{source}", "FIG142", message, needs=(at, f"{path}.jwks_file"), at_key=True)


def _algorithm_problem(name: str) -> str | None:
    if name in HMAC or name in PUBLIC_KEY:
        return None
    if name.lower() == "none":
        return f"`{name}` takes tokens that nobody has signed: remove it"
    hint = did_you_mean(name, (*PUBLIC_KEY, *HMAC))
    return f"unknown algorithm `{name}`{hint}: known are {', '.join((*PUBLIC_KEY, *HMAC))}"


def _one_issuer_twice(auth: Auth) -> Iterator[Finding]:
    """A token says by `iss` and `aud` whose it is."""
    seen: dict[tuple[str, str], str] = {}
    for name, issuer in auth.issuers.items():
        told = False
        for audience in dict.fromkeys(issuer.audience):
            first = seen.setdefault((issuer.issuer, audience), name)
            if first != name and not told:
                told = True
                message = f"issuers `{first}` and `{name}` have one `issuer`, and audience `{audience}` both: a token "
                needs = tuple(f"auth.issuers.{one}.{key}" for one in (first, name) for key in ("issuer", "audience"))
                at = f"auth.issuers.{name}.issuer"
                yield Finding(at, "FIG145", f"{message}could be of either; keep one of them", needs=needs)


# Headers and API keys


def _headers(auth: Auth) -> Iterator[Finding]:
    """Whatever carries who comes: three headers, no two of them one."""
    given = [
        ("auth.api_keys.header", auth.api_keys.header, "x-api-key"),
        ("auth.identity.subject", auth.identity.subject, "x-user-id"),
        ("auth.identity.scopes", auth.identity.scopes, "x-user-scopes"),
    ]
    if auth.identity.token is not None and auth.identity.token.header.lower() != OWN_HEADER:
        given.append(("auth.identity.token.header", auth.identity.token.header, OWN_HEADER))
    seen: dict[str, str] = {}
    for path, name, example in given:
        if name is None:
            continue
        yield from _single(path, "FIG147", syntax.door_header_problem(name, example))
        first = seen.setdefault(name.lower().replace("_", "-"), path)
        if first != path:
            message = f"`{name}` is also `{first}`: give each its own header"
            yield Finding(path, "FIG147", message, needs=(first,))


def _token(token: IdentityToken | None) -> Iterator[Finding]:
    if token is None:
        return
    at = "auth.identity.token"
    for key in ("issuer", "audience"):
        value = getattr(token, key)
        if not value.strip():
            yield Finding(f"{at}.{key}", "FIG145", f"`{key}` is empty: write the value that upstreams look for")
    yield from twice(f"{at}.key_files", "FIG146", token.key_files)
    if token.public_path is not None:
        yield from _single(f"{at}.public_path", "FIG149", _path_problem("public_path", token.public_path))


def _session(settings: Settings) -> Iterator[Finding]:
    session = settings.auth.session
    if session is None:
        return
    at = "auth.session"
    if not _COOKIE.fullmatch(session.cookie):
        yield Finding(f"{at}.cookie", "FIG149", f"`{session.cookie}` is no name of a cookie: write for example SID")
    if session.upstream not in settings.upstreams:
        hint = did_you_mean(session.upstream, settings.upstreams) or ": add it to `upstreams`"
        message = f"unknown upstream `{session.upstream}`{hint}"
        yield Finding(f"{at}.upstream", "FIG115", message, needs=(f"upstreams.{session.upstream}",))
    yield from _single(f"{at}.path", "FIG149", _path_problem("path", session.path))
    if any(letter < "!" or letter > "~" for letter in session.token):
        yield Finding(f"{at}.token", "FIG149", "`token` has characters that no header field carries: make another one")


def _path_problem(key: str, path: str) -> str | None:
    """Of a path that is compared, or sent, as it stands."""
    if _PATH.fullmatch(path):
        return None
    return f"`{key}` {path!r} is no plain path: write / and then letters, digits, /, ., - and _, without a query"


def _api_keys(auth: Auth) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name, key in auth.api_keys.keys.items():
        path = f"auth.api_keys.keys.{name}"
        yield from _named(path, "an API key", name)
        problem = syntax.hash_problem(key.sha256)
        yield from _single(f"{path}.sha256", "FIG148", problem)
        first = seen.setdefault(key.sha256.lower(), name)
        if first != name and problem is None:
            message = f"`sha256` is also that of `{first}`, and nobody could tell the two apart: make one of them anew"
            needs = (f"auth.api_keys.keys.{first}.sha256",)
            yield Finding(f"{path}.sha256", "FIG148", message, needs=needs)
        yield from _each(f"{path}.scopes", "FIG151", key.scopes, syntax.scope_problem)
        yield from _limits(f"{path}.rate_limit", key.rate_limit)


# Seams and their routes


@dataclass(frozen=True, slots=True)
class _Holder:
    """A seam or one of its routes: whatever may carry these blocks. `routes` are those that it speaks for."""

    path: str
    settings: Settings
    routes: tuple[RouteConfig, ...]
    route_paths: tuple[str, ...]
    seam_path: str

    @property
    def seam(self) -> SeamConfig:
        return self.settings.seams[self.seam_path.removeprefix("seams.")]


def _blocks(holder: _Holder, block: SeamConfig | RouteConfig) -> Iterator[Finding]:
    if block.auth is not None:
        yield from _rule(f"{holder.path}.auth", holder.settings.auth, block.auth)
    for i, limit in enumerate(block.rate_limit or ()):
        yield from _by(holder, f"{holder.path}.rate_limit[{i}].by", limit)
    yield from _limits(f"{holder.path}.rate_limit", block.rate_limit or ())
    if block.access is not None:
        yield from _access(f"{holder.path}.access", block.access)


def _rule(path: str, auth: Auth, rule: AuthRule) -> Iterator[Finding]:
    if not rule.issuers and not rule.api_keys and not rule.session:
        message = "`auth` names nobody who may come in: write `issuers`, `api_keys` or both"
        needs = (f"{path}.issuers", f"{path}.api_keys", f"{path}.session")
        yield Finding(path, "FIG252", message, needs=needs, at_key=True)
    yield from _known(f"{path}.issuers", rule.issuers, "issuer", auth.issuers, "auth.issuers")
    if rule.session and auth.session is None:
        message = "`session: true` without `auth.session`, which says where sessions are known: add it, or remove this"
        yield Finding(f"{path}.session", "FIG251", message, needs=("auth.session",))
    yield from _known(f"{path}.api_keys", rule.api_keys, "API key", auth.api_keys.keys, "auth.api_keys.keys")
    yield from _each(f"{path}.all_scopes", "FIG151", rule.all_scopes, syntax.scope_problem)
    yield from _each(f"{path}.any_scope", "FIG151", rule.any_scope, syntax.scope_problem)
    if both := [scope for scope in rule.any_scope if scope in rule.all_scopes]:
        message = f"`{both[0]}` is in `all_scopes` too, so `any_scope` asks for nothing more: remove one of them"
        at = f"{path}.any_scope[{rule.any_scope.index(both[0])}]"
        yield Finding(at, "FIG217", message, "warning", (f"{path}.all_scopes",))
    yield from _scopeless(path, auth, rule)


def _known(
    path: str, names: tuple[str, ...], what: str, known: Mapping[str, object], section: str
) -> Iterator[Finding]:
    for i, name in enumerate(names):
        if name not in known:
            hint = did_you_mean(name, known) or f": add it to `{section}`"
            yield Finding(f"{path}[{i}]", "FIG251", f"unknown {what} `{name}`{hint}", needs=(f"{section}.{name}",))
    yield from twice(path, "FIG251", names)


def _scopeless(path: str, auth: Auth, rule: AuthRule) -> Iterator[Finding]:
    for i, name in enumerate(rule.api_keys):
        key = auth.api_keys.keys.get(name)
        if key is None:
            continue
        lacking = [scope for scope in rule.all_scopes if scope not in key.scopes]
        if not lacking and (not rule.any_scope or not set(key.scopes).isdisjoint(rule.any_scope)):
            continue
        which = f"`{lacking[0]}`" if lacking else " or ".join(f"`{scope}`" for scope in rule.any_scope)
        message = (
            f"API key `{name}` is always refused here (403), for it has no scope {which}: give it that, or remove it"
        )
        scopes = (f"{path}.{one}[{j}]" for one in ("all_scopes", "any_scope") for j in range(len(getattr(rule, one))))
        needs = (f"auth.api_keys.keys.{name}.scopes", f"{path}.all_scopes", f"{path}.any_scope", *scopes)
        owned = (f"auth.api_keys.keys.{name}.scopes[{j}]" for j in range(len(key.scopes)))
        yield Finding(f"{path}.api_keys[{i}]", "FIG253", message, "warning", (*needs, *owned))


# Rate limits


def _limits(path: str, limits: Sequence[Limit]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for i, limit in enumerate(limits):
        at = f"{path}[{i}]"
        yield from _single(f"{at}.name", "FIG261", syntax.door_name_problem("a limit", limit.name))
        first = seen.setdefault(limit.name, i)
        if first != i:
            message = f"two limits are named `{limit.name}` here: choose another name"
            yield Finding(f"{at}.name", "FIG261", message, needs=(f"{path}[{first}].name",))
        yield from _numbers(at, limit)


def _numbers(at: str, limit: Limit) -> Iterator[Finding]:
    needs = tuple(f"{at}.{key}" for key in ("requests", "window_s", "burst"))
    if limit.requests == 0:
        if limit.burst:
            message = f"`burst` {limit.burst} never comes back with `requests: 0`: remove it, or raise `requests`"
            yield Finding(f"{at}.burst", "FIG261", message, needs=needs)
        elif limit.mode == "enforce":
            message = "`requests: 0` blocks everything that this limit counts (429)"
            yield Finding(f"{at}.requests", "FIG262", message, "warning", (*needs, f"{at}.mode"))
        return
    if limit.burst == 0:
        message = "`burst: 0` lets nobody in: write at least 1, or `requests: 0` if that is meant"
        yield Finding(f"{at}.burst", "FIG261", message, needs=needs)
    if limit.requests / limit.window_s > _MAX_PER_S:
        message = f"{limit.requests} requests in {limit.window_s:g} s are more than {_MAX_PER_S} a second, beyond what "
        yield Finding(f"{at}.requests", "FIG261", f"{message}fig measures: remove the limit", needs=needs)
    back_s = limit.capacity * limit.window_s / limit.requests
    if back_s > MAX_WINDOW_S:
        message = f"`burst` {limit.capacity} takes {back_s / 86400:.0f} days to come back, and buckets are kept for "
        most = int(MAX_WINDOW_S * limit.requests / limit.window_s)
        yield Finding(f"{at}.burst", "FIG261", f"{message}31: write at most {most}", needs=needs)


def _by(holder: _Holder, path: str, limit: RateLimit) -> Iterator[Finding]:
    segments = set(chain.from_iterable(_CAPTURED.findall(route.path) for route in holder.routes))
    if problem := syntax.selector_problem(limit.by, segments, ("route",)):
        paths = tuple(f"{route}.path" for route in holder.route_paths)
        yield Finding(path, "FIG212", problem, needs=paths if limit.by.startswith("path.") else ())
        return
    counted = [route for route in holder.routes if holder.path != holder.seam_path or route.rate_limit is None]
    if counted and (why := never_there(holder.seam, counted, limit.by)):
        limits = tuple(f"{route}.rate_limit" for route in holder.route_paths if holder.path == holder.seam_path)
        needs = (*_auth_keys((holder.seam_path, *holder.route_paths)), *limits)
        yield Finding(path, "FIG213", f"{why}, so this limit counts by client_ip", "warning", needs)


def _store(limits: RateLimits) -> Iterator[Finding]:
    yield from _single("rate_limits.store", "FIG152", syntax.limits_store_problem(limits.store))
    if limits.redis_url is None:
        for key in limits.chosen("timeout_s", "on_error"):
            message = (
                f"`{key}` concerns Redis, and `store` is not there: remove it, or write `store: redis://HOST:6379/0`"
            )
            yield Finding(f"rate_limits.{key}", "FIG217", message, "warning", ("rate_limits.store",), at_key=True)


# CORS and networks


def _cors(path: str, cors: Cors) -> Iterator[Finding]:
    checks: tuple[tuple[str, str, Callable[[str], str | None]], ...] = (
        ("allow_origins", "FIG271", syntax.origin_problem),
        ("allow_methods", "FIG273", syntax.cors_method_problem),
        ("allow_headers", "FIG273", syntax.header_problem),
        ("expose_headers", "FIG273", syntax.exposed_header_problem),
    )
    for key, code, problem in checks:
        values: tuple[str, ...] = getattr(cors, key)
        for i, value in enumerate(values):
            if value != "*":
                yield from _single(f"{path}.{key}[{i}]", code, problem(value))
            elif len(values) > 1:
                message = "`*` is everything already: write it alone, or leave it out"
                yield Finding(f"{path}.{key}[{i}]", code, message, needs=(f"{path}.{key}",))
        as_read = tuple(value.lower() if key.endswith("headers") else value for value in values)
        yield from (each for each in twice(f"{path}.{key}", code, as_read) if "`*`" not in each.message)
    for key in _NO_CREDENTIALS if cors.allow_credentials else ():
        if "*" in getattr(cors, key):
            message = f"`*` in `{key}` stands for nothing where `allow_credentials` is true: name each"
            at = f"{path}.{key}[{getattr(cors, key).index('*')}]"
            yield Finding(at, "FIG272", message, needs=(f"{path}.allow_credentials",))


def _access(path: str, access: Access) -> Iterator[Finding]:
    if not access.allow and not access.deny:
        message = "`access` names no network, and everybody comes in: write `allow` or `deny`, or remove it"
        yield Finding(path, "FIG281", message, needs=(f"{path}.allow", f"{path}.deny"), at_key=True)
    for key, networks in (("allow", access.allow), ("deny", access.deny)):
        yield from _each(f"{path}.{key}", "FIG105", networks, syntax.network_problem)
    allowed, denied = list(_networks(access.allow)), list(_networks(access.deny))
    for i, text, network in allowed:
        for j, other, wider in denied:
            if _covers(wider, network):
                message = f"`{text}` never comes in, for `deny` wins and has `{other}`: remove one of them"
                yield Finding(f"{path}.allow[{i}]", "FIG281", message, needs=(f"{path}.deny[{j}]",))
                break
    for i, text, network in denied if access.allow and len(allowed) == len(access.allow) else ():
        if not any(_covers(wider, network) or _covers(network, wider) for _, _, wider in allowed):
            message = f"`{text}` is in no network of `allow`, so it is kept out anyway: remove it"
            needs = (f"{path}.allow", *(f"{path}.allow[{j}]" for j in range(len(access.allow))))
            yield Finding(f"{path}.deny[{i}]", "FIG217", message, "warning", needs)


def _networks(texts: Iterable[str]) -> Iterator[tuple[int, str, Network]]:
    for i, text in enumerate(texts):
        if syntax.network_problem(text) is None:
            yield i, text, ipaddress.ip_network(text)


def _covers(wider: Network, network: Network) -> bool:
    return wider.version == network.version and network.subnet_of(wider)  # type: ignore[arg-type]


# What all seams say together


def _holders(settings: Settings) -> Iterator[tuple[str, SeamConfig | RouteConfig]]:
    for name, seam in settings.seams.items():
        yield f"seams.{name}", seam
        for i, route in enumerate(seam.routes):
            yield f"seams.{name}.routes[{i}]", route


def _auth_modes(settings: Settings) -> Iterator[tuple[str, Mode]]:
    for path, block in _holders(settings):
        if block.auth is not None:
            yield f"{path}.auth.mode", block.auth.mode


def _limit_modes(settings: Settings) -> Iterator[tuple[str, Mode]]:
    for name, key in settings.auth.api_keys.keys.items():
        for i, limit in enumerate(key.rate_limit):
            yield f"auth.api_keys.keys.{name}.rate_limit[{i}].mode", limit.mode
    for path, block in _holders(settings):
        for i, limit in enumerate(block.rate_limit or ()):
            yield f"{path}.rate_limit[{i}].mode", limit.mode


def _nothing_enforced(key: str, modes: Iterable[tuple[str, Mode]]) -> Iterator[Finding]:
    found = dict(modes)
    if found and set(found.values()) == {"observe"}:
        message = f"every `{key}` has `mode: observe`: nobody is refused until one says enforce"
        yield Finding(next(iter(found)), "FIG254", message, "warning", tuple(found))


def _ways_around(settings: Settings) -> Iterator[Finding]:
    """Two routes of one path that differ in what a client may choose freely, and one of them asks for nothing."""
    alike: dict[str, list[tuple[str, RouteConfig, AuthRule | None]]] = {}
    for name, seam in settings.seams.items():
        for i, route in enumerate(seam.routes):
            entry = (f"seams.{name}.routes[{i}]", route, seam.auth_of(route))
            alike.setdefault(_WILD.sub("*", route.path), []).append(entry)
    for routes in alike.values():
        guarded = [(path, route) for path, route, rule in routes if rule is not None]
        for path, route, rule in routes if guarded else ():
            other = next((entry for entry in guarded if _freely_chosen(route, entry[1])), None)
            if rule is None and other is not None:
                message = (
                    f"`{route.path}` is open here and needs `auth` in {other[0]}: a client chooses headers, query "
                )
                needs = tuple(f"{one}.{key}" for one in (path, other[0]) for key in _DECIDING)
                cure = "and host, so it can choose this one; give both the same `auth`"
                yield Finding(f"{path}.path", "FIG255", message + cure, "warning", needs)


_DECIDING = ("auth", "path", "methods", "headers", "query", "host", "params")


def _freely_chosen(one: RouteConfig, other: RouteConfig) -> bool:
    """Whether one request could be sent so that either takes it."""
    methods = not one.methods or not other.methods or not set(one.methods).isdisjoint(other.methods)
    hosts = one.host and other.host and one.host.lower() != other.host.lower()
    return one.params == other.params and methods and not hosts and _conditions(one) != _conditions(other)


def _conditions(route: RouteConfig) -> tuple[object, ...]:
    return {name.lower(): value for name, value in route.headers.items()}, route.query, (route.host or "").lower()
