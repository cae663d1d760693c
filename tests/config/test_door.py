"""`auth`, `rate_limits`, `rate_limit`, `cors` and `access`, from the file to what is said about it.

In a text of a table `^` stands before the place at which a problem must point.
"""

from __future__ import annotations

import copy
import json
import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.admin.config_view import MASK, config_document
from proxy.config import door, key_files
from proxy.config.load import load
from proxy.config.model import Auth, RateLimits
from proxy.config.shape import MODELS
from proxy.errors import ConfigError
from proxy.loader import CHECKS
from tests.support.config_file import ConfigFile, Rejects

ENVIRON = {"HUSHED": "hushed-hushed", "REDIS": "redis://:hushed@10.0.0.9:6379/0", "NONE": "", "DIGITS": "123456"}
HASH, OTHER_HASH = sha256(b"a").hexdigest(), sha256(b"b").hexdigest()

HEAD = """\
version: 1
default: old
upstreams: {old: {endpoints: ["http://10.0.0.1:8000"]}}
"""
URL = "jwks_url: 'https://id.example/jwks.json'"
SHOP = f"issuer: https://id.example, audience: shop, {URL}"
KNOWN = f"""\
auth:
  issuers: {{shop: {{{SHOP}}}, staff: {{issuer: staff, audience: shop, {URL}}}}}
  api_keys: {{keys: {{partner: {{sha256: {HASH}, scopes: [read, list]}}, plain: {{sha256: {OTHER_HASH}}}}}}}
"""


def auth(keys: str) -> str:
    return f"{HEAD}auth: {{{keys}}}\n"


def issuer(keys: str) -> str:
    """One issuer with these keys in flow style."""
    return auth(f"issuers: {{shop: {{{keys}}}}}")


def more(keys: str) -> str:
    """A sound issuer and these keys."""
    return issuer(f"{SHOP}, {keys}")


def api_key(keys: str) -> str:
    return auth(f"api_keys: {{keys: {{partner: {{{keys}}}}}}}")


def store(keys: str) -> str:
    return f"{HEAD}rate_limits: {{{keys}}}\n"


def seams(text: str) -> str:
    return f"{HEAD}{KNOWN}seams: {{{text}}}\n"


def seam(keys: str, routes: str = "{path: /a}, {path: '/p/{id}'}") -> str:
    return seams(f"a: {{routes: [{routes}], {keys}}}")


def route(keys: str, of_seam: str = "owner: anna") -> str:
    return seam(of_seam, f"{{path: '/p/{{id}}', {keys}}}, {{path: /a}}")


def limit(keys: str) -> str:
    return seam(f"rate_limit: [{{{keys}}}]")


def cors(keys: str) -> str:
    return seam(f"cors: {{{keys}}}")


def access(keys: str) -> str:
    return seam(f"access: {{{keys}}}")


_file = ConfigFile(ENVIRON, CHECKS)
problems, loaded, said = _file.problems, _file.loaded, _file.said


# --- issuers ----------------------------------------------------------------------------------------------------------

KNOWN_ALGORITHMS = (
    "known are RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519, HS256, HS384, HS512"
)
ISSUERS = [
    Rejects(
        auth(f"issuers: {{^'a b': {{{SHOP}}}}}"),
        "FIG201",
        "`a b` is no name of an issuer: 1 to 63 letters, digits, dots, - and _, the first a letter or digit",
    ),
    Rejects(
        auth("issuers: {^shop: {issuer: a, audience: b}}"),
        "FIG141",
        "the issuer has no keys: write one of `jwks_url`, `jwks_file` and `key_file`",
    ),
    Rejects(
        issuer(f"issuer: a, audience: b, {URL}, ^key_file: rsa.pem"),
        "FIG141",
        "`jwks_url` and `key_file` both say where its keys are: keep one",
    ),
    Rejects(
        issuer("issuer: a, audience: b, jwks_file: ^''"), "FIG141", "`jwks_file` is empty: name a file, or remove it"
    ),
    *(
        Rejects(
            issuer(f"issuer: a, audience: b, key_file: rsa.pem, ^{key}: 20"),
            "FIG141",
            f"`{key}` has no meaning for `key_file`, which is read again when it changes: remove it",
        )
        for key in ("refresh_s", "timeout_s", "cooldown_s", "stale_s")
    ),
    *(
        Rejects(
            more(f"algorithms: [RS256, ^{name}]"), "FIG142", f"`{name}` takes tokens that nobody has signed: remove it"
        )
        for name in ("none", "None", "NONE")
    ),
    Rejects(
        more("algorithms: [^RS265]"),
        "FIG142",
        f"unknown algorithm `RS265` (did you mean `RS256`?): {KNOWN_ALGORITHMS}",
    ),
    Rejects(more("algorithms: [^'A+1']"), "FIG142", f"unknown algorithm `A+1`: {KNOWN_ALGORITHMS}"),
    Rejects(more("algorithms: [RS256, ES256, ^RS256]"), "FIG142", "`RS256` stands here twice: remove one"),
    *(
        Rejects(
            more(f"algorithms: [{names}]"),
            "FIG142",
            "`HS256` takes a shared secret and `RS256` a public key, which anyone could use as that secret: make two "
            "issuers of them",
        )
        for names in ("RS256, ^HS256", "HS256, ^RS256", "HS256, HS384, ^RS256, ES256")
    ),
    Rejects(
        issuer("issuer: a, audience: b, ^jwks_url: 'https://id.example/', algorithms: [HS256]"),
        "FIG142",
        "the shared secret of `HS256` would be published there: keep it in a `jwks_file`, as a key of type oct",
    ),
    Rejects(
        issuer("issuer: a, audience: b, ^key_file: rsa.pem, algorithms: [HS256]"),
        "FIG142",
        "the shared secret of `HS256` is no public key: keep it in a `jwks_file`, as a key of type oct",
    ),
    Rejects(
        issuer("issuer: a, audience: b, jwks_url: ^'http://id.example/jwks'"),
        "FIG143",
        "`jwks_url` is http:// beyond loopback, where anyone on the way can put in keys: write https://",
    ),
    Rejects(
        issuer("issuer: a, audience: b, jwks_url: ^'id.example/jwks'"),
        "FIG143",
        "`jwks_url` must start with http:// or https://",
    ),
    Rejects(
        issuer("issuer: a, audience: b, jwks_url: ^'https://u:hushed@id.example/'"),
        "FIG143",
        "`jwks_url` has a user or password, which is refused: leave them out",
    ),
    Rejects(
        issuer("issuer: a, audience: b, jwks_url: ^'http://127.0.0.1.id.example/jwks'"),
        "FIG143",
        "`jwks_url` is http:// beyond loopback, where anyone on the way can put in keys: write https://",
    ),
    *(
        Rejects(
            more(f"refresh_s: 5, {rest}"),
            "FIG144",
            f"`{key}` 6 is longer than `refresh_s` 5, after which the next fetch is due: lower it",
        )
        for key, rest in (("timeout_s", "timeout_s: ^6, cooldown_s: 5"), ("cooldown_s", "cooldown_s: ^6"))
    ),
    Rejects(
        issuer(f"issuer: ^' ', audience: b, {URL}"),
        "FIG145",
        "`issuer` is empty: write the value that its tokens have",
    ),
    Rejects(more("scope_claim: ^''"), "FIG145", "`scope_claim` is empty: write the value that its tokens have"),
    Rejects(
        issuer(f"issuer: a, audience: [b, ^''], {URL}"),
        "FIG145",
        "`audience` is empty, and no token is meant for nobody: name this gateway",
    ),
    Rejects(issuer(f"issuer: a, audience: [b, ^b], {URL}"), "FIG145", "`b` stands here twice: remove one"),
    Rejects(
        auth(f"issuers: {{shop: {{{SHOP}}}, again: {{issuer: ^'https://id.example', audience: [x, shop], {URL}}}}}"),
        "FIG145",
        "issuers `shop` and `again` have one `issuer`, and audience `shop` both: a token could be of either; keep one "
        "of them",
    ),
    Rejects(
        more("^jwks_uri: https://id.example"),
        "FIG006",
        "unknown key `jwks_uri` in `auth.issuers.shop` (did you mean `jwks_url`?)",
    ),
]

# --- headers and API keys ---------------------------------------------------------------------------------------------


