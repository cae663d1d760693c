from __future__ import annotations

import json

from proxy import __version__, build, gateway
from tests.support.cli import Command


def test_the_version_needs_no_running_fig(offline: Command) -> None:
    assert offline("version").stdout == f"fig {__version__} ({build()})\n"
    shown = json.loads(offline("version", "-o", "json").stdout)
    assert (shown["version"], shown["build"]) == (__version__, build())


def test_the_build_is_that_of_the_modules_in_use() -> None:
    assert build() == ("pure" if gateway.__file__.endswith(".py") else "compiled")
