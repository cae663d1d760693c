"""Every error that fig raises on purpose, and whose fault it is.

    ProxyError                        status  cause                 fault
    ├── Rejected                                                    downstream
    │   ├── BadRequest                400     bad_request
    │   ├── AmbiguousPath             400     ambiguous_path
    │   ├── RouteNotFound             404     no_route
    │   ├── MethodNotAllowed          405     method_not_allowed
    │   ├── BodyCut                   400     client_gone
    │   ├── BodyTooLarge              413     body_too_large
    │   ├── Challenged
    │   │   ├── Unauthenticated       401     unauthenticated
    │   │   └── Forbidden             403     forbidden
    │   ├── RateLimited               429     rate_limited
    │   ├── HeadTooLarge              431     head_too_large        (414 for the target)
    │   ├── BodyTimeout               408     body_timeout
    │   ├── HeadTimeout               408     bad_request
    │   ├── RefusedMethod             405     method_not_allowed    (CONNECT, TRACE)
    │   ├── UnknownMethod             501     bad_request
    │   └── UnknownCoding             501     bad_request
    ├── ClientGone                    499     client_gone           downstream (log only)
    ├── UpstreamError                                               upstream
    │   ├── ConnectFailed             502     connect_failed
    │   ├── ConnectTimeout            504     connect_timeout
    │   ├── ResponseTimeout           504     response_timeout
    │   ├── ResponseStalled           502     body_timeout
    │   ├── UpstreamReset             502     upstream_reset
    │   ├── UpstreamProtocol          502     upstream_protocol
    │   └── DeadlineExceeded          504     deadline
    ├── Unavailable                   503                           proxy        (Retry-After)
    │   ├── BreakerOpen               503     breaker_open
    │   ├── BulkheadFull              503     bulkhead_full
    │   ├── CannotVerify              503     unauthenticated
    │   ├── LimitsUnavailable         503     limits_unavailable
    │   ├── NoHealthyEndpoint         503     no_healthy_endpoint   upstream
    │   └── RolledBack                503     rolled_back
    ├── Loop                          508     loop                  proxy
    ├── Overloaded                    503     draining              proxy
    ├── ComparerAway                  503     comparer_away         proxy
    └── StoreError                    503     store                 proxy
    ConfigError(problems)             stands apart: nothing was asked of the proxy yet

`status`, `cause` and `fault` are class attributes; `retryable` says that no byte of the request can have been
acted on. After a response head has gone out no error becomes an answer: the connection is cut instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

Fault = Literal["downstream", "upstream", "proxy"]


class ProxyError(Exception):
    """Base of all. `detail` is shown to the client, so it never carries an internal address."""

    status: ClassVar[int] = 500
    cause: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    fault: ClassVar[Fault] = "proxy"
    retryable: bool = False
    lines: tuple[tuple[bytes, bytes], ...] = ()  # header fields of the answer that only this error has

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail

    def because(self, cause: BaseException) -> Self:
        """This error with its `__cause__`, of which the error log tells: compiled code drops the `from` of a raise."""
        self.__cause__ = cause
        return self

    def problem(self, request_id: str) -> dict[str, object]:
        """The members of an `application/problem+json` answer (RFC 9457 3)."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail or f"{self.title}.",
            "reason": self.cause,
            "request_id": request_id,
        }


class Rejected(ProxyError):
    """The request itself is at fault; nothing was sent to an upstream."""

    fault = "downstream"


class BadRequest(Rejected):
    status, cause, title = 400, "bad_request", "Bad request"


class AmbiguousPath(Rejected):
    """Another reading of the path (dot segments, `//`, `%2F`, `;params`) would select another route."""

    status, cause, title = 400, "ambiguous_path", "Ambiguous path"


class RouteNotFound(Rejected):
    status, cause, title = 404, "no_route", "No route"


