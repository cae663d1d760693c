"""The shape of a configuration: names, types, ranges, defaults. Knows no YAML, no file and no other key's value.

What a value means beside other values is judged in `validate`. Lengths of time are seconds, sizes are bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    WithJsonSchema,
)

from proxy.config.compare_keys import COMPARE_KEYS, COMPARE_SCHEMA

Stage = Literal["legacy", "shadow", "canary", "extracted", "retired"]
AccessLogFormat = Literal["json", "combined", "off"]

Seconds = Annotated[float, Field(gt=0)]
Span = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Ratio = Annotated[float, Field(gt=0, le=1)]
ServerError = Annotated[int, Field(ge=500, le=599)]
Refusal = Annotated[int, Field(ge=400, le=599)]
RetryOn = Literal["connect", "reset"]
FallbackWord = Literal["legacy", "none"]
CredentialsWord = Literal["pass", "drop"]
WritesLevel = Literal["read_posts"]
Percent = Annotated[float, Field(ge=0, le=100)]
Rate = Annotated[float, Field(gt=0)]
Mode = Literal["enforce", "observe"]
OnLimitsError = Literal["allow", "deny", "local"]

MAX_WINDOW_S = 31 * 86400
"""Longest window of a rate limit, and longest time in which its burst must be back: stores keep no state beyond it."""

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

    def chosen(self, *keys: str) -> Iterator[str]:
        """Those of the keys whose value is not the default: that a key was written cannot be told from the model, and
        what `GET /api/config` shows has every key and must load again."""
        for key in keys:
            if getattr(self, key) != type(self).model_fields[key].default:
                yield key


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


class PemFiles(Model):
    """Names PEM files under the keys in FILES. Once they have been read two are equal only if they hold the same, so
    that a renewed file counts as a change. What stands for the contents is no key, and is shown nowhere."""

    FILES: ClassVar[tuple[str, ...]] = ()

    _contents: bytes = PrivateAttr(default=b"")

    @property
    def files(self) -> dict[str, str]:
        """Those that are named, by key."""
        return {key: name for key in self.FILES if (name := getattr(self, key))}

    def holding(self, paths: Mapping[str, str], contents: bytes) -> Self:
        """The same with these paths, by key. `contents` differs where what the files hold does."""
        copy = self.model_copy(update=paths)
        copy._contents = contents
        return copy


class ServerTls(PemFiles):
    FILES: ClassVar[tuple[str, ...]] = ("certificate", "key", "client_ca")

    certificate: str = Field(
        description="PEM file of the certificate and its chain, from this file's folder", examples=["cert.pem"]
    )
    key: str = Field(description="PEM file of its private key, without a passphrase", examples=["key.pem"])
    client_ca: str | None = Field(
        default=None,
        description="PEM file of the CA certificates that clients' certificates must come from; null asks for none",
        examples=["clients.pem"],
    )
    client_auth: Literal["required", "optional"] | None = Field(
        default=None,
        description="required (with `client_ca` the default): no handshake without a certificate; optional: one that"
        " is shown must be good",
        examples=["required"],
    )


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


class Webhook(Model):
    url: str = Field(
        repr=False,
        description="Where each event is sent by POST, as JSON: http:// or https://",
        examples=["https://chat.example/hooks/fig"],
    )
    timeout_s: Seconds = Field(default=2, description="Seconds that one delivery may take")
    retries: int = Field(default=3, ge=0, description="Further attempts for an event that was not taken")
    max_queue: Count = Field(default=100, description="Most events that wait; more are dropped and counted")


class Telemetry(Model):
    access_log: AccessLogFormat = Field(
        default="json", description="Format of the access log on stdout", examples=["combined"]
    )
    webhook: Webhook | None = Field(
        default=None,
        description="Told of every breaker, seam and endpoint that changes its state",
        examples=[{"url": "https://chat.example/hooks/fig"}],
    )


class UpstreamTimeouts(Model):
    connect_s: Seconds = Field(default=1, description="Seconds to a connection, a TLS handshake included")
    response_s: Seconds = Field(
        default=30, description="Seconds from the last request byte sent to the response head, each attempt"
    )
    body_s: Seconds = Field(default=30, description="Longest gap in seconds without a byte of the response body")


class UpstreamTls(PemFiles):
    FILES: ClassVar[tuple[str, ...]] = ("ca", "certificate", "key")

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
    certificate: str | None = Field(
        default=None,
        description="PEM file of the certificate and its chain that fig shows where it is asked for one",
        examples=["fig.pem"],
    )
    key: str | None = Field(
        default=None, description="PEM file of its private key, without a passphrase", examples=["fig.key"]
    )


class Health(Model):
    path: str = Field(description="Path asked by GET; 200 to 399 is healthy", examples=["/healthz"])
    interval_s: Seconds = Field(default=5, description="Seconds between two probes of an endpoint")
    timeout_s: Seconds = Field(default=1, description="Seconds that a probe may take")
    unhealthy_after: Count = Field(default=2, description="Failed probes in a row that take an endpoint out")
    healthy_after: Count = Field(default=1, description="Good probes in a row that bring it back")


class Discovery(Model):
    registry: str | None = Field(
        default=None,
        description="Base URL of a registry that speaks Consul's HTTP API",
        examples=["http://127.0.0.1:8500"],
    )
    service: str | None = Field(default=None, description="Name of the service there", examples=["catalog"])
    token: str = Field(
        default="", repr=False, description="Sent to the registry as X-Consul-Token", examples=["${CONSUL_TOKEN:-}"]
    )
    dns: str | None = Field(
        default=None,
        description="http://HOST:PORT or https://HOST:PORT: each A and AAAA record of HOST is an endpoint",
        examples=["http://catalog.internal:8101"],
    )
    scheme: Literal["http", "https"] = Field(default="http", description="How endpoints from a registry are spoken to")
    refresh_s: Seconds = Field(
        default=30, description="Longest time in seconds until it is asked again, also where a TTL is longer"
    )

    @property
    def source(self) -> str:
        """Whom the endpoints come from, as people read it; equal for equal sources. Without the token."""
        if self.dns is not None:
            return f"dns {self.dns}"
        return f"registry {self.registry} {self.service} {self.scheme}"


def _endpoints_kind(value: Any) -> str:
    return DISCOVERY if isinstance(value, (dict, Discovery)) else LISTED


# Tags stand in the place of an error too; `shape` takes them out there.
LISTED, DISCOVERY = "(list)", "(discovery)"
WORD, VALUES = "(word)", "(values)"


class UpstreamConfig(Model):
    endpoints: Annotated[
        Annotated[tuple[str, ...], Field(min_length=1), Tag(LISTED)] | Annotated[Discovery, Tag(DISCOVERY)],
        Discriminator(_endpoints_kind),
    ] = Field(
        description="Where it listens: a list of http://HOST:PORT, or https:// for all of them; or {registry, service}"
        " or {dns} to be told",
        examples=[["http://127.0.0.1:8101"]],
    )
    host: str = Field(
        default="preserve",
        description="Host header sent: preserve (the client's), endpoint (the endpoint's authority), or a name",
        examples=["preserve", "endpoint", "catalog.internal"],
    )
    timeouts: UpstreamTimeouts = Field(default=UpstreamTimeouts(), description="How long this upstream may take")
    max_in_flight: Count | None = Field(
        default=None,
        description="Bulkhead: most requests at once, bodies and tunnels included; null is no limit",
        examples=[20],
    )
    max_queue: int | None = Field(
        default=None,
        ge=0,
        description="Most requests that wait for a place, first come first served; null is as many as `max_in_flight`",
        examples=[20],
    )
    queue_s: Seconds = Field(default=0.1, description="Longest wait for a place in seconds, then 503")
    health: Health | None = Field(
        default=None, description="Active probes of each endpoint; without it none", examples=[{"path": "/healthz"}]
    )
    tls: UpstreamTls | None = Field(
        default=None,
        description="Certificates of https:// endpoints, and fig's own for them",
        examples=[{"ca": "ca.pem"}],
    )

    @property
    def listed(self) -> tuple[str, ...]:
        """The endpoints that the file names itself; none where it names who knows them."""
        return () if isinstance(self.endpoints, Discovery) else self.endpoints

    @property
    def discovery(self) -> Discovery | None:
        return self.endpoints if isinstance(self.endpoints, Discovery) else None

    @property
    def secure(self) -> bool:
        """Whether its endpoints are https; validation holds them all to one scheme."""
        if not isinstance(self.endpoints, Discovery):
            return is_https(self.endpoints[0])
        return is_https(self.endpoints.dns) if self.endpoints.dns is not None else self.endpoints.scheme == "https"


class Policy(Model):
    max_active_seams: Count | None = Field(
        default=None, description="Most seams in stage canary at once; null is no limit", examples=[2]
    )


class Rewrite(Model):
    strip_prefix: str = Field(
        default="", description="Removed from the start of the path, at a segment border only", examples=["/api"]
    )
    add_prefix: str = Field(default="", description="Put before the path", examples=["/v2"])


class Breaker(Model):
    enabled: bool = Field(default=True, description="false: this side has no breaker")
    failures: Count | None = Field(
        default=5, description="Failures within the window that open it; null: only the ratio counts"
    )
    window_s: Annotated[float, Field(ge=0.1)] = Field(
        default=10, description="Length of the sliding window in seconds, at least 0.1"
    )
    failure_ratio: Ratio | None = Field(
        default=0.5, description="Share of failures within the window that opens it; null: only the number counts"
    )
    min_requests: Count = Field(
        default=20, description="Requests within the window below which a ratio without a number opens nothing"
    )
    slow_call_s: Seconds | None = Field(
        default=None, description="Answers whose head takes longer are slow; null: none is", examples=[1]
    )
    slow_ratio: Ratio | None = Field(
        default=None, description="Share of slow answers within the window that opens it", examples=[0.8]
    )
    open_s: Seconds = Field(default=30, description="Seconds for which it stays open before it probes")
    open_max_s: Seconds | None = Field(
        default=None,
        description="Each opening after a failed probe lasts twice as long, up to this; null: always `open_s`",
        examples=[300],
    )
    half_open_requests: Count = Field(default=1, description="Probes that must all succeed to close it")
    status: tuple[ServerError, ...] = Field(
        default=(),
        description="Answers of the upstream that count as failures; empty is every 5xx",
        examples=[[500, 502, 503, 504]],
    )


class Retry(Model):
    retries: Annotated[int, Field(ge=0, le=10)] = Field(default=1, description="Further attempts at most")
    on: tuple[RetryOn, ...] = Field(
        default=("connect", "reset"),
        description="connect: any method; reset before a byte of the answer: idempotent methods only",
        examples=[["connect", "reset"]],
    )
    status: tuple[Refusal, ...] = Field(
        default=(),
        description="Answers that are asked for again, idempotent methods only; Retry-After is honoured",
        examples=[[503]],
    )
    retry_after_max_s: Seconds = Field(
        default=1, description="Longest Retry-After in seconds that is waited for; a longer one ends the attempts"
    )
    idempotent_header: str | None = Field(
        default=None,
        description="A request of any method that carries this header may be repeated",
        examples=["idempotency-key"],
    )
    budget_percent: Percent = Field(
        default=20, description="Further attempts per hundred requests of the upstream, beside three"
    )


class StaticAnswer(Model):
    status: Annotated[int, Field(ge=200, le=599)] = Field(default=200, description="Status of the answer")
    content_type: str = Field(default="application/json", description="Its Content-Type")
    body: str = Field(
        default="", description="Its body", examples=['{"status":"pending","message":"Payment queued for retry"}']
    )


class Fallback(Model):
    to: FallbackWord | None = Field(
        default=None, description="Who answers for the extracted side where that is safe; null is legacy"
    )
    static: StaticAnswer | None = Field(
        default=None, description="A fixed answer instead", examples=[{"status": 200, "body": "{}"}]
    )
    status: tuple[ServerError, ...] = Field(
        default=(500, 502, 503, 504), description="Answers of the extracted side that safe methods fall back on"
    )
    max_in_flight: Count = Field(
        default=20, description="Most requests at once that fall back; more get the failure itself"
    )


def _spelled_out(value: Any) -> Any:
    """`fallback: legacy` and `fallback: none` are short for `{to: …}`."""
    return {"to": value} if value in get_args(FallbackWord) else value


FallbackOrWord = Annotated[
    Fallback | None, BeforeValidator(_spelled_out, json_schema_input_type=FallbackWord | Fallback | None)
]


class Force(Model):
    header: str = Field(description="Header whose value legacy or extracted picks the side", examples=["x-fig-force"])
    allow_from: tuple[str, ...] = Field(
        min_length=1, description="Networks of clients that may use it", examples=[["127.0.0.0/8"]]
    )


class ShadowWrites(Model):
    level: WritesLevel = Field(
        description="read_posts: these POSTs only read, such as a search", examples=["read_posts"]
    )
    paths: tuple[str, ...] = Field(
        min_length=1,
        description="Path patterns, as those of routes, whose POSTs are sent to both sides",
        examples=[["/api/search"]],
    )
    acknowledge: bool = Field(
        default=False, description="true: it is known that both sides carry out each of these requests"
    )


class ShadowWaiver(Model):
    what: str = Field(
        description="Signature of a blocking difference, or an endpoint that need not be seen",
        examples=["GET /api/old"],
    )
    name: str = Field(description="Who answers for it", examples=["anna"])
    reason: str = Field(description="Why it does not count", examples=["no client calls it any more"])


class ShadowGate(Model):
    max_mismatch_percent: Annotated[float, Field(gt=0, le=25)] = Field(
        default=0.1, description="Tolerated mismatches per hundred requests"
    )
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.05, description="Probability of READY although there are more mismatches than tolerated"
    )
    min_duration_s: Span = Field(default=86400, description="Seconds over which comparisons must have been made")
    min_requests: Annotated[int, Field(ge=0, le=64)] = Field(
        default=30, description="Different requests that must have been compared, of each endpoint"
    )
    min_controls: Annotated[int, Field(ge=0)] = Field(
        default=50, description="How often the control of each busy endpoint must have been asked a second time"
    )
    max_uncounted_percent: Percent = Field(
        default=20, description="Samples per hundred that may be no evidence, such as those that timed out"
    )
    expires_s: Seconds = Field(default=604800, description="Seconds after the last comparison when evidence is stale")
    waive: tuple[ShadowWaiver, ...] = Field(
        default=(),
        description="What does not count, each with a name and a reason",
        examples=[[{"what": "GET /api/old", "name": "anna", "reason": "no client calls it any more"}]],
    )


def _credentials_kind(value: Any) -> str:
    return WORD if value in get_args(CredentialsWord) else VALUES


def _plain(value: Any) -> Any:
    """Sequences as lists: what a rule reads is what JSON knows."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _rules(given: dict[str, Any]) -> dict[str, Any]:
    """A rule that is null is not there."""
    return {key: _plain(rule) for key, rule in given.items() if rule is not None or key not in COMPARE_KEYS}


