"""The two kinds of TLS context, and what a failed handshake means. Opens no connection.

TLS 1.2 or newer, HTTP/1.1 only (ALPN), ciphers as OpenSSL prefers them. Certificates of upstreams are always verified:
there is no switch.
"""

from __future__ import annotations

import ssl
from pathlib import Path

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


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For the data port; both are PEM files, the certificate with its chain. Raises TlsError."""
    context = _narrowed(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.options |= ssl.OP_NO_RENEGOTIATION  # TLS 1.2: it would cost us ten times what it costs the client
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise TlsError(
            f"cannot use certificate {certificate} with key {key} ({reason}): `fig validate` says more"
        ) from error
    return context


def client_context(ca: Path | None) -> ssl.SSLContext:
    """For connections to upstreams whose certificates come from a CA in the PEM file `ca`, or without one in the
    system's trust store (read here, some 10 ms). Raises TlsError."""
    try:
        return _narrowed(ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca))
    except (OSError, ValueError) as error:
        raise TlsError(f"cannot read CA certificates from {ca} ({error}): `fig validate` says more") from error


def _narrowed(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_ALPN)
    return context


def _no_passphrase() -> str:
    """Without this OpenSSL would ask the terminal."""
    raise ValueError("the key has a passphrase")


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