def _taken(name: str, example: str) -> str:
    return f"`{name}` says something else, or is written by fig itself: write for example {example}"


HEADERS = [
    *(
        Rejects(auth(f"identity: {{subject: ^{name}}}"), "FIG147", _taken(name, "x-user-id"))
        for name in (
            *("Connection", "te", "keep-alive", "Transfer-Encoding", "content-length", "upgrade", "trailer"),
            *("proxy-authorization", "Host", "X-Fig-User", "x-fig_user", "x-forwarded-user", "forwarded", "cookie"),
            *("authorization", "x-request-id", "content-type", "via", "x-real-ip", "traceparent"),
        )
    ),
    Rejects(auth("identity: {scopes: ^expect}"), "FIG147", _taken("expect", "x-user-scopes")),
    Rejects(auth("api_keys: {header: ^Authorization}"), "FIG147", _taken("Authorization", "x-api-key")),
    Rejects(
        auth("identity: {subject: ^x_user_id}"),
        "FIG147",
        "`x_user_id` reads as `x-user-id` to many servers, so fig drops names with _: write x-user-id",
    ),
    Rejects(
        auth("identity: {subject: ^'x user'}"),
        "FIG147",
        "`x user` is not a header name: write a token such as x-api-version",
    ),
    Rejects(
        auth("identity: {subject: X-User, scopes: ^x-user}"),
        "FIG147",
        "`x-user` is also `auth.identity.subject`: give each its own header",
    ),
    Rejects(
        auth("identity: {subject: ^X-Api-Key}"),
        "FIG147",
        "`X-Api-Key` is also `auth.api_keys.header`: give each its own header",
    ),
]
LOOKS_LIKE_A_KEY = (
    "`sha256` looks like the key itself, which must stand in no file: write its hash (`fig key new` prints both), and "
    "if it was in use make a new key"
)
API_KEYS = [
    Rejects(
        auth(f"api_keys: {{keys: {{^-a: {{sha256: {HASH}}}}}}}"),
        "FIG201",
        "`-a` is no name of an API key: 1 to 63 letters, digits, dots, - and _, the first a letter or digit",
    ),
    *(
        Rejects(api_key(f"sha256: ^'{text}'"), "FIG148", LOOKS_LIKE_A_KEY)
        for text in ("fig_hushed", "", f"{HASH} ", f"{HASH[:-1]}g", "${HUSHED}", "${NONE}", "…")
    ),
    *(
        Rejects(
            api_key(f"sha256: ^'{text}'"),
            "FIG148",
            f"`sha256` has {len(text)} hex digits, a SHA-256 hash has 64: take it from `fig key new`",
        )
        for text in (HASH[:-1], f"{HASH}0", "deadbeef")
    ),
    *(
        Rejects(
            api_key(f"sha256: ^'{before}{HASH}'"),
            "FIG148",
            "`sha256` is the hash alone: leave what stands before its 64 hex digits out",
        )
        for before in ("sha256:", "SHA-256=", "sha256-")
    ),
    Rejects(
        api_key(f"sha256: ^{sha256().hexdigest()}"),
        "FIG148",
        "`sha256` is the hash of nothing: make a key and its hash with `fig key new`",
    ),
    Rejects(
        auth(f"api_keys: {{keys: {{a: {{sha256: {HASH}}}, b: {{sha256: ^{HASH.upper()}}}}}}}"),
        "FIG148",
        "`sha256` is also that of `a`, and nobody could tell the two apart: make one of them anew",
    ),
    *(
        Rejects(
            api_key(f"sha256: {HASH}, scopes: [a, ^{json.dumps(text)}]"),
            "FIG151",
            f'`{shown}` is not a scope: one or more visible ASCII characters, without " and \\',
        )
        for text, shown in (("", ""), ('a"', 'a"'), ("a\\", "a\\"), ("ä", "ä"), (" a", " a"), ("a\x7f", "a\\x7f"))
    ),
    Rejects(
        api_key(f"sha256: {HASH}, scopes: [^'read list']"),
        "FIG151",
        "`read list` is several scopes: write [read, list]",
    ),
    Rejects(api_key(f"sha256: {HASH}, scopes: [a, ^a]"), "FIG151", "`a` stands here twice: remove one"),
    Rejects(
        api_key(f"sha256: {HASH}, rate_limit: [{{name: ^'', requests: 1, window_s: 1}}]"),
        "FIG261",
        "`` is no name of a limit: 1 to 63 letters, digits, dots, - and _, the first a letter or digit",
    ),
    Rejects(
        api_key(f"sha256: {HASH}, rate_limit: [{{name: a, requests: 1, window_s: 1, ^by: api_key}}]"),
        "FIG006",
        "unknown key `by` in `auth.api_keys.keys.partner.rate_limit[0]`: known are name, requests, window_s, burst, "
        "mode",
    ),
]

# --- who may come in where --------------------------------------------------------------------------------------------

RULES = [
    Rejects(seam("^auth: {}"), "FIG252", "`auth` names nobody who may come in: write `issuers`, `api_keys` or both"),
    Rejects(
        route("^auth: {issuers: [], all_scopes: [a]}"),
        "FIG252",
        "`auth` names nobody who may come in: write `issuers`, `api_keys` or both",
    ),
    Rejects(seam("auth: {issuers: [^shopp]}"), "FIG251", "unknown issuer `shopp` (did you mean `shop`?)"),
    Rejects(seam("auth: {issuers: [shop, ^xyz]}"), "FIG251", "unknown issuer `xyz`: add it to `auth.issuers`"),
    Rejects(route("auth: {api_keys: [^partners]}"), "FIG251", "unknown API key `partners` (did you mean `partner`?)"),
    Rejects(seam("auth: {api_keys: [^xyz]}"), "FIG251", "unknown API key `xyz`: add it to `auth.api_keys.keys`"),
    Rejects(seam("auth: {issuers: [shop, ^shop]}"), "FIG251", "`shop` stands here twice: remove one"),
    Rejects(seam("auth: {issuers: [shop], all_scopes: [^'a b']}"), "FIG151", "`a b` is several scopes: write [a, b]"),
    Rejects(seam("auth: {issuers: [shop], any_scope: [a, ^a]}"), "FIG151", "`a` stands here twice: remove one"),
    Rejects(
        seam("auth: {issuers: [shop], ^scopes: [a]}"),
        "FIG006",
        "unknown key `scopes` in `seams.a.auth` (did you mean `all_scopes`?)",
    ),
]

# --- rate limits ------------------------------------------------------------------------------------------------------

