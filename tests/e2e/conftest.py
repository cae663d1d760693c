"""A proxy between two origins that say their side's name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.load import Background, NamedOrigin
from tests.support.tokens import Keyring

CONFIG = """
version: 1
server: {listen: "{data}", debug_headers: true, drain: {timeout_s: 10}}
admin: {listen: "{admin}"}
store: "STORE"
telemetry: {access_log: "off"}
upstreams:
  old: {endpoints: ["OLD"]}
  new: {endpoints: ["NEW"]}
default: old
seams:
  api:
    routes: [{path: "/api/**"}]
    extracted: new
    stage: canary
    percent: PERCENT
    sticky_by: [header.x-user-id]
"""


@pytest.fixture
def background() -> Iterator[Background]:
    made = Background()
    yield made
    made.close()


@pytest.fixture
def sides(background: Background) -> Iterator[tuple[NamedOrigin, NamedOrigin]]:
    old, new = NamedOrigin("legacy"), NamedOrigin("extracted")
    background.run(old.listen())
    background.run(new.listen())
    yield old, new
    background.run(old.close())
    background.run(new.close())


@pytest.fixture
def config(sides: tuple[NamedOrigin, NamedOrigin]) -> str:
    """Configuration text with the percentage still to be put in for PERCENT and the store for STORE."""
    return CONFIG.replace("OLD", sides[0].url).replace("NEW", sides[1].url)


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    """Keys are dear to make: one ring for all."""
    return Keyring()
