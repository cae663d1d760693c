"""`shadow` of a seam, from the file to what is said about it.

In a text of a table `^` stands before the place at which a problem must point.
"""

from __future__ import annotations

import ast
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from proxy.admin.config_view import MASK, config_document
from proxy.config import shadowing
from proxy.config.compare_keys import COMPARE_KEYS, COMPARE_SCHEMA
from proxy.config.load import load
from proxy.config.model import Shadow, ShadowGate
from proxy.errors import ConfigError
from proxy.loader import CHECKS
from proxy.shadow import rule_check
from proxy.shadow.evidence import Policy
from proxy.shadow.rules import KEYS, compile_rules
from tests.support.config_file import ConfigFile, Rejects

ENVIRON = {"TOKEN": "Bearer hushed", "DIGITS": "123456", "PATTERN": "(hushed", "NONE": ""}
CASES = json.loads((Path(__file__).parents[1] / "cases" / "comparison_cases.json").read_text())

SEAM = """\
version: 1
default: old
upstreams:
  old: {{endpoints: ["http://10.0.0.1:8000"]}}
  new: {{endpoints: ["http://10.0.0.2:8101"]}}
seams:
  a: {{{}}}
"""
ROUTES = "{path: /a}, {path: '/p/{id}', methods: [GET, POST]}, {path: /q/**, methods: [GET]}"


def shadow(keys: str, routes: str = ROUTES) -> str:
    """A seam with both sides and these keys of `shadow` in flow style."""
    return SEAM.format(f"routes: [{routes}], extracted: new, shadow: {{{keys}}}")


def compare(keys: str) -> str:
    return shadow(f"compare: {{{keys}}}")


def posts(keys: str, routes: str = ROUTES) -> str:
    return shadow(f"writes: {{level: read_posts, {keys}}}", routes)


_file = ConfigFile(ENVIRON, CHECKS)
problems, loaded, said = _file.problems, _file.loaded, _file.said


def the_shadow(folder: Path, text: str) -> Shadow:
    block = loaded(folder, text).seams["a"].shadow
    assert block is not None
    return block


# --- what contradicts itself ------------------------------------------------------------------------------------------

