"""What every measurement needs: an origin, and tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cases import Bench
from bench.origin import Origin
from bench.tokens import Issuer


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def bench(tmp_path: Path, issuer: Issuer) -> Iterator[Bench]:
    origin = Origin(tmp_path, core=None, own=True)
    try:
        origin.wait()
        yield Bench(tmp_path, origin, issuer, wrk=None, proxy_core=None, seconds=0.3)
    finally:
        origin.stop()
