"""Keys are dear to make: one ring for all tests of this folder."""

from __future__ import annotations

import pytest

from tests.support.tokens import Keyring


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    return Keyring()
