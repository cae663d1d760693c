"""What a route asks, as the configuration says."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.admission.door import Door, doors_of, key_limits
from proxy.config.model import ApiKey, Identity, SeamConfig
from proxy.messages import Principal, RequestHead

IDENTITY = Identity(subject="X-User-Id", scopes="x-user-scopes")
LIMIT = {"name": "per-user", "requests": 5, "window_s": 60}


def _doors(identity: Identity = IDENTITY, **keys: Any) -> tuple[Door | None, ...]:
    keys.setdefault("routes", [{"path": "/a"}])
    return doors_of("items", SeamConfig.model_validate(keys), identity)


def _door(**keys: Any) -> Door:
    (door,) = _doors(**keys)
    assert door is not None
    return door


def _key(door: Door, which: str, subject: str = "", **fields: bytes) -> str:
    named = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    head = RequestHead("GET", b"/", b"shop", [], named, 0, False, "192.0.2.1", "http")
    head.principal = Principal(subject, issuer="shop") if subject else None
    (key,) = getattr(door, which)
    return str(key.asked(head, {}, "192.0.2.1")[1])


def test_a_seam_without_any_block_has_no_door() -> None:
    assert _doors(routes=[{"path": "/a"}, {"path": "/b"}]) == (None, None)


def test_a_route_without_a_block_has_the_seams() -> None:
    first, second = _doors(
        routes=[{"path": "/a"}, {"path": "/b", "auth": {"issuers": ["other"], "mode": "observe"}}],
        auth={"issuers": ["shop"], "all_scopes": ["a:read"], "session": True},
    )
    assert first is not None
    assert second is not None
    assert first.auth is not None
    assert second.auth is not None
    assert (first.auth.issuers, first.auth.all_scopes, first.auth.session) == (("shop",), frozenset({"a:read"}), True)
    assert (second.auth.issuers, second.auth.all_scopes, second.auth.mode) == (("other",), frozenset(), "observe")


def test_an_empty_list_of_a_route_lifts_the_seams_limits() -> None:
    first, second = _doors(routes=[{"path": "/a"}, {"path": "/b", "rate_limit": []}], rate_limit=[LIMIT])
    assert first is not None
    assert first.policy == b'"per-user";q=5;w=60'
    assert second is None


@pytest.mark.parametrize(
    ("by", "auth", "late"),
    [
        ("client_ip", {"issuers": ["shop"]}, False),
        ("route", {"issuers": ["shop"]}, False),
        ("header.x-api-version", {"issuers": ["shop"]}, False),
        ("jwt.sub", {"issuers": ["shop"]}, True),
        ("api_key", {"api_keys": ["a"]}, True),
        ("header.x-user-id", {"issuers": ["shop"]}, True),  # authentication writes it
        ("header.X-USER-ID", {"issuers": ["shop"]}, True),
        ("header.x-user-id", None, False),
    ],
)
def test_a_limit_by_whom_is_asked_after_authentication(by: str, auth: dict[str, Any] | None, late: bool) -> None:
    door = _door(auth=auth, rate_limit=[{**LIMIT, "by": by}])
    assert (len(door.by_client), len(door.by_principal)) == ((0, 1) if late else (1, 0))
    assert door.policy == b'"per-user";q=5;w=60'


def test_routes_share_the_seams_buckets_and_have_their_own() -> None:
    first, second, own = _doors(
        routes=[{"path": "/a"}, {"path": "/b"}, {"path": "/c", "rate_limit": [LIMIT]}], rate_limit=[LIMIT]
    )
    assert first is not None
    assert second is not None
    assert own is not None
    assert _key(first, "by_client") == _key(second, "by_client")
    assert _key(first, "by_client") != _key(own, "by_client")


def test_a_limit_by_route_counts_each_route_for_itself() -> None:
    limit = {**LIMIT, "by": "route"}
    first, second = _doors(routes=[{"path": "/a"}, {"path": "/a", "methods": ["POST"]}], rate_limit=[limit])
    assert first is not None
    assert second is not None
    assert _key(first, "by_client") != _key(second, "by_client")
    # One hash tag all the same: a Redis cluster runs a script on one node.
    assert _key(first, "by_client").partition("}")[0] == _key(second, "by_client").partition("}")[0]


def test_buckets_of_a_route_outlive_a_change_of_order() -> None:
    routes = [{"path": "/c", "rate_limit": [LIMIT]}, {"path": "/d", "rate_limit": [LIMIT]}]
    one, _ = _doors(routes=routes)
    _, other = _doors(routes=routes[::-1])
    assert one is not None
    assert other is not None
    assert _key(one, "by_client") == _key(other, "by_client")


def test_a_burst_that_is_not_written_is_as_many_as_requests() -> None:
    (limit,) = _door(rate_limit=[LIMIT]).limits
    assert (limit.requests, limit.burst, limit.window_s) == (5, 5, 60.0)


def test_limits_of_keys_go_over_all_seams() -> None:
    keys = {
        "a": ApiKey(sha256="a" * 64),
        "b": ApiKey.model_validate({"sha256": "b" * 64, "rate_limit": [{**LIMIT, "burst": 2}]}),
    }
    found = key_limits(keys)
    assert list(found) == ["b"]
    assert [key.limit.id for key in found["b"].keys] == ["key b/per-user"]
    assert found["b"].policy == b'"per-user";q=5;w=60'
