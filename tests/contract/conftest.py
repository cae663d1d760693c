"""The monolith and the catalog over the same data, odd rows included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from extracted_services.catalog.app import create_app as create_catalog
from extracted_services.catalog.backfill import backfill
from extracted_services.catalog.service import Catalog
from extracted_services.catalog.store import Store
from legacy_monolith.app import create_app as create_monolith
from legacy_monolith.database import Database
from legacy_monolith.seed import first_start
from legacy_monolith.shop import Shop

NOON = 1_795_453_200.0
Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[..., Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[Database]:
    database = Database(folder / "shop.db")
    first_start(database)
    odd = [
        (63, "SKU-0063", 'O\'Hara 100% "mug" <b>', "line\nbreak, tab\t, Zürich ☕", 0.29, "odd & ends", "", "", "Y"),
        (64, "SKU-0064", "Noise", "", 0.1 + 0.2, "odd & ends", "a", None, "Y"),
        (65, "SKU-0065", "Dear", None, 99_999.99, "odd & ends", "a,b,c", "/img/ü.jpg", "N"),
    ]
    with database.write() as connection:
        connection.executemany(
            "INSERT INTO products VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1793509200, 'test')",  # 01:00 EDT, clocks go back
            odd,
        )
    yield database
    database.close()


@pytest.fixture(scope="module")
def ask_monolith(run: Callable[..., Any], database: Database) -> Ask:
    return asking(run, create_monolith(Shop(database, lambda: NOON, lambda: "sid")))


@pytest.fixture(scope="module")
def ask_catalog(run: Callable[..., Any], database: Database, folder: Path) -> Iterator[Ask]:
    store = Store(folder / "catalog.db")
    monolith = create_monolith(Shop(database, lambda: NOON, lambda: "sid"))
    run(backfill(httpx.AsyncClient(transport=httpx.ASGITransport(monolith), base_url="http://shop.test"), store))
    yield asking(run, create_catalog(Catalog(store, lambda: NOON)))
    store.close()


def asking(run: Callable[..., Any], app: Any) -> Ask:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    client = httpx.AsyncClient(transport=transport, base_url="http://shop.test")

    def ask(method: str, path: str, **how: Any) -> httpx.Response:
        return run(client.request(method, path, **how))

    return ask


@pytest.fixture(scope="module", params=["monolith", "catalog"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """One suite, two implementations."""
    chosen: Ask = request.getfixturevalue(f"ask_{request.param}")
    return chosen
