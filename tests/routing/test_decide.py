from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import Force, Rewrite, RouteConfig, SeamConfig, Stage
from proxy.messages import RequestHead
from proxy.routing.decide import SeamPlan, apply_rewrite, bucket_of, decide, plan, unrewrite
from proxy.routing.match import CompiledRoute, compile_route
from proxy.routing.split import bucket

STAGES: tuple[Stage, ...] = get_args(Stage)
FORCE = Force(header="X-Fig-Force", allow_from=("127.0.0.0/8", "fd00::/8"))


def catalog(**keys: Any) -> SeamConfig:
    given = {"routes": (RouteConfig(path="/a"),), "legacy": "monolith", "extracted": "catalog"}
    return SeamConfig(**{**given, "sticky_by": ("header.x-user-id",), **keys})


def planned(seam: SeamConfig, stage: Stage = "canary", percent: float = 50, latched: bool = False) -> SeamPlan:
    return plan("catalog", seam, stage=stage, percent=percent, latched=latched)


def request(**fields: bytes) -> RequestHead:
    lines = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return RequestHead("GET", b"/a", b"shop.example", list(lines.items()), lines, 0, False, "10.0.0.9", "http")


def compiled(index: int = 0) -> CompiledRoute:
    return compile_route("catalog", index, RouteConfig(path="/a"))


def never() -> int:
    raise AssertionError("no number must be drawn")


def decided(
    of: SeamPlan, head: RequestHead | None = None, client_ip: str = "127.0.0.1", draw: Callable[[], int] = never
) -> tuple[str, str]:
    decision = decide(of, compiled(), head or request(), {}, client_ip, draw)
    return decision.side, decision.reason


@pytest.mark.parametrize(
    ("stage", "percent", "expected"),
    [
        ("legacy", 0, ("legacy", "stage")),
        ("shadow", 0, ("legacy", "stage")),
        ("canary", 0, ("legacy", "bucket")),
        ("canary", 100, ("extracted", "bucket")),
        ("extracted", 100, ("extracted", "stage")),
        ("retired", 100, ("extracted", "retired")),
    ],
)
def test_a_state_that_leaves_no_choice_needs_neither_key_nor_draw(
    stage: Stage, percent: float, expected: tuple[str, str]
) -> None:
    assert decided(planned(catalog(), stage, percent)) == expected


@pytest.mark.parametrize("stage", STAGES)
def test_a_latch_beats_every_stage_and_the_force_header(stage: Stage) -> None:
    latched = planned(catalog(force=FORCE), stage, 100, latched=True)
    assert decided(latched, request(x_fig_force=b"extracted")) == ("legacy", "rolled_back")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("latched", [True, False])
@pytest.mark.parametrize("value", [b"legacy", b"extracted"])
def test_a_seam_that_was_never_cut_stays_legacy(stage: Stage, latched: bool, value: bytes) -> None:
    uncut = planned(catalog(extracted=None, force=FORCE), stage, 100, latched)
    assert decided(uncut, request(x_fig_force=value)) == ("legacy", "stage")


def test_retired_beats_the_force_header() -> None:
    assert decided(planned(catalog(force=FORCE), "retired"), request(x_fig_force=b"legacy")) == ("extracted", "retired")


@pytest.mark.parametrize("stage", ["legacy", "shadow", "canary", "extracted"])
@pytest.mark.parametrize(("value", "side"), [(b"legacy", "legacy"), (b"Extracted", "extracted")])
def test_an_allowed_force_header_beats_stage_and_bucket(stage: Stage, value: bytes, side: str) -> None:
    assert decided(planned(catalog(force=FORCE), stage), request(x_fig_force=value)) == (side, "forced")


@pytest.mark.parametrize("client_ip", ["127.0.0.1", "127.9.9.9", "fd00::1", "::ffff:127.0.0.1"])
def test_the_force_header_counts_inside_the_allowed_networks(client_ip: str) -> None:
    forced = planned(catalog(force=FORCE), "legacy")
    assert decided(forced, request(x_fig_force=b"extracted"), client_ip) == ("extracted", "forced")


