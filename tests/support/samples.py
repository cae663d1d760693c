"""Samples as the mirror hands them over, and a judge that is told what was answered the second time."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from proxy.shadow.answer import Answer, Ask
from proxy.shadow.judge import Judge, Outcome
from proxy.shadow.ledger import Ledger
from proxy.shadow.sample import Sample
from tests.support.pairs import document

NOW_S = 1_780_000_000.0
ONE, TWO = document({"a": 1}), document({"a": 2})


def sample(number: int, control: Answer = ONE, candidate: Answer | None = ONE, **members: Any) -> Sample:
    """Of GET /a/{id}, each for another resource."""
    second = members.get("second")
    usual: dict[str, Any] = {
        "number": number,
        "seam": "shop",
        "mark": "m1",
        "endpoint": "GET /a/{id}",
        "request_id": f"r-{number}",
        "served": "legacy",
        "ask": Ask("GET", b"/a/%d" % number, b"shop.example", at=NOW_S),
        "headers": ((b"Accept", b"*/*"),),
        "body": b"",
        "subject": b"",
        "at_s": NOW_S,
        "control": control,
        "candidate": candidate,
        "failure": "",
        "second": None,
        "served_s": 0.01,
        "candidate_s": None if candidate is None else 0.01,
        "second_s": None if second is None else 0.01,
    }
    return Sample(**{**usual, **members})


class Court:
    """A judge with a ledger in memory and a clock that is set by hand."""

    def __init__(self, ledger: type[Ledger] = Ledger, **options: Any) -> None:
        self.now_s = NOW_S
        self.ledger = ledger(None, lambda: self.now_s, random.Random(1))
        self.judge = Judge(self.ledger, lambda: self.now_s)
        self.judge.rules("shop", "m1", options)
        self.asked_again = 0
        self._number = 0

    def hear(
        self,
        control: Answer = ONE,
        candidate: Answer | None = ONE,
        again: tuple[Answer | None, Answer | None] | None = None,
        **members: Any,
    ) -> Outcome:
        """A new sample until it is settled. `again`: candidate and control of the second time; without, as before."""
        self._number += 1
        members = {"at_s": self.now_s, **members}
        taken = sample(self._number, control, candidate, **members)
        outcome = self.judge.take(taken)
        if outcome is None:
            self.asked_again += 1
            outcome = self.judge.again(taken.number, *((candidate, control) if again is None else again))
        assert outcome is not None
        assert (outcome.number, outcome.seam) == (self._number, taken.seam)
        return outcome

    @property
    def comparisons(self) -> Mapping[str, Any]:
        return self.judge.comparisons("shop")

    @property
    def evidence(self) -> Mapping[str, Any]:
        return self.judge.evidence("shop", ())

    @property
    def differences(self) -> set[tuple[str, str, str]]:
        """(path, class, severity)."""
        return {(one["path"], one["class"], one["severity"]) for one in self.comparisons["differences"]}

    @property
    def counted(self) -> tuple[int, int]:
        """Comparisons that are evidence, and mismatches among them."""
        strata = self.evidence["strata"]
        return sum(one["n"] for one in strata), sum(one["k"] for one in strata)
