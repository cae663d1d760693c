"""Certificates that are renewed while fig serves: the configuration stays as it is written, the files change."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from proxy.config.model import ServerTls
from proxy.wire.tls import PortTls, TlsError
from tests.support.fig import Fig
from tests.support.origin import Origin
from tests.support.tls import Authority, Files, TlsClient, TlsOrigin
from tests.support.wire import get, metric, post, slow, until

CONFIG = """
version: 1
server: {{listen: {{data}}, tls: {{certificate: live/fig.pem, key: live/fig.key}}}}
admin: {{listen: "{{admin}}"}}
store: "memory:"
upstreams:
  origin: {{endpoints: ["{origin}"], timeouts: {{response_s: 20}}}}
  secure: {{endpoints: ["{secure}"], tls: {{ca: upstream.pem}}}}
default: origin
seams:
  secure: {{legacy: secure, routes: [{{path: /secure}}]}}
"""
PLACES = ("first", "second", "third")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def renewals(authority: Authority) -> list[Files]:
    return [authority.issue(name) for name in PLACES]


@pytest.fixture(scope="module")
def serials(renewals: list[Files]) -> list[str]:
    """As a client reads them."""
    numbers = [load_pem_x509_certificate(files.certificate.read_bytes()).serial_number for files in renewals]
    return [f"{number:X}" for number in numbers]


@pytest.fixture(scope="module")
def secure_origin(authority: Authority) -> Iterator[TlsOrigin]:
    origin = TlsOrigin(authority.issue("origin"))
    yield origin
    origin.close()


@pytest.fixture
def fig(
    tmp_path: Path, authority: Authority, renewals: list[Files], origin: Origin, secure_origin: TlsOrigin
) -> Iterator[Fig]:
    """With the first certificate in a folder that `live` points to, as a cluster mounts it."""
    for place, files in zip(PLACES, renewals, strict=True):
        (tmp_path / place).mkdir()
        shutil.copy(files.certificate, tmp_path / place / "fig.pem")
        shutil.copy(files.key, tmp_path / place / "fig.key")
    (tmp_path / "live").symlink_to("first")
    shutil.copy(authority.file, tmp_path / "upstream.pem")
    with Fig(tmp_path, CONFIG.format(origin=origin.url, secure=secure_origin.url)) as running:
        yield running
    assert "Traceback" not in running.errors(), running.errors()


def point(fig: Fig, place: str) -> None:
    """Both files in one step."""
    fresh = fig.folder / "fresh"
    fresh.symlink_to(place)
    fresh.replace(fig.folder / "live")


def serial(fig: Fig, authority: Authority) -> str:
    """Of the certificate that a new connection is shown."""
    with TlsClient(fig.address, authority.client_context()) as client:
        certificate = client.tls.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"]).lstrip("0")


def comes(fig: Fig, authority: Authority, wanted: str) -> bool:
    return until(lambda: serial(fig, authority) == wanted, 15)


def successful(fig: Fig) -> bool:
    return metric(fig, "fig_config_last_reload_successful") == 1


class Crowd:
    """Clients that ask again and again: some keep their connection, one begins a new one each time."""

    def __init__(self, fig: Fig, authority: Authority) -> None:
        self._fig, self._authority = fig, authority
        self.answered = 0
        self.connections = 0
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(kept,)) for kept in (True, True, True, False)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def goes_on(self) -> bool:
        before = self.answered
        return until(lambda: self.answered > before + 20)

    def _run(self, kept: bool) -> None:
        context = self._authority.client_context()
        while not self._stop.is_set():
            try:
                with TlsClient(self._fig.address, context) as client:
                    self.connections += 1
                    while True:
                        answer = client.get("/")
                        assert (answer.status, answer.body) == (200, b"ok")
                        self.answered += 1
                        if self._stop.is_set() or not kept:
                            break
            except (OSError, AssertionError) as error:
                self.errors.append(repr(error))
                return


def test_a_renewal_under_load_disturbs_nobody(
    fig: Fig, authority: Authority, serials: list[str], origin: Origin
) -> None:
    origin.behave = slow(4)
    assert serial(fig, authority) == serials[0]
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(TlsClient(fig.address, authority.client_context()))
        waiting.send(get("/slow"))
        sending = stack.enter_context(TlsClient(fig.address, authority.client_context()))
        sending.send(post("/", 10) + b"hello")
        crowd = stack.enter_context(Crowd(fig, authority))
        for place, wanted in zip(PLACES[1:], serials[1:], strict=True):
            point(fig, place)
            assert comes(fig, authority, wanted)
            assert crowd.goes_on()
        sending.send(b"world")
        assert sending.answer().status == 200
        assert sending.get("/").status == 200
        assert waiting.answer().body == b"ok"
    assert crowd.errors == []
    assert crowd.connections > 4
    assert metric(fig, "fig_tls_handshakes_failed_total") == 0
    assert successful(fig)
    assert f"new connections get the certificate in {fig.folder}/live/fig.pem as it is now" in fig.errors()
    assert "takes a restart" not in fig.errors()


def test_a_certificate_and_its_key_may_come_one_after_the_other(
    fig: Fig, authority: Authority, renewals: list[Files], serials: list[str]
) -> None:
    with TlsClient(fig.address, authority.client_context()) as client:
        assert client.get("/").status == 200
        shutil.copy(renewals[1].certificate, fig.folder / "live" / "fig.pem")
        assert until(lambda: "FIG123" in fig.errors(), 10)
        assert not successful(fig)
        assert serial(fig, authority) == serials[0]
        shutil.copy(renewals[1].key, fig.folder / "live" / "fig.key")
        assert comes(fig, authority, serials[1])
        assert until(lambda: successful(fig))
        assert client.get("/").status == 200


@pytest.mark.parametrize(("name", "code"), [("fig.pem", "FIG122"), ("fig.key", "FIG122"), ("gone", "FIG121")])
def test_a_broken_file_leaves_the_old_certificate_in_force(
    fig: Fig, authority: Authority, serials: list[str], name: str, code: str
) -> None:
    if name == "gone":
        (fig.folder / "live" / "fig.pem").unlink()
    else:
        (fig.folder / "live" / name).write_text("half a fi")
    assert until(lambda: "reload failed, the old configuration keeps serving" in fig.errors(), 10)
    assert code in fig.errors()
    assert until(lambda: not successful(fig))
    assert serial(fig, authority) == serials[0]
    answer = fig.call("POST", "/api/reload")
    assert (answer.status_code, answer.json()["problems"][0]["code"]) == (422, code)
    assert serial(fig, authority) == serials[0]
    point(fig, "third")
    assert comes(fig, authority, serials[2])
    assert until(lambda: successful(fig))


def test_a_reload_tells_a_renewed_file_from_the_same_again(fig: Fig, authority: Authority, serials: list[str]) -> None:
    before = fig.call("GET", "/api/config").headers["etag"]
    assert fig.call("POST", "/api/reload").json()["changed"] is False
    point(fig, "second")
    assert fig.call("POST", "/api/reload").status_code == 200  # the file watch may have been first
    assert serial(fig, authority) == serials[1]
    assert fig.call("GET", "/api/config").headers["etag"] != before
    assert fig.call("POST", "/api/reload").json()["changed"] is False
    assert fig.errors().count("new connections get the certificate") == 1


def test_a_reload_that_fails_elsewhere_takes_no_certificate(fig: Fig, authority: Authority, serials: list[str]) -> None:
    text = fig.config.read_text()
    fig.config.write_text(text.replace("default: origin", "default: nobody"))
    point(fig, "second")
    assert fig.call("POST", "/api/reload").status_code == 422
    assert serial(fig, authority) == serials[0]
    fig.write(text)
    assert fig.call("POST", "/api/reload").status_code == 200
    assert serial(fig, authority) == serials[1]


def test_what_is_prepared_counts_only_once_it_is_adopted(renewals: list[Files]) -> None:
    first, second, third = (ServerTls(certificate=str(one.certificate), key=str(one.key)) for one in renewals)
    port = PortTls(first)
    before = port.context
    port.prepare(second)
    assert not port.adopt(first)  # the reload was refused, and something else swapped the snapshot
    with pytest.raises(TlsError, match="cannot use certificate"):
        port.prepare(third.model_copy(update={"key": second.key}))
    assert port.context is before
    assert not port.adopt(third)
    assert port.adopt(second)
    assert port.context is not before
    assert not port.adopt(second)


def test_the_same_files_again_make_no_context(renewals: list[Files]) -> None:
    config = ServerTls(certificate=str(renewals[0].certificate), key=str(renewals[0].key))
    port = PortTls(config.holding({}, b"a"))
    port.prepare(config.holding({}, b"a"))
    assert not port.adopt(config.holding({}, b"a"))
    port.prepare(config.holding({}, b"b"))
    assert port.adopt(config.holding({}, b"b"))


def test_no_tls_at_all_takes_a_restart(fig: Fig, authority: Authority, serials: list[str]) -> None:
    text = fig.config.read_text()
    fig.write(text.replace(", tls: {certificate: live/fig.pem, key: live/fig.key}", ""))
    assert fig.call("POST", "/api/reload").status_code == 200  # the file watch may have been first
    assert until(lambda: "server.tls changed: that takes a restart" in fig.errors())
    assert serial(fig, authority) == serials[0]
    point(fig, "second")
    fig.write(text)
    assert fig.call("POST", "/api/reload").status_code == 200
    assert serial(fig, authority) == serials[1]


def test_a_renewed_ca_of_an_upstream_is_trusted_from_then_on(fig: Fig, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    ca = fig.folder / "upstream.pem"
    with TlsClient(fig.address, authority.client_context()) as client:
        assert client.get("/secure").status == 200
        shutil.copy(other.file, ca)
        assert fig.call("POST", "/api/reload").status_code == 200
        assert client.get("/secure").status == 502  # not on the connection that was kept either
        assert client.get("/").status == 200
        ca.write_bytes(other.file.read_bytes() + authority.file.read_bytes())
        assert fig.call("POST", "/api/reload").status_code == 200
        assert client.get("/secure").status == 200