SIDES = [
    Rejects(
        SEAM.format("routes: [{path: /a}], ^shadow: {}"),
        "FIG241",
        "`shadow` compares two sides, and this seam has one: write `extracted`, or remove it",
    ),
]
METHODS = [
    Rejects(
        shadow("methods: [GET, ^POST]"),
        "FIG242",
        "POST stands for a write here: name those that only read by `writes: {level: read_posts, paths: […]}`",
    ),
    *(
        Rejects(
            shadow(f"methods: [^{method}, GET]"),
            "FIG242",
            f"`{method}` cannot be mirrored{hint}: only GET, HEAD, OPTIONS are mirrored, and by `writes` such POSTs as "
            "only read",
        )
        for method, hint in (("DELETE", ""), ("PUT", ""), ("HAED", " (did you mean `HEAD`?)"))
    ),
    Rejects(
        shadow("methods: [^get, HEAD]"),
        "FIG242",
        "`get` would never match, for methods are case-sensitive: write GET",
    ),
    Rejects(shadow("methods: [GET, HEAD, ^GET]"), "FIG242", "`GET` stands here twice: remove one"),
]
WRITES = [
    Rejects(
        shadow("^writes: {level: read_posts, paths: [/a, '/p/{x}']}"),
        "FIG243",
        "both sides will carry out each of these requests: POST /a, POST /p/{id}. Where they only read, add "
        "`acknowledge: true`; else remove `writes`",
    ),
    Rejects(
        posts("paths: [/a], acknowledge: ^false"),
        "FIG243",
        "both sides will carry out each of these requests: POST /a. Where they only read, add `acknowledge: true`; "
        "else remove `writes`",
    ),
    *(
        Rejects(
            posts(f"acknowledge: true, paths: [^'{path}']", "{path: /q/**, methods: [GET]}, {path: '/p/{id}'}"),
            "FIG243",
            f"`{path}` hits nothing: no route of this seam takes a POST there; mend it, or remove it",
        )
        for path in ("/b", "/q/x", "/p", "/p/", "/p/a/b", "/", "/b/**", "/p/{a}/{b}/**")
    ),
    *(
        Rejects(posts(f"acknowledge: true, paths: [^'{path}']"), "FIG243", f"`{path}` {message}")
        for path, message in (
            ("a", "must start with /"),
            ("", "must start with /"),
            ("/**/a", "goes on after **: that is only allowed as the last segment"),
            ("/p/x*", "has a wildcard that is no whole segment: write {name}, * or, at the end, **"),
            ("/p/{}", "has a wildcard that is no whole segment: write {name}, * or, at the end, **"),
            ("/a?b", "has a query or fragment: leave it out"),
        )
    ),
]
HEADERS = [
    Rejects(
        shadow("version_header: ^'x y'"),
        "FIG245",
        "`x y` is not a header name: write a token such as x-api-version",
    ),
    Rejects(
        shadow("credentials: {^'x y': a}"),
        "FIG245",
        "`x y` is not a header name: write a token such as x-api-version",
    ),
    *(
        Rejects(
            shadow(f"credentials: {{^{name}: a}}"),
            "FIG245",
            f"`{name}` is written by fig itself: give headers that say who calls, such as authorization",
        )
        for name in ("Host", "content-length", "Transfer-Encoding", "X-Fig-Shadow")
    ),
    Rejects(
        shadow("credentials: {cookie: a, ^Cookie: b}"), "FIG245", "`Cookie` and `cookie` are one header: remove one"
    ),
    *(
        Rejects(
            shadow(f"credentials: {{cookie: ^{json.dumps(value)}}}"),
            "FIG245",
            "the value of `cookie` holds control or non-ASCII characters, or spaces around it: leave them out",
        )
        for value in ("a\r\nb: c", " a", "a ", "ä", "\x00")
    ),
    Rejects(
        shadow("credentials: {cookie: ^'${NONE}'}"),
        "FIG245",
        "`cookie` is empty: give its value, or leave it out and it is dropped",
    ),
]
WAIVERS = [
    *(
        Rejects(
            shadow(f"gate: {{waive: [{text}]}}"),
            "FIG246",
            f"`{key}` is empty: a waiver says what is waived, who answers for it, and why",
        )
        for key, text in (
            ("what", "{what: ^'', name: b, reason: c}"),
            ("name", "{what: a, name: ^' ', reason: c}"),
            ("reason", "{what: a, name: b, reason: ^''}"),
        )
    ),
    Rejects(
        shadow("gate: {waive: [{what: a, name: b, reason: c}, {what: ^a, name: b, reason: d}]}"),
        "FIG246",
        "`a` is waived twice: remove one",
    ),
]
TOO_MANY = "these paths combine in too many ways; write fewer of them with `..` or `*`"
RULES = [
    Rejects(
        compare("^unorderd: []"),
        "FIG006",
        "unknown key `unorderd` in `seams.a.shadow.compare` (did you mean `unordered`?)",
    ),
    Rejects(
        compare("^zzz: null"),
        "FIG006",
        f"unknown key `zzz` in `seams.a.shadow.compare`: known are {', '.join(KEYS)}",
    ),
    *(
        Rejects(compare(text), "FIG247", f"compare.{message}")
        for text, message in (
            (
                "allow_added: ^4",
                "allow_added: 4 is no value for it; give true, false, a list of paths, or a value by path",
            ),
            (
                "number_repr: ^exact",
                "number_repr: 'exact' is no value for it; give true, false, strict, value, a list of paths, or a value "
                "by path",
            ),
            (
                "null_equals_missing: ^[a]",
                "null_equals_missing: path 'a' does not begin with $; a path is written like $.items[*].price, "
                "$.by_id{*}.name, $['odd.name'] or $..id",
            ),
            (
                "ignore: ^['$.a[0]']",
                "ignore: path '$.a[0]' names an element by number; elements are named all at once, as [*]",
            ),
            (
                "numeric: ^{$.a: {abs: -1}}",
                "numeric: -1 at $.a is no tolerance; give a number, 0 or more",
            ),
            (
                "coerce: ^{$.a: float}",
                "coerce: 'float' at $.a is unknown; give decimal, string or boolean",
            ),
            (
                "unordered: ^{$.a: 1}",
                "unordered: 1 at $.a is unknown; give true, or the name of the member by which elements are aligned",
            ),
            ("headers: ^[x-a]", "headers: ['x-a'] is no value for it; it is a mapping with the key 'compare' alone"),
            (
                "error_bodies: ^skip",
                "error_bodies: 'skip' is no value for it; give one of compare, ignore, true, false",
            ),
            (
                "rewrite: ^[['a[', b]]",
                "rewrite: 'a[' is no value for it; write a regular expression: unterminated character set at position "
                "1",
            ),
            (
                "html_ignore: ^['(']",
                "html_ignore: '(' is no value for it; write a regular expression: missing ), unterminated subpattern "
                "at position 0",
            ),
            ("max_body_bytes: ^-1", "max_body_bytes: -1 is no value for it; it is a number of bytes, 0 to 16777216"),
        )
    ),
    Rejects(
        compare("html_ignore: ^['a{99999999999}']"),
        "FIG247",
        "compare.html_ignore: 'a{99999999999}' is no value for it; write a regular expression: the repetition number is"
        " too large",
    ),
    Rejects(compare(f"ignore: ^['$..a{'.*' * 12}']"), "FIG247", f"compare.ignore: {TOO_MANY}"),
    Rejects(shadow(f"compare: ^{{ignore: ['$..a{'.*' * 6}'], datetime: ['$..b{'.*' * 6}']}}"), "FIG247", TOO_MANY),
]
STORED = [
    Rejects(
        shadow("store_values: ['$.a', ^price]"),
        "FIG248",
        "path 'price' does not begin with $; a path is written like $.items[*].price, $.by_id{*}.name, "
        "$['odd.name'] or $..id",
    ),
]
REFUSED = [*SIDES, *METHODS, *WRITES, *HEADERS, *WAIVERS, *RULES, *STORED]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: f"{row.code}-{row.message[:30]}")
def test_what_cannot_be_is_refused_where_it_stands(tmp_path: Path, row: Rejects) -> None:
    assert said(tmp_path, row.text.replace("^", "")) == [row.expected("error")]


