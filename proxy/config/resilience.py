"""What bulkheads, probes, discovery, breakers, retries and fallbacks must mean. Knows no file and no routing table.

Every check yields all that it finds, as in `validate`, where the codes stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from proxy.config import syntax
from proxy.config.finding import Finding, twice
from proxy.config.model import (
    Breaker,
    Discovery,
    Fallback,
    Health,
    Retry,
    RouteConfig,
    SeamConfig,
    Settings,
    StaticAnswer,
    UpstreamConfig,
    Webhook,
)

Side = Literal["legacy", "extracted"]

_BODYLESS = (204, 205, 304)  # RFC 9110 15.3.5, 15.3.6, 15.4.5
_PROBED = re.compile(r"/[\x21\x22\x24-\x7e]*")  # a fragment is never sent


# Upstreams and events


def check_upstream(path: str, upstream: UpstreamConfig) -> Iterator[Finding]:
    yield from _bulkhead(path, upstream)
    if upstream.health is not None:
        yield from _health(f"{path}.health", upstream.health)
    if upstream.discovery is not None:
        yield from _discovery(f"{path}.endpoints", upstream.discovery)


def check_webhook(path: str, webhook: Webhook) -> Iterator[Finding]:
    if problem := syntax.url_problem("url", webhook.url):
        yield Finding(f"{path}.url", "FIG135", problem)


def _bulkhead(path: str, upstream: UpstreamConfig) -> Iterator[Finding]:
    if upstream.max_in_flight is None:
        for key in upstream.chosen("max_queue", "queue_s"):
            message = f"`{key}` has no meaning without `max_in_flight`: add that, or remove it"
            yield Finding(f"{path}.{key}", "FIG131", message, needs=(f"{path}.max_in_flight",), at_key=True)
    elif upstream.max_queue == 0:
        for key in upstream.chosen("queue_s"):
            message = f"`{key}` has no meaning with `max_queue: 0`, where nobody waits: remove one of them"
            yield Finding(f"{path}.{key}", "FIG131", message, needs=(f"{path}.max_queue",), at_key=True)


def _health(path: str, health: Health) -> Iterator[Finding]:
    if not _PROBED.fullmatch(health.path):
        message = f"`{health.path}` is not a path: write for example /healthz, and # or other than ASCII as %XX"
        yield Finding(f"{path}.path", "FIG132", message)
    if health.timeout_s > health.interval_s:
        message = f"`timeout_s` {health.timeout_s:g} is longer than `interval_s` {health.interval_s:g}, after which "
        needs = (f"{path}.interval_s",)
        yield Finding(f"{path}.timeout_s", "FIG132", f"{message}the next probe is due: lower it", needs=needs)


def _discovery(path: str, discovery: Discovery) -> Iterator[Finding]:
    if (discovery.registry is None) == (discovery.dns is None):
        message = "write either `registry` with `service`, or `dns`: one source says where the endpoints are"
        yield Finding(path, "FIG133", message, needs=(f"{path}.registry", f"{path}.dns"))
        return
    if discovery.dns is not None:
        yield from _named(f"{path}.dns", "FIG111", syntax.endpoint_problem(discovery.dns))
        for key in discovery.chosen("service", "token", "scheme"):
            message = f"`{key}` belongs to a registry and has no meaning beside `dns`: remove it"
            yield Finding(f"{path}.{key}", "FIG133", message, needs=(f"{path}.dns",), at_key=True)
        return
    assert discovery.registry is not None
    yield from _named(f"{path}.registry", "FIG133", syntax.base_url_problem("registry", discovery.registry))
    if discovery.service is None:
        yield Finding(path, "FIG133", "`registry` needs `service`: the name to ask for", needs=(f"{path}.service",))
    elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", discovery.service, re.ASCII):
        message = f"`{discovery.service}` is not the name of a service: letters, digits, dots, - and _"
        yield Finding(f"{path}.service", "FIG133", message)
    yield from _named(f"{path}.token", "FIG133", syntax.token_problem(discovery.token))


# Seams and their routes


@dataclass(frozen=True, slots=True)
class _Holder:
    """A seam or one of its routes: whatever may carry these blocks."""

    path: str
    settings: Settings
    seam: SeamConfig
    seam_path: str

    def upstream(self, side: Side) -> tuple[str, tuple[str, ...]]:
        """Its name, empty where there is none, and the keys that say so."""
        if side == "extracted":
            return self.seam.extracted or "", (f"{self.seam_path}.extracted",)
        return self.seam.legacy or self.settings.default or "", (f"{self.seam_path}.legacy", "default")


def check_seam(settings: Settings, path: str, seam: SeamConfig) -> Iterator[Finding]:
    holder = _Holder(path, settings, seam, path)
    yield from _blocks(holder, seam)
    if seam.legacy_breaker is not None:
        yield from _breaker(holder, "legacy_breaker", seam.legacy_breaker, "legacy")
    for i, route in enumerate(seam.routes):
        yield from _blocks(_Holder(f"{path}.routes[{i}]", settings, seam, path), route)


def _blocks(holder: _Holder, block: SeamConfig | RouteConfig) -> Iterator[Finding]:
    if block.breaker is not None:
        yield from _idle(holder, "breaker")
        yield from _breaker(holder, "breaker", block.breaker, "extracted")
    if block.retry is not None:
        yield from _retry(f"{holder.path}.retry", block.retry)
    if block.fallback is not None:
        yield from _idle(holder, "fallback")
        yield from _fallback(holder, block.fallback)


def _idle(holder: _Holder, key: str) -> Iterator[Finding]:
    if holder.seam.extracted is None:
        message = f"`{key}` concerns the extracted side, and this seam has no `extracted`"
        needs = (f"{holder.seam_path}.extracted",)
        yield Finding(f"{holder.path}.{key}", "FIG217", message, "warning", needs, at_key=True)


def _breaker(holder: _Holder, key: str, breaker: Breaker, side: Side) -> Iterator[Finding]:
    path = f"{holder.path}.{key}"
    yield from _numbers(path, breaker)
    yield from twice(f"{path}.status", "FIG231", breaker.status)
    name, says_so = holder.upstream(side)
    upstream = holder.settings.upstreams.get(name)
    if breaker.slow_call_s is not None and upstream is not None:
        response_s = upstream.timeouts.response_s
        if breaker.slow_call_s >= response_s:
            message = f"`slow_call_s` {breaker.slow_call_s:g} is not below `response_s` {response_s:g} of upstream "
            needs = (f"upstreams.{name}.timeouts.response_s", *says_so)
            cure = f"`{name}`, where such a call has failed already: lower it"
            yield Finding(f"{path}.slow_call_s", "FIG231", message + cure, needs=needs)


def _numbers(path: str, breaker: Breaker) -> Iterator[Finding]:
    """What of a breaker's numbers contradicts another of them."""
    never = breaker.failures is None and breaker.failure_ratio is None and breaker.slow_ratio is None
    if never and breaker.enabled:
        message = "`failures`, `failure_ratio` and `slow_ratio` are all null, so it can never open: write one of them, "
        needs = tuple(f"{path}.{name}" for name in ("failures", "failure_ratio", "slow_ratio"))
        yield Finding(path, "FIG231", f"{message}or `enabled: false`", needs=needs)
    for one, other in (("slow_call_s", "slow_ratio"), ("slow_ratio", "slow_call_s")):
        if getattr(breaker, one) is not None and getattr(breaker, other) is None:
            message = f"`{one}` has no meaning without `{other}`: add that, or remove it"
            yield Finding(f"{path}.{one}", "FIG231", message, needs=(f"{path}.{other}",), at_key=True)
    if breaker.open_max_s is not None and breaker.open_max_s < breaker.open_s:
        message = f"`open_max_s` {breaker.open_max_s:g} is below `open_s` {breaker.open_s:g}: raise it, or remove it"
        yield Finding(f"{path}.open_max_s", "FIG231", message, needs=(f"{path}.open_s",))
    if breaker.failures is not None and breaker.slow_ratio is None:
        for key in breaker.chosen("min_requests"):
            message = f"`{key}` counts only with `failures: null` or `slow_ratio`: remove it, or write one of those"
            needs = tuple(f"{path}.{name}" for name in ("failures", "slow_ratio"))
            yield Finding(f"{path}.{key}", "FIG217", message, "warning", needs, at_key=True)