Compare = Annotated[dict[str, Any], AfterValidator(_rules), WithJsonSchema(COMPARE_SCHEMA)]
Credentials = Annotated[
    Annotated[CredentialsWord, Tag(WORD)] | Annotated[dict[str, str], Tag(VALUES)], Discriminator(_credentials_kind)
]


class Shadow(Model):
    """`compare` holds plain JSON values and is never changed; `proxy.shadow.rules` says what its keys mean."""

    sample_percent: Percent = Field(default=100, description="Share of clients whose requests are sampled; 0 is off")
    control_percent: Percent = Field(
        default=10, description="Share of samples for which the side that served is asked a second time, to learn noise"
    )
    methods: tuple[str, ...] = Field(
        default=("GET", "HEAD"),
        description="Methods that are sampled, of GET, HEAD and OPTIONS; others only by `writes`",
        examples=[["GET", "HEAD"]],
    )
    timeout_s: Seconds = Field(default=3, description="Seconds that a shadow call may take, its body included")
    max_in_flight: Count = Field(default=16, description="Most shadow calls at once")
    max_queue: Count = Field(default=100, description="Most samples that wait; more are dropped and counted")
    max_per_s: Rate | None = Field(
        default=50,
        description="Most samples a second; four seconds' worth at once, if max_queue takes it; null is no limit",
    )
    credentials: Credentials = Field(
        default="pass",
        repr=False,
        description="What of authorization, cookie, proxy-authorization and x-api-key a shadow call carries:"
        " pass (the client's), drop, or headers with values of its own",
        examples=["pass", "drop", {"authorization": "Bearer ${SHADOW_TOKEN}"}],
    )
    writes: ShadowWrites | None = Field(
        default=None,
        description="Requests of other methods that are sampled too; without it none",
        examples=[{"level": "read_posts", "paths": ["/api/search"], "acknowledge": True}],
    )
    compare: Compare = Field(
        default={},
        description="What may differ between the two answers",
        examples=[{"ignore": ["$.request_id"], "unordered": {"$.tags": True}}],
    )
    store_values: tuple[str, ...] = Field(
        default=(),
        description="Paths whose values exemplars show; of all others only shape and keyed hash are kept",
        examples=[["$.items[*].price"]],
    )
    version_header: str | None = Field(
        default=None,
        description="Response header that names the version of a side; another version starts the evidence anew",
        examples=["x-service-version"],
    )
    epoch: str = Field(
        default="", description="Any text; a change of it starts the evidence anew", examples=["after the price fix"]
    )
    gate: ShadowGate = Field(default=ShadowGate(), description="When the evidence says READY")