@pytest.mark.parametrize("client_ip", ["128.0.0.1", "10.0.0.1", "::1", "fe80::1", "", "unix:", "127.0.0.1:80"])
def test_the_force_header_is_ignored_outside_them(client_ip: str) -> None:
    forced = planned(catalog(force=FORCE), "legacy")
    assert decided(forced, request(x_fig_force=b"extracted"), client_ip) == ("legacy", "stage")


@pytest.mark.parametrize("value", [b"", b"catalog", b"extracted, legacy", b"1"])
def test_any_other_value_of_the_force_header_is_ignored(value: bytes) -> None:
    assert decided(planned(catalog(force=FORCE), "extracted"), request(x_fig_force=value)) == ("extracted", "stage")


def test_without_a_force_block_the_header_means_nothing() -> None:
    assert decided(planned(catalog(), "legacy"), request(x_fig_force=b"extracted")) == ("legacy", "stage")


@given(st.binary(min_size=1), st.integers(1, 9999), st.sampled_from([None, "shop"]))
def test_in_canary_the_bucket_of_the_sticky_key_decides(value: bytes, hundredths: int, group: str | None) -> None:
    split = planned(catalog(bucket_group=group), percent=hundredths / 100)
    moved = bucket(group or "catalog", value) < hundredths
    assert decided(split, request(x_user_id=value)) == ("extracted" if moved else "legacy", "bucket")


@given(st.binary(min_size=1), st.floats(0, 100), st.floats(0, 100))
def test_a_raised_percentage_moves_nobody_back(value: bytes, one: float, other: float) -> None:
    low, high = sorted((one, other))
    before, after = (decided(planned(catalog(), percent=p), request(x_user_id=value))[0] for p in (low, high))
    assert (before, after) != ("extracted", "legacy")


@pytest.mark.parametrize(
    ("number", "side"), [(0, "extracted"), (2499, "extracted"), (2500, "legacy"), (9999, "legacy")]
)
def test_without_a_sticky_key_a_draw_decides(number: int, side: str) -> None:
    split = planned(catalog(), percent=25)
    assert decided(split, request(), draw=lambda: number) == (side, "bucket")
    assert decided(split, request(x_user_id=b""), draw=lambda: number) == (side, "bucket")


def test_seams_of_one_group_share_buckets() -> None:
    seams = [plan(name, catalog(bucket_group="shop"), stage="canary", percent=50, latched=False) for name in "ab"]
    heads = [request(x_user_id=b"%d" % user) for user in range(200)]
    first, second = ([decide(of, compiled(), head, {}, "", never).side for head in heads] for of in seams)
    assert first == second and len(set(first)) == 2


def test_decisions_name_seam_and_upstream_and_are_made_once() -> None:
    split = planned(catalog(), "extracted")
    decision = decide(split, compiled(), request(), {}, "", never)
    assert (decision.seam, decision.side, decision.upstream, decision.reason) == (
        "catalog",
        "extracted",
        "catalog",
        "stage",
    )
    assert (decision.rewrite, decision.deadline_s) == (None, 60)
    assert decide(split, compiled(), request(), {}, "", never) is decision
    assert decide(planned(catalog(), "legacy"), compiled(), request(), {}, "", never).upstream == "monolith"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("force", [None, b"legacy", b"extracted"])
def test_the_rewrite_of_a_route_replaces_that_of_its_seam_on_the_extracted_side_only(
    stage: Stage, force: bytes | None
) -> None:
    whole, own = Rewrite(strip_prefix="/api"), Rewrite(add_prefix="/v2")
    routes = (RouteConfig(path="/a"), RouteConfig(path="/b", rewrite=own))
    split = planned(catalog(routes=routes, rewrite=whole, force=FORCE), stage, 50)
    head = request(x_user_id=b"7") if force is None else request(x_user_id=b"7", x_fig_force=force)
    for index, rewrite in enumerate((whole, own)):
        decision = decide(split, compiled(index), head, {}, "127.0.0.1", never)
        assert decision.rewrite is (rewrite if decision.side == "extracted" else None)


