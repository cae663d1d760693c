"""One admin port without a token, one with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.admin import AdminPort


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[AdminPort]:
    port = AdminPort(tmp_path)
    yield port
    port.close()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[AdminPort]:
    port = AdminPort(tmp_path, token="s3cret-token")
    yield port
    port.close()
