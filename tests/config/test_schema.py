from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from proxy.config.document import read
from proxy.config.interpolate import Expansion
from proxy.config.schema import schema

SAMPLE = Path(__file__).parents[2] / "config" / "proxy.yaml"


def tree(text: str) -> Any:
    """As an editor sees it: YAML 1.2, where `on` is a string, and expressions as they were written."""
    document = read(text.encode(), "fig.yaml", lambda written: Expansion(written, False, ()))
    assert document.problems == []
    return json.loads(json.dumps(document.value))


CONTRACT = tree("""
version: 1
include: [seams/*.yaml]
server:
  listen: 127.0.0.1:8080
  trusted_proxies: [10.0.0.0/8]
  tls: {certificate: cert.pem, key: key.pem}
  limits: {max_head_bytes: 65536, max_headers: 100, max_body_bytes: null, max_connections: 20000}
  timeouts: {head_s: 10, body_s: 30, write_s: 30, keepalive_s: 75}
  drain: {delay_s: 0, timeout_s: 30}
  debug_headers: false
admin: {listen: "127.0.0.1:9901", token: "${FIG_ADMIN_TOKEN:-}"}
store: sqlite:var/fig.db
telemetry:
  access_log: json
  webhook: {url: "${HOOK}", timeout_s: 2, retries: 3, max_queue: 100}
auth:
  issuers:
    shop:
      issuer: https://id.shop.example
      audience: shop
      jwks_url: https://id.shop.example/jwks.json
      algorithms: [RS256, ES256]
      leeway_s: 30
      refresh_s: 300
      timeout_s: 5
      cooldown_s: 10
      stale_s: 3600
      scope_claim: scp
    staff: {issuer: staff, audience: [shop, admin], key_file: staff.pem, jwks_file: null}
  identity: {subject: x-user-id, scopes: x-user-scopes}
  api_keys:
    header: x-api-key
    keys:
      partner-a:
        sha256: "${file:/run/secrets/partner_a}"
        scopes: ["catalog:read"]
        rate_limit: [{name: daily, requests: 10000, window_s: 86400}]
rate_limits: {store: "redis://:${REDIS}@10.0.0.9:6379/0", timeout_s: 0.05, on_error: local}
upstreams:
  monolith: {endpoints: ["http://127.0.0.1:8000"], timeouts: {response_s: 30}, max_in_flight: 200}
  catalog:
    endpoints: ["https://127.0.0.1:8101"]
    host: preserve
    timeouts: {connect_s: 1, response_s: 3, body_s: 30}
    max_in_flight: 20
    max_queue: 20
    queue_s: 0.1
    health: {path: /healthz, interval_s: 5, timeout_s: 1, unhealthy_after: 2, healthy_after: 1}
    tls: {ca: ca.pem, server_name: catalog.internal}
  found:
    endpoints: {registry: "http://127.0.0.1:8500", service: catalog, token: "${T:-}", scheme: http, refresh_s: 30}
  resolved: {endpoints: {dns: "http://catalog.internal:8101"}}
default: monolith
policy: {max_active_seams: null}
seams:
  catalog:
    owner: team-catalog
    routes:
      - {path: "/api/products/{id}", methods: [GET, HEAD], params: {id: "[0-9]+"}}
      - {path: /api/search, headers: {x-api-version: "2"}, query: {mode: full}, host: shop.example, fallback: none}
    legacy: monolith
    extracted: catalog
    rewrite: {strip_prefix: /api, add_prefix: /v2}
    stage: canary
    percent: 10
    sticky_by: [jwt.sub, header.x-user-id, cookie.SHOPSESSID, client_ip]
    bucket_group: shop
    requires: [inventory]
    force: {header: x-fig-force, allow_from: [127.0.0.0/8]}
    deadline_s: 60
    fallback: {to: legacy, status: [500, 502, 503, 504], max_in_flight: 20}
    breaker: {failures: 5, window_s: 10, failure_ratio: 0.5, open_s: 30, half_open_requests: 1}
    legacy_breaker: {failures: null}
    retry: {retries: 1, on: [connect, reset], budget_percent: 20}
    auth: {issuers: [shop], api_keys: [partner-a], all_scopes: ["catalog:read"], any_scope: [], mode: enforce}
    rate_limit: [{name: per-user, requests: 100, window_s: 60, burst: 100, by: jwt.sub, mode: enforce}]
    cors:
      allow_origins: [https://shop.example]
      allow_methods: [GET]
      allow_headers: [authorization]
      expose_headers: [x-total-count]
      allow_credentials: true
      max_age_s: 600
    access: {allow: [10.0.0.0/8], deny: [10.66.0.0/16]}
    shadow:
      sample_percent: 100
      control_percent: 10
      methods: [GET, HEAD]
      timeout_s: 3
      max_in_flight: 16
      max_queue: 100
      max_per_s: null
      credentials: {authorization: "Bearer ${SHADOW_TOKEN}"}
      writes: {level: read_posts, paths: [/api/search], acknowledge: true}
      compare: {ignore: ["$.request_id"], unordered: {"$.tags": true}, allow_added: true, max_body_bytes: 65536}
      store_values: ["$.items[*].price"]
      version_header: x-service-version
      epoch: after the price fix
      gate:
        max_mismatch_percent: 0.1
        alpha: 0.05
        min_duration_s: 86400
        min_requests: 30
        min_controls: 50
        max_uncounted_percent: 20
        expires_s: 604800
        waive: [{what: GET /api/old, name: anna, reason: nobody calls it}]
  pay:
    routes:
      - {path: /api/pay, fallback: legacy, breaker: {enabled: false}, retry: {retries: 0}}
      - {path: /api/refund, auth: {issuers: [staff]}, rate_limit: [], access: {allow: ["::1/128"]}}
    extracted: resolved
    fallback: {static: {status: 202, content_type: application/json, body: "{}"}}
""")


