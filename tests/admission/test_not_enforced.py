"""What nothing obeys yet is refused, wherever it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.loader import load_file

CONFIG = """\
version: 1
upstreams: {{old: {{endpoints: ["http://127.0.0.1:1"]}}}}
default: old
{top}
seams:
  a:
    routes: [{{path: /a/**{route}}}]
{seam}
"""
KEYS = """auth:
  api_keys: {keys: {partner: {sha256: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}}}
"""


def refusals(tmp_path: Path, top: str = "", route: str = "", seam: str = "") -> list[str]:
    path = tmp_path / "fig.yaml"
    path.write_text(CONFIG.format(top=top, route=route, seam=seam))
    try:
        load_file(path)
    except ConfigError as error:
        return [problem.message for problem in error.problems if problem.code == "FIG007"]
    return []


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ({"top": KEYS}, ["auth"]),
        ({"top": KEYS, "seam": "    auth: {api_keys: [partner]}"}, ["auth", "auth"]),
        ({"top": KEYS, "route": ", auth: {api_keys: [partner]}"}, ["auth", "auth"]),
        ({"top": "rate_limits: {on_error: deny}"}, ["rate_limits"]),
        ({"seam": "    rate_limit: [{name: n, requests: 1, window_s: 1}]"}, ["rate_limit"]),
        ({"route": ", rate_limit: [{name: n, requests: 1, window_s: 1}]"}, ["rate_limit"]),
        ({"seam": "    access: {deny: [10.0.0.0/8]}"}, ["access"]),
        ({"route": ", access: {allow: [10.0.0.0/8]}"}, ["access"]),
        ({"seam": "    cors: {allow_origins: [https://a.example]}"}, ["cors"]),
        ({}, []),
    ],
)
def test_a_door_that_nothing_closes_is_not_written_down(tmp_path: Path, given: dict[str, str], keys: list[str]) -> None:
    assert sorted(refusals(tmp_path, **given)) == [f"`{key}` is not available yet: remove it" for key in keys]