LISTS = [
    Rejects(
        posts("^paths: ['/p/*', /a], acknowledge: true"),
        "FIG244",
        "`writes` sends these requests to both sides: POST /p/{id}, POST /a",
    ),
    Rejects(
        posts("^paths: [/**], acknowledge: true"),
        "FIG244",
        "`writes` sends these requests to both sides: POST /a, POST /p/{id}",
    ),
    Rejects(
        posts("^paths: [/p/search, '/p/{x}/deep/**'], acknowledge: true", "{path: /p/**}"),
        "FIG244",
        "`writes` sends these requests to both sides: POST /p/search, POST /p/{x}/deep/**",
    ),
    Rejects(
        posts("^paths: [/, /p/**], acknowledge: true", "{path: /}, {path: /p}"),
        "FIG244",
        "`writes` sends these requests to both sides: POST /, POST /p",
    ),
]
IDLE = [
    Rejects(
        shadow("methods: [GET, ^OPTIONS]", "{path: /q/**, methods: [GET]}"),
        "FIG217",
        "no route of this seam takes OPTIONS: remove it",
    ),
    Rejects(
        SEAM.format("routes: [{path: /a, methods: [POST]}], extracted: new, ^shadow: {}"),
        "FIG217",
        "nothing is mirrored: no route of this seam takes GET or HEAD",
    ),
    Rejects(
        SEAM.format("routes: [{path: /a}], extracted: new, ^shadow: {methods: []}"),
        "FIG217",
        "nothing is mirrored: `methods` is empty and there is no `writes`",
    ),
    Rejects(
        shadow("control_percent: ^0"),
        "FIG217",
        "`control_percent: 0` asks no control a second time, and without 50 of these (`gate.min_controls`) the "
        "evidence is never READY: raise it",
    ),
]


