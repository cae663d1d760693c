"""One fig and one scripted origin for all tests of the wire; each test gives the origin its own script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Origin

CONFIG = """
version: 1
server:
  listen: {data}
  limits: {{max_head_bytes: 16384, max_headers: 60, max_body_bytes: 200000000}}
  timeouts: {{head_s: 1, body_s: 1, write_s: 2, keepalive_s: 2}}
admin: {{listen: "{admin}"}}
store: "memory:"
telemetry: {{access_log: json}}
upstreams:
  origin: {{endpoints: ["{origin}"], timeouts: {{connect_s: 1, response_s: 1, body_s: 1}}}}
  nobody: {{endpoints: ["http://127.0.0.1:{closed}"]}}
default: origin
seams:
  small: {{routes: [{{path: /small/**, max_body_bytes: 1000}}]}}
  dead: {{legacy: nobody, routes: [{{path: /dead/**}}]}}
  late: {{deadline_s: 31.5, routes: [{{path: /late/**}}]}}
"""


@pytest.fixture(scope="session")
def shared_origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


@pytest.fixture(scope="session")
def fig(shared_origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fig]:
    from tests.support.fig import free_port

    text = CONFIG.format(data="{data}", admin="{admin}", origin=shared_origin.url, closed=free_port())
    with Fig(tmp_path_factory.mktemp("wire"), text) as running:
        yield running
        errors = Path(running.folder / "err.log").read_text()
    assert "Traceback" not in errors, errors
    assert "Exception" not in errors, errors


@pytest.fixture
def origin(shared_origin: Origin) -> Iterator[Origin]:
    shared_origin.reset()
    yield shared_origin
    shared_origin.reset()


@pytest.fixture
def client(fig: Fig, origin: Origin) -> Iterator[RawClient]:
    with RawClient(fig.address) as connected:
        yield connected
