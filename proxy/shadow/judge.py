"""What becomes of a sample: its verdict, what it teaches of noise, and how it counts. No I/O; the clock is passed in.

    sample ── failed? ── compare ── a mismatch that counts? ── asked again ── flaky, or it stands
                             └── match, or no evidence ─────────────────────────┴── entered in the book

Never raises for what a service said: a sample that breaks the judging is a counted `compare_error`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from proxy.routing.path import split_target
from proxy.shadow.answer import Answer
from proxy.shadow.book import Book, signature
from proxy.shadow.compare import compare, varying
from proxy.shadow.difference import Difference, Verdict, uncounted
from proxy.shadow.evidence import Evidence, Policy, Stratum, Waiver, assess
from proxy.shadow.exemplar import exemplar, sides
from proxy.shadow.fingerprint import HourlyCap, fingerprint
from proxy.shadow.latency import SLACK_S, tail_limit_s
from proxy.shadow.ledger import Ledger
from proxy.shadow.noise import EndpointNoise, Flaky, after_resend
from proxy.shadow.redact import Storing
from proxy.shadow.rules import Rules, compile_rules
from proxy.shadow.sample import Sample
from proxy.shadow.suggest import differing

log = logging.getLogger("proxy.shadow")

WAIT_S: Final = 30.0

_BROKEN: Final = Answer(502, ())  # what a client would have got
_CONFIRMED: Final = frozenset(("GET", "HEAD", "OPTIONS"))
_MOST_WAITING = 1000
_MOST_WAITING_BYTES = 64 * 1024 * 1024
_MARKS = 4  # rules of a seam that samples under way may still name
_LONGEST_VERSION = 100
_ENOUGH_TIMES = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the proxy counts of a sample. `kind` is "" for a match."""

    number: int
    seam: str
    verdict: str
    kind: str


