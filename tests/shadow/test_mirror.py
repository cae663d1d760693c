"""Who is asked once the client has its answer, and what that never costs the client. On real sockets."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Answer, RawClient
from tests.support.fig import Fig, free_port
from tests.support.origin import Behaviour, Connection, Origin, Request, ok, resetting, saying
from tests.support.tally import Tally
from tests.support.tls import Authority, TlsOrigin
from tests.support.wire import until

CONFIG = """
version: 1
server: {{listen: "{{data}}", debug_headers: true}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
upstreams:
  monolith: {{endpoints: ["{legacy}"]}}
  service: {{endpoints: ["{extracted}"], timeouts: {{response_s: 20, body_s: 20}}}}
  dead: {{endpoints: ["http://127.0.0.1:{closed}"]}}
default: monolith
seams:
  shadow: {{routes: [{{path: /shadow/**}}], extracted: service, stage: shadow, shadow: {{ANY, control_percent: 0}}}}
  plain: {{routes: [{{path: /plain/**}}], extracted: service, stage: canary, percent: 50}}
  reverse:
    {{routes: [{{path: /reverse/**}}], extracted: service, stage: extracted, shadow: {{ANY, control_percent: 0}}}}
  canary:
    routes: [{{path: /canary/**}}]
    extracted: service
    stage: canary
    percent: 50
    sticky_by: [header.x-user]
    shadow: {{ANY, control_percent: 0}}
  moved:
    routes: [{{path: "/api/moved/**"}}]
    extracted: service
    rewrite: {{strip_prefix: /api, add_prefix: /v2}}
    stage: shadow
    shadow: {{ANY}}
  twice: {{routes: [{{path: /twice/**}}], extracted: service, stage: shadow, shadow: {{ANY, control_percent: 100}}}}
  posts:
    routes: [{{path: /posts/**}}]
    extracted: service
    stage: shadow
    shadow: {{ANY, writes: {{level: read_posts, paths: [/posts/search], acknowledge: true}}, control_percent: 100}}
  anonymous:
    {{routes: [{{path: /anonymous/**}}], extracted: service, stage: shadow, shadow: {{ANY, credentials: drop}}}}
  keyed:
    routes: [{{path: /keyed/**}}]
    extracted: service
    stage: shadow
    shadow: {{ANY, control_percent: 0, credentials: {{authorization: Bearer shadow}}}}
  both:
    routes: [{{path: /both/**}}]
    extracted: service
    stage: shadow
    shadow: {{ANY, control_percent: 100, credentials: {{authorization: Bearer shadow}}}}
  spared: {{routes: [{{path: /spared/**}}], extracted: service, stage: shadow, shadow: {{ANY, max_per_s: null}}}}
  slow:
    routes: [{{path: /slow/**}}]
    extracted: service
    stage: shadow
    shadow: {{ANY, max_in_flight: 2, max_queue: 3, timeout_s: 0.6, control_percent: 0}}
  waits:
    routes: [{{path: /waits/**}}]
    extracted: service
    stage: shadow
    shadow: {{ANY, max_in_flight: 1, max_queue: 50, timeout_s: 2, control_percent: 0}}
  rated: {{routes: [{{path: /rated/**}}], extracted: service, stage: shadow, shadow: {{ANY, max_per_s: 2}}}}
  few:
    routes: [{{path: "/few/{{id}}"}}]
    extracted: service
    stage: shadow
    shadow: {{ANY, sample_percent: 0.01, control_percent: 0, max_per_s: null}}
    sticky_by: [header.x-user]
  small:
    routes: [{{path: /small/**}}]
    extracted: service
    stage: shadow
    shadow: {{control_percent: 0, timeout_s: 5, compare: {{ignore: [body], max_body_bytes: 1000}}}}
  down: {{routes: [{{path: /down/**}}], extracted: dead, stage: shadow, shadow: {{ANY, control_percent: 0}}}}
  saved: {{routes: [{{path: /saved/**}}], extracted: dead, stage: extracted, shadow: {{ANY, control_percent: 0}}}}
  lost: {{routes: [{{path: /lost/**}}], legacy: dead, extracted: service, stage: shadow}}
"""


@dataclass
class Sides:
    fig: Fig
    legacy: Origin
    extracted: Origin

    def ask(self, method: str, target: str, body: bytes = b"", *lines: str) -> Answer:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        more = "".join(f"{line}\r\n" for line in lines)
        with RawClient(self.fig.address) as client:
            client.send(f"{method} {target} HTTP/1.1\r\nHost: proxy.test\r\n{more}{length}\r\n".encode() + body)
            return client.answer(head_only=method == "HEAD")

    def asked(self, origin: Origin, target: str, count: int = 1) -> list[Request]:
        """The requests with this target, once there are so many of them."""
        assert until(lambda: len([one for one in origin.requests if one.target == target]) >= count), target
        return [one for one in origin.requests if one.target == target]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    with contextlib.closing(Origin()) as legacy, contextlib.closing(Origin()) as extracted:
        text = CONFIG.format(legacy=legacy.url, extracted=extracted.url, closed=free_port())
        text = text.replace(
            "ANY", 'compare: {ignore: [body, "header:set-cookie"]}'
        )  # what differs would be asked once more
        with Fig(tmp_path_factory.mktemp("mirror"), text) as fig:
            yield Sides(fig, legacy, extracted)


@pytest.fixture
def sides(running: Sides) -> Sides:
    running.legacy.reset(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlegacy"))
    running.extracted.reset(
        saying(b"HTTP/1.1 200 OK\r\nSet-Cookie: shadow=1\r\nX-Shadow: 1\r\nContent-Length: 9\r\n\r\nextracted")
    )
    return running


def grown(tally: Tally, outcome: str, reason: str = "", count: int = 1) -> bool:
    """Whether it comes to that, and to no more."""
    sample = f'fig_shadow_total{{outcome="{outcome}",reason="{reason}"}}'
    return until(lambda: tally.grown(sample) >= count) and tally.grown(sample) == count


# --- who is asked ----------------------------------------------------------------------------------------------------


def test_in_stage_shadow_the_extracted_side_is_asked_and_nobody_hears_its_answer(sides: Sides) -> None:
    tally = Tally(sides.fig)
    got = sides.ask("GET", "/shadow/a?q=1&q=2", b"", "X-Own: kept", "Cookie: s=1", "Authorization: Basic eDp5")
    assert (got.status, got.body, got.value("x-fig-side")) == (200, b"legacy", "legacy")
    assert got.value("set-cookie") is None and got.value("x-shadow") is None
    (live,) = sides.asked(sides.legacy, "/shadow/a?q=1&q=2")
    (copy,) = sides.asked(sides.extracted, "/shadow/a?q=1&q=2")
    assert (copy.value("x-fig-shadow"), live.value("x-fig-shadow")) == ("shadow", None)
    for name in ("host", "x-own", "cookie", "authorization", "x-request-id", "x-forwarded-for", "x-forwarded-host"):
        assert copy.values(name) == live.values(name) != [], name
    assert grown(tally, "asked")
    assert tally.grown('fig_requests_total{seam="shadow",side="extracted"}') == 0
    assert tally.grown('fig_requests_total{seam="shadow",side="legacy"}') == 1


def test_in_stage_extracted_legacy_is_asked(sides: Sides) -> None:
    got = sides.ask("GET", "/reverse/a")
    assert got.body == b"extracted"
    (copy,) = sides.asked(sides.legacy, "/reverse/a")
    assert copy.value("x-fig-shadow") == "reverse"
    assert sides.asked(sides.extracted, "/reverse/a")[0].value("x-fig-shadow") is None


def test_in_canary_each_is_asked_what_the_other_served(sides: Sides) -> None:
    served = {sides.ask("GET", f"/canary/{user}", b"", f"X-User: {user}").body: user for user in range(20)}
    assert served.keys() == {b"legacy", b"extracted"}
    for side, other in ((b"legacy", sides.extracted), (b"extracted", sides.legacy)):
        (copy,) = sides.asked(other, f"/canary/{served[side]}")
        assert copy.value("x-fig-shadow") == "canary"


def test_without_a_block_only_stage_shadow_is_mirrored(sides: Sides) -> None:
    tally = Tally(sides.fig)
    for number in range(5):
        sides.ask("GET", f"/plain/{number}")
    assert len(sides.legacy.requests) + len(sides.extracted.requests) == 5
    assert tally.grown("fig_shadow_total") == 0


def test_the_candidate_is_asked_in_its_own_words_and_heard_in_the_clients(sides: Sides) -> None:
    sides.ask("GET", "/api/moved/7?x=%2F")
    assert sides.asked(sides.extracted, "/v2/moved/7?x=%2F")
    assert sides.asked(sides.legacy, "/api/moved/7?x=%2F")


def test_head_is_mirrored_as_head(sides: Sides) -> None:
    for origin in (sides.legacy, sides.extracted):
        origin.reset(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"))
    tally = Tally(sides.fig)
    sides.ask("HEAD", "/shadow/head")
    assert sides.asked(sides.extracted, "/shadow/head")[0].line.startswith("HEAD ")
    assert grown(tally, "asked")


def test_a_control_is_asked_a_second_time(sides: Sides) -> None:
    sides.ask("GET", "/twice/a")
    live, again = sides.asked(sides.legacy, "/twice/a", 2)
    assert (live.value("x-fig-shadow"), again.value("x-fig-shadow")) == (None, "twice")
    assert len(sides.asked(sides.extracted, "/twice/a")) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "line",
    ["X-HTTP-Method-Override: DELETE", "X-Http-Method: put", "X-METHOD-OVERRIDE: PATCH", "X-Http-Method: GET, PUT"],
)
def test_another_method_in_a_header_is_obeyed_by_many(sides: Sides, method: str, line: str) -> None:
    tally = Tally(sides.fig)
    assert sides.ask(method, "/posts/search", b"q", line).body == b"legacy"
    assert grown(tally, "skipped", "method")
    assert sides.extracted.requests == []


def test_the_same_method_in_a_header_changes_nothing(sides: Sides) -> None:
    sides.ask("GET", "/shadow/same", b"", "X-HTTP-Method-Override: get")
    assert sides.asked(sides.extracted, "/shadow/same")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "OPTIONS"])
def test_what_may_write_is_never_mirrored(sides: Sides, method: str) -> None:
    tally = Tally(sides.fig)
    assert sides.ask(method, "/shadow/write", b"body").status == 200
    assert grown(tally, "skipped", "method")
    time.sleep(0.1)
    assert sides.extracted.requests == []


def test_a_post_that_reads_is_mirrored_with_its_body_once(sides: Sides) -> None:
    sides.ask("POST", "/posts/search", b'{"q": 1}', "Content-Type: application/json")
    (copy,) = sides.asked(sides.extracted, "/posts/search")
    assert (copy.body, copy.value("content-length"), copy.value("content-type")) == (
        b'{"q": 1}',
        "8",
        "application/json",
    )
    sides.ask("POST", "/posts/other", b"{}")
    time.sleep(0.1)
    assert len(sides.extracted.requests) == 1
    assert len(sides.legacy.requests) == 2  # no second control of a POST


def test_a_chunked_body_is_framed_anew(sides: Sides) -> None:
    with RawClient(sides.fig.address) as client:
        client.send(
            b"POST /posts/search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        assert client.answer().status == 200
    (copy,) = sides.asked(sides.extracted, "/posts/search")
    assert (copy.body, copy.value("content-length"), copy.value("transfer-encoding")) == (b"abc", "3", None)


def test_a_body_that_is_not_here_any_more_is_not_mirrored(sides: Sides) -> None:
    tally = Tally(sides.fig)
    sides.ask("POST", "/posts/search", b"x" * 100_000)
    assert grown(tally, "skipped", "body_too_large")
    assert sides.extracted.requests == []


def test_expect_and_trailers_are_the_clients_alone(sides: Sides) -> None:
    with RawClient(sides.fig.address) as client:
        lines = b"Host: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nTE: trailers\r\n"
        client.send(b"POST /posts/search HTTP/1.1\r\n%b\r\nabc" % lines)
        assert client.answer().status == 200
    (copy,) = sides.asked(sides.extracted, "/posts/search")
    assert (copy.body, copy.values("expect"), copy.values("te")) == (b"abc", [], [])


def test_credentials_stay_at_home(sides: Sides) -> None:
    secrets = ("Authorization: Basic eDp5", "Cookie: s=1", "X-Api-Key: k", "Accept: a/b")
    sides.ask("GET", "/anonymous/a", b"", *secrets)
    (copy,) = sides.asked(sides.extracted, "/anonymous/a")
    assert [copy.value(name) for name in ("authorization", "cookie", "x-api-key", "accept")] == [
        None,
        None,
        None,
        "a/b",
    ]
    sides.ask("GET", "/keyed/a", b"", *secrets)
    (copy,) = sides.asked(sides.extracted, "/keyed/a")
    assert (copy.values("authorization"), copy.value("cookie")) == (["Bearer shadow"], None)
    assert sides.asked(sides.legacy, "/keyed/a")[0].value("authorization") == "Basic eDp5"


def test_the_control_is_asked_again_as_the_client_asked(sides: Sides) -> None:
    """A token for the new service is nobody else's; and what differs by user is no noise."""
    sides.ask("GET", "/both/a", b"", "Authorization: Basic eDp5", "Connection: authorization, x-hop", "X-Hop: 1")
    (copy,) = sides.asked(sides.extracted, "/both/a")
    assert (copy.values("authorization"), copy.value("x-hop")) == (["Bearer shadow"], None)
    sides.ask("GET", "/both/b", b"", "Authorization: Basic eDp5")
    live, again = sides.asked(sides.legacy, "/both/b", 2)
    assert (live.value("x-fig-shadow"), again.value("x-fig-shadow")) == (None, "both")
    assert live.values("authorization") == again.values("authorization") == ["Basic eDp5"]


# --- who is not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Range: bytes=0-1", "range"),
        ('If-None-Match: "1"', "conditional"),
        ("If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT", "conditional"),
        ("X-Fig-Shadow: shadow", "marked"),
    ],
)
def test_what_is_skipped_is_counted_with_its_reason(sides: Sides, line: str, reason: str) -> None:
    tally = Tally(sides.fig)
    assert sides.ask("GET", "/shadow/skipped", b"", line).body == b"legacy"
    assert grown(tally, "skipped", reason)
    assert sides.extracted.requests == []
    assert sides.legacy.requests[0].value("x-fig-shadow") is None  # from outside it never gets through


def test_an_upgrade_is_skipped(sides: Sides) -> None:
    tally = Tally(sides.fig)
    sides.ask(
        "GET",
        "/shadow/ws",
        b"",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    assert grown(tally, "skipped", "upgrade")


def test_an_event_stream_is_skipped(sides: Sides) -> None:
    sides.legacy.reset(saying(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", close=True))
    tally = Tally(sides.fig)
    assert sides.ask("GET", "/shadow/events").body == b"data: 1\n\n"
    assert grown(tally, "skipped", "event_stream")
    assert sides.extracted.requests == []


def test_what_fig_says_itself_is_skipped(sides: Sides) -> None:
    tally = Tally(sides.fig)
    assert sides.ask("GET", "/lost/a").status == 502
    assert grown(tally, "skipped", "own_answer")
    assert sides.ask("GET", "/saved/a").body == b"legacy"
    assert grown(tally, "skipped", "fallback")
    time.sleep(0.1)
    assert len(sides.legacy.requests) == 1


def test_an_answer_that_broke_off_is_skipped(sides: Sides) -> None:
    sides.legacy.reset(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", close=True))
    tally = Tally(sides.fig)
    assert not sides.ask("GET", "/shadow/cut").complete
    assert grown(tally, "skipped", "incomplete")


def test_a_client_that_leaves_is_skipped(sides: Sides) -> None:
    wait = threading.Event()

    def late(connection: Connection) -> None:
        connection.read()
        wait.wait(5)

    sides.legacy.reset(late)
    tally = Tally(sides.fig)
    with RawClient(sides.fig.address) as client:
        client.send(b"GET /shadow/left HTTP/1.1\r\nHost: a\r\n\r\n")
        assert until(lambda: len(sides.legacy.requests) == 1)
        client.reset()
    assert until(lambda: tally.grown('fig_shadow_total{outcome="skipped"}') == 1)
    wait.set()
    assert sides.extracted.requests == []


def test_the_first_200_of_an_endpoint_are_compared_whatever_the_percentage(sides: Sides) -> None:
    tally = Tally(sides.fig)
    with RawClient(sides.fig.address) as client:
        for number in range(230):
            client.send(b"GET /few/%d HTTP/1.1\r\nHost: a\r\nX-User: u1\r\n\r\n" % number)
            assert client.answer().body == b"legacy"
    assert grown(tally, "skipped", "not_sampled", 30)
    assert until(lambda: len(sides.extracted.requests) + tally.grown('fig_shadow_total{outcome="dropped"}') == 200)


def test_no_more_than_max_per_s(sides: Sides) -> None:
    tally, started = Tally(sides.fig), time.monotonic()
    with RawClient(sides.fig.address) as client:
        for number in range(50):
            client.send(b"GET /rated/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            client.answer()
    most = 4 * 2 + 2 * (time.monotonic() - started)
    assert until(lambda: tally.grown('fig_shadow_total{seam="rated"}') == 50)
    assert 1 <= 50 - tally.grown('fig_shadow_total{outcome="skipped",reason="rate"}') <= most


# --- a candidate that misbehaves -------------------------------------------------------------------------------------


def _hold(connection: Connection) -> None:
    connection.read()
    connection.wait_closed(30)


def _garbage(connection: Connection) -> None:
    connection.read()
    connection.send(b"not HTTP at all\r\n\r\n")


def _cut(connection: Connection) -> None:
    connection.read()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")


def _interims(connection: Connection) -> None:
    connection.read()
    while not connection.eof:
        try:
            connection.sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        except OSError:
            return
        time.sleep(0.01)


def _stalls(connection: Connection) -> None:
    connection.read()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
    connection.wait_closed(30)


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (resetting, "broken"),
        (_garbage, "broken"),
        (_cut, "broken"),
        (_interims, "broken"),
        (_hold, "timeout"),
        (_stalls, "timeout"),
    ],
)
def test_a_candidate_that_fails_is_counted_and_nobody_notices(sides: Sides, behave: Behaviour, reason: str) -> None:
    sides.extracted.reset(behave)
    tally = Tally(sides.fig)
    started = time.monotonic()
    assert sides.ask("GET", "/slow/a").body == b"legacy"
    assert time.monotonic() - started < 0.4
    assert grown(tally, "failed", reason)


def test_one_that_does_nothing_but_fail_is_spared_until_it_answers(sides: Sides) -> None:
    """20 failures in a row, then ten questions a second, and all of them again with the first answer."""
    sides.extracted.reset(resetting)
    tally, started = Tally(sides.fig), time.monotonic()
    with RawClient(sides.fig.address) as client:
        for number in range(200):
            client.send(b"GET /spared/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            assert client.answer().body == b"legacy"
            time.sleep(0.002)
        most = 20 + 16 + 10 * (time.monotonic() - started) + 1  # and those that were under way
        assert until(lambda: tally.grown('fig_shadow_total{seam="spared"}') == 200)
        assert 20 <= tally.grown('fig_shadow_total{outcome="failed",reason="broken"}') <= most
        assert tally.grown('fig_shadow_total{outcome="dropped",reason="failing"}') >= 200 - most
        sides.extracted.reset(ok)
        time.sleep(0.15)
        assert until(lambda: client.get("/spared/back").status == 200 and tally.grown(ASKED_AGAIN) > 0)
        before = tally.grown(ASKED_AGAIN)
        for number in range(20):
            assert client.get(f"/spared/{number}").status == 200
        assert until(lambda: tally.grown(ASKED_AGAIN) >= before + 20)


ASKED_AGAIN = 'fig_shadow_total{seam="spared",outcome="asked"}'


def test_one_that_is_not_there_is_unreachable(sides: Sides) -> None:
    tally = Tally(sides.fig)
    assert sides.ask("GET", "/down/a").body == b"legacy"
    assert grown(tally, "failed", "unreachable")


def test_a_kept_connection_that_ended_is_no_failure_of_the_candidate(sides: Sides) -> None:
    sides.extracted.reset(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", close=True))
    tally = Tally(sides.fig)
    for number in range(10):
        sides.ask("GET", f"/shadow/stale{number}")
        sides.asked(sides.extracted, f"/shadow/stale{number}")
    assert grown(tally, "asked", "", 10)


def _endless(connection: Connection) -> None:
    connection.read()
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent = 0
    with contextlib.suppress(OSError):
        while sent < 500_000_000:
            connection.sock.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            sent += 0x4000
    connection.requests[-1].body = b"%d" % sent


def test_one_that_streams_for_ever_is_hung_up_on(sides: Sides) -> None:
    sides.extracted.reset(_endless)
    tally = Tally(sides.fig)
    assert sides.ask("GET", "/small/a").body == b"legacy"
    assert grown(tally, "asked")
    assert until(lambda: sides.extracted.requests[0].body != b"")
    assert int(sides.extracted.requests[0].body) < 20_000_000


def test_a_full_queue_drops_and_delays_nobody(sides: Sides) -> None:
    """Two are asked, three wait, the rest is dropped."""
    sides.extracted.reset(_hold)
    tally = Tally(sides.fig)
    slowest = 0.0
    with RawClient(sides.fig.address) as client:
        for number in range(20):
            started = time.monotonic()
            client.send(b"GET /slow/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            assert client.answer().body == b"legacy"
            slowest = max(slowest, time.monotonic() - started)
    assert slowest < 0.4
    assert until(lambda: tally.grown('fig_shadow_total{outcome="failed",reason="timeout"}') == 5, 10)
    assert tally.grown('fig_shadow_total{outcome="dropped",reason="queue_full"}') == 15
    assert len(sides.extracted.requests) == 5


def test_what_waits_when_its_seam_is_rolled_back_is_not_asked(sides: Sides) -> None:
    release = threading.Event()

    def hold(connection: Connection) -> None:
        while connection.read() is not None:
            release.wait(5)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    sides.extracted.reset(hold)
    tally = Tally(sides.fig)
    try:
        for number in range(10):
            assert sides.ask("GET", f"/waits/{number}").body == b"legacy"
        assert until(lambda: len(sides.extracted.requests) == 1)
        assert sides.fig.call("POST", "/api/seams/waits/rollback").status_code == 200
        release.set()
        assert grown(tally, "dropped", "rolled_back", 9)
        assert sides.ask("GET", "/waits/later").body == b"legacy"
        time.sleep(0.1)
        assert len(sides.extracted.requests) == 1
    finally:
        release.set()
        sides.fig.call("POST", "/api/seams/waits/resume")


OWN = """
version: 1
server: {{listen: "{{data}}"}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
upstreams:
  monolith: {{endpoints: ["{legacy}"]}}
  service: {{endpoints: ["{extracted}"]{more}}}
default: monolith
seams:
  own: {{routes: [{{path: /own/**}}], extracted: service, stage: shadow, shadow: {{control_percent: 0, {shadow}}}}}
"""


def test_what_waits_when_writes_are_taken_back_is_not_asked(tmp_path: Path) -> None:
    """The operator has found out that these POSTs do more than read."""
    release = threading.Event()

    def hold(connection: Connection) -> None:
        while connection.read() is not None:
            release.wait(5)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with contextlib.closing(Origin()) as legacy, contextlib.closing(Origin(hold)) as extracted:
        shadow = "timeout_s: 8, max_in_flight: 1"
        writes = "writes: {level: read_posts, paths: [/own/**], acknowledge: true}"
        text = OWN.format(legacy=legacy.url, extracted=extracted.url, more="", shadow=f"{shadow}, {writes}")
        with Fig(tmp_path, text) as fig:
            sides = Sides(fig, legacy, extracted)
            tally = Tally(fig)
            for number in range(5):
                assert sides.ask("POST", f"/own/{number}", b"x").status == 200
            assert until(lambda: len(extracted.requests) == 1)
            fig.write(text.replace(f", {writes}", ""))
            assert fig.call("POST", "/api/reload").json()["changed"]
            release.set()
            assert grown(tally, "dropped", "rolled_back", 4)
            assert len(extracted.requests) == 1


def test_what_is_still_connecting_when_its_seam_is_rolled_back_is_not_asked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shaken, waiting = threading.Event(), threading.Event()

    class Late(TlsOrigin):
        def _serve(self, connection: Connection) -> None:
            waiting.set()
            shaken.wait(10)
            super()._serve(connection)

    with contextlib.closing(Origin()) as legacy, contextlib.closing(Late(authority.issue("late"))) as extracted:
        tls = f", tls: {{ca: {authority.file}}}"
        text = OWN.format(legacy=legacy.url, extracted=extracted.url, more=tls, shadow="timeout_s: 8")
        with Fig(tmp_path, text) as fig:
            tally = Tally(fig)
            assert Sides(fig, legacy, extracted).ask("GET", "/own/a").status == 200
            assert waiting.wait(5)
            assert fig.call("POST", "/api/seams/own/rollback").status_code == 200
            shaken.set()
            assert grown(tally, "dropped", "rolled_back")
            assert extracted.requests == []


def test_large_answers_pass_as_they_are(sides: Sides) -> None:
    body = bytes(range(256)) * 20_000
    for origin in (sides.legacy, sides.extracted):
        origin.reset(saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body))
    tally = Tally(sides.fig)
    got = sides.ask("GET", "/small/large")
    assert (got.complete, got.body == body) == (True, True)
    assert grown(tally, "asked")
    assert ok is not None


def test_the_places_of_the_candidate_are_not_its_clients(sides: Sides) -> None:
    """What is asked aside takes no place of the bulkhead, and trips no breaker."""
    sides.extracted.reset(resetting)
    for number in range(30):
        sides.ask("GET", f"/shadow/{number}")
    found = {one["name"]: one for one in sides.fig.call("GET", "/api/upstreams").json()}
    assert found["service"]["bulkhead"]["in_flight"] == 0
    assert found["service"]["endpoints"][0]["consecutive_errors"] == 0
    for breaker in sides.fig.call("GET", "/api/seams/shadow").json()["breakers"]:
        assert (breaker["state"], breaker["failures"]) == ("closed", 0)