# The door: who may come in, how often, and from where


def _listed(value: Any) -> Any:
    """One text is short for a list of it."""
    return (value,) if isinstance(value, str) else value


OneOrMore = Annotated[
    Annotated[tuple[str, ...], Field(min_length=1)],
    BeforeValidator(_listed, json_schema_input_type=str | Annotated[tuple[str, ...], Field(min_length=1)]),
]


class Issuer(Model):
    """Its keys come from exactly one of `jwks_url`, `jwks_file` and `key_file`; of HMAC from `jwks_file` only."""

    issuer: str = Field(description="Value of `iss` in its tokens, exact", examples=["https://id.shop.example"])
    audience: OneOrMore = Field(
        description="One of these values must stand in `aud`: a text, or a list", examples=["shop"]
    )
    jwks_url: str | None = Field(
        default=None,
        description="Where its keys are published, https://; http:// on a loopback address only",
        examples=["https://id.shop.example/jwks.json"],
    )
    jwks_file: str | None = Field(
        default=None, description="JSON file of a key set (RFC 7517), from this file's folder", examples=["keys.json"]
    )
    key_file: str | None = Field(
        default=None, description="PEM file of its one public key, from this file's folder", examples=["issuer.pem"]
    )
    algorithms: tuple[str, ...] = Field(
        default=("RS256", "ES256"),
        min_length=1,
        description="Signature algorithms that are accepted: HMAC, or those of public keys, never both",
        examples=[["RS256", "ES256"]],
    )
    leeway_s: Annotated[float, Field(ge=0, le=300)] = Field(
        default=30, description="Seconds that `exp` and `nbf` may be off, 0 to 300"
    )
    refresh_s: Seconds = Field(
        default=300, description="Seconds after which keys are fetched again: the longest life of a withdrawn key"
    )
    timeout_s: Seconds = Field(default=2, description="Seconds that one fetch may take; at most `refresh_s`")
    cooldown_s: Seconds = Field(
        default=10, description="Seconds between two fetches for keys that are not known; at most `refresh_s`"
    )
    stale_s: Span = Field(
        default=3600, description="Seconds for which old keys are used beyond `refresh_s` while fetches fail"
    )
    scope_claim: str = Field(
        default="scope",
        description="Claim that holds the scopes, as a text with spaces between or as a list",
        examples=["scp"],
    )


