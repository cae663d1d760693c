"""A real admin port over a real runtime: real configuration files, a store in memory, no data port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from proxy.admin.api import create_admin
from proxy.config.load import Loaded, load
from proxy.errors import ConfigError, Problem
from proxy.events import Event
from proxy.rollout.rollback_file import RollbackFiles
from proxy.routing.table import check
from proxy.runtime import Runtime
from proxy.shadow.feed import Feed
from proxy.snapshot import SeamRecord, Snapshot
from proxy.state.memory import MemoryStore
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.seen import SeenShare
from tests.support.doors import make_doors
from tests.support.upstreams import make_breaker, make_upstream

NOON = 1_772_366_400.0  # 2026-03-01T12:00:00Z

CONFIG = """\
version: 1
server: {listen: 127.0.0.1:18080}
admin: {listen: 127.0.0.1:19901, token: "${FIG_ADMIN_TOKEN:-}"}
store: "memory:"
upstreams:
  monolith: {endpoints: [http://127.0.0.1:1]}
  catalog: {endpoints: [http://127.0.0.1:2], timeouts: {response_s: 3}}
default: monolith
seams:
  catalog:
    owner: team-catalog
    routes:
      - {path: "/api/products/{id}", methods: [GET, HEAD], params: {id: "[0-9]+"}}
      - {path: /api/search, query: {mode: full}}
    extracted: catalog
    rewrite: {strip_prefix: /api, add_prefix: /v2}
    stage: canary
    percent: 25
    sticky_by: [header.x-user-id]
    force: {header: x-fig-force, allow_from: [127.0.0.0/8]}
  orders:
    routes: [{path: "/api/orders/**"}]
    extracted: catalog
  pages:
    routes: [{path: "/pages/**"}]
"""


class Refusing:
    """The fault of a MemoryStore: calls pass until `error` is set."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __call__(self, operation: str) -> None:
        if self.error is not None and operation != "load":
            raise self.error


class AdminPort:
    """`app` is what `create_admin` makes of everything in `folder`; attributes are what a test may turn."""

    def __init__(
        self, folder: Path, text: str = CONFIG, token: str = "", records: dict[str, SeamRecord] | None = None
    ) -> None:
        self.folder = folder
        self.config = folder / "fig.yaml"
        self.config.write_text(text)
        self.environ = {"FIG_ADMIN_TOKEN": token} if token else {}
        self.not_ready: str | None = None
        self.refusal: str | None = None
        self.now = NOON
        self.monotonic = 100.0
        self.events: list[Event] = []
        self.slept: list[float] = []
        self.fault = Refusing()
        self.store = MemoryStore(self.fault)
        self.metrics = Metrics("1.2.3", lambda: 0)
        self.seen = SeenShare(self.metrics, self.monotonic)
        self.rollback_files = RollbackFiles(folder / "var" / "rollback")
        loaded = self.load()
        self.runner = asyncio.Runner()
        self.runner.run(self.store.open())
        self.runtime = self._runtime(loaded, records or {})
        self.feed = Feed(None, self._clock)
        self.app = self._app(loaded.settings.admin.token)

    def load(self) -> Loaded:
        return load(self.config, self.environ, checks=(check,))

    def _runtime(self, loaded: Loaded, records: dict[str, SeamRecord]) -> Runtime:
        return Runtime(
            loaded,
            records,
            self.store,
            load=self._reload,
            make_upstream=partial(make_upstream, emit=self._emit, clock=self._clock),
            make_breaker=partial(make_breaker, emit=self._emit, clock=self._clock),
            make_doors=make_doors,
            emit=self._emit,
            on_swap=_ignore,
        )

    def _emit(self, event: Event) -> None:
        self.events.append(event)

    def _clock(self) -> float:
        return self.monotonic

    async def _reload(self) -> Loaded:
        if not self.config.exists():
            raise ConfigError((Problem("command line", 1, 1, "FIG000", "there is no file: fig runs from flags"),))
        return self.load()

    def _app(self, token: str) -> Starlette:
        return create_admin(
            runtime=self.runtime,
            metrics=self.metrics,
            seen=self.seen,
            rollback_files=self.rollback_files,
            feed=self.feed,
            readiness=lambda: self.not_ready,
            refusal=lambda: self.refusal,
            token=token,
            clock=lambda: self.now,
            monotonic=self._clock,
            version="1.2.3",
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        """As long as the others take to come to a stand."""
        self.slept.append(seconds)
        for _ in range(200):
            await asyncio.sleep(0)

    def call(
        self,
        method: str,
        path: str,
        *,
        peer: str = "127.0.0.1",
        host: str = "127.0.0.1:19901",
        raising: bool = True,
        **content: Any,
    ) -> httpx.Response:
        """One request without a socket. A write without a body carries `{}`; `raising` lets a bug through."""
        if method == "POST" and not content.keys() & {"json", "content"}:
            content["json"] = {}

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=raising, client=(peer, 50000))
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
                return await client.request(method, path, **content)

        return self.runner.run(ask())

    def get(self, path: str, **content: Any) -> httpx.Response:
        return self.call("GET", path, **content)

    def post(self, path: str, members: Any = None, **content: Any) -> httpx.Response:
        return self.call("POST", path, json=members or {}, **content)

    def edit(self, change: Callable[[str], str]) -> None:
        """Write the configuration file anew."""
        self.config.write_text(change(self.config.read_text()))

    def close(self) -> None:
        self.runner.run(self.feed.close())
        self.runtime.close()
        self.runner.close()


def _ignore(_: Snapshot) -> None:
    """Nothing here has a data port to tell."""
