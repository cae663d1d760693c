"""Certificates that clients show: asked for, checked or missing; and those that fig shows upstreams itself."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.fig import Fig
from tests.support.origin import Origin
from tests.support.tls import Authority, Files, TlsClient, TlsOrigin
from tests.support.wire import access_line, metric, until

CONFIG = """
version: 1
server: {{listen: {{data}}, tls: {{certificate: {fig.certificate}, key: {fig.key}, client_ca: clients.pem{auth}}}}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
telemetry: {{access_log: json}}
upstreams:
  origin: {{endpoints: ["{origin}"]}}
default: origin
"""
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Of servers."""
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("clients"), "clients")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("strangers"), "strangers")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Files:
    return authority.issue("fig")


@pytest.fixture(scope="module")
def good(clients: Authority) -> Files:
    return clients.issue("good")


@pytest.fixture(scope="module")
def expired(clients: Authority) -> Files:
    return clients.issue("expired", not_after=PAST)


@pytest.fixture(scope="module")
def strange(strangers: Authority) -> Files:
    return strangers.issue("strange")


def serving(folder: Path, server: Files, clients: Authority, origin: Origin, auth: str) -> Fig:
    shutil.copy(clients.file, folder / "clients.pem")
    return Fig(folder, CONFIG.format(fig=server, origin=origin.url, auth=auth))


@pytest.fixture(scope="module")
def required(
    server: Files, clients: Authority, shared_origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fig]:
    with serving(tmp_path_factory.mktemp("required"), server, clients, shared_origin, "") as running:
        yield running
    assert "Traceback" not in running.errors(), running.errors()


@pytest.fixture(scope="module")
def optional(
    server: Files, clients: Authority, shared_origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fig]:
    folder = tmp_path_factory.mktemp("optional")
    with serving(folder, server, clients, shared_origin, ", client_auth: optional") as running:
        yield running
    assert "Traceback" not in running.errors(), running.errors()


def showing(
    authority: Authority, shows: Files | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    context = authority.client_context(shows=shows)
    context.minimum_version = context.maximum_version = version
    return context


def answered(fig: Fig, context: ssl.SSLContext, *headers: str) -> bool:
    """False: the connection ended in the handshake, or, since a TLS 1.3 client is done first, right after it."""
    try:
        with TlsClient(fig.address, context) as client:
            return client.get("/", *headers).status == 200
    except OSError:
        return False
    except AssertionError as error:
        assert "ended without an answer" in str(error)
        return False


@pytest.mark.parametrize("version", VERSIONS)
def test_required_lets_in_who_shows_a_good_certificate(
    required: Fig, authority: Authority, good: Files, origin: Origin, version: ssl.TLSVersion
) -> None:
    assert answered(required, showing(authority, good, version))
    assert len(origin.requests) == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("who", ["nothing", "strange", "expired"])
def test_required_lets_nobody_else_in(
    required: Fig,
    authority: Authority,
    strange: Files,
    expired: Files,
    origin: Origin,
    version: ssl.TLSVersion,
    who: str,
) -> None:
    shown = {"nothing": None, "strange": strange, "expired": expired}[who]
    before = metric(required, "fig_tls_handshakes_failed_total")
    assert not answered(required, showing(authority, shown, version))
    assert until(lambda: metric(required, "fig_tls_handshakes_failed_total") == before + 1)
    assert origin.requests == []


def test_a_certificate_of_the_servers_own_ca_is_none_of_a_client(
    required: Fig, authority: Authority, server: Files, origin: Origin
) -> None:
    assert not answered(required, showing(authority, server))
    assert origin.requests == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("who", "enters"), [("nothing", True), ("good", True), ("strange", False), ("expired", False)])
def test_optional_checks_what_is_shown(
    optional: Fig,
    authority: Authority,
    good: Files,
    strange: Files,
    expired: Files,
    origin: Origin,
    version: ssl.TLSVersion,
    who: str,
    enters: bool,
) -> None:
    shown = {"nothing": None, "good": good, "strange": strange, "expired": expired}[who]
    assert answered(optional, showing(authority, shown, version)) is enters
    assert len(origin.requests) == enters


