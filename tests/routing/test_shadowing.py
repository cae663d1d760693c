"""Which Decisions carry a shadow rule, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from proxy.config.model import SeamConfig, Stage
from proxy.routing.decide import plan
from proxy.routing.shadowing import ShadowRule, known_endpoints
from proxy.routing.split import bucket

ROUTES = [{"path": "/api/items/{id}", "methods": ["GET", "HEAD"]}, {"path": "/api/search"}, {"path": "/api/x/**"}]


def seam(shadow: Mapping[str, Any] | None = None, **more: Any) -> SeamConfig:
    found = {"routes": ROUTES, "legacy": "monolith", "extracted": "catalog", "sticky_by": ["header.x-user-id"], **more}
    return SeamConfig.model_validate(found if shadow is None else {**found, "shadow": shadow})


def rules(config: SeamConfig, stage: Stage, *, latched: bool = False) -> tuple[ShadowRule | None, ShadowRule | None]:
    """Of the first route: where legacy serves, and where the extracted side does."""
    made = plan("items", config, stage=stage, percent=50.0, latched=latched)
    return made.unmoved[0].shadow, made.moved[0].shadow


@pytest.mark.parametrize("stage", ["legacy", "shadow", "canary", "extracted", "retired"])
@pytest.mark.parametrize("block", [None, {}, {"sample_percent": 0}])
@pytest.mark.parametrize("latched", [False, True])
def test_mirroring_runs_where_the_contract_says(stage: Stage, block: dict[str, Any] | None, latched: bool) -> None:
    wanted = {None: {"shadow"}, False: {"shadow", "canary", "extracted"}, True: set()}
    key = None if block is None else "sample_percent" in block
    found = rules(seam(block), stage, latched=latched)
    assert [rule is not None for rule in found] == [stage in wanted[key] and not latched] * 2


def test_the_candidate_is_the_side_that_did_not_serve_with_its_own_rewrite() -> None:
    config = seam({}, rewrite={"strip_prefix": "/api", "add_prefix": "/v2"})
    forward, reverse = rules(config, "canary")
    assert forward is not None and reverse is not None
    assert (forward.control.side, forward.control.upstream, forward.control.rewrite) == ("legacy", "monolith", None)
    assert (forward.candidate.side, forward.candidate.upstream) == ("extracted", "catalog")
    assert forward.candidate.rewrite == config.rewrite
    assert (reverse.control, reverse.candidate) == (forward.candidate, forward.control)
    assert forward.mark == reverse.mark


def test_sampling_goes_by_a_bucket_of_its_own() -> None:
    forward, _ = rules(seam({"sample_percent": 12.5, "control_percent": 0.25}), "shadow")
    assert forward is not None
    assert (forward.sampled_below, forward.controlled_below) == (1250, 25)
    assert forward.bucket_of(b"anna") == bucket("items:shadow", b"anna")
    grouped, _ = rules(seam({}, bucket_group="shop"), "shadow")
    assert grouped is not None and grouped.bucket_of(b"anna") == bucket("shop:shadow", b"anna")


READ = {"level": "read_posts", "paths": ["/api/search", "/api/x/*/find", "/api/x/all/**"], "acknowledge": True}


@pytest.mark.parametrize(
    ("block", "method", "path", "taken"),
    [
        ({}, "GET", b"/api/search", True),
        ({}, "HEAD", b"/api/search", True),
        ({}, "OPTIONS", b"/api/search", False),
        ({"methods": ["OPTIONS"]}, "OPTIONS", b"/api/search", True),
        ({"methods": ["OPTIONS"]}, "GET", b"/api/search", False),
        ({}, "POST", b"/api/search", False),
        ({"methods": ["GET", "POST"]}, "POST", b"/api/search", False),  # whatever the checks let through
        ({"writes": READ}, "POST", b"/api/search", True),
        ({"writes": READ}, "POST", b"/api/%73earch", True),
        ({"writes": READ}, "POST", b"/api/search/", False),
        ({"writes": READ}, "POST", b"/api/search/more", False),
        ({"writes": READ}, "POST", b"/api/x/7/find", True),
        ({"writes": READ}, "POST", b"/api/x/7/8/find", False),
        ({"writes": READ}, "POST", b"/api/x/all", True),
        ({"writes": READ}, "POST", b"/api/x/all/the/way", True),
        ({"writes": READ}, "PUT", b"/api/search", False),
        ({"writes": READ}, "DELETE", b"/api/search", False),
        ({"writes": {**READ, "acknowledge": False}}, "POST", b"/api/search", False),
    ],
)
def test_what_may_be_asked_twice(block: dict[str, Any], method: str, path: bytes, taken: bool) -> None:
    rule, _ = rules(seam(block), "shadow")
    assert rule is not None and rule.takes(method, path) is taken


def test_credentials() -> None:
    secrets = [b"authorization", b"cookie", b"proxy-authorization", b"x-api-key"]
    passing, _ = rules(seam({"credentials": "pass"}), "shadow")
    dropping, _ = rules(seam({"credentials": "drop"}), "shadow")
    given, _ = rules(seam({"credentials": {"Authorization": "Bearer s", "X-Tenant": "t"}}), "shadow")
    assert passing is not None and dropping is not None and given is not None
    assert not any(map(passing.drops, secrets))
    assert all(map(dropping.drops, secrets)) and not dropping.drops(b"accept")
    assert dropping.replaced == ()
    assert all(map(given.drops, [*secrets, b"x-tenant"])) and not given.drops(b"accept")
    assert given.replaced == ((b"Authorization", b"Bearer s"), (b"X-Tenant", b"t"))


def test_the_copy_is_as_long_as_the_comparer_looks() -> None:
    rule, _ = rules(seam({"compare": {"max_body_bytes": 500}}), "shadow")
    usual, _ = rules(seam({}), "shadow")
    assert rule is not None and usual is not None
    assert (rule.cap_bytes, usual.cap_bytes) == (500, 1024 * 1024)


def test_known_endpoints_are_those_that_will_be_seen() -> None:
    assert known_endpoints(seam({})) == {"GET /api/items/{id}", "GET /api/search"}
    assert known_endpoints(seam({"methods": ["HEAD"]})) == frozenset()
    assert known_endpoints(seam(None, routes=[{"path": "/a", "methods": ["POST"]}])) == frozenset()
