"""HTTPS to clients and to upstreams: the same bytes, nothing lost at the end, nothing held by silence."""

from __future__ import annotations

import contextlib
import datetime
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig, free_port
from tests.support.origin import Connection, Origin, ok, saying
from tests.support.tls import Authority, TlsClient, TlsOrigin, goodbye, silent_listener
from tests.support.wire import OK, BySize, access_line, get, metric, post, quiet, settled, slow, until

MIB = 1 << 20

CONFIG = """
version: 1
server:
  listen: {{data}}
  tls: {{certificate: {fig.certificate}, key: {fig.key}}}
  limits: {{max_body_bytes: 200000000}}
  timeouts: {{head_s: {head_s}, body_s: 2, write_s: 1, keepalive_s: 3}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
telemetry: {{access_log: json}}
upstreams:
  origin: {{endpoints: ["{origin}"], timeouts: {{connect_s: 1, response_s: 5, body_s: 2}}, tls: {{ca: {ca}}}}}
  clear: {{endpoints: ["{clear}"]}}
  named: {{endpoints: ["{origin}"], tls: {{ca: {ca}, server_name: catalog.internal}}}}
  misnamed: {{endpoints: ["{origin}"], tls: {{ca: {ca}, server_name: elsewhere.test}}}}
  unknown: {{endpoints: ["{origin}"]}}
  expired: {{endpoints: ["{expired}"], tls: {{ca: {ca}}}}}
  untls: {{endpoints: ["{untls}"], tls: {{ca: {ca}}}}}
  silent: {{endpoints: ["https://127.0.0.1:{silent}"], timeouts: {{connect_s: 0.3}}}}
default: origin
seams:
  small: {{routes: [{{path: /small/**, max_body_bytes: 1000}}]}}
  clear: {{legacy: clear, routes: [{{path: /clear/**}}]}}
  named: {{legacy: named, routes: [{{path: /named}}]}}
  misnamed: {{legacy: misnamed, routes: [{{path: /misnamed}}]}}
  unknown: {{legacy: unknown, routes: [{{path: /unknown}}]}}
  expired: {{legacy: expired, routes: [{{path: /expired}}]}}
  untls: {{legacy: untls, routes: [{{path: /untls}}]}}
  silent: {{legacy: silent, routes: [{{path: /silent}}]}}
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def tls_origin(authority: Authority) -> Iterator[TlsOrigin]:
    origin = TlsOrigin(authority.issue("origin"))
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def config(authority: Authority, tls_origin: TlsOrigin, shared_origin: Origin) -> Iterator[str]:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    expired = TlsOrigin(authority.issue("expired", not_after=past))
    with silent_listener() as silent:
        yield CONFIG.format(
            fig=authority.issue("fig"),
            head_s="{head_s}",
            ca=authority.file,
            origin=tls_origin.url,
            clear=shared_origin.url,
            expired=expired.url,
            untls=shared_origin.url.replace("http://", "https://"),
            silent=silent.getsockname()[1],
        )
    expired.close()


def assert_calm(fig: Fig) -> None:
    errors = fig.errors()
    assert "Traceback" not in errors, errors
    assert "Exception" not in errors, errors
    assert "SSL connection is closed" not in errors, errors


@pytest.fixture(scope="module")
def tls_fig(config: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fig]:
    with Fig(tmp_path_factory.mktemp("tls"), config.replace("{head_s}", "1")) as running:
        yield running
    assert_calm(running)


@pytest.fixture
def own_fig(config: str, tmp_path: Path) -> Iterator[Fig]:
    """A fig that the test may stop."""
    with Fig(tmp_path, config.replace("{head_s}", "1")) as running:
        yield running
    assert_calm(running)


@pytest.fixture
def origin(tls_origin: TlsOrigin) -> Iterator[TlsOrigin]:
    tls_origin.reset()
    yield tls_origin
    tls_origin.reset()


@pytest.fixture
def client(tls_fig: Fig, authority: Authority, origin: TlsOrigin) -> Iterator[TlsClient]:
    with TlsClient(tls_fig.address, authority.client_context()) as connected:
        yield connected


def echo(connection: Connection) -> None:
    while (request := connection.read()) is not None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body) + request.body)


# The same bytes


def test_requests_follow_one_another_on_both_connections(client: TlsClient, origin: TlsOrigin) -> None:
    for _ in range(3):
        assert client.get("/").body == b"ok"
    client.send(post("/", 5) + b"hello")
    assert client.answer().status == 200
    assert len(origin.connections) == 1
    assert [request.body for request in origin.requests] == [b"", b"", b"", b"hello"]


def test_pipelined_requests_are_answered_in_order(client: TlsClient, origin: TlsOrigin) -> None:
    def behave(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            body = request.target.encode()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    origin.behave = behave
    targets = [f"/{turn}" for turn in range(40)]
    client.send(b"".join(map(get, targets)))
    assert [client.answer().body.decode() for _ in targets] == targets


@pytest.mark.parametrize("chunked", [False, True])
def test_a_mebibyte_passes_both_ways(client: TlsClient, origin: TlsOrigin, chunked: bool) -> None:
    body = bytes(range(256)) * 4096
    origin.behave = echo
    if chunked:
        client.send(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (MIB, body))
    else:
        client.send(post("/", MIB) + body)
    answer = client.answer()
    assert answer.complete
    assert answer.body == body


def test_a_chunked_answer_passes(client: TlsClient, origin: TlsOrigin) -> None:
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    answer = client.get("/")
    assert (answer.body, answer.complete) == (b"abcde", True)


def test_the_upstream_learns_the_scheme_and_a_location_keeps_it(client: TlsClient, origin: TlsOrigin) -> None:
    origin.behave = saying(b"HTTP/1.1 302 Found\r\nLocation: %b/x\r\nContent-Length: 0\r\n\r\n" % origin.url.encode())
    assert client.get("/", "X-Forwarded-Proto: http").value("location") == "https://proxy.test/x"
    assert origin.requests[0].values("x-forwarded-proto") == ["https"]


def test_an_upstream_in_clear_text_may_stand_behind(client: TlsClient, shared_origin: Origin) -> None:
    shared_origin.reset()
    assert client.get("/clear/").body == b"ok"


# The handshake with clients


def refused(fig: Fig, context: ssl.SSLContext) -> bool:
    with contextlib.suppress(OSError):
        TlsClient(fig.address, context).sock.close()
        return False
    return True


def test_only_http_1_1_is_offered(tls_fig: Fig, authority: Authority) -> None:
    for offered, taken in ((("h2", "http/1.1"), "http/1.1"), (("h2",), None), ((), None)):
        with TlsClient(tls_fig.address, authority.client_context(*offered)) as client:
            assert client.tls.selected_alpn_protocol() == taken


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("newest", "works"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
def test_tls_1_2_is_the_oldest(tls_fig: Fig, authority: Authority, newest: ssl.TLSVersion, works: bool) -> None:
    context = authority.client_context()
    context.minimum_version = min(newest, ssl.TLSVersion.TLSv1_2)
    context.maximum_version = newest
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    before = metric(tls_fig, "fig_tls_handshakes_failed_total")
    assert refused(tls_fig, context) is not works
    assert until(lambda: metric(tls_fig, "fig_tls_handshakes_failed_total") == before + (not works))


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "half a hello"])
def test_a_handshake_that_never_ends_is_cut_at_head_s(tls_fig: Fig, said: bytes) -> None:
    before = metric(tls_fig, "fig_tls_handshakes_failed_total")
    started = time.monotonic()
    with RawClient(tls_fig.address) as client:
        client.send(said)
        assert until(lambda: metric(tls_fig, "fig_connections") == 1)  # it counts from its first packet on
        assert client.ends(3)
    assert 0.8 < time.monotonic() - started < 2
    assert until(lambda: metric(tls_fig, "fig_tls_handshakes_failed_total") == before + 1)
    assert until(lambda: quiet(tls_fig))


def test_a_client_that_says_nothing_after_its_handshake_is_cut(client: TlsClient) -> None:
    assert client.ends(3)
    assert not client.ragged


def test_clear_text_at_the_tls_port_is_let_go(tls_fig: Fig) -> None:
    before = metric(tls_fig, "fig_tls_handshakes_failed_total")
    with RawClient(tls_fig.address) as client:
        client.send(get("/"))
        assert client.ends(0.9)
    assert until(lambda: metric(tls_fig, "fig_tls_handshakes_failed_total") == before + 1)


def test_a_client_that_leaves_in_the_handshake_leaves_nothing(tls_fig: Fig) -> None:
    for end in (RawClient.reset, RawClient.half_close):
        with RawClient(tls_fig.address) as client:
            client.send(b"\x16\x03\x01")
            end(client)
    assert until(lambda: quiet(tls_fig))


def test_silent_handshakes_make_room_for_others(
    config: str, tmp_path: Path, authority: Authority, origin: TlsOrigin
) -> None:
    text = config.replace("{head_s}", "30").replace("limits: {", "limits: {max_connections: 8, ")
    with Fig(tmp_path, text) as fig, contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(RawClient(fig.address))
        with TlsClient(fig.address, authority.client_context()) as client:
            assert client.get("/").status == 200
            assert metric(fig, "fig_connections") <= 8
    assert_calm(fig)


def test_a_full_house_of_active_clients_takes_no_handshake(
    config: str, tmp_path: Path, authority: Authority, origin: TlsOrigin
) -> None:
    text = config.replace("{head_s}", "30").replace("limits: {", "limits: {max_connections: 1, ")
    origin.behave = slow(0.6)
    context = authority.client_context()
    with Fig(tmp_path, text) as fig, TlsClient(fig.address, context) as client:
        client.send(get("/slow"))
        assert until(lambda: metric(fig, "fig_in_flight") == 1)
        assert refused(fig, context)
        assert metric(fig, "fig_tls_handshakes_failed_total") == 1
        assert client.answer().status == 200
    assert_calm(fig)


# The end of a client connection


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_a_refusal_survives_a_body_that_is_still_coming(tls_fig: Fig, authority: Authority, close: bytes) -> None:
    for _ in range(5):
        with TlsClient(tls_fig.address, authority.client_context()) as client:
            head = b"POST /small/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n" + close + b"\r\n"
            client.send(head + b"x" * 150_000)
            time.sleep(0.02)
            client.send(b"x" * 50_000)
            answer = client.answer()
            assert (answer.status, answer.complete) == (413, True)
            assert client.ends(4)


def test_connection_close_ends_with_close_notify(client: TlsClient, origin: TlsOrigin) -> None:
    assert client.get("/", "Connection: close").body == b"ok"
    assert client.ends(1)
    assert not client.ragged


def test_a_slow_reader_gets_the_whole_of_a_last_answer(tls_fig: Fig, authority: Authority, origin: TlsOrigin) -> None:
    origin.behave = BySize()
    size = 3_000_000
    with TlsClient(tls_fig.address, authority.client_context(), window_bytes=65536) as client:
        client.send(f"GET /{size} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        assert client.head() is not None
        while len(client.buffer) < size and client._more():
            time.sleep(0.008)  # longer than write_s in all
        assert len(client.buffer) == size
        assert client._more() is False
        assert not client.ragged


def test_a_client_that_leaves_frees_the_upstream(tls_fig: Fig, authority: Authority, origin: TlsOrigin) -> None:
    arrived, left = threading.Event(), threading.Event()

    def behave(connection: Connection) -> None:
        connection.read()
        arrived.set()
        if connection.wait_closed():
            left.set()

    origin.behave = behave
    for end in ("reset", "unwrap", "close"):
        arrived.clear()
        left.clear()
        with TlsClient(tls_fig.address, authority.client_context()) as client:
            client.send(get("/"))
            assert arrived.wait(5)
            if end == "unwrap":
                client.tls.settimeout(2)
                with contextlib.suppress(OSError):
                    client.tls.unwrap()
            elif end == "reset":
                client.reset()
            else:
                client.sock.close()
            assert left.wait(2), end
    assert until(lambda: quiet(tls_fig))


@pytest.mark.parametrize("farewell", [True, False])
def test_a_client_that_leaves_with_much_unread_frees_a_stream(
    tls_fig: Fig, authority: Authority, origin: TlsOrigin, farewell: bool
) -> None:
    left = threading.Event()

    def behave(connection: Connection) -> None:
        connection.read()
        connection.sock.settimeout(4)
        try:
            connection.sock.sendall(UNTIL_CLOSE)
            while True:
                connection.sock.sendall(b"data: x\n\n" * 20_000)
                time.sleep(0.01)
        except TimeoutError:
            return
        except OSError:
            left.set()

    origin.behave = behave
    with TlsClient(tls_fig.address, authority.client_context(), window_bytes=4096) as client:
        client.send(get("/"))
        assert client.head() is not None
        time.sleep(0.2)
        if farewell:
            client.tls.settimeout(0.01)
            with contextlib.suppress(OSError):
                client.tls.unwrap()
        with socket.socket(fileno=client.tls.detach()) as sock:
            sock.shutdown(socket.SHUT_WR)
            assert left.wait(5)
    assert until(lambda: quiet(tls_fig))


@pytest.mark.soak
def test_write_s_cuts_a_client_that_reads_nothing(tls_fig: Fig, authority: Authority, origin: TlsOrigin) -> None:
    origin.behave = script = BySize()
    with TlsClient(tls_fig.address, authority.client_context(), window_bytes=4096) as client:
        client.send(get("/50000000"))
        settled(lambda: script.sent)
        assert script.sent < 20_000_000
        assert until(lambda: metric(tls_fig, "fig_in_flight") == 0, 6)


def test_slow_readers_cannot_pin_memory(tls_fig: Fig, authority: Authority, origin: TlsOrigin) -> None:
    origin.behave = script = BySize()
    context = authority.client_context()
    before = tls_fig.rss_bytes()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(TlsClient(tls_fig.address, context, window_bytes=4096))
            client.send(get("/20000000"))
        settled(lambda: script.sent)
        assert tls_fig.rss_bytes() - before < 20 * 2 * MIB


# Upstreams


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/misnamed", "Hostname mismatch"),
        ("/unknown", "name its CA in `tls.ca`"),
        ("/expired", "certificate has expired: renew it"),
        ("/untls", "does not answer in TLS"),
    ],
)
def test_a_handshake_that_fails_is_a_502_and_a_line(
    tls_fig: Fig, client: TlsClient, shared_origin: Origin, path: str, said: str
) -> None:
    def behave(connection: Connection) -> None:
        connection.recv()
        connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    shared_origin.reset(behave)
    answer = client.get(path)
    assert answer.status == 502
    assert b'"reason":"connect_failed"' in answer.body
    assert b"127.0.0.1" not in answer.body
    assert b"certificate" not in answer.body
    assert access_line(tls_fig, path)["cause"] == "connect_failed"
    assert until(lambda: said in tls_fig.errors())
    assert client.get("/").status == 200


def test_a_server_name_is_what_is_verified(client: TlsClient, origin: TlsOrigin) -> None:
    assert client.get("/named").status == 200


def test_connect_s_covers_the_handshake(client: TlsClient, tls_fig: Fig) -> None:
    started = time.monotonic()
    answer = client.get("/silent")
    assert (answer.status, b"connect_timeout" in answer.body) == (504, True)
    assert time.monotonic() - started < 0.9
    assert until(lambda: metric(tls_fig, "fig_in_flight") == 0)


def test_fig_offers_upstreams_http_1_1_only(client: TlsClient, origin: TlsOrigin) -> None:
    assert client.get("/").status == 200
    sock = origin.connections[0].sock
    assert isinstance(sock, ssl.SSLSocket)
    assert sock.selected_alpn_protocol() == "http/1.1"
    assert sock.version() in ("TLSv1.2", "TLSv1.3")


UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize("said", [b"hello", b"y" * 300_000])
def test_a_body_until_close_is_complete_with_close_notify(client: TlsClient, origin: TlsOrigin, said: bytes) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(UNTIL_CLOSE + said)
        goodbye(connection)

    origin.behave = behave
    answer = client.get("/")
    assert (answer.body, answer.complete) == (said, True)
    assert client.get("/").complete


def test_a_body_until_close_is_cut_without_close_notify(client: TlsClient, origin: TlsOrigin, tls_fig: Fig) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(UNTIL_CLOSE + b"hello")
        time.sleep(0.05)
        connection.sock.shutdown(socket.SHUT_RDWR)

    origin.behave = behave
    answer = client.get("/ragged")
    assert (answer.body, answer.complete) == (b"hello", False)
    assert client.ragged
    assert access_line(tls_fig, "/ragged")["cause"] == "upstream_reset"


def test_an_http_1_0_client_sees_a_whole_body_as_whole(client: TlsClient, origin: TlsOrigin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(UNTIL_CLOSE + b"hello")
        goodbye(connection)

    origin.behave = behave
    client.send(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n")
    assert client.answer().body == b"hello"
    assert not client.ragged


def test_an_http_1_0_client_sees_a_cut_body_as_cut(client: TlsClient, origin: TlsOrigin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(UNTIL_CLOSE + b"hello")
        time.sleep(0.05)
        connection.sock.shutdown(socket.SHUT_RDWR)

    origin.behave = behave
    client.send(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n")
    assert client.answer().body == b"hello"
    assert client.ragged


@pytest.mark.parametrize("farewell", [True, False])
def test_a_body_with_a_length_needs_no_close_notify(client: TlsClient, origin: TlsOrigin, farewell: bool) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        if farewell:
            goodbye(connection)

    origin.behave = behave
    for _ in range(3):
        answer = client.get("/")
        assert (answer.body, answer.complete) == (b"hello", True)


@pytest.mark.parametrize("farewell", [True, False])
def test_nothing_is_lost_when_the_upstream_leaves_before_a_slow_client_has_read(
    tls_fig: Fig, authority: Authority, origin: TlsOrigin, farewell: bool
) -> None:
    size = 3_000_000

    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size + b"z" * size)
        if farewell:
            goodbye(connection)

    origin.behave = behave
    with TlsClient(tls_fig.address, authority.client_context(), window_bytes=4096) as client:
        client.send(get("/"))
        time.sleep(0.3)  # the client's pause holds the answer up while the upstream goes
        answer = client.answer()
        assert (len(answer.body), answer.complete) == (size, True)


def test_an_idle_connection_is_left_with_close_notify(client: TlsClient, origin: TlsOrigin) -> None:
    ends: list[bytes | str] = []

    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=1\r\n\r\nok")
        connection.sock.settimeout(5)
        try:
            ends.append(connection.sock.recv(1))
        except OSError as error:
            ends.append(str(error))

    origin.behave = behave
    assert client.get("/").status == 200
    assert until(lambda: bool(ends), 4)
    assert ends == [b""]


def test_an_upstream_that_closes_a_kept_connection_is_asked_again(client: TlsClient, origin: TlsOrigin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(OK)
        goodbye(connection)

    origin.behave = behave
    for _ in range(5):
        assert client.get("/").status == 200
        time.sleep(0.01)


# The end of fig


def test_a_drain_answers_what_was_asked_and_is_not_held_by_silence(
    own_fig: Fig, authority: Authority, origin: TlsOrigin
) -> None:
    origin.behave = slow(0.8)
    context = authority.client_context()
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(TlsClient(own_fig.address, context)) for _ in range(10)]
        idle = [stack.enter_context(TlsClient(own_fig.address, context)) for _ in range(10)]
        for client in idle:
            assert client.get("/").status == 200
        for client in busy:
            client.send(get("/slow"))
        assert until(lambda: sum(request.target == "/slow" for request in origin.requests) == 10)
        started = time.monotonic()
        own_fig.signal(signal.SIGTERM)
        for client in busy:
            answer = client.answer()
            assert (answer.status, answer.body, answer.value("connection")) == (200, b"ok", "close")
            assert client.ends(2)
            assert not client.ragged
        assert own_fig.process is not None
        assert own_fig.process.wait(5) == 0
        assert time.monotonic() - started < 4
    assert_calm(own_fig)


# Reload


def test_a_reload_brings_https_to_an_upstream_and_keeps_the_others(
    own_fig: Fig, authority: Authority, origin: TlsOrigin
) -> None:
    other = Authority(authority.folder, "other")
    second = TlsOrigin(other.issue("second"), ok)
    try:
        with TlsClient(own_fig.address, authority.client_context()) as client:
            assert client.get("/").status == 200
            text = own_fig.config.read_text()
            own_fig.write(text.replace(origin.url, second.url))
            assert own_fig.call("POST", "/api/reload").status_code == 200
            assert client.get("/").status == 502
            own_fig.write(text.replace(origin.url, second.url).replace(str(authority.file), str(other.file)))
            assert own_fig.call("POST", "/api/reload").status_code == 200
            assert client.get("/").status == 200
            moved = text.replace(str(authority.folder / "fig.pem"), str(authority.folder / "second.pem"))
            own_fig.write(moved.replace(str(authority.folder / "fig.key"), str(authority.folder / "second.key")))
            assert own_fig.call("POST", "/api/reload").status_code == 200  # the file watch may have been first
            assert client.get("/").status == 200
            with TlsClient(own_fig.address, other.client_context()) as another:
                assert another.get("/").status == 200
            assert "takes a restart" not in own_fig.errors()
    finally:
        second.close()


def test_fig_in_clear_text_asks_upstreams_over_tls(tmp_path: Path, authority: Authority, origin: TlsOrigin) -> None:
    text = f"""
version: 1
server: {{listen: {{data}}}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
upstreams:
  origin: {{endpoints: ["{origin.url}", "https://localhost:{free_port()}"], tls: {{ca: {authority.file}}}}}
default: origin
"""
    with Fig(tmp_path, text) as fig, RawClient(fig.address) as client:
        assert {client.get("/").status for _ in range(12)} == {200, 502}
        assert origin.requests[0].values("x-forwarded-proto") == ["http"]
    assert_calm(fig)