class IdentityToken(Model):
    """A JWT (ES256) that fig signs itself: whoever stands behind it needs to know no issuer but fig."""

    issuer: str = Field(description="Its `iss`", examples=["https://gateway.shop.example"])
    audience: str = Field(description="Its `aud`", examples=["shop-internal"])
    header: str = Field(default="x-fig-identity", description="Header that carries it to upstreams")
    ttl_s: Annotated[float, Field(ge=5, le=3600)] = Field(
        default=60, description="Seconds that it is good for, 5 to 3600; never longer than what it was made of"
    )
    key_files: tuple[str, ...] = Field(
        default=(),
        description="PEM files of its private keys (EC P-256), from this file's folder: the first signs, all are"
        " published; without one a key is made that lives as long as the process",
        examples=[["identity.pem"]],
    )
    public_path: str | None = Field(
        default=None,
        description="Path of the data port where its public keys can be had by GET too, beside the admin port",
        examples=["/.well-known/fig-jwks.json"],
    )


class Identity(Model):
    """Headers that fig sets for upstreams. Whatever a client sends under these names is stripped."""

    subject: str | None = Field(
        default=None, description="Header with the verified subject; without it none", examples=["x-user-id"]
    )
    scopes: str | None = Field(
        default=None,
        description="Header with the verified scopes, spaces between them; without it none",
        examples=["x-user-scopes"],
    )
    token: IdentityToken | None = Field(
        default=None,
        description="The same as a short-lived token of fig's own; without it none",
        examples=[{"issuer": "https://gateway.shop.example", "audience": "shop-internal"}],
    )

    @property
    def headers(self) -> tuple[str, ...]:
        """Names that no client may use."""
        token = None if self.token is None else self.token.header
        return tuple(name for name in (self.subject, self.scopes, token) if name is not None)


