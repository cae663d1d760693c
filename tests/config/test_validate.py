from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import validate as module
from proxy.config.finding import Finding
from proxy.config.model import Settings
from proxy.config.validate import validate

BASE = """
version: 1
default: monolith
upstreams:
  monolith: {endpoints: ["http://10.0.0.1:8000"]}
  catalog: {endpoints: ["http://10.0.0.2:8101"], timeouts: {response_s: 3}}
"""


def findings(text: str) -> list[Finding]:
    given: dict[str, Any] = {**yaml.safe_load(BASE), **yaml.safe_load(text)}
    return list(validate(Settings.model_validate(given)))


def found(text: str) -> str:
    """`CODE PATH; CODE PATH`."""
    return "; ".join(f"{finding.code} {finding.path}" for finding in findings(text))


def of_seam(keys: str) -> str:
    """Of a seam `a` with these keys in flow style."""
    given = keys if "routes:" in keys else f"routes: [{{path: /a}}], {keys}"
    return found(f"seams: {{a: {{{given}}}}}").replace(" seams.a.", " ")


def of_route(keys: str) -> str:
    given = keys if "path:" in keys else f"path: '/a/{{id}}', {keys}"
    return of_seam(f"extracted: catalog, routes: [{{{given}}}]").replace(" routes[0].", " ")


def test_a_sound_configuration_has_no_findings() -> None:
    assert (
        found("""
seams:
  inventory: {routes: [{path: /stock/**}], extracted: catalog, stage: extracted}
  catalog:
    routes:
      - {path: "/p/{id}", methods: [GET], headers: {x-v: "2"}, params: {id: "[0-9]+"}}
      - {path: /p, query: {q: ""}, host: shop.example}
    legacy: monolith
    extracted: catalog
    rewrite: {strip_prefix: /p}
    percent: 12.34
    sticky_by: [header.x-user, path.id, client_ip]
    bucket_group: shop
    requires: [inventory]
    force: {header: x-fig-force, allow_from: [127.0.0.0/8]}
""")
        == ""
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {listen: '80'}", "FIG101 server.listen"),
        ("admin: {listen: ':9901'}", "FIG101 admin.listen"),
        ("admin: {listen: 'localhost:8080'}", "FIG102 admin.listen"),
        ("server: {listen: '0.0.0.0:9901'}", "FIG102 admin.listen"),
        ("server: {listen: '127.0.0.1:0'}\nadmin: {listen: '127.0.0.1:0'}", ""),
        ("admin: {listen: '0.0.0.0:9901'}", "FIG103 admin.listen"),
        ("admin: {listen: '[::]:9901'}", "FIG103 admin.listen"),
        ("admin: {listen: 'fig.internal:9901'}", "FIG103 admin.listen"),
        ("admin: {listen: '0.0.0.0:9901', token: secret}", ""),
        ("admin: {listen: '127.0.0.1:9901', token: 'a b'}", "FIG104 admin.token"),
        (
            "server: {trusted_proxies: [10.0.0.0/8, x, 10.0.0.1/8]}",
            "FIG105 server.trusted_proxies[1]; FIG105 server.trusted_proxies[2]",
        ),
        ("server: {upgrades: [websocket, h2c, Two, tcp/1]}", "FIG107 server.upgrades[1]; FIG107 server.upgrades[2]"),
        ("store: redis://localhost", "FIG007 store"),
        ("store: 'sqlite:'", "FIG106 store"),
        ("default: monolit", "FIG115 default"),
    ],
)
def test_ports_and_top_level_keys(text: str, expected: str) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        ("endpoints: ['https://a:1', 'HTTPS://b:1']", ""),
        ("endpoints: ['https://a:1'], tls: {server_name: catalog.internal}", ""),
        ("endpoints: ['https://10.0.0.1:1'], tls: {server_name: '::1'}", ""),
        ("endpoints: ['https://a']", "FIG111 endpoints[0]"),
        ("endpoints: ['ftp://a:1']", "FIG111 endpoints[0]"),
        ("endpoints: ['https://a:1', 'https://A:1']", "FIG112 endpoints[1]"),
        ("endpoints: ['https://localhost:8080']", "FIG113 endpoints[0]"),
        ("endpoints: ['http://a:1', 'http://b:1', 'https://c:1']", "FIG116 endpoints[2]"),
        ("endpoints: ['http://a:1'], tls: {}", "FIG117 tls"),
        ("endpoints: ['https://a:1'], tls: {server_name: 'a:1'}", "FIG118 tls.server_name"),
        ("endpoints: ['https://a:1'], tls: {server_name: a.b.}", ""),
        ("endpoints: ['https://a:1'], tls: {server_name: a..b}", "FIG118 tls.server_name"),
        (f"endpoints: ['https://a:1'], tls: {{server_name: {'a' * 64}.b}}", "FIG118 tls.server_name"),
        ("endpoints: ['http://a..b:1']", "FIG111 endpoints[0]"),
        ("endpoints: ['http://.a:1']", "FIG111 endpoints[0]"),
        (f"endpoints: ['https://{'a' * 64}.b:1']", "FIG111 endpoints[0]"),
        ("endpoints: ['http://a_b.c.:1', 'http://[::1]:1']", ""),
        ("endpoints: ['http://a']", "FIG111 endpoints[0]"),
        ("endpoints: ['http://a:1', 'http://b:1', 'HTTP://A:1']", "FIG112 endpoints[2]"),
        ("endpoints: ['http://localhost:8080']", "FIG113 endpoints[0]"),
        ("endpoints: ['http://[::1]:8080', 'http://0.0.0.0:9901']", "FIG113 endpoints[1]"),
        ("endpoints: ['http://a:1'], host: 'a b'", "FIG114 host"),
    ],
)
def test_upstreams(upstream: str, expected: str) -> None:
    sections = f"upstreams: {{monolith: {{endpoints: ['http://a:9']}}, x: {{{upstream}}}}}"
    assert found(sections) == expected.replace(" ", " upstreams.x.")


