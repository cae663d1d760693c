"""The explanation of a request and what a running fig does with it are the same."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.support.admin import CONFIG
from tests.support.client import RawClient
from tests.support.fig import Fig

TARGETS = (
    "/api/products/7", "/api/products/x", "/api/products/7;v=1", "/api//products/7", "/api/products/../products/7",
    "/api/products/%37", "/api/products%2F7", "/api/search?mode=full", "/api/search?mode=some", "/api/orders",
    "/api/orders/1/lines", "/pages/", "/pages", "/", "/nowhere", "/%zz", "*",
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "OPTIONS", "get", "BREW", "TRACE")


@pytest.fixture(scope="module")
def fig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fig]:
    text = CONFIG.replace("{listen: 127.0.0.1:18080}", '{listen: "{data}", debug_headers: true}')
    text = text.replace("listen: 127.0.0.1:19901", 'listen: "{admin}"').replace('"off"', "off")
    with Fig(tmp_path_factory.mktemp("fig"), text) as running:
        yield running


def headers(rng: random.Random) -> list[str]:
    found = [f"X-User-Id: {rng.randrange(50)}"]  # without a sticky key the side is drawn by lot
    if rng.random() < 0.3:
        found.append(f"X-Fig-Force: {rng.choice(['legacy', 'Extracted', 'both', ''])}")
    return found


@pytest.mark.parametrize("stage", ["canary", "rolled back", "extracted"])
def test_explain_never_disagrees_with_what_fig_does(fig: Fig, stage: str) -> None:
    if stage == "rolled back":
        fig.call("POST", "/api/seams/catalog/rollback")
    elif stage == "extracted":
        fig.call("POST", "/api/seams/catalog/resume")
        fig.call("POST", "/api/seams/catalog/shift", stage="extracted")
    rng = random.Random(stage)
    for _ in range(120):
        method, target, sent = rng.choice(METHODS), rng.choice(TARGETS), headers(rng)
        with RawClient(fig.address) as client:
            answer = client.get(target, *sent, method=method)
        asked = {name: value.strip() for name, _, value in (line.partition(":") for line in sent)}
        told = fig.call("POST", "/api/explain", method=method, path=target, headers={"Host": "proxy.test", **asked})
        explained = told.json()
        did = tuple(answer.value(f"x-fig-{what}") for what in ("seam", "side", "reason"))
        if explained["side"] is None:
            assert did == (None, None, None), (method, target, sent)
            assert str(answer.status) == explained["steps"][-1]["result"], (method, target, sent, explained)
        else:
            assert did == (explained["seam"], explained["side"], explained["reason"]), (method, target, sent)
