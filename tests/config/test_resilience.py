"""Bulkheads, probes, discovery, breakers, retries, fallbacks and the webhook, from the file to what is said about it.

In a text of a table `^` stands before the place at which a problem must point.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.admin.config_view import MASK, config_document
from proxy.config import resilience
from proxy.config.load import load
from proxy.config.model import Fallback, StaticAnswer
from proxy.config.shape import MODELS
from proxy.errors import ConfigError
from proxy.routing.table import check
from tests.support.config_file import ConfigFile, Rejects

SECRET = "hush-hush/hush hush"
ENVIRON = {"SECRET": SECRET, "TOKEN": "hushed-token", "NONE": "none", "HOOK": "https://chat.example/hush"}

UPSTREAM = """\
version: 1
default: old
upstreams:
  old: {{endpoints: ["http://10.0.0.1:8000"]}}
  x: {{{}}}
"""
SEAM = """\
version: 1
default: old
upstreams:
  old: {{endpoints: ["http://10.0.0.1:8000"], timeouts: {{response_s: 30}}}}
  new: {{endpoints: ["http://10.0.0.2:8101"], timeouts: {{response_s: 3}}}}
seams:
  a: {{{}}}
"""
TELEMETRY = "version: 1\ntelemetry: {{{}}}\n"


def upstream(keys: str) -> str:
    """With these keys in flow style; a list of one endpoint unless they say otherwise."""
    return UPSTREAM.format(keys if "endpoint" in keys else f"endpoints: ['http://x:1'], {keys}")


def seam(keys: str) -> str:
    """With one route and both sides."""
    return SEAM.format(f"routes: [{{path: /a}}], extracted: new, {keys}")


def route(keys: str) -> str:
    return SEAM.format(f"extracted: new, routes: [{{path: /a, {keys}}}]")


def lone(keys: str) -> str:
    """A seam without an extracted side."""
    return SEAM.format(f"routes: [{{path: /a}}], {keys}")


def telemetry(keys: str) -> str:
    return TELEMETRY.format(keys)


_file = ConfigFile(ENVIRON, (check,))
problems, loaded, said = _file.problems, _file.loaded, _file.said


# --- what contradicts itself ------------------------------------------------------------------------------------------

EITHER = "write either `registry` with `service`, or `dns`: one source says where the endpoints are"
BULKHEADS = [
    Rejects(
        upstream("^max_queue: 5"),
        "FIG131",
        "`max_queue` has no meaning without `max_in_flight`: add that, or remove it",
    ),
    Rejects(
        upstream("^queue_s: 5"),
        "FIG131",
        "`queue_s` has no meaning without `max_in_flight`: add that, or remove it",
    ),
    Rejects(
        upstream("max_in_flight: 5, max_queue: 0, ^queue_s: 1"),
        "FIG131",
        "`queue_s` has no meaning with `max_queue: 0`, where nobody waits: remove one of them",
    ),
]
PROBES = [
    Rejects(
        upstream("health: {path: ^healthz}"),
        "FIG132",
        "`healthz` is not a path: write for example /healthz, and # or other than ASCII as %XX",
    ),
    Rejects(
        upstream("health: {path: ^'/a b'}"),
        "FIG132",
        "`/a b` is not a path: write for example /healthz, and # or other than ASCII as %XX",
    ),
    Rejects(
        upstream("health: {path: ^/ä}"),
        "FIG132",
        "`/ä` is not a path: write for example /healthz, and # or other than ASCII as %XX",
    ),
    Rejects(
        upstream("health: {path: ^/a#b}"),
        "FIG132",
        "`/a#b` is not a path: write for example /healthz, and # or other than ASCII as %XX",
    ),
    Rejects(
        upstream("health: {path: /a, interval_s: 0.5, timeout_s: ^0.6}"),
        "FIG132",
        "`timeout_s` 0.6 is longer than `interval_s` 0.5, after which the next probe is due: lower it",
    ),
]
DISCOVERY = [
    Rejects(upstream("endpoints: ^{}"), "FIG133", EITHER),
    Rejects(upstream("endpoints: ^{service: x}"), "FIG133", EITHER),
    Rejects(upstream("endpoints: ^{registry: 'http://r:8500', dns: 'http://x:1', service: x}"), "FIG133", EITHER),
    Rejects(
        upstream("endpoints: ^{registry: 'http://r:8500'}"),
        "FIG133",
        "`registry` needs `service`: the name to ask for",
    ),
    Rejects(
        upstream("endpoints: {registry: ^'r:8500', service: x}"),
        "FIG133",
        "`registry` must start with http:// or https://",
    ),
    Rejects(
        upstream("endpoints: {registry: ^'http://u:p@r:8500', service: x}"),
        "FIG133",
        "`registry` has a user or password, which is refused: leave them out",
    ),
    Rejects(
        upstream("endpoints: {registry: ^'http://r:8500/?dc=a', service: x}"),
        "FIG133",
        "`registry` has a query, but paths are put behind it: leave out ? and #",
    ),
    Rejects(
        upstream("endpoints: {registry: ^'http://r:99999', service: x}"),
        "FIG133",
        "`registry` needs a host, and a port from 1 to 65535 if any: write for example https://HOST:PORT/PATH",
    ),
    Rejects(
        upstream("endpoints: {registry: 'http://r:8500', service: ^a/b}"),
        "FIG133",
        "`a/b` is not the name of a service: letters, digits, dots, - and _",
    ),
    Rejects(
        upstream("endpoints: {registry: 'http://r:8500', service: x, token: ^'a b'}"),
        "FIG133",
        "`token` holds spaces, control or non-ASCII characters, which no header can carry: choose another",
    ),
    Rejects(
        upstream("endpoints: {dns: 'http://x:1', ^service: x}"),
        "FIG133",
        "`service` belongs to a registry and has no meaning beside `dns`: remove it",
    ),
    Rejects(
        upstream("endpoints: {dns: 'http://x:1', ^token: x}"),
        "FIG133",
        "`token` belongs to a registry and has no meaning beside `dns`: remove it",
    ),
    Rejects(
        upstream("endpoints: {dns: 'http://x:1', ^scheme: https}"),
        "FIG133",
        "`scheme` belongs to a registry and has no meaning beside `dns`: remove it",
    ),
    Rejects(upstream("endpoints: {dns: ^x}"), "FIG111", "`x` is not http://HOST:PORT or https://HOST:PORT"),
    Rejects(
        upstream("endpoints: {dns: ^'http://localhost:8080'}"),
        "FIG113",
        "`http://localhost:8080` is fig's own address (`server.listen` 127.0.0.1:8080): requests would go in a circle",
    ),
    Rejects(
        upstream("endpoints: {registry: 'http://r:8500', service: x}, ^tls: {}"),
        "FIG117",
        "`tls` has no meaning for http:// endpoints: write `scheme: https`, or remove it",
    ),
    Rejects(
        upstream("endpoints: {dns: 'http://x:1'}, ^tls: {}"),
        "FIG117",
        "`tls` has no meaning for http:// endpoints: write https://, or remove it",
    ),
]
WEBHOOKS = [
    Rejects(telemetry("webhook: {url: ^chat.example}"), "FIG135", "`url` must start with http:// or https://"),
    Rejects(
        telemetry("webhook: {url: ^'https://u:p@chat.example/x'}"),
        "FIG135",
        "`url` has a user or password, which is refused: leave them out",
    ),
    Rejects(
        telemetry("webhook: {url: ^'https://chat.example/a b'}"),
        "FIG135",
        "`url` holds spaces, control or non-ASCII characters: write them as %XX",
    ),
    *(
        Rejects(
            telemetry(f"webhook: {{url: ^'https://{authority}/x'}}"),
            "FIG135",
            "`url` needs a host, and a port from 1 to 65535 if any: write for example https://HOST:PORT/PATH",
        )
        for authority in ("", ":80", "a:", "a:0", "a:65536", f"a:{'9' * 5000}", "a..b", "a_-", "[::1", "[1:2]", "::1")
    ),
]
BREAKERS = [
    Rejects(
        seam("breaker: ^{failures: null, failure_ratio: null}"),
        "FIG231",
        "`failures`, `failure_ratio` and `slow_ratio` are all null, so it can never open: write one of them, "
        "or `enabled: false`",
    ),
    Rejects(
        seam("breaker: {^slow_call_s: 1}"),
        "FIG231",
        "`slow_call_s` has no meaning without `slow_ratio`: add that, or remove it",
    ),
    Rejects(
        route("breaker: {^slow_ratio: 0.5}"),
        "FIG231",
        "`slow_ratio` has no meaning without `slow_call_s`: add that, or remove it",
    ),
    Rejects(
        seam("breaker: {open_s: 60, open_max_s: ^59.5}"),
        "FIG231",
        "`open_max_s` 59.5 is below `open_s` 60: raise it, or remove it",
    ),
    Rejects(
        route("breaker: {slow_ratio: 0.5, slow_call_s: ^3}"),
        "FIG231",
        "`slow_call_s` 3 is not below `response_s` 3 of upstream `new`, where such a call has failed already: lower it",
    ),
    Rejects(
        seam("legacy_breaker: {slow_ratio: 0.5, slow_call_s: ^30}"),
        "FIG231",
        "`slow_call_s` 30 is not below `response_s` 30 of upstream `old`, where such a call has failed already: "
        "lower it",
    ),
    Rejects(seam("breaker: {status: [500, 503, ^500]}"), "FIG231", "`500` stands here twice: remove one"),
    Rejects(seam("legacy_breaker: {status: [500, ^500]}"), "FIG231", "`500` stands here twice: remove one"),
]
RETRIES = [
    Rejects(
        seam("retry: {retries: ^3, on: []}"),
        "FIG232",
        "`retries` is 3 but `on` and `status` are empty: name what is tried again, or write 0",
    ),
    Rejects(route("retry: {on: [connect, reset, ^connect]}"), "FIG232", "`connect` stands here twice: remove one"),
    Rejects(seam("retry: {status: [503, ^503]}"), "FIG232", "`503` stands here twice: remove one"),
    Rejects(
        seam("retry: {idempotent_header: ^'a b'}"),
        "FIG232",
        "`a b` is not a header name: write a token such as x-api-version",
    ),
    Rejects(
        route("retry: {idempotent_header: ^Content-Type}"),
        "FIG232",
        "`Content-Type` is in requests anyway, and each POST would be repeated: write for example idempotency-key",
    ),
]
FALLBACKS = [
    Rejects(
        seam("fallback: ^{to: legacy, static: {}}"),
        "FIG233",
        "`to: legacy` and `static` contradict each other: remove one",
    ),
    Rejects(
        seam("fallback: {to: none, ^status: [500]}"),
        "FIG233",
        "`status` has no meaning with `to: none`: remove it",
    ),
    Rejects(
        route("fallback: {to: none, ^max_in_flight: 5}"),
        "FIG233",
        "`max_in_flight` has no meaning with `to: none`: remove it",
    ),
    Rejects(
        seam("stage: retired, fallback: ^legacy"),
        "FIG233",
        "stage retired never calls legacy: write `fallback: none`, or a `static` answer",
    ),
    Rejects(seam("fallback: {status: [500, ^500]}"), "FIG233", "`500` stands here twice: remove one"),
    *(
        Rejects(
            seam(f"fallback: {{static: {{content_type: ^{json.dumps(text)}}}}}"),
            "FIG233",
            f"`{shown}` is not a media type: write for example application/json",
        )
        for text, shown in (
            ("", ""),
            ("json", "json"),
            ("a/b\r\nx: y", "a/b\\r\\nx: y"),
            ("a/b; c=ö", "a/b; c=ö"),
            ("a/b;c=☃", "a/b;c=☃"),
            ("a/b\x00", "a/b\\x00"),
        )
    ),
    *(
        Rejects(
            route(f"fallback: {{static: {{status: {status}, body: ^x}}}}"),
            "FIG233",
            f"an answer with status {status} has no body: leave `body` out, or choose another status",
        )
        for status in (204, 205, 304)
    ),
]


@pytest.mark.parametrize(
    "row", [*BULKHEADS, *PROBES, *DISCOVERY, *WEBHOOKS, *BREAKERS, *RETRIES, *FALLBACKS], ids=lambda row: row.code
)
def test_what_contradicts_itself_is_refused_where_it_stands(tmp_path: Path, row: Rejects) -> None:
    assert said(tmp_path, row.text.replace("^", "")) == [row.expected("error")]


IDLE = [
    Rejects(lone("^breaker: {}"), "FIG217", "`breaker` concerns the extracted side, and this seam has no `extracted`"),
    Rejects(
        lone("^fallback: none"), "FIG217", "`fallback` concerns the extracted side, and this seam has no `extracted`"
    ),
    Rejects(
        SEAM.format("routes: [{path: /a, ^fallback: legacy}]"),
        "FIG217",
        "`fallback` concerns the extracted side, and this seam has no `extracted`",
    ),
    Rejects(
        seam("breaker: {^min_requests: 50}"),
        "FIG217",
        "`min_requests` counts only with `failures: null` or `slow_ratio`: remove it, or write one of those",
    ),
    Rejects(
        route("retry: {^retry_after_max_s: 5}"),
        "FIG217",
        "`retry_after_max_s` counts only for answers in `status`: remove it, or write for example `status: [503]`",
    ),
]


@pytest.mark.parametrize("row", IDLE, ids=lambda row: row.message.split("`")[1])
def test_what_has_no_effect_is_a_warning(tmp_path: Path, row: Rejects) -> None:
    assert said(tmp_path, row.text.replace("^", "")) == [row.expected("warning")]


def test_every_finding_is_in_a_table() -> None:
    rows = [*BULKHEADS, *PROBES, *DISCOVERY, *WEBHOOKS, *BREAKERS, *RETRIES, *FALLBACKS, *IDLE]
    source = Path(resilience.__file__).read_text()
    assert set(re.findall(r'"(FIG\d{3})"', source)) <= {row.code for row in rows}


ACCEPTS = {
    "a bulkhead": upstream("max_in_flight: 1"),
    "a bulkhead with a queue": upstream("max_in_flight: 20, max_queue: 20, queue_s: 0.1"),
    "a bulkhead where nobody waits": upstream("max_in_flight: 20, max_queue: 0"),
    "defaults written out": upstream("max_in_flight: null, max_queue: null, queue_s: 0.1, health: null"),
    "a probe": upstream("health: {path: /healthz}"),
    "a probe with a query": upstream("health: {path: '/health?deep=1', interval_s: 1, timeout_s: 1}"),
    "a registry": upstream("endpoints: {registry: 'http://r:8500/', service: a.b-c_1, token: '${TOKEN}'}"),
    "a registry behind a path": upstream("endpoints: {registry: 'https://[::1]/consul', service: x, refresh_s: 5}"),
    "https from a registry": upstream("endpoints: {registry: 'http://r', service: x, scheme: https}, tls: {}"),
    "dns": upstream("endpoints: {dns: 'http://x.internal:1', refresh_s: 5}"),
    "https by dns": upstream("endpoints: {dns: 'https://x:1'}, tls: {server_name: y}"),
    "dns with defaults": upstream("endpoints: {dns: 'http://x:1', service: null, token: '', scheme: http}"),
    "breaker without a number": seam("breaker: {failures: null, min_requests: 5}"),
    "breaker without a ratio": seam("breaker: {failure_ratio: null}"),
    "breaker for slow calls": seam("breaker: {slow_ratio: 1, slow_call_s: 2.9, min_requests: 5, failures: null}"),
    "breaker that waits longer": seam("breaker: {open_s: 30, open_max_s: 30, half_open_requests: 100}"),
    "breaker for some answers": route("breaker: {status: [500, 599]}"),
    "no breaker": seam("breaker: {enabled: false}"),
    "no breaker at all": seam("breaker: {enabled: false, failures: null, failure_ratio: null}"),
    "breaker of legacy": lone("legacy_breaker: {slow_ratio: 0.5, slow_call_s: 29}"),
    "no retries": route("retry: {retries: 0, on: []}"),
    "retries by status": seam("retry: {on: [], status: [429, 503], retry_after_max_s: 5, budget_percent: 0}"),
    "retries of posts": lone("retry: {idempotent_header: Idempotency-Key}"),
    "fallback to legacy": seam("fallback: legacy"),
    "no fallback": route("fallback: none"),
    "no fallback in retired": seam("stage: retired, fallback: none"),
    "fixed answer in retired": seam("stage: retired, fallback: {static: {status: 503}}"),
    "fallback as a mapping": seam("fallback: {status: [], max_in_flight: 1}"),
    "no fallback as a mapping": seam("fallback: {to: none, status: [500, 502, 503, 504], max_in_flight: 20}"),
    "fixed answer": seam("fallback: {static: {content_type: text/plain; charset=utf-8, body: später}, status: [503]}"),
    "fixed answer without a body": seam("fallback: {static: {status: 204}}"),
    "webhook": telemetry("webhook: {url: '${HOOK}', timeout_s: 1, retries: 0, max_queue: 1}"),
    "webhook with a port": telemetry("webhook: {url: 'http://[::1]:65535'}"),
    "no webhook": telemetry("webhook: null"),
}


@pytest.mark.parametrize("text", ACCEPTS.values(), ids=ACCEPTS)
def test_what_agrees_is_accepted_and_shown_as_a_configuration_again(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == ()
    shown = config_document(loaded(tmp_path, text))
    if MASK not in str(shown):
        assert config_document(loaded(tmp_path, json.dumps(shown, ensure_ascii=False))) == shown


# --- what has the wrong shape -----------------------------------------------------------------------------------------

SHAPES = [
    Rejects(
        upstream("endpoints: ^4"),
        "FIG009",
        "`endpoints` must be a list, not 4: write for example [http://127.0.0.1:8101]",
    ),
    Rejects(
        upstream("endpoints: ^http://a:1"), "FIG009", "`endpoints` must be a list, not http://a:1: write [http://a:1]"
    ),
    Rejects(upstream("endpoints: ^[]"), "FIG010", "`endpoints` must have at least one item, not []"),
    Rejects(upstream("endpoints: [^{dns: x}]"), "FIG009", "`endpoints[0]` must be a string, not {dns: x}"),
    Rejects(upstream("endpoints: {registry: ^4}"), "FIG009", '`registry` must be a string, not 4: write "4"'),
    Rejects(upstream("endpoints: {registry: ^[x], service: y}"), "FIG009", "`registry` must be a string, not [x]"),
    Rejects(
        upstream("endpoints: {registry: 'http://r', service: x, scheme: ^htps}, tls: {}"),
        "FIG010",
        "`scheme` must be http or https, not htps (did you mean `https`?)",
    ),
    Rejects(upstream("max_in_flight: ^0, max_queue: 1"), "FIG010", "`max_in_flight` must be at least 1, not 0"),
    Rejects(
        upstream("max_in_flight: 1, max_queue: ^-1, queue_s: 1"), "FIG010", "`max_queue` must be at least 0, not -1"
    ),
    Rejects(
        upstream("health: ^/healthz"),
        "FIG009",
        "`health` must be a mapping, not /healthz: write for example {path: /healthz}",
    ),
    Rejects(upstream("^health: {}"), "FIG008", "key `path` is missing: add for example `path: /healthz`"),
    Rejects(
        upstream("health: {path: /a, interval_s: ^fast, timeout_s: 9}"),
        "FIG009",
        "`interval_s` must be a finite number, not fast",
    ),
    Rejects(seam("breaker: ^true"), "FIG009", "`breaker` must be a mapping, not true: write {enabled: true}"),
    Rejects(
        seam("legacy_breaker: ^false"),
        "FIG009",
        "`legacy_breaker` must be a mapping, not false: write {enabled: false}",
    ),
    Rejects(route("breaker: ^5"), "FIG009", "`breaker` must be a mapping, not 5: write for example {failures: 3}"),
    Rejects(seam("breaker: {failure_ratio: ^0}"), "FIG010", "`failure_ratio` must be more than 0, not 0"),
    Rejects(seam("breaker: {window_s: ^1e-320}"), "FIG010", "`window_s` must be at least 0.1, not 1e-320"),
    Rejects(seam("breaker: {status: ^503}"), "FIG009", "`status` must be a list, not 503: write [503]"),
    Rejects(seam("breaker: {status: [^404, 500]}"), "FIG010", "`status[0]` must be at least 500, not 404"),
    Rejects(
        seam("breaker: {failures: null, failure_ratio: ^no}"),
        "FIG009",
        "`failure_ratio` must be a finite number, not no",
    ),
    Rejects(route("retry: ^3"), "FIG009", "`retry` must be a mapping, not 3: write for example {retries: 0}"),
    Rejects(seam("retry: {on: ^connect}"), "FIG009", "`on` must be a list, not connect: write [connect]"),
    Rejects(
        seam("retry: {on: [^conect]}"),
        "FIG010",
        "`on[0]` must be connect or reset, not conect (did you mean `connect`?)",
    ),
    Rejects(seam("retry: {on: [^timeout, connect]}"), "FIG010", "`on[0]` must be connect or reset, not timeout"),
    Rejects(seam("retry: {retries: ^11}"), "FIG010", "`retries` must be at most 10, not 11"),
    Rejects(
        seam("fallback: ^5"), "FIG009", "`fallback` must be legacy, none or a mapping, not 5: write for example legacy"
    ),
    Rejects(
        route("fallback: ^[x]"),
        "FIG009",
        "`fallback` must be legacy, none or a mapping, not [x]: write for example none",
    ),
    Rejects(
        seam("fallback: ^legcy"),
        "FIG009",
        "`fallback` must be legacy, none or a mapping, not legcy (did you mean `legacy`?)",
    ),
    Rejects(
        seam("fallback: ^false"),
        "FIG009",
        "`fallback` must be legacy, none or a mapping, not false: write for example legacy",
    ),
    Rejects(
        seam("fallback: {to: ^lagacy}"), "FIG010", "`to` must be legacy or none, not lagacy (did you mean `legacy`?)"
    ),
    Rejects(seam("stage: retired, fallback: {to: ^extracted}"), "FIG010", "`to` must be legacy or none, not extracted"),
    Rejects(
        seam("fallback: {static: ^5}"),
        "FIG009",
        "`static` must be a mapping, not 5: write for example {status: 200, body: {}}",
    ),
    Rejects(seam("fallback: {static: {status: ^100}}"), "FIG010", "`status` must be at least 200, not 100"),
    Rejects(seam("fallback: {static: {body: ^{a: 1}}}"), "FIG009", "`body` must be a string, not {a: 1}"),
    Rejects(
        telemetry("webhook: ^https://chat.example"),
        "FIG009",
        "`webhook` must be a mapping, not https://chat.example: write for example {url: https://chat.example/hooks/fig}",
    ),
    Rejects(
        telemetry("^webhook: {retries: 1}"),
        "FIG008",
        "key `url` is missing: add for example `url: https://chat.example/hooks/fig`",
    ),
]


@pytest.mark.parametrize("row", SHAPES, ids=lambda row: row.message.split(" ")[0].strip("`"))
def test_a_wrong_shape_is_one_problem(tmp_path: Path, row: Rejects) -> None:
    assert said(tmp_path, row.text.replace("^", "")) == [row.expected("error")]


def test_a_fallback_is_a_word_or_a_mapping(tmp_path: Path) -> None:
    def fallback(text: str) -> Fallback | None:
        return loaded(tmp_path, seam(f"fallback: {text}")).seams["a"].fallback

    assert fallback("legacy") == fallback("{to: legacy}") == Fallback(to="legacy")
    assert fallback("none") == fallback("'none'") == fallback("'${NONE}'") == Fallback(to="none")
    assert fallback("{static: {status: 202, body: ok}}") == Fallback(static=StaticAnswer(status=202, body="ok"))
    assert fallback("{}") == Fallback()
    assert fallback("null") is None


def test_endpoints_are_a_list_or_whom_to_ask(tmp_path: Path) -> None:
    listed = loaded(tmp_path, upstream("endpoints: ['https://a:1', 'https://b:1']")).upstreams["x"]
    assert (listed.listed, listed.discovery, listed.secure) == (("https://a:1", "https://b:1"), None, True)
    asked = loaded(tmp_path, upstream("endpoints: {registry: 'http://r', service: x, token: '${TOKEN}'}")).upstreams[
        "x"
    ]
    assert asked.discovery is not None
    assert (asked.listed, asked.discovery.service, asked.discovery.token, asked.secure) == (
        (),
        "x",
        "hushed-token",
        False,
    )
    assert loaded(tmp_path, upstream("endpoints: {dns: 'https://x:1'}")).upstreams["x"].secure


# --- what is misspelt -------------------------------------------------------------------------------------------------

MISSPELT = [
    (upstream("endpoints: {registry: 'http://r', ^servce: x}"), "servce", "upstreams.x.endpoints", "service"),
    (upstream("endpoints: {^registri: 'http://r', service: x}"), "registri", "upstreams.x.endpoints", "registry"),
    (upstream("endpoints: {dns: 'http://x:1', ^refresh: 1}"), "refresh", "upstreams.x.endpoints", "refresh_s"),
    (upstream("endpoints: {dns: 'http://x:1', ^tokn: x}"), "tokn", "upstreams.x.endpoints", "token"),
    (upstream("endpoints: {registry: 'http://r', service: x, ^schema: https}, tls: {}"), "schema",
     "upstreams.x.endpoints", "scheme"),
    (upstream("^max_inflight: 5, max_queue: 2"), "max_inflight", "upstreams.x", "max_in_flight"),
    (upstream("health: {path: /a, ^interval: 1}"), "interval", "upstreams.x.health", "interval_s"),
    (seam("breaker: {^failure: 3}"), "failure", "seams.a.breaker", "failures"),
    (seam("breaker: {slow_call_s: 1, ^slow_rate: 1}"), "slow_rate", "seams.a.breaker", "slow_ratio"),
    (seam("legacy_breaker: {^openS: 3}"), "openS", "seams.a.legacy_breaker", "open_s"),
    (seam("^legacybreaker: {}"), "legacybreaker", "seams.a", "legacy_breaker"),
    (route("retry: {^retrys: 3}"), "retrys", "seams.a.routes[0].retry", "retries"),
    (seam("fallback: {^statuses: [500]}"), "statuses", "seams.a.fallback", "status"),
    (route("fallback: {static: {^contenttype: a/b}}"), "contenttype", "seams.a.routes[0].fallback.static",
     "content_type"),
    (telemetry("webhook: {url: 'http://a', ^timeout: 3}"), "timeout", "telemetry.webhook", "timeout_s"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "section", "meant"), MISSPELT, ids=[row[1] for row in MISSPELT])
def test_a_misspelt_key_is_one_problem_with_the_right_one(
    tmp_path: Path, text: str, key: str, section: str, meant: str
) -> None:
    row = Rejects(text, "FIG006", f"unknown key `{key}` in `{section}` (did you mean `{meant}`?)")
    assert said(tmp_path, row.text.replace("^", "")) == [row.expected("error")]


def test_an_unknown_key_hides_nothing_about_a_key_that_is_there(tmp_path: Path) -> None:
    found = problems(tmp_path, upstream("endpoints: {registry: 'http://r', service: a/b, servce: x}"))
    assert [problem.code for problem in found] == ["FIG133", "FIG006"]
    found = problems(tmp_path, upstream("max_queue: 1, max_queu: 1"))
    assert [problem.code for problem in found] == ["FIG131", "FIG006"]


def test_names_that_look_like_the_parts_of_a_union_are_names(tmp_path: Path) -> None:
    text = UPSTREAM.format("endpoints: ['http://x:1']").replace("  x:", "  (list):") + "seams: {(discovery): {x: 1}}\n"
    messages = [problem.message for problem in problems(tmp_path, text)]
    assert any("unknown key `x` in `seams.(discovery)`" in message for message in messages)


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        telemetry("webhook: {url: '${SECRET}'}"),
        telemetry("webhook: {url: 'https://chat.example/${SECRET}'}"),
        telemetry("webhook: '${SECRET}'"),
        telemetry("webhook: [{url: '${HOOK}'}]"),
        telemetry("webhook: {url: ['${HOOK}']}"),
        telemetry("webhook: {url: {path: '${HOOK}'}}"),
        upstream("endpoints: {registry: 'http://r', service: x, token: '${SECRET}'}"),
        upstream("endpoints: {registry: 'http://r', service: x, token: {'value': '${TOKEN}'}}"),
        upstream("endpoints: {registry: '${SECRET}', service: x}"),
        upstream("endpoints: {registry: 'http://r', service: '${SECRET}'}"),
        upstream("endpoints: {dns: '${SECRET}'}"),
        upstream("endpoints: [{registry: 'http://r', token: '${TOKEN}'}]"),
        upstream("endpoints: '${TOKEN}'"),
        upstream("health: {path: '${SECRET}'}"),
        seam("fallback: '${SECRET}'"),
        seam("fallback: {static: ['${TOKEN}']}"),
        seam("fallback: {static: {content_type: '${SECRET}'}}"),
        seam("retry: {idempotent_header: '${SECRET}'}"),
        seam("breaker: {failures: '${TOKEN}'}"),
        SEAM.format("routes: '${TOKEN}', owner: {name: '${TOKEN}'}"),
    ],
)
def test_what_came_from_outside_is_not_repeated(tmp_path: Path, text: str) -> None:
    found = problems(tmp_path, text)
    assert [problem for problem in found if problem.severity == "error"]
    assert "hush" not in " ".join(map(str, found))


def test_a_token_of_digits_stays_a_text(tmp_path: Path) -> None:
    path = tmp_path / "fig.yaml"
    path.write_text(
        UPSTREAM.format("endpoints: {registry: 'http://r', service: x, token: ${T}}").replace("${T}", '"${T}"')
    )
    discovery = load(path, {"T": "0012345"}).settings.upstreams["x"].discovery
    assert discovery is not None
    assert discovery.token == "0012345"
    assert "0012345" not in repr(discovery)


# --- whatever the file says -------------------------------------------------------------------------------------------

_WORDS = [
    "legacy", "none", "connect", "reset", "http", "https", "http://x:1", "https://x:1", "/healthz", "catalog", "a/b",
    "", "${SECRET}", "${TOKEN}", "${UNSET}", "x" * 5000, "Content-Type", "\x00", "ä",
]  # fmt: skip
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-1, 12)
    | st.sampled_from([200, 204, 404, 429, 500, 503, 599, 10**400, 1e-320, 1e308, 0.5])
    | st.sampled_from(_WORDS)
)
_JUNK = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "to", "static", "a.b"]), inner),
    max_leaves=6,
)
_FITTING: dict[str, st.SearchStrategy[Any]] = {
    "path": st.just("/healthz"),
    "url": st.just("https://chat.example/hook"),
    "registry": st.just("http://registry.internal:8500"),
    "service": st.just("catalog"),
    "dns": st.just("http://catalog.internal:8101"),
    "scheme": st.sampled_from(["http", "https"]),
    "enabled": st.booleans(),
    "on": st.lists(st.sampled_from(["connect", "reset"]), unique=True),
    "status": st.lists(st.sampled_from([500, 502, 503]), unique=True),
    "to": st.sampled_from(["legacy", "none", None]),
    "content_type": st.just("text/plain"),
    "body": st.text("ab${}\x00☃", max_size=4).map(lambda text: text.replace("${", "")),
    "token": st.sampled_from(["", "t0ken"]),
    "idempotent_header": st.just("idempotency-key"),
    "failure_ratio": st.sampled_from([None, 0.5, 1]),
    "slow_ratio": st.sampled_from([None, 0.5]),
}


def _values(section: str, key: str) -> st.SearchStrategy[Any]:
    below = f"{section}.{key}"
    fitting: st.SearchStrategy[Any]
    if below in MODELS:
        fitting = _mappings(below)
        if key == "endpoints":
            fitting |= st.just(["http://10.0.0.9:1"])
        if key == "fallback":
            fitting |= st.sampled_from(["legacy", "none"])
    elif section.endswith("static") and key == "status":
        fitting = st.sampled_from([200, 204, 503])
    else:
        fitting = _FITTING.get(key, st.integers(1, 9))
    return st.integers(0, 24).flatmap(lambda dice: _JUNK if dice == 24 else fitting)


def _mappings(section: str) -> st.SearchStrategy[dict[str, Any]]:
    """Mostly what the model of this section takes, with now and then a key or value that it does not."""
    keys = {key: _values(section, key) for key in MODELS[section].model_fields}
    required = {key: keys.pop(key) for key, field in MODELS[section].model_fields.items() if field.is_required()}
    plain = st.fixed_dictionaries(required, optional=keys)
    odd = st.dictionaries(st.sampled_from(["x", "servce", "open", "(list)"]), _JUNK, max_size=1)
    return st.tuples(plain, st.integers(0, 24), odd).map(lambda drawn: drawn[0] | (drawn[2] if drawn[1] == 24 else {}))


_NEW_OF_UPSTREAM = ("max_in_flight", "max_queue", "queue_s", "health")
_NEW_OF_ROUTE = ("breaker", "retry", "fallback")


def _some(section: str, keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={key: _values(section, key) for key in keys})


@settings(deadline=None, max_examples=400)
@given(
    endpoints=_values("upstreams.*", "endpoints"),
    of_upstream=_some("upstreams.*", _NEW_OF_UPSTREAM),
    of_seam=_some("seams.*", (*_NEW_OF_ROUTE, "legacy_breaker")),
    of_route=_some("seams.*.routes[]", _NEW_OF_ROUTE),
    of_telemetry=_some("telemetry", ("webhook",)),
    stage=st.sampled_from(["legacy", "extracted", "retired"]),
)
def test_any_values_load_and_are_shown_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory,
    endpoints: Any,
    of_upstream: dict[str, Any],
    of_seam: dict[str, Any],
    of_route: dict[str, Any],
    of_telemetry: dict[str, Any],
    stage: str,
) -> None:
    tree = {
        "version": 1,
        "default": "old",
        "telemetry": of_telemetry,
        "upstreams": {"old": {"endpoints": ["http://10.0.0.1:1"]}, "new": {"endpoints": endpoints, **of_upstream}},
        "seams": {"a": {"routes": [{"path": "/a", **of_route}], "extracted": "new", "stage": stage, **of_seam}},
    }
    folder = tmp_path_factory.getbasetemp()
    path = folder / "any.yaml"
    path.write_text(json.dumps(tree))
    try:
        shown = config_document(load(path, ENVIRON, (check,)).settings)
    except ConfigError as error:
        assert any(problem.severity == "error" for problem in error.problems)
        assert "hush" not in " ".join(map(str, error.problems))
        places = [(problem.line, problem.column, problem.code, problem.message) for problem in error.problems]
        assert len(places) == len(set(places))
        return
    if MASK not in json.dumps(shown):
        path.write_text(json.dumps(shown).replace("${", "$${"))
        assert config_document(load(path, {}, (check,)).settings) == shown