KINDS = "known are jwt.CLAIM, api_key, header.NAME, cookie.NAME, path.NAME, client_ip, route"
LIMITS = [
    *(
        Rejects(
            limit(f"name: ^'{name}', requests: 1, window_s: 1"),
            "FIG261",
            f"`{name}` is no name of a limit: 1 to 63 letters, digits, dots, - and _, the first a letter or digit",
        )
        for name in ("", "a b", 'a"', "a" * 64)
    ),
    Rejects(
        seam("rate_limit: [{name: a, requests: 1, window_s: 1}, {name: ^a, requests: 2, window_s: 2}]"),
        "FIG261",
        "two limits are named `a` here: choose another name",
    ),
    Rejects(
        route("rate_limit: [{name: a, requests: 0, window_s: 1, burst: ^5}]"),
        "FIG261",
        "`burst` 5 never comes back with `requests: 0`: remove it, or raise `requests`",
    ),
    Rejects(
        limit("name: a, requests: 5, window_s: 1, burst: ^0"),
        "FIG261",
        "`burst: 0` lets nobody in: write at least 1, or `requests: 0` if that is meant",
    ),
    Rejects(
        limit("name: a, requests: ^1000001, window_s: 1"),
        "FIG261",
        "1000001 requests in 1 s are more than 1000000 a second, beyond what fig measures: remove the limit",
    ),
    Rejects(
        limit("name: a, requests: 10, window_s: 86400, burst: ^311"),
        "FIG261",
        "`burst` 311 takes 31 days to come back, and buckets are kept for 31: write at most 310",
    ),
    Rejects(
        limit("name: a, requests: 1, window_s: 1, by: ^client-ip"),
        "FIG212",
        f"`client-ip` is not a selector (did you mean `client_ip`?): {KINDS}",
    ),
    Rejects(
        limit("name: a, requests: 1, window_s: 1, by: ^routes"),
        "FIG212",
        f"`routes` is not a selector (did you mean `route`?): {KINDS}",
    ),
    Rejects(
        limit("name: a, requests: 1, window_s: 1, by: ^path.idd"),
        "FIG212",
        "`path.idd`: no route of this seam has a segment {idd} (did you mean `id`?)",
    ),
    Rejects(
        seam(
            "owner: anna",
            "{path: /a, rate_limit: [{name: a, requests: 1, window_s: 1, by: ^path.id}]}, {path: '/{id}'}",
        ),
        "FIG212",
        "`path.id`: no route of this seam has a segment {id}",
    ),
]
STORES = [
    Rejects(
        store("store: ^sqlite:x"),
        "FIG152",
        "`sqlite:x` keeps no rate limits: write memory, redis://HOST:6379/0 or rediss:// for TLS",
    ),
    Rejects(
        store("store: ^rediz://10.0.0.9"),
        "FIG152",
        "`rediz://10.0.0.9` keeps no rate limits (did you mean `redis`?): write memory, redis://HOST:6379/0 or "
        "rediss:// for TLS",
    ),
    Rejects(
        store("store: ^'rediz://:hushed@10.0.0.9'"),
        "FIG152",
        "`store` keeps no rate limits: write memory, redis://HOST:6379/0 or rediss:// for TLS",
    ),
    *(
        Rejects(store(f"store: ^'redis://{rest}'"), "FIG152", f"`store` {message}")
        for rest, message in (
            ("", "needs a host, and a port from 1 to 65535 if any: write redis://HOST:6379/0"),
            (":6379", "needs a host, and a port from 1 to 65535 if any: write redis://HOST:6379/0"),
            ("h:0", "needs a host, and a port from 1 to 65535 if any: write redis://HOST:6379/0"),
            ("[::1:6379", "needs a host, and a port from 1 to 65535 if any: write redis://HOST:6379/0"),
            ("h/x", "ends in the number of a database: write redis://HOST:6379/0, and / as %2F in a password"),
            ("h/0?ssl_cert_reqs=none", "has a query: leave out ? and #, and write them as %3F and %23 in a password"),
            ("h h", "holds spaces, control or non-ASCII characters: write them as %XX"),
        )
    ),
]

# --- CORS and networks ------------------------------------------------------------------------------------------------


def _no_origin(text: str, cure: str = "SCHEME://HOST or SCHEME://HOST:PORT") -> str:
    return f"`{text}` is not an origin as browsers send it: write {cure}"


CORS = [
    *(
        Rejects(cors(f"allow_origins: [^'{text}']"), "FIG271", message)
        for text, message in (
            ("https://shop.example/", _no_origin("https://shop.example/", "https://shop.example")),
            ("https://Shop.example", _no_origin("https://Shop.example", "https://shop.example")),
            ("https://shop.example/x", _no_origin("https://shop.example/x")),
            ("shop.example", _no_origin("shop.example")),
            ("", _no_origin("")),
            ("https://a..b", _no_origin("https://a..b")),
            ("https://a:99999", _no_origin("https://a:99999")),
            ("https://u@shop.example", _no_origin("https://u@shop.example")),
            ("https://shop.example:443", "browsers leave the default port out: write https://shop.example"),
            ("http://[::1]:80", "browsers leave the default port out: write http://[::1]"),
            ("https://*.example", "`https://*.example` is a pattern: name each origin, or write * alone for all"),
            ("null", "`null` is the origin of any sandboxed page, also of an attacker's: name the real origin"),
        )
    ),
    Rejects(
        cors("allow_origins: ['https://a.example', ^'https://a.example']"),
        "FIG271",
        "`https://a.example` stands here twice: remove one",
    ),
    Rejects(
        cors("allow_origins: ['https://a.example', ^'*']"),
        "FIG271",
        "`*` is everything already: write it alone, or leave it out",
    ),
    *(
        Rejects(
            cors(f"allow_credentials: true, {text}"),
            "FIG272",
            f"`*` in `{key}` stands for nothing where `allow_credentials` is true: name each",
        )
        for key, text in (
            ("allow_origins", "allow_origins: [^'*']"),
            ("allow_methods", "allow_origins: ['https://a.example'], allow_methods: [^'*']"),
            ("allow_headers", "allow_origins: ['https://a.example'], allow_headers: [^'*']"),
            ("expose_headers", "allow_origins: ['https://a.example'], expose_headers: [^'*']"),
        )
    ),
    *(
        Rejects(cors(f"allow_origins: ['*'], {text}"), "FIG273", message)
        for text, message in (
            ("allow_methods: [^get]", "`get` would never match, for methods are case-sensitive: write GET"),
            ("allow_methods: [GET, ^'G T']", "`G T` is not a method: write a token such as GET"),
            ("allow_methods: [^TRACE]", "no page may use `TRACE`: remove it"),
            ("allow_methods: [GET, ^'*']", "`*` is everything already: write it alone, or leave it out"),
            ("allow_methods: [GET, ^GET]", "`GET` stands here twice: remove one"),
            ("allow_headers: [^'x y']", "`x y` is not a header name: write a token such as x-api-version"),
            ("allow_headers: [X-A, ^x-a]", "`x-a` stands here twice: remove one"),
            ("expose_headers: [^Set-Cookie]", "no page may read `Set-Cookie`: remove it"),
            ("expose_headers: [^'']", "`` is not a header name: write a token such as x-api-version"),
        )
    ),
]
ACCESS = [
    Rejects(
        seam("^access: {}"),
        "FIG281",
        "`access` names no network, and everybody comes in: write `allow` or `deny`, or remove it",
    ),
    Rejects(
        access("allow: [^10.0.0.1/8]"),
        "FIG105",
        "`10.0.0.1/8` is not a network: it has bits set behind the prefix; write 10.0.0.0/8",
    ),
    Rejects(
        access("deny: [^shop.example]"),
        "FIG105",
        "`shop.example` is not a network: write ADDRESS/BITS, for example 10.0.0.0/8",
    ),
    Rejects(access("deny: [10.0.0.0/8, ^10.0.0.0/8]"), "FIG105", "`10.0.0.0/8` stands here twice: remove one"),
    Rejects(
        route("access: {allow: [10.0.0.0/8, ^192.168.1.0/24], deny: [192.168.0.0/16]}"),
        "FIG281",
        "`192.168.1.0/24` never comes in, for `deny` wins and has `192.168.0.0/16`: remove one of them",
    ),
    Rejects(
        access("allow: [^'::/0'], deny: ['::/0']"),
        "FIG281",
        "`::/0` never comes in, for `deny` wins and has `::/0`: remove one of them",
    ),
]

BRIDGES = [
    Rejects(
        auth(f"issuers: {{^session: {{{SHOP}}}}}"),
        "FIG201",
        "`session` is what identity tokens call another kind of credential: choose another name",
    ),
    Rejects(
        auth("identity: {token: {issuer: ^' ', audience: shop}}"),
        "FIG145",
        "`issuer` is empty: write the value that upstreams look for",
    ),
    Rejects(
        auth("identity: {token: {issuer: fig, audience: shop, public_path: ^'/keys?all'}}"),
        "FIG149",
        "`public_path` '/keys?all' is no plain path: write / and then letters, digits, /, ., - and _, without a query",
    ),
    Rejects(
        auth("identity: {subject: x-who, token: {issuer: fig, audience: shop, header: ^x-who}}"),
        "FIG147",
        "`x-who` is also `auth.identity.subject`: give each its own header",
    ),
    Rejects(
        auth("session: {cookie: ^'a b', upstream: old}"),
        "FIG149",
        "`a b` is no name of a cookie: write for example SID",
    ),
    Rejects(
        auth("session: {cookie: SID, upstream: ^oldd}"),
        "FIG115",
        "unknown upstream `oldd` (did you mean `old`?)",
    ),
    Rejects(
        auth("session: {cookie: SID, upstream: old, path: ^introspect}"),
        "FIG149",
        "`path` 'introspect' is no plain path: write / and then letters, digits, /, ., - and _, without a query",
    ),
    Rejects(
        auth('session: {cookie: SID, upstream: old, token: ^"a b"}'),
        "FIG149",
        "`token` has characters that no header field carries: make another one",
    ),
    Rejects(
        seam("auth: {session: ^true}"),
        "FIG251",
        "`session: true` without `auth.session`, which says where sessions are known: add it, or remove this",
    ),
]

