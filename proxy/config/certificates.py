"""The PEM files that a configuration names: can they be read, do they fit, are they still valid. Opens no connection.

Whether the server's certificate is valid today OpenSSL itself says, in a handshake between two buffers: the standard
library has no other public way to ask.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from proxy.config.finding import Finding
from proxy.config.model import Settings, UpstreamConfig

_EXPIRED, _NOT_YET_VALID = 10, 9  # X509_V_ERR_*


def check(settings: Settings, folder: Path) -> Iterator[Finding]:
    """Everything that is wrong with the files; paths count from `folder`."""
    if (tls := settings.server.tls) is not None:
        yield from _server(folder / tls.certificate, folder / tls.key)
    for name, upstream in settings.upstreams.items():
        if (ca := _ca(upstream)) is not None:
            yield from _authorities(f"upstreams.{name}.tls.ca", folder / ca)


def files(settings: Settings, folder: Path) -> Iterator[Path]:
    """What takes part in the configuration, whether it is there or not."""
    if (tls := settings.server.tls) is not None:
        yield from (folder / name for name in (tls.certificate, tls.key) if name)
    yield from (folder / ca for upstream in settings.upstreams.values() if (ca := _ca(upstream)))


def resolved(settings: Settings, folder: Path) -> Settings:
    """The same settings with absolute paths."""
    server = settings.server
    if server.tls is not None:
        paths = {key: str((folder / getattr(server.tls, key)).absolute()) for key in ("certificate", "key")}
        server = server.model_copy(update={"tls": server.tls.model_copy(update=paths)})
    upstreams = {name: _resolved(upstream, folder) for name, upstream in settings.upstreams.items()}
    return settings.model_copy(update={"server": server, "upstreams": upstreams})


def _resolved(upstream: UpstreamConfig, folder: Path) -> UpstreamConfig:
    if upstream.tls is None or upstream.tls.ca is None:
        return upstream
    tls = upstream.tls.model_copy(update={"ca": str((folder / upstream.tls.ca).absolute())})
    return upstream.model_copy(update={"tls": tls})


def _ca(upstream: UpstreamConfig) -> str | None:
    return None if upstream.tls is None else upstream.tls.ca


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
    """Trusts the certificates in `text`, each by itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=text)
    return context


def _server(certificate: Path, key: Path) -> Iterator[Finding]:
    at, at_key = "server.tls.certificate", "server.tls.key"
    text, secret = read(at, certificate), read(at_key, key)
    for finding in (text, secret):
        if isinstance(finding, Finding):
            yield finding
    if isinstance(text, str) and not _is_certificate(text):
        yield Finding(at, "FIG122", f"{certificate} holds no certificate in PEM: it begins -----BEGIN CERTIFICATE-----")
    elif isinstance(text, str) and isinstance(secret, str):
        yield from _pair(certificate, key, text, secret)


def _pair(certificate: Path, key: Path, text: str, secret: str) -> Iterator[Finding]:
    at_key = "server.tls.key"
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
        yield from _validity(context, certificate, text)


def _validity(server: ssl.SSLContext, certificate: Path, text: str) -> Iterator[Finding]:
    code = _verify_code(server, _client(text))
    if code in (_EXPIRED, _NOT_YET_VALID):
        what = "has expired: clients refuse it, renew it" if code == _EXPIRED else "is not valid yet: check the clock"
        yield Finding("server.tls.certificate", "FIG124", f"{certificate} {what}", "warning")


def _verify_code(server: ssl.SSLContext, client: ssl.SSLContext) -> int:
    """What a client says about the server's certificate; 0 is nothing."""
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
