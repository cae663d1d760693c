"""What a reload starts: discovery of the new upstreams before they serve, their probes after. No socket is opened."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.config.load import Loaded, load
from proxy.config.model import Health, UpstreamConfig
from proxy.routing.match import PatternError
from proxy.runtime import Author, Runtime
from proxy.state.memory import MemoryStore
from proxy.upstreams.endpoints import Endpoint
from proxy.upstreams.resolve import address_of
from proxy.upstreams.upstream import Upstream
from tests.support.doors import make_doors
from tests.support.runtime_rig import config, told, turns
from tests.support.upstreams import make_breaker, make_upstream

LISTED = config(a="percent: 50").replace("[http://127.0.0.1:2]", "[http://127.0.0.1:2], health: {path: /up}")
TOLD = config(a="percent: 50").replace("[http://127.0.0.1:2]", "{registry: http://127.0.0.1:1, service: catalog}")
AUTHOR = Author(1.0, "ann", "because")


class Chores:
    """Upstreams whose discovery names one endpoint and goes on for ever, and whose first round of probes is bad."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asking: list[str] = []
        self.probed: list[Endpoint] = []

    def runtime(self, text: str) -> Runtime:
        self.path.write_text(text)
        return Runtime(
            self._read(),
            {},
            MemoryStore(),
            load=self._load,
            make_upstream=self._upstream,
            make_breaker=make_breaker,
            make_doors=make_doors,
            emit=lambda _: None,
            on_swap=lambda _: None,
        )

    def _read(self) -> Loaded:
        return load(self.path, {})  # without the checks of routes: what they would have refused reaches the compiler

    async def _load(self) -> Loaded:
        return self._read()

    def _upstream(self, name: str, config: UpstreamConfig) -> Upstream:
        endpoints = make_upstream(name, config).endpoints

        async def discover() -> None:
            self.asking.append(name)
            try:
                endpoints.found((address_of("http://127.0.0.1:3"),))
                await asyncio.Event().wait()
            finally:
                self.asking.remove(name)

        async def probe() -> None:
            for endpoint in endpoints.all:
                self.probed.append(endpoint)
                endpoint.health.probe(False, Health(path="/up", unhealthy_after=1))

        return Upstream(
            name,
            config,
            endpoints,
            discovery=discover if config.discovery is not None else None,
            probes=probe if config.health is not None else None,
        )


def test_a_reload_that_does_not_compile_leaves_no_discovery_behind(tmp_path: Path) -> None:
    async def story() -> None:
        chores = Chores(tmp_path / "fig.yaml")
        runtime = chores.runtime(LISTED)
        await runtime.start()
        chores.path.write_text(TOLD.replace("path: /a", "path: /a/**/b"))
        before = runtime.upstreams["catalog"]
        with pytest.raises(PatternError):
            await runtime.reload(AUTHOR)
        await turns()
        assert chores.asking == []
        assert runtime.upstreams["catalog"] is before
        chores.path.write_text(TOLD)
        await runtime.reload(AUTHOR)
        assert chores.asking == ["catalog"]
        runtime.close()
        await turns()
        assert chores.asking == []

    told(story())


@pytest.mark.parametrize("text", [LISTED, TOLD.replace("service: catalog}", "service: catalog}, health: {path: /up}")])
def test_probes_of_a_changed_upstream_ask_the_endpoints_that_it_took_over(tmp_path: Path, text: str) -> None:
    async def story() -> None:
        chores = Chores(tmp_path / "fig.yaml")
        runtime = chores.runtime(text)
        await runtime.start()
        await turns()
        (kept,) = runtime.upstreams["catalog"].endpoints.all
        assert kept.health.probed is False
        chores.path.write_text(text.replace("path: /up", "path: /ready"))
        await runtime.reload(AUTHOR)
        await turns()
        assert runtime.upstreams["catalog"].endpoints.all == (kept,)
        assert set(chores.probed) == {kept} and len(chores.probed) >= 2
        runtime.close()
        await turns()

    told(story())
