"""Plain values against the model: every key that is unknown, missing, of a wrong type or out of range, all at once.

A value that is broken is taken out, or replaced by a stand-in where the model needs one, and the rest is validated
again; so the checks that follow see every sound key. Knows nothing of what keys mean beside one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import chain
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from proxy.config.document import Interpolated
from proxy.config.finding import Finding, did_you_mean, dotted, lineage
from proxy.config.model import (
    DISCOVERY,
    LISTED,
    VALUES,
    WORD,
    Access,
    Admin,
    ApiKey,
    ApiKeys,
    Auth,
    AuthRule,
    Breaker,
    Cors,
    CredentialsWord,
    Discovery,
    Drain,
    Fallback,
    FallbackWord,
    Force,
    Health,
    Identity,
    Issuer,
    Limit,
    Limits,
    Policy,
    RateLimit,
    RateLimits,
    Retry,
    Rewrite,
    RouteConfig,
    SeamConfig,
    Server,
    ServerTimeouts,
    ServerTls,
    Settings,
    Shadow,
    ShadowGate,
    ShadowWaiver,
    ShadowWrites,
    StaticAnswer,
    Telemetry,
    UpstreamConfig,
    UpstreamTimeouts,
    UpstreamTls,
    Webhook,
)

Loc = tuple[str | int, ...]

MODELS: Mapping[str, type[BaseModel]] = {
    "": Settings,
    "server": Server,
    "server.tls": ServerTls,
    "server.limits": Limits,
    "server.timeouts": ServerTimeouts,
    "server.drain": Drain,
    "admin": Admin,
    "telemetry": Telemetry,
    "telemetry.webhook": Webhook,
    "auth": Auth,
    "auth.issuers.*": Issuer,
    "auth.identity": Identity,
    "auth.api_keys": ApiKeys,
    "auth.api_keys.keys.*": ApiKey,
    "auth.api_keys.keys.*.rate_limit[]": Limit,
    "rate_limits": RateLimits,
    "upstreams.*": UpstreamConfig,
    "upstreams.*.endpoints": Discovery,
    "upstreams.*.health": Health,
    "upstreams.*.timeouts": UpstreamTimeouts,
    "upstreams.*.tls": UpstreamTls,
    "policy": Policy,
    "seams.*": SeamConfig,
    "seams.*.rewrite": Rewrite,
    "seams.*.force": Force,
    "seams.*.routes[]": RouteConfig,
    "seams.*.routes[].rewrite": Rewrite,
    "seams.*.legacy_breaker": Breaker,
    "seams.*.cors": Cors,
    "seams.*.shadow": Shadow,
    "seams.*.shadow.writes": ShadowWrites,
    "seams.*.shadow.gate": ShadowGate,
    "seams.*.shadow.gate.waive[]": ShadowWaiver,
    **{
        f"{holder}.{key}": model
        for holder in ("seams.*", "seams.*.routes[]")
        for key, model in (
            ("breaker", Breaker),
            ("retry", Retry),
            ("fallback", Fallback),
            ("fallback.static", StaticAnswer),
            ("auth", AuthRule),
            ("rate_limit[]", RateLimit),
            ("access", Access),
        )
    },
}
"""Which model reads which mapping of a file."""

NOT_AVAILABLE: Mapping[str, frozenset[str]] = {
    "": frozenset({"workers"}),
    "server": frozenset({"workers"}),
    "telemetry": frozenset({"metrics", "traces"}),
}
"""Keys whose meaning is settled, but not built."""

_LIMIT: Mapping[str, Any] = {"name": "", "requests": 1, "window_s": 1}
_STAND_INS: Mapping[str, Any] = {
    "version": 1,
    "server.tls.certificate": "",
    "server.tls.key": "",
    "auth.issuers.*.issuer": "",
    "auth.issuers.*.audience": ("",),
    "auth.api_keys.keys.*.sha256": "",
    "seams.*.cors.allow_origins": ("",),
    **{
        f"{holder}.rate_limit[]{key}": value
        for holder in ("auth.api_keys.keys.*", "seams.*", "seams.*.routes[]")
        for key, value in (("", _LIMIT), *((f".{name}", value) for name, value in _LIMIT.items()))
    },
    "telemetry.webhook.url": "",
    "upstreams.*.endpoints": ("",),
    "upstreams.*.health.path": "/",
    "seams.*.routes": ({"path": "/"},),
    "seams.*.routes[]": {"path": "/"},
    "seams.*.routes[].path": "/",
    "seams.*.force.header": "",
    "seams.*.force.allow_from": ("",),
    "seams.*.legacy_breaker.status[]": 500,
    "seams.*.shadow.writes.level": "read_posts",
    "seams.*.shadow.writes.paths": ("/",),
    "seams.*.shadow.gate.waive[]": {"what": "", "name": "", "reason": ""},
    "seams.*.shadow.gate.waive[].what": "",
    "seams.*.shadow.gate.waive[].name": "",
    "seams.*.shadow.gate.waive[].reason": "",
    **{
        f"{holder}.{key}": value
        for holder in ("seams.*", "seams.*.routes[]")
        for key, value in (
            ("breaker.status[]", 500),
            ("retry.on[]", "connect"),
            ("retry.status[]", 503),
            ("fallback.status[]", 500),
        )
    },
}
_WORDS: Mapping[str, tuple[str, ...]] = {
    "seams.*.fallback": get_args(FallbackWord),
    "seams.*.routes[].fallback": get_args(FallbackWord),
    "seams.*.shadow.credentials": get_args(CredentialsWord),
}
"""Mappings that may also be one of these words."""
_TAGGED = (
    ("upstreams.*.endpoints", 3, (LISTED, DISCOVERY)),
    ("seams.*.shadow.credentials", 4, (WORD, VALUES)),
)
"""Keys that take alternatives: how deep they lie, and the tags of these."""
_NAMED = (("seams",), ("upstreams",), ("auth", "issuers"), ("auth", "api_keys", "keys"))
"""Mappings whose keys are names."""
_SECRET = frozenset(
    {"auth", "auth.api_keys", "auth.api_keys.keys", "auth.api_keys.keys.*", "auth.api_keys.keys.*.sha256"}
    | {"rate_limits", "rate_limits.store"}
)
"""Keys whose values are never repeated where they have the wrong type: somebody may have written the secret itself."""
_MASK = "***"
_MAPPING_TYPES = frozenset({"model_type", "model_attributes_type", "dict_type"})
_WHOLE_TYPES = frozenset({"int_type", "int_from_float", "int_parsing_size"})
_RANGES = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}
_OPERANDS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}


def shape(
    data: dict[str, Any], broken: Set[str], interpolated: Mapping[str, Interpolated]
) -> tuple[Settings, list[Finding], set[str]]:
    """The settings without their broken parts, what is wrong with those, and every broken path. That a misspelt key is
    not there counts as broken too.

    `broken` are the paths known to be void before. An interpolated value that was typed where the model wants a string
    is taken as its text.
    """
    findings = list(_true_version(data))
    void, texts = set(broken) | {finding.path for finding in findings}, dict[str, str]()
    meant: set[str] = set()
    while True:
        try:
            return Settings.model_validate(_without(data, void, texts), strict=True), findings, void | meant
        except ValidationError as error:
            known = len(void) + len(texts)
            errors = [_untagged(details) for details in error.errors(include_url=False)]
            meant.update(chain.from_iterable(_meant(details, data) for details in errors))
            for details in sorted(errors, key=lambda details: -len(details["loc"])):
                _judge(details, findings, void, texts, interpolated)
            if len(void) + len(texts) == known:
                void.update(dotted(details["loc"]) for details in errors)
            if len(void) + len(texts) == known:
                raise


def _untagged(details: ErrorDetails) -> ErrorDetails:
    """Its place as a file has it, without the tag of the alternative that was tried."""
    loc = details["loc"]
    for place, depth, tags in _TAGGED:
        if kind(loc[:depth]) == place and loc[depth : depth + 1] and loc[depth] in tags:
            return {**details, "loc": (*loc[:depth], *loc[depth + 1 :])}
    return details


def _meant(details: ErrorDetails, data: dict[str, Any]) -> Iterator[str]:
    """The paths of the keys that an unknown one may stand for, as far as they are not there too."""
    *above, key = details["loc"]
    if details["type"] == "extra_forbidden":
        there: Any = data
        for step in above:
            there = there[step]
        for name in MODELS[kind(above)].model_fields:
            if name not in there and did_you_mean(str(key), (name,)):
                yield dotted((*above, name))


def _true_version(data: dict[str, Any]) -> Iterator[Finding]:
    """In Python True equals 1, so the model does not see the difference."""
    if data.get("version") is True:
        yield Finding("version", "FIG009", "`version` must be a whole number, not true")


def _judge(
    details: ErrorDetails,
    findings: list[Finding],
    void: set[str],
    texts: dict[str, str],
    interpolated: Mapping[str, Interpolated],
) -> None:
    """Enters one error. One about a list whose items are broken waits: it may be gone with stand-ins for them."""
    path = dotted(details["loc"])
    if details["type"] == "string_type" and path in interpolated and path not in texts:
        texts[path] = interpolated[path].text
    elif not any(inner.startswith((f"{path}.", f"{path}[")) for inner in void):
        findings.append(_finding(details, path, show(_public(details["loc"], details["input"], interpolated))))
        void.add(path)


def _public(loc: Loc, value: Any, interpolated: Mapping[str, Interpolated]) -> Any:
    """The value with expressions in place of what came out of them, which may be secret."""
    if kind(loc) in _SECRET:
        return _MASK
    secret = interpolated.get(dotted(loc))
    if secret is not None:
        return secret.expression
    if isinstance(value, dict):
        return {key: _public((*loc, key), item, interpolated) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_public((*loc, i), item, interpolated) for i, item in enumerate(value))
    return value


def kind(loc: Iterable[str | int]) -> str:
    """A path with names and positions left out: `seams.*.routes[].path`."""
    steps = list(loc)
    for above in _NAMED:
        if len(steps) > len(above) and tuple(steps[: len(above)]) == above:
            steps[len(above)] = "*"
    return "".join("[]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _without(data: dict[str, Any], void: Set[str], texts: Mapping[str, str]) -> dict[str, Any]:
    """The data with void values left out or replaced, and with texts in their places."""
    touched = {above for path in (*void, *texts) for above in lineage(path)}

    def rebuilt(loc: Loc, value: Any) -> Any:
        path = dotted(loc)
        if path and path not in touched:
            return value
        if isinstance(value, dict):
            kept = {key: rebuilt((*loc, key), item) for key, item in value.items() if dotted((*loc, key)) not in void}
            return kept | _stand_ins(loc, void)
        if isinstance(value, tuple):
            return tuple(item(loc, i, each) for i, each in enumerate(value))
        return texts.get(path, value)

    def item(loc: Loc, i: int, value: Any) -> Any:
        at = (*loc, i)
        return _STAND_INS.get(kind(at), "") if dotted(at) in void else rebuilt(at, value)

    result: dict[str, Any] = rebuilt((), data) if touched else data
    return result


def _stand_ins(loc: Loc, void: Set[str]) -> dict[str, Any]:
    model = MODELS.get(kind(loc))
    if model is None:
        return {}
    required = (name for name, field in model.model_fields.items() if field.is_required())
    return {name: _STAND_INS[kind((*loc, name))] for name in required if dotted((*loc, name)) in void}


def _finding(details: ErrorDetails, path: str, shown: str) -> Finding:
    loc = details["loc"]
    match details["type"]:
        case "extra_forbidden":
            return _extra(loc, path)
        case "missing":
            return Finding(path, "FIG008", f"key `{loc[-1]}` is missing{_example(loc)}", at_key=True)
        case error if error in _RANGES or error in ("literal_error", "too_short"):
            return Finding(path, "FIG010", f"`{_name(loc)}` {_range(details, shown)}")
        case _:
            return Finding(path, "FIG009", f"`{_name(loc)}` {_type(details, shown)}")


def _extra(loc: Loc, path: str) -> Finding:
    key, section = str(loc[-1]), kind(loc[:-1])
    where = f"in `{dotted(loc[:-1])}`" if section else "at the top level"
    if key in NOT_AVAILABLE.get(section, ()):
        return Finding(path, "FIG007", f"`{key}` {where} is not available yet: remove it", at_key=True)
    model = MODELS[section]
    hint = did_you_mean(key, model.model_fields) or f": known are {', '.join(model.model_fields)}"
    return Finding(path, "FIG006", f"unknown key `{key}` {where}{hint}", at_key=True)


def _example(loc: Loc) -> str:
    examples = _examples(loc)
    return f": add for example `{loc[-1]}: {show(examples[0])}`" if examples else ""


def _examples(loc: Loc) -> list[Any]:
    model = MODELS.get(kind(loc[:-1]))
    field = None if model is None else model.model_fields.get(str(loc[-1]))
    return [] if field is None else field.examples or []


def _range(details: ErrorDetails, shown: str) -> str:
    error, context = details["type"], details.get("ctx", {})
    if error == "too_short":
        return f"must have at least one item, not {shown}"
    if error == "literal_error":
        allowed = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        value = str(details["input"])
        cure = ": remove the quotes" if value in allowed else did_you_mean(value, allowed)
        return f"must be {' or '.join(allowed)}, not {shown}{cure}"
    return f"must be {_RANGES[error]} {context[_OPERANDS[error]]:g}, not {shown}"


def _type(details: ErrorDetails, shown: str) -> str:
    error, value = details["type"], details["input"]
    if error in _MAPPING_TYPES:
        return _mapping(details["loc"], value, shown)
    if error == "tuple_type":
        return f"must be a list, not {shown}{_as_list(details['loc'], value, shown)}"
    if error == "string_type":
        return f"must be a string, not {shown}{_quoted(value, shown)}"
    if error == "bool_type":
        return f"must be true or false, not {shown}"
    number = "a whole number" if error in _WHOLE_TYPES else "a finite number"
    return f"must be {number}, not {shown}{_unquoted(value)}"


def _mapping(loc: Loc, value: Any, shown: str) -> str:
    words = _WORDS.get(kind(loc), ())
    wanted = ", ".join(words) + " or a mapping" if words else "a mapping"
    if words and isinstance(value, str) and (hint := did_you_mean(value, words)):
        return f"must be {wanted}, not {shown}{hint}"
    model = MODELS.get(kind(loc))
    if isinstance(value, bool) and model is not None and "enabled" in model.model_fields:
        return f"must be {wanted}, not {shown}: write {{enabled: {shown}}}"
    examples = _examples(loc)
    return f"must be {wanted}, not {shown}" + (f": write for example {show(examples[0])}" if examples else "")


def _as_list(loc: Loc, value: Any, shown: str) -> str:
    examples = _examples(loc)
    if examples and type(value) is not type(examples[0][0]):
        return f": write for example {show(examples[0])}"
    if isinstance(value, dict):
        return ": put [ ] around it" if examples else ""
    return "" if value is None else f": write [{shown}]"


def _quoted(value: Any, shown: str) -> str:
    return f': write "{shown}"' if isinstance(value, (int, float)) and shown != _MASK else ""


def _unquoted(value: Any) -> str:
    digits = isinstance(value, str) and value.replace(".", "", 1).isdecimal()
    return ": remove the quotes" if digits else ""


def _name(loc: Loc) -> str:
    """The last key with the position after it: `methods[1]`."""
    start = next((i for i in range(len(loc) - 1, -1, -1) if isinstance(loc[i], str)), 0)
    return dotted(loc[start:])


def show(value: Any) -> str:
    """A value as it would stand in YAML, or its kind where that is too long for a message."""
    text = _flow(value)
    if len(text) <= 60:
        return text
    return (
        "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, (list, tuple)) else f"{text[:57]}..."
    )


def _flow(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return f"{{{', '.join(f'{key}: {_flow(item)}' for key, item in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_flow, value))}]"
        case _:
            return str(value)
