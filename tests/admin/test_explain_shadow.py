"""`fig explain` says whether a request is compared too, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.admin.explain import explain
from proxy.admission.trust import Trust
from proxy.config.load import load
from proxy.loader import CHECKS
from proxy.messages import RequestHead
from proxy.routing.split import bucket
from proxy.snapshot import Latch, SeamRecord, compile_now

CONFIG = """\
version: 1
upstreams:
  monolith: {endpoints: [http://127.0.0.1:1]}
  catalog: {endpoints: [http://127.0.0.1:2]}
default: monolith
seams:
  items:
    routes: [{path: "/items/{id}"}]
    extracted: catalog
    stage: STAGE
    sticky_by: [header.x-user-id]
    shadow:
      SHADOW
"""


def step(folder: Path, shadow: str, *, stage: str = "shadow", latched: bool = False, user: bytes = b"", **more: bytes):  # type: ignore[no-untyped-def]
    path = folder / "fig.yaml"
    path.write_text(CONFIG.replace("STAGE", stage).replace("SHADOW", shadow))
    record = {"items": SeamRecord(None, Latch(0.0, "bo", "errors"), 1)} if latched else {}
    lines = {name.replace("_", "-").encode(): value for name, value in more.items()}
    lines |= {b"x-user-id": user} if user else {}
    method = lines.pop(b"method", b"GET").decode()
    request = RequestHead(method, b"/items/7", b"a", list(lines.items()), lines, 0, False, "127.0.0.1", "http")
    document = explain(compile_now(load(path, {}, checks=CHECKS), record), Trust(()), request)
    found = document["steps"][-1]
    assert found["step"] == "shadow"
    return found


def user_with(low: bool) -> bytes:
    users = (b"u%d" % number for number in range(1000))
    return next(user for user in users if (bucket("items:shadow", user) < 2500) == low)


def test_a_sticky_user_is_sampled_or_not(tmp_path: Path) -> None:
    inside = step(tmp_path, "sample_percent: 25", user=user_with(True))
    assert (inside["result"], inside["source"].rpartition(":")[2]) == ("sampled", "12")
    assert "< 2500" in inside["detail"] and "catalog is asked" in inside["detail"]
    outside = step(tmp_path, "sample_percent: 25", user=user_with(False))
    assert outside["result"] == "not_sampled"
    assert "≥ 2500" in outside["detail"]


def test_without_a_sticky_key_it_is_random(tmp_path: Path) -> None:
    found = step(tmp_path, "sample_percent: 25")
    assert (found["result"], "25 %" in found["detail"]) == ("random", True)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"method": b"POST"}, "method"),
        ({"range": b"bytes=0-1"}, "range"),
        ({"if_none_match": b'"1"'}, "conditional"),
        ({"x_fig_shadow": b"items"}, "marked"),
    ],
)
def test_what_is_skipped_says_why(tmp_path: Path, more: dict[str, bytes], reason: str) -> None:
    found = step(tmp_path, "sample_percent: 100", **more)
    assert (found["result"], found["detail"].partition(":")[0]) == ("skipped", reason)


def test_where_nothing_is_compared(tmp_path: Path) -> None:
    assert step(tmp_path, "sample_percent: 0")["detail"] == "`sample_percent: 0`"
    assert step(tmp_path, "sample_percent: 100", stage="legacy")["detail"] == "stage legacy compares nothing"
    assert step(tmp_path, "sample_percent: 100", latched=True)["result"] == "off"
    assert step(tmp_path, "sample_percent: 100", stage="retired")["result"] == "off"


def test_the_other_side_is_the_one_that_did_not_serve(tmp_path: Path) -> None:
    assert "monolith" in step(tmp_path, "sample_percent: 100", stage="extracted", user=b"u")["detail"]
