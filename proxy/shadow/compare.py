"""Is this answer as good as that one? Pure: two answers and the rules in, a verdict out. Never raises.

    conditional, both failed, control failed alone ──► no evidence
    status ──► headers ──► media type ──► equal bytes? ──► codings ──► characters ──► JSON, HTML, XML, text, bytes

A status that differs is reported alone, and so is another kind of body: what follows from it would only be noise. Equal
bytes of one media type are equal, whatever they are, before anything is parsed.

With a second answer of the control (`second`), a value that differs where the control differs from itself is forgiven,
as long as its type and its format class stay; that something is gone or is of another type never is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.shadow.answer import Answer, Ask
from proxy.shadow.compare_body import compare_bodies
from proxy.shadow.compare_headers import compare_headers
from proxy.shadow.decode import family_of, is_empty, media_type
from proxy.shadow.difference import MISSING, Difference, Found, Verdict
from proxy.shadow.rules import Rules

_SILENCE: Final[Mapping[str, frozenset[str]]] = {}


def compare(
    ask: Ask,
    control: Answer,
    candidate: Answer,
    rules: Rules,
    second: Answer | None = None,
    noisy: Mapping[str, frozenset[str]] = _SILENCE,
) -> Verdict:
    """`noisy`: format classes by path template of which a value that differs is known noise of this endpoint."""
    try:
        return _compare(ask, control, candidate, rules, second, noisy)
    except Exception as error:  # a pair that breaks the comparer is a finding, not a lost sample
        found = Found(_SILENCE, None)
        found.add("*", "compare_error", MISSING, f"{type(error).__name__}: {error}"[:200])
        return found.verdict()


def varying(ask: Ask, control: Answer, second: Answer, rules: Rules) -> tuple[Difference, ...]:
    """How the control differs from itself: what the noise learner counts. Never raises."""
    return compare(ask, control, second, rules).differences


def _compare(
    ask: Ask,
    control: Answer,
    candidate: Answer,
    rules: Rules,
    second: Answer | None,
    noisy: Mapping[str, frozenset[str]],
) -> Verdict:
    conditional = ask.conditional or 304 in (control.status, candidate.status)
    if control.status >= 500 and not conditional:
        if candidate.status >= 500:
            return Verdict("match", False, "both_error")
        if candidate.status < 400:
            found = Found(_SILENCE, None)
            found.add("status", "improvement", control.status, candidate.status)
            return found.verdict()
    if second is None:
        return _pair(ask, control, candidate, rules, noisy).verdict(conditional)
    between = _pair(ask, control, second, rules, _SILENCE)
    known = {path: noisy.get(path, frozenset()) | formats for path, formats in between.varied.items()}
    found = _pair(ask, control, candidate, rules, {**noisy, **known})
    if not found.clean and not between.clean:
        other = _pair(ask, second, candidate, rules, noisy)
        if other.clean:
            return other.verdict(conditional)
    return found.verdict(conditional)


def _pair(ask: Ask, control: Answer, candidate: Answer, rules: Rules, noisy: Mapping[str, frozenset[str]]) -> Found:
    found = Found(noisy, ask.at)
    one, other = control.status, candidate.status
    if not rules.statuses_equal(one, other):
        worse = candidate.status >= 400
        found.add("status", "status", one, other, severity="blocking" if worse else "mismatch")
        return found
    compare_headers(ask, control, candidate, rules, found)
    left, right = _content_type(control), _content_type(candidate)
    families_agree = left == right or _compare_types(left, right, ask, control, candidate, rules, found)
    if ask.method == "HEAD" or rules.ignore_body or not families_agree:
        return found
    if rules.error_bodies or one < 400:
        compare_bodies(control, candidate, left, right, rules, found)
    return found


def _content_type(answer: Answer) -> bytes:
    for name, value in answer.headers:
        if name.lower() == b"content-type":
            return value
    return b""


def _compare_types(
    left: bytes, right: bytes, ask: Ask, control: Answer, candidate: Answer, rules: Rules, found: Found
) -> bool:
    """Enter how the media types differ; whether the bodies can be compared with one another. No body has no type."""
    one, other = media_type(left), media_type(right)
    empty = is_empty(control) or is_empty(candidate)
    if one == other or "content-type" in rules.ignored_headers or (empty and ask.method != "HEAD"):
        return True
    kind = "header" if not one else "content_type"
    found.add("header:content-type", kind, one or MISSING, other or MISSING)
    return not one or not other or family_of(one) == family_of(other)
