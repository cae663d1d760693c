"""What is measured on one peer at a time. A case turns a running peer into figures; it knows no other peer."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import ClassVar

from bench import cpu, idle, openloop
from bench.load import GET_LARGE, GET_ONE_TOKEN, GET_SMALL, GET_TOKENS, PAYLOADS, Payload, Wrk, get_small_requests
from bench.origin import Origin
from bench.peers import Direct, Envoy, Fig, FigGuarded, FigManySeams, Httpx, Peer
from bench.tokens import Issuer

RATE_PER_S = 1000
CONNECTIONS = (64, 512)
IDLE_CONNECTIONS = 10_000
_IDLE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What every case may use. `wrk` None: not installed. Cores None: not pinned."""

    folder: Path
    origin: Origin
    issuer: Issuer
    wrk: Wrk | None
    proxy_core: int | None
    seconds: float


class Case(ABC):
    """`most_rounds`: further rounds leave it out."""

    name: str
    most_rounds: ClassVar[int] = 1_000_000

    def takes(self, peer: Peer) -> bool:
        return not peer.asks_token and not isinstance(peer, (FigManySeams, FigGuarded, Httpx))

    @abstractmethod
    def measure(self, peer: Peer, bench: Bench) -> Mapping[str, float]:
        """Raises RuntimeError when there is no figure to be had."""

    @abstractmethod
    def lasts_s(self, bench: Bench) -> float:
        """Roughly, for the notice at the start."""


class Throughput(Case):
    """As many requests as go through, and the processor time that each takes."""

    def __init__(self, payload: Payload, connections: int) -> None:
        self.payload, self.connections = payload, connections
        self.name = name_of(payload, connections)

    def takes(self, peer: Peer) -> bool:
        if isinstance(peer, Httpx):  # some hundred requests a second: the rest would measure its queue
            return self.name == SMALL_CASE
        return (self.name == SMALL_CASE and not peer.asks_token) or super().takes(peer)

    def measure(self, peer: Peer, bench: Bench) -> Mapping[str, float]:
        assert bench.wrk is not None
        before = _used_s(peer)
        load = bench.wrk.run(peer.url, self.payload, self.connections, ceil(bench.seconds))
        used = _used_s(peer) - before
        figures = {"requests_per_s": load.requests / load.seconds, "failed": float(load.failed)}
        if peer.pid is None or not load.requests:
            return figures
        return figures | {"cpu_us": used * 1e6 / load.requests, "core": used / load.seconds}

    def lasts_s(self, bench: Bench) -> float:
        return bench.seconds + 0.3


def name_of(payload: Payload, connections: int = CONNECTIONS[0]) -> str:
    return f"{payload.name}-c{connections}"


def _used_s(peer: Peer) -> float:
    return 0.0 if peer.pid is None else cpu.used_s(peer.pid)


class DoorThroughput(Throughput):
    """The same with a token in every request, for whoever asks for one, and for fig and Envoy without a door: they pass
    it on like any header, so the difference is the door's."""

    def takes(self, peer: Peer) -> bool:
        return peer.asks_token or type(peer) in (Fig, Envoy)


class Latency(Case):
    """Small GETs at a fixed rate over 64 connections."""

    name = f"latency-{RATE_PER_S}"

    def measure(self, peer: Peer, bench: Bench) -> Mapping[str, float]:
        pace = openloop.Pace(RATE_PER_S, bench.seconds, CONNECTIONS[0])
        found = openloop.measure(peer.port, get_small_requests(), pace)
        return {
            "p50_ms": found.percentile(50) * 1e3,
            "p99_ms": found.percentile(99) * 1e3,
            "unanswered": float(found.unanswered),
        }

    def lasts_s(self, bench: Bench) -> float:
        return bench.seconds + 0.2


class IdleMemory(Case):
    """Memory per idle connection, in a process started for it."""

    name = "memory"
    most_rounds = 3

    def __init__(self, connections: int) -> None:
        self.connections = connections

    def takes(self, peer: Peer) -> bool:
        return not isinstance(peer, Direct) and super().takes(peer)

    def measure(self, peer: Peer, bench: Bench) -> Mapping[str, float]:
        fresh = type(peer)()
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            try:
                fresh.start(Path(folder), bench.origin, bench.issuer, bench.proxy_core)
                assert fresh.pid is not None
                found = idle.measure(fresh.port, fresh.pid, self.connections, _IDLE_TIMEOUT_S)
            finally:
                fresh.stop()
        return {"kib_per_connection": found.grown_bytes / found.connections / 1024}

    def lasts_s(self, bench: Bench) -> float:
        return 6 + self.connections / 2000


SMALL_CASE = name_of(GET_SMALL)


def all_cases(idle_connections: int) -> list[Case]:
    """1 MiB over few connections only: over many, half a gibibyte is under way when the time is up."""
    few, many = CONNECTIONS
    loads = [Throughput(payload, few) for payload in PAYLOADS]
    loads += [Throughput(payload, many) for payload in PAYLOADS if payload is not GET_LARGE]
    loads += [DoorThroughput(payload, few) for payload in (GET_ONE_TOKEN, GET_TOKENS)]
    return [*loads, Latency(), IdleMemory(idle_connections)]
