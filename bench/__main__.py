"""The command line of the benchmark: reads flags, brings everything up, and takes all of it down again."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import machine, peers, report
from bench.cases import IDLE_CONNECTIONS, SMALL_CASE, Bench, Case, all_cases
from bench.load import Wrk, find_wrk
from bench.measured import Measured
from bench.origin import Origin
from bench.process import find
from bench.rounds import Run, say
from bench.tokens import Issuer

RESULTS = Path(__file__).parent / "results.md"
_ALL = [peer.name for peer in peers.PEERS]
_QUICK = ["fig", "nginx", "envoy"]
_SPARE_FILES = 500


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        text = run(options)
    except (RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    out = options.out or (RESULTS if _whole(options) else None)
    if out is not None:
        out.write_text(text)
        say(f"written to {out}")
    else:
        print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="fig beside other proxies, one core each")
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved rounds (9; quick: 2)")
    parser.add_argument("--seconds", type=int, metavar="S", help="seconds a measurement (3; quick: 1)")
    parser.add_argument("--only", metavar="NAME", help="one case, or those matching a pattern such as 'get-*-c64'")
    parser.add_argument("--peers", metavar="LIST", help=f"comma-separated, of: {', '.join(_ALL)}")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write; without it a whole run goes to "
                        "bench/results.md and a partial one to the terminal")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="311 B and 64 connections only: fig/Envoy and fig/nginx")
    return parser


def _whole(options: argparse.Namespace) -> bool:
    return not (options.quick or options.only or options.peers)


def run(options: argparse.Namespace) -> str:
    """Bring up, measure, take down. Raises RuntimeError and ValueError."""
    cases = _cases(SMALL_CASE if options.quick else options.only)
    names = options.peers.split(",") if options.peers else _QUICK if options.quick else _ALL
    wanted = peers.named(names)
    rounds = options.rounds or (2 if options.quick else 9)
    seconds = options.seconds or (1 if options.quick else 3)
    proxy_core, pinned = _pin()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fig-bench-")))
        bench = _bench(stack, folder, proxy_core, seconds)
        one = Run(bench, cases, rounds)
        stack.callback(one.stop)
        one.start(wanted)
        say(f"{len(one.peers)} peers, {rounds} rounds: about {one.lasts_s() / 60:.0f} minutes")
        one.measure()
    measured = Measured(one.measurements)
    if options.quick and options.out is None:
        return report.quick(measured)
    setting = report.Setting(
        machine=machine.describe(),
        revision=machine.revision(),
        versions=[f"{peer.name}: {peer.version()}" for peer in one.peers],
        pinned=pinned,
        origin=bench.origin.kind,
        rounds=rounds,
        seconds=seconds,
        notes=one.notes,
    )
    return report.render(setting, one.cases, measured)


def _bench(stack: contextlib.ExitStack, folder: Path, proxy_core: int | None, seconds: int) -> Bench:
    # The load core is this process's own by now, and the origin inherits it.
    origin = Origin(folder, core=None)
    stack.callback(origin.stop)
    origin.wait()
    wrk = find_wrk()
    issuer = Issuer()
    return Bench(folder, origin, issuer, Wrk(wrk, folder, issuer.tokens) if wrk else None, proxy_core, seconds)


def _cases(pattern: str | None) -> list[Case]:
    cases = all_cases(_idle_connections())
    found = [case for case in cases if fnmatch.fnmatchcase(case.name, pattern or "*")]
    if not found:
        raise ValueError(f"no case is called {pattern}: there are {', '.join(case.name for case in cases)}")
    return found


def _idle_connections() -> int:
    """As many as wanted, or as this process may have open files for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(IDLE_CONNECTIONS, hard - _SPARE_FILES) if hard != resource.RLIM_INFINITY else IDLE_CONNECTIONS


def _pin() -> tuple[int | None, str]:
    """Take the second core for this process and what it starts; the first is for the proxy measured."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or find("taskset") is None:
        return None, "not pinned (that takes two cores and taskset): figures are of little worth"
    os.sched_setaffinity(0, {cores[1]})
    with contextlib.suppress(OSError):
        Path("/proc/self/timerslack_ns").write_text("1")
    return cores[0], f"the proxy on core {cores[0]}; load generator and origin together on core {cores[1]}"


if __name__ == "__main__":
    sys.exit(main())