REFUSED = [*ISSUERS, *HEADERS, *API_KEYS, *RULES, *LIMITS, *STORES, *CORS, *ACCESS, *BRIDGES]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With files of keys."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: f"{row.code}-{row.message[:30]}")
def test_what_cannot_be_is_refused_where_it_stands(folder: Path, row: Rejects) -> None:
    assert said(folder, row.text.replace("^", "")) == [row.expected("error")]


# --- warnings ---------------------------------------------------------------------------------------------------------

OPEN_AND_GUARDED = (
    "is open here and needs `auth` in seams.b.routes[0]: a client chooses headers, query and host, so it can choose "
    "this one; give both the same `auth`"
)
GUARDED = "auth: {issuers: [shop]}"


def beside(open_route: str, guarded: str) -> str:
    return seams(f"a: {{routes: [{open_route}]}}, b: {{routes: [{guarded}], {GUARDED}}}")


WARNED = [
    Rejects(
        seam("sticky_by: [^jwt.sub, client_ip]"),
        "FIG213",
        "`jwt.sub` is never there: there is no `auth` here: remove it, or add `auth`",
    ),
    Rejects(
        seam("sticky_by: [^api_key]"),
        "FIG213",
        "`api_key` is never there: there is no `auth` here: remove it, or add `auth`",
    ),
    Rejects(
        seam("sticky_by: [^jwt.sub], auth: {api_keys: [partner]}"),
        "FIG213",
        "`jwt.sub` is never there: `auth` here names no `issuers`: remove it, or add `auth`",
    ),
    Rejects(
        seam("sticky_by: [^api_key], auth: {issuers: [shop]}"),
        "FIG213",
        "`api_key` is never there: `auth` here names no `api_keys`: remove it, or add `auth`",
    ),
    Rejects(
        limit("name: a, requests: 1, window_s: 1, by: ^jwt.sub"),
        "FIG213",
        "`jwt.sub` is never there: there is no `auth` here, so this limit counts by client_ip",
    ),
    Rejects(
        route("rate_limit: [{name: a, requests: 1, window_s: 1, by: ^api_key}], auth: {issuers: [shop]}"),
        "FIG213",
        "`api_key` is never there: `auth` here names no `api_keys`, so this limit counts by client_ip",
    ),
    Rejects(
        seam(
            "rate_limit: [{name: a, requests: 1, window_s: 1, by: ^jwt.sub}]",
            "{path: /a}, {path: /b, auth: {issuers: [shop]}, rate_limit: []}",
        ),
        "FIG213",
        "`jwt.sub` is never there: there is no `auth` here, so this limit counts by client_ip",
    ),
    Rejects(
        seam("auth: {issuers: [shop], all_scopes: [a, b], any_scope: [c, ^b]}"),
        "FIG217",
        "`b` is in `all_scopes` too, so `any_scope` asks for nothing more: remove one of them",
    ),
    *(
        Rejects(
            seam(f"^{key}: {value}", f"{{path: /a, {key}: {value}}}"),
            "FIG217",
            f"every route has its own `{key}`, so that of the seam has no effect: remove it",
        )
        for key, value in (
            ("auth", "{issuers: [shop]}"),
            ("rate_limit", "[{name: a, requests: 1, window_s: 1}]"),
            ("access", "{deny: [10.0.0.0/8]}"),
        )
    ),
    *(
        Rejects(
            store(f"^{key}: {value}"),
            "FIG217",
            f"`{key}` concerns Redis, and `store` is not there: remove it, or write `store: redis://HOST:6379/0`",
        )
        for key, value in (("timeout_s", "1"), ("on_error", "deny"))
    ),
    Rejects(
        access("allow: [10.0.0.0/8], deny: [10.1.0.0/16, ^192.168.0.0/16]"),
        "FIG217",
        "`192.168.0.0/16` is in no network of `allow`, so it is kept out anyway: remove it",
    ),
    *(
        Rejects(
            store(f"store: ^'{url}'"),
            "FIG153",
            "the password of `store` stands here in clear text: write ${file:/run/secrets/redis} in its place",
        )
        for url in (
            "redis://:hushed@10.0.0.9",
            "rediss://anna:hushed@10.0.0.9:6379/1",
            "redis://:hushed@${HOST:-10.0.0.9}",
        )
    ),
    Rejects(
        seam("auth: {issuers: [shop], api_keys: [partner, ^plain], all_scopes: [read]}"),
        "FIG253",
        "API key `plain` is always refused here (403), for it has no scope `read`: give it that, or remove it",
    ),
    Rejects(
        route("auth: {api_keys: [^partner], any_scope: [write, admin]}"),
        "FIG253",
        "API key `partner` is always refused here (403), for it has no scope `write` or `admin`: give it that, or "
        "remove it",
    ),
    Rejects(
        seam(
            "auth: {issuers: [shop], mode: ^observe}", "{path: /a}, {path: /b, auth: {issuers: [shop], mode: observe}}"
        ),
        "FIG254",
        "every `auth` has `mode: observe`: nobody is refused until one says enforce",
    ),
    Rejects(
        limit("name: a, requests: 0, window_s: 1, mode: ^observe"),
        "FIG254",
        "every `rate_limit` has `mode: observe`: nobody is refused until one says enforce",
    ),
    Rejects(
        api_key(f"sha256: {HASH}, rate_limit: [{{name: a, requests: 5, window_s: 1, mode: ^observe}}]"),
        "FIG254",
        "every `rate_limit` has `mode: observe`: nobody is refused until one says enforce",
    ),
    *(
        Rejects(beside(open_route, guarded), "FIG255", f"`{path}` {OPEN_AND_GUARDED}")
        for path, open_route, guarded in (
            ("/a", "{path: ^/a}", "{path: /a, headers: {x-v: '2'}}"),
            ("/a", "{path: ^/a, headers: {x-open: '1'}}", "{path: /a}"),
            ("/a", "{path: ^/a, query: {q: ''}, methods: [GET]}", "{path: /a, methods: [POST, GET]}"),
            ("/a/{x}/**", "{path: ^'/a/{x}/**', host: shop.example}", "{path: '/a/{y}/**'}"),
            ("/a/*", "{path: ^'/a/*', headers: {x: y}, host: A.example}", "{path: '/a/{y}', host: a.example}"),
        )
    ),
    Rejects(
        limit("name: a, requests: ^0, window_s: 1"),
        "FIG262",
        "`requests: 0` blocks everything that this limit counts (429)",
    ),
]


@pytest.mark.parametrize("row", WARNED, ids=lambda row: f"{row.code}-{row.message[:30]}")
def test_what_leaves_it_usable_is_a_warning(folder: Path, row: Rejects) -> None:
    assert said(folder, row.text.replace("^", "")) == [row.expected("warning")]


# --- files of keys ----------------------------------------------------------------------------------------------------


def _public(key: Any, form: serialization.PublicFormat = serialization.PublicFormat.SubjectPublicKeyInfo) -> str:
    pem: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return pem.decode()


def _private(key: Any) -> str:
    form, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, form, secret)
    return pem.decode()


def _set(*keys: Any) -> str:
    return json.dumps({"keys": keys, "more": 1})


def _secret(size: int) -> dict[str, Any]:
    return {"kty": "oct", "k": urlsafe_b64encode(b"k" * size).decode().rstrip("=")}


