from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.guard import is_loopback, is_loopback_authority
from proxy.admin.openapi import openapi
from proxy.admin.refusals import TooManyFailures
from proxy.admin.slowdown import MOST_PEERS, MOST_WAITING, Slowdown
from tests.support.admin import CONFIG, AdminPort

TOKEN = {"Authorization": b"Bearer s3cret-token"}
FREE = ["/healthz", "/readyz", "/metrics"]
PATHS = [*FREE, "/api/seams", "/api/seams/catalog", "/api/config", "/api/history", "/openapi.json", "/nothing"]


# --- without a token -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:9901", "[::1]", "[::1]:9901"])
def test_a_loopback_name_is_let_in(admin: AdminPort, host: str) -> None:
    assert admin.get("/api/seams", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:9901",
        "0.0.0.0",
        "[::]",
        "10.0.0.1:9901",
        "localhost@evil.example",
        "localhost, evil.example",
        "127.0.0.1:9901/",
        "127.1",
        "2130706433",
        "",
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_any_other_host_is_refused_everywhere(admin: AdminPort, host: str, path: str) -> None:
    answer = admin.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert answer.json()["reason"] == "forbidden"


def test_two_host_lines_are_refused(admin: AdminPort) -> None:
    headers = [("Host", "localhost"), ("Host", "localhost")]
    assert admin.get("/api/seams", headers=headers).status_code == 403


@pytest.mark.parametrize("peer", ["10.0.0.1", "192.168.1.4", "2001:db8::1", "::ffff:10.0.0.1", "", "unix"])
def test_a_peer_from_elsewhere_is_refused(admin: AdminPort, peer: str) -> None:
    assert admin.get("/healthz", peer=peer).status_code == 403


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_a_loopback_peer_is_let_in(admin: AdminPort, peer: str) -> None:
    assert admin.get("/api/seams", peer=peer).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "file://",
        "http://10.0.0.1",
        "http://a@localhost",
    ],
)
def test_a_foreign_origin_is_refused(admin: AdminPort, origin: str) -> None:
    assert admin.get("/api/seams", headers={"Origin": origin}).status_code == 403
    assert admin.post("/api/seams/catalog/rollback", headers={"Origin": origin}).status_code == 403


def test_a_second_origin_line_cannot_hide_behind_a_good_one(admin: AdminPort) -> None:
    headers = [("Origin", "http://localhost"), ("Origin", "https://evil.example")]
    assert admin.get("/api/seams", headers=headers).status_code == 403


def test_a_loopback_origin_is_let_in(admin: AdminPort) -> None:
    assert admin.get("/api/seams", headers={"Origin": "http://localhost:9901"}).status_code == 200


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"]
)
def test_a_write_that_a_web_page_could_send_unasked_is_refused(admin: AdminPort, media: str) -> None:
    answer = admin.call(
        "POST", "/api/seams/catalog/shift", content=b'{"percent": 100}', headers={"Content-Type": media}
    )
    assert answer.status_code == 415
    assert admin.get("/api/seams/catalog").json()["version"] == 0


@pytest.mark.parametrize("path", ["/api/reload", "/api/seams/catalog/rollback", "/nothing"])
def test_a_write_without_a_content_type_is_refused(admin: AdminPort, path: str) -> None:
    assert admin.call("POST", path, content=b"").status_code == 415


def test_a_charset_beside_the_media_type_is_fine(admin: AdminPort) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert admin.call("POST", "/api/seams/catalog/rollback", content=b"{}", headers=headers).status_code == 200


def test_two_content_types_are_refused(admin: AdminPort) -> None:
    headers = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    assert admin.call("POST", "/api/reload", content=b"{}", headers=headers).status_code == 415


# --- with a token ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FREE)
def test_probes_and_metrics_need_no_token_and_no_loopback(locked: AdminPort, path: str) -> None:
    assert locked.get(path, peer="10.0.0.1", headers={"Host": "fig.example"}).status_code == 200


@pytest.mark.parametrize("path", [path for path in PATHS if path not in FREE] + ["/healthz/", "//healthz", "/HEALTHZ"])
def test_everything_else_needs_the_token(locked: AdminPort, path: str) -> None:
    answer = locked.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["reason"] == "unauthenticated"


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer s3cret",
        "Basic s3cret-token",
        "s3cret-token",
        "Bearer s3cret-token x",
        "Bearer s3cret-token, Bearer x",
    ],
)
def test_a_wrong_token_is_refused(locked: AdminPort, value: str) -> None:
    answer = locked.post("/api/seams/catalog/rollback", headers={"Authorization": value.encode()})
    assert answer.status_code == 401
    assert locked.runtime.state("catalog").record.latch is None


