"""The composition root: the only file that constructs. Opens in order, closes in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.cookiejar
import logging
import os
import random
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import httpx
import uvicorn
import uvloop

from proxy import __version__
from proxy.admin.api import create_admin
from proxy.admin.guard import is_loopback
from proxy.admission.auth_rules import IssuerRule
from proxy.admission.door_maker import DoorMaker, Makers
from proxy.admission.jwks import RemoteKeys
from proxy.admission.limiter_memory import MemoryLimiter
from proxy.admission.limiter_redis import RedisLimiter
from proxy.admission.session import SessionRule, Sessions
from proxy.config.load import Loaded
from proxy.config.model import Discovery, Health, RateLimits, Session, Settings, UpstreamConfig, is_https
from proxy.config.watch import FileWatch
from proxy.descriptors import budget, raise_limit
from proxy.errors import ConfigError, Problem, ProxyError, StoreError
from proxy.events import (
    BreakerChanged,
    DiscoveryFailed,
    DiscoveryRecovered,
    EndpointChanged,
    EndpointsFound,
    Event,
    KeysFailed,
    KeysRecovered,
    LimitsStoreFailed,
    LimitsStoreRecovered,
    Reloaded,
    ReloadFailed,
    StoreFailed,
    StoreRecovered,
    Transition,
)
from proxy.gateway import Gateway
from proxy.handover import READY_S, HandoverFailed, Predecessor, Successor
from proxy.inherit import Inherited, NotInheritable, take
from proxy.loader import load_in_child
from proxy.notify import Notifier
from proxy.rollout.rollback_file import RollbackFiles
from proxy.routing.resilience import BreakerRule
from proxy.routing.shadowing import mirrors
from proxy.runtime import Author, Runtime
from proxy.shadow.feed import Feed
from proxy.shadow.mirror import Mirror
from proxy.snapshot import SeamRecord, Snapshot
from proxy.state.memory import MemoryStore
from proxy.state.sqlite import SqliteStore
from proxy.state.store import Store
from proxy.telemetry.access_log import AccessLog, Descriptor, ErrorLog, LineWriter
from proxy.telemetry.metrics import Gauges, Metrics
from proxy.telemetry.seen import NOTE_EVERY_S, SeenShare
from proxy.telemetry.talk import LineHandler
from proxy.telemetry.webhook import Webhook
from proxy.upstreams.breaker import Breaker, State
from proxy.upstreams.endpoints import Endpoints
from proxy.upstreams.errand import Errand
from proxy.upstreams.health import Prober
from proxy.upstreams.lane import Lane
from proxy.upstreams.resolve import Resolver, address_of
from proxy.upstreams.resolve_dns import DnsResolver
from proxy.upstreams.resolve_registry import RegistryResolver
from proxy.upstreams.tunnels import Tunnels
from proxy.upstreams.upstream import Chore, EndpointMaker, Upstream
from proxy.wire.edge import Edge
from proxy.wire.server import DataServer, DrainTimes, QuietServer
from proxy.wire.timer import TimerWheel
from proxy.wire.tls import PortTls, TlsError, client_context

CANNOT_START = 3

_BACKLOG = 4096
_ROLLBACK_FILES_EVERY_S = 0.5
_FILE_EVERY_S = 1.0
_DURABLE_EVERY_S = 1.0
_SWEEP_EVERY_S = 1.0
_TICK_EVERY_S = 0.25
_TELL_EVERY_S = 1.0
_FIRST_KEYS_S = 2.0
_SHOWN_SEAMS = 10

log = logging.getLogger("proxy")


def serve(loaded: Loaded, path: Path | None) -> int:
    """Run until a signal ends it. `path` None: the configuration came from flags and is not watched.

    Returns the exit code: 0 after a clean drain, 3 when it cannot start.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # until it can be obeyed: its default ends the process
    try:
        inherited = take(os.environ, os.getpid())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(loaded, path, inherited))
    except NotInheritable as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return CANNOT_START
    except CannotStart as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  the one word a failed start has for the terminal
        return CANNOT_START


