"""A request that is asked again behind its client's back: from the answer that passes to what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.exchange import Exchange
from proxy.messages import RequestHead
from proxy.routing.shadowing import ShadowRule
from proxy.shadow.answer import Answer
from proxy.shadow.sample import Failure
from proxy.wire.copy import AnswerCopy


@dataclass(frozen=True, slots=True)
class Watch:
    """A request whose answer is being copied. `controlled`: the control is to be asked a second time."""

    rule: ShadowRule
    endpoint: str
    subject: bytes
    controlled: bool
    at_s: float


@dataclass(frozen=True, slots=True)
class Job:
    """One sample before its candidate is asked, and afterwards, without its `control`, until the comparer is done with
    it. `request` is what the candidate is asked, `again` what the control is. `limit`: bytes of a body beyond which an
    answer says something else for sure."""

    number: int
    watch: Watch
    exchange: Exchange
    request: RequestHead
    again: RequestHead
    body: bytes
    control: AnswerCopy | None
    limit: int

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        kept = 0 if self.control is None else min(self.control.length, self.control.cap)
        return len(self.body) + kept


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of asking a target: a copy with the seconds to its head, or a failure. `withdrawn`: it was not asked,
    since nobody wants to know any more."""

    copy: AnswerCopy
    seconds: float | None
    failure: Failure
    withdrawn: bool

    @property
    def answer(self) -> Answer | None:
        return None if self.failure or self.withdrawn or self.copy.crowded else answer_of(self.copy)


def answer_of(copy: AnswerCopy) -> Answer:
    """A copy as the comparer takes it."""
    cut = copy.truncated or copy.event_stream
    length = copy.length if copy.truncated and not copy.endless else None
    return Answer(copy.status, tuple(copy.headers), copy.body, cut, length, copy.sha256)