@pytest.mark.parametrize("row", [*LISTS, *IDLE], ids=lambda row: f"{row.code}-{row.message[:30]}")
def test_what_leaves_it_usable_is_a_warning(tmp_path: Path, row: Rejects) -> None:
    assert said(tmp_path, row.text.replace("^", "")) == [row.expected("warning")]


def test_every_finding_is_in_a_table() -> None:
    sources = [Path(str(module.__file__)).read_text() for module in (shadowing, rule_check)]
    raised = {code for source in sources for code in re.findall(r'"(FIG\d{3})"', source)}
    assert raised == {row.code for row in [*REFUSED, *LISTS, *IDLE]}
    described = ast.get_docstring(ast.parse(sources[1]))
    assert re.findall(r"FIG\d{3}", described or "") == ["FIG247", "FIG248"]


ACCEPTS = {
    "nothing said": shadow(""),
    "null": SEAM.format("routes: [{path: /a}], extracted: new, shadow: null"),
    "stage shadow without a block": SEAM.format("routes: [{path: /a}], extracted: new, stage: shadow"),
    "off": shadow("sample_percent: 0, control_percent: 0"),
    "no limit": shadow("max_per_s: null, max_in_flight: 1, max_queue: 1, timeout_s: 0.1"),
    "every safe method": shadow("methods: [OPTIONS, HEAD, GET]"),
    "the default methods where HEAD is not taken": shadow("methods: [GET, HEAD]", "{path: /q/**, methods: [GET]}"),
    "no credentials": shadow("credentials: drop"),
    "the client's credentials": shadow("credentials: pass"),
    "credentials of its own": shadow("credentials: {Authorization: '${TOKEN}', x-api-key: '${DIGITS}'}"),
    "a word from outside": shadow("credentials: '${WORD:-drop}'"),
    "a version": shadow("version_header: X-Service-Version, epoch: after the price fix"),
    "no controls and none needed": shadow("control_percent: 0, gate: {min_controls: 0}"),
    "values that are shown": shadow("store_values: ['$.a', \"$['odd.name']\", '$..id', 'body:$.b[*]', '$.c{*}.d']"),
    "a gate": shadow(
        "gate: {max_mismatch_percent: 25, alpha: 0.999, min_duration_s: 0, min_requests: 64, max_uncounted_percent: 100"
        ", expires_s: 1, waive: [{what: GET /a, name: b, reason: c}, {what: 'POST /a', name: b, reason: c}]}"
    ),
    "rules that are null": compare(", ".join(f"{key}: null" for key in KEYS)),
    "rules of every kind": compare(
        "allow_added: [$.a], null_equals_missing: {$.a: true}, empty_collections_equal: true, number_repr: strict,"
        " numeric: {$.a: {abs: 0.1, rel: 1}}, coerce: {$.a: decimal}, unordered: ['$.b', '$.c[*].d'],"
        " unicode: NFC, datetime: [$.t], ignore: ['header:x-a', body], headers: {compare: [x-b]},"
        " cookies: {compare_values: [sid]}, status_equivalent: [[200, 204]], error_bodies: ignore,"
        " rewrite: [['a+', b]], text: {newlines: normalize}, html: exact, html_ignore: ['c*'], max_body_bytes: 0"
    ),
}


