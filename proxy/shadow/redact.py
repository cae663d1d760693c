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
from itertools import pairwise
from typing import Any, Final

from proxy.shadow.answer import Answer
from proxy.shadow.characters import known_charset, read_characters
from proxy.shadow.decode import charset, content_of, family_of, media_type
from proxy.shadow.difference import Shape
from proxy.shadow.endpoint import templated
from proxy.shadow.formats import classify, type_of
from proxy.shadow.places import Place, Settings, compile_places, member_text, parse_path, setting
from proxy.shadow.templates import is_map

MOST_BODY_CHARACTERS: Final = 8 * 1024
MASK: Final = "***"

_SECRET = re.compile(r"auth|cookie|token|secret|passw|pwd|csrf|xsrf|session|credential|api[-_]?key|^key$|email", re.I)
# A member of such a name is shown nowhere, listed or not.
_NEVER = re.compile(r"authorization|cookie|token|secret|passw|pwd|csrf|xsrf|credential|api[-_]?key", re.I)
# Values of these say how, never who; and of them only words that are known to say it.
_OPEN: Final = frozenset((b"accept", b"accept-encoding", b"content-type", b"content-encoding"))
_KNOWN_TYPES: Final = frozenset(
    ("*/*", "application/*", "application/json", "application/problem+json", "application/ld+json",
     "application/hal+json", "application/vnd.api+json", "application/geo+json", "application/graphql",
     "application/graphql-response+json", "application/x-ndjson", "application/jsonl", "application/xml",
     "application/atom+xml", "application/rss+xml", "application/soap+xml", "application/xhtml+xml",
     "application/javascript", "application/yaml", "application/x-www-form-urlencoded", "application/octet-stream",
     "application/pdf", "application/zip", "application/gzip", "application/protobuf", "application/x-protobuf",
     "application/grpc", "application/msgpack", "application/cbor", "application/wasm",
     "application/signed-exchange", "audio/mpeg", "font/woff", "font/woff2", "image/*", "image/apng", "image/avif",
     "image/gif", "image/jpeg", "image/png", "image/svg+xml", "image/webp", "image/x-icon",
     "multipart/form-data", "multipart/mixed", "multipart/byteranges", "text/*", "text/calendar", "text/css",
     "text/csv", "text/event-stream", "text/html", "text/javascript", "text/markdown", "text/plain", "text/xml",
     "video/mp4", "video/webm")
)  # fmt: skip
_TREES: Final = frozenset(("application", "audio", "font", "image", "message", "model", "multipart", "text", "video"))
_HOW = re.compile(
    r"\*|br|compress|deflate|gzip|identity|x-gzip|zstd|[qv]=[a-z]?[0-9.]{1,5}"
    r"|charset=\"?(?:utf-?8|utf-?16|us-ascii|iso-8859-\d{1,2}|windows-125\d)\"?"
)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z_-]{0,36}\d{0,3}")
# Most paths are of such names, and then nothing need be asked.
_PLAIN_PATH = re.compile(r"body:\$(?:\.(?:[a-z_-]{1,40}|[A-Za-z_-]{1,9})|\[\*\]|\{\*\})*")
_CUT = "body:$..."
_IDENTIFIED: Final = frozenset(("uuid", "hex", "email", "url", "datetime", "datetime_now", "date", "int", "decimal"))
_SCHEMES: Final = frozenset((b"basic", b"bearer", b"digest", b"dpop", b"hoba", b"mutual", b"negotiate", b"ntlm"))
_LONGEST_NAME = 64
_SHORTEST_RANDOM = 10
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
            if _NEVER.search(step.name or ""):
                return False
            place = place.items if step.items else place.member(step.name or "")
        return place.settings.ignore


def is_data(name: str) -> bool:
    """Whether a member's name is more likely what somebody entered, or made at random, than what a programmer wrote:
    an id, a date, an address, anything long or unprintable. A name of words alone is taken for a programmer's."""
    if len(name) > _LONGEST_NAME or not name.isprintable() or is_map((name,), ()):
        return True
    return classify(name) in _IDENTIFIED or _is_random(name)


def _is_random(name: str) -> bool:
    """Digits in several places among letters, or letters of both cases and digits by turns: `camelCase` turns at every
    word only, a random text at two signs of three."""
    groups = re.findall(r"\d+", name)
    if len(groups) > 2 and len(name) >= _SHORTEST_RANDOM:
        return True
    kinds = [1 if sign.isdigit() else 2 if sign.isupper() else 3 for sign in name if sign.isalnum()]
    turns = sum(one != other for one, other in pairwise(kinds))
    return len(name) >= _SHORTEST_RANDOM and 2 * turns >= len(kinds) - 1