def test_an_upstream_is_never_fig_on_all_interfaces() -> None:
    text = "server: {listen: '0.0.0.0:8080'}\nupstreams: {monolith: {endpoints: ['http://127.0.0.9:8080']}}"
    assert found(text) == "FIG113 upstreams.monolith.endpoints[0]"


def test_names_are_checked_at_their_keys() -> None:
    text = "seams: {'a b': {routes: [{path: /a}]}, default: {routes: [{path: /b}]}}"
    assert [(finding.code, finding.at_key) for finding in findings(text)] == [("FIG201", True), ("FIG201", True)]
    assert (
        found("upstreams: {'a b': {endpoints: ['http://a:1']}, monolith: {endpoints: ['http://a:1']}}")
        == "FIG201 upstreams.a b"
    )


@pytest.mark.parametrize(
    ("seam", "expected"),
    [
        ("legacy: monolit", "FIG115 legacy"),
        ("extracted: catalogue", "FIG115 extracted"),
        ("extracted: monolith", "FIG217 extracted"),
        ("extracted: catalog, stage: canary", "FIG203 stage; FIG205 stage"),
        ("extracted: catalog, stage: extracted, percent: 10", "FIG203 percent"),
        ("extracted: catalog, stage: legacy, percent: 0", "FIG203 percent"),
        ("extracted: catalog, percent: 1.005, sticky_by: [client_ip]", "FIG010 percent"),
        ("extracted: catalog, percent: 99.99, sticky_by: [client_ip]", ""),
        ("extracted: catalog, percent: 5", "FIG205 percent"),
        ("percent: 5, sticky_by: [client_ip]", "FIG204 percent"),
        ("stage: retired", "FIG204 stage"),
        ("stage: legacy", ""),
        ("extracted: catalog, stage: shadow", ""),
        ("sticky_by: [client-ip, path.id]", "FIG212 sticky_by[0]; FIG212 sticky_by[1]"),
        ("sticky_by: [jwt.sub, api_key]", "FIG213 sticky_by[0]; FIG213 sticky_by[1]"),
        ("bucket_group: ''", "FIG218 bucket_group"),
        ("force: {header: 'x y', allow_from: [127.0.0.1]}", "FIG215 force.header"),
        ("force: {header: x, allow_from: [127.0.0.1, 10.0.0.0/99]}", "FIG105 force.allow_from[1]"),
        ("force: {header: Cookie, allow_from: [127.0.0.1]}", "FIG215 force.header"),
        ("extracted: catalog, rewrite: {strip_prefix: a}", "FIG216 rewrite.strip_prefix"),
        ("extracted: catalog, rewrite: {add_prefix: '/b?'}", "FIG216 rewrite.add_prefix"),
        ("rewrite: {strip_prefix: /a}", "FIG217 rewrite"),
        ("extracted: catalog, deadline_s: 32.9", "FIG207 deadline_s"),
        ("extracted: catalog, deadline_s: 33", ""),
        ("deadline_s: 1", ""),
        ("requires: [b]", "FIG209 requires[0]"),
    ],
)
def test_seams(seam: str, expected: str) -> None:
    assert of_seam(seam) == expected


