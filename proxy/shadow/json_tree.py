"""JSON text to trees without loss. Knows no rule.

orjson is four times as fast as `json`, but it rounds numbers, drops all but the last of equal names, and tells neither.
What it read is taken only where it proves to be all there was: written again it gives the same text but for white
space and escapes. Neither separates anything in JSON, so equal texts have equal tokens: every number was written as the
shortest text of its value, and no member was dropped, for its colon would be missed. Anything else is read by `json`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

from proxy.shadow.numbers import Constant, read_float, read_int

BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"


class Unparseable(Exception):
    """No JSON."""


class TooMuch(Exception):
    """Deeper or longer than is compared as JSON."""


class Repeated(dict[str, Any]):
    """An object with a name more than once: `all_values` by each such name; the mapping has the last of them."""

    __slots__ = ("all_values",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        values: dict[str, list[Any]] = {}
        for name, value in pairs:
            values.setdefault(name, []).append(value)
        self.all_values = {name: found for name, found in values.items() if len(found) > 1}


def read_tree(data: bytes) -> Any:
    """The document in `data` (UTF-8 without a byte order mark). Raises Unparseable, TooMuch, UnicodeDecodeError."""
    try:
        tree = orjson.loads(data)
        again = orjson.dumps(tree)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return read_exactly(data)
    if again == data:
        return tree
    written = _ESCAPES.sub(_unescaped, data) if b"\\" in data else data
    if written.translate(None, _SPACE) == again.translate(None, _SPACE):
        return tree
    return read_exactly(data, repeats=written.count(b":") != again.count(b":"))


_ESCAPES: Final = re.compile(rb"\\(?:[\\/]|u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4})*)")
_KEPT: Final = frozenset((*map(chr, range(32)), '"', "\\"))  # what orjson escapes itself


def _unescaped(match: re.Match[bytes]) -> bytes:
    """An escape as orjson writes the character; one that it would write otherwise is left, so that the texts differ."""
    run = match[0]
    if run[1:2] != b"u":
        return b"/" if run == b"\\/" else run
    text = run.decode("unicode_escape").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return run if _KEPT.intersection(text) else text.encode()


def read_exactly(data: bytes, repeats: bool = True) -> Any:
    """As `read_tree`, always by the exact parser. `repeats`: a name may stand more than once in an object."""
    text = data.decode()
    try:
        return (_DECODER if repeats else _UNIQUE).decode(text)
    except json.JSONDecodeError as error:
        raise Unparseable(str(error)) from error
    except ValueError:  # an integer of more digits than int() takes
        return _long_integers(text)
    except RecursionError as error:
        raise TooMuch from error


def _long_integers(text: str) -> Any:
    try:
        return _PATIENT.decode(text)
    except json.JSONDecodeError as error:
        raise Unparseable(str(error)) from error
    except RecursionError as error:
        raise TooMuch from error


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else Repeated(pairs)


_DECODER: Final = json.JSONDecoder(parse_float=read_float, parse_constant=Constant, object_pairs_hook=_read_object)
_UNIQUE: Final = json.JSONDecoder(parse_float=read_float, parse_constant=Constant)
_PATIENT: Final = json.JSONDecoder(
    parse_float=read_float, parse_int=read_int, parse_constant=Constant, object_pairs_hook=_read_object
)


def proved_equal(one: Any, other: Any, option: int = orjson.OPT_PASSTHROUGH_SUBCLASS) -> bool | None:
    """Whether two trees are written as the same text, which is quicker than to walk them: then they are equal, types
    and all. None where one of them holds what only the exact parser reads, or is too deep."""
    try:
        return orjson.dumps(one, None, option) == orjson.dumps(other, None, option)
    except orjson.JSONEncodeError:
        return None


SORTED: Final = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_SORT_KEYS