def redacted_path(path: str) -> str:
    """A difference's path template, with `{*}` for each name that is data: a rule may still name it. Of one that was
    too long to be kept whole nothing is left but that."""
    if not path.startswith("body:$") or _PLAIN_PATH.fullmatch(path):
        return path
    try:
        steps = parse_path(path)
    except ValueError:
        return _CUT
    return "body:$" + "".join("[*]" if step.items else _member(step.name) for step in steps)


def _member(name: str | None) -> str:
    return "{*}" if name is None or is_data(name) else member_text(name)


def hashed_shape(shape: Shape, storing: Storing) -> dict[str, Any]:
    """What a value looks like, and what it is equal to."""
    return {
        "type": shape.type,
        "format": shape.format,
        "length": shape.length,
        "hash": storing.hash(shape.digest),
    }


def redacted_value(shape: Shape | None, path: str, storing: Storing) -> dict[str, Any] | None:
    """One side of a difference."""
    if shape is None:
        return None
    found = hashed_shape(shape, storing)
    if storing.shows(path) and shape.type not in ("array", "object"):
        found["value"] = shape.excerpt
    return found


def redacted_target(target: bytes, storing: Storing) -> str:
    """Ids in the path and all values of the query are gone."""
    path, mark, query = target.partition(b"?")
    told = (_parameter(pair, storing) for pair in query.split(b"&")[:_MOST_LINES])
    return templated(path)[:1000] + ("?" + "&".join(told) if mark else "")


def _parameter(pair: bytes, storing: Storing) -> str:
    """Without a `=` there is no telling whether it is a name."""
    name, sign, value = pair.partition(b"=")
    if not sign:
        return _masked(b"", pair, storing)
    return f"{_name(name.decode('latin-1'))}={_masked(name, value, storing)}"


def redacted_headers(lines: Iterable[tuple[bytes, bytes]], storing: Storing) -> list[list[str]]:
    """Names, and of the values what says nothing of a person."""
    found: list[list[str]] = []
    for name, value in list(lines)[:_MOST_LINES]:
        low = name.lower()
        if low in _OPEN:
            text = ", ".join(_how(part, storing) for part in value.split(b",")[:_MOST_LINES])
        elif low == b"content-length" and value.isdigit():
            text = str(int(value[:12]))
        elif low == b"authorization":
            scheme, gap, _ = value.partition(b" ")
            text = f"{scheme.decode('ascii')} {MASK}" if gap and scheme.lower() in _SCHEMES else MASK
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
    """The media type, `application/{id}+json` for one that is not known; None where there is none."""
    kind = next((value for name, value in answer.headers if name.lower() == b"content-type"), b"")
    return _type(media_type(kind))


def _type(media: str) -> str | None:
    if media in _KNOWN_TYPES:
        return media
    tree, slash, rest = media.partition("/")
    if not slash or tree not in _TREES:
        return None
    suffix = next((one for one in ("+json", "+xml") if rest.endswith(one)), "")
    return f"{tree}/{{id}}{suffix}"


def _how(part: bytes, storing: Storing) -> str:
    """One element of a list that says how: `text/html;q=0.8`. What is not known in it is masked."""
    found = []
    for word in part.split(b";")[:_MOST_LINES]:
        text = word.strip().decode("latin-1").lower()
        known = text if _HOW.fullmatch(text) else _type(text)
        found.append(_masked(b"", word.strip(), storing) if known is None else known)
    return ";".join(found)


class _Number(str):
    """A number as it was written."""


_HIDDEN: Final = Place(Settings())
"""Below it nothing is shown."""


def _drawn(value: Any, storing: Storing, place: Place, indent: str, depth: int) -> Iterator[str]:
    """Pieces of text. What is too deep or too much is left out, and said to be."""
    if isinstance(value, (dict, list)) and value and depth >= _MOST_DEPTH:
        yield "…"
    elif isinstance(value, dict) and value:
        yield "{"
        for number, (name, member) in enumerate(value.items()):
            yield f"{',' if number else ''}\n{indent}  {json.dumps(_name(name))}: "
            inner = _HIDDEN if _NEVER.search(name) else place.member(name)
            yield from _drawn(member, storing, inner, indent + "  ", depth + 1)
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
    return text if _PLAIN.fullmatch(text) and not is_data(text) else "{id}"
