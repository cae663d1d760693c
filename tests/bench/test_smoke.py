from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import idle, openloop, split
from bench.cases import Bench, Latency, Throughput, all_cases
from bench.load import WRK_MISSING, Load, Payload, get_small_requests, parse
from bench.measured import Measured, Measurement
from bench.openloop import Latencies, Pace
from bench.origin import small_body
from bench.peers import Direct, Fig, Httpx, Peer, named
from bench.report import Setting, quick, render
from bench.rounds import Run


@pytest.fixture
def fig(bench: Bench) -> Iterator[Peer]:
    peer = Fig()
    try:
        peer.start(bench.folder, bench.origin, bench.issuer, core=None)
        yield peer
    finally:
        peer.stop()


def test_a_run_without_wrk_measures_latency_of_every_peer_and_says_what_is_left_out(bench: Bench) -> None:
    cases = [case for case in all_cases(100) if isinstance(case, Latency | Throughput)]
    run = Run(bench, cases, rounds=1)
    try:
        run.start([Direct(), Fig(), Httpx()])
        run.measure()
    finally:
        run.stop()
    assert [(one.case, one.peer) for one in run.measurements] == [("latency-1000", "direct"), ("latency-1000", "fig")]
    assert all(one.values["p50_ms"] > 0 for one in run.measurements)
    assert any("apt-get install wrk" in note for note in run.notes)


class AnyLatency(Latency):
    def takes(self, peer: Peer) -> bool:
        return True


def test_a_peer_that_works_on_after_its_load_is_ended_with_it(bench: Bench) -> None:
    httpx = Httpx()
    run = Run(bench, [AnyLatency()], rounds=2)
    try:
        run.start([httpx])
        run.measure()
        assert httpx.pid is None
    finally:
        run.stop()
    assert len(run.measurements) == 2
    assert run.notes == [WRK_MISSING]


def test_every_scheduled_request_through_fig_is_answered_and_users_are_split(bench: Bench, fig: Peer) -> None:
    split.check(fig.name, fig.port, {})
    found = openloop.measure(fig.port, get_small_requests(), Pace(200, 0.3, 4))
    assert len(found.seconds) == 60
    assert found.unanswered == 0
    assert 0 < found.percentile(50) <= found.percentile(99)


def test_memory_of_idle_connections_is_taken_from_the_process_tree(fig: Peer) -> None:
    assert fig.pid is not None
    found = idle.measure(fig.port, fig.pid, connections=300, timeout_s=10)
    assert found.connections == 300
    assert 0 <= found.grown_bytes < 300 * 1024 * 1024


def test_a_peer_that_does_not_split_is_found_out(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="legacy-only sends 0%"):
        split.check("legacy-only", bench.origin.legacy, {})


def test_a_peer_that_does_not_come_up_is_a_note_with_its_own_words(bench: Bench) -> None:
    class Broken(Fig):
        def command(self, site: object) -> list[str]:
            return ["sh", "-c", "echo no luck today; exit 7"]

    run = Run(bench, [Latency()], rounds=1)
    run.start([Broken()])
    assert run.peers == []
    assert run.notes[-1].startswith("fig left out: fig ended with 7: no luck today")


def test_an_unknown_peer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown peer squid: known are direct, fig, .*envoy"):
        named(["fig", "squid"])


def test_waiting_for_a_free_connection_counts_as_latency(bench: Bench) -> None:
    one = openloop.measure(bench.origin.legacy, _SLOW, Pace(100, 0.2, 1), drain_s=0.3)
    assert one.unanswered == 20
    assert one.seconds[-1] > one.seconds[0] >= 0.3, "unanswered requests have the age they had at the end"


_SLOW = [b"POST /bench/311 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"]


def test_percentiles_are_of_the_nearest_rank() -> None:
    found = Latencies(tuple(float(number) for number in range(1, 101)), 0)
    assert (found.percentile(50), found.percentile(99), found.percentile(100)) == (50, 99, 100)


def test_ratios_are_made_within_a_round_and_only_then_the_median_is_taken() -> None:
    figures = [(100, 50), (200, 400), (300, 100)]
    measured = Measured(
        Measurement(number, "c", peer, {"v": float(value)})
        for number, pair in enumerate(figures)
        for peer, value in zip(("fig", "envoy"), pair, strict=True)
    )
    assert measured.median("c", "fig", "v") == 200
    assert measured.ratio("c", "v", "fig", "envoy") == 2.0
    assert measured.added("c", "v", "fig", "envoy") == 50
    assert measured.ratio("c", "v", "fig", "nginx") is None


def test_the_wrk_line_is_read_and_its_absence_is_an_error() -> None:
    assert parse("Running 1s test\nbench 1500 2000000 3\n") == Load(1500, 2.0, 3)
    with pytest.raises(RuntimeError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1")


def test_the_report_names_machine_peers_figures_and_goals() -> None:
    case = Throughput(Payload("get-311", "/bench/311"), 64)
    measured = Measured(
        Measurement(0, case.name, peer, {"requests_per_s": rate, "cpu_us": cpu, "core": 1.0, "failed": 0.0})
        for peer, rate, cpu in (("fig", 30000.0, 30.0), ("envoy", 20000.0, 45.0), ("nginx", 60000.0, 15.0))
    )
    setting = Setting("a machine", "abc", ["fig: fig 0"], "core 0", "nginx", 1, 1, ["haproxy left out"])
    text = render(setting, [case], measured)
    assert "| Throughput over Envoy's | 1.50 | ≥ 1 | reached |" in text
    assert "| CPU time per request, 2,000 seams over 20 | – | ≤ 1.05 | not measured |" in text
    assert "| envoy | 45.0 | 20,000 | 100% | 1.50 | 1.50 | 0 |" in text
    assert "- haproxy left out" in text
    assert "fig/nginx: throughput 0.50 x, requests per CPU second 0.50 x" in quick(measured)


def test_the_small_body_has_the_length_that_its_name_promises() -> None:
    assert len(small_body()) == 311
