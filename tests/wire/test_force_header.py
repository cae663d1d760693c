"""The header that picks a side is between the client and fig: no upstream gets it, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Origin

CONFIG = """
version: 1
server: {listen: "{data}"}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
upstreams: {old: {endpoints: ["OLD"]}, new: {endpoints: ["NEW"]}}
default: old
seams:
  mine: {routes: [{path: /mine/**}], extracted: new, force: {header: X-Side, allow_from: [127.0.0.0/8]}}
  theirs: {routes: [{path: /theirs/**}], extracted: new, force: {header: X-Side, allow_from: [192.0.2.0/24]}}
  free: {routes: [{path: /free/**}], extracted: new}
"""


@pytest.mark.parametrize(
    ("path", "value", "side", "passes"),
    [
        ("/mine/1", "extracted", "new", False),
        ("/mine/1", "nonsense", "old", False),
        ("/theirs/1", "extracted", "old", False),  # not from there
        ("/free/1", "extracted", "old", True),  # any header of the client's
    ],
)
def test_no_upstream_gets_it(tmp_path: Path, path: str, value: str, side: str, passes: bool) -> None:
    old, new = Origin(), Origin()
    with Fig(tmp_path, CONFIG.replace("OLD", old.url).replace("NEW", new.url)) as fig, RawClient(fig.address) as client:
        assert client.get(path, f"x-side: {value}", "X-Other: 1").status == 200
    asked, spared = (new, old) if side == "new" else (old, new)
    ((request,), nothing) = asked.requests, spared.requests
    assert nothing == []
    assert (request.value("x-side") is not None, request.value("x-other")) == (passes, "1")
    for origin in (old, new):
        origin.close()
