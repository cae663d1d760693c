"""What may be kept of an exchange: shapes and keyed hashes, raw values only where the operator has said so. Pure.

Equal values have equal hashes within one ledger, so that one sees that a value stayed or changed without seeing it. The
key never leaves the ledger's file. Comparing is done before, on what was really said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from proxy.shadow.answer import Answer
from proxy.shadow.characters import known_charset, read_characters
from proxy.shadow.decode import charset, content_of, family_of, media_type
from proxy.shadow.difference import Shape
from proxy.shadow.endpoint import templated
from proxy.shadow.formats import classify, type_of
from proxy.shadow.places import Place, Settings, compile_places, parse_path, setting

MOST_BODY_CHARACTERS: Final = 8 * 1024
MASK: Final = "***"

_SECRET = re.compile(r"auth|cookie|token|secret|passw|pwd|csrf|xsrf|session|credential|api[-_]?key|^key$|email", re.I)
# Values of these say how, never who.
_OPEN: Final = frozenset((b"accept", b"accept-encoding", b"content-type", b"content-length", b"content-encoding"))
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z_-]{0,36}\d{0,3}")
_MEDIA = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,60}")
_MOST_VALUE = 200
_MOST_LINES = 40
_MOST_DEPTH = 40


@dataclass(frozen=True, slots=True)
class Storing:
    """`key`: of hashes, at most 64 bytes. `shown`: the places whose values may be kept as they are."""

    key: bytes
    shown: Place

    @classmethod
    def of(cls, key: bytes, paths: Iterable[str]) -> Storing:
        """Raises ValueError for what is no path."""
        marked = setting("ignore", True)  # the place's only mark that is needed here
        return cls(key, compile_places([(path, marked) for path in paths], Settings()))

    def hash(self, value: bytes) -> str:
        return blake2b(value, key=self.key, digest_size=6).hexdigest()

    def shows(self, path: str) -> bool:
        """Whether a value at a difference's path template may be kept. Only parts of a JSON body can be named."""
        if not path.startswith("body:$"):
            return False
        try:
            steps = parse_path(path)
        except ValueError:  # a template that was too long to be kept whole
            return False
        place = self.shown
        for step in steps:
            place = place.items if step.items else place.member(step.name or "")
        return place.settings.ignore


def redacted_value(shape: Shape | None, path: str, storing: Storing) -> dict[str, Any] | None:
    """One side of a difference."""
    if shape is None:
        return None
    found: dict[str, Any] = {
        "type": shape.type,
        "format": shape.format,
        "length": shape.length,
        "hash": storing.hash(shape.digest),
    }
    if storing.shows(path) and shape.type not in ("array", "object"):
        found["value"] = shape.excerpt
    return found


def redacted_target(target: bytes, storing: Storing) -> str:
    """Ids in the path and all values of the query are gone."""
    path, mark, query = target.partition(b"?")
    pairs = (pair.partition(b"=") for pair in query.split(b"&")[:_MOST_LINES])
    told = [
        f"{_name(name.decode('latin-1'))}{sign.decode()}{_masked(name, value, storing)}" for name, sign, value in pairs
    ]
    return templated(path)[:1000] + ("?" + "&".join(told) if mark else "")


def redacted_headers(lines: Iterable[tuple[bytes, bytes]], storing: Storing) -> list[list[str]]:
    """Names, and of the values what says nothing of a person."""
    found: list[list[str]] = []
    for name, value in list(lines)[:_MOST_LINES]:
        low = name.lower()
        if low in _OPEN:
            text = _printable(value)
        elif low == b"authorization":
            scheme, gap, _ = value.partition(b" ")
            text = f"{_name(scheme.decode('latin-1'))} {MASK}" if gap else MASK
        else:
            text = _masked(low, value, storing)
        found.append([_name(name.decode("latin-1")), text])
    return found


def redacted_body(answer: Answer, storing: Storing, cap: int) -> str | None:
    """A JSON document with a shape in place of each value, at most 8 Ki characters; None for all else."""
    kind = next((value for name, value in answer.headers if name.lower() == b"content-type"), b"")
    if family_of(media_type(kind)) != "json" or answer.truncated:
        return None
    content = content_of(answer, cap)
    if content.data is None or content.problem:
        return None
    text, _ = read_characters(content.data, known_charset(charset(kind)), "json")
    try:
        tree = json.loads(text or "", parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except (ValueError, RecursionError):
        return None
    return _bounded(_drawn(tree, storing, storing.shown, "", 0))


def shown_type(answer: Answer) -> str | None:
    """The media type, where it is one."""
    kind = next((value for name, value in answer.headers if name.lower() == b"content-type"), b"")
    media = media_type(kind)
    return media if _MEDIA.fullmatch(media) else None


class _Number(str):
    """A number as it was written."""


def _drawn(value: Any, storing: Storing, place: Place, indent: str, depth: int) -> Iterator[str]:
    """Pieces of text. What is too deep or too much is left out, and said to be."""
    if isinstance(value, (dict, list)) and value and depth >= _MOST_DEPTH:
        yield "…"
    elif isinstance(value, dict) and value:
        yield "{"
        for number, (name, member) in enumerate(value.items()):
            yield f"{',' if number else ''}\n{indent}  {json.dumps(_name(name))}: "
            yield from _drawn(member, storing, place.member(name), indent + "  ", depth + 1)
        yield f"\n{indent}}}"
    elif isinstance(value, list) and value:
        yield "["
        for number, element in enumerate(value):
            yield f"{',' if number else ''}\n{indent}  "
            yield from _drawn(element, storing, place.items, indent + "  ", depth + 1)
        yield f"\n{indent}]"
    else:
        yield _leaf(value, storing, place)


def _leaf(value: Any, storing: Storing, place: Place) -> str:
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if place.settings.ignore:
        return value[:_MOST_VALUE] if isinstance(value, _Number) else json.dumps(value[:_MOST_VALUE])
    if isinstance(value, _Number):
        return f"<number #{storing.hash(value.encode())}>"
    told = value.encode("utf-8", "surrogatepass")
    return f"<{type_of(str(value))}({len(value)}) {classify(str(value))} #{storing.hash(told)}>"


def _bounded(pieces: Iterator[str]) -> str:
    found: list[str] = []
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > MOST_BODY_CHARACTERS - 2:
            found.append("\n…")
            break
        found.append(piece)
    return "".join(found)


def _masked(name: bytes, value: bytes, storing: Storing) -> str:
    if _SECRET.search(name.decode("latin-1")):
        return MASK
    return f"<{len(value)} #{storing.hash(value)}>" if value else ""


def _name(text: str) -> str:
    """A name that a programmer gave; what may be data is an id."""
    return text if _PLAIN.fullmatch(text) else "{id}"


def _printable(value: bytes) -> str:
    return "".join(sign if " " <= sign <= "~" else "?" for sign in value[:_MOST_VALUE].decode("latin-1"))
