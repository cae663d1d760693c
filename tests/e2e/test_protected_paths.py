"""No spelling of a path reaches what is protected: whatever fig lets pass without a credential, an origin that reads
paths as leniently as it can reads as something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256

import httpx
import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Origin
from tests.support.spellings import reads_as, spellings

KEY = "let me in"
CONFIG = """
version: 1
server: {listen: "{data}"}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
upstreams: {origin: {endpoints: ["ORIGIN"]}}
default: origin
auth: {api_keys: {keys: {ops: {sha256: "HASH"}}}}
seams:
  public: {routes: [{path: /public/**}]}
  admin: {routes: [{path: /admin/**}], auth: {api_keys: [ops]}}
  kiosk: {routes: [{path: /Kiosk/**}], access: {deny: [127.0.0.0/8]}}
"""
OVERRIDES = (
    "X-Original-URL: /admin/x",
    "X-Rewrite-URL: /admin/x",
    "X-Original-URI: /admin/x",
    "X-Forwarded-Path: /admin/x",
    "X-Forwarded-Prefix: /admin",
    "X-HTTP-Method-Override: DELETE",
    "X-Method-Override: DELETE",
    "X-HTTP-Method: DELETE",
    "Content-Location: /admin/x",
    "Referer: http://proxy.test/admin/x",
    "X-User-Id: root",
    "X-Forwarded-For: 10.0.0.1",
    "X-Real-IP: 10.0.0.1",
    "Forwarded: for=10.0.0.1;host=admin.test",
    "Authorization: Bearer null",
    "Authorization: Basic YWRtaW46YWRtaW4=",
    "X-API-Key: let me out",
    "X-API-Key:",
    "X_API_Key: let me in",
    "Cookie: x-api-key=let me in",
    "Upgrade: h2c",
    "Connection: X-API-Key, close",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "FOO", "get", "Get")


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def fig(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fig]:
    text = CONFIG.replace("ORIGIN", origin.url).replace("HASH", sha256(KEY.encode()).hexdigest())
    with Fig(tmp_path_factory.mktemp("paths"), text) as running:
        yield running
    assert "Traceback" not in running.errors()


class Asker:
    """Sends a request on a connection that it keeps for as long as fig does; the status, and 0 for no answer."""

    def __init__(self, fig: Fig) -> None:
        self._fig = fig
        self._client = RawClient(fig.address)

    def status(self, target: str, *lines: str, method: str = "GET") -> int:
        try:
            answer = self._client.get(target, *lines, method=method)
        except AssertionError:
            answer = None
        if answer is None or "close" in (answer.value("connection") or ""):
            self._client.sock.close()
            self._client = RawClient(self._fig.address)
        return 0 if answer is None else answer.status

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.sock.close()


def _passed(origin: Origin, since: int, name: str) -> list[str]:
    return [request.target for request in origin.requests[since:] if reads_as(request.target, name)]


@pytest.mark.parametrize(("name", "refusal"), [("admin", 401), ("kiosk", 403)])
def test_no_spelling_reaches_a_protected_route(fig: Fig, origin: Origin, name: str, refusal: int) -> None:
    targets, before = spellings(name), len(origin.requests)
    dangerous = [target for target in targets if reads_as(target, name)]
    assert len(targets) > 1000
    assert len(dangerous) >= 500
    with Asker(fig) as asker:
        statuses = {target: asker.status(target) for target in targets}
    assert not _passed(origin, before, name)
    assert {statuses[target] for target in dangerous} <= {400, 401, 403}
    count = Counter(statuses.values())
    assert count[400] > 500 and count[refusal] >= 4 and count[200] > 50  # each way to answer was taken
    assert not [status for status in count if status == 0 or status >= 500]
    assert len(origin.requests) == before + count[200]


@pytest.mark.parametrize("line", OVERRIDES)
def test_no_other_field_or_method_opens_a_protected_route(fig: Fig, origin: Origin, line: str) -> None:
    before = len(origin.requests)
    with Asker(fig) as asker:
        for method in METHODS:
            for target in ("/admin", "/admin/x", "http://proxy.test/admin/x", "/admin/x?x-api-key=let+me+in"):
                assert asker.status(target, line, method=method) in (400, 401, 405, 501), method
                assert asker.status("/Kiosk/x", line, method=method) in (400, 403, 405, 501), method
    assert len(origin.requests) == before


def test_a_target_that_is_no_path_reaches_nothing(fig: Fig, origin: Origin) -> None:
    before = len(origin.requests)
    with Asker(fig) as asker:
        for target in (
            "admin/x",
            "./admin/x",
            "\\admin\\x",
            "%2fadmin/x",
            "*/admin",
            ";/admin/x",
            "proxy.test:80",
            "?/admin",
        ):
            assert asker.status(target) == 400, target
        for target in ("http:///admin/x", "http:/admin/x", "HTTP://proxy.test/ADMIN/x", "http://proxy.test//admin/x"):
            assert asker.status(target) in (400, 401), target
        assert asker.status("/public", "Host: proxy.test") == 400
    assert len(origin.requests) == before


def test_who_has_the_key_reaches_it_by_its_own_spelling(fig: Fig, origin: Origin) -> None:
    before = len(origin.requests)
    with Asker(fig) as asker:
        for target in ("/admin", "/admin/x", "/%61dmin/x", "/admin/X?y=1"):
            assert asker.status(target, f"X-API-Key: {KEY}") == 200
        for target in ("/ADMIN/x", "//admin/x", "/public/../admin/x"):
            assert asker.status(target, f"X-API-Key: {KEY}") == 400
        assert asker.status("/public/../public/x") == 200  # every reading of it is open
        assert asker.status("/Public/x") == 200
    seen = [request.target for request in origin.requests[before:]]
    assert seen == ["/admin", "/admin/x", "/%61dmin/x", "/admin/X?y=1", "/public/../public/x", "/Public/x"]


def test_explain_says_the_same(fig: Fig) -> None:
    with Asker(fig) as asker:
        for target in spellings("admin")[::40]:
            if not target.startswith("/") or not target.isascii():
                continue
            told = httpx.post(
                f"{fig.admin}/api/explain", json={"method": "GET", "path": target, "headers": {}}, trust_env=False
            ).json()
            refused = asker.status(target) in (400, 401)
            assert (told["seam"] in ("admin", None)) is refused, (target, told)
