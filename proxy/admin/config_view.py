"""The effective configuration as a document that may be shown. Knows which values are secrets."""

from __future__ import annotations

from typing import Any

from proxy.config.model import SeamConfig, Settings

MASK = "***"


def config_document(settings: Settings) -> dict[str, Any]:
    """Every key with its default, secrets as `***`; two configurations that mean the same give the same document."""
    document: dict[str, Any] = settings.model_dump(mode="json")
    if settings.admin.token:
        document["admin"]["token"] = MASK
    for name, seam in settings.seams.items():
        document["seams"][name].update(_declared(seam))
    return document


def _declared(seam: SeamConfig) -> dict[str, Any]:
    """`percent` alone means canary, and neither means legacy."""
    stage = seam.declared_stage
    return {"stage": stage, "percent": seam.declared_percent if stage == "canary" else None}
