"""All that is known of one epoch of one seam, as counts that add up. Knows no file and no rule; the time is told.

Two processes may gather for one epoch at the same time (a handover), so a book is the sum of parts: `past` is what
others have written down, `own` what this process adds. Only `own` is ever written by it.

Names of members that are data (see `redact`) are known here only as the paths of noise, which the comparer must find
again; all that is written down or told has `{*}` in their place.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Self

import orjson

from proxy.moment import moment
from proxy.shadow.difference import Verdict
from proxy.shadow.endpoint import MOST_ENDPOINTS
from proxy.shadow.evidence import Evidence, Stratum, Tally
from proxy.shadow.latency import Latency
from proxy.shadow.noise import OTHER, EndpointNoise, PathNoise
from proxy.shadow.redact import redacted_path
from proxy.shadow.sequential import Counts, Paired
from proxy.shadow.suggest import noise_row, suggested_rule

MOST_RECENT: Final = 1000
KEPT_FIRST: Final = 2
KEPT_OF_THE_REST: Final = 3
SURE: Final = 20

_MOST_TEMPLATES = 200  # of an endpoint
_MOST_SIGNATURES = 2000
_MOST_DIFFERENCES = 200  # of a report
_MOST_SPOTS = 100_000  # about 30 MiB
_MOST_PENDING_BYTES = 16_000_000
_RECENT_CHARACTERS = 2000
_LONGEST_SIGNATURE = 300
_HOUR_S = 3600

Place = tuple[str, str, str]
"""Path, class and severity."""


@dataclass(slots=True)
class Spot:
    """Requests that differ at one place in one hour. Times are epoch seconds."""

    n: int = 0
    first_s: float = 0.0
    last_s: float = 0.0

    def add(self, n: int, first_s: float, last_s: float) -> None:
        self.first_s = min(self.first_s, first_s) if self.n else first_s
        self.last_s = max(self.last_s, last_s)
        self.n += n


@dataclass(slots=True)
class EndpointPart:
    """Of one endpoint. `totals` count verdicts, `uncounted` samples by class; `strata` go by status class, `noise` by
    the side that served, `spots` by place and hour."""

    traffic: int = 0
    totals: Counter[str] = field(default_factory=Counter)
    uncounted: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    flaky: int = 0
    strata: dict[str, Tally] = field(default_factory=dict)
    noise: dict[str, EndpointNoise] = field(default_factory=dict)
    blocking: Counter[str] = field(default_factory=Counter)
    latency: Latency | None = None
    spots: dict[tuple[Place, int], Spot] = field(default_factory=dict)

    def add(self, other: EndpointPart) -> None:
        self.traffic += other.traffic
        self.totals += other.totals
        self.uncounted += other.uncounted
        self.repeated += other.repeated
        self.flaky += other.flaky
        self.blocking += other.blocking
        for name, tally in other.strata.items():
            self.strata[name] = self.strata.get(name, Tally()) + tally
        for side, noise in other.noise.items():
            self.noise[side] = self.noise.get(side, EndpointNoise()) + noise
        if other.latency is not None:
            self.latency = (self.latency or Latency()) + other.latency
        for key, spot in other.spots.items():
            self.spots.setdefault(key, Spot()).add(spot.n, spot.first_s, spot.last_s)

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` takes; all but `spots`. Noise at a name that is data is of no use to anyone
        later: it goes with the paths that are counted together."""
        latency = self.latency
        return {
            "traffic": self.traffic,
            "totals": dict(self.totals),
            "uncounted": dict(self.uncounted),
            "repeated": self.repeated,
            "flaky": self.flaky,
            "strata": {name: tally.to_json() for name, tally in self.strata.items()},
            "noise": {side: _nameless(noise).to_json() for side, noise in self.noise.items()},
            "blocking": dict(self.blocking),
            "latency": latency and [latency.paired.b, latency.paired.c, latency.tail.n, latency.tail.k],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        latency = value["latency"]
        return cls(
            traffic=value["traffic"],
            totals=Counter(value["totals"]),
            uncounted=Counter(value["uncounted"]),
            repeated=value["repeated"],
            flaky=value["flaky"],
            strata={name: Tally.from_json(tally) for name, tally in value["strata"].items()},
            noise={side: EndpointNoise.from_json(noise) for side, noise in value["noise"].items()},
            blocking=Counter(value["blocking"]),
            latency=latency and Latency(Paired(*latency[:2]), Counts(*latency[2:])),
        )


def _nameless(noise: EndpointNoise) -> EndpointNoise:
    hidden = [path for path in noise.paths if redacted_path(path) != path]
    if not hidden:
        return noise
    paths = {path: seen for path, seen in noise.paths.items() if path not in hidden}
    paths[OTHER] = sum((noise.paths[path] for path in hidden), paths.get(OTHER, PathNoise()))
    return EndpointNoise(noise.n, paths, noise.flaky)


class Kept(NamedTuple):
    """An exemplar that waits to be written. `seen`: how many of its signature there were; `document` is JSON."""

    endpoint: str
    at_s: float
    seen: int
    document: bytes


def signature(endpoint: str, verdict: Verdict) -> str:
    """What is wrong with an answer, in words: the endpoint, and every place that counts with its class. Of what counts
    nothing it is all places."""
    serious = [one for one in verdict.differences if one.severity in ("blocking", "mismatch")]
    chosen = serious or [one for one in verdict.differences if one.severity != "note"]
    places = sorted({f"{redacted_path(one.path)} {one.kind}" for one in chosen}) or [verdict.kind]
    text = f"{endpoint}: {', '.join(places)}"
    if len(text) <= _LONGEST_SIGNATURE:
        return text
    return f"{text[:_LONGEST_SIGNATURE]}… #{blake2b(text.encode(), digest_size=4).hexdigest()}"


class Book:
    """`epoch` is made of `mark` (rules) and `versions` (of legacy and extracted side). `dirty` and `dirty_spots` name
    what has changed of the own part since it was last written down; `pending` are exemplars that wait for that. Places
    beyond `most_spots` are counted without their paths."""

    def __init__(
        self,
        seam: str,
        epoch: str,
        mark: str,
        versions: tuple[str, str],
        started_s: float,
        rng: random.Random,
        *,
        most_spots: int = _MOST_SPOTS,
    ) -> None:
        self.seam = seam
        self.epoch = epoch
        self.mark = mark
        self.versions = versions
        self.started_s = started_s
        self.past: Mapping[str, EndpointPart] = {}
        self.own: dict[str, EndpointPart] = {}
        self.dirty: set[str] = set()
        self.dirty_spots: set[tuple[str, Place, int]] = set()
        self.pending: dict[tuple[str, int], Kept] = {}
        self.recent: deque[dict[str, Any]] = deque(maxlen=MOST_RECENT)
        self.served_s: deque[float] = deque(maxlen=500)
        self.seen: Counter[str] = Counter()
        self._confirmed: dict[str, int] = {}
        self._endpoints: set[str] = set()
        self._templates: dict[str, set[str]] = {}
        self._spots = 0
        self._most_spots = most_spots
        self._pending_bytes = 0
        self._rng = rng

    def __repr__(self) -> str:
        return f"<Book {self.seam} {self.epoch}>"

    @property
    def last_s(self) -> float:
        """When the last comparison was entered, epoch seconds; where there is none, when the book was begun."""
        parts = [*self.past.values(), *self.own.values()]
        tallies = (tally.last_s or 0.0 for part in parts for tally in part.strata.values())
        spots = (spot.last_s for part in parts for spot in part.spots.values())
        return max((self.started_s, *tallies, *spots))

    def remember(self, past: Mapping[str, EndpointPart]) -> None:
        """`past` is all that others have written, instead of what they had before."""
        self.past = past
        self._endpoints = {*past, *self.own}
        self._templates = {}
        self._spots = 0
        for parts in (past, self.own):
            for endpoint, part in parts.items():
                self._spots += len(part.spots)
                self._templates.setdefault(endpoint, set()).update(place[0] for place, _ in part.spots)

    def forget_own(self) -> None:
        """Others have taken over what was written of it; what was not is lost."""
        self.own = {}
        self.written()

    def forget_hours(self, before: int) -> None:
        """Hourly counts of hours since 1970 below `before`."""
        for parts in (self.past, self.own):
            for part in parts.values():
                part.spots = {key: spot for key, spot in part.spots.items() if key[1] >= before}
        self.dirty_spots = {key for key in self.dirty_spots if key[2] >= before}
        self.remember(self.past)

    def written(self) -> None:
        """All that was new is in the file."""
        self.dirty.clear()
        self.dirty_spots.clear()
        self.pending.clear()
        self._pending_bytes = 0

    # --- entries -----------------------------------------------------------------------------------------------------

    def note_traffic(self, endpoint: str, requests: int) -> None:
        """Requests, sampled or not."""
        self._part(self._told(endpoint)).traffic += requests

    def lose(self, kind: str, samples: int, endpoint: str = OTHER) -> None:
        """Samples of which there will be no pair."""
        part = self._part(self._told(endpoint))
        part.uncounted[kind] += samples
        part.totals["uncounted"] += samples

    def settle(
        self,
        endpoint: str,
        verdict: Verdict,
        at_s: float,
        request_id: str,
        *,
        flaky: bool = False,
        repeated: bool = False,
    ) -> None:
        """One sample. `flaky`: a second question did not reproduce the mismatch; `repeated`: the same request was
        evidence often enough in this hour, and is shown only."""
        endpoint = self._told(endpoint)
        part = self._part(endpoint)
        counts = verdict.counts and not flaky
        kind = "flaky" if flaky else verdict.kind
        part.totals[verdict.verdict if counts else "uncounted"] += 1
        if flaky:
            part.flaky += 1
        elif not counts:
            part.uncounted[verdict.kind] += 1
        elif repeated:
            part.repeated += 1
        elif any(one.severity == "blocking" for one in verdict.differences):
            what = signature(endpoint, verdict)
            if what in part.blocking or len(part.blocking) < _MOST_TEMPLATES:
                part.blocking[what] += 1
        if not flaky:
            self._enter(endpoint, part, verdict, at_s)
        self.recent.append(
            {
                "at": moment(at_s),
                "request_id": request_id,
                "endpoint": endpoint,
                "verdict": verdict.verdict,
                "counts": counts,
                "class": kind,
                "paths": _shortlist(verdict.paths),
            }
        )

    def _enter(self, endpoint: str, part: EndpointPart, verdict: Verdict, at_s: float) -> None:
        """A request counts once at each place and class, however many paths have one name by now."""
        hour = int(at_s // _HOUR_S)
        places = {(self._template(endpoint, one.path), one.kind, one.severity) for one in verdict.differences}
        for place in places:
            spot = part.spots.get((place, hour))
            if spot is None and self._spots >= self._most_spots:
                place = (OTHER, *place[1:])
                spot = part.spots.get((place, hour))
            if spot is None:
                if self._spots >= 2 * self._most_spots:
                    continue
                self._spots += 1
                spot = part.spots[place, hour] = Spot()
            spot.add(1, at_s, at_s)
            self.dirty_spots.add((endpoint, place, hour))

    def _template(self, endpoint: str, path: str) -> str:
        known = self._templates.setdefault(endpoint, set())
        path = redacted_path(path)
        if path not in known:
            if len(known) >= _MOST_TEMPLATES:
                return OTHER
            known.add(path)
        return path

    def tally(self, stratum: Stratum, mismatch: bool, fingerprint: str, at_s: float) -> None:
        """One counted comparison."""
        strata = self._part(self._told(stratum.endpoint)).strata
        strata[stratum.status_class] = strata.get(stratum.status_class, Tally()).observe(mismatch, fingerprint, at_s)

    def noise(self, endpoint: str, served: str) -> EndpointNoise:
        """What is known of it, from whoever gathered it."""
        endpoint = self._told(endpoint)
        past, own = self.past.get(endpoint), self.own.get(endpoint)
        found = EndpointNoise() if past is None else past.noise.get(served, EndpointNoise())
        return found if own is None or served not in own.noise else found + own.noise[served]

    def learn(self, endpoint: str, served: str, more: EndpointNoise) -> None:
        """`more` is what one sample adds."""
        noise = self._part(self._told(endpoint)).noise
        noise[served] = noise.get(served, EndpointNoise()) + more

    def time(self, endpoint: str, control_s: float, second_s: float, candidate_s: float, limit_s: float) -> None:
        """How long a control, the second one and the candidate took."""
        part = self._part(self._told(endpoint))
        part.latency = (part.latency or Latency()).observe(control_s, second_s, candidate_s, limit_s)

    def doubts(self, what: str) -> bool:
        """Whether a mismatch of this signature should be asked again. Of one that came back 20 times in a row only each
        20th is: what is sure already must not cost the side that serves a second question each time."""
        number = self._confirmed.get(what, 0)
        if number < SURE:
            return True
        self._confirmed[what] = number + 1
        return number % SURE == 0

    def confirm(self, what: str, came_back: bool) -> None:
        """What the second question brought."""
        if not came_back:
            self._confirmed.pop(what, None)
            return
        self._confirmed[what] = self._confirmed.get(what, 0) + 1
        if len(self._confirmed) > _MOST_SIGNATURES:
            del self._confirmed[next(iter(self._confirmed))]

    def slot(self, what: str) -> int | None:
        """Where an exemplar of this signature goes: the first two stay, of all later ones three at random (Vitter,
        "Random Sampling with a Reservoir", 1985). None: it is not wanted."""
        if what not in self.seen and len(self.seen) >= _MOST_SIGNATURES:
            return None
        number = self.seen[what]
        self.seen[what] += 1
        if number < KEPT_FIRST + KEPT_OF_THE_REST:
            return number
        place = self._rng.randrange(number - KEPT_FIRST + 1)
        return KEPT_FIRST + place if place < KEPT_OF_THE_REST else None

    def keep(self, what: str, slot: int, endpoint: str, at_s: float, document: Mapping[str, Any]) -> None:
        """An exemplar, redacted already. What is no JSON, or too much while nothing can be written, is left out."""
        try:
            text = orjson.dumps(document)
        except TypeError:
            return
        before = self.pending.get((what, slot))
        size = self._pending_bytes + len(text) - (0 if before is None else len(before.document))
        if size <= _MOST_PENDING_BYTES:
            self._pending_bytes = size
            self.pending[what, slot] = Kept(self._told(endpoint), at_s, self.seen[what], text)

    def forget_seen(self, kept: Set[str]) -> None:
        """The signatures that have exemplars; all others begin anew."""
        for what in self.seen.keys() - kept - {what for what, _ in self.pending}:
            del self.seen[what]

    def _told(self, endpoint: str) -> str:
        """The endpoint by which it is counted. The proxy bounds them too, but each process others."""
        if endpoint not in self._endpoints:
            if len(self._endpoints) >= MOST_ENDPOINTS and not endpoint.endswith(OTHER):
                return f"{endpoint.partition(' ')[0]} {OTHER}"
            self._endpoints.add(endpoint)
        return endpoint

    def _part(self, endpoint: str) -> EndpointPart:
        self.dirty.add(endpoint)
        return self.own.setdefault(endpoint, EndpointPart())

    # --- reports -----------------------------------------------------------------------------------------------------

    def whole(self) -> dict[str, EndpointPart]:
        """By endpoint, others' part and the own one together."""
        found: dict[str, EndpointPart] = {}
        for parts in (self.past, self.own):
            for endpoint, part in parts.items():
                found.setdefault(endpoint, EndpointPart()).add(part)
        return found

    def evidence(self, known: Set[str]) -> Evidence:
        """For `evidence.assess`. Only where legacy was the control does noise tell of the extracted side."""
        parts = self.whole()
        forward = {name: part.noise["legacy"] for name, part in parts.items() if "legacy" in part.noise}
        paired: dict[str, Paired] = {}
        for name, noise in forward.items():
            for path, seen in noise.paths.items():
                place = f"{name} {redacted_path(path)}"
                paired[place] = paired.get(place, Paired()) + seen.paired
        paired |= {f"{name} (flaky)": noise.flaky.paired for name, noise in forward.items() if noise.flaky.n}
        latency: Latency | None = None
        for part in parts.values():
            if part.latency is not None:
                latency = (latency or Latency()) + part.latency
        return Evidence(
            self.epoch,
            strata={
                Stratum(name, status): tally for name, part in parts.items() for status, tally in part.strata.items()
            },
            traffic={name: part.traffic for name, part in parts.items() if part.traffic},
            known=known,
            uncounted=sum((part.uncounted for part in parts.values()), Counter()),
            repeated=sum(part.repeated for part in parts.values()),
            flaky=sum(part.flaky for part in parts.values()),
            blocking=sum((part.blocking for part in parts.values()), Counter()),
            paired=paired,
            controls={name: noise.n for name, noise in forward.items()},
            volatile=tuple(
                dict.fromkeys(
                    f"{name} {redacted_path(path)}"
                    for name, noise in sorted(forward.items())
                    for path in noise.volatile
                )
            ),
            latency=latency,
        )

    def heading(self) -> dict[str, Any]:
        """What every report begins with."""
        return {
            "seam": self.seam,
            "epoch": self.epoch,
            "since": moment(self.started_s),
            "versions": {"legacy": self.versions[0], "extracted": self.versions[1]},
        }

    def comparisons(self, exemplars: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, Any]:
        """`GET /api/seams/{name}/comparisons`. `exemplars` are those that are kept, by endpoint."""
        parts = self.whole()
        totals: Counter[str] = sum((part.totals for part in parts.values()), Counter())
        return {
            **self.heading(),
            "uncounted": dict(sum((part.uncounted for part in parts.values()), Counter[str]())),
            "flaky": sum(part.flaky for part in parts.values()),
            "repeated": sum(part.repeated for part in parts.values()),
            "totals": {name: totals[name] for name in ("match", "mismatch", "uncounted")},
            "differences": list(_differences(parts, exemplars)),
            "noise": [
                _noise_row(name, path, noise)
                for name, part in sorted(parts.items())
                for noise in (part.noise.get("legacy") or EndpointNoise(),)
                for path in sorted(noise.paths)
                if noise.standing(path) != "quiet"
            ],
            "recent": list(reversed(self.recent)),
        }


def _noise_row(endpoint: str, path: str, noise: EndpointNoise) -> dict[str, Any]:
    row, told = noise_row(endpoint, path, noise), redacted_path(path)
    return row if told == path else {**row, "path": told, "rule": suggested_rule(told, row["formats"])}


def _shortlist(paths: Iterable[str]) -> list[str]:
    """Each once, the first of them, for there may be very many."""
    found: dict[str, None] = {}
    left = _RECENT_CHARACTERS
    for path in paths:
        told = redacted_path(path)
        if told not in found:
            left -= len(told)
            if left < 0 and found:
                break
            found[told] = None
    return list(found)


def _differences(
    parts: Mapping[str, EndpointPart], exemplars: Mapping[str, list[Mapping[str, Any]]]
) -> Iterable[dict[str, Any]]:
    """Most requests first; what counts before what does not."""
    sums: dict[tuple[str, Place], Spot] = {}
    for name, part in parts.items():
        for (place, _), spot in part.spots.items():
            sums.setdefault((name, place), Spot()).add(spot.n, spot.first_s, spot.last_s)
    order = {"blocking": 0, "mismatch": 0, "note": 1, "uncounted": 1}
    ranked = sorted(sums.items(), key=lambda one: (order[one[0][1][2]], -one[1].n, one[0]))
    for (endpoint, (path, kind, severity)), spot in ranked[:_MOST_DIFFERENCES]:
        fitting = (one for one in exemplars.get(endpoint, ()) if _has(one, path, kind))
        yield {
            "endpoint": endpoint,
            "path": path,
            "class": kind,
            "severity": severity,
            "count": spot.n,
            "first": moment(spot.first_s),
            "last": moment(spot.last_s),
            "exemplars": [one for one, _ in zip(fitting, range(KEPT_FIRST + KEPT_OF_THE_REST), strict=False)],
        }


def _has(exemplar: Mapping[str, Any], path: str, kind: str) -> bool:
    return any(one["path"] == path and one["class"] == kind for one in exemplar["differences"])