def _retry(path: str, retry: Retry) -> Iterator[Finding]:
    if retry.retries and not retry.on and not retry.status:
        message = f"`retries` is {retry.retries} but `on` and `status` are empty: name what is tried again, or write 0"
        yield Finding(f"{path}.retries", "FIG232", message, needs=(f"{path}.on", f"{path}.status"))
    if not retry.status:
        for key in retry.chosen("retry_after_max_s"):
            message = f"`{key}` counts only for answers in `status`: remove it, or write for example `status: [503]`"
            yield Finding(f"{path}.{key}", "FIG217", message, "warning", (f"{path}.status",), at_key=True)
    yield from twice(f"{path}.on", "FIG232", retry.on)
    yield from twice(f"{path}.status", "FIG232", retry.status)
    if retry.idempotent_header is not None:
        problem = syntax.repeatable_header_problem(retry.idempotent_header)
        yield from _named(f"{path}.idempotent_header", "FIG232", problem)


def _fallback(holder: _Holder, fallback: Fallback) -> Iterator[Finding]:
    path = f"{holder.path}.fallback"
    if fallback.to is not None and fallback.static is not None:
        message = f"`to: {fallback.to}` and `static` contradict each other: remove one"
        yield Finding(path, "FIG233", message, needs=(f"{path}.to", f"{path}.static"))
    elif fallback.to == "none":
        for key in fallback.chosen("status", "max_in_flight"):
            message = f"`{key}` has no meaning with `to: none`: remove it"
            yield Finding(f"{path}.{key}", "FIG233", message, needs=(f"{path}.to",), at_key=True)
    if fallback.to == "legacy" and holder.seam.declared_stage == "retired":
        message = "stage retired never calls legacy: write `fallback: none`, or a `static` answer"
        yield Finding(path, "FIG233", message, needs=(f"{path}.to", f"{holder.seam_path}.stage"))
    yield from twice(f"{path}.status", "FIG233", fallback.status)
    if fallback.static is not None:
        yield from _static(f"{path}.static", fallback.static)


def _static(path: str, answer: StaticAnswer) -> Iterator[Finding]:
    yield from _named(f"{path}.content_type", "FIG233", syntax.media_type_problem(answer.content_type))
    if answer.status in _BODYLESS and answer.body:
        message = f"an answer with status {answer.status} has no body: leave `body` out, or choose another status"
        yield Finding(f"{path}.body", "FIG233", message, needs=(f"{path}.status",))


def _named(path: str, code: str, problem: str | None) -> Iterator[Finding]:
    if problem is not None:
        yield Finding(path, code, problem)
