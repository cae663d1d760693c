"""The invalid JWS vectors of Wycheproof as bearer tokens through a running fig that has their keys: 401 each."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Origin
from tests.support.tokens import Keyring
from tests.support.wire import metric

CONFIG = """
version: 1
server: {listen: "{data}"}
admin: {listen: "{admin}"}
store: "memory:"
upstreams: {origin: {endpoints: ["ORIGIN"]}}
default: origin
auth:
  issuers:
    public: {issuer: "https://issuer.test", audience: proxy-api, jwks_file: public.json, algorithms: PUBLIC}
    secret: {issuer: "https://secret.test", audience: proxy-api, jwks_file: secret.json, algorithms: SECRET}
seams:
  public: {routes: [{path: /public}], auth: {issuers: [public]}}
  secret: {routes: [{path: /secret}], auth: {issuers: [secret]}}
  both: {routes: [{path: /both}], auth: {issuers: [secret, public]}}
"""
PUBLIC = "[RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA]"
SECRET = "[HS256, HS384, HS512]"
GROUPS = json.loads((Path(__file__).parent.parent / "cases" / "wycheproof_jws.json").read_text())["testGroups"]
INVALID = [test["jws"] for group in GROUPS for test in group["tests"] if test["result"] == "invalid"]


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def fig(origin: Origin, keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fig]:
    folder = tmp_path_factory.mktemp("wycheproof")
    keys: list[dict[str, Any]] = [group.get("public") or group["private"] for group in GROUPS]
    secrets = [key for key in keys if key["kty"] == "oct"]
    public = [key for key in keys if key["kty"] != "oct"]
    (folder / "public.json").write_text(json.dumps({"keys": [*public, keyring.jwk("rsa1")]}))
    (folder / "secret.json").write_text(json.dumps({"keys": [*secrets, keyring.jwk("oct1")]}))
    with Fig(
        folder, CONFIG.replace("ORIGIN", origin.url).replace("PUBLIC", PUBLIC).replace("SECRET", SECRET)
    ) as running:
        yield running
    assert "Traceback" not in running.errors()


@pytest.mark.parametrize("path", ["/public", "/secret", "/both"])
def test_all_invalid_vectors_are_401(fig: Fig, origin: Origin, path: str) -> None:
    assert len(INVALID) == 355
    before, hits = metric(fig, "fig_auth_total"), len(origin.requests)
    answers = []
    with RawClient(fig.address) as client:
        for token in INVALID:
            answers.append(client.get(path, f"Authorization: Bearer {token}"))
        assert not client.closed  # one connection for all of them
    assert [answer.status for answer in answers] == [401] * 355
    assert all((answer.value("www-authenticate") or "").startswith("Bearer") for answer in answers)
    assert len(origin.requests) == hits
    assert metric(fig, "fig_auth_total") == before + 355


def test_good_tokens_pass_where_they_did_not(fig: Fig, origin: Origin, keyring: Keyring) -> None:
    now, hits = time.time(), len(origin.requests)
    by_path = {
        "/public": keyring.token(now),
        "/secret": keyring.token(now, "oct1", {"alg": "HS256"}, iss="https://secret.test"),
    }
    with RawClient(fig.address) as client:
        for path, token in by_path.items():
            assert client.get(path, f"Authorization: Bearer {token}").status == 200
            assert client.get("/both", f"Authorization: Bearer {token}").status == 200
        crossed = dict(zip(by_path, reversed(by_path.values()), strict=True))
        for path, token in crossed.items():
            assert client.get(path, f"Authorization: Bearer {token}").status == 401
    assert len(origin.requests) == hits + 4
