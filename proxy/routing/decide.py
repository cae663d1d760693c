"""Which side answers a request, and what the target becomes there. Never looks at breakers, health or bodies.

    latch (legacy) > retired (extracted) > allowed force header > stage > bucket

All but the last two steps are known as soon as a seam's state is: `plan` works them out once per state change, and
`decide` hands out Decisions that were made then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from math import inf
from typing import Literal

from proxy.config.model import Force, Rewrite, SeamConfig, Stage
from proxy.errors import BadRequest
from proxy.messages import RequestHead
from proxy.routing.match import CompiledRoute
from proxy.routing.path import canonical
from proxy.routing.resilience import (
    BreakerRule,
    FallbackRule,
    RetryRule,
    Side,
    extracted_breakers,
    fallbacks,
    legacy_breaker,
    retries,
)
from proxy.routing.shadowing import ShadowRule, Target, mirrors, shadow_rules
from proxy.routing.split import BUCKETS, Selector, bucketer, compile_selector, sticky_key, sticky_value, threshold

Reason = Literal["rolled_back", "retired", "forced", "stage", "bucket", "default"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Who answers and why. `rewrite` is what the target needs on that side: never anything on legacy.
    `deadline_s` is the seam's: from request complete to the final response head. `fallback` is there where another may
    answer for this side; `instead` is then the Decision for legacy, with the same reason. `shadow` is there where the
    other side is asked too, afterwards."""

    seam: str
    side: Side
    upstream: str
    reason: Reason
    rewrite: Rewrite | None
    deadline_s: float = inf
    breaker: BreakerRule | None = None
    retry: RetryRule | None = None
    fallback: FallbackRule | None = None
    instead: Decision | None = None
    shadow: ShadowRule | None = None


ByRoute = tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class ForceRule:
    """Whose header value counts as a decision. `header` is lower case."""

    header: bytes
    networks: tuple[IPv4Network | IPv6Network, ...]
    choices: Mapping[bytes, ByRoute]

    def chosen(self, request: RequestHead, client_ip: str) -> ByRoute | None:
        """None without the header, for any other value, and for a client that is not in `networks`."""
        value = request.fields.get(self.header)
        choice = None if value is None else self.choices.get(value.lower())
        return choice if choice is not None and self._allows(client_ip) else None

    def _allows(self, client_ip: str) -> bool:
        try:
            address = ip_address(client_ip)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class SeamPlan:
    """All that `decide` needs of one seam in one effective state. Decisions stand at their route's index.

    `settled` is None where the bucket has to be asked: canary strictly between 0 and 100 percent. `threshold` is the
    first bucket that stays on legacy.
    """

    seam: str
    force: ForceRule | None
    settled: ByRoute | None
    selectors: tuple[Selector, ...]
    bucket_of: Callable[[bytes], int]
    threshold: int
    moved: ByRoute
    unmoved: ByRoute


def plan(name: str, seam: SeamConfig, *, stage: Stage, percent: float, latched: bool) -> SeamPlan:
    """`stage` and `percent` are effective before the latch: the override's, else the configuration's.

    `percent` (0-100) counts only in canary. Raises ValueError for a selector that `config.load` would have refused.
    """
    sides = _Sides(name, seam, stage == "retired", *_shadows(name, seam, "legacy" if latched else stage))
    limit = threshold(percent)
    return SeamPlan(
        seam=name,
        force=None if latched or stage == "retired" else _force_rule(seam.force, sides),
        settled=_settled(sides, stage, limit, latched),
        selectors=tuple(map(compile_selector, seam.sticky_by)),
        bucket_of=bucketer(seam.bucket_group or name),
        threshold=limit,
        moved=sides.extracted("bucket"),
        unmoved=sides.legacy("bucket"),
    )


def decide(
    plan: SeamPlan,
    route: CompiledRoute,
    request: RequestHead,
    params: Mapping[str, bytes],
    client_ip: str,
    draw: Callable[[], int],
) -> Decision:
    """The decision for a request that `route` of this seam matched.

    `client_ip` is the client after trusted proxies. `draw` gives a uniform int in [0, 10000) and is asked only where a
    bucket is needed and no sticky key is there.
    """
    if plan.force is not None:
        forced = plan.force.chosen(request, client_ip)
        if forced is not None:
            return forced[route.index]
    if plan.settled is not None:
        return plan.settled[route.index]
    value = sticky_value(plan.selectors, request, params, client_ip)
    number = draw() if value is None else plan.bucket_of(value)
    return (plan.moved if number < plan.threshold else plan.unmoved)[route.index]


def bucket_of(
    plan: SeamPlan, request: RequestHead, params: Mapping[str, bytes], client_ip: str
) -> tuple[str, bytes, int] | None:
    """(selector, value, bucket) that `decide` goes by in canary, whatever the stage; None without a sticky key."""
    found = sticky_key(plan.selectors, request, params, client_ip)
    return found and (found[0].text, found[1], plan.bucket_of(found[1]))