@dataclass(frozen=True, slots=True)
class Terms:
    """A seam's rules, compiled."""

    rules: Rules
    storing: Storing
    version_header: bytes | None
    policy: Policy
    waivers: tuple[Waiver, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A sample, what was found, and the book that it belongs in, whichever is the current one when it is settled.
    `admitted`: the same request has not counted too often in this hour. `heard_s` by the clock."""

    sample: Sample
    terms: Terms
    book: Book
    fingerprint: str
    verdict: Verdict
    admitted: bool
    heard_s: float

    @property
    def size(self) -> int:
        answers = (self.sample.control, self.sample.candidate, self.sample.second)
        return sum(len(answer.body) for answer in answers if answer is not None) + len(self.sample.body)


class Judge:
    """`clock` gives epoch seconds."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._terms: dict[str, OrderedDict[str, Terms]] = {}
        self._caps: dict[str, tuple[str, HourlyCap]] = {}
        self._waiting: OrderedDict[int, Case] = OrderedDict()
        self._waiting_bytes = 0

    def __repr__(self) -> str:
        return f"<Judge {len(self._terms)} seams, {len(self._waiting)} waiting>"

    # --- what the proxy says -----------------------------------------------------------------------------------------

    def rules(self, seam: str, mark: str, options: Mapping[str, Any]) -> None:
        """The rules under this mark, in force from now on. Raises ValueError; the loader has checked them before."""
        known = self._terms.setdefault(seam, OrderedDict())
        known[mark] = _terms(options, self._ledger.key)
        known.move_to_end(mark)
        while len(known) > _MARKS:
            known.popitem(last=False)

    def note_traffic(self, seam: str, requests: Mapping[str, int]) -> None:
        book = self._present(seam)
        for endpoint, count in requests.items() if book is not None else ():
            assert book is not None
            book.note_traffic(endpoint, count)

    def lose(self, seam: str, samples: Mapping[str, int]) -> None:
        book = self._present(seam)
        for kind, count in samples.items() if book is not None else ():
            assert book is not None
            book.lose(kind, count)

    def take(self, sample: Sample) -> Outcome | None:
        """None: it is to be asked again, and settled by `again` or `expire`."""
        known = self._terms.get(sample.seam)
        terms = None if known is None else known.get(sample.mark)
        if terms is None:
            self.lose(sample.seam, {"dropped": 1})
            return Outcome(sample.number, sample.seam, "mismatch", "dropped")
        if sample.failure == "broken":
            sample = replace(sample, candidate=_BROKEN)
        try:
            case = self._heard(sample, terms)
            to_ask = case.admitted and _differs(case.verdict) and _is_confirmed(case)
            if to_ask and case.book.doubts(signature(sample.endpoint, case.verdict)):
                self._wait(case)
                return None
            return self._settle(case)
        except Exception as error:
            return self._botched(sample, terms, error)

    def again(self, number: int, candidate: Answer | None, control: Answer | None) -> Outcome | None:
        """Both sides' second answers to a mismatch; None for an answer that did not come."""
        case = self._waiting.pop(number, None)
        if case is None:
            return None
        self._waiting_bytes -= case.size
        sample, terms, book = case.sample, case.terms, case.book
        try:
            differs: bool | None = None
            if candidate is not None and control is not None:
                differs = _differs(self._compared(sample, control, candidate, None, terms, book))
                book.confirm(signature(sample.endpoint, case.verdict), differs)
            return self._settle(case, after_resend(differs) == "flaky")
        except Exception as error:
            return self._botched(sample, terms, error, book)

    def expire(self) -> Iterable[Outcome]:
        """Those that have waited too long, or are too many, are settled as they were."""
        now = self._clock()
        while self._waiting:
            number, case = next(iter(self._waiting.items()))
            crowded = len(self._waiting) > _MOST_WAITING or self._waiting_bytes > _MOST_WAITING_BYTES
            if not crowded and now - case.heard_s < WAIT_S:
                return
            outcome = self.again(number, None, None)
            if outcome is not None:
                yield outcome

    def finish(self) -> Iterable[Outcome]:
        """Nobody will be asked again: all that waits is settled as it was, one by one."""
        for number in list(self._waiting):
            outcome = self.again(number, None, None)
            if outcome is not None:
                yield outcome

    # --- reports -----------------------------------------------------------------------------------------------------

    def comparisons(self, seam: str) -> dict[str, Any]:
        """Raises LedgerError."""
        book = self._present(seam)
        if book is None:
            totals = dict.fromkeys(("match", "mismatch", "uncounted"), 0)
            counts = {"uncounted": {}, "flaky": 0, "repeated": 0, "totals": totals}
            return {**_nothing(seam), **counts, "differences": [], "noise": [], "recent": []}
        return book.comparisons(self._ledger.exemplars(book))

    def evidence(self, seam: str, known: Iterable[str]) -> dict[str, Any]:
        """The verdict on the current epoch, with all that it rests on."""
        terms = next(reversed(self._terms.get(seam, OrderedDict()).values()), None)
        policy, waivers = (Policy(), ()) if terms is None else (terms.policy, terms.waivers)
        book = self._present(seam)
        evidence = Evidence("", known=frozenset(known)) if book is None else book.evidence(frozenset(known))
        epoch = "" if book is None else book.epoch
        verdict = assess(evidence, policy, now_s=self._clock(), epoch=epoch, waivers=waivers)
        required = [group for group in verdict.groups if group.required]
        last = min(required, key=lambda group: group.percent, default=None)
        return {
            **(_nothing(seam) if book is None else book.heading()),
            "uncounted": dict(evidence.uncounted),
            "flaky": evidence.flaky,
            "repeated": evidence.repeated,
            **verdict.to_json(),
            "meter": "nothing was compared yet" if last is None else f"{last.name}: {last.meter}",
            "samples": evidence.samples,
            "policy": {name: getattr(policy, name) for name in Policy.__dataclass_fields__},
        }

    def _present(self, seam: str) -> Book | None:
        """The book of the rules in force: none where nothing was compared by them yet."""
        mark = next(reversed(self._terms.get(seam, OrderedDict())), None)
        book = self._ledger.current(seam)
        if book is None or mark is None or book.mark == mark:
            return book
        return None

    # --- judging -----------------------------------------------------------------------------------------------------

    def _heard(self, sample: Sample, terms: Terms) -> Case:
        book = self._book(sample, terms)
        verdict = self._judged(sample, terms, book)
        mark = self._fingerprint(sample)
        admitted = verdict.counts and self._cap(book).admit(mark, sample.at_s)
        return Case(sample, terms, book, mark, verdict, admitted, self._clock())

    def _judged(self, sample: Sample, terms: Terms, book: Book) -> Verdict:
        if sample.failure == "timeout":
            return uncounted("shadow_timeout", "status")
        if sample.candidate is None:
            return uncounted("dropped", "status")
        return self._compared(sample, sample.control, sample.candidate, sample.second, terms, book)

    def _compared(
        self, sample: Sample, control: Answer, candidate: Answer, second: Answer | None, terms: Terms, book: Book
    ) -> Verdict:
        """Where the extracted side served and their status differs, legacy's answer goes first all the same: whose
        failure it is does not depend on who served. A second control that failed excuses no candidate that fails."""
        noisy = book.noise(sample.endpoint, sample.served).noisy
        if sample.served == "extracted" and control.status != candidate.status:
            return _turned(compare(sample.ask, candidate, control, terms.rules, None, noisy))
        if second is not None and second.status >= 500 > control.status:
            second = None
        verdict = compare(sample.ask, control, candidate, terms.rules, second, noisy)
        if second is None or verdict.kind == "compare_error":
            return verdict
        if _differs(verdict) and second.status == candidate.status:
            other = compare(sample.ask, second, candidate, terms.rules, None, noisy)
            if other.verdict == "match":  # equal to either control is a match
                return other
        return verdict

    def _settle(self, case: Case, flaky: bool = False) -> Outcome:
        sample, verdict, book = case.sample, case.verdict, case.book
        self._learn(case, flaky)
        counts = verdict.counts and not flaky
        repeated = counts and not case.admitted
        book.settle(sample.endpoint, verdict, sample.at_s, sample.request_id, flaky=flaky, repeated=repeated)
        if counts and not repeated:
            _tally(case)
        if _differs(verdict) and not flaky and sample.candidate is not None:
            _show(case)
        kind = "flaky" if flaky else verdict.kind
        return Outcome(sample.number, sample.seam, verdict.verdict, kind)

    def _learn(self, case: Case, flaky: bool) -> None:
        """What the second control tells, and how long each took."""
        sample, terms, book = case.sample, case.terms, case.book
        second = sample.second
        if sample.served == "legacy" and sample.served_s is not None:
            book.served_s.append(sample.served_s)
        if second is None or not case.verdict.counts or case.verdict.kind == "compare_error":
            return  # what could not be compared once is not tried twice more
        if second.status >= 500:
            return  # an outage, and nothing that a rule could excuse
        varied = differing(varying(sample.ask, sample.control, second, terms.rules))
        strayed = {one.path for one in _raw(sample, terms) if one.severity != "note"}
        noise = EndpointNoise().observe(varied, strayed)
        known = book.noise(sample.endpoint, sample.served)
        alone = bool(varied.keys() - {path for path in varied if known.standing(path) != "quiet"})
        noise += EndpointNoise(0, {}, Flaky().observe(flaky, alone))
        book.learn(sample.endpoint, sample.served, noise)
        times = sample.served_s, sample.second_s, sample.candidate_s
        if sample.served == "legacy" and None not in times and len(book.served_s) >= _ENOUGH_TIMES:
            ordered = sorted(book.served_s)
            p95_s = ordered[int(0.95 * (len(ordered) - 1))]
            limit_s = tail_limit_s(p95_s, p95_s + SLACK_S)  # nobody promised less than what is noticed
            served_s, second_s, candidate_s = times
            assert served_s is not None and second_s is not None and candidate_s is not None
            book.time(sample.endpoint, served_s, second_s, candidate_s, limit_s)

    def _botched(self, sample: Sample, terms: Terms, error: Exception, book: Book | None = None) -> Outcome:
        log.error("a sample of %s could not be judged: %s", sample.endpoint, type(error).__name__)
        found = Difference("*", "compare_error", "mismatch", 1, None, None)
        verdict = Verdict("mismatch", True, "compare_error", (found,), ("*",))
        try:
            book = book or self._book(sample, terms)
            book.settle(sample.endpoint, verdict, sample.at_s, sample.request_id)
            _tally(Case(sample, terms, book, self._fingerprint(sample), verdict, True, self._clock()))
        except Exception as further:
            log.error("a sample of %s could not be counted: %s", sample.endpoint, type(further).__name__)
        return Outcome(sample.number, sample.seam, "mismatch", "compare_error")

    def _wait(self, case: Case) -> None:
        self._waiting[case.sample.number] = case
        self._waiting_bytes += case.size

    def _book(self, sample: Sample, terms: Terms) -> Book:
        """Of the epoch that rules and versions make. Who failed, or does not name its version on this answer, is taken
        to have the one it had: an error page or a file that was sent by somebody in front is no other version."""
        if terms.version_header is None:
            return self._ledger.book(sample.seam, sample.mark, ("", ""))
        current = self._ledger.current(sample.seam)
        last = ("", "") if current is None else current.versions
        legacy, extracted = (
            last[at] if answer is None or answer.status >= 500 else _version(answer, terms.version_header) or last[at]
            for at, answer in enumerate(sides(sample))
        )
        return self._ledger.book(sample.seam, sample.mark, (legacy, extracted))

    def _fingerprint(self, sample: Sample) -> str:
        path, query = split_target(sample.ask.target)
        return fingerprint(self._ledger.key, sample.ask.method, path, query or b"", sample.body, sample.subject)

    def _cap(self, book: Book) -> HourlyCap:
        """Of the epoch that is being gathered: what counted in another does not stand in the way."""
        epoch, cap = self._caps.get(book.seam, ("", None))
        if cap is None or (epoch != book.epoch and book is self._ledger.current(book.seam)):
            cap = HourlyCap()
            self._caps[book.seam] = book.epoch, cap
        return cap


def _terms(options: Mapping[str, Any], key: bytes) -> Terms:
    gate = options.get("gate") or {}
    usual = Policy()
    controlled = options.get("control_percent", 10) > 0
    header = options.get("version_header")
    return Terms(
        rules=compile_rules(options.get("compare") or {}),
        storing=Storing.of(key, options.get("store_values") or ()),
        version_header=None if header is None else header.lower().encode("ascii"),
        policy=Policy(
            p0=gate.get("max_mismatch_percent", usual.p0 * 100) / 100,
            alpha=gate.get("alpha", usual.alpha),
            min_duration_s=gate.get("min_duration_s", usual.min_duration_s),
            min_fingerprints=gate.get("min_requests", usual.min_fingerprints),
            min_controls=gate.get("min_controls", usual.min_controls) if controlled else 0,
            max_uncounted_percent=gate.get("max_uncounted_percent", usual.max_uncounted_percent),
            expires_s=gate.get("expires_s", usual.expires_s),
        ),
        waivers=tuple(Waiver(one["what"], one["name"], one["reason"]) for one in gate.get("waive", ())),
    )


def _version(answer: Answer, header: bytes) -> str:
    value = next((value for name, value in answer.headers if name.lower() == header), b"")
    return "".join(sign for sign in value.decode("latin-1") if " " <= sign <= "~")[:_LONGEST_VERSION]


def _tally(case: Case) -> None:
    sample = case.sample
    legacy, _ = sides(sample)
    method, _, template = sample.endpoint.partition(" ")
    stratum = Stratum.of(method, template, (legacy or _BROKEN).status)
    case.book.tally(stratum, _differs(case.verdict), case.fingerprint, sample.at_s)


def _show(case: Case) -> None:
    """Keep it as an exemplar, where one is wanted. It counts already, whatever becomes of this."""
    sample, verdict, terms, book = case.sample, case.verdict, case.terms, case.book
    what = signature(sample.endpoint, verdict)
    slot = book.slot(what)
    if slot is None:
        return
    try:
        document = exemplar(sample, verdict, terms.storing, terms.rules.max_body_bytes)
    except Exception as error:
        log.error("a sample of %s cannot be shown: %s", sample.endpoint, type(error).__name__)
    else:
        book.keep(what, slot, sample.endpoint, sample.at_s, document)


def _is_confirmed(case: Case) -> bool:
    """Whether it is asked again before it counts. What breaks the comparer would only break it again."""
    return case.sample.ask.method in _CONFIRMED and case.verdict.kind != "compare_error"


def _differs(verdict: Verdict) -> bool:
    return verdict.verdict == "mismatch"


def _raw(sample: Sample, terms: Terms) -> tuple[Difference, ...]:
    """How the candidate differs from the first control before anything is forgiven."""
    return varying(sample.ask, sample.control, sample.candidate or _BROKEN, terms.rules)


def _turned(verdict: Verdict) -> Verdict:
    """Control and candidate in their places again."""
    turned = (replace(one, control=one.candidate, candidate=one.control) for one in verdict.differences)
    return replace(verdict, differences=tuple(turned))


def _nothing(seam: str) -> dict[str, Any]:
    """The heading of a report where there is no book."""
    return {"seam": seam, "epoch": None, "since": None, "versions": {"legacy": "", "extracted": ""}}
