"""How the control differs from itself, and the rule that would excuse it. Pure: differences in, words out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from proxy.shadow.difference import Difference
from proxy.shadow.noise import Differs, EndpointNoise
from proxy.shadow.rules import compile_rules

_ORDER: Final = frozenset({"order"})


def differing(varied: Iterable[Difference]) -> dict[str, Differs]:
    """Of two answers of one side, by path; where several classes lie at one, the last that is more than a value."""
    found: dict[str, Differs] = {}
    for one in varied:
        if one.severity == "note":
            continue
        formats = frozenset(part for label in one.formats for part in label.split("|"))
        if one.path not in found or not formats:
            found[one.path] = Differs(one.kind, formats, one.rising)
    return found


def suggested_rule(path: str, formats: Iterable[str]) -> dict[str, Any] | None:
    """Of `compare:`, what would excuse the noise at `path`; None where a rule would excuse far more than that."""
    found = frozenset(formats)
    if path.startswith("header:"):
        rule: dict[str, Any] = {"ignore": [path]}
    elif path.startswith("body:$") and found == _ORDER:
        rule = {"unordered": {path.removeprefix("body:"): True}}
    elif path.startswith("body:$") and path != "body:$":
        rule = {"ignore": [path.removeprefix("body:")]}
    else:
        return None
    try:
        compile_rules(rule)
    except ValueError:  # a template that was too long to be kept whole
        return None
    return rule


def noise_row(endpoint: str, path: str, noise: EndpointNoise) -> dict[str, Any]:
    """What is known of one path, as JSON."""
    seen = noise.paths[path]
    formats = sorted({part for label in seen.labels for part in label.removeprefix("#").split("|")})
    return {
        "endpoint": endpoint,
        "path": path,
        "standing": noise.standing(path),
        "differed": seen.k,
        "of": noise.n,
        "formats": formats,
        "rule": suggested_rule(path, formats),
    }