@pytest.mark.parametrize("text", ACCEPTS.values(), ids=ACCEPTS)
def test_what_agrees_is_accepted_and_shown_as_a_configuration_again(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, text) == []
    shown = config_document(loaded(tmp_path, text))
    assert config_document(loaded(tmp_path, json.dumps(shown).replace("${", "$${"))) == shown


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_rules_of_every_case_are_a_configuration(tmp_path: Path, case: dict[str, Any]) -> None:
    tree = {
        "version": 1,
        "default": "old",
        "upstreams": {"old": {"endpoints": ["http://a:1"]}, "new": {"endpoints": ["http://b:1"]}},
        "seams": {"a": {"routes": [{"path": "/a"}], "extracted": "new", "shadow": {"compare": case["config"]}}},
    }
    block = the_shadow(tmp_path, json.dumps(tree))
    assert block.compare == case["config"]
    compile_rules(block.compare)
    assert list(Draft7Validator(COMPARE_SCHEMA).iter_errors(case["config"])) == []


# --- what has the wrong shape -----------------------------------------------------------------------------------------

SHAPES = [
    Rejects(
        SEAM.format("routes: [{path: /a}], extracted: new, shadow: ^true"),
        "FIG009",
        "`shadow` must be a mapping, not true: write for example {sample_percent: 10}",
    ),
    Rejects(
        shadow("^sample_percnt: 10"),
        "FIG006",
        "unknown key `sample_percnt` in `seams.a.shadow` (did you mean `sample_percent`?)",
    ),
    Rejects(shadow("sample_percent: ^100.5"), "FIG010", "`sample_percent` must be at most 100, not 100.5"),
    Rejects(shadow("control_percent: ^-1"), "FIG010", "`control_percent` must be at least 0, not -1"),
    Rejects(shadow("timeout_s: ^0"), "FIG010", "`timeout_s` must be more than 0, not 0"),
    Rejects(shadow("max_in_flight: ^0"), "FIG010", "`max_in_flight` must be at least 1, not 0"),
    Rejects(shadow("max_queue: ^0"), "FIG010", "`max_queue` must be at least 1, not 0"),
    Rejects(shadow("max_queue: ^1.5"), "FIG009", "`max_queue` must be a whole number, not 1.5"),
    Rejects(shadow("max_per_s: ^0"), "FIG010", "`max_per_s` must be more than 0, not 0"),
    Rejects(shadow("max_per_s: ^.inf"), "FIG009", "`max_per_s` must be a finite number, not inf"),
    Rejects(shadow("methods: ^GET"), "FIG009", "`methods` must be a list, not GET: write [GET]"),
    Rejects(
        shadow("credentials: ^dropp"),
        "FIG009",
        "`credentials` must be pass, drop or a mapping, not dropp (did you mean `drop`?)",
    ),
    Rejects(
        shadow("credentials: ^null"),
        "FIG009",
        "`credentials` must be pass, drop or a mapping, not null: write for example pass",
    ),
    Rejects(
        shadow("credentials: ^[authorization]"),
        "FIG009",
        "`credentials` must be pass, drop or a mapping, not [authorization]: write for example pass",
    ),
    Rejects(
        shadow("credentials: {x-api-key: ^true}"),
        "FIG009",
        '`x-api-key` must be a string, not true: write "true"',
    ),
    Rejects(
        shadow("^writes: {paths: [/a], acknowledge: true}"),
        "FIG008",
        "key `level` is missing: add for example `level: read_posts`",
    ),
    Rejects(
        shadow("^writes: {level: read_posts, acknowledge: true}"),
        "FIG008",
        "key `paths` is missing: add for example `paths: [/api/search]`",
    ),
    Rejects(
        shadow("writes: {level: ^sandbox, paths: [/a], acknowledge: true}"),
        "FIG010",
        "`level` must be read_posts, not sandbox",
    ),
    Rejects(posts("paths: ^[], acknowledge: true"), "FIG010", "`paths` must have at least one item, not []"),
    Rejects(posts("paths: [^1], acknowledge: true"), "FIG009", '`paths[0]` must be a string, not 1: write "1"'),
    Rejects(posts("paths: [/a], acknowledge: ^yes"), "FIG009", "`acknowledge` must be true or false, not yes"),
    Rejects(
        posts("paths: [/a], ^acknowledged: true"),
        "FIG006",
        "unknown key `acknowledged` in `seams.a.shadow.writes` (did you mean `acknowledge`?)",
    ),
    Rejects(
        shadow("compare: ^[ignore]"),
        "FIG009",
        "`compare` must be a mapping, not [ignore]: write for example {ignore: [$.request_id], unordered: {$.tags: "
        "true}}",
    ),
    Rejects(shadow("store_values: [^4]"), "FIG009", '`store_values[0]` must be a string, not 4: write "4"'),
    Rejects(shadow("epoch: ^2"), "FIG009", '`epoch` must be a string, not 2: write "2"'),
    *(
        Rejects(shadow(f"gate: {{{key}: ^{value}}}"), "FIG010", f"`{key}` must be {bound}, not {value}")
        for key, value, bound in (
            ("max_mismatch_percent", "0", "more than 0"),
            ("max_mismatch_percent", "25.1", "at most 25"),
            ("alpha", "0", "more than 0"),
            ("alpha", "1", "less than 1"),
            ("min_duration_s", "-1", "at least 0"),
            ("min_requests", "-1", "at least 0"),
            ("min_requests", "65", "at most 64"),
            ("min_controls", "-1", "at least 0"),
            ("max_uncounted_percent", "101", "at most 100"),
            ("expires_s", "0", "more than 0"),
        )
    ),
    Rejects(
        shadow("gate: {waive: [^{what: a, name: b}]}"),
        "FIG008",
        "key `reason` is missing: add for example `reason: no client calls it any more`",
    ),
    Rejects(
        shadow("gate: {waive: [{what: a, name: b, reason: c, ^til: d}]}"),
        "FIG006",
        "unknown key `til` in `seams.a.shadow.gate.waive[0]`: known are what, name, reason",
    ),
    Rejects(shadow("gate: {waive: [^a]}"), "FIG009", "`waive[0]` must be a mapping, not a"),
    Rejects(compare("ignore: [^'${MISSING}']"), "FIG011", "environment variable MISSING is not set: set it"),
]