def errors(instance: Any) -> list[str]:
    return [error.json_path for error in Draft7Validator(schema()).iter_errors(instance)]


def test_the_schema_is_a_draft_07_schema() -> None:
    Draft7Validator.check_schema(schema())
    assert schema()["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_the_contract_is_valid() -> None:
    assert errors(CONTRACT) == []


def test_the_sample_configuration_is_valid() -> None:
    assert errors(tree(SAMPLE.read_text())) == []


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("servr",), {}),
        (("version",), 2),
        (("server", "tls"), {"certificate": "cert.pem"}),
        (("upstreams", "catalog", "tls"), {"verify": False}),
        (("server", "limits", "max_headers"), 0),
        (("server", "debug_headers"), "yes"),
        (("telemetry", "access_log"), "xml"),
        (("upstreams", "monolith", "endpoints"), []),
        (("upstreams", "found", "endpoints"), 4),
        (("upstreams", "found", "endpoints"), {"registri": "http://127.0.0.1:8500"}),
        (("upstreams", "found", "endpoints", "scheme"), "ftp"),
        (("upstreams", "catalog", "health"), {}),
        (("upstreams", "catalog", "max_in_flight"), 0),
        (("seams", "catalog", "fallback"), "extracted"),
        (("seams", "catalog", "fallback"), {"status": [404]}),
        (("seams", "catalog", "breaker"), True),
        (("seams", "catalog", "breaker", "failure_ratio"), 0),
        (("seams", "catalog", "retry", "on"), ["timeout"]),
        (("telemetry", "webhook"), {}),
        (("seams", "catalog", "shadow", "sample_percent"), 101),
        (("seams", "catalog", "shadow", "credentials"), "dropp"),
        (("seams", "catalog", "shadow", "credentials"), {"authorization": 1}),
        (("seams", "catalog", "shadow", "writes"), {"level": "sandbox", "paths": ["/a"]}),
        (("seams", "catalog", "shadow", "writes"), {"level": "read_posts"}),
        (("seams", "catalog", "shadow", "compare"), {"ignor": []}),
        (("seams", "catalog", "shadow", "compare", "headers"), {"compar": []}),
        (("seams", "catalog", "shadow", "gate", "alpha"), 1),
        (("seams", "catalog", "shadow", "gate", "waive"), [{"what": "GET /a", "name": "anna"}]),
        (("auth", "issuers", "shop", "audience"), []),
        (("auth", "issuers", "shop", "audience"), 5),
        (("auth", "issuers", "shop", "algorithms"), []),
        (("auth", "issuers", "shop", "leeway_s"), -1),
        (("auth", "issuers", "shop"), {"issuer": "a", "jwks_url": "https://a"}),
        (("auth", "identity", "user"), "x-user"),
        (("auth", "api_keys", "keys", "partner-a"), {}),
        (("rate_limits", "on_error"), "open"),
        (("seams", "catalog", "auth", "mode"), "off"),
        (("seams", "catalog", "auth", "scopes"), ["a"]),
        (("seams", "catalog", "rate_limit"), [{"name": "a", "requests": 1}]),
        (("seams", "catalog", "rate_limit"), [{"name": "a", "requests": -1, "window_s": 1}]),
        (("seams", "catalog", "rate_limit"), [{"name": "a", "requests": 1, "window_s": 0}]),
        (("seams", "catalog", "cors", "allow_origins"), []),
        (("seams", "catalog", "access", "allowed"), []),
        (("seams", "pay", "routes"), [{"path": "/a", "cors": {"allow_origins": ["*"]}}]),
        (("seams", "catalog", "percent"), 101),
        (("seams", "catalog", "stage"), "canery"),
        (("seams", "catalog", "rewrite"), {"strip": "/a"}),
        (("seams", "catalog", "routes"), [{"methods": ["GET"]}]),
    ],
)
def test_what_the_model_refuses_the_schema_refuses(keys: tuple[str, ...], value: Any) -> None:
    instance = copy.deepcopy(CONTRACT)
    section = instance
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    (path,) = errors(instance)
    assert path.startswith("$")


@pytest.mark.parametrize("key", ["percent", "stage", "deadline_s", "fallback"])
def test_an_expression_may_stand_where_a_number_or_word_is_wanted(key: str) -> None:
    instance = copy.deepcopy(CONTRACT)
    instance["seams"]["catalog"][key] = "${VALUE:-10}"
    assert errors(instance) == []


@pytest.mark.parametrize("credentials", ["pass", "drop", "${CREDENTIALS}", {}])
def test_credentials_are_a_word_an_expression_or_a_mapping(credentials: Any) -> None:
    instance = copy.deepcopy(CONTRACT)
    instance["seams"]["catalog"]["shadow"]["credentials"] = credentials
    assert errors(instance) == []


def _properties(part: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from part.get("properties", {}).items()
    for definition in part.get("definitions", {}).values():
        yield from _properties(definition)


def test_every_key_is_described_and_every_mapping_closed() -> None:
    whole = schema()
    assert [key for key, value in _properties(whole) if not value.get("description")] == []
    assert all(part["additionalProperties"] is False for part in [whole, *whole["definitions"].values()])
