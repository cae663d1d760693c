"""What a Decision takes along where its answers are compared: who else is asked, of which requests. Pure.

Made once a state change, never per request. Knows no queue, no count and no upstream.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from proxy.config.model import Rewrite, SeamConfig, Shadow, Stage
from proxy.config.shadowing import rules_mark
from proxy.routing.match import Kind, parse_pattern
from proxy.routing.path import canonical
from proxy.routing.resilience import SAFE, Side
from proxy.routing.split import Selector, bucketer, compile_selector, threshold

DEFAULT_MAX_BODY_BYTES = 1024 * 1024

_CREDENTIALS = frozenset((b"authorization", b"cookie", b"proxy-authorization", b"x-api-key"))
_DEFAULT = Shadow()


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, and what its target becomes there."""

    side: Side
    upstream: str
    rewrite: Rewrite | None


@dataclass(frozen=True, slots=True)
class ShadowRule:
    """Of one seam, one side that serves and one route. `control` serves, `candidate` is asked afterwards.

    `mark` names the rules in force, `bucket_of` and `selectors` say who is sampled, `*_below` are the first buckets
    that are not. `posts` matches the canonical paths of POSTs that only read. `replaced` are header lines instead of
    the client's credentials, None where these pass. `cap_bytes`: how much of a body is kept for comparing.
    """

    seam: str
    pattern: str
    control: Target
    candidate: Target
    config: Shadow
    mark: str
    selectors: tuple[Selector, ...]
    bucket_of: Callable[[bytes], int]
    sampled_below: int
    controlled_below: int
    methods: frozenset[str]
    posts: re.Pattern[bytes] | None
    replaced: tuple[tuple[bytes, bytes], ...] | None
    cap_bytes: int

    def takes(self, method: str, path: bytes) -> bool:
        """Whether such a request may be asked of both sides."""
        if method in self.methods:
            return True
        return self.posts is not None and method == "POST" and self.posts.fullmatch(canonical(path)) is not None

    def drops(self, low: bytes) -> bool:
        """Whether the client's header line of this lower-case name stays away from the candidate."""
        replaced = self.replaced
        return replaced is not None and (low in _CREDENTIALS or any(low == name.lower() for name, _ in replaced))


def mirrors(seam: SeamConfig, stage: Stage) -> bool:
    """Whether answers are compared at this effective stage. Stage shadow needs no block of its own; canary and
    extracted do."""
    if seam.shadow is None:
        return stage == "shadow"
    return seam.shadow.sample_percent > 0 and stage in ("shadow", "canary", "extracted")


def shadow_rules(
    name: str, seam: SeamConfig, control: tuple[Target, ...], candidate: tuple[Target, ...]
) -> tuple[ShadowRule, ...]:
    """By route, for a seam whose answers are compared."""
    config = seam.shadow or _DEFAULT
    methods = frozenset(config.methods) & SAFE
    posts = None if config.writes is None or not config.writes.acknowledge else _matching(config.writes.paths)
    selectors = tuple(map(compile_selector, seam.sticky_by))
    bucket_of, mark = bucketer(f"{seam.bucket_group or name}:shadow"), rules_mark(seam)
    replaced = _replaced(config)
    cap = config.compare.get("max_body_bytes", DEFAULT_MAX_BODY_BYTES)
    return tuple(
        ShadowRule(
            name,
            route.path,
            serves,
            other,
            config,
            mark,
            selectors,
            bucket_of,
            threshold(config.sample_percent),
            threshold(config.control_percent),
            methods,
            posts,
            replaced,
            cap,
        )
        for route, serves, other in zip(seam.routes, control, candidate, strict=True)
    )


def _replaced(config: Shadow) -> tuple[tuple[bytes, bytes], ...] | None:
    given = config.credentials
    if given == "pass":
        return None
    if isinstance(given, str):
        return ()
    return tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in given.items())


def _matching(paths: tuple[str, ...]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(map(_expression, paths)))


def _expression(path: str) -> bytes:
    expression = b""
    for segment in parse_pattern(path):
        if segment.kind is Kind.REST:
            expression += rb"(?:/.*)?"
        else:
            expression += b"/" + (rb"[^/]+" if segment.kind is Kind.ONE else re.escape(segment.text))
    return expression


def known_endpoints(seam: SeamConfig) -> frozenset[str]:
    """`METHOD pattern` of all that must be seen before the seam is known: its routes without `**`, by the methods that
    are compared. A HEAD that nobody sends is nothing to wait for."""
    config = seam.shadow or _DEFAULT
    compared = frozenset(config.methods) & SAFE - {"HEAD"}
    return frozenset(
        f"{method} {route.path}"
        for route in seam.routes
        if not route.path.endswith("**")
        for method in (compared & frozenset(route.methods) if route.methods else compared & {"GET"})
    )
