"""What a comparison finds. Knows no rule and no syntax: it is told a path template, a class and both values.

`kind` is the class of a difference; its severity says what follows. `blocking` and `mismatch` count against the
candidate, `note` is only shown, `uncounted` is no evidence for or against anyone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from json.encoder import encode_basestring_ascii
from typing import Final, Literal

from proxy.shadow.formats import classify, could_be, type_of

Severity = Literal["blocking", "mismatch", "note", "uncounted"]

SEVERITIES: Final[Mapping[str, Severity]] = {
    "status": "blocking",
    "decode_error": "blocking",
    "unparseable": "blocking",
    "content_type": "blocking",
    "removed": "blocking",
    "type": "blocking",
    "body": "blocking",
    "compare_error": "mismatch",
    "format": "mismatch",
    "value": "mismatch",
    "added": "mismatch",
    "order": "mismatch",
    "duplicate_key": "mismatch",
    "html": "mismatch",
    "xml": "mismatch",
    "text": "mismatch",
    "opaque": "mismatch",
    "header": "mismatch",
    "improvement": "uncounted",
    "both_error": "uncounted",
    "conditional": "uncounted",
    "not_comparable": "uncounted",
    "shadow_timeout": "uncounted",
    "dropped": "uncounted",
    "number_repr": "note",
}
"""Every class with its usual severity, the worst first among those of one severity."""

MISSING: Final = object()
"""Stands for a value where there is none."""

_RANK: Final[Mapping[str, int]] = {kind: rank for rank, kind in enumerate(SEVERITIES)}
_BADNESS: Final[Mapping[Severity, int]] = {"blocking": 0, "mismatch": 1, "uncounted": 2, "note": 3}
_VALUES: Final = frozenset(("value", "order", "html", "xml", "text", "header"))
_EXCERPT = 200
_WORDS: Final = {None: "null", True: "true", False: "false"}
_TEMPLATES = 1000


@dataclass(frozen=True, slots=True)
class Shape:
    """One side of a difference. `length`: characters, elements or members. `excerpt`: at most 200 printable ASCII
    characters, raw, not redacted. `digest`: eight bytes that differ where the values do."""

    type: str
    format: str
    length: int
    excerpt: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Difference:
    """All differences of one class at one path template; the shapes are of the first, None on the side without a value.

    `formats`: the format classes of all of them, `control|candidate` where the two are not the same. `forgivable`: all
    of them put a value in the place of another of the same type and format class. `rising`: all are pairs of ints of
    which the candidate's is the greater.
    """

    path: str
    kind: str
    severity: Severity
    count: int
    control: Shape | None
    candidate: Shape | None
    formats: tuple[str, ...] = ()
    forgivable: bool = False
    rising: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kind`: the worst class, "" for a match that counts. `paths`: of all differences but notes, each once."""

    verdict: Literal["match", "mismatch"]
    counts: bool
    kind: str
    differences: tuple[Difference, ...] = ()
    paths: tuple[str, ...] = ()


