"""The keys of `compare:`, as an editor wants to know them. What they do is known in `proxy.shadow.rules` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SWITCH = {"anyOf": [{"type": ["boolean", "array", "object", "null"]}, {"type": "string", "pattern": r"\$\{"}]}
_WORD_OR_PATHS = {"type": ["boolean", "string", "array", "object", "null"]}
_BY_PATH = {"type": ["object", "null"]}
_PATHS_OR_BY_PATH = {"type": ["object", "array", "null"]}
_TEXTS = {"type": ["array", "null"], "items": {"type": "string"}}

COMPARE_KEYS: Mapping[str, Mapping[str, Any]] = {
    "allow_added": {
        **_SWITCH,
        "description": "Members that only the candidate has are no difference: true, a list of paths, or by path",
    },
    "null_equals_missing": {
        **_SWITCH,
        "description": "A member that is null equals one that is not there: true, a list of paths, or by path",
    },
    "empty_collections_equal": {
        **_SWITCH,
        "description": "[], {}, null and nothing are equal: true, a list of paths, or by path",
    },
    "number_repr": {
        **_WORD_OR_PATHS,
        "description": "strict: 1 and 1.0 differ; value (the default): they do not. Also a list of paths, or by path",
    },
    "numeric": {**_BY_PATH, "description": "Tolerances of numbers by path: {abs: NUMBER}, {rel: NUMBER} or both"},
    "coerce": {**_BY_PATH, "description": "Values by path that are read as one type first: decimal, string, boolean"},
    "unordered": {
        **_PATHS_OR_BY_PATH,
        "description": "Arrays without order: a list of paths, or by path true or the member that aligns elements",
    },
    "unicode": {
        **_WORD_OR_PATHS,
        "description": "Normal form of strings before they are compared: NFC, NFD, NFKC or NFKD; or by path",
    },
    "datetime": {
        **_PATHS_OR_BY_PATH,
        "description": "Strings that are points in time: a list of paths, or by path {tolerance_s: SECONDS}",
    },
    "ignore": {**_TEXTS, "description": "What is not compared: paths such as $.request_id, header:NAME, body"},
    "headers": {
        "type": ["object", "null"],
        "properties": {"compare": _TEXTS},
        "additionalProperties": False,
        "description": "Headers compared besides the usual ones: {compare: [NAME]}",
    },
    "cookies": {
        "type": ["object", "null"],
        "properties": {"compare_values": {"type": ["boolean", "array"], "items": {"type": "string"}}},
        "additionalProperties": False,
        "description": "Whether the values of cookies are compared too: {compare_values: true}, or a list of names",
    },
    "status_equivalent": {
        "type": ["array", "null"],
        "items": {"type": "array", "items": {"type": "integer"}},
        "description": "Groups of status codes that count as equal",
        "examples": [[[200, 204]]],
    },
    "error_bodies": {
        "type": ["string", "boolean", "null"],
        "description": "compare (the default) or ignore: the bodies of answers with a 4xx or 5xx status",
    },
    "rewrite": {
        "type": ["array", "null"],
        "items": {"type": "array", "items": {"type": "string"}},
        "description": "[regular expression, replacement], applied to both sides before they are compared",
        "examples": [[["http://orders:8080", "https://shop.example"]]],
    },
    "text": {
        "type": ["object", "null"],
        "properties": {"newlines": {"type": ["string", "boolean"]}},
        "additionalProperties": False,
        "description": "{newlines: normalize} takes CR LF and LF of plain text as equal",
    },
    "html": {
        "type": ["string", "boolean", "null"],
        "description": "tokens (the default): HTML by its tokens; exact: by its text",
    },
    "html_ignore": {**_TEXTS, "description": "Regular expressions; what they match in HTML is not compared"},
    "max_body_bytes": {
        "type": ["integer", "string", "null"],
        "description": "Longest body in bytes that is compared by its content; longer ones by hash and length",
    },
}
"""Each with its JSON Schema."""

COMPARE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {key: dict(part) for key, part in COMPARE_KEYS.items()},
    "additionalProperties": False,
}
