"""`fig` against a real admin port on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.admin import AdminPort
from tests.support.cli import Command, Listener, Served


@pytest.fixture(scope="session")
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def serve(listener: Listener, admin: AdminPort) -> Iterator[Served]:
    listener.app = admin.app
    yield Served(admin, listener.url)
    admin.close()


@pytest.fixture
def served(listener: Listener, tmp_path: Path) -> Iterator[Served]:
    yield from serve(listener, AdminPort(tmp_path))


@pytest.fixture
def locked(listener: Listener, tmp_path: Path) -> Iterator[Served]:
    yield from serve(listener, AdminPort(tmp_path, token="s3cret-token"))


@pytest.fixture
def run(served: Served) -> Command:
    return served.command()


@pytest.fixture
def offline() -> Command:
    return Command()