class CannotStart(Exception):
    """Says what is in the way, and the cure."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The two listeners. `kept`: another process goes on holding the data port."""

    data: socket.socket
    admin: socket.socket
    kept: bool


async def _serve(loaded: Loaded, path: Path | None, inherited: Inherited) -> int:
    settings = loaded.settings
    ports = _ports(settings, inherited)
    predecessor = None if inherited.channel is None else await Predecessor.meet(inherited.channel)
    store = _store(settings.store)
    if predecessor is not None:
        await predecessor.give_store(settings.store)
    records = await _read_store(store, settings.store)
    try:
        return await App(loaded, path, store, records, ports, predecessor).run()
    except (TlsError, ConfigError) as error:  # a PEM file that was sound when the configuration was loaded
        raise CannotStart(str(error)) from error
    finally:
        await store.close()


def _ports(settings: Settings, inherited: Inherited) -> Ports:
    data = inherited.data or _bind(settings.server.address, "server.listen")
    admin = inherited.admin or _bind(settings.admin.address, "admin.listen")
    if inherited.channel is not None and not inherited.kept:
        _check_same(data, settings.server.address, "server.listen")
        _check_same(admin, settings.admin.address, "admin.listen")
    if not settings.admin.token and not is_loopback(admin.getsockname()[0]):
        raise CannotStart(
            f"the inherited admin socket listens on {_shown(admin)}, beyond loopback: set admin.token, or pass another"
        )
    return Ports(data, admin, inherited.kept)


def _check_same(listener: socket.socket, address: tuple[str, int], key: str) -> None:
    """A successor opens no port, and serving on the old one without a word could leave a door open."""
    host, port = listener.getsockname()[:2]
    name, number = address
    try:
        meant = {found[4][0] for found in socket.getaddrinfo(name, None)}
    except OSError:
        meant = set()
    if host not in meant or number not in (0, port):
        raise CannotStart(f"{key} has changed from {host}:{port} to {name}:{number}: that takes a stop and a start")


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"


def _bind(address: tuple[str, int], key: str) -> socket.socket:
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {host}:{port} ({error.strerror}): free the port or change {key}"
        ) from error


def _store(url: str) -> Store:
    kind, _, rest = url.partition(":")
    return MemoryStore() if kind == "memory" else SqliteStore(Path(rest))


async def _read_store(store: Store, url: str) -> dict[str, SeamRecord]:
    """Without what the store holds a latch could be missed, so there is no start without it."""
    try:
        await store.open()
        return await store.load()
    except StoreError as error:
        await store.close()
        raise CannotStart(f"the store {url} cannot be read: {error.detail}") from error


def _ledger(store: str) -> Path | None:
    """What is compared is kept beside the store, in a file of its own: a rollback must never wait for it."""
    kind, _, rest = store.partition(":")
    return None if kind == "memory" else Path(rest).with_suffix(".shadow.db")