class Limit(Model):
    """In t seconds at most `capacity` + floor(t * `requests` / `window_s`) pass."""

    name: str = Field(description="What it is called in headers and metrics", examples=["per-user"])
    requests: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        description="Requests that come free in each `window_s`; 0 blocks everything", examples=[100]
    )
    window_s: Annotated[float, Field(gt=0, le=MAX_WINDOW_S)] = Field(
        description="Length of the window in seconds, at most 31 days", examples=[60]
    )
    burst: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = Field(
        default=None, description="Requests that may come at once; null is as many as `requests`", examples=[100]
    )
    mode: Mode = Field(default="enforce", description="observe: count what would be refused, and refuse nothing")

    @property
    def capacity(self) -> int:
        """Requests that may come at once."""
        return self.requests if self.burst is None else self.burst


class RateLimit(Limit):
    by: str = Field(
        default="client_ip",
        description="Whose requests are counted together: jwt.CLAIM, api_key, header.NAME, cookie.NAME, path.NAME,"
        " client_ip, or route for everybody's",
        examples=["jwt.sub", "client_ip"],
    )


class ApiKey(Model):
    sha256: str = Field(
        repr=False,
        description="SHA-256 of the key, 64 hex digits, as `fig key new` prints it",
        examples=["${file:/run/secrets/partner_a.sha256}"],
    )
    scopes: tuple[str, ...] = Field(default=(), description="Scopes that it has", examples=[["catalog:read"]])
    rate_limit: tuple[Limit, ...] = Field(
        default=(),
        description="Limits of this key over all seams, beside theirs",
        examples=[[{"name": "daily", "requests": 10000, "window_s": 86400}]],
    )

    @property
    def digest(self) -> bytes:
        """The hash, 32 bytes. Raises ValueError where it is none, which validation refuses."""
        return bytes.fromhex(self.sha256)


