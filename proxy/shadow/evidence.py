"""Is the candidate as good as the control? Counts come in, a verdict with its reasons goes out. Pure: no clock, no I/O.

    REGRESSED   a blocking difference three times over, a stratum surely above the tolerated rate, or a candidate that
                surely strays (or dawdles) more often than the control does by itself
    READY       every stratum surely below the tolerated rate, every endpoint seen or waived, nothing blocking
    HOLD        anything else, for a named reason; no data is always HOLD

A *stratum* is one endpoint (method and template) with one class of legacy status. An endpoint with at least 1 % of the
traffic must be ready itself: each of its strata with 1 % of the traffic alone, the lesser ones with its largest. All
other endpoints are pooled as one. READY asks all of these groups, so it needs no correction for their number. A
regression is looked for in each stratum and each group, and one is enough: each errs in at most 1 of 100 epochs.

Only counts are kept: S and R follow from them (see `sequential`). What a rule excuses is never counted as a mismatch in
the first place; a waiver excuses a blocking signature from the verdict, and takes no mismatch out of S or R.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from math import log
from typing import Any, Final, Literal, Self

from proxy.shadow.interval import clopper_pearson
from proxy.shadow.latency import TAIL, Latency
from proxy.shadow.sequential import Counts, Paired, Regression, Sprt, from_log

POOLED: Final = "(all others)"
ANY_STATUS: Final = "*"

State = Literal["READY", "HOLD", "REGRESSED"]
Reason = Literal[
    "insufficient", "blind", "no_traffic", "noise_unaccepted", "gate_closed", "stale", "waiting_duration", "regressed"
]
# What is wrong with the looking comes before what was not seen yet.
_ORDER: Final[tuple[Reason, ...]] = (
    "regressed", "no_traffic", "stale", "blind", "noise_unaccepted", "insufficient", "waiting_duration", "gate_closed",
)  # fmt: skip

_FINGERPRINTS = 64
_MAJOR_PERCENT = 1.0
_REGRESSED_AT = log(100.0)
_BLOCKING_LIMIT = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """`p0` is the tolerated rate of mismatches, `alpha` the probability of READY although the rate is p0 or worse.
    `min_controls` is how often the control of each major GET or HEAD endpoint must have been asked twice."""

    p0: float = 0.001
    alpha: float = 0.05
    min_duration_s: float = 86_400.0
    min_fingerprints: int = 30
    min_controls: int = 50
    max_uncounted_percent: float = 20.0
    expires_s: float = 7 * 86_400.0

    def __post_init__(self) -> None:
        if not 0.0 < self.p0 <= 0.25:
            raise ValueError(f"p0 = {self.p0}: give a tolerated rate above 0 and up to 0.25")
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(f"alpha = {self.alpha}: give a probability between 0 and 1")
        if not 0 <= self.min_fingerprints <= _FINGERPRINTS:
            raise ValueError(f"min_fingerprints = {self.min_fingerprints}: give 0 to {_FINGERPRINTS}")


@dataclass(frozen=True, slots=True, order=True)
class Stratum:
    """`endpoint` is `METHOD template`, `status_class` as `2xx`, of the legacy's answer whichever side it was."""

    endpoint: str
    status_class: str

    @classmethod
    def of(cls, method: str, template: str, legacy_status: int) -> Self:
        return cls(f"{method} {template}", f"{legacy_status // 100}xx")


