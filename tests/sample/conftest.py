"""The monolith and the catalog without sockets: one event loop, a clock that stands still, a file per test."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from extracted_services.catalog.app import create_app as create_catalog
from extracted_services.catalog.backfill import backfill
from extracted_services.catalog.service import Catalog
from extracted_services.catalog.store import Store
from legacy_monolith.app import create_app as create_monolith
from legacy_monolith.database import Database
from legacy_monolith.seed import first_start
from legacy_monolith.shop import Shop

NOON = 1_795_453_200.0  # 2026-11-23 17:00:00 UTC, noon in New York


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Browser:
    """One cookie jar in front of an ASGI app. Redirects are not followed, a crash is a 500."""

    def __init__(self, run: Callable[..., Any], app: ASGIApp) -> None:
        self._run = run
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://shop.test")

    def request(self, method: str, path: str, **how: Any) -> httpx.Response:
        return self._run(self.client.request(method, path, **how))

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self.request("GET", path, **how)

    def post(self, path: str, **how: Any) -> httpx.Response:
        return self.request("POST", path, **how)

    def put(self, path: str, **how: Any) -> httpx.Response:
        return self.request("PUT", path, **how)

    def login(self, name: str) -> httpx.Response:
        return self.post("/login", data={"email": f"{name}@shop.example", "password": f"{name}-secret"})

    def together(self, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
        """All of (method, path, keywords) at once."""

        async def gather() -> list[httpx.Response]:
            return await asyncio.gather(*(self.client.request(method, path, **how) for method, path, how in requests))

        return self._run(gather())


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seed") / "shop.db"
    database = Database(path)
    first_start(database)
    database.close()
    return path


@pytest.fixture
def database(seeded: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copy(seeded, tmp_path / "shop.db")
    database = Database(tmp_path / "shop.db")
    yield database
    database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def monolith(database: Database, clock: Clock) -> ASGIApp:
    sids = (f"sid-{number}" for number in itertools.count(1))
    return create_monolith(Shop(database, clock, lambda: next(sids)))


@pytest.fixture
def open_browser(run: Callable[..., Any]) -> Callable[[ASGIApp], Browser]:
    return lambda app: Browser(run, app)


@pytest.fixture
def browser(open_browser: Callable[[ASGIApp], Browser], monolith: ASGIApp) -> Browser:
    return open_browser(monolith)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "catalog.db")
    yield store
    store.close()


@pytest.fixture
def filled(run: Callable[..., Any], browser: Browser, store: Store) -> Store:
    run(backfill(browser.client, store))
    return store


@pytest.fixture
def catalog(open_browser: Callable[[ASGIApp], Browser], filled: Store, clock: Clock) -> Browser:
    return open_browser(create_catalog(Catalog(filled, clock)))