class MethodNotAllowed(Rejected):
    """`allow` lists the methods that some route has for this path (RFC 9110 15.5.6)."""

    status, cause, title = 405, "method_not_allowed", "Method not allowed"

    def __init__(self, detail: str = "", allow: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.allow = allow


class BodyTooLarge(Rejected):
    status, cause, title = 413, "body_too_large", "Body too large"


class BodyCut(Rejected):
    """The client closed its direction in the middle of a body: nobody gets that body as complete (RFC 9112 8)."""

    status, cause, title = 400, "client_gone", "Request body cut short"


class Challenged(Rejected):
    """`challenge` is the credential that would be taken (RFC 9110 11.6.1); empty: no such field."""

    def __init__(self, detail: str = "", challenge: str = "") -> None:
        super().__init__(detail)
        if challenge:
            self.lines = ((b"WWW-Authenticate", challenge.encode("ascii")),)


class Unauthenticated(Challenged):
    """No credential, or none that is good (RFC 9110 15.5.2)."""

    status, cause, title = 401, "unauthenticated", "Unauthenticated"


class Forbidden(Challenged):
    """It is known who asks, and he may not; or nobody may from there. `challenge` where a better token would help."""

    status, cause, title = 403, "forbidden", "Forbidden"


class RateLimited(Rejected):
    """Some limit has no room. `policies` are the names of those; its header fields are those of every answer there."""

    status, cause, title = 429, "rate_limited", "Too many requests"

    def __init__(self, detail: str = "", policies: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.policies = policies

    def problem(self, request_id: str) -> dict[str, object]:
        """With the members of draft-ietf-httpapi-ratelimit-headers-10, 5.1."""
        kind = "https://iana.org/assignments/http-problem-types#quota-exceeded"
        return {**super().problem(request_id), "type": kind, "violated-policies": list(self.policies)}


class HeadTooLarge(Rejected):
    status, cause, title = 431, "head_too_large", "Request head too large"


class TargetTooLong(HeadTooLarge):
    status, title = 414, "Request target too long"


class BodyTimeout(Rejected):
    """The client sent its body slower than the minimum rate."""

    status, cause, title = 408, "body_timeout", "Request body too slow"


class HeadTimeout(Rejected):
    """The client did not complete a request head in time (absolute, not per byte)."""

    status, cause, title = 408, "bad_request", "Request head too slow"


class UnknownCoding(Rejected):
    """A transfer coding that fig does not speak (RFC 9112 6.1)."""

    status, cause, title = 501, "bad_request", "Transfer coding not implemented"


class ClientGone(ProxyError):
    """The client left before it was answered. Logged as 499, never sent."""

    status, cause, title = 499, "client_gone", "Client closed the connection"
    fault = "downstream"


class Overloaded(ProxyError):
    """Every connection that `limits.max_connections` allows is in the middle of a request."""

    status, cause, title = 503, "draining", "Too many connections"


class UnknownMethod(Rejected):
    """The method is a token that nobody has defined (RFC 9110 9.1)."""

    status, cause, title = 501, "bad_request", "Method not implemented"


class RefusedMethod(MethodNotAllowed):
    """CONNECT and TRACE: a gateway for one site serves neither (RFC 9110 9.3.6, 9.3.8). `allow` must be said and no
    route is known yet, so it lists the other methods of RFC 9110 and PATCH."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))


class UpstreamError(ProxyError):
    fault = "upstream"
    status, cause, title = 502, "upstream_protocol", "Bad gateway"


class ConnectFailed(UpstreamError):
    status, cause, title = 502, "connect_failed", "Upstream refused the connection"
    retryable = True


class ConnectTimeout(UpstreamError):
    status, cause, title = 504, "connect_timeout", "Upstream connection timed out"
    retryable = True


class ResponseTimeout(UpstreamError):
    status, cause, title = 504, "response_timeout", "Upstream response timed out"


class ResponseStalled(UpstreamError):
    """The upstream stopped in the middle of a body for longer than `timeouts.body_s`."""

    status, cause, title = 502, "body_timeout", "Upstream body stalled"


class UpstreamReset(UpstreamError):
    """The upstream closed or reset the connection before its answer had ended; `unanswered`: not a byte of it came."""

    status, cause, title = 502, "upstream_reset", "Upstream closed the connection"
    unanswered: bool = False


class UpstreamProtocol(UpstreamError):
    """The upstream's answer breaks HTTP/1.1 framing or syntax."""

    status, cause, title = 502, "upstream_protocol", "Upstream sent an invalid response"


class DeadlineExceeded(UpstreamError):
    """`deadline_s` of the seam passed before a final response head came."""

    status, cause, title = 504, "deadline", "Deadline exceeded"


class Unavailable(ProxyError):
    """An upstream is not asked just now. `retry_after_s`: seconds until asking again may help (RFC 9110 10.2.3)."""

    status, title = 503, "Upstream unavailable"
    retryable = True

    def __init__(self, detail: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class BreakerOpen(Unavailable):
    """It failed too often lately; calls go on when its breaker lets them."""

    cause, title = "breaker_open", "Circuit breaker open"


class BulkheadFull(Unavailable):
    """`max_in_flight` requests are at the upstream, and the queue is full or the wait was too long."""

    cause, title = "bulkhead_full", "Too many requests in flight"


class CannotVerify(Unavailable):
    """Nobody can say whether the credential is good: keys cannot be had, or the monolith does not answer."""

    cause, title = "unauthenticated", "Credentials cannot be verified"


class LimitsUnavailable(Unavailable):
    """The store of the rate limits does not answer, and `rate_limits.on_error` is `deny`."""

    cause, title = "limits_unavailable", "Rate limits cannot be checked"

    def problem(self, request_id: str) -> dict[str, object]:
        kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
        return {**super().problem(request_id), "type": kind}


class NoHealthyEndpoint(Unavailable):
    """Every endpoint of the upstream is out of use by its health, or discovery found none."""

    cause, title = "no_healthy_endpoint", "No healthy endpoint"
    fault = "upstream"


class RolledBack(Unavailable):
    """The seam was rolled back while the request waited for its extracted side."""

    cause, title = "rolled_back", "The seam was rolled back"


class Loop(ProxyError):
    """The request has been through this fig before, or an endpoint is fig itself (RFC 5842 7.2)."""

    status, cause, title = 508, "loop", "Loop detected"


class ComparerAway(ProxyError):
    """The process that compares answers is not there, or is late. Only who asks it for results gets to see this."""

    status, cause, title = 503, "comparer_away", "The comparer is away"


class StoreError(ProxyError):
    """The store refused or could not be reached. `detail` ends with what an operator can do."""

    status, cause, title = 503, "store", "Store unavailable"


class Conflict(ProxyError):
    """The state of the seam forbids this change. 409 on the admin port."""

    status, cause, title = 409, "conflict", "Conflict"
    fault = "downstream"


class VersionMismatch(ProxyError):
    """Somebody changed the seam since the version that `If-Match` names. 412 on the admin port."""

    status, cause, title = 412, "version_mismatch", "Precondition failed"
    fault = "downstream"


class UnknownSeam(ProxyError):
    status, cause, title = 404, "unknown_seam", "No such seam"
    fault = "downstream"


class InvalidChange(ProxyError):
    """The body of an admin write is not a legal change. 422 on the admin port."""

    status, cause, title = 422, "invalid", "Invalid change"
    fault = "downstream"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding about a configuration. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    code: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        warning = "warning: " if self.severity == "warning" else ""
        return f"{self.file}:{self.line}:{self.column} {self.code} {warning}{self.message}"


class ConfigError(Exception):
    """A configuration that cannot be used. `problems` lists every error and warning found, in file order; `files` took
    part in it, those that could not be read included."""

    def __init__(self, problems: tuple[Problem, ...], files: tuple[Path, ...] = ()) -> None:
        super().__init__(problems, files)  # both, so that it survives pickling
        self.problems = problems
        self.files = files

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))
