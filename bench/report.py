"""Figures as Markdown. Measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.cases import RATE_PER_S, SMALL_CASE, Case, DoorThroughput, IdleMemory, Latency, Throughput, name_of
from bench.door import LIMIT_PER_S
from bench.load import GET_ONE_TOKEN, GET_TOKENS
from bench.measured import Measured
from bench.tokens import ALGORITHM
from proxy.admission.token_cache import LONGEST_S, MOST_ENTRIES

FIG, MANY, GUARDED, DIRECT, NGINX, ENVOY = "fig", "fig-2000", "fig-guarded", "direct", "nginx", "envoy"
FIG_DOOR, FIG_DOOR_REDIS, ENVOY_DOOR = "fig-door", "fig-door-redis", "envoy-door"


@dataclass(frozen=True, slots=True)
class Setting:
    """What the reader must know to judge the figures."""

    machine: str
    revision: str
    versions: Sequence[str]
    pinned: str
    origin: str
    rounds: int
    seconds: int
    notes: Sequence[str]


def render(setting: Setting, cases: Sequence[Case], measured: Measured) -> str:
    """The whole result file."""
    parts = [_head(setting), _numbers(measured)]
    parts += [_throughput(case, measured) for case in cases if isinstance(case, Throughput)]
    parts += [_latency(case, measured) for case in cases if isinstance(case, Latency)]
    parts += [_memory(case, measured) for case in cases if isinstance(case, IdleMemory)]
    if setting.notes:
        parts.append("## Not measured\n\n" + "\n".join(f"- {note}" for note in setting.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def quick(measured: Measured) -> str:
    """The small case against Envoy and nginx, for the terminal."""
    lines = [_throughput_rows(SMALL_CASE, measured)]
    for peer in (ENVOY, NGINX):
        throughput = measured.ratio(SMALL_CASE, "requests_per_s", FIG, peer)
        cpu = measured.ratio(SMALL_CASE, "cpu_us", peer, FIG)
        lines.append(f"fig/{peer}: throughput {_figure(throughput)} x, requests per CPU second {_figure(cpu)} x")
    return "\n".join(lines)


def _head(setting: Setting) -> str:
    versions = "\n".join(f"  - {version}" for version in setting.versions)
    revision = f", revision {setting.revision}" if setting.revision else ""
    return f"""# Benchmark results

Written by `python -m bench` on {datetime.now(UTC):%Y-%m-%d}{revision}.

- Machine: {setting.machine}
- Cores: {setting.pinned}.
- Where the load generator's core is full before the proxy's, throughput flatters the slower proxy; CPU time per request
  does not.
- Peers:
{versions}
- Origin: {setting.origin}, two addresses, one for each side. Every proxy sends a tenth of the users to the second
  address, chosen by a hash of `x-user-id`; that was checked before. Access logs are off.
- Rounds: {setting.rounds}, {setting.seconds} s a measurement, peers interleaved within each case.
- Figures are medians over the rounds; a ratio is made within each round, then its median taken.
- CPU time is user + system of the proxy's process tree, from `/proc/PID/stat`."""


# --- numbers to reach ------------------------------------------------------------------------------------------------


def _numbers(measured: Measured) -> str:
    seams = measured.ratio(SMALL_CASE, "cpu_us", MANY, FIG)
    guards = measured.ratio(SMALL_CASE, "cpu_us", GUARDED, FIG)
    rows = [
        _goal("Throughput over Envoy's", measured.ratio(SMALL_CASE, "requests_per_s", FIG, ENVOY), 1.0),
        _goal("Requests per CPU second over Envoy's", measured.ratio(SMALL_CASE, "cpu_us", ENVOY, FIG), 1.0),
        _goal("Throughput over nginx's", measured.ratio(SMALL_CASE, "requests_per_s", FIG, NGINX), 0.4),
        _goal("Requests per CPU second over nginx's", measured.ratio(SMALL_CASE, "cpu_us", NGINX, FIG), 0.4),
        *(
            _goal(f"Added latency over nginx's, {name}", _added_against(measured, f"{name}_ms", NGINX), 2.0, most=True)
            for name in ("p50", "p99")
        ),
        _goal("CPU time per request, 2,000 seams over 20", seams, 1.05, most=True),
        _goal("CPU time per request, every guard on over plain", guards, 1.08, most=True),
        *_door_goals("one token", name_of(GET_ONE_TOKEN), measured),
        *_door_goals(f"{GET_TOKENS.tokens:,} tokens", name_of(GET_TOKENS), measured),
    ]
    table = _table(("fig's figure (311 B, 64 connections)", "measured", "to reach", ""), rows)
    return f"## Numbers to reach\n\n{table}"


def _door_goals(tokens: str, case: str, measured: Measured) -> list[tuple[str, ...]]:
    throughput = measured.ratio(case, "requests_per_s", FIG_DOOR, ENVOY_DOOR)
    cpu = measured.ratio(case, "cpu_us", ENVOY_DOOR, FIG_DOOR)
    return [
        _goal(f"JWT + rate limit, {tokens}: throughput over Envoy's", throughput, 1.0),
        _goal(f"JWT + rate limit, {tokens}: requests per CPU second over Envoy's", cpu, 1.0),
    ]


def _goal(name: str, value: float | None, bound: float, *, most: bool = False) -> tuple[str, ...]:
    wanted = f"≤ {bound:g}" if most else f"≥ {bound:g}"
    if value is None:
        return (name, "–", wanted, "not measured")
    reached = value <= bound if most else value >= bound
    return (name, f"{value:.2f}", wanted, "reached" if reached else "missed")


def _added_against(measured: Measured, value: str, peer: str) -> float | None:
    return measured.added_ratio(Latency.name, value, FIG, peer, DIRECT)