RSA_KEY = rsa.generate_private_key(65537, 2048)
RSA = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
EC = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
FILES = {
    "rsa.pem": _public(RSA_KEY),
    "pkcs1.pem": _public(RSA_KEY, serialization.PublicFormat.PKCS1),
    "p256.pem": f"text before\n{_public(ec.generate_private_key(ec.SECP256R1()))}",
    "p384.pem": _public(ec.generate_private_key(ec.SECP384R1())),
    "p521.pem": _public(ec.generate_private_key(ec.SECP521R1())),
    "k256.pem": _public(ec.generate_private_key(ec.SECP256K1())),
    "ed25519.pem": _public(ed25519.Ed25519PrivateKey.generate()),
    "ed448.pem": _public(ed448.Ed448PrivateKey.generate()),
    "private.pem": _private(RSA_KEY),
    "both.pem": _public(RSA_KEY) + _private(RSA_KEY),
    "two.pem": _public(RSA_KEY) * 2,
    "certificate.pem": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
    "torn.pem": "-----BEGIN PUBLIC KEY-----\nAAA\n-----END PUBLIC KEY-----\n",
    "cut.pem": _public(RSA_KEY)[:200],
    "none.pem": "\x00",
    "rsa.json": _set({"kty": "oct", "k": "AA"}, 4, {**RSA, "use": "sig", "kid": "ä", "key_ops": ["verify"]}),
    "ec.json": _set({**EC, "alg": "ES256"}),
    "ed.json": _set({"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
    "secret.json": _set(_secret(32)),
    "long.json": _set(_secret(64)),
    "pss.json": _set({**RSA, "alg": "PS256"}),
    "enc.json": _set({**RSA, "use": "enc"}, {**RSA, "key_ops": ["encrypt"]}, {**RSA, "key_ops": "verify"}),
    "odd.json": _set({"kty": "RSA", "n": 1, "e": "AQAB"}, {**EC, "crv": "RSA"}, {**EC, "crv": ["P-256"]}, {"kty": []}),
    "empty.json": _set(),
    "list.json": "[]",
    "map.json": '{"keys": {}}',
    "html.json": "<html>",
    "deep.json": "[" * 100_000,
    "long_number.json": f'{{"keys": {"1" * 5000}}}',
}


def key_file(name: str, algorithms: str = "RS256, ES256") -> str:
    key = "jwks_file" if name.endswith(".json") else "key_file"
    return issuer(f"issuer: a, audience: b, {key}: ^{name}, algorithms: [{algorithms}]")


PRIVATE = "holds a private key, which only the issuer may have: write its public key there, and make it a new one"
NO_SET = 'is no key set: write {"keys": [...]}'
NO_JSON = 'is no JSON: write a key set, {"keys": [...]}'
IN_FILES = [
    ("FIG121", "missing.pem", "RS256", "cannot read {}: No such file or directory"),
    ("FIG121", "missing.json", "RS256", "cannot read {}: No such file or directory"),
    ("FIG121", ".", "RS256", "cannot read {}: not a regular file"),
    ("FIG146", "private.pem", "RS256", "{} " + PRIVATE),
    ("FIG146", "both.pem", "RS256", "{} " + PRIVATE),
    ("FIG146", "two.pem", "RS256", "{} holds 2 public keys: put them into a `jwks_file`, where each has a kid"),
    (
        "FIG146",
        "certificate.pem",
        "RS256",
        "{} holds a certificate: take the key out of it with `openssl x509 -pubkey -noout`",
    ),
    *(
        ("FIG146", name, "RS256", "{} holds no public key in PEM: it begins -----BEGIN PUBLIC KEY-----")
        for name in ("none.pem", "cut.pem")
    ),
    *(
        (
            "FIG146",
            name,
            "RS256",
            "{} holds no key that any algorithm uses: RSA, P-256, P-384, P-521 or Ed25519",
        )
        for name in ("torn.pem", "k256.pem", "ed448.pem")
    ),
    (
        "FIG146",
        "rsa.pem",
        "ES256, EdDSA",
        "{} holds a key of kind RSA, for RS256 RS384 RS512 PS256 PS384 PS512, and `algorithms` are ES256, EdDSA: "
        "change one",
    ),
    (
        "FIG146",
        "p384.pem",
        "RS256, ES256",
        "{} holds a key of kind P-384, for ES384, and `algorithms` are RS256, ES256: change one",
    ),
    *(("FIG146", name, "RS256", "{} " + NO_JSON) for name in ("html.json", "deep.json", "long_number.json")),
    *(("FIG146", name, "RS256", "{} " + NO_SET) for name in ("list.json", "map.json")),
    *(
        (
            "FIG146",
            name,
            algorithms,
            f"{{}} has no key for {algorithms.replace(', ', ' or ')} among its {count}: see their `kty`, `crv`, `alg`, "
            "`use` and `key_ops`",
        )
        for name, algorithms, count in (
            ("empty.json", "RS256", 0),
            ("enc.json", "RS256", 3),
            ("pss.json", "RS256", 1),
            ("odd.json", "RS256, ES256, PS256, ES384, EdDSA", 4),
            ("rsa.json", "ES256", 3),
            ("secret.json", "RS256", 1),
            ("secret.json", "HS384, HS512", 1),
        )
    ),
]


@pytest.mark.parametrize(("code", "name", "algorithms", "message"), IN_FILES, ids=[f"{x[1]}-{x[2]}" for x in IN_FILES])
def test_a_file_of_keys_holds_one_for_the_algorithms(
    folder: Path, code: str, name: str, algorithms: str, message: str
) -> None:
    row = Rejects(key_file(name, algorithms), code, message.replace("{}", str(folder / name), 1))
    assert said(folder, row.text.replace("^", "")) == [row.expected("error")]


@pytest.mark.parametrize(
    ("name", "algorithms"),
    [
        ("rsa.pem", "RS256"),
        ("rsa.pem", "ES256, PS512"),
        ("pkcs1.pem", "RS384"),
        ("p256.pem", "RS256, ES256"),
        ("p384.pem", "ES384"),
        ("p521.pem", "ES512"),
        ("ed25519.pem", "EdDSA"),
        ("ed25519.pem", "Ed25519"),
        ("rsa.json", "RS256"),
        ("ec.json", "ES256"),
        ("ed.json", "EdDSA"),
        ("pss.json", "PS256, RS256"),
        ("secret.json", "HS256"),
        ("long.json", "HS256, HS384, HS512"),
    ],
)
def test_a_file_of_keys_that_fits_is_taken_whole(folder: Path, name: str, algorithms: str) -> None:
    (folder / "fig.yaml").write_text(key_file(name, algorithms).replace("^", ""))
    whole = load(folder / "fig.yaml", ENVIRON, CHECKS)
    shop = whole.settings.auth.issuers["shop"]
    assert whole.warnings == ()
    assert (shop.jwks_file or shop.key_file) == str(folder / name)
    assert folder / name in whole.files


def test_a_file_of_keys_that_is_missing_is_watched_all_the_same(folder: Path) -> None:
    (folder / "fig.yaml").write_text(key_file("missing.pem").replace("^", ""))
    with pytest.raises(ConfigError) as caught:
        load(folder / "fig.yaml", ENVIRON, CHECKS)
    assert folder / "missing.pem" in caught.value.files


def test_nothing_of_a_file_of_keys_is_repeated(folder: Path) -> None:
    (folder / "bad.json").write_text('{"keys": [{"kty": "oct", "k": "hushed"}]}')
    (folder / "bad.pem").write_text("-----BEGIN PUBLIC KEY-----\nhushed\n-----END PUBLIC KEY-----")
    for name in ("bad.json", "bad.pem"):
        ((*_, code, message),) = said(folder, key_file(name).replace("^", ""))
        assert (code, "hush" in message) == ("FIG146", False)


def test_every_finding_is_in_a_table() -> None:
    sources = [Path(str(module.__file__)).read_text() for module in (door, key_files)]
    raised = {code for source in sources for code in re.findall(r'"(FIG\d{3})"', source)}
    rows = {row.code for row in [*REFUSED, *WARNED]} | {row[0] for row in IN_FILES}
    assert raised <= rows


# --- what is right ----------------------------------------------------------------------------------------------------

ACCEPTS = {
    "nothing said": auth(""),
    "nothing known": auth("issuers: {}, identity: {}, api_keys: {}"),
    "an issuer": issuer(SHOP),
    "an issuer on this machine": issuer("issuer: a, audience: b, jwks_url: 'http://127.0.0.1:9/jwks?x=y'"),
    "an issuer by another name of this machine": issuer("issuer: a, audience: b, jwks_url: 'http://[::1]/'"),
    "an issuer on localhost": issuer("issuer: a, audience: b, jwks_url: 'http://LOCALHOST:8000'"),
    "several audiences": issuer(f"issuer: a, audience: [b, c], {URL}"),
    "one issuer, two audiences": auth(
        f"issuers: {{a: {{issuer: x, audience: b, {URL}}}, b: {{issuer: x, audience: [c, d], {URL}}}}}"
    ),
    "every public key": more(f"algorithms: [{', '.join(door.PUBLIC_KEY)}]"),
    "every hash": issuer(f"issuer: a, audience: b, jwks_file: long.json, algorithms: [{', '.join(door.HMAC)}]"),
    "times": more("leeway_s: 0, refresh_s: 5, timeout_s: 5, cooldown_s: 5, stale_s: 0"),
    "a file with the times of the defaults": issuer(
        "issuer: a, audience: b, key_file: rsa.pem, refresh_s: 300, timeout_s: 2, cooldown_s: 10, stale_s: 3600"
    ),
    "another claim of scopes": more("scope_claim: https://shop.example/roles"),
    "identities": auth("identity: {subject: X-User-Id, scopes: x-user-scopes}, api_keys: {header: x-key}"),
    "limits of a key": api_key(
        f"sha256: {HASH.upper()}, scopes: ['catalog:read', '!#[]~'], rate_limit:"
        " [{name: a, requests: 1, window_s: 1}, {name: b, requests: 5, window_s: 2678400, burst: 5}]"
    ),
    "a key from outside": api_key(f"sha256: '${{KEY:-{HASH}}}'"),
    "an auth of each kind": seam(
        "auth: {issuers: [shop, staff], api_keys: [partner], all_scopes: [read], any_scope: [list, admin]},"
        " sticky_by: [jwt.sub, api_key, client_ip]"
    ),
    "an auth of one route": route("auth: {issuers: [shop]}", "sticky_by: [jwt.sub]"),
    "an auth that observes beside one that enforces": route(
        "auth: {issuers: [shop], mode: observe}", "auth: {issuers: [staff], mode: enforce}"
    ),
    "any key of one scope": seam("auth: {api_keys: [partner], any_scope: [list, admin]}"),
    "limits": seam(
        "auth: {issuers: [shop], api_keys: [plain]}, rate_limit: ["
        + ", ".join(
            f"{{name: l{i}, requests: 100, window_s: 60, burst: 100, by: {by}}}"
            for i, by in enumerate(["jwt.sub", "api_key", "header.x-a", "cookie.sid", "path.id", "client_ip", "route"])
        )
        + "]"
    ),
    "limits at the bounds": seam(
        "rate_limit: [{name: a, requests: 1000000, window_s: 1, burst: 1000000000}, {name: b, requests: 10,"
        " window_s: 86400, burst: 310}, {name: c, requests: 1, window_s: 0.5, burst: 1, mode: observe}]"
    ),
    "limits by who comes on one route only": seam(
        "rate_limit: [{name: a, requests: 1, window_s: 1, by: jwt.sub}]",
        "{path: /a}, {path: /b, auth: {issuers: [shop]}}",
    ),
    "no limits on one route": route("rate_limit: []", "rate_limit: [{name: a, requests: 1, window_s: 1}]"),
    "the same name in two lists": route(
        "rate_limit: [{name: a, requests: 1, window_s: 1}]", "rate_limit: [{name: a, requests: 1, window_s: 1}]"
    ),
    "a limit that would block but only observes": seam(
        "rate_limit: [{name: a, requests: 0, window_s: 1, mode: observe}, {name: b, requests: 1, window_s: 1}]"
    ),
    "buckets in memory": store("store: 'memory:', timeout_s: 0.05, on_error: local"),
    "buckets in Redis": store("store: redis://10.0.0.9, timeout_s: 1, on_error: allow"),
    "buckets in Redis by TLS": store("store: 'rediss://[::1]:6380/15', on_error: deny"),
    "a password from outside": store("store: 'redis://:${HUSHED}@10.0.0.9:6379/0'"),
    "an address from outside": store("store: ${REDIS}").replace("{store: ${REDIS}}", '{store: "${REDIS}"}'),
    "a user without a password": store("store: 'redis://anna@10.0.0.9'"),
    "CORS": cors(
        "allow_origins: ['https://shop.example', 'http://localhost:3000', 'app://x', 'https://[::1]:8443'],"
        " allow_methods: [GET, DELETE, PURGE], allow_headers: [authorization, X-A], expose_headers: [x-total-count],"
        " allow_credentials: true, max_age_s: 0"
    ),
    "CORS for everybody": cors(
        "allow_origins: ['*'], allow_methods: ['*'], allow_headers: ['*'], expose_headers: ['*'], max_age_s: 86400"
    ),
    "access": access("allow: [10.0.0.0/8, '::1/128', 192.0.2.7], deny: [10.1.0.0/16]"),
    "denied only": route("access: {deny: [10.0.0.0/8]}", "access: {allow: [10.0.0.0/8]}"),
    "denied wider than one that is allowed beside": access("allow: [10.0.0.0/8, 10.1.0.0/16], deny: [10.2.0.0/15]"),
    "other methods may be open": beside("{path: /a, methods: [GET]}", "{path: /a}"),
    "other methods with a condition may be open": beside(
        "{path: /a, methods: [GET], headers: {x: y}}", "{path: /a, methods: [POST]}"
    ),
    "other paths may be open": beside("{path: /a/b, headers: {x: y}}", "{path: /a/**}"),
    "other values may be open": beside("{path: '/{x}', params: {x: '[a]'}, host: a}", "{path: '/{x}', params: {x: b}}"),
    "other hosts may be open": beside("{path: /a, host: a.example}", "{path: /a, host: b.example}"),
    "guarded twice": seams(
        "a: {routes: [{path: /a}], auth: {issuers: [shop]}},"
        " b: {routes: [{path: /a, headers: {x: y}}], auth: {issuers: [staff]}}"
    ),
}


@pytest.mark.parametrize("text", ACCEPTS.values(), ids=ACCEPTS)
def test_what_agrees_is_accepted_and_shown_as_a_configuration_again(folder: Path, text: str) -> None:
    assert said(folder, text) == []
    shown = config_document(loaded(folder, text))
    for name, key in loaded(folder, text).auth.api_keys.keys.items():
        shown["auth"]["api_keys"]["keys"][name]["sha256"] = key.sha256
    whole = loaded(folder, json.dumps(shown).replace("${", "$${"))
    again = config_document(whole)
    for name, key in whole.auth.api_keys.keys.items():
        again["auth"]["api_keys"]["keys"][name]["sha256"] = key.sha256
    assert again == shown


CONTRACT = """
rate_limits: {store: memory, timeout_s: 0.05, on_error: local}    # memory | redis://… ; allow | deny | local
auth:
  issuers:
    shop: {issuer: https://id.shop.example, audience: shop, jwks_url: "https://id.shop.example/jwks.json", algorithms: [RS256, ES256], leeway_s: 30, refresh_s: 300}
  identity: {subject: x-user-id, scopes: x-user-scopes}          # headers fig sets for upstreams
  api_keys: {header: x-api-key, keys: {partner-a: {sha256: "HASH", scopes: ["catalog:read"]}}}
seams:
  catalog:
    routes: [{path: /api/search}]
    sticky_by: [jwt.sub, header.x-user-id, cookie.SHOPSESSID, client_ip]
    auth: {issuers: [shop], api_keys: [partner-a], all_scopes: ["catalog:read"], any_scope: [], mode: enforce}
    rate_limit: [{name: per-user, requests: 100, window_s: 60, burst: 100, by: jwt.sub, mode: enforce}]
"""  # noqa: E501


def test_the_contract_is_a_configuration_without_a_warning(tmp_path: Path) -> None:
    text = HEAD + CONTRACT.replace("HASH", HASH)
    assert said(tmp_path, text) == []
    whole = loaded(tmp_path, text)
    catalog = whole.seams["catalog"]
    assert whole.auth.issuers["shop"].audience == ("shop",)
    assert whole.auth.identity.headers == ("x-user-id", "x-user-scopes")
    assert whole.auth.api_keys.keys["partner-a"].digest == sha256(b"a").digest()
    assert catalog.auth_of(catalog.routes[0]) is catalog.auth
    assert [(limit.name, limit.capacity, limit.by) for limit in catalog.rate_limit] == [("per-user", 100, "jwt.sub")]


def test_defaults() -> None:
    assert RateLimits().model_dump() == {"store": "memory", "timeout_s": 0.05, "on_error": "local"}
    assert Auth().api_keys.header == "x-api-key"
    assert Auth().identity.headers == ()


def test_a_block_of_a_route_replaces_that_of_its_seam_whole(tmp_path: Path) -> None:
    whole = loaded(
        tmp_path,
        seam(
            "auth: {issuers: [shop], all_scopes: [read]}, access: {allow: [10.0.0.0/8]},"
            " rate_limit: [{name: a, requests: 5, window_s: 1}]",
            "{path: /a}, {path: /b, auth: {issuers: [staff]}, access: {deny: [10.1.0.0/16]}, rate_limit: []}",
        ),
    ).seams["a"]
    first, second = whole.routes
    assert whole.auth_of(first) is whole.auth
    assert whole.limits_of(first) is whole.rate_limit
    assert whole.access_of(first) is whole.access
    assert (whole.limits_of(first)[0].capacity, whole.limits_of(second)) == (5, ())
    assert whole.auth_of(second) is second.auth
    assert second.auth is not None
    assert (second.auth.issuers, second.auth.all_scopes) == (("staff",), ())
    assert whole.access_of(second) is second.access


# --- what has the wrong shape -----------------------------------------------------------------------------------------

SHAPES = [
    Rejects(f"{HEAD}auth: ^hushed\n", "FIG009", "`auth` must be a mapping, not ***"),
    Rejects(auth("issuers: ^[shop]"), "FIG009", "`issuers` must be a mapping, not [shop]"),
    Rejects(auth("issuers: {shop: ^true}"), "FIG009", "`shop` must be a mapping, not true"),
    Rejects(
        auth(f"issuers: {{^shop: {{audience: shop, {URL}}}}}"),
        "FIG008",
        "key `issuer` is missing: add for example `issuer: https://id.shop.example`",
    ),
    Rejects(
        auth(f"issuers: {{^shop: {{issuer: a, {URL}}}}}"),
        "FIG008",
        "key `audience` is missing: add for example `audience: shop`",
    ),
    Rejects(
        issuer(f"issuer: a, audience: ^5, {URL}"), "FIG009", "`audience` must be a list, not 5: write for example shop"
    ),
    Rejects(issuer(f"issuer: a, audience: ^[], {URL}"), "FIG010", "`audience` must have at least one item, not []"),
    Rejects(more("algorithms: ^RS256"), "FIG009", "`algorithms` must be a list, not RS256: write [RS256]"),
    Rejects(more("algorithms: ^[]"), "FIG010", "`algorithms` must have at least one item, not []"),
    Rejects(more("leeway_s: ^301"), "FIG010", "`leeway_s` must be at most 300, not 301"),
    Rejects(more("refresh_s: ^0"), "FIG010", "`refresh_s` must be more than 0, not 0"),
    Rejects(auth("api_keys: ^hushed"), "FIG009", "`api_keys` must be a mapping, not ***"),
    Rejects(
        auth("api_keys: {keys: ^[hushed]}"),
        "FIG009",
        "`keys` must be a mapping, not ***: write for example {partner-a: {sha256: "
        "${file:/run/secrets/partner_a.sha256}}}",
    ),
    Rejects(auth("api_keys: {keys: {partner: ^hushed}}"), "FIG009", "`partner` must be a mapping, not ***"),
    Rejects(api_key("sha256: ^123456"), "FIG009", "`sha256` must be a string, not ***"),
    Rejects(api_key("sha256: ^[hushed]"), "FIG009", "`sha256` must be a string, not ***"),
    Rejects(
        auth("api_keys: {keys: {^partner: {scopes: [a]}}}"),
        "FIG008",
        "key `sha256` is missing: add for example `sha256: ${file:/run/secrets/partner_a.sha256}`",
    ),
    Rejects(f"{HEAD}rate_limits: ^redis://:hushed@h\n", "FIG009", "`rate_limits` must be a mapping, not ***"),
    Rejects(store("store: ^[hushed]"), "FIG009", "`store` must be a string, not ***"),
    Rejects(
        store("store: redis://h, on_error: ^alow"),
        "FIG010",
        "`on_error` must be allow or deny or local, not alow (did you mean `allow`?)",
    ),
    Rejects(store("store: redis://h, timeout_s: ^0"), "FIG010", "`timeout_s` must be more than 0, not 0"),
    Rejects(
        seam("auth: ^true"),
        "FIG009",
        "`auth` must be a mapping, not true: write for example {issuers: [shop], all_scopes: [catalog:read]}",
    ),
    Rejects(seam("auth: {issuers: ^shop}"), "FIG009", "`issuers` must be a list, not shop: write [shop]"),
    Rejects(
        seam("auth: {issuers: [shop], mode: ^observ}"),
        "FIG010",
        "`mode` must be enforce or observe, not observ (did you mean `observe`?)",
    ),
    Rejects(seam("rate_limit: ^{}"), "FIG009", "`rate_limit` must be a list, not {}: put [ ] around it"),
    Rejects(
        seam("rate_limit: [^{requests: 1, window_s: 1}]"),
        "FIG008",
        "key `name` is missing: add for example `name: per-user`",
    ),
    Rejects(seam("rate_limit: [^5]"), "FIG009", "`rate_limit[0]` must be a mapping, not 5"),
    Rejects(limit("name: a, requests: ^-1, window_s: 1"), "FIG010", "`requests` must be at least 0, not -1"),
    Rejects(limit("name: a, requests: ^1.5, window_s: 1"), "FIG009", "`requests` must be a whole number, not 1.5"),
    *(
        Rejects(
            limit(f"name: a, requests: 1, window_s: ^{value}"), "FIG010", f"`window_s` must be {bound}, not {value}"
        )
        for value, bound in (("0", "more than 0"), ("-1", "more than 0"), ("2678401", "at most 2.6784e+06"))
    ),
    Rejects(limit("name: a, requests: 1, window_s: 1, burst: ^-1"), "FIG010", "`burst` must be at least 0, not -1"),
    Rejects(
        limit("name: a, requests: 1, window_s: 1, ^per: client_ip"),
        "FIG006",
        "unknown key `per` in `seams.a.rate_limit[0]`: known are name, requests, window_s, burst, mode, by",
    ),
    Rejects(
        seam("^cors: {allow_methods: [GET]}"),
        "FIG008",
        "key `allow_origins` is missing: add for example `allow_origins: [https://shop.example]`",
    ),
    Rejects(cors("allow_origins: ^[]"), "FIG010", "`allow_origins` must have at least one item, not []"),
    Rejects(cors("allow_origins: ['*'], max_age_s: ^86401"), "FIG010", "`max_age_s` must be at most 86400, not 86401"),
    Rejects(
        cors("allow_origins: ['*'], ^alow_headers: []"),
        "FIG006",
        "unknown key `alow_headers` in `seams.a.cors` (did you mean `allow_headers`?)",
    ),
    Rejects(route("^cors: {allow_origins: ['*']}"), "FIG006", "unknown key `cors` in `seams.a.routes[0]`"),
    Rejects(access("allow: ^10.0.0.0/8"), "FIG009", "`allow` must be a list, not 10.0.0.0/8: write [10.0.0.0/8]"),
]


@pytest.mark.parametrize("row", SHAPES, ids=lambda row: f"{row.code}-{row.message[:30]}")
def test_what_has_the_wrong_shape_is_refused_where_it_stands(folder: Path, row: Rejects) -> None:
    ((*place, message), *others) = said(folder, row.text.replace("^", ""))
    assert (place, others) == (list(row.expected("error")[:3]), [])
    assert message.startswith(row.message)


@pytest.mark.parametrize(
    "text",
    [
        auth("issuers: {shop: 5}") + f"seams: {{a: {{routes: [{{path: /a}}], {GUARDED}, sticky_by: [jwt.sub]}}}}\n",
        f"{HEAD}auth: 5\nseams: {{a: {{routes: [{{path: /a}}], auth: {{issuers: [x], api_keys: [y]}}}}}}\n",
        f"{HEAD}auth: {{api_keys: {{keys: 5}}}}\nseams: {{a: {{routes: [{{path: /a}}], auth: {{api_keys: [y]}}}}}}\n",
        issuer(f"issuer: 5, audience: b, {URL}"),
        issuer(f"issuer: a, audience: 5, {URL}"),
        issuer("issuer: a, audience: b, jwks_url: 5"),
        issuer("issuer: a, audience: b, jwks_file: [x]"),
        issuer("issuer: a, audience: b, jwks_file: rsa.json, algorithms: 5"),
        more("algorithms: [5, 5.5]").replace(", 5.5", ""),
        more("refresh_s: x, timeout_s: 400"),
        auth(f"api_keys: {{keys: {{a: {{sha256: 5}}, b: {{sha256: {HASH}}}}}}}"),
        seam("auth: 5, sticky_by: [jwt.sub, api_key]"),
        seam("auth: {issuers: 5}, sticky_by: [jwt.sub]"),
        seam(
            "auth: {issuers: [5], mode: observe}, rate_limit: [{name: a, requests: 1, window_s: 1, by: jwt.sub}]"
        ).replace(", mode: observe", ""),
        seam("auth: {api_keys: [plain], all_scopes: [5]}"),
        limit("name: 5, requests: 1, window_s: 1"),
        limit("name: a, requests: x, window_s: 1, burst: 0"),
        limit("name: a, requests: 0, window_s: x"),
        limit("name: a, requests: 5, window_s: 1, mode: 5"),
        seam(
            "rate_limit: [{name: a, requests: 5, window_s: 1, mode: observe},"
            " {name: b, requests: 5, window_s: 1, mode: 5}]"
        ),
        seam("rate_limit: [5, {name: a, requests: 1, window_s: 1}]"),
        store("store: 5, on_error: deny"),
        cors("allow_origins: ['*'], allow_credentials: 5"),
        cors("allow_origins: 5"),
        access("allow: 5"),
        access("allow: [5], deny: [10.0.0.0/8]"),
        beside("{path: /a, headers: 5}", "{path: /a, headers: {x: y}}"),
        beside("{path: /a}", "{path: /a, headers: {x: 5}}"),
        seams("a: {routes: [{path: /a, auth: 5}]}, b: {routes: [{path: /a, host: x}], auth: {issuers: [shop]}}"),
    ],
)
def test_what_only_follows_from_something_broken_is_left_out(folder: Path, text: str) -> None:
    found = [code for _, _, code, _ in said(folder, text)]
    assert len(found) == 1
    assert found[0] in ("FIG009", "FIG010")


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_hashes_and_passwords_are_shown_nowhere(tmp_path: Path) -> None:
    text = seam(f"{GUARDED}") + "rate_limits: {store: 'redis://anna:${HUSHED}@10.0.0.9:6379/0'}\n"
    whole = loaded(tmp_path, text)
    shown = config_document(whole)
    assert shown["auth"]["api_keys"]["keys"]["partner"]["sha256"] == MASK
    assert shown["rate_limits"]["store"] == "redis://anna:***@10.0.0.9:6379/0"
    for hidden in ("hush", HASH, OTHER_HASH):
        assert hidden not in json.dumps(shown)
        assert hidden not in repr(whole)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory", "memory"),
        ("redis://10.0.0.9", "redis://10.0.0.9"),
        ("redis://:${HUSHED}@10.0.0.9", "redis://:***@10.0.0.9"),
        ("rediss://${HUSHED}@h/1", "rediss://***@h/1"),
        ("redis://a:${HUSHED}:@${HUSHED}@h", "redis://a:***@h"),
    ],
)
def test_the_password_of_a_store_is_masked(tmp_path: Path, url: str, shown: str) -> None:
    assert config_document(loaded(tmp_path, store(f"store: '{url}'")))["rate_limits"]["store"] == shown