class App:
    """Everything of one process, built in dependency order."""

    def __init__(
        self,
        loaded: Loaded,
        path: Path | None,
        store: Store,
        records: dict[str, SeamRecord],
        ports: Ports,
        predecessor: Predecessor | None = None,
    ) -> None:
        settings = loaded.settings
        self.path = path
        self.ports = ports
        self.predecessor = predecessor
        self.notify = Notifier(os.environ, os.getpid())
        self.descriptors = budget(raise_limit())
        self.store_url = settings.store
        self.wheel = TimerWheel()
        self.lines = LineWriter(Descriptor(sys.stderr.fileno()), gather_s=0.0)
        self.access_log = AccessLog(settings.telemetry.access_log, Descriptor(sys.stdout.fileno()))
        self.metrics = Metrics(__version__, lambda: self.access_log.dropped)
        self.seen = SeenShare(self.metrics, time.monotonic())
        listening = (ports.data.getsockname()[:2], ports.admin.getsockname()[:2])
        self.own_addresses = frozenset((settings.server.address, settings.admin.address, *listening))
        self.instance = secrets.token_hex(4)
        self.rng = random.Random()
        hook = settings.telemetry.webhook
        self.webhook = (
            None
            if hook is None
            else Webhook(hook, self._client(is_https(hook.url)), clock=time.time, instance=self.instance)
        )
        self.doors = DoorMaker(Makers(self._make_keys, self._make_redis, self._make_sessions, time.time))
        self.runtime = Runtime(
            loaded,
            records,
            store,
            load=self._load,
            make_upstream=self._make_upstream,
            make_breaker=self._make_breaker,
            make_doors=self.doors.making,
            emit=self._emit,
            on_swap=self._on_swap,
        )
        self.tunnels = Tunnels(self.wheel)
        self.errors = ErrorLog(self.lines.put, time.time)
        via = f"1.1 fig-{self.instance}".encode("ascii")
        self.feed = Feed(_ledger(settings.store), time.monotonic)
        self.mirror = Mirror(
            Lane(lambda name: self.runtime.upstreams.get(name), via=via, monotonic=time.monotonic).send,
            self.feed,
            lambda: self.runtime.snapshot,
            rng=self.rng,
            clock=time.time,
            monotonic=time.monotonic,
        )
        self.gateway = Gateway(
            self.runtime,
            self.metrics,
            self.access_log,
            self.errors,
            self.tunnels,
            self.mirror,
            via=via,
            rng=self.rng,
        )
        server = settings.server
        self.port_tls = PortTls(server.tls)
        self.edge = Edge(self.gateway, server.limits, server.timeouts, self.wheel, self.port_tls.context)
        self.metrics.gauges = Gauges(
            self._seam_gauges,
            self._breaker_gauges,
            lambda: self.runtime.upstreams.values(),
            self._connection_gauges,
            self.tunnels,
            lambda: self.edge.handshakes_failed,
            self._lag_gauges,
            self._webhook_gauges,
            self.mirror,
            self.feed,
            self.doors,
            time.monotonic,
        )
        folder = path.parent if path is not None else Path()
        self.watch = None if path is None else FileWatch(path, loaded.files)
        if self.watch is not None and predecessor is not None:
            self.watch.forget()  # it was loaded before the store came, and may have changed since
        self._reloading: asyncio.Future[None] | None = None
        self._hung_up = False
        self._stopping = False
        self._handover: asyncio.Future[None] | None = None
        self._releasing: asyncio.Future[None] | None = None
        self._told: set[str] = set()
        self.rollback_files = RollbackFiles(folder / "var" / "rollback")
        self.data_server = DataServer(
            self.edge,
            self._drain_times,
            self.tunnels.leave,
            lambda error: self._accept_failed("data", error),
            kept=ports.kept,
            descriptors=self.descriptors,
        )
        self.admin_server = self._make_admin_server(settings.admin.token)

    def _make_admin_server(self, token: str) -> QuietServer:
        return QuietServer(
            uvicorn.Config(
                create_admin(
                    runtime=self.runtime,
                    metrics=self.metrics,
                    seen=self.seen,
                    rollback_files=self.rollback_files,
                    feed=self.feed,
                    readiness=self._readiness,
                    refusal=self._refusal,
                    token=token,
                    clock=time.time,
                    monotonic=time.monotonic,
                    version=__version__,
                ),
                lifespan="off",
                ws="none",
                proxy_headers=False,
                server_header=False,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
            ),
            lambda error: self._accept_failed("admin", error),
        )

    # --- run ---------------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Serve until a signal, then drain and close in reverse order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        self.wheel.start(loop)
        await self._read_rollback_files()
        self._start_comparer(self.runtime.snapshot)
        self.doors.adopt(self.runtime.doors)
        await asyncio.gather(  # before the predecessor leaves: they may be late
            self.runtime.start(), self.doors.first_keys(_FIRST_KEYS_S)
        )
        if self.predecessor is not None:
            await self.predecessor.give_way()
        loop.add_signal_handler(signal.SIGUSR2, self._succeed)
        admin = asyncio.create_task(self.admin_server.serve([self.ports.admin]))
        background = [
            asyncio.create_task(self._every(seconds, step))
            for seconds, step in (
                (_ROLLBACK_FILES_EVERY_S, self._read_rollback_files),
                (_FILE_EVERY_S, self._reload_if_changed),
                (_DURABLE_EVERY_S, self.runtime.make_durable),
                (_SWEEP_EVERY_S, self._sweep),
                (_TICK_EVERY_S, self._tick),
                (_TELL_EVERY_S, self._tell_comparer),
                (NOTE_EVERY_S, self._note_seen),
                *([(self.notify.beat_s, self._beat)] if self.notify.beat_s else []),
            )
        ]
        if self.webhook is not None:
            background.append(asyncio.create_task(self.webhook.run()))
        self._announce()
        # Requests make no cycles to speak of, and a routing table lives long: look seldom, and never at the table.
        gc.set_threshold(50_000, 20, 100)
        gc.collect()
        gc.freeze()
        with self._unblocked_log():
            try:
                await self.data_server.serve([self.ports.data])
            finally:
                self.admin_server.should_exit = True
                await admin
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                await self.runtime.make_durable()
                await self.mirror.close()
                await self.feed.close()
                await self.doors.close()
                self.runtime.close()
                self.wheel.stop()
                self.access_log.close(2.0)
        return 0

    @contextlib.contextmanager
    def _unblocked_log(self) -> Iterator[None]:
        """While requests are served, a standard error that blocks must block nobody."""
        root = logging.getLogger()
        handlers = root.handlers
        root.handlers = [LineHandler(self.lines.put, handlers[0].formatter if handlers else None)]
        try:
            yield
        finally:
            root.handlers = handlers
            self.lines.close(1.0)

    def _announce(self) -> None:
        inherited = " (inherited)" if self.ports.kept or self.predecessor is not None else ""
        data, admin = _shown(self.ports.data), _shown(self.ports.admin)
        log.info("fig %s serves on %s%s, admin on %s", __version__, data, inherited, admin)
        wanted = self.runtime.snapshot.settings.server.limits.max_connections
        if self.descriptors is not None and self.descriptors < 2 * wanted:
            log.warning(
                "server.limits.max_connections is %d, but the file descriptors bear %d requests at once:"
                " raise LimitNOFILE or `ulimit -n`",
                wanted,
                self.descriptors // 2,
            )
        self.notify("READY=1")
        for name, state in self.runtime.snapshot.states.items():
            if state.record.latch is not None:
                log.warning("seam %s: rolled back by %s; `fig resume %s` lifts it", name, state.record.latch.by, name)
            elif state.unlatched != (state.config.declared_stage, state.config.declared_percent):
                log.warning(
                    "seam %s: %s %g%% by an override, not by YAML; `fig reset %s` drops it",
                    name,
                    *state.unlatched,
                    name,
                )

    def _stop(self) -> None:
        if self._stopping:
            self.data_server.hurry()
            return
        self._stopping = True
        if self.data_server.should_exit:
            return  # it has left and drains already
        log.info("stopping: draining %d client connections", len(self.edge.connections))
        self.notify("STOPPING=1")
        if self._handover is not None:
            self._handover.cancel()
        self.data_server.should_exit = True
        self.edge.draining = True
        self._releasing = asyncio.ensure_future(self._release_store())
        if self.ports.kept:  # what waits there is for the next process, as on the data port
            delay_s = self._drain_times().delay_s
            asyncio.get_running_loop().call_later(delay_s, self.admin_server.acceptor.stop)

    async def _release_store(self) -> None:
        """The next process may be waiting for it."""
        while not self.runtime.away:
            try:
                await self.runtime.let_go()
            except StoreError:
                await asyncio.sleep(_DURABLE_EVERY_S)

    # --- the next process --------------------------------------------------------------------------------------------

    def _succeed(self) -> None:
        if self._handover is None or self._handover.done():
            self._handover = asyncio.ensure_future(self._hand_over())
        else:
            log.info("handover: one is under way")

    async def _hand_over(self) -> None:
        obstacle = self._obstacle()
        if obstacle is not None:
            log.error("handover refused: %s", obstacle)
            return
        self.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        successor = None
        try:
            async with asyncio.timeout(READY_S):
                successor = await Successor.start(self.ports.data, self.ports.admin, self.ports.kept)
                self._check_store(await successor.prepared())
                await self.runtime.let_go()
                await successor.ready()
        except (HandoverFailed, StoreError, OSError, asyncio.CancelledError) as error:
            await self._keep_serving(successor, error)
            return
        self.data_server.leave()
        self.admin_server.leave()
        self.notify(f"MAINPID={successor.pid}")
        successor.yours()
        log.info("process %d has taken over; draining %d client connections", successor.pid, len(self.edge.connections))
        async for seam in successor.rollbacks():
            self.runtime.follow(seam, Author(time.time(), f"process {successor.pid}", "rolled back there"))

    def _obstacle(self) -> str | None:
        """What would be lost if another process took over now."""
        if os.getpid() == 1:
            return "process 1 of a container cannot be succeeded: the container ends with it; replace the container"
        if self.data_server.should_exit:
            return "this process is draining"
        if self.runtime.store_name == "memory" and self.runtime.records:
            return "`store: memory:` would forget what was shifted and rolled back: use `sqlite:FILE`"
        if self.runtime.volatile:
            return "a rollback is in memory only and would be forgotten: mend the store first, see the log above"
        return None

    def _check_store(self, store: str) -> None:
        if store != self.store_url:
            raise HandoverFailed(f"`store` has changed from {self.store_url} to {store}: that takes a stop and a start")

    async def _keep_serving(self, successor: Successor | None, error: BaseException) -> None:
        if successor is not None:
            await successor.end()
        missing = self.runtime.away
        while missing and not self.data_server.should_exit:
            try:
                await self.runtime.take_back()
                missing = False
            except StoreError as refusal:
                log.error("the store cannot be opened again, shifts answer 503: %s", refusal.detail)
                await asyncio.sleep(_DURABLE_EVERY_S)
        if self.data_server.should_exit:
            log.info("handover given up: this process was told to stop meanwhile")
            return
        match error:
            case StoreError():
                reason = f"a rollback is in memory only: {error.detail}"
            case TimeoutError():
                reason = f"the successor was not ready within {READY_S:g} s"
            case _:
                reason = str(error)
        log.error("handover failed, this process keeps serving: %s", reason)
        self.notify("READY=1")

    async def _beat(self) -> None:
        self.notify("WATCHDOG=1")

    def _hang_up(self) -> None:
        if self.runtime.away:
            return  # the next process reads the file anyway
        self._hung_up = True
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.ensure_future(self._reload_hung_up())

    async def _reload_hung_up(self) -> None:
        while self._hung_up:  # a signal during a reload asks for one more, not for one each
            self._hung_up = False
            await self._reload("SIGHUP")

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await step()
            except Exception:
                log.exception("background task %r failed", step)

    # --- background steps --------------------------------------------------------------------------------------------

    async def _read_rollback_files(self) -> None:
        found = self.rollback_files.read()
        # All act in this turn of the loop; only being written down is waited for, together.
        await asyncio.gather(*(self._obey(seam, reason) for seam, reason in found.items()))
        self._told &= found.keys()

    async def _obey(self, seam: str, reason: str) -> None:
        state = self.runtime.snapshot.states.get(seam)
        if state is not None and state.record.latch is not None:
            return
        try:
            await self.runtime.retreat(seam, Author(time.time(), "rollback file", reason))
        except ProxyError as error:
            if seam not in self._told:
                self._told.add(seam)
                log.error("rollback file %s: %s", self.rollback_files.path(seam), error.detail)

    async def _reload_if_changed(self) -> None:
        if (
            self.watch is not None
            and not self.runtime.away
            and await asyncio.to_thread(self.watch.changed, time.time())
        ):
            await self._reload("file watch")

    async def _reload(self, actor: str) -> None:
        try:
            result = await self.runtime.reload(Author(time.time(), actor, "configuration changed"))
        except ConfigError:
            return  # told by the event
        for warning in result.warnings:
            log.warning("%s", warning)
        if not result.changed and actor == "SIGHUP":
            log.info("configuration %s unchanged", result.fingerprint)

    async def _sweep(self) -> None:
        self.runtime.sweep()

    async def _tell_comparer(self) -> None:
        self.mirror.tick()

    async def _tick(self) -> None:
        self.runtime.guards.tick()

    async def _note_seen(self) -> None:
        self.seen.note(self.runtime.snapshot.states, time.monotonic())

    # --- what others are given ---------------------------------------------------------------------------------------

    async def _load(self) -> Loaded:
        if self.path is None or self.watch is None:
            raise ConfigError(
                (Problem("command line", 1, 1, "FIG000", "there is no file to reload: fig runs from flags"),)
            )
        await asyncio.to_thread(self.watch.remember)
        try:
            loaded = await load_in_child(self.path)
        except OSError as error:
            self.watch.forget()  # nothing was read: the change has not been seen yet
            text = f"cannot start the process that loads it: {error.strerror or error}"
            raise ConfigError((Problem(str(self.path), 1, 1, "FIG000", text),)) from error
        except ConfigError as error:
            self.watch.follow(error.files or self.runtime.files)
            raise
        self.watch.follow(loaded.files)
        tls = loaded.settings.server.tls
        try:
            await asyncio.to_thread(self.port_tls.prepare, tls)
        except TlsError as error:  # the files were sound when the child read them
            raise ConfigError((Problem(str(self.path), 1, 1, "FIG121", str(error)),)) from error
        return loaded

    def _make_upstream(self, name: str, config: UpstreamConfig) -> Upstream:
        """Raises ConfigError."""
        tls, discovery = self._upstream_tls(config), config.discovery
        resolver = None if discovery is None else self._resolver(discovery)
        endpoints = Endpoints(
            name,
            map(address_of, config.listed),
            EndpointMaker(config, self.wheel, self.own_addresses, tls),
            own_addresses=self.own_addresses,
            source=None if discovery is None else discovery.source,
            emit=self._emit,
            clock=time.monotonic,
            rng=self.rng,
        )
        discover: Chore | None = None
        if resolver is not None:
            endpoints.hurry = resolver.hurry
            discover = partial(resolver.run, endpoints)
        probe = None if config.health is None else partial(self._probe, config.health, endpoints, tls)
        return Upstream(name, config, endpoints, discovery=discover, probes=probe)

    def _resolver(self, discovery: Discovery) -> Resolver:
        if discovery.dns is not None:
            return DnsResolver(discovery)
        return RegistryResolver(discovery, self._client(is_https(discovery.registry or "")))

    async def _probe(self, health: Health, endpoints: Endpoints, tls: ssl.SSLContext | None) -> None:
        async with self._client(tls or False) as client:
            await Prober(health, client, lambda: endpoints.all, endpoints.probed, rng=self.rng).run()

    def _client(self, tls: ssl.SSLContext | bool) -> httpx.AsyncClient:
        """For what is no proxied request: `upstreams.health.ask` says why without a pool. It sees no environment and
        keeps no cookie. `tls` True: verified by the system's store; False: clear text, so that nothing is loaded."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        verify = self._system_trust if tls is True else tls
        client = httpx.AsyncClient(verify=verify, trust_env=False, limits=limits)
        client.cookies.jar.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        return client

    def _make_keys(self, rule: IssuerRule) -> RemoteKeys:
        def tell(issuer: str, problem: str | None) -> None:
            self._emit(KeysRecovered(issuer) if problem is None else KeysFailed(issuer, problem))

        return RemoteKeys(rule, self._client(is_https(rule.jwks_url or "")), tell=tell)

    def _make_redis(self, limits: RateLimits, local: MemoryLimiter) -> RedisLimiter:
        def changed(tripped: bool, why: str) -> None:
            self._emit(LimitsStoreFailed(limits.on_error, why) if tripped else LimitsStoreRecovered(why))

        return RedisLimiter(
            limits.redis_url or "",
            timeout_s=limits.timeout_s,
            on_error=limits.on_error,
            local=local,
            changed=changed,
        )

    def _make_sessions(self, config: Session) -> Sessions:
        errand = Errand(
            lambda: self.runtime.upstreams.get(config.upstream),
            config.path,
            timeout_s=config.timeout_s,
            token=config.token,
        )
        return Sessions(SessionRule(config.cookie, config.cache_s), errand.ask)

    def _make_breaker(self, rule: BreakerRule) -> Breaker:
        seam, side, route = rule.key

        def changed(was: State, to: State, why: str) -> None:
            self._emit(BreakerChanged(seam, side, route, was, to, why))

        return Breaker(rule.config, time.monotonic, changed)

    def _upstream_tls(self, config: UpstreamConfig) -> ssl.SSLContext | None:
        """Raises ConfigError."""
        if not config.secure:
            return None
        tls = config.tls
        try:
            return self._system_trust if tls is None or not tls.files else client_context(tls)
        except TlsError as error:
            raise ConfigError((Problem("upstreams", 1, 1, "FIG121", str(error)),)) from error

    @cached_property
    def _system_trust(self) -> ssl.SSLContext:
        """One for all upstreams without files of their own: it is read once, and is a megabyte."""
        return client_context(None)

    def _on_swap(self, snapshot: Snapshot) -> None:
        server = snapshot.settings.server
        self.edge.limits, self.edge.timeouts = server.limits, server.timeouts
        if server.tls is not None and self.edge.tls is not None and self.port_tls.adopt(server.tls):
            self.edge.tls = self.port_tls.context
            log.info("server.tls: new connections get the certificate in %s as it is now", server.tls.certificate)
        self.gateway.adopt(snapshot)
        self.doors.adopt(self.runtime.doors)
        self._start_comparer(snapshot)

    def _start_comparer(self, snapshot: Snapshot) -> None:
        if any(mirrors(state.config, state.stage) for state in snapshot.states.values()):
            self.feed.start()

    def _drain_times(self) -> DrainTimes:
        drain = self.runtime.snapshot.settings.server.drain
        return DrainTimes(drain.delay_s, drain.timeout_s)

    def _readiness(self) -> str | None:
        return "draining" if self.edge.draining else None

    def _refusal(self) -> str | None:
        if self.edge.draining or self.runtime.away:
            file = self.rollback_files.path("SEAM")
            return f"The next process takes over: repeat it there in a moment. To roll back now, write {file}."
        return None

    def _accept_failed(self, port: str, error: OSError) -> None:
        self.metrics.accept_failed(port)
        self.errors.log("accept", None, f"{port} port: {error.strerror}; new connections wait: raise LimitNOFILE")

    def _lag_gauges(self) -> tuple[float, int]:
        return self.wheel.lag.recent(asyncio.get_running_loop().time()), self.wheel.lag.stalls

    def _seam_gauges(self) -> list[tuple[str, float, float, bool]]:
        now = time.monotonic()
        return [
            (name, state.percent, self.seen.seen(name, now).percent or 0.0, state.record.latch is not None)
            for name, state in self.runtime.snapshot.states.items()
        ]

    def _breaker_gauges(self) -> Iterator[tuple[str, str, str, str]]:
        for name in self.runtime.snapshot.states:
            for rule, breaker in self.runtime.breakers(name):
                yield (*rule.key, "closed" if breaker is None else breaker.state)

    def _webhook_gauges(self) -> tuple[int, int, int]:
        hook = self.webhook
        return (0, 0, 0) if hook is None else (hook.sent, hook.failed, hook.dropped)

    def _connection_gauges(self) -> tuple[int, int]:
        idle = len(self.edge.idle)
        return len(self.edge.connections) - idle, idle

    def _emit(self, event: Event) -> None:
        self.metrics.event(event)
        if self.webhook is not None:
            self.webhook.put(event)
        match event:
            case Transition():
                if event.action == "rollback" and self.predecessor is not None:
                    self.predecessor.tell_rollback(event.seam)
                self.seen.restart(event.seam, time.monotonic())
                log.info(
                    "seam %s: %s by %s → %s %g%%%s (%s)",
                    event.seam,
                    event.action,
                    event.actor,
                    event.stage,
                    event.percent,
                    ", rolled back" if event.rolled_back else "",
                    event.reason,
                )
            case Reloaded():
                self._tell_reload(event)
            case ReloadFailed():
                log.error("reload failed, the old configuration keeps serving:\n%s", event.detail)
            case StoreFailed():
                log.error("store %s, seam %s: %s", event.store, event.seam or "-", event.detail)
            case StoreRecovered():
                log.info("store %s: rollback of seam %s is durable", event.store, event.seam)
            case BreakerChanged():
                route = f" {event.route}" if event.route else ""
                words = (event.seam, event.side, route, event.was, event.to, event.reason)
                log.warning("breaker %s %s%s: %s → %s (%s)", *words)
            case EndpointChanged():
                word = "is back" if event.available else "is out of use"
                log.warning("upstream %s: endpoint %s %s (%s)", event.upstream, event.endpoint, word, event.reason)
            case EndpointsFound():
                log.info("upstream %s: endpoints are %s", event.upstream, ", ".join(event.endpoints) or "none")
            case DiscoveryFailed():
                log.error("upstream %s: %s: %s; what is known stays", event.upstream, event.source, event.detail)
            case DiscoveryRecovered():
                log.info("upstream %s: %s answers again", event.upstream, event.source)
            case KeysFailed():
                log.error("issuer %s: its keys cannot be fetched: %s; known ones stay", event.issuer, event.detail)
            case KeysRecovered():
                log.info("issuer %s: its keys can be fetched again", event.issuer)
            case LimitsStoreFailed():
                log.error("rate_limits.store fails: %s; until it answers: %s", event.detail, event.on_error)
            case LimitsStoreRecovered():
                log.info("rate_limits.store answers again: %s", event.detail)

    def _tell_reload(self, event: Reloaded) -> None:
        if not event.changed:
            return
        gc.freeze()
        now = time.monotonic()
        for seam in event.moved:
            self.seen.restart(seam, now)
        shown = ", ".join(event.moved[:_SHOWN_SEAMS]) + (" …" if len(event.moved) > _SHOWN_SEAMS else "")
        moved = f", {len(event.moved)} moved ({shown})" if event.moved else ""
        log.info("configuration %s in force, %d seams%s", event.fingerprint, event.seams, moved)
        for seam in event.overridden:
            log.warning("seam %s: YAML changed but an override wins; `fig reset %s` drops it", seam, seam)
        for key in event.needs_restart:
            log.warning("%s changed: that takes a restart", key)
