from __future__ import annotations

import json

from proxy import __version__
from tests.support.cli import Command


def test_the_version_needs_no_running_fig(offline: Command) -> None:
    assert offline("version").stdout == f"fig {__version__}\n"
    assert json.loads(offline("version", "-o", "json").stdout)["version"] == __version__
