"""The shape of a configuration: names, types, ranges, defaults. Knows no YAML, no file and no other key's value.

What a value means beside other values is judged in `validate`. Lengths of time are seconds, sizes are bytes.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["legacy", "shadow", "canary", "extracted", "retired"]
AccessLogFormat = Literal["json", "combined", "off"]

Seconds = Annotated[float, Field(gt=0)]
Span = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", re.ASCII)


def split_address(text: str) -> tuple[str, int]:
    """`HOST:PORT` as (host without brackets, port 0-65535). Raises ValueError for anything else."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise ValueError(f"not HOST:PORT: {text!r}")
    return match[1].strip("[]"), int(match[2])


def split_endpoint(url: str) -> tuple[str, int]:
    """`http://HOST:PORT` or `https://HOST:PORT` as (host without brackets, port 1-65535). Raises ValueError for
    anything else."""
    scheme, _, authority = url.partition("://")
    if scheme.lower() not in ("http", "https"):
        raise ValueError(f"not http://HOST:PORT or https://HOST:PORT: {url!r}")
    host, port = split_address(authority)
    if port == 0:
        raise ValueError(f"port 0 cannot be connected to: {url!r}")
    host.encode("idna")  # as the resolver does: an empty or overlong label is a ValueError there too
    return host, port


def is_https(url: str) -> bool:
    return url[:8].lower() == "https://"