def test_two_authorization_lines_are_refused(locked: AdminPort) -> None:
    line = ("Authorization", TOKEN["Authorization"])
    assert locked.get("/api/seams", headers=[line, line]).status_code == 401  # type: ignore[list-item]


def test_the_token_opens_the_door_from_anywhere(locked: AdminPort) -> None:
    answer = locked.get("/api/seams", peer="10.0.0.1", headers={**TOKEN, "Host": "fig.example"})
    assert answer.status_code == 200
    assert locked.post("/api/seams/catalog/rollback", peer="10.0.0.1", headers=TOKEN).status_code == 200


def test_the_scheme_of_the_token_is_case_insensitive(locked: AdminPort) -> None:
    assert locked.get("/api/seams", headers={"Authorization": b"bearer s3cret-token"}).status_code == 200


def test_with_a_token_a_bodiless_write_needs_no_content_type_but_never_a_wrong_one(locked: AdminPort) -> None:
    path = "/api/seams/catalog/rollback"
    assert locked.call("POST", path, content=b"", headers=TOKEN).status_code == 200
    assert locked.call("POST", path, content=b"", headers={**TOKEN, "Content-Type": "text/plain"}).status_code == 415


# --- wrong tokens are slowed -----------------------------------------------------------------------------------------

WRONG = {"Authorization": b"Bearer wrong"}


def fail(locked: AdminPort, times: int, peer: str = "10.0.0.1") -> None:
    for _ in range(times):
        assert locked.get("/api/seams", peer=peer, headers=WRONG).status_code == 401


def test_after_five_wrong_tokens_each_answer_waits_twice_as_long(locked: AdminPort) -> None:
    fail(locked, 5)
    assert locked.slept == []
    fail(locked, 6)
    assert locked.slept == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_another_address_is_not_slowed(locked: AdminPort) -> None:
    fail(locked, 5)
    fail(locked, 5, peer="10.0.0.2")
    assert locked.slept == []


def test_one_person_is_one_peer_in_ipv6_and_no_two_are(locked: AdminPort) -> None:
    for number in range(6):
        fail(locked, 1, peer=f"2001:db8:0:1::{number:x}")
    assert locked.slept == [0.5]
    fail(locked, 5, peer="2001:db8:0:2::1")
    fail(locked, 4, peer="::ffff:10.0.0.1")
    fail(locked, 1, peer="10.0.0.1")
    assert locked.slept == [0.5]
    fail(locked, 1, peer="::ffff:10.0.0.1")
    assert locked.slept == [0.5, 0.5]


def test_a_good_token_never_waits_and_clears_what_was(locked: AdminPort) -> None:
    fail(locked, 8)
    waited = len(locked.slept)
    assert locked.get("/api/seams", peer="10.0.0.1", headers=TOKEN).status_code == 200
    fail(locked, 5)
    assert len(locked.slept) == waited


def test_a_minute_without_a_failure_clears_too(locked: AdminPort) -> None:
    fail(locked, 6)
    locked.monotonic += 59.9
    fail(locked, 1)
    assert locked.slept == [0.5, 1.0]
    locked.monotonic += 60
    fail(locked, 5)
    assert locked.slept == [0.5, 1.0]


def test_where_no_token_is_sent_none_was_guessed(locked: AdminPort) -> None:
    for _ in range(20):
        assert locked.get("/api/seams").status_code == 401
    assert locked.get("/healthz", headers=WRONG).status_code == 200
    assert locked.slept == []


def test_whatever_is_no_good_authorization_counts(locked: AdminPort) -> None:
    line = ("Authorization", TOKEN["Authorization"])
    for headers in ([line, line], {"Authorization": b"Basic s3cret-token"}, {"Authorization": b""}):
        for _ in range(2):
            locked.get("/api/seams", headers=headers)
    assert locked.slept == [0.5]


def test_beyond_the_bound_of_waiting_answers_they_are_refused_at_once() -> None:
    ended: list[None] = []

    async def run() -> None:
        gate = asyncio.Event()

        async def sleep(_: float) -> None:
            await gate.wait()

        slowdown = Slowdown(lambda: 0.0, sleep)
        for _ in range(5):
            await slowdown.failed("10.0.0.1")
        waiting = [asyncio.create_task(slowdown.failed("10.0.0.1")) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyFailures):
            await slowdown.failed("10.0.0.1")
        await slowdown.failed("10.0.0.2")  # its first: nobody waits
        waiting[0].cancel()  # a client that hangs up gives its place back
        await asyncio.wait({waiting[0]})
        again = asyncio.create_task(slowdown.failed("10.0.0.1"))
        await asyncio.sleep(0)
        assert not again.done()
        gate.set()
        ended.extend(await asyncio.gather(*waiting[1:], again))

    asyncio.run(run())
    assert len(ended) == MOST_WAITING