class ApiKeys(Model):
    header: str = Field(default="x-api-key", description="Header that carries a key", examples=["x-api-key"])
    keys: dict[str, ApiKey] = Field(
        default={},
        description="Keys by the name of whoever has them",
        examples=[{"partner-a": {"sha256": "${file:/run/secrets/partner_a.sha256}"}}],
    )


class Session(Model):
    """Sessions of the monolith that count as credentials: fig asks there whose one is, by POST of `{"sid": …}`, and is
    answered as in RFC 7662 2.2: `{"active": true, "sub": …, "scope": …, "exp": …}`."""

    cookie: str = Field(description="Cookie that holds the session's id", examples=["SHOPSESSID"])
    upstream: str = Field(description="Upstream that knows the sessions", examples=["monolith"])
    path: str = Field(
        default="/internal/session/introspect", description="Where it is asked", examples=["/internal/session"]
    )
    token: str = Field(
        default="",
        repr=False,
        description="Bearer token that fig shows there; empty is none",
        examples=["${SHOP_INTROSPECTION_TOKEN:-}"],
    )
    cache_s: Span = Field(
        default=30, description="Seconds for which an answer is used: the longest life of a session after its logout"
    )
    timeout_s: Seconds = Field(default=2, description="Seconds that one question may take")


class Auth(Model):
    issuers: dict[str, Issuer] = Field(default={}, description="Who may issue tokens (JWT), by name")
    identity: Identity = Field(default=Identity(), description="What upstreams are told of who comes")
    api_keys: ApiKeys = Field(default=ApiKeys(), description="Keys that are let in without a token")
    session: Session | None = Field(
        default=None,
        description="Sessions of the monolith that are let in without a token; without it none",
        examples=[{"cookie": "SHOPSESSID", "upstream": "monolith"}],
    )


