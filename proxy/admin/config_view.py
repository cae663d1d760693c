"""The effective configuration as a document that may be shown. Knows which values are secrets."""

from __future__ import annotations

from typing import Any

from proxy.config.model import Breaker, Fallback, SeamConfig, Settings

MASK = "***"


def config_document(settings: Settings) -> dict[str, Any]:
    """Every key with its default, secrets as `***`; two configurations that mean the same give the same document."""
    document: dict[str, Any] = settings.model_dump(mode="json")
    if settings.admin.token:
        document["admin"]["token"] = MASK
    if settings.telemetry.webhook is not None:
        document["telemetry"]["webhook"]["url"] = MASK  # chat systems put the key into the path
    for name, key in settings.auth.api_keys.keys.items():
        if key.sha256:
            document["auth"]["api_keys"]["keys"][name]["sha256"] = MASK
    if settings.auth.session is not None and settings.auth.session.token:
        document["auth"]["session"]["token"] = MASK
    if (url := settings.rate_limits.redis_url) is not None:
        document["rate_limits"]["store"] = _without_password(url)
    for name, upstream in settings.upstreams.items():
        if upstream.discovery is not None and upstream.discovery.token:
            document["upstreams"][name]["endpoints"]["token"] = MASK
    for name, seam in settings.seams.items():
        document["seams"][name].update(_declared(seam))
        if seam.shadow is not None and not isinstance(seam.shadow.credentials, str):
            document["seams"][name]["shadow"]["credentials"] = dict.fromkeys(seam.shadow.credentials, MASK)
        for route, shown in zip(seam.routes, document["seams"][name]["routes"], strict=True):
            if route.fallback is not None:
                shown["fallback"] = _fallback(seam, route.fallback)
    return document


def _without_password(url: str) -> str:
    """A user without a password may be one that was written in the wrong place."""
    scheme, _, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    return f"{scheme}://{name + colon if colon else ''}{MASK if at else ''}{at}{place}"


def _declared(seam: SeamConfig) -> dict[str, Any]:
    """`percent` alone means canary, neither means legacy. An extracted side has a breaker and a fallback unasked."""
    stage = seam.declared_stage
    shown: dict[str, Any] = {"stage": stage, "percent": seam.declared_percent if stage == "canary" else None}
    if seam.extracted is not None:
        shown["breaker"] = (seam.breaker or Breaker()).model_dump(mode="json")
        shown["fallback"] = _fallback(seam, seam.fallback or Fallback())
    return shown


def _fallback(seam: SeamConfig, fallback: Fallback) -> dict[str, Any]:
    """Unless it says otherwise it is legacy, but not in stage retired."""
    shown = fallback.model_dump(mode="json")
    if fallback.static is None and fallback.to is None and seam.declared_stage != "retired":
        shown["to"] = "legacy"
    return shown