def test_explain_sees_the_numbers_that_decide_goes_by() -> None:
    seam = catalog(sticky_by=("jwt.sub", "header.x-user-id", "path.id", "client_ip"))
    split = planned(seam, "legacy")
    assert bucket_of(split, request(x_user_id=b"7"), {}, "") == ("header.x-user-id", b"7", bucket("catalog", b"7"))
    assert bucket_of(split, request(), {"id": b"4"}, "") == ("path.id", b"4", bucket("catalog", b"4"))
    assert bucket_of(split, request(), {}, "::1") == ("client_ip", b"::1", bucket("catalog", b"::1"))
    assert bucket_of(split, request(), {}, "") is None


def test_a_seam_without_legacy_upstream_cannot_be_planned() -> None:
    with pytest.raises(ValueError, match="'catalog' has no legacy upstream"):
        planned(catalog(legacy=None))


@pytest.mark.parametrize(
    ("strip", "add", "target", "expected"),
    [
        ("/api", "/v2", b"/api/products/1?x=1", b"/v2/products/1?x=1"),
        ("/api", "", b"/api/products", b"/products"),
        ("/api", "", b"/api", b"/"),
        ("/api", "", b"/api?x=1", b"/?x=1"),
        ("/api", "", b"/api/", b"/"),
        ("/api", "/v2", b"/api", b"/v2"),
        ("/api/", "/v2/", b"/api/x", b"/v2/x"),
        ("api", "v2", b"/api/x", b"/v2/x"),
        ("/api", "/v2", b"/apis/x", b"/apis/x"),
        ("/api", "/v2", b"/x/api/y", b"/x/api/y"),
        ("/api", "/v2", b"/x?/api/", b"/x?/api/"),
        ("", "/v2", b"/x", b"/v2/x"),
        ("", "/v2", b"/", b"/v2/"),
        ("", "", b"/x?y", b"/x?y"),
        ("/", "/v2", b"/x", b"/v2/x"),
        ("/api", "/v2", b"/api/a%2Fb//c;d?e=%2F", b"/v2/a%2Fb//c;d?e=%2F"),
        ("/api", "/v2", b"/%61pi/%61", b"/v2/%61"),
        ("/café", "", b"/caf%c3%a9/x", b"/x"),
        ("/a/b", "", b"/%61/b", b"/"),
        ("/a/b", "", b"/%61/c/b", b"/%61/c/b"),
        ("/api", "/v2", b"/%zz/x", b"/%zz/x"),
        ("/api", "/v2", b"*", b"*"),
        ("/api", "/v2", b"/api/x?", b"/v2/x?"),
    ],
)
def test_a_prefix_is_replaced_at_a_segment_border_and_nothing_else_is_touched(
    strip: str, add: str, target: bytes, expected: bytes
) -> None:
    assert apply_rewrite(Rewrite(strip_prefix=strip, add_prefix=add), target) == expected


@given(
    st.sampled_from(["", "/api", "/api/shop"]),
    st.sampled_from(["", "/v2", "/v2/x"]),
    st.text(alphabet="ab/?%2F;", max_size=12),
)
def test_unrewrite_leads_back(strip: str, add: str, tail: str) -> None:
    rewrite = Rewrite(strip_prefix=strip, add_prefix=add)
    target = f"{strip}/{tail}".encode()
    moved = apply_rewrite(rewrite, target)
    assert moved.startswith(f"{add}/".encode())
    assert unrewrite(rewrite, moved) == target


def test_unrewrite_leaves_a_path_alone_that_the_rewrite_cannot_have_made() -> None:
    assert unrewrite(Rewrite(strip_prefix="/api", add_prefix="/v2"), b"/login") == b"/login"