def test_a_seam_needs_a_legacy_upstream() -> None:
    assert found("default: null\nseams: {a: {routes: [{path: /a}]}}") == "FIG202 seams.a"


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("methods: [GET, get, 'G T', GET]", "FIG221 methods[1]; FIG221 methods[2]; FIG221 methods[3]"),
        ("headers: {'x y': a}", "FIG222 headers.x y"),
        ("headers: {x-a: ' a'}", "FIG222 headers.x-a"),
        ("headers: {x-a: a, X-A: b}", "FIG222 headers.X-A"),
        ("host: 'shop.example:80'", "FIG223 host"),
        ("host: '*.example'", "FIG223 host"),
        ("params: {idd: x}", "FIG224 params.idd"),
        ("params: {id: '['}", "FIG225 params.id"),
        ("params: {other: '['}", "FIG224 params.other; FIG225 params.other"),
        ("rewrite: {add_prefix: b}", "FIG216 rewrite.add_prefix"),
    ],
)
def test_routes(route: str, expected: str) -> None:
    assert of_route(route) == expected


@pytest.mark.parametrize("route", ["path: /**", "path: /**, methods: [GET]", "path: '/*/**'", "path: '/{a}/{b}/**'"])
def test_the_whole_monolith_is_never_one_extracted_route(route: str) -> None:
    assert of_route(route) == "FIG206 path"


@pytest.mark.parametrize(
    "route",
    [
        "path: /**, host: shop.example",
        "path: /**, headers: {x-a: b}",
        "path: /**, query: {a: b}",
        "path: '/{a}/**', params: {a: api}",
        "path: /a/**",
        "path: '/*'",
    ],
)
def test_a_wide_route_with_a_condition_may_be_extracted(route: str) -> None:
    assert of_route(route) == ""


def test_a_seam_without_extracted_may_claim_everything() -> None:
    assert of_seam("routes: [{path: /**}]") == ""


def seams(**stages: str) -> str:
    """`a="canary b c"`: seam a in stage canary requires b and c."""
    lines = ["seams:"]
    for name, words in stages.items():
        stage, *required = words.split()
        percent = ", percent: 5, sticky_by: [client_ip]" if stage == "canary" else ""
        keys = f"extracted: catalog, stage: {stage}{percent}, requires: [{', '.join(required)}]"
        lines.append(f"  {name}: {{routes: [{{path: /{name}}}], {keys}}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ({"a": "canary b", "b": "extracted"}, ""),
        ({"a": "extracted b", "b": "retired"}, ""),
        ({"a": "legacy b", "b": "legacy"}, ""),
        ({"a": "canary b", "b": "canary"}, "FIG211 seams.a.requires[0]"),
        ({"a": "retired b", "b": "legacy"}, "FIG211 seams.a.requires[0]"),
        ({"a": "legacy a"}, "FIG210 seams.a.requires[0]"),
        ({"a": "canary b", "b": "canary a"}, "FIG210 seams.b.requires[0]"),
        ({"a": "legacy b", "b": "legacy c", "c": "legacy d b", "d": "legacy"}, "FIG210 seams.c.requires[1]"),
        (
            {"a": "legacy b", "b": "legacy a", "c": "legacy d", "d": "legacy c"},
            "FIG210 seams.b.requires[0]; FIG210 seams.d.requires[0]",
        ),
    ],
)
def test_requirements(stages: dict[str, str], expected: str) -> None:
    assert found(seams(**stages)) == expected


def test_a_circle_is_shown_from_its_first_seam() -> None:
    (finding,) = findings(seams(a="legacy b", b="legacy c", c="legacy a"))
    assert finding.message == "`requires` goes in a circle: a → b → c → a"


@given(st.permutations(range(8)))
def test_a_chain_of_requirements_is_no_circle_and_closing_it_is_one(order: list[int]) -> None:
    stages = {f"s{i}": "legacy" for i in range(8)} | {f"s{a}": f"legacy s{b}" for a, b in pairwise(order)}
    assert found(seams(**stages)) == ""
    stages[f"s{order[-1]}"] = f"legacy s{order[0]}"
    assert [finding.code for finding in findings(seams(**stages))] == ["FIG210"]


def test_more_canaries_than_the_policy_allows() -> None:
    both = seams(a="canary", b="canary", c="extracted")
    assert found(f"policy: {{max_active_seams: 1}}\n{both}") == "FIG208 policy.max_active_seams"
    assert found(f"policy: {{max_active_seams: 2}}\n{both}") == ""


def test_warnings_are_those_of_the_table() -> None:
    assert module.__doc__ is not None
    marked = set(re.findall(r"\bw (FIG\d+)", module.__doc__))
    text = "extracted: catalog, percent: 5, sticky_by: []"
    assert {finding.code for finding in findings(f"seams: {{a: {{routes: [{{path: /a}}], {text}}}}}")} <= marked
    door = {"FIG153", "FIG253", "FIG254", "FIG255", "FIG262"}
    assert marked == {"FIG124", "FIG205", "FIG213", "FIG217", "FIG244", *door}
