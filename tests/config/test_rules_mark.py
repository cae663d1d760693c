from __future__ import annotations

from typing import Any

import pytest

from proxy.config.model import SeamConfig
from proxy.config.shadowing import rules_mark


def mark(shadow: dict[str, Any] | None = None, **keys: Any) -> str:
    given = {
        "routes": [{"path": "/a", "methods": ["GET"]}, {"path": "/b", "headers": {"x-a": "1"}, "host": "shop.example"}],
        "legacy": "old",
        "extracted": "new",
        "shadow": shadow,
    }
    return rules_mark(SeamConfig.model_validate(given | keys))


def test_a_mark_is_16_hex_digits_and_always_the_same() -> None:
    assert mark() == mark() == "31505873f32104f2"


@pytest.mark.parametrize(
    "change",
    [
        {"shadow": {"compare": {"ignore": ["$.a"]}}},
        {"shadow": {"compare": {"allow_added": True}}},
        {"shadow": {"epoch": "2"}},
        {"shadow": {"credentials": "drop"}},
        {"shadow": {"credentials": {"authorization": "a"}}},
        {"routes": [{"path": "/a", "methods": ["GET"]}]},
        {"routes": [{"path": "/a"}, {"path": "/b", "headers": {"x-a": "1"}, "host": "shop.example"}]},
        {"routes": [{"path": "/a", "methods": ["GET"]}, {"path": "/b", "headers": {"x-a": "2"}}]},
        {"routes": [{"path": "/a", "methods": ["GET"], "params": {"a": "1"}}, {"path": "/b"}]},
        {"routes": [{"path": "/a", "methods": ["GET"], "query": {"a": "1"}}, {"path": "/b"}]},
        {"rewrite": {"add_prefix": "/v2"}},
        {"legacy": "older"},
        {"extracted": "newer"},
    ],
    ids=str,
)
def test_what_changes_the_comparison_changes_the_mark(change: dict[str, Any]) -> None:
    assert mark(**change) != mark()


def test_each_of_these_changes_it_in_another_way() -> None:
    rules: list[dict[str, Any]] = [{"rewrite": [["a", "b"], ["b", "c"]]}, {"rewrite": [["b", "c"], ["a", "b"]]}]
    rules += [{"numeric": {"$.a": {"abs": 1}}}, {"numeric": {"$.a": {"abs": 2}}}, {"numeric": {"$.a": {"rel": 1}}}]
    assert len({mark({"compare": compare}) for compare in rules}) == len(rules)


@pytest.mark.parametrize(
    "change",
    [
        {"shadow": {}},
        {"shadow": {"compare": {}}},
        {"shadow": {"sample_percent": 1, "control_percent": 0, "timeout_s": 9, "max_per_s": None}},
        {"shadow": {"store_values": ["$.a"]}},
        {"shadow": {"version_header": "x-version"}},
        {"shadow": {"gate": {"alpha": 0.01}}},
        {"stage": "shadow", "owner": "anna", "deadline_s": 90, "retry": {}, "breaker": {}, "sticky_by": ["client_ip"]},
        {"rewrite": {}},
        {
            "routes": [
                {"path": "/b", "headers": {"X-A": "1"}, "host": "SHOP.example", "retry": {}, "max_body_bytes": 1},
                {"path": "/a", "methods": ["GET"]},
            ]
        },
    ],
    ids=str,
)
def test_what_does_not_leaves_it_alone(change: dict[str, Any]) -> None:
    assert mark(**change) == mark()


def test_the_order_of_keys_and_the_kind_of_sequence_do_not_matter() -> None:
    one = {"numeric": {"$.a": {"abs": 1, "rel": 2}, "$.b": {"abs": 1}}, "ignore": ["$.c"]}
    other = {"ignore": ("$.c",), "numeric": {"$.b": {"abs": 1}, "$.a": {"rel": 2, "abs": 1}}}
    assert mark({"compare": one}) == mark({"compare": other})


def test_the_value_of_a_credential_is_no_part_of_it() -> None:
    one, other = {"Authorization": "Bearer a"}, {"authorization": "Bearer b"}
    assert mark({"credentials": one}) == mark({"credentials": other}) != mark({"credentials": {"cookie": "a"}})


def test_a_rewrite_counts_where_it_acts() -> None:
    inherited = mark(rewrite={"add_prefix": "/v2"}, routes=[{"path": "/a"}])
    assert inherited == mark(routes=[{"path": "/a", "rewrite": {"add_prefix": "/v2"}}])