def test_nobody_can_say_that_somebody_has_shown_a_certificate(
    optional: Fig, authority: Authority, origin: Origin
) -> None:
    said = ("X-Forwarded-Client-Cert: Subject=admin", "X_Forwarded_Client_Cert: admin", "Client-Cert: :YWRtaW4=:")
    assert answered(optional, showing(authority, None), *said)
    assert not [name for name, _ in origin.requests[0].fields if "cert" in name]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_renewed_ca_counts_for_new_connections_and_resumed_sessions(
    tmp_path: Path,
    server: Files,
    authority: Authority,
    clients: Authority,
    strangers: Authority,
    good: Files,
    strange: Files,
    origin: Origin,
    version: ssl.TLSVersion,
) -> None:
    mine, theirs = showing(authority, good, version), showing(authority, strange, version)
    with serving(tmp_path, server, clients, origin, "") as fig, TlsClient(fig.address, mine) as kept:
        assert kept.get("/").status == 200
        session = kept.tls.session
        assert session is not None
        shutil.copy(strangers.file, fig.folder / "clients.pem")
        assert fig.call("POST", "/api/reload").status_code == 200
        assert answered(fig, theirs)
        assert not answered(fig, mine)
        assert not resumed(fig, mine, session)
        assert kept.get("/").status == 200


def resumed(fig: Fig, context: ssl.SSLContext, session: ssl.SSLSession) -> bool:
    """Whether a request is answered on a connection that goes on with the session."""
    try:
        with (
            socket.create_connection(fig.address, 5) as raw,
            context.wrap_socket(raw, server_hostname="fig.test", session=session) as client,
        ):
            client.sendall(b"GET / HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
            return client.session_reused is True and b" 200 " in client.recv(65536)
    except OSError:
        return False


def test_a_session_of_the_same_ca_can_be_resumed(
    required: Fig, authority: Authority, good: Files, origin: Origin
) -> None:
    context = showing(authority, good)
    with TlsClient(required.address, context) as client:
        assert client.get("/").status == 200
        session = client.tls.session
    assert session is not None
    assert resumed(required, context, session)


# fig as a client


UPSTREAM = """
version: 1
server: {{listen: {{data}}}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
telemetry: {{access_log: json}}
upstreams:
  known:
    endpoints: ["{origin.url}"]
    tls: {{ca: {ca}, certificate: {shown.certificate}, key: {shown.key}}}
    health: {{path: /healthz, interval_s: 0.2, timeout_s: 0.2}}
  nameless: {{endpoints: ["{origin.url}"], tls: {{ca: {ca}}}}}
default: known
seams:
  nameless: {{legacy: nameless, routes: [{{path: /nameless}}]}}
"""


@pytest.fixture
def strict_origin(authority: Authority, clients: Authority) -> Iterator[TlsOrigin]:
    """Asks for a certificate."""
    origin = TlsOrigin(authority.issue("strict"))
    origin.context.load_verify_locations(clients.file)
    origin.context.verify_mode = ssl.CERT_REQUIRED
    yield origin
    origin.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_fig_shows_an_upstream_its_certificate(
    tmp_path: Path, authority: Authority, good: Files, strict_origin: TlsOrigin, version: ssl.TLSVersion
) -> None:
    strict_origin.context.maximum_version = version
    text = UPSTREAM.format(origin=strict_origin, ca=authority.file, shown=good)
    with Fig(tmp_path, text) as fig:
        with httpx.Client(trust_env=False, base_url=f"http://127.0.0.1:{fig.port}") as client:
            assert client.get("/").status_code == 200
            assert client.get("/nameless").status_code == 502
        assert until(lambda: any(request.target == "/healthz" for request in strict_origin.requests))
        assert {request.target for request in strict_origin.requests} == {"/", "/healthz"}
        assert access_line(fig, "/nameless")["status"] == 502
    assert "Traceback" not in fig.errors(), fig.errors()
