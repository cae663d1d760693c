"""The PEM files that a configuration names: can they be read, do they fit, are they still valid. Opens no connection.

Whether a certificate is valid today OpenSSL itself says, in a handshake between two buffers: the standard library has
no other public way to ask.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from proxy.config.finding import Finding
from proxy.config.model import PemFiles, ServerTls, Settings, UpstreamConfig, UpstreamTls

Pem = TypeVar("Pem", bound=PemFiles)

_EXPIRED, _NOT_YET_VALID = 10, 9  # X509_V_ERR_*
_SERVER = "server.tls"


def check(settings: Settings, folder: Path) -> Iterator[Finding]:
    """Everything that is wrong with the files; paths count from `folder`."""
    if settings.server.tls is not None:
        yield from _server(settings.server.tls, folder)
    for name, upstream in settings.upstreams.items():
        if upstream.tls is not None:
            yield from _upstream(f"upstreams.{name}.tls", upstream.tls, folder)


def files(settings: Settings, folder: Path) -> Iterator[Path]:
    """What takes part in the configuration, whether it is there or not."""
    holders = (settings.server.tls, *(upstream.tls for upstream in settings.upstreams.values()))
    yield from (folder / name for tls in holders if tls is not None for name in tls.files.values())


def resolved(settings: Settings, folder: Path, contents: Mapping[Path, bytes]) -> Settings:
    """The same settings with absolute paths, and not equal to others if a file holds something else: `contents` says
    what, for each of `files`."""
    server = settings.server
    if server.tls is not None:
        server = server.model_copy(update={"tls": _holding(server.tls, folder, contents)})
    upstreams = {name: _resolved(upstream, folder, contents) for name, upstream in settings.upstreams.items()}
    return settings.model_copy(update={"server": server, "upstreams": upstreams})


def _resolved(upstream: UpstreamConfig, folder: Path, contents: Mapping[Path, bytes]) -> UpstreamConfig:
    if upstream.tls is None or not upstream.tls.files:
        return upstream
    return upstream.model_copy(update={"tls": _holding(upstream.tls, folder, contents)})


def _holding(tls: Pem, folder: Path, contents: Mapping[Path, bytes]) -> Pem:
    paths = {key: folder / name for key, name in tls.files.items()}
    absolute = {key: str(path.absolute()) for key, path in paths.items()}
    return tls.holding(absolute, b"".join(contents[path] for path in paths.values()))


def read(at: str, path: Path) -> str | Finding:
    """The text of a file that the key at `at` names, all but ASCII as `?`; or why it has none."""
    try:
        if path.exists() and not path.is_file():
            return Finding(at, "FIG121", f"cannot read {path}: not a regular file")
        return path.read_bytes().decode("ascii", "replace").replace("\ufffd", "?")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Finding(at, "FIG121", f"cannot read {path}: {reason}")


def _authorities(at: str, path: Path) -> Iterator[Finding]:
    text = read(at, path)
    if isinstance(text, Finding):
        yield text
    elif not _is_certificate(text):
        yield Finding(at, "FIG122", f"{path} holds no CA certificate in PEM: it begins -----BEGIN CERTIFICATE-----")


def _is_certificate(text: str) -> bool:
    try:
        _client(text)
    except (ssl.SSLError, ValueError):
        return False
    return True


def _client(text: str) -> ssl.SSLContext:
    """One that trusts the certificates in `text`, each by itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    _trust(context, text)
    return context


def _trust(context: ssl.SSLContext, text: str) -> None:
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=text)


def _server(tls: ServerTls, folder: Path) -> Iterator[Finding]:
    yield from _own(_SERVER, folder / tls.certificate, folder / tls.key)
    if tls.client_ca is not None:
        yield from _authorities(f"{_SERVER}.client_ca", folder / tls.client_ca)
    elif tls.client_auth is not None:
        message = f"`client_auth: {tls.client_auth}` says nothing without `client_ca`: name the CA of the clients there"
        yield Finding(f"{_SERVER}.client_auth", "FIG125", message, needs=(f"{_SERVER}.client_ca",))


def _upstream(at: str, tls: UpstreamTls, folder: Path) -> Iterator[Finding]:
    if tls.ca is not None:
        yield from _authorities(f"{at}.ca", folder / tls.ca)
    if tls.certificate is not None and tls.key is not None:
        yield from _own(at, folder / tls.certificate, folder / tls.key)
    elif tls.certificate is not None or tls.key is not None:
        there, missing = ("certificate", "key") if tls.key is None else ("key", "certificate")
        message = f"`{there}` is no use without `{missing}`: name both, or neither"
        yield Finding(f"{at}.{there}", "FIG126", message, needs=(f"{at}.{missing}",))


def _own(at: str, certificate: Path, key: Path) -> Iterator[Finding]:
    """Of a certificate that fig shows itself: `certificate` and `key` under `at`."""
    text, secret = read(f"{at}.certificate", certificate), read(f"{at}.key", key)
    for finding in (text, secret):
        if isinstance(finding, Finding):
            yield finding
    if isinstance(text, str) and not _is_certificate(text):
        message = f"{certificate} holds no certificate in PEM: it begins -----BEGIN CERTIFICATE-----"
        yield Finding(f"{at}.certificate", "FIG122", message)
    elif isinstance(text, str) and isinstance(secret, str):
        yield from _pair(at, certificate, key, text, secret)


def _pair(at: str, certificate: Path, key: Path, text: str, secret: str) -> Iterator[Finding]:
    at_key = f"{at}.key"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # else OpenSSL asks the terminal
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            message = f"{key} is not the key of {certificate}: name the one that it was made with"
            yield Finding(at_key, "FIG123", message)
        elif "ENCRYPTED" in secret:
            yield Finding(at_key, "FIG122", f"{key} has a passphrase: write it without one, readable for fig only")
        else:
            yield Finding(at_key, "FIG122", f"{key} holds no private key in PEM: it begins -----BEGIN PRIVATE KEY-----")
    except OSError as error:  # it has gone since it was read
        yield Finding(at_key, "FIG121", f"cannot read {key}: {error.strerror}")
    else:
        client = _client(text)
        if at != _SERVER:  # it is the client's
            client.verify_mode = ssl.CERT_NONE
            client.load_cert_chain(certificate, key)
            context.verify_mode = ssl.CERT_REQUIRED
            _trust(context, text)
        yield from _validity(at, certificate, _verify_code(context, client))


def _validity(at: str, certificate: Path, code: int) -> Iterator[Finding]:
    if code in (_EXPIRED, _NOT_YET_VALID):
        who = "clients refuse" if at == _SERVER else "the upstream refuses"
        what = f"has expired: {who} it, renew it" if code == _EXPIRED else "is not valid yet: check the clock"
        yield Finding(f"{at}.certificate", "FIG124", f"{certificate} {what}", "warning")


def _verify_code(server: ssl.SSLContext, client: ssl.SSLContext) -> int:
    """What a side says about the other's certificate, where it looks at it; 0 is nothing."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True))
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError as error:
                return error.verify_code
            except ssl.SSLError:
                return 0  # not about validity; the files have been loaded, so it is for clients to judge
    return 0
