"""What the control itself does not answer alike twice. Pure: formats come in as words, counts go out.

Now and then the control is asked a second time. A path whose value differs between the two is noise in that sample,
which the comparer sees by itself; one that does so often enough is noise by experience, also in samples without a
second control. What noise forgives is narrow: another *value* of the same JSON type and format class. That a field is
gone, is null, or holds a text where there was an id, noise never forgives.

    quiet ──── differed twice, and surely in more than 0.5 % ────┬──► noisy      only ids, times near now, tokens or
                                                                 │               counters: forgiven by itself
                                                                 └──► volatile   anything else: waits for a rule

All state is counts that can be added, in any order and grouping, and kept as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

from proxy.shadow.interval import exceeds
from proxy.shadow.sequential import Paired

OTHER: Final = "__other__"
"""Where paths beyond the first 200 of an endpoint are counted together; it forgives nothing."""

ACCEPTED: Final = frozenset({"uuid", "datetime_now", "epoch_now", "hex", "token"})
"""Format classes that are forgiven without a rule."""

Standing = Literal["quiet", "noisy", "volatile"]

_INT = "int"
_RISING = "int_rising"  # the second of two is the greater; two random ones look like it half of the time
_AT_LEAST = 2
_SHARE = 0.005
_COUNTER_AT_LEAST = 8  # by chance that often in a row: once in 256
_PATHS = 200


@dataclass(frozen=True, slots=True)
class Differs:
    """How two answers differ at one path template, at all places that it stands for. `formats` are the format classes
    that occur on either side; empty unless every place holds a value instead of another one. `rising`: all are pairs of
    ints of which the second is the greater."""

    kind: str
    formats: frozenset[str] = frozenset()
    rising: bool = False

    @property
    def label(self) -> str:
        """What is counted of it: the formats, or the kind where it is no value instead of another."""
        if not self.formats:
            return f"#{self.kind}"
        return _RISING if self.rising and self.formats == {_INT} else "|".join(sorted(self.formats))


def _is_noise(k: int, n: int) -> bool:
    return k >= _AT_LEAST and exceeds(k, n, _SHARE)


@dataclass(frozen=True, slots=True)
class PathNoise:
    """Of one path template: how often the two controls differed there, by label; and who strayed alone."""

    labels: Mapping[str, int] = field(default_factory=dict)
    paired: Paired = field(default_factory=Paired)

    @property
    def k(self) -> int:
        return sum(self.labels.values())

    def __add__(self, other: PathNoise) -> PathNoise:
        return PathNoise(_sum(self.labels, other.labels), self.paired + other.paired)

    def standing(self, n: int) -> Standing:
        """After `n` second controls of the endpoint. One stray difference of another kind changes nothing; if such ones
        are noise by themselves, there is more than can be accepted."""
        if not _is_noise(self.k, n):
            return "quiet"
        accepted = sum(count for label, count in self.labels.items() if self._accepts(label))
        return "noisy" if _is_noise(accepted, n) and not _is_noise(self.k - accepted, n) else "volatile"

    def _accepts(self, label: str) -> bool:
        if label == _RISING:
            return self.labels[label] >= _COUNTER_AT_LEAST and _INT not in self.labels
        formats = set(label.split("|"))
        if any("hex" in other.split("|") for other in self.labels):
            formats.discard(_INT)  # a hex token of eight digits has no letter once in 43
        return formats <= ACCEPTED

    def formats(self, n: int) -> frozenset[str]:
        """The format classes that are forgiven here; none unless it is noisy."""
        if self.standing(n) != "noisy":
            return frozenset()
        accepted = {part for label in self.labels if self._accepts(label) for part in label.split("|")}
        return frozenset(accepted & ACCEPTED | ({_INT} if _RISING in accepted else set()))


def _sum(these: Mapping[str, int], those: Mapping[str, int]) -> Mapping[str, int]:
    if not those:
        return these
    return {key: these.get(key, 0) + those.get(key, 0) for key in {**these, **those}}


@dataclass(frozen=True, slots=True)
class Flaky:
    """Mismatches that a second question did not reproduce, of requests with a second control. A candidate that is
    wrong now and then strays alone more often than a control that races with its own writes: `paired` tells."""

    n: int = 0
    flaky: int = 0
    paired: Paired = field(default_factory=Paired)

    def __add__(self, other: Flaky) -> Flaky:
        return Flaky(self.n + other.n, self.flaky + other.flaky, self.paired + other.paired)

    def observe(self, candidate: bool, control: bool) -> Flaky:
        """One request: whether the candidate differed from the first control and did not again, and whether the second
        control differed from the first; both at paths that are not noise."""
        return Flaky(self.n + 1, self.flaky + candidate, self.paired.observe(candidate, control))


def after_resend(differs_again: bool | None) -> Literal["mismatch", "flaky"]:
    """What a mismatch is after candidate and control were asked once more, together. None: they could not be asked, or
    did not answer; then it stays what it was."""
    return "flaky" if differs_again is False else "mismatch"


@dataclass(frozen=True, slots=True)
class EndpointNoise:
    """Of one endpoint: `n` second controls, and what was seen at the paths that ever differed, at most 200 of them.

    Beyond 200 the first by name keep their own counts. So a path that has them has all of them: it was among the first
    of every part that was added, and the sum does not depend on the order.
    """

    n: int = 0
    paths: Mapping[str, PathNoise] = field(default_factory=dict)
    flaky: Flaky = field(default_factory=Flaky)

    def __add__(self, other: EndpointNoise) -> EndpointNoise:
        paths = {
            path: self.paths.get(path, _SILENT) + other.paths.get(path, _SILENT)
            for path in {**self.paths, **other.paths}
        }
        return EndpointNoise(self.n + other.n, _bounded(paths), self.flaky + other.flaky)

    def observe(self, control: Mapping[str, Differs], candidate: Set[str]) -> EndpointNoise:
        """One request with a second control: how the two controls differ, by path, and at which paths the candidate
        differs from the first control."""
        seen = {
            path: PathNoise(
                {control[path].label: 1} if path in control else {},
                Paired().observe(path in candidate, path in control),
            )
            for path in control.keys() | candidate
        }
        return self + EndpointNoise(1, seen)

    def with_flaky(self, candidate: bool, control: bool) -> EndpointNoise:
        """As `Flaky.observe`."""
        return EndpointNoise(self.n, self.paths, self.flaky.observe(candidate, control))

    def standing(self, path: str) -> Standing:
        noise = self.paths.get(path)
        return "quiet" if noise is None or path == OTHER else noise.standing(self.n)

    @property
    def noisy(self) -> dict[str, frozenset[str]]:
        """Of each noisy path the format classes that are forgiven there: for the comparer, in samples without a second
        control."""
        found = {path: noise.formats(self.n) for path, noise in self.paths.items() if path != OTHER}
        return {path: formats for path, formats in found.items() if formats}

    def forgives(self, path: str, difference: Differs) -> bool:
        """Whether the candidate's `difference` at `path` is noise by experience: values of one format that was learned
        there."""
        noise = self.paths.get(path)
        if noise is None or path == OTHER or len(difference.formats) != 1:
            return False
        return difference.formats <= noise.formats(self.n)

    @property
    def volatile(self) -> tuple[str, ...]:
        """Paths that wait for a rule, by name."""
        return tuple(path for path in sorted(self.paths) if self.standing(path) == "volatile")

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` takes."""
        return {
            "n": self.n,
            "paths": {
                path: {"labels": dict(noise.labels), "b": noise.paired.b, "c": noise.paired.c}
                for path, noise in self.paths.items()
            },
            "flaky": [self.flaky.n, self.flaky.flaky, self.flaky.paired.b, self.flaky.paired.c],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        n, flaky, b, c = value["flaky"]
        paths = {
            path: PathNoise(dict(noise["labels"]), Paired(noise["b"], noise["c"]))
            for path, noise in value["paths"].items()
        }
        return cls(value["n"], paths, Flaky(n, flaky, Paired(b, c)))


_SILENT: Final = PathNoise()


def _bounded(paths: Mapping[str, PathNoise]) -> Mapping[str, PathNoise]:
    named = sorted(path for path in paths if path != OTHER)
    kept = {path: paths[path] for path in named[:_PATHS]}
    beyond = [paths[path] for path in named[_PATHS:]]
    if OTHER in paths:
        beyond.append(paths[OTHER])
    if beyond:
        kept[OTHER] = _total(beyond)
    return kept


def _total(noises: Iterable[PathNoise]) -> PathNoise:
    total = _SILENT
    for noise in noises:
        total += noise
    return total
