"""Certificates, and the raw client and the scripted origin over TLS."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.support.client import RawClient
from tests.support.origin import Behaviour, Connection, Origin, ok

NAMES = ("127.0.0.1", "fig.test", "catalog.internal")


@dataclass(frozen=True)
class Files:
    """A certificate with its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A CA with its certificate in `folder`; issues more into it."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self._authority = trustme.CA()
        self.file = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def issue(self, name: str, *names: str, not_after: datetime.datetime | None = None) -> Files:
        leaf = self._authority.issue_cert(*(names or NAMES), not_after=not_after)
        files = Files(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        leaf.private_key_pem.write_to_path(files.key)
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return files

    def client_context(self, *alpn: str, shows: Files | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.file)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if shows is not None:
            context.load_cert_chain(shows.certificate, shows.key)
        return context


def server_context(files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2", "http/1.1"])  # h2 first: fig must not offer it
    return context


class TlsClient(RawClient):
    """A raw client after its handshake; an end without close_notify is a `ragged` one."""

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        timeout_s: float = 10.0,
        window_bytes: int | None = None,
    ) -> None:
        super().__init__(address, timeout_s, window_bytes)
        self.ragged = False
        try:
            self.tls = self.sock = context.wrap_socket(
                self.sock, server_hostname="fig.test", suppress_ragged_eofs=False
            )
        except OSError:
            self.sock.close()
            raise

    def _more(self) -> bool:
        try:
            data = self.sock.recv(262144)
        except TimeoutError:
            raise
        except OSError:
            self.ragged, data = True, b""
        if not data:
            self.closed = True
        self.buffer += data
        return bool(data)


class TlsOrigin(Origin):
    """A scripted origin behind a handshake. `failed` collects handshakes that came to nothing."""

    def __init__(self, files: Files, behave: Behaviour = ok) -> None:
        self.context = server_context(files)
        self.failed: list[str] = []
        super().__init__(behave)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _serve(self, connection: Connection) -> None:
        try:
            connection.sock = self.context.wrap_socket(connection.sock, server_side=True, suppress_ragged_eofs=False)
        except OSError as error:
            self.failed.append(str(error))
            connection.sock.close()
            return
        super()._serve(connection)


def goodbye(connection: Connection) -> None:
    """End a TLS connection as it should be ended."""
    assert isinstance(connection.sock, ssl.SSLSocket)
    connection.sock.settimeout(5)
    with contextlib.suppress(OSError):
        connection.sock.unwrap()


def silent_listener() -> socket.socket:
    """Takes connections into its backlog and says nothing."""
    return socket.create_server(("127.0.0.1", 0))
