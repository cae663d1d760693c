"""What one shadowed request hands to the comparer: the question, and up to three answers. Knows no rule.

The parent fills it and never looks inside a body; a tuple of plain values goes through the pipe (see `frames`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from proxy.shadow.answer import Answer, Ask

Side = Literal["legacy", "extracted"]
Failure = Literal["", "timeout", "unreachable", "broken"]


@dataclass(frozen=True, slots=True)
class Sample:
    """The control is what the client got, from the side `served`; the candidate is the other side. `second` is the
    control asked again, together with the candidate, where it was.

    `number` tells samples of one process apart. `mark` is of the rules in force when it was taken. `endpoint` is
    `METHOD pattern`. `subject`: what tells the user apart, hashed, empty for nobody. `headers` and `body` are the
    request's. `candidate` is None where there was no whole answer, and `failure` says why: no answer in time, no
    connection, or one that broke off. The `*_s` are the seconds to the response head, None where there was none;
    `served_s` is the control's.
    """

    number: int
    seam: str
    mark: str
    endpoint: str
    request_id: str
    served: Side
    ask: Ask
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    subject: bytes
    at_s: float
    control: Answer
    candidate: Answer | None
    failure: Failure
    second: Answer | None
    served_s: float | None
    candidate_s: float | None
    second_s: float | None

    def to_plain(self) -> tuple[Any, ...]:
        """Builtin types only; `from_plain` takes it."""
        ask = self.ask
        return (
            self.number,
            self.seam,
            self.mark,
            self.endpoint,
            self.request_id,
            self.served,
            (ask.method, ask.target, ask.host, ask.scheme, ask.conditional, ask.at),
            self.headers,
            self.body,
            self.subject,
            self.at_s,
            answer_to_plain(self.control),
            answer_to_plain(self.candidate),
            self.failure,
            answer_to_plain(self.second),
            self.served_s,
            self.candidate_s,
            self.second_s,
        )

    @classmethod
    def from_plain(cls, plain: tuple[Any, ...]) -> Self:
        values = list(plain)
        values[6] = Ask(*plain[6])
        for place in (11, 12, 14):
            values[place] = answer_from_plain(plain[place])
        return cls(*values)


def answer_to_plain(answer: Answer | None) -> tuple[Any, ...] | None:
    if answer is None:
        return None
    return answer.status, answer.headers, answer.body, answer.truncated, answer.length, answer.sha256


def answer_from_plain(plain: tuple[Any, ...] | None) -> Answer | None:
    return None if plain is None else Answer(*plain)