class RateLimits(Model):
    store: str = Field(
        default="memory",
        repr=False,
        description="Where buckets are kept: memory, each process its own; or redis://… for all of them together",
        examples=["memory", "redis://:${file:/run/secrets/redis}@10.0.0.9:6379/0"],
    )
    timeout_s: Seconds = Field(default=0.05, description="Longest time in seconds that a request waits for Redis")
    on_error: OnLimitsError = Field(
        default="local",
        description="While Redis fails: allow everything, deny everything, or local: each process applies the whole"
        " limit by itself",
    )

    @property
    def redis_url(self) -> str | None:
        """None where the store is memory. It may hold a password."""
        return self.store if self.store.startswith(("redis://", "rediss://")) else None


class AuthRule(Model):
    """Where it stands, nobody comes in without a token of one of `issuers`, one of `api_keys`, or a session."""

    issuers: tuple[str, ...] = Field(default=(), description="Issuers whose tokens are taken", examples=[["shop"]])
    api_keys: tuple[str, ...] = Field(default=(), description="API keys that are taken", examples=[["partner-a"]])
    session: bool = Field(default=False, description="Whether a session of `auth.session` is taken")
    all_scopes: tuple[str, ...] = Field(
        default=(), description="Scopes that are all needed, else 403", examples=[["catalog:read"]]
    )
    any_scope: tuple[str, ...] = Field(
        default=(),
        description="Scopes of which one is needed, else 403; empty: none is",
        examples=[["catalog:write", "admin"]],
    )
    mode: Mode = Field(default="enforce", description="observe: count who would be refused, and refuse nobody")


class Cors(Model):
    """Answered at the gateway (Fetch, 3.2)."""

    allow_origins: tuple[str, ...] = Field(
        min_length=1,
        description="Origins whose pages may read the answers, exact; or * for all",
        examples=[["https://shop.example"]],
    )
    allow_methods: tuple[str, ...] = Field(
        default=("GET", "HEAD", "POST"),
        description="Methods that they may use; or *",
        examples=[["GET", "POST", "DELETE"]],
    )
    allow_headers: tuple[str, ...] = Field(
        default=(),
        description="Request headers that they may set beside the safe ones; or *, which leaves authorization out",
        examples=[["authorization", "content-type"]],
    )
    expose_headers: tuple[str, ...] = Field(
        default=(),
        description="Response headers that they may read beside the safe ones; or *",
        examples=[["x-total-count"]],
    )
    allow_credentials: bool = Field(default=False, description="Whether cookies and credentials may go along")
    max_age_s: Annotated[int, Field(ge=0, le=86400)] = Field(
        default=600, description="Seconds for which a browser may remember the answer to its preflight"
    )