def test_a_refusal_beyond_the_bound_is_429_and_says_when(locked: AdminPort) -> None:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(locked.app, client=("10.0.0.1", 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://fig.example") as client:
            asking = (client.get("/api/seams", headers=WRONG) for _ in range(5 + MOST_WAITING + 3))
            return await asyncio.gather(*asking)

    refused = [answer for answer in locked.runner.run(ask()) if answer.status_code != 401]
    assert [answer.status_code for answer in refused] == [429] * 3
    assert refused[0].headers["retry-after"] == "4"
    assert refused[0].json()["reason"] == "rate_limited"


def test_of_a_crowd_of_addresses_the_least_recent_are_forgotten() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def run() -> None:
        slowdown = Slowdown(lambda: 0.0, sleep)
        for _ in range(5):
            await slowdown.failed("10.0.0.1")
            await slowdown.failed("10.0.0.2")
        for number in range(MOST_PEERS - 2):
            await slowdown.failed(f"peer-{number}")
        await slowdown.failed("10.0.0.1")  # still there
        assert slept == [0.5]
        await slowdown.failed("one more")  # pushes 10.0.0.2 out
        await slowdown.failed("10.0.0.2")
        assert slept == [0.5]

    asyncio.run(run())


# --- nothing secret in any answer ------------------------------------------------------------------------------------

SECRET_HASH = "0123456789abcdef" * 4


def secretive(text: str) -> str:
    return (
        text.replace(
            "    extracted: catalog\n    rewrite",
            "    extracted: catalog\n    shadow: {credentials: {x-api-key: hushed}}\n    rewrite",
        )
        + f"auth: {{api_keys: {{keys: {{partner-a: {{sha256: '{SECRET_HASH}'}}}}}}}}\n"
        + "telemetry: {webhook: {url: 'https://chat.example/hooks/hushed'}}\n"
    )


def test_no_answer_holds_a_secret(tmp_path: Path) -> None:
    port = AdminPort(tmp_path, secretive(CONFIG), token="s3cret-token")
    try:
        asked = [path.format(name="catalog") for path, item in openapi("1.2.3")["paths"].items() if "get" in item]
        answers = [port.get(path, headers=headers) for path in asked for headers in ({}, WRONG, TOKEN)]
        port.edit(lambda text: text.replace(SECRET_HASH, f"x{SECRET_HASH}") + "seems: {}\n")
        answers.append(port.post("/api/reload", headers=TOKEN))
        assert answers[-1].status_code == 422
        port.edit(lambda text: text.replace(f"x{SECRET_HASH}", SECRET_HASH[::-1]).replace("seems: {}\n", ""))
        answers.append(port.post("/api/reload", headers=TOKEN))
        assert answers[-1].status_code == 200
        question = {"method": "GET", "path": "/api/products/7", "headers": {"x-api-key": "k"}}
        answers += [port.post("/api/explain", question, headers=TOKEN), port.get("/api/history", headers=TOKEN)]
        for answer in answers:
            told = answer.text + str(answer.headers)
            assert not {word for word in ("s3cret-token", "hushed", SECRET_HASH, SECRET_HASH[::-1]) if word in told}
        assert [event for event in map(str, port.events) if "hushed" in event or SECRET_HASH in event] == []
    finally:
        port.close()


# --- every answer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_no_answer_may_be_stored_or_sniffed(admin: AdminPort, path: str) -> None:
    answer = admin.get(path)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]


def test_a_good_request_id_is_kept_and_a_bad_one_replaced(admin: AdminPort) -> None:
    assert admin.get("/healthz", headers={"X-Request-ID": "abcdefgh-1"}).headers["x-request-id"] == "abcdefgh-1"
    assert len(admin.get("/healthz", headers={"X-Request-ID": "a b"}).headers["x-request-id"]) == 36


def test_a_problem_carries_the_request_id_of_its_answer(admin: AdminPort) -> None:
    answer = admin.get("/nothing")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


# --- names -----------------------------------------------------------------------------------------------------------


@given(st.text(max_size=40))
def test_only_spelled_out_loopback_names_pass(text: str) -> None:
    if is_loopback_authority(text):
        host = text.rpartition(":")[0] if text.rpartition(":")[2].isdigit() and not text.endswith("]") else text
        assert host.lower() in ("localhost", "") or is_loopback(host.strip("[]"))


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_passes_if_it_is_loopback(address: object, port: int) -> None:
    literal = f"[{address}]" if ":" in str(address) else str(address)
    assert is_loopback_authority(f"{literal}:{port}") is is_loopback(str(address))
