"""What becomes of a request that waits for the monolith's word on its session while the world changes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin
from tests.support.wire import until

CONFIG = """
version: 1
server: {listen: "{data}"}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
upstreams: {old: {endpoints: ["OLD"]}, new: {endpoints: ["NEW"]}, accounts: {endpoints: ["ACCOUNTS"]}}
default: old
auth:
  identity: {subject: x-user-id}
  session: {cookie: SID, upstream: accounts, timeout_s: 10}
seams:
  shop:
    routes: [{path: /shop/**}]
    extracted: new
    stage: extracted
    auth: {session: true}
"""


class Accounts(Origin):
    """Knows everybody, and says so once `answers` is set."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.answers = threading.Event()

    def _answer(self, connection: Connection) -> None:
        while (request := connection.read()) is not None:
            self.answers.wait(10)
            text = json.dumps({"active": True, "sub": json.loads(request.body)["sid"]}).encode()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


class Stage:
    def __init__(self, folder: Path) -> None:
        self.old, self.new, self.accounts = Origin(), Origin(), Accounts()
        self.text = CONFIG.replace("OLD", self.old.url).replace("NEW", self.new.url)
        self.text = self.text.replace("ACCOUNTS", self.accounts.url)
        self.fig = Fig(folder, self.text)

    def reload(self, text: str) -> None:
        self.fig.write(text)
        assert self.fig.call("POST", "/api/reload").status_code == 200

    def roll_back(self) -> None:
        assert self.fig.call("POST", "/api/seams/shop/rollback", reason="test").status_code == 200

    def users(self, origin: Origin) -> list[str | None]:
        return [request.value("x-user-id") for request in origin.requests]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    with stage.fig:
        yield stage
        assert "Traceback" not in stage.fig.errors()
    for origin in (stage.old, stage.new, stage.accounts):
        origin.close()


@pytest.mark.parametrize("change", ["nothing", "rollback", "rollback and removal", "removal", "removal of the service"])
def test_a_request_goes_where_it_would_have_gone_unless_that_was_rolled_back(stage: Stage, change: str) -> None:
    with RawClient(stage.fig.address) as client:
        client.send(
            b"POST /shop/1 HTTP/1.1\r\nHost: x\r\nCookie: SID=anna\r\nX-User-Id: x\r\nContent-Length: 2\r\n\r\nab"
        )
        assert until(lambda: len(stage.accounts.requests) == 1)
        if "rollback" in change:
            stage.roll_back()
        if "removal" in change:
            text = stage.text.partition("seams:")[0]
            stage.reload(text.replace("new: {", "newer: {") if "service" in change else text)
        stage.accounts.answers.set()
        assert client.answer().status == 200
    moved = "rollback" in change or "service" in change
    assert stage.users(stage.old if moved else stage.new) == ["anna"]
    assert stage.users(stage.new if moved else stage.old) == []
