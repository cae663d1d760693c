"""The explanation of a request and what a running fig does with it are the same."""

from __future__ import annotations

import random
from collections.abc import Iterator

import httpx
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


def put(fig: Fig, state: str) -> None:
    """Into a state, from whichever it is in."""
    fig.call("POST", "/api/seams/catalog/resume")
    fig.call("POST", "/api/seams/catalog/reset")
    if state == "rolled back":
        fig.call("POST", "/api/seams/catalog/rollback")
    elif state == "extracted":
        fig.call("POST", "/api/seams/catalog/shift", stage="extracted")


@pytest.mark.parametrize("state", ["canary", "rolled back", "extracted"])
def test_explain_never_disagrees_with_what_fig_does(fig: Fig, state: str) -> None:
    put(fig, state)
    rng = random.Random(state)
    with httpx.Client(base_url=fig.admin, trust_env=False) as admin:
        for _ in range(120):
            method, target, sent = rng.choice(METHODS), rng.choice(TARGETS), headers(rng)
            asked = f"{method} {target} {sent}"
            with RawClient(fig.address) as client:
                answer = client.get(target, *sent, method=method)
            fields = dict(line.split(": ") for line in ("Host: proxy.test", *sent))
            question = {"method": method, "path": target, "headers": fields}
            explained = admin.post("/api/explain", json=question).json()
            did = tuple(answer.value(f"x-fig-{what}") for what in ("seam", "side", "reason"))
            if explained["side"] is None:
                assert did == (None, None, None), asked
                assert str(answer.status) == explained["steps"][-1]["result"], asked
            else:
                assert did == (explained["seam"], explained["side"], explained["reason"]), asked