@dataclass(frozen=True, slots=True)
class Tally:
    """What is kept of a stratum; sums of it, in any order and grouping, are tallies too. `fingerprints` are the 64
    smallest, in order: below 64 there are no others. Times are epoch seconds, None where nothing was counted."""

    counts: Counts = field(default_factory=Counts)
    fingerprints: tuple[str, ...] = ()
    first_s: float | None = None
    last_s: float | None = None

    def __add__(self, other: Tally) -> Tally:
        firsts = [at for at in (self.first_s, other.first_s) if at is not None]
        lasts = [at for at in (self.last_s, other.last_s) if at is not None]
        return Tally(
            self.counts + other.counts,
            tuple(sorted({*self.fingerprints, *other.fingerprints})[:_FINGERPRINTS]),
            min(firsts, default=None),
            max(lasts, default=None),
        )

    def observe(self, mismatch: bool, fingerprint: str, at_s: float) -> Tally:
        """One counted comparison; `mismatch` also where it is blocking."""
        return self + Tally(Counts(1, int(mismatch)), (fingerprint,), at_s, at_s)

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` takes."""
        return {
            "n": self.counts.n,
            "k": self.counts.k,
            "fingerprints": list(self.fingerprints),
            "first_s": self.first_s,
            "last_s": self.last_s,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        counts = Counts(value["n"], value["k"])
        return cls(counts, tuple(value["fingerprints"]), value["first_s"], value["last_s"])


@dataclass(frozen=True, slots=True)
class Waiver:
    """`name` answers for `what`, because of `reason`: the signature of a blocking difference, or an endpoint that is
    not seen, or seen in less than 1 % of the traffic. A major endpoint cannot be waived."""

    what: str
    name: str
    reason: str

    def __post_init__(self) -> None:
        if not (self.what.strip() and self.name.strip() and self.reason.strip()):
            raise ValueError(f"waiver of {self.what!r} by {self.name!r}: give what is waived, a name and a reason")


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that one epoch of one seam has gathered.

    `traffic` counts requests by endpoint, sampled or not; `known` are the endpoints that there should be; `uncounted`
    are samples that are no evidence, by class; `repeated` those over the cap of their fingerprint and `flaky` those
    that a second question did not reproduce; `blocking` counts by signature; `paired` by path (or what else strays);
    `controls` counts second controls by endpoint; `volatile` names the noise that waits for a rule.
    """

    epoch: str
    strata: Mapping[Stratum, Tally] = field(default_factory=dict)
    traffic: Mapping[str, int] = field(default_factory=dict)
    known: Set[str] = frozenset()
    uncounted: Mapping[str, int] = field(default_factory=dict)
    repeated: int = 0
    flaky: int = 0
    blocking: Mapping[str, int] = field(default_factory=dict)
    paired: Mapping[str, Paired] = field(default_factory=dict)
    controls: Mapping[str, int] = field(default_factory=dict)
    volatile: tuple[str, ...] = ()
    latency: Latency | None = None

    @property
    def total(self) -> Tally:
        return _total(self.strata.values())

    @property
    def samples(self) -> int:
        return self.total.counts.n + self.repeated + self.flaky + sum(self.uncounted.values())


@dataclass(frozen=True, slots=True)
class Group:
    """What is judged as one, with the figures that tell what to do. `endpoints` and `members` are what is in it (an
    endpoint that was never compared has no stratum), `s`, `goal` and `needed` those of the sequential test, `log_r` the
    greatest ln R of the group and of any stratum in it, `suspect` whose that is. `required` is False where a waiver
    excuses it from READY."""

    endpoint: str
    status_class: str
    endpoints: tuple[str, ...]
    members: tuple[Stratum, ...]
    n: int
    k: int
    s: float
    goal: float
    percent: float
    needed: int
    clean_to_go: int
    mismatch_cost: int
    fingerprints: int
    fingerprints_to_go: int
    log_r: float
    suspect: str
    expired: bool
    required: bool

    @property
    def ready(self) -> bool:
        return self.clean_to_go == 0 and self.fingerprints_to_go == 0 and not self.expired

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper-Pearson, 95 %, of the rate of mismatches. Descriptive: nothing is decided by it."""
        return clopper_pearson(self.k, self.n)

    @property
    def name(self) -> str:
        return self.endpoint if self.status_class == ANY_STATUS else f"{self.endpoint} {self.status_class}"

    @property
    def meter(self) -> str:
        """One line for people."""
        parts = [f"evidence {int(self.percent)}%"]  # cut off, not rounded: 100 % is ready
        if self.clean_to_go:
            parts.append(f"{self.clean_to_go} clean comparisons to go")
        if self.fingerprints_to_go:
            parts.append(f"{self.fingerprints_to_go} more distinct requests")
        if self.k:
            parts.append(f"{self.k} {'mismatch' if self.k == 1 else 'mismatches'} cost {self.mismatch_cost} each")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "endpoint": self.endpoint,
            "status_class": self.status_class,
            "endpoints": list(self.endpoints),
            "members": [f"{member.endpoint} {member.status_class}" for member in self.members],
            "n": self.n,
            "k": self.k,
            "s": self.s,
            "goal": self.goal,
            "percent": self.percent,
            "needed": self.needed,
            "clean_to_go": self.clean_to_go,
            "mismatch_cost": self.mismatch_cost,
            "fingerprints": self.fingerprints,
            "fingerprints_to_go": self.fingerprints_to_go,
            "log_r": self.log_r,
            "suspect": self.suspect,
            "expired": self.expired,
            "required": self.required,
            "ready": self.ready,
            "meter": self.meter,
            "rate_interval": {"low": low, "high": high, "confidence": 0.95, "use": "descriptive"},
        }


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that stands between the evidence and READY, and what would mend it."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is that of the first note, None where READY. `percent` is that of the required group furthest behind.
    `unseen` are known endpoints without traffic and without waiver, `waived` the waivers that took effect."""

    state: State
    reason: Reason | None
    notes: tuple[Note, ...]
    groups: tuple[Group, ...]
    percent: float
    unseen: tuple[str, ...]
    waived: tuple[Waiver, ...]

    def __str__(self) -> str:
        return f"HOLD({self.reason})" if self.state == "HOLD" else self.state

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.state,
            "reason": self.reason,
            "notes": [{"reason": note.reason, "text": note.text} for note in self.notes],
            "percent": self.percent,
            "strata": [group.to_json() for group in self.groups],
            "unseen": list(self.unseen),
            "waived": [{"what": waiver.what, "name": waiver.name, "reason": waiver.reason} for waiver in self.waived],
        }


def assess(
    evidence: Evidence,
    policy: Policy,
    *,
    now_s: float,
    epoch: str,
    waivers: Iterable[Waiver] = (),
    closed_gates: tuple[str, ...] = (),
) -> Verdict:
    """The verdict at `now_s` (epoch seconds). `epoch` is the current one: evidence of another is stale. `closed_gates`
    are the outer conditions that do not hold, in words."""
    book = {waiver.what: waiver for waiver in waivers}
    coverage = _Coverage(evidence if evidence.epoch == epoch else replace(evidence, strata={}))
    groups = tuple(_judge(part, policy, now_s) for part in coverage.parts(book.keys()))
    unseen = tuple(sorted(coverage.unseen - book.keys()))
    used = tuple(book[what] for what in sorted(book.keys() & (coverage.waivable | evidence.blocking.keys())))

    notes = [*_looking(evidence, policy, now_s, epoch)]
    if not notes:
        notes += _regressions(evidence, groups, book.keys())
        notes += _shortfalls(evidence, policy, groups, book.keys(), coverage)
        notes += [Note("insufficient", f"{name} was never seen: send it traffic, or waive it") for name in unseen]
        notes += [Note("gate_closed", f"gate closed: {gate}") for gate in closed_gates]
    notes.sort(key=lambda note: _ORDER.index(note.reason))
    reason = notes[0].reason if notes else None
    state: State = "READY" if reason is None else "REGRESSED" if reason == "regressed" else "HOLD"
    percent = min((0.0 if group.expired else group.percent for group in groups if group.required), default=0.0)
    return Verdict(state, reason, tuple(notes), groups, percent, unseen, used)


# --- what belongs together -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    endpoint: str
    status_class: str
    endpoints: tuple[str, ...]
    strata: Mapping[Stratum, Tally]
    required: bool


class _Coverage:
    """Which endpoints are major, and which strata are judged as one."""

    def __init__(self, evidence: Evidence) -> None:
        self.strata: dict[str, dict[Stratum, Tally]] = {}
        for stratum, tally in sorted(evidence.strata.items()):
            self.strata.setdefault(stratum.endpoint, {})[stratum] = tally
        # An endpoint has at least the traffic that was compared.
        compared = {name: sum(tally.counts.n for tally in strata.values()) for name, strata in self.strata.items()}
        self.traffic = {
            name: max(evidence.traffic.get(name, 0), compared.get(name, 0))
            for name in sorted({*evidence.traffic, *compared})
        }
        self.all = sum(self.traffic.values())
        self.seen = {name for name, requests in self.traffic.items() if requests > 0}
        self.major = {name for name in self.seen if self._major(self.traffic[name])}
        self.unseen = evidence.known - self.seen
        self.waivable = self.unseen | (self.seen - self.major)

    def _major(self, requests: float) -> bool:
        return requests * 100.0 >= _MAJOR_PERCENT * self.all

    def parts(self, waived: Set[str]) -> Iterable[_Part]:
        for name in sorted(self.major):
            yield from self._of_major(name)
        minor = self.seen - self.major
        pooled = sorted(minor - waived)
        if pooled:
            strata = {stratum: tally for name in pooled for stratum, tally in self.strata.get(name, {}).items()}
            yield _Part(POOLED, ANY_STATUS, tuple(pooled), strata, True)
        for name in sorted(minor & waived):
            yield _Part(name, ANY_STATUS, (name,), self.strata.get(name, {}), False)

    def _of_major(self, name: str) -> Iterable[_Part]:
        strata = self.strata.get(name, {})
        if not strata:
            yield _Part(name, ANY_STATUS, (name,), {}, True)
            return
        compared = sum(tally.counts.n for tally in strata.values())
        largest = max(strata, key=lambda stratum: strata[stratum].counts.n)
        with_largest = {}
        for stratum, tally in strata.items():
            if stratum == largest or not self._major(self.traffic[name] * tally.counts.n / max(1, compared)):
                with_largest[stratum] = tally
            else:
                yield _Part(name, stratum.status_class, (name,), {stratum: tally}, True)
        yield _Part(name, largest.status_class, (name,), with_largest, True)


def _judge(part: _Part, policy: Policy, now_s: float) -> Group:
    test, regression = Sprt.tolerating(policy.p0, policy.alpha), Regression(policy.p0)
    total = _total(part.strata.values())
    fresh = {stratum: tally for stratum, tally in part.strata.items() if not _expired(tally, policy, now_s)}
    suspects = {f"{one.endpoint} {one.status_class}": regression.log_e(tally.counts) for one, tally in fresh.items()}
    suspects[part.endpoint] = regression.log_e(_total(fresh.values()).counts)
    suspect = max(suspects, key=lambda name: suspects[name])
    return Group(
        endpoint=part.endpoint,
        status_class=part.status_class,
        endpoints=part.endpoints,
        members=tuple(part.strata),
        n=total.counts.n,
        k=total.counts.k,
        s=test.score(total.counts),
        goal=test.goal,
        percent=test.percent(total.counts),
        needed=test.needed,
        clean_to_go=test.to_go(total.counts),
        mismatch_cost=test.cost,
        fingerprints=len(total.fingerprints),
        fingerprints_to_go=max(0, policy.min_fingerprints - len(total.fingerprints)),
        log_r=suspects[suspect],
        suspect=suspect,
        expired=_expired(total, policy, now_s),
        required=part.required,
    )


def _expired(tally: Tally, policy: Policy, now_s: float) -> bool:
    return tally.last_s is not None and now_s - tally.last_s > policy.expires_s


def _total(tallies: Iterable[Tally]) -> Tally:
    return sum(tallies, Tally())


# --- what stands in the way ------------------------------------------------------------------------------------------


def _looking(evidence: Evidence, policy: Policy, now_s: float, epoch: str) -> Iterable[Note]:
    """Where there is nothing that could be judged."""
    if evidence.epoch != epoch:
        yield Note("stale", f"evidence is of epoch {evidence.epoch}, now it is {epoch}: rules or versions have changed")
    elif evidence.samples == 0:
        yield Note("no_traffic", "nothing was compared in this epoch")
    elif _expired(evidence.total, policy, now_s):
        yield Note("stale", f"nothing was counted for {_span(policy.expires_s)}")


def _regressions(evidence: Evidence, groups: Iterable[Group], waived: Set[str]) -> Iterable[Note]:
    for signature, count in sorted(evidence.blocking.items()):
        if count >= _BLOCKING_LIMIT and signature not in waived:
            yield Note("regressed", f"blocking difference {signature}, {count} times")
    for group in groups:
        if group.log_r >= _REGRESSED_AT:
            yield Note("regressed", f"{group.suspect} differs more often than tolerated (R = {_e(group.log_r)})")
    for path, paired in sorted(evidence.paired.items()):
        if paired.log_e >= _REGRESSED_AT:
            alone = f"the candidate alone {paired.b} times, the control alone {paired.c} times"
            yield Note("regressed", f"{path} strays more than the control does by itself: {alone}")
    if evidence.latency is not None and evidence.latency.paired.log_e >= _REGRESSED_AT:
        paired = evidence.latency.paired
        yield Note("regressed", f"slower than the control {paired.b} times, the control than itself {paired.c} times")


def _shortfalls(
    evidence: Evidence, policy: Policy, groups: Iterable[Group], waived: Set[str], coverage: _Coverage
) -> Iterable[Note]:
    uncounted, samples = sum(evidence.uncounted.values()), evidence.samples
    if uncounted * 100.0 > policy.max_uncounted_percent * samples:
        by_class = ", ".join(f"{name} {count}" for name, count in sorted(evidence.uncounted.items()) if count)
        yield Note("blind", f"{uncounted} of {samples} samples say nothing: {by_class}")
    for path in evidence.volatile:
        yield Note("noise_unaccepted", f"{path} differs between two answers of the control: write a rule for it")
    for signature, count in sorted(evidence.blocking.items()):
        if 0 < count < _BLOCKING_LIMIT and signature not in waived:
            text = f"blocking difference {signature}, seen {count} of {_BLOCKING_LIMIT} times: mend it, or waive it"
            yield Note("insufficient", text)
    for group in groups:
        if group.required and group.expired:
            yield Note("stale", f"{group.name}: nothing was counted for {_span(policy.expires_s)}")
        elif group.required and not group.ready:
            yield Note("insufficient", f"{group.name}: {group.meter}")
    for name in sorted(coverage.major):
        missing = policy.min_controls - evidence.controls.get(name, 0)
        if missing > 0 and name.startswith(("GET ", "HEAD ")):  # nothing else is asked twice
            yield Note("insufficient", f"{name}: {missing} more second questions to the control")
    if evidence.latency is not None and not evidence.latency.ready:
        to_go = TAIL.to_go(evidence.latency.tail)
        yield Note("insufficient", f"latency: {to_go} more answers within the limit to go")
    total = evidence.total
    if total.first_s is not None and total.last_s is not None:
        rest_s = policy.min_duration_s - (total.last_s - total.first_s)
        if rest_s > 0:
            yield Note("waiting_duration", f"{_span(rest_s)} more of traffic to see")


def _span(seconds: float) -> str:
    if seconds >= 86_400:
        return f"{seconds / 86_400:.1f} days"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def _e(log_value: float) -> str:
    return f"{from_log(log_value):.3g}"
