"""The order of measurements: every peer in every case in every round. Knows neither proxies nor figures."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench import split
from bench.cases import Bench, Case, Throughput
from bench.load import GET_ONE_TOKEN, GET_SMALL, WRK_MISSING
from bench.measured import Measurement
from bench.peers import Direct, Peer

_WARM_UP_S = 1


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Run:
    """Peers that are up, figures, and in `notes` everything that could not be measured."""

    def __init__(self, bench: Bench, cases: Sequence[Case], rounds: int) -> None:
        self.bench = bench
        self.cases = [case for case in cases if bench.wrk is not None or not isinstance(case, Throughput)]
        self.rounds = rounds
        self.notes = [] if bench.wrk is not None else [WRK_MISSING]
        self.peers: list[Peer] = []
        self.measurements: list[Measurement] = []

    def start(self, peers: Sequence[Peer]) -> None:
        """Bring up each peer and see that it splits; one that is missing or does not becomes a note."""
        for peer in peers:
            missing = peer.missing()
            if missing is not None:
                self._note(f"{peer.name} left out: {missing}")
            elif self._brought_up(peer):
                self.peers.append(peer)

    def _brought_up(self, peer: Peer) -> bool:
        try:
            self._start(peer)
            if not isinstance(peer, Direct):
                split.check(peer.name, peer.port, peer.headers(self.bench.issuer))
            if peer.lingers:
                peer.stop()
            elif self.bench.wrk is not None:
                payload = GET_ONE_TOKEN if peer.asks_token else GET_SMALL
                self.bench.wrk.run(peer.url, payload, 64, _WARM_UP_S)
        except RuntimeError as error:
            peer.stop()
            self._note(f"{peer.name} left out: {error}")
            return False
        return True

    def _start(self, peer: Peer) -> None:
        peer.start(self.bench.folder, self.bench.origin, self.bench.issuer, self.bench.proxy_core)

    def measure(self) -> None:
        """Interleaved: one case of all peers, then the next. The order of peers turns by one from round to round."""
        for number in range(self.rounds):
            turn = number % max(1, len(self.peers))
            order = self.peers[turn:] + self.peers[:turn]
            for case in self.cases:
                for peer in order:
                    if number < case.most_rounds and case.takes(peer):
                        self._measure(number, case, peer)

    def _measure(self, number: int, case: Case, peer: Peer) -> None:
        try:
            if peer.lingers:
                self._start(peer)
            values = case.measure(peer, self.bench)
        except (RuntimeError, OSError) as error:
            self._note(f"round {number + 1}, {case.name}, {peer.name}: {error}")
            return
        finally:
            if peer.lingers:
                peer.stop()
        self.measurements.append(Measurement(number, case.name, peer.name, values))
        figures = ", ".join(f"{name} {value:,.2f}" for name, value in values.items())
        say(f"round {number + 1}/{self.rounds}  {case.name:23} {peer.name:14} {figures}")

    def lasts_s(self) -> float:
        """Roughly."""
        return sum(
            min(self.rounds, case.most_rounds) * case.lasts_s(self.bench)
            for case in self.cases
            for peer in self.peers
            if case.takes(peer)
        )

    def stop(self) -> None:
        for peer in self.peers:
            peer.stop()

    def _note(self, text: str) -> None:
        line = " ".join(text.split())
        say(line)
        self.notes.append(line)