# --- tables ----------------------------------------------------------------------------------------------------------


def _throughput(case: Throughput, measured: Measured) -> str:
    head = f"## {case.name}\n\n{case.payload.method} {case.payload.path}, {case.connections} connections."
    if isinstance(case, DoorThroughput):
        rows = _throughput_rows(case.name, measured, FIG_DOOR)
        return "\n\n".join((f"{head} {_door_intro(case)}", rows, _door_costs(case.name, measured)))
    return f"{head}\n\n{_throughput_rows(case.name, measured)}"


def _door_intro(case: DoorThroughput) -> str:
    tokens = f"{case.payload.tokens:,} different tokens, one a user" if case.payload.tokens > 1 else "the same token"
    return f"""Every request brings an {ALGORITHM} token ({tokens}).

- {FIG_DOOR}: `auth` with the issuer's key set in a file, and `rate_limit` by `jwt.sub` in memory.
- {FIG_DOOR_REDIS}: the same with `rate_limits.store: redis://…` and `on_error: deny`; the server is on the load
  generator's core, and its CPU time is not counted.
- {ENVOY_DOOR}: `jwt_authn` with local key set, issuer and audience, and `local_ratelimit` with one bucket for all.
- The limit is {LIMIT_PER_S:,} a second, which nobody reaches: a refusal would be counted as failed.
- Both keep {MOST_ENTRIES:,} verified tokens (Envoy by `jwt_cache_config`, where its default is 100), so the
  signature of each is looked at when it comes first (fig: and again after {LONGEST_S:g} s). Both tell the client of the
  limit in headers, and pass the token on.
- {FIG} and {ENVOY} get the same requests without having a door."""


def _door_costs(case: str, measured: Measured) -> str:
    """What the door adds to the CPU time of a request."""
    pairs = ((FIG_DOOR, FIG), (FIG_DOOR_REDIS, FIG), (ENVOY_DOOR, ENVOY))
    rows = [
        (
            with_door,
            _figure(measured.added(case, "cpu_us", with_door, without), "{:+.1f}"),
            _figure(measured.ratio(case, "cpu_us", with_door, without)),
            _figure(measured.ratio(case, "requests_per_s", with_door, without)),
        )
        for with_door, without in pairs
    ]
    return _table(
        ("what the door costs", "CPU-µs/request", "CPU time with / without", "throughput with / without"), rows
    )


def _throughput_rows(case: str, measured: Measured, base: str = FIG) -> str:
    """The ratios are those of `base`."""
    columns = (
        "peer",
        "CPU-µs/request",
        "requests/s",
        "core busy",
        f"{base}'s throughput / its",
        f"its CPU time / {base}'s",
        "failed",
    )
    rows = [
        (
            peer,
            _figure(measured.median(case, peer, "cpu_us"), "{:,.1f}"),
            _figure(measured.median(case, peer, "requests_per_s"), "{:,.0f}"),
            _figure(measured.median(case, peer, "core"), "{:.0%}"),
            _figure(measured.ratio(case, "requests_per_s", base, peer)),
            _figure(measured.ratio(case, "cpu_us", peer, base)),
            f"{measured.total(case, peer, 'failed'):.0f}",
        )
        for peer in _sorted(measured.peers(case))
    ]
    return _table(columns, rows)


def _latency(case: Latency, measured: Measured) -> str:
    columns = ("peer", "p50 ms", "p99 ms", "p50 added", "p99 added", "fig's added / its (p50, p99)", "unanswered")
    rows = [_latency_row(case.name, peer, measured) for peer in _sorted(measured.peers(case.name))]
    intro = (
        f"{RATE_PER_S:,} requests a second at an even pace over 64 connections, counted from the moment each was due. "
        "Added is what a peer has above direct in the same round. An unanswered request counts with the age it had at "
        "the end: such a peer does not hold the rate."
    )
    return f"## {case.name}\n\n{intro}\n\n{_table(columns, rows)}"


def _latency_row(case: str, peer: str, measured: Measured) -> tuple[str, ...]:
    against = ", ".join(_figure(_added_against(measured, value, peer)) for value in ("p50_ms", "p99_ms"))
    return (
        peer,
        _figure(measured.median(case, peer, "p50_ms"), "{:.3f}"),
        _figure(measured.median(case, peer, "p99_ms"), "{:.3f}"),
        "–" if peer == DIRECT else _figure(measured.added(case, "p50_ms", peer, DIRECT), "{:.3f}"),
        "–" if peer == DIRECT else _figure(measured.added(case, "p99_ms", peer, DIRECT), "{:.3f}"),
        "–" if peer == DIRECT else against,
        f"{measured.total(case, peer, 'unanswered'):.0f}",
    )


def _memory(case: IdleMemory, measured: Measured) -> str:
    rows = [
        (peer, _figure(measured.median(case.name, peer, "kib_per_connection"), "{:.1f}"))
        for peer in _sorted(measured.peers(case.name))
    ]
    intro = f"Resident memory for each of {case.connections:,} idle keep-alive connections, in a fresh process."
    return f"## {case.name}\n\n{intro}\n\n{_table(('peer', 'KiB/connection'), rows)}"


def _sorted(peers: Iterable[str]) -> list[str]:
    order = (
        DIRECT,
        FIG,
        MANY,
        GUARDED,
        FIG_DOOR,
        FIG_DOOR_REDIS,
        NGINX,
        "haproxy",
        ENVOY,
        ENVOY_DOOR,
        "httpx",
    )
    return sorted(peers, key=order.index)


def _figure(value: float | None, form: str = "{:.2f}") -> str:
    return "–" if value is None else form.format(value)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---", *("---:" for _ in columns[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
