"""`fig explain` says whether a request would come in, and why not."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from proxy.admin.explain import explain
from proxy.admission.trust import Trust
from proxy.config.load import load
from proxy.loader import CHECKS
from proxy.messages import RequestHead
from proxy.routing.split import bucket
from proxy.snapshot import at_once, compile_now
from tests.support.doors import door_maker

CONFIG = f"""\
version: 1
upstreams: {{monolith: {{endpoints: [http://127.0.0.1:1]}}, items: {{endpoints: [http://127.0.0.1:2]}}}}
default: monolith
auth:
  api_keys:
    keys:
      partner: {{sha256: "{sha256(b"secret").hexdigest()}", scopes: ["a:read"]}}
      other: {{sha256: "{sha256(b"other").hexdigest()}"}}
seams:
  items:
    routes:
      - {{path: /items}}
      - {{path: /open, auth: {{api_keys: [partner], mode: observe}}, rate_limit: []}}
    extracted: items
    percent: 50
    sticky_by: [api_key]
    access: {{deny: [192.0.2.0/24]}}
    auth: {{api_keys: [partner, other], all_scopes: ["a:read"]}}
    rate_limit: [{{name: per-key, requests: 5, window_s: 60, by: api_key}}]
"""


def steps(folder: Path, path: str = "/items", peer: str = "127.0.0.1", offline: bool = False, **lines: bytes) -> Any:
    file = folder / "fig.yaml"
    file.write_text(CONFIG)
    loaded = load(file, {}, checks=CHECKS)
    fields = {name.replace("_", "-").encode(): value for name, value in lines.items()}
    request = RequestHead("GET", path.encode(), b"a", list(fields.items()), fields, 0, False, peer, "http")
    doors = None if offline else at_once(door_maker().making(loaded.settings))
    document = explain(compile_now(loaded, {}), Trust(()), request, doors=doors)
    return document, {step["step"]: step for step in document["steps"]}


def test_a_good_credential_decides_the_side_too(tmp_path: Path) -> None:
    document, found = steps(tmp_path, x_api_key=b"secret")
    assert (found["access"]["result"], found["auth"]["result"], found["rate_limit"]["result"]) == (
        "admitted",
        "ok",
        "per-key",
    )
    assert found["auth"]["source"].endswith("fig.yaml:18")
    assert document["bucket"] == bucket("items", b"partner")
    assert "secret" not in str(document)


@pytest.mark.parametrize(
    ("key", "result", "said"),
    [
        (None, "401", "no_credential"),
        (b"wrong", "401", "api_key"),
        (b"other", "403", "scope"),
    ],
)
def test_one_that_is_not_is_told_and_the_rest_is_explained_all_the_same(
    tmp_path: Path, key: bytes | None, result: str, said: str
) -> None:
    document, found = steps(tmp_path, **({} if key is None else {"x_api_key": key}))
    assert found["auth"]["result"] == result
    assert found["auth"]["detail"].startswith(f"{said}: ")
    assert document["upstream"] in ("monolith", "items")


def test_what_is_only_observed(tmp_path: Path) -> None:
    _, found = steps(tmp_path, "/open")
    assert found["auth"]["result"] == "would be 401"
    assert "rate_limit" not in found


def test_an_address_that_may_not(tmp_path: Path) -> None:
    _, found = steps(tmp_path, peer="192.0.2.7")
    assert found["access"]["result"] == "403"


def test_without_keys_nothing_is_verified(tmp_path: Path) -> None:
    document, found = steps(tmp_path, offline=True, x_api_key=b"secret")
    assert found["auth"]["result"] == "needed"
    assert document["bucket"] is None


def test_an_open_route_has_no_such_steps(tmp_path: Path) -> None:
    _, found = steps(tmp_path, "/elsewhere")
    assert not {"access", "auth", "rate_limit"} & set(found)