def apply_rewrite(rewrite: Rewrite, target: bytes) -> bytes:
    """`target` (path, with or without query) as the extracted side wants it, all other bytes as they were sent.

    `strip_prefix` goes only where it ends with a segment, in whichever spelling the client used; a target without it
    stays as it is. The result starts with `/`.
    """
    return _swap_prefix(target, rewrite.strip_prefix, rewrite.add_prefix)


def unrewrite(rewrite: Rewrite, target: bytes) -> bytes:
    """The reverse of `apply_rewrite`, for a path that the extracted side names, as in Location."""
    return _swap_prefix(target, rewrite.add_prefix, rewrite.strip_prefix)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Makes the Decisions of one seam, one per route. `shadows` and `reverse_shadows` are of what legacy and what the
    extracted side serves."""

    name: str
    seam: SeamConfig
    retired: bool
    shadows: tuple[ShadowRule | None, ...]
    reverse_shadows: tuple[ShadowRule | None, ...]

    @property
    def split(self) -> bool:
        return self.seam.extracted is not None

    def legacy(self, reason: Reason) -> ByRoute:
        seam, upstream = self.seam, self.seam.legacy
        if upstream is None:
            raise ValueError(f"seam {self.name!r} has no legacy upstream; name one, or set `default`")
        breaker = legacy_breaker(self.name, seam)
        return tuple(
            Decision(self.name, "legacy", upstream, reason, None, seam.deadline_s, breaker, retry, shadow=shadow)
            for retry, shadow in zip(retries(seam), self.shadows, strict=True)
        )

    def extracted(self, reason: Reason) -> ByRoute:
        """Of a seam that was never cut, the legacy side."""
        seam, upstream = self.seam, self.seam.extracted
        if upstream is None:
            return self.legacy("stage")
        rules = zip(
            _rewrites(seam),
            extracted_breakers(self.name, seam),
            retries(seam),
            fallbacks(self.name, seam, self.retired),
            self.legacy(reason),
            self.reverse_shadows,
            strict=True,
        )
        return tuple(
            Decision(
                self.name,
                "extracted",
                upstream,
                reason,
                rewrite,
                seam.deadline_s,
                breaker,
                retry,
                fallback,
                legacy if fallback is not None and fallback.legacy else None,
                shadow,
            )
            for rewrite, breaker, retry, fallback, legacy, shadow in rules
        )


def _rewrites(seam: SeamConfig) -> tuple[Rewrite | None, ...]:
    return tuple(route.rewrite or seam.rewrite for route in seam.routes)


def _shadows(
    name: str, seam: SeamConfig, stage: Stage
) -> tuple[tuple[ShadowRule | None, ...], tuple[ShadowRule | None, ...]]:
    """By route: of what legacy serves, and of what the extracted side does."""
    if seam.legacy is None or seam.extracted is None or not mirrors(seam, stage):
        nothing = (None,) * len(seam.routes)
        return nothing, nothing
    legacy = (Target("legacy", seam.legacy, None),) * len(seam.routes)
    extracted = tuple(Target("extracted", seam.extracted, rewrite) for rewrite in _rewrites(seam))
    return shadow_rules(name, seam, legacy, extracted), shadow_rules(name, seam, extracted, legacy)


def _settled(sides: _Sides, stage: Stage, limit: int, latched: bool) -> ByRoute | None:
    if not sides.split:
        return sides.legacy("stage")
    if latched:
        return sides.legacy("rolled_back")
    if stage == "retired":
        return sides.extracted("retired")
    if stage == "canary":
        if 0 < limit < BUCKETS:
            return None
        return sides.extracted("bucket") if limit else sides.legacy("bucket")
    return sides.extracted("stage") if stage == "extracted" else sides.legacy("stage")


def _force_rule(force: Force | None, sides: _Sides) -> ForceRule | None:
    if force is None or not sides.split:
        return None
    networks = tuple(ip_network(text, strict=False) for text in force.allow_from)
    choices = {b"legacy": sides.legacy("forced"), b"extracted": sides.extracted("forced")}
    return ForceRule(force.header.lower().encode(), networks, choices)


def _swap_prefix(target: bytes, old: str, new: str) -> bytes:
    path, mark, query = target.partition(b"?")
    rest = _after_prefix(path, _prefix(old)) if path[:1] == b"/" else None
    if rest is None:
        return target
    return (_prefix(new) + rest or b"/") + mark + query


def _prefix(text: str) -> bytes:
    """With a leading and without a trailing slash; b"" for no prefix at all."""
    inner = text.strip("/")
    return b"/" + inner.encode() if inner else b""


def _after_prefix(path: bytes, prefix: bytes) -> bytes | None:
    """What follows `prefix`: b"" or something with a leading `/`. None where the path is elsewhere."""
    if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/"):
        return path[len(prefix) :]
    depth = prefix.count(b"/") + 1
    head = b"/".join(path.split(b"/", depth)[:depth])
    return path[len(head) :] if b"%" in head and _same_spelling(head, prefix) else None


def _same_spelling(path: bytes, prefix: bytes) -> bool:
    try:
        return canonical(path) == canonical(prefix)
    except BadRequest:
        return False