@pytest.mark.parametrize("row", SHAPES, ids=lambda row: f"{row.code}-{row.message[:30]}")
def test_what_has_the_wrong_shape_is_refused_where_it_stands(tmp_path: Path, row: Rejects) -> None:
    ((*place, _), *others) = said(tmp_path, row.text.replace("^", ""))
    assert (place, others) == (list(row.expected("error")[:3]), [])


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_the_value_of_a_credential_is_shown_nowhere(tmp_path: Path) -> None:
    text = shadow("credentials: {Authorization: '${TOKEN}', X-Api-Key: hushed-as-well}")
    whole = loaded(tmp_path, text)
    shown = config_document(whole)
    assert shown["seams"]["a"]["shadow"]["credentials"] == {"Authorization": MASK, "X-Api-Key": MASK}
    assert "hush" not in json.dumps(shown)
    assert "hush" not in repr(whole)


def test_a_token_of_digits_stays_a_text(tmp_path: Path) -> None:
    keys = "routes: [{path: /b}]\n    extracted: new\n    shadow:\n      credentials:\n        x-api-key: ${DIGITS}\n"
    (tmp_path / "fig.yaml").write_text(f"{shadow('')}\n  b:\n    {keys}")
    found = load(tmp_path / "fig.yaml", ENVIRON, CHECKS).settings.seams["b"].shadow
    assert found is not None
    assert found.credentials == {"x-api-key": "123456"}


def test_a_rule_from_outside_is_shown_as_its_expression(tmp_path: Path) -> None:
    ((*_, message),) = said(tmp_path, compare("rewrite: [['${PATTERN}', b]]"))
    assert "hush" not in message
    assert "'${PATTERN}' is no value for it" in message


# --- what others rely on ----------------------------------------------------------------------------------------------


def test_the_keys_of_the_comparison_are_those_that_editors_know() -> None:
    assert tuple(COMPARE_KEYS) == KEYS
    assert all(part["description"] for part in COMPARE_KEYS.values())
    Draft7Validator.check_schema(COMPARE_SCHEMA)