class Model(BaseModel):
    """Frozen, and closed: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Limits(Model):
    max_head_bytes: int = Field(
        default=65536, ge=1024, description="Longest request head in bytes; longer ones get 431 or 414"
    )
    max_headers: Count = Field(default=100, description="Most header lines in a request; more get 431")
    max_body_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Longest request body in bytes, longer ones get 413; null is no limit",
        examples=[10485760],
    )
    max_connections: Count = Field(default=20000, description="Most client connections held at once")


class ServerTimeouts(Model):
    head_s: Seconds = Field(
        default=10, description="Seconds in which a request head must be complete, from its first wait"
    )
    body_s: Seconds = Field(
        default=30, description="In each such span of seconds at least 1 KiB of a request body must arrive"
    )
    write_s: Seconds = Field(default=30, description="Seconds for which a client may accept no byte of its response")
    keepalive_s: Seconds = Field(default=75, description="Seconds for which an idle client connection is kept open")
    tunnel_idle_s: Seconds = Field(
        default=300, description="Seconds without a byte either way after which a WebSocket or other tunnel is closed"
    )
    tunnel_max_s: Seconds | None = Field(
        default=None, description="Longest life of a tunnel in seconds; null is no limit", examples=[86400]
    )


class Drain(Model):
    delay_s: Span = Field(default=0, description="Seconds between the stop signal and the end of accepting connections")
    timeout_s: Span = Field(default=30, description="Seconds that requests in flight get to finish")


class ServerTls(Model):
    certificate: str = Field(
        description="PEM file of the certificate and its chain, from this file's folder", examples=["cert.pem"]
    )
    key: str = Field(description="PEM file of its private key, without a passphrase", examples=["key.pem"])


class Server(Model):
    listen: str = Field(default="127.0.0.1:8080", description="HOST:PORT of the data port", examples=["0.0.0.0:8080"])
    tls: ServerTls | None = Field(
        default=None,
        description="HTTPS on the data port; without it clear text",
        examples=[{"certificate": "cert.pem", "key": "key.pem"}],
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(),
        description="Networks whose Forwarded and X-Forwarded-* headers are believed",
        examples=[["10.0.0.0/8"]],
    )
    limits: Limits = Field(default=Limits(), description="What a request may weigh at most")
    timeouts: ServerTimeouts = Field(default=ServerTimeouts(), description="How long a client may take")
    upgrades: tuple[str, ...] = Field(
        default=("websocket",),
        description="Protocols that a client may switch to by Upgrade; others are dropped",
        examples=[["websocket"]],
    )
    drain: Drain = Field(default=Drain(), description="How the data port stops")
    debug_headers: bool = Field(
        default=False, description="Answer with X-Fig-Seam, X-Fig-Side, X-Fig-Reason, Server-Timing"
    )

    @property
    def address(self) -> tuple[str, int]:
        """(host without brackets, port). Raises ValueError where `listen` is not HOST:PORT."""
        return split_address(self.listen)


class Admin(Model):
    listen: str = Field(
        default="127.0.0.1:9901", description="HOST:PORT of the admin port", examples=["127.0.0.1:9901"]
    )
    token: str = Field(
        default="",
        repr=False,
        description="Bearer token of the admin port; empty is no token, legal on a loopback address only",
        examples=["${FIG_ADMIN_TOKEN:-}"],
    )

    @property
    def address(self) -> tuple[str, int]:
        """(host without brackets, port). Raises ValueError where `listen` is not HOST:PORT."""
        return split_address(self.listen)


class Telemetry(Model):
    access_log: AccessLogFormat = Field(
        default="json", description="Format of the access log on stdout", examples=["combined"]
    )


class UpstreamTimeouts(Model):
    connect_s: Seconds = Field(default=1, description="Seconds to a connection, a TLS handshake included")
    response_s: Seconds = Field(
        default=30, description="Seconds from the last request byte sent to the response head, each attempt"
    )
    body_s: Seconds = Field(default=30, description="Longest gap in seconds without a byte of the response body")


class UpstreamTls(Model):
    ca: str | None = Field(
        default=None,
        description="PEM file of the CA certificates to trust, from this file's folder; null is the system's store",
        examples=["ca.pem"],
    )
    server_name: str | None = Field(
        default=None,
        description="Name or IP address that the certificate must have; null is the endpoint's host",
        examples=["catalog.internal"],
    )


class UpstreamConfig(Model):
    endpoints: tuple[str, ...] = Field(
        min_length=1,
        description="Where it listens: http://HOST:PORT, or https:// for all of them; at least one",
        examples=[["http://127.0.0.1:8101"]],
    )
    host: str = Field(
        default="preserve",
        description="Host header sent: preserve (the client's), endpoint (the endpoint's authority), or a name",
        examples=["preserve", "endpoint", "catalog.internal"],
    )
    timeouts: UpstreamTimeouts = Field(default=UpstreamTimeouts(), description="How long this upstream may take")
    tls: UpstreamTls | None = Field(
        default=None, description="How the certificate of https:// endpoints is verified", examples=[{"ca": "ca.pem"}]
    )

    @property
    def secure(self) -> bool:
        """Whether its endpoints are https; validation holds them all to one scheme."""
        return is_https(self.endpoints[0])


class Policy(Model):
    max_active_seams: Count | None = Field(
        default=None, description="Most seams in stage canary at once; null is no limit", examples=[2]
    )


class Rewrite(Model):
    strip_prefix: str = Field(
        default="", description="Removed from the start of the path, at a segment border only", examples=["/api"]
    )
    add_prefix: str = Field(default="", description="Put before the path", examples=["/v2"])


class Force(Model):
    header: str = Field(description="Header whose value legacy or extracted picks the side", examples=["x-fig-force"])
    allow_from: tuple[str, ...] = Field(
        min_length=1, description="Networks of clients that may use it", examples=[["127.0.0.0/8"]]
    )


class RouteConfig(Model):
    path: str = Field(
        description="Path pattern: literal segments, {name} or * for one segment, ** at the end for the rest",
        examples=["/api/products/{id}", "/api/cart/**"],
    )
    methods: tuple[str, ...] = Field(
        default=(), description="Methods that match; empty is any", examples=[["GET", "HEAD"]]
    )
    headers: dict[str, str] = Field(
        default={}, description="Headers and their exact values", examples=[{"x-api-version": "2"}]
    )
    query: dict[str, str] = Field(
        default={}, description="Query keys and the exact first value", examples=[{"mode": "full"}]
    )
    host: str | None = Field(default=None, description="Host without port, exact", examples=["shop.example"])
    params: dict[str, str] = Field(
        default={}, description="Regular expressions that whole {name} segments must match", examples=[{"id": "[0-9]+"}]
    )
    rewrite: Rewrite | None = Field(default=None, description="Replaces the seam's rewrite for this route")
    max_body_bytes: int | None = Field(
        default=None, ge=0, description="Longest request body in bytes on this route; null is the server's limit"
    )


class SeamConfig(Model):
    owner: str | None = Field(default=None, description="Who answers for it", examples=["team-catalog"])
    routes: tuple[RouteConfig, ...] = Field(
        min_length=1, description="Which requests belong to it", examples=[[{"path": "/api/products/**"}]]
    )
    legacy: str | None = Field(
        default=None,
        description="Upstream of the legacy side; without it the value of `default`",
        examples=["monolith"],
    )
    extracted: str | None = Field(
        default=None, description="Upstream of the extracted side; a seam without it stays legacy", examples=["catalog"]
    )
    rewrite: Rewrite | None = Field(default=None, description="Path change on the extracted side only")
    stage: Stage | None = Field(default=None, description="How far it is cut out; without stage and percent: legacy")
    percent: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Share of the extracted side, 0-100, two decimals; only with stage canary, which it implies",
        examples=[10],
    )
    sticky_by: tuple[str, ...] = Field(
        default=(),
        description="Whose value keeps a client on its side; the first that is present counts",
        examples=[["header.x-user-id", "cookie.SHOPSESSID", "client_ip"]],
    )
    bucket_group: str | None = Field(
        default=None, description="Seams of one group put a client into the same bucket (48 bytes)", examples=["shop"]
    )
    requires: tuple[str, ...] = Field(
        default=(), description="Seams that must be extracted before this one may pass shadow", examples=[["inventory"]]
    )
    force: Force | None = Field(
        default=None, description="Lets chosen clients pick the side by a header; off unless given"
    )
    deadline_s: Seconds = Field(
        default=60, description="Seconds from request complete to final response head, over all attempts"
    )

    @property
    def declared_stage(self) -> Stage:
        """The stage that the file asks for; what the store adds is not known here."""
        if self.stage is not None:
            return self.stage
        return "legacy" if self.percent is None else "canary"

    @property
    def declared_percent(self) -> float:
        """The extracted side's share (0-100) that the file asks for."""
        match self.declared_stage:
            case "legacy" | "shadow":
                return 0.0
            case "canary":
                return self.percent or 0.0
            case _:
                return 100.0


class Settings(Model):
    """A whole configuration. As `load` returns it, every seam's `legacy` is a name, `store` is
    `memory:` or `sqlite:` with an absolute path, and paths of certificates are absolute."""

    version: Literal[1] = Field(description="Version of this file format", examples=[1])
    include: tuple[str, ...] = Field(
        default=(), description="More files with `seams` and `upstreams`, as glob patterns", examples=[["seams/*.yaml"]]
    )
    server: Server = Field(default=Server(), description="The data port")
    admin: Admin = Field(default=Admin(), description="The admin port")
    store: str = Field(
        default="sqlite:var/fig.db",
        description="What survives a restart: sqlite:PATH (from this file's folder) or memory",
        examples=["sqlite:var/fig.db", "memory"],
    )
    telemetry: Telemetry = Field(default=Telemetry(), description="What is written about requests")
    upstreams: dict[str, UpstreamConfig] = Field(default={}, description="Named places that requests go to")
    default: str | None = Field(
        default=None,
        description="Upstream of what no seam claims; without it such a request gets 404",
        examples=["monolith"],
    )
    policy: Policy = Field(default=Policy(), description="Rules over all seams")
    seams: dict[str, SeamConfig] = Field(default={}, description="Capabilities that can be moved, by name")
