"""Spellings of a path: what a client may write so that one server reads something else than the next. And how a lenient
server reads a path: whatever it may do to it, in whatever order."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

_LETTER_FORMS: tuple[Callable[[str], str], ...] = (str, str.upper, str.title, str.swapcase)
_UNICODE = {
    "a": "%EF%BD%81",
    "d": "%EF%BD%84",
    "m": "%EF%BD%8D",
    "i": "%C4%B1",
    "n": "%EF%BD%8E",
    "k": "%E2%84%AA",
    "s": "%C5%BF",
}
_DOTS = ("..", "%2e%2e", "%2E.", ".%2e", "..;", "..;x=y", "%2e%2e;", "..%3B", "%2e%2e%3bx")
_SLASHES = (
    "/",
    "%2f",
    "%2F",
    "%5c",
    "%5C",
    "\\",
    "//",
    "/./",
    "/.;/",
    "%2f%2f",
    "/%2e/",
    "%5c/",
    ";/",
    ";x=1/",
    "%3b/",
)
_CONTROLS = ("%00", "%09", "%0a", "%0d", "%0d%0a", "%1f", "%7f", "%01")
_ENDS = (
    "",
    "/",
    ".",
    "..",
    "/.",
    "/..",
    ";",
    ";a=b",
    "%20",
    "%2e",
    "%2f",
    "%5c",
    "%00",
    "~",
    "?",
    "?x=/public",
    "%3f",
    "#",
)


def spellings(name: str, rest: str = "x") -> list[str]:
    """Targets that some server may read as `/NAME` or `/NAME/REST`. Each once, and by far not all of them are."""
    generated = itertools.chain(
        _of_the_name(name, rest), _of_the_slashes(name, rest), _around_it(name, rest), _of_the_end(name, rest)
    )
    plain = list(dict.fromkeys(generated))
    absolute = [f"http://proxy.test{target}" for target in plain if target.startswith("/")]
    return [*plain, *absolute[::3], *(f"{target}?next=/public" for target in plain[::7])]


def _of_the_name(name: str, rest: str) -> Iterator[str]:
    for form in _LETTER_FORMS:
        yield f"/{form(name)}/{rest}"
        yield f"/{form(name)}"
    for count in range(1, 2 ** len(name)):  # any of its letters escaped, or in upper case
        chosen = [bool(count >> at & 1) for at in range(len(name))]
        yield "/" + "".join(_escaped(c) if on else c for c, on in zip(name, chosen, strict=True)) + f"/{rest}"
        yield "/" + "".join(c.upper() if on else c for c, on in zip(name, chosen, strict=True)) + f"/{rest}"
        yield "/" + "".join(_escaped(c.upper()) if on else c for c, on in zip(name, chosen, strict=True)) + f"/{rest}"
    for at, letter in enumerate(name):
        before, after = name[:at], name[at + 1 :]
        overlong = f"%C{0 if ord(letter) < 64 else 1}%{0x80 | ord(letter) & 0x3F:02X}"
        for put in (f"%25{ord(letter):02x}", f"%u00{ord(letter):02x}", overlong, _UNICODE.get(letter, "%FF")):
            yield f"/{before}{put}{after}/{rest}"
        for put in (*_CONTROLS, "%c2%ad", "%e2%80%8b", "%20", "+", "%2e", "%ff", "%", "%4", "%zz"):
            yield f"/{before}{letter}{put}{after}/{rest}"


def _of_the_slashes(name: str, rest: str) -> Iterator[str]:
    for first, second in itertools.product(_SLASHES, _SLASHES):
        yield f"/{first.removeprefix('/')}{name}{second}{rest}"
    for put in ("%c0%af", "%e0%80%af", "%c1%9c", "%252f", "%255c", "%u2215", "%ef%bc%8f"):
        yield f"/public{put}..{put}{name}{put}{rest}"
        yield f"/{name}{put}{rest}"


def _around_it(name: str, rest: str) -> Iterator[str]:
    for dots, slash in itertools.product(_DOTS, ("/", "%2f", "%5C", "\\")):
        yield f"/public/{dots}{slash}{name}/{rest}"
        yield f"/public{slash}{dots}/{name.upper()}/{rest}"
        yield f"/{name}/{dots}{slash}{name}/{rest}"
        yield f"/{dots}{slash}{name}"
        yield f"/x/y{slash}{dots}{slash}{dots}{slash}{name}{slash}{rest}"
    for around in (
        "//proxy.test/{}",
        "/./{}",
        "/.//{}",
        "///{}",
        "/;/{}",
        "/;a=b/{}",
        "/%2e/{}",
        "/.;/{}",
        "/%20/../{}",
    ):
        yield around.format(f"{name}/{rest}")
        yield around.format(name)


def _of_the_end(name: str, rest: str) -> Iterator[str]:
    for end in _ENDS:
        yield f"/{name}{end}"
        yield f"/{name}/{rest}{end}"
        yield f"/{name.upper()}{end}"
        yield f"/public/..%2f{name}{end}"


def _escaped(letter: str) -> str:
    return f"%{ord(letter):02x}"


# --- a lenient server ------------------------------------------------------------------------------------------------


def readings(target: str) -> set[str]:
    """What a server may take a target for that decodes, takes a backslash for a slash, strips parameters, merges
    slashes, resolves dots and looks at no letter case: in any order, once or twice."""
    path = re.sub(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*", "", target)
    path = re.split(r"[?#]", path, maxsplit=1)[0]
    found = set()
    for steps in itertools.permutations((unquote, _slashed, _stripped, _merged, _resolved)):
        reading = path
        for step in steps:
            reading = step(reading)
        found.add(_resolved(_merged(reading)).casefold())
        found.add(_resolved(_merged(_stripped(_slashed(unquote(reading))))).casefold())
    return found


def reads_as(target: str, name: str) -> bool:
    """Whether such a server may read it as `/NAME` or something below."""
    return any(reading == f"/{name}" or reading.startswith(f"/{name}/") for reading in readings(target))


def _slashed(path: str) -> str:
    return path.replace("\\", "/")


def _stripped(path: str) -> str:
    return re.sub(r";[^/]*", "", path)


def _merged(path: str) -> str:
    return re.sub(r"//+", "/", path)


def _resolved(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)
