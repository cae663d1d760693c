"""The JSON Schema of a configuration file, for editors. Says what `model` says; what values mean beside one another
only `validate` knows.

Draft-07 style, for that is what yaml-language-server reads best. Where the model wants a number or a boolean, or one of
a few words, the schema also takes a string with `${...}` in it.
"""

from __future__ import annotations

from typing import Any

from proxy.config.model import Settings

_EXPRESSION = {"type": "string", "pattern": r"\$\{", "description": "An expression such as ${NAME:-default}"}
_RETYPED = frozenset({"integer", "number", "boolean"})
_ABOUT = ("description", "default", "examples", "title")


def schema() -> dict[str, Any]:
    """A new schema, ready for `json.dumps`."""
    raw = Settings.model_json_schema(ref_template="#/definitions/{model}")
    definitions = raw.pop("$defs")
    converted: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_converted(raw),
        "title": "fig configuration",
        "description": "Configuration of fig, a reverse proxy that moves a monolith one seam at a time",
        "definitions": {name: _converted(part) for name, part in definitions.items()},
    }
    return converted


def _converted(part: dict[str, Any]) -> dict[str, Any]:
    """One object's schema; titles that only repeat the key are left out."""
    properties = {key: _property(value) for key, value in part["properties"].items()}
    kept = {key: value for key, value in part.items() if key != "title"}
    return {**kept, "properties": properties}


def _property(value: dict[str, Any]) -> dict[str, Any]:
    about = {key: value[key] for key in _ABOUT if key in value and key != "title"}
    meaning = {key: item for key, item in value.items() if key not in _ABOUT}
    options = meaning.get("anyOf") or meaning.get("oneOf") or [meaning]
    if any(_is_retyped(option) for option in options):
        return {**about, "anyOf": [*options, _EXPRESSION]}
    if "$ref" in meaning:
        return {**about, "allOf": [meaning]}
    return {**about, **meaning}


def _is_retyped(option: dict[str, Any]) -> bool:
    return option.get("type") in _RETYPED or "enum" in option
