"""One fig and one scripted origin for all tests of the wire; each test gives the origin its own script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig, free_port
from tests.support.origin import Origin
from tests.support.wire import Serve

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

IMPATIENT = (
    ("head_s: 1, body_s: 1, write_s: 2, keepalive_s: 2", "head_s: 0.5, body_s: 0.5, write_s: 0.5, keepalive_s: 0.5"),
    ("response_s: 1, body_s: 1", "response_s: 5, body_s: 5"),
)


def _text(origin: Origin, *changes: tuple[str, str]) -> str:
    text = CONFIG.format(data="{data}", admin="{admin}", origin=origin.url, closed=free_port())
    for old, new in changes:
        assert old in text, f"{old!r} is not in the configuration"
        text = text.replace(old, new)
    return text


def _assert_no_traceback(fig: Fig) -> None:
    errors = fig.errors()
    assert "Traceback" not in errors, errors
    assert "Exception" not in errors, errors


@pytest.fixture(scope="session")
def shared_origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


@pytest.fixture(scope="session")
def fig(shared_origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fig]:
    with Fig(tmp_path_factory.mktemp("wire"), _text(shared_origin)) as running:
        yield running
    _assert_no_traceback(running)


@pytest.fixture(scope="session")
def impatient(shared_origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fig]:
    """A fig that waits half a second for its clients and long for the origin."""
    text = _text(shared_origin, *IMPATIENT)
    with Fig(tmp_path_factory.mktemp("impatient"), text) as running:
        yield running
    _assert_no_traceback(running)


@pytest.fixture
def serve(shared_origin: Origin, tmp_path: Path) -> Iterator[Serve]:
    """Figs of the test's own: with a configuration or a memory that no other test has touched."""
    figs: list[Fig] = []

    def start(*changes: tuple[str, str]) -> Fig:
        folder = tmp_path / f"fig-{len(figs)}"
        folder.mkdir()
        figs.append(Fig(folder, _text(shared_origin, *changes)))
        return figs[-1].start()

    yield start
    for running in figs:
        running.stop()
        _assert_no_traceback(running)


@pytest.fixture
def origin(shared_origin: Origin) -> Iterator[Origin]:
    shared_origin.reset()
    yield shared_origin
    shared_origin.reset()


@pytest.fixture
def client(fig: Fig, origin: Origin) -> Iterator[RawClient]:
    with RawClient(fig.address) as connected:
        yield connected