class Access(Model):
    """`deny` wins over `allow`."""

    allow: tuple[str, ...] = Field(
        default=(), description="Networks of clients that may come in; empty is all", examples=[["10.0.0.0/8"]]
    )
    deny: tuple[str, ...] = Field(
        default=(), description="Networks of clients that may not", examples=[["10.66.0.0/16"]]
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
    breaker: Breaker | None = Field(
        default=None, description="A breaker of this route's own in place of the seam's", examples=[{"failures": 3}]
    )
    retry: Retry | None = Field(
        default=None, description="Replaces the seam's retry for this route", examples=[{"retries": 0}]
    )
    fallback: FallbackOrWord = Field(
        default=None, description="Replaces the seam's fallback for this route", examples=["none"]
    )
    max_body_bytes: int | None = Field(
        default=None, ge=0, description="Longest request body in bytes on this route; null is the server's limit"
    )
    auth: AuthRule | None = Field(
        default=None, description="Replaces the seam's auth for this route", examples=[{"issuers": ["shop"]}]
    )
    rate_limit: tuple[RateLimit, ...] | None = Field(
        default=None,
        description="Replaces the seam's limits for this route, which has buckets of its own then; [] is no limit",
        examples=[[{"name": "search", "requests": 10, "window_s": 1}]],
    )
    access: Access | None = Field(
        default=None, description="Replaces the seam's access for this route", examples=[{"allow": ["10.0.0.0/8"]}]
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
    fallback: FallbackOrWord = Field(
        default=None,
        description="Who answers when the extracted side cannot; without it legacy, in stage retired nobody",
        examples=["legacy", "none", {"to": "legacy", "max_in_flight": 20}],
    )
    breaker: Breaker | None = Field(
        default=None,
        description="Breaker of the extracted side; without it one with the defaults",
        examples=[{"failures": 5, "open_s": 30}],
    )
    legacy_breaker: Breaker | None = Field(
        default=None, description="Breaker of the legacy side; without it none", examples=[{"failures": 20}]
    )
    retry: Retry | None = Field(
        default=None, description="Further attempts at the same upstream; without it none", examples=[{"retries": 1}]
    )
    shadow: Shadow | None = Field(
        default=None,
        description="Copies to the side that did not serve, and the comparison of both answers; without it only in"
        " stage shadow, with the defaults",
        examples=[{"sample_percent": 10}],
    )
    auth: AuthRule | None = Field(
        default=None,
        description="Who may come in; without it everybody",
        examples=[{"issuers": ["shop"], "all_scopes": ["catalog:read"]}],
    )
    rate_limit: tuple[RateLimit, ...] = Field(
        default=(),
        description="How often; every one of these limits must let a request through",
        examples=[[{"name": "per-user", "requests": 100, "window_s": 60, "by": "jwt.sub"}]],
    )
    cors: Cors | None = Field(
        default=None,
        description="Which web pages of other origins may ask; without it preflights go upstream like any request",
        examples=[{"allow_origins": ["https://shop.example"]}],
    )
    access: Access | None = Field(
        default=None, description="From which networks; without it from all", examples=[{"allow": ["10.0.0.0/8"]}]
    )

    def auth_of(self, route: RouteConfig) -> AuthRule | None:
        """What is asked of a request on one of its routes; None is nothing."""
        return self.auth if route.auth is None else route.auth

    def limits_of(self, route: RouteConfig) -> tuple[RateLimit, ...]:
        return self.rate_limit if route.rate_limit is None else route.rate_limit

    def access_of(self, route: RouteConfig) -> Access | None:
        return self.access if route.access is None else route.access

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
    `memory:` or `sqlite:` with an absolute path, and paths of certificates and keys are absolute."""

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
    telemetry: Telemetry = Field(
        default=Telemetry(), description="What is written about requests, and who is told of events"
    )
    auth: Auth = Field(default=Auth(), description="Who is known: issuers of tokens, and API keys")
    rate_limits: RateLimits = Field(default=RateLimits(), description="Where the buckets of rate limits are kept")
    upstreams: dict[str, UpstreamConfig] = Field(default={}, description="Named places that requests go to")
    default: str | None = Field(
        default=None,
        description="Upstream of what no seam claims; without it such a request gets 404",
        examples=["monolith"],
    )
    policy: Policy = Field(default=Policy(), description="Rules over all seams")
    seams: dict[str, SeamConfig] = Field(default={}, description="Capabilities that can be moved, by name")
