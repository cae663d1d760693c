"""What differs between two sides, as people read it: shapes, both sides beside one another, rules to paste. Pure.

Takes the documents of the admin port (`comparisons`) and of `fig replay`, which have the same members. Knows neither a
terminal nor HTML; who shows a text makes it harmless there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, NamedTuple

from proxy.cli.render import Table, View, printable

Document = Mapping[str, Any]

COUNTED = ("blocking", "mismatch")
"""Severities that speak against the candidate."""

_HEADERS = ("ENDPOINT", "PATH", "CLASS", "SEVERITY", "COUNT")
_NOISE_HEADERS = ("ENDPOINT", "PATH", "STANDING", "DIFFERED", "FORMATS")
_SIZED = frozenset({"string", "array", "object", "bytes"})
_MOST_LINES = 200  # of a body; what aligns them takes the square of it
_DEEPEST = 12
_CUT = 60
_ROWS = 16
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"?|\{\s*\}|\[\s*\]|[{}\[\],:]|\s+|[^\s{}\[\],:"]+', re.DOTALL)


class Row(NamedTuple):
    """A line of either body; `mark` is "" where they are equal, `|` where they differ, `…` where lines are left out."""

    mark: str
    legacy: str
    extracted: str


# --- parts that a text and a page have in common ---------------------------------------------------------------------


def totals_text(document: Document) -> str:
    totals = document["totals"]
    return f"{totals['match']} match · {totals['mismatch']} mismatch · {totals['uncounted']} uncounted"


def counts_text(counts: Mapping[str, int]) -> str:
    """The most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def versions_text(document: Document) -> str:
    versions = document["versions"] or {}
    return " · ".join(f"{side} {versions[side]}" for side in ("legacy", "extracted") if versions.get(side))


def value_text(value: Document | None) -> str:
    """`"9.90" (string decimal, 4 long, #1a2b3c4d)`; what was not stored is left out."""
    if value is None:
        return "(none)"
    kind = value["type"] if value["format"] in (None, "", value["type"]) else f"{value['type']} {value['format']}"
    length = f"{value['length']} long" if value["type"] in _SIZED and value["length"] is not None else ""
    shape = ", ".join(part for part in (kind, length, f"#{value['hash']}" if value.get("hash") else "") if part)
    return f"{value['value']} ({shape})" if value.get("value") is not None else shape


def side_text(side: Document | None) -> str:
    """`200 application/json, 311 bytes`."""
    if side is None:
        return "no answer"
    length = "" if side["length"] is None else f"{side['length']} bytes"
    return ", ".join(part for part in (f"{side['status']} {side['content_type'] or ''}".strip(), length) if part)


def asked_text(exemplar: Document) -> str:
    """What was asked, who got which answer, and where to find it again."""
    request = exemplar["request"]
    parts = [f"{request['method']} {request['target']}"]
    if "line" in exemplar:
        parts.append(f"line {exemplar['line']}")
    else:
        parts += [f"request {exemplar['request_id']}", str(exemplar["at"]), f"the client got {exemplar['served']}"]
    return " · ".join(parts)


def value_rows(exemplar: Document, most: int) -> Iterator[tuple[str, str, str]]:
    """(what, legacy, extracted): both answers as a whole, then what differs in them."""
    yield "answer", side_text(exemplar["legacy"]), side_text(exemplar["extracted"])
    for one in exemplar["differences"][:most]:
        if one["legacy"] is not None or one["extracted"] is not None:
            yield one["path"], value_text(one["legacy"]), value_text(one["extracted"])


def body_rows(exemplar: Document, most: int) -> list[Row]:
    """Where the stored bodies differ, with a line around; none where there is nothing more to see."""
    sides = [exemplar[side] and exemplar[side]["body"] for side in ("legacy", "extracted")]
    if sides[0] is None or sides[1] is None or sides[0] == sides[1]:
        return []
    rows = list(_aligned(broken_lines(sides[0]), broken_lines(sides[1])))
    return rows if len(rows) <= most else [*rows[:most], Row("…", "", "")]


def _aligned(left: Sequence[str], right: Sequence[str]) -> Iterator[Row]:
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    for turn, group in enumerate(matcher.get_grouped_opcodes(1)):
        if turn:
            yield Row("…", "", "")
        for tag, left_from, left_to, right_from, right_to in group:
            pairs = zip_longest(left[left_from:left_to], right[right_from:right_to], fillvalue="")
            yield from (Row("" if tag == "equal" else "|", one, other) for one, other in pairs)


def broken_lines(text: str) -> list[str]:
    """A body in lines; JSON also where it has none and where it was cut off. Nothing is parsed, so that what a parser
    would lose (names given twice, the spelling of numbers) is still there."""
    lines = _json_lines(text) if text.lstrip()[:1] in ("{", "[") else text.splitlines()
    return lines if len(lines) <= _MOST_LINES else [*lines[:_MOST_LINES], "…"]


