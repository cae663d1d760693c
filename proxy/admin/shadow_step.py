"""Whether a request is compared too, asked aloud: the mirror's own rules, without its counts of the moment."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.admin.trail import Trail
from proxy.messages import RequestHead
from proxy.routing.decide import Decision
from proxy.routing.path import split_target
from proxy.routing.shadowing import ShadowRule
from proxy.routing.split import BUCKETS, sticky_key
from proxy.shadow.question import unfit
from proxy.snapshot import SeamState


def add_shadow(
    trail: Trail,
    state: SeamState,
    request: RequestHead,
    params: Mapping[str, bytes],
    client_ip: str,
    decision: Decision,
) -> None:
    keys = (f"seams.{state.name}.shadow", f"seams.{state.name}")
    rule = decision.shadow
    if rule is None:
        trail.add("shadow", "off", _why_off(state), *keys)
        return
    path, _ = split_target(request.target)
    reason = unfit(rule, request, path)
    if reason is not None:
        trail.add("shadow", "skipped", f"{reason}: not asked of {rule.candidate.upstream}", *keys)
        return
    found = sticky_key(rule.selectors, request, params, client_ip)
    if found is None:
        share = f"random per request, {rule.config.sample_percent:g} % are asked of {rule.candidate.upstream} too"
        trail.add("shadow", "random", f"no sticky key: {share}", *keys)
        return
    number = rule.bucket_of(found[1])
    sampled = number < rule.sampled_below
    sign = "<" if sampled else "≥"
    detail = f"bucket {number} of {BUCKETS} {sign} {rule.sampled_below}; {_afterwards(rule)}"
    trail.add("shadow", "sampled" if sampled else "not_sampled", detail, *keys)


def _why_off(state: SeamState) -> str:
    if state.config.extracted is None:
        return "the seam has no other side"
    if state.config.shadow is None:
        return f"stage {state.stage} compares only with a `shadow` block"
    if state.config.shadow.sample_percent == 0:
        return "`sample_percent: 0`"
    return f"stage {state.stage} compares nothing"


def _afterwards(rule: ShadowRule) -> str:
    other = rule.candidate.upstream
    return f"{other} is asked once the client has its answer; the first 200 of an endpoint are always compared"
