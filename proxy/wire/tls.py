"""The two kinds of TLS context, which one the data port has, and what a failed handshake means. Opens no connection.

TLS 1.2 or newer, HTTP/1.1 only (ALPN), ciphers as OpenSSL prefers them. Certificates of upstreams are always verified:
there is no switch. A context is never changed once a connection may have it: what is renewed gets another one.
"""

from __future__ import annotations

import ssl

from proxy.config.model import ServerTls, UpstreamTls

_ALPN = ["http/1.1"]

# X509_V_ERR_* of OpenSSL: what an operator does about each.
_CURES = {
    9: "the clock of one of the two machines is wrong",
    10: "renew it at the upstream",
    18: "name it, or the CA that issues it, in `tls.ca`",
    19: "name its CA in `tls.ca`",
    20: "name its CA in `tls.ca`",
    21: "name its CA in `tls.ca`",
    62: "write a name that it has into `tls.server_name`",
    64: "write a name that it has into `tls.server_name`",
}
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})


class TlsError(Exception):
    """Says which file or endpoint is in the way, why, and the cure. For operators, never for clients."""


def server_context(config: ServerTls) -> ssl.SSLContext:
    """For the data port. Raises TlsError."""
    context = _narrowed(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.options |= ssl.OP_NO_RENEGOTIATION  # TLS 1.2: it would cost us ten times what it costs the client
    _show(context, config.certificate, config.key)
    if config.client_ca is not None:
        try:
            context.load_verify_locations(config.client_ca)
        except (OSError, ValueError) as error:
            raise _unreadable(config.client_ca, error) from error
        context.verify_mode = ssl.CERT_OPTIONAL if config.client_auth == "optional" else ssl.CERT_REQUIRED
    return context


def client_context(config: UpstreamTls | None) -> ssl.SSLContext:
    """For connections to upstreams. Without a `ca` it trusts what the system does (read here, some 10 ms). Raises
    TlsError."""
    ca = None if config is None else config.ca
    try:
        context = _narrowed(ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca))
    except (OSError, ValueError) as error:
        raise _unreadable(ca or "the system's trust store", error) from error
    if config is not None and config.certificate is not None and config.key is not None:
        _show(context, config.certificate, config.key)
    return context


def _show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise TlsError(
            f"cannot use certificate {certificate} with key {key} ({reason}): `fig validate` says more"
        ) from error


def _unreadable(ca: str, error: Exception) -> TlsError:
    return TlsError(f"cannot read CA certificates from {ca} ({error}): `fig validate` says more")


def _narrowed(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_ALPN)
    return context


def _no_passphrase() -> str:
    """Without this OpenSSL would ask the terminal."""
    raise ValueError("the key has a passphrase")


class PortTls:
    """The context for new connections to the data port, by the configuration that it was made from. Connections keep
    the one that they began with.

    prepare(config)   reads the files    raises TlsError, and changes nothing
    adopt(config)     `config` is in force from now on
    """

    def __init__(self, config: ServerTls | None) -> None:
        """Raises TlsError."""
        self._config = config
        self._prepared: tuple[ServerTls, ssl.SSLContext] | None = None
        self.context = None if config is None else server_context(config)

    def prepare(self, config: ServerTls | None) -> None:
        """Of a configuration that may be in force soon. May run in a thread of its own."""
        if config is not None and config != self._config:
            self._prepared = (config, server_context(config))

    def adopt(self, config: ServerTls) -> bool:
        """Whether another context is in force now. Cheap where nothing changed."""
        if config is self._config or self._prepared is None or config != self._prepared[0]:
            return False
        self._config, self.context = self._prepared
        self._prepared = None
        return True


def failed_handshake(error: OSError, endpoint: str) -> TlsError:
    """Why a handshake with an upstream failed, in words for the log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        cure = _CURES.get(error.verify_code)
        return TlsError(f"{endpoint}: its certificate is refused, {error.verify_message}{f': {cure}' if cure else ''}")
    if isinstance(error, ssl.SSLError):
        if error.reason in _NO_TLS:
            return TlsError(f"{endpoint}: it does not answer in TLS: write http:// if it speaks clear text")
        return TlsError(f"{endpoint}: the TLS handshake failed ({error.reason or error}): look at its own log")
    return TlsError(f"{endpoint}: it closed the connection during the TLS handshake: look at its own log")