@pytest.mark.parametrize(
    "text",
    [
        api_key("sha256: 'hushed'"),
        api_key("sha256: hushed, scopes: 5"),
        api_key("sha256: {hushed: hushed}"),
        auth("api_keys: {keys: {partner: hushed}}"),
        auth("api_keys: {keys: [{sha256: hushed}]}"),
        auth("api_keys: [hushed]"),
        store("store: 'rediss://:hushed@h:x'"),
        store("store: 'postgres://:hushed@h'"),
        store("store: [hushed]"),
        f"{HEAD}rate_limits: redis://:hushed@h\n",
        issuer("issuer: a, audience: b, jwks_url: 'https://hushed:hushed@h/'"),
    ],
)
def test_no_problem_repeats_a_secret(tmp_path: Path, text: str) -> None:
    found = problems(tmp_path, text)
    assert [problem for problem in found if problem.severity == "error"]
    assert "hush" not in " ".join(problem.message for problem in found)


def test_a_renewed_hash_is_another_configuration(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        path = tmp_path / "fig.yaml"
        path.write_text(text)
        return load(path, ENVIRON, CHECKS).digest

    assert digest(api_key(f"sha256: {HASH}")) != digest(api_key(f"sha256: {OTHER_HASH}"))


def test_included_seams_may_be_guarded_and_limited(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(
        f"seams: {{a: {{routes: [{{path: /a}}], {GUARDED}, rate_limit: [{{name: a, requests: 1, window_s: 1}}]}}}}"
    )
    assert said(tmp_path, f"{HEAD}{KNOWN}include: [more.yaml]\n") == []
    (tmp_path / "more.yaml").write_text("auth: {}")
    assert [code for _, _, code, _ in said(tmp_path, f"{HEAD}{KNOWN}include: [more.yaml]\n")] == ["FIG013"]


# --- whatever the file says -------------------------------------------------------------------------------------------

_SCALARS = (
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "a", "*", "shop", "${NONE}", 10**400, 0.5])
)
_JUNK = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "keys", "sha256"]), inner),
    max_leaves=5,
)
_SOUND: dict[str, Any] = {
    "version": 1,
    "default": "old",
    "upstreams": {"old": {"endpoints": ["http://10.0.0.1:8000"]}},
    "rate_limits": {"store": "redis://h", "timeout_s": 1, "on_error": "deny"},
    "auth": {
        "issuers": {"shop": {"issuer": "a", "audience": ["b"], "jwks_url": "https://h/", "algorithms": ["RS256"]}},
        "identity": {"subject": "x-a", "scopes": "x-b"},
        "api_keys": {
            "header": "x-k",
            "keys": {
                "p": {"sha256": HASH, "scopes": ["a"], "rate_limit": [{"name": "a", "requests": 1, "window_s": 1}]}
            },
        },
    },
    "seams": {
        "a": {
            "routes": [{"path": "/a", "auth": {"issuers": ["shop"]}}, {"path": "/b"}],
            "auth": {
                "issuers": ["shop"],
                "api_keys": ["p"],
                "all_scopes": ["a"],
                "any_scope": ["b"],
                "mode": "enforce",
            },
            "rate_limit": [{"name": "a", "requests": 1, "window_s": 1, "burst": 1, "by": "jwt.sub", "mode": "enforce"}],
            "cors": {"allow_origins": ["https://a"], "allow_methods": ["GET"], "allow_credentials": True},
            "access": {"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]},
        }
    },
}


def _places(value: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [place for key, item in inner for place in ((*above, key), *_places(item, (*above, key)))]


_PLACES = [place for place in _places(_SOUND) if place[0] in ("auth", "rate_limits", "seams") and len(place) > 1]


@settings(deadline=None, max_examples=400)
@given(changes=st.lists(st.tuples(st.sampled_from(_PLACES), _JUNK), min_size=1, max_size=3))
def test_any_values_load_and_are_shown_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[tuple[str | int, ...], Any]]
) -> None:
    tree = copy.deepcopy(_SOUND)
    for place, junk in changes:
        there: Any = tree
        for key in place[:-1]:
            there = there[key] if _has(there, key) else None
        if _has(there, place[-1]):
            there[place[-1]] = junk
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(json.dumps(tree))
    try:
        config_document(load(path, ENVIRON, CHECKS).settings)
    except ConfigError as error:
        assert any(problem.severity == "error" for problem in error.problems)
        places = [(problem.line, problem.column, problem.code, problem.message) for problem in error.problems]
        assert len(places) == len(set(places))


def _has(there: Any, key: str | int) -> bool:
    if isinstance(there, dict):
        return key in there
    return isinstance(there, list) and isinstance(key, int) and key < len(there)


def test_every_model_of_the_door_is_changed_above() -> None:
    names = {
        "Auth",
        "Issuer",
        "Identity",
        "ApiKeys",
        "ApiKey",
        "Limit",
        "RateLimit",
        "RateLimits",
        "AuthRule",
        "Cors",
        "Access",
    }
    assert names <= {model.__name__ for model in MODELS.values()}