class Found:
    """Collects the differences of one pair and forgives those that `noisy` explains.

    `noisy`: format classes by path (or path and place, see `add`) at which the control itself differs; a value there
    may differ from the control's if it could be of one of these classes. `now`: seconds since 1970, or None.
    """

    def __init__(self, noisy: Mapping[str, frozenset[str]], now: float | None) -> None:
        self.noisy = noisy
        self.now = now
        self._by_path: dict[tuple[str, str], Difference] = {}
        self._seen: dict[str, set[str]] = {}

    def add(
        self,
        path: str,
        kind: str,
        control: object,
        candidate: object,
        place: str = "",
        severity: Severity | None = None,
        structural: bool = False,
    ) -> None:
        """One difference. `place` is where inside an undivided body it lies (a line, an attribute): noise is known by
        path and place, reports know the path alone. `structural`: more than a value differs. That is never forgiven,
        and neither is MISSING on a side."""
        valued = kind in _VALUES and not structural and control is not MISSING and candidate is not MISSING
        formats: tuple[str, str] | None = None
        if valued:
            formats = (kind, kind) if kind == "order" else (classify(control, self.now), classify(candidate, self.now))
            seen = self.noisy.get(path + place) or self.noisy.get(path)
            if seen:
                if formats[1] in seen or any(could_be(candidate, format_, self.now) for format_ in seen):
                    return
                kind = "format" if kind == "value" else kind
            self._seen.setdefault(path + place, set()).update(formats)
        elif kind == "opaque":  # bytes have no format: where the control's own vary, nothing can be said
            if kind in self.noisy.get(path, ()):
                kind = "not_comparable"
            self._seen.setdefault(path, set()).add("opaque")
        self._enter(path, kind, control, candidate, severity or SEVERITIES[kind], formats)

    def _enter(
        self,
        path: str,
        kind: str,
        control: object,
        candidate: object,
        severity: Severity,
        formats: tuple[str, str] | None,
    ) -> None:
        known = self._by_path.get((path, kind))
        if known is None and len(self._by_path) >= _TEMPLATES:
            path = "*"
            known = self._by_path.get((path, kind))
        labels: tuple[str, ...] = ()
        if formats is not None:
            labels = (formats[0],) if formats[0] == formats[1] else ("|".join(formats),)
        forgivable = formats is not None and formats[0] == formats[1]
        rising = type(control) is type(candidate) is int and candidate > control
        if known is None:
            left, right = _shapes(control, candidate, self.now)
            found = Difference(path, kind, severity, 1, left, right, labels, forgivable, rising)
        else:
            found = replace(
                known,
                count=known.count + 1,
                severity=min(known.severity, severity, key=_BADNESS.__getitem__),
                formats=known.formats if set(labels) <= set(known.formats) else tuple({*known.formats, *labels}),
                forgivable=known.forgivable and forgivable,
                rising=known.rising and rising,
            )
        self._by_path[path, kind] = found

    @property
    def clean(self) -> bool:
        """No difference but notes."""
        return all(kind == "number_repr" and found.severity == "note" for (_, kind), found in self._by_path.items())

    @property
    def differences(self) -> tuple[Difference, ...]:
        return tuple(
            replace(found, formats=tuple(sorted(found.formats))) if len(found.formats) > 1 else found
            for found in self._by_path.values()
        )

    @property
    def varied(self) -> dict[str, frozenset[str]]:
        """Of two answers of the control: what `noisy` is for a third."""
        return {path: frozenset(formats) for path, formats in self._seen.items()}

    def verdict(self, conditional: bool = False) -> Verdict:
        """`conditional`: the pair is no evidence, whatever was found."""
        found = self.differences
        if conditional:
            found = tuple(one if one.severity == "note" else replace(one, severity="uncounted") for one in found)
        real = [one for one in found if one.severity != "note"]
        if not real:
            return Verdict("match", not conditional, "conditional" if conditional else "", found)
        worst = min(real, key=lambda one: (_BADNESS[one.severity], _RANK[one.kind]))
        paths = tuple(dict.fromkeys(one.path for one in real))
        kind = "conditional" if conditional else worst.kind
        return Verdict("mismatch", worst.severity != "uncounted", kind, found, paths)


def uncounted(kind: str, path: str = "body") -> Verdict:
    """For a pair that was never complete: `shadow_timeout`, `dropped`, `not_comparable`."""
    return Verdict("mismatch", False, kind, (Difference(path, kind, "uncounted", 1, None, None),), (path,))


def _shapes(control: object, candidate: object, now: float | None) -> tuple[Shape | None, Shape | None]:
    start = 0
    if isinstance(control, str) and isinstance(candidate, str) and max(len(control), len(candidate)) > _EXCERPT - 2:
        start = max(0, _first_difference(control, candidate) - 40)
    return _shape(control, start, now), _shape(candidate, start, now)


def _first_difference(one: str, other: str) -> int:
    low, high = 0, min(len(one), len(other))
    while low < high:  # the longest common prefix, by halves: slices compare in C
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _shape(value: object, start: int, now: float | None) -> Shape | None:
    if value is MISSING:
        return None
    if isinstance(value, bytes):
        return Shape("bytes", "opaque", len(value), "", blake2b(value, digest_size=8).digest())
    length = len(value) if isinstance(value, (str, list, dict)) else 1
    excerpt = _excerpt(value, start)
    whole = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else excerpt.encode()
    return Shape(type_of(value), classify(value, now), length, excerpt, blake2b(whole, digest_size=8).digest())


def _excerpt(value: object, start: int) -> str:
    if isinstance(value, list):
        return f"[{len(value)} elements]"
    if isinstance(value, dict):
        names = ", ".join(encode_basestring_ascii(key[:30]) for key in list(value)[:5])
        return f"{{{names}{', …' if len(value) > 5 else ''}}}"[:_EXCERPT].encode("ascii", "replace").decode()
    if type_of(value) != "string":
        text = _WORDS.get(value, "") if value is None or isinstance(value, bool) else str(value)
        return text if len(text) <= _EXCERPT else text[: _EXCERPT - 3] + "..."
    text = str(value)
    if not start and len(text) <= _EXCERPT - 2:
        shown = encode_basestring_ascii(text)
    else:
        shown = ("..." if start else "") + encode_basestring_ascii(text[start : start + 150]) + "..."
    return shown if len(shown) <= _EXCERPT else shown[: _EXCERPT - 3] + "..."