def _json_lines(text: str) -> list[str]:
    lines: list[str] = []
    line, depth = "", 0
    for token in _TOKENS.findall(text):
        if token in ("}", "]"):
            if line.strip():
                lines.append(line)
            depth = max(0, depth - 1)
            line = "  " * min(depth, _DEEPEST) + token
        elif token == ":":
            line += ": "
        elif not token.isspace():
            line += token
        if token in ("{", "[", ","):
            lines.append(line)
            depth += token != ","
            line = "  " * min(depth, _DEEPEST)
    return [*lines, line] if line.strip() else lines


# --- rules to paste --------------------------------------------------------------------------------------------------


def rules_yaml(noise: Sequence[Document]) -> str:
    """The suggested rules in one block that goes under `shadow.compare`, or alone into a file; "" where there is none.
    A rule that does not go together with the ones before it stands there as a comment."""
    merged: dict[str, Any] = {}
    lines: list[str] = []
    for one in noise:
        if one["rule"] is None:
            continue
        agrees = _merge(merged, one["rule"])
        instead = "" if agrees else f"; instead of the rule below: {_flow(one['rule'])}"
        lines.append(f"# {_one_line(noise_text(one))}{instead}")
    return "\n".join([*lines, *(f"{_key(key)}: {_flow(value)}" for key, value in merged.items())])


def noise_text(noise: Document) -> str:
    formats = f" ({', '.join(noise['formats'])})" if noise["formats"] else ""
    where = f"{noise['endpoint']} {noise['path']}"
    return f"{where}: {noise['standing']}, differed {noise['differed']} of {noise['of']} times{formats}"


def _merge(into: dict[str, Any], rule: Document) -> bool:
    """Add what goes together; False for what does not, which is then left out whole."""
    if not all(_agree(into[key], value) for key, value in rule.items() if key in into):
        return False
    for key, value in rule.items():
        known = into.get(key)
        if isinstance(known, dict):
            _merge(known, value)
        elif isinstance(known, list):
            known += [item for item in value if item not in known]
        else:
            into[key] = _copied(value)
    return True


def _agree(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, Mapping):
        return all(_agree(one[key], value) for key, value in other.items() if key in one)
    return (isinstance(one, list) and isinstance(other, list)) or one == other


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return list(value) if isinstance(value, list) else value


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(str(key))}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _key(text: str) -> str:
    return text if re.fullmatch(r"[a-z_]+", text) else _quoted(text)


def _quoted(text: str) -> str:
    """In YAML's double quotes, where `\\x`, `\\u` and `\\U` stand for what a terminal must not get (YAML 1.2, 5.7)."""
    return "".join(c if c.isprintable() else _escape(ord(c)) for c in json.dumps(text, ensure_ascii=False))


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _one_line(text: str) -> str:
    return printable(text).replace("\n", " ")


# --- as text ---------------------------------------------------------------------------------------------------------


def labelled(lines: Sequence[tuple[str, str]]) -> str:
    """`Label:   text` a line, without control characters; lines without text are left out."""
    return "\n".join(f"{label + ':':<12} {_one_line(text)}" for label, text in lines if text)


def differences_views(document: Document, top: int) -> Iterator[View]:
    """The `top` first, in a table; then an exemplar of each with both sides beside one another."""
    differences = document["differences"]
    if not differences:
        return
    yield ""
    yield Table(_HEADERS, [_difference_row(one) for one in differences[:top]])
    if len(differences) > top:
        yield f"… and {len(differences) - top} more; `-n {len(differences)}` shows all"
    for number, difference in enumerate(differences[:top], 1):
        yield from _exemplar_views(number, difference)


def _difference_row(difference: Document) -> tuple[object, ...]:
    return tuple(difference[key] for key in ("endpoint", "path", "class", "severity", "count"))


def _exemplar_views(number: int, difference: Document) -> Iterator[View]:
    for exemplar in difference["exemplars"][:1]:
        yield ""
        yield _one_line(f"{number}. {difference['endpoint']} {difference['path']} {difference['class']}")
        yield _one_line(f"   {asked_text(exemplar)}")
        values = value_rows(exemplar, _ROWS)
        yield Table(("", "LEGACY", "EXTRACTED"), [(what, _cut(one), _cut(other)) for what, one, other in values])
        rows = body_rows(exemplar, _ROWS)
        if rows:
            yield Table(("", "LEGACY BODY", "EXTRACTED BODY"), [_cut_row(row) for row in rows])


def _cut_row(row: Row) -> tuple[str, str, str]:
    return row.mark or " ", _cut(row.legacy) or " ", _cut(row.extracted) or " "


def _cut(text: str) -> str:
    return text if len(text) <= _CUT else text[: _CUT - 1] + "…"


def noise_views(document: Document) -> Iterator[View]:
    """Fields that the legacy side itself does not answer alike twice, and the rules that would excuse them."""
    noise = document["noise"]
    if not noise:
        return
    yield ""
    yield "Not alike in two answers of the same side:"
    yield Table(_NOISE_HEADERS, [_noise_row(one) for one in noise])
    rules = rules_yaml(noise)
    if rules:
        yield ""
        yield "Rules that would excuse it, for `shadow.compare`:"
        yield ""
        yield rules


def _noise_row(noise: Document) -> tuple[object, ...]:
    differed = f"{noise['differed']} of {noise['of']}"
    return noise["endpoint"], noise["path"], noise["standing"], differed, ", ".join(noise["formats"])