def test_rules_are_plain_values_and_one_that_is_null_is_not_there(tmp_path: Path) -> None:
    block = the_shadow(tmp_path, compare("status_equivalent: [[200, 204]], datetime: [$.t], numeric: null"))
    assert block.compare == {"status_equivalent": [[200, 204]], "datetime": ["$.t"]}
    assert json.loads(json.dumps(block.compare)) == block.compare
    assert pickle.loads(pickle.dumps(block)) == block


def test_rules_take_part_in_the_digest(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        path = tmp_path / "fig.yaml"
        path.write_text(text)
        return load(path, ENVIRON, CHECKS).digest

    texts = [shadow(""), compare("ignore: [$.a]"), compare("ignore: [$.b]"), shadow("credentials: {a: b}")]
    texts += [shadow("credentials: {a: c}"), shadow("epoch: a")]
    assert len({digest(text) for text in texts}) == len(texts)


def test_the_gate_has_the_defaults_of_the_evidence() -> None:
    gate, policy = ShadowGate(), Policy()
    assert gate.max_mismatch_percent / 100 == policy.p0
    assert (gate.min_requests, gate.expires_s) == (policy.min_fingerprints, policy.expires_s)
    same = ("alpha", "min_duration_s", "min_controls", "max_uncounted_percent")
    assert [getattr(gate, key) for key in same] == [getattr(policy, key) for key in same]


@pytest.mark.parametrize(
    "text",
    [
        posts("paths: [/p], acknowledge: true", "{path: 4}, {path: /q, methods: [GET]}"),
        posts("paths: [/p], acknowledge: true", "{path: /p, methods: [4]}"),
        posts("paths: [4, /a], acknowledge: true"),
        shadow("methods: [4]"),
        shadow("", "{path: /a, methods: [4]}"),
        shadow("gate: {min_controls: x}, control_percent: 0"),
        shadow("gate: {waive: [{what: a, name: b, reason: c}, {what: 4, name: b, reason: c}]}"),
    ],
)
def test_what_only_follows_from_something_broken_is_left_out(tmp_path: Path, text: str) -> None:
    errors = [found for found in said(tmp_path, text) if found[1] == "error"]
    assert [code for _, _, code, _ in errors] == ["FIG009"]
    assert [code for _, _, code, _ in said(tmp_path, text) if code == "FIG217"] == []


def test_every_rule_that_is_broken_is_reported_once_beside_a_broken_route(tmp_path: Path) -> None:
    text = shadow("compare: {html: x, text: x}", "{path: x}")
    assert [code for _, _, code, _ in said(tmp_path, text)] == ["FIG301", "FIG247", "FIG247"]


def test_a_path_of_a_thousand_segments_is_read(tmp_path: Path) -> None:
    path = "/a" * 2000
    assert [code for _, _, code, _ in said(tmp_path, posts(f"paths: [{path}], acknowledge: true"))] == ["FIG243"]


_TEXT = st.text("ab$.*[]{}'\"\\(?+é ", max_size=6) | st.sampled_from(["$.a", "$..b", "strict", "NFC", "id", "compare"])
_NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBER | _TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$.a", "compare", "abs", "newlines", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300)
@given(rules=st.dictionaries(st.sampled_from(KEYS), _JSON, max_size=4))
def test_any_rules_are_compiled_or_refused(tmp_path_factory: pytest.TempPathFactory, rules: dict[str, Any]) -> None:
    base = "version: 1\ndefault: old\nupstreams: {old: {endpoints: ['http://a:1']}, new: {endpoints: ['http://b:1']}}\n"
    written = json.dumps({"compare": rules}, ensure_ascii=False).replace("${", "$${")
    path = tmp_path_factory.getbasetemp() / "rules.yaml"
    path.write_text(f"{base}seams: {{a: {{routes: [{{path: /a}}], extracted: new, shadow: {written}}}}}\n")
    try:
        block = load(path, {}, CHECKS).settings.seams["a"].shadow
    except ConfigError as error:
        assert {problem.code for problem in error.problems} == {"FIG247"}
        return
    assert block is not None
    compile_rules(block.compare)
