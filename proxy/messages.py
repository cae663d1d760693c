"""HTTP words that cross module borders: request head, response head, principal. No behaviour beyond looking a field up.

Bytes as they were on the wire; header lists stay lists of pairs, in order, names in the sender's own letter case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Principal:
    """As whom a request came in. Knows no token: whoever verified it made this.

    `subject` is the verified `sub`, empty for an API key: a key called like a user must not become that user. It has no
    control characters and no white space around it, so that a header field carries it unchanged (in UTF-8). `scopes`
    are in the order of the token, each once. One of `issuer` and `api_key` is a name of the configuration, or `session`
    is true; the others are empty. `expires_s` is `exp` without leeway, seconds since 1970 (UTC); None: never. `claims`
    has, as text, those scalar claims that selectors read.
    """

    subject: str
    scopes: tuple[str, ...] = ()
    issuer: str = ""
    api_key: str = ""
    expires_s: float | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    session: bool = False

    def claim(self, name: str) -> str:
        """As selectors read it; empty where it is not there."""
        return self.subject if name == "sub" else self.claims.get(name, "")


@dataclass(slots=True, init=False)
class RequestHead:
    """A request head that the edge has found well-formed.

    `target` is origin-form (`/path?query`) or `*`; `host` is the validated authority, lower case, with the port as
    received; `fields` maps lower-case names to values, several lines joined by `, ` (RFC 9110 5.3; Cookie by `; `).
    `length` is the announced body length in bytes, None for chunked; 0 means no body. `http10` is an HTTP/1.0 client.
    `upgrade` is the lower-case Upgrade field where the client may switch protocols on this request, else empty.
    `principal` is whoever the credential speaks for, once that has been verified.
    """

    method: str
    target: bytes
    host: bytes
    headers: Headers
    fields: dict[bytes, bytes]
    length: int | None
    http10: bool
    peer: str
    scheme: str
    upgrade: bytes
    principal: Principal | None

    # Written out, in ResponseHead and Exchange too: there is one a request, and a compiled build compiles this, while a
    # generated constructor stays plain Python (0.4 µs each).
    def __init__(
        self,
        method: str,
        target: bytes,
        host: bytes,
        headers: Headers,
        fields: dict[bytes, bytes],
        length: int | None,
        http10: bool,
        peer: str,
        scheme: str,
        upgrade: bytes = b"",
    ) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.headers = headers
        self.fields = fields
        self.length = length
        self.http10 = http10
        self.peer = peer
        self.scheme = scheme
        self.upgrade = upgrade
        self.principal = None

    @property
    def has_body(self) -> bool:
        return self.length != 0

    @property
    def expects_continue(self) -> bool:
        """The client holds its body back until it is told to go on (RFC 9110 10.1.1)."""
        return self.length != 0 and not self.http10 and self.fields.get(b"expect", b"").lower() == b"100-continue"

    @property
    def takes_trailers(self) -> bool:
        """The client has said that it reads trailers (RFC 9110 10.1.4)."""
        te = self.fields.get(b"te")
        return te is not None and not self.http10 and b"trailers" in te.lower().replace(b" ", b"").split(b",")


@dataclass(slots=True, init=False)
class ResponseHead:
    """A response head as an upstream sent it, without what concerned that connection only.

    `headers` are the lines that may go on; framing and hop-by-hop fields are gone. `length` is Content-Length as
    announced (also where no body follows), None for chunked or until close. `dated` and `located` say whether a Date,
    and a Location or Set-Cookie, is among the lines.
    """

    status: int
    reason: bytes
    headers: Headers
    length: int | None
    dated: bool
    located: bool

    def __init__(
        self, status: int, reason: bytes, headers: Headers, length: int | None, dated: bool, located: bool
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.length = length
        self.dated = dated
        self.located = located
