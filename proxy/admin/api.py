"""The admin API: one handler an endpoint. Knows HTTP and JSON; rollout and runtime decide what a change may do."""

from __future__ import annotations

import asyncio
import random
import reprlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, get_args

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy.admin.answers import refuse, reply, reply_text
from proxy.admin.config_view import config_document
from proxy.admin.explain import explain, explain_refusal
from proxy.admin.guard import Guard
from proxy.admin.openapi import openapi
from proxy.admin.question import build_request
from proxy.admin.refusals import InvalidConfiguration, NoChangesHere, NotFound, NotReady
from proxy.admin.seam_view import Now, breaker_words, history_document, orphan_document, seam_document
from proxy.admin.slowdown import Slowdown
from proxy.admin.upstream_view import upstream_documents
from proxy.admin.writes import author, expected_version, one_of, read_members
from proxy.admission.trust import Trust
from proxy.config.model import Shadow
from proxy.config.shadowing import rules_mark
from proxy.errors import (
    BadRequest,
    ConfigError,
    Conflict,
    InvalidChange,
    MethodNotAllowed,
    ProxyError,
    Rejected,
    StoreError,
    UnknownSeam,
    VersionMismatch,
)
from proxy.rollout import stage
from proxy.rollout.rollback_file import RollbackFiles
from proxy.routing.resilience import BreakerKey, Side
from proxy.routing.shadowing import known_endpoints
from proxy.runtime import Author, Runtime
from proxy.shadow.feed import Feed
from proxy.snapshot import SeamState
from proxy.state.store import Action
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.seen import SeenShare
from proxy.telemetry.trace import RandomBits, request_id
from proxy.upstreams.breaker import Forced

_DEFAULT_ROWS = 200
_MAX_ROWS = 10_000
_SLICE = 100
_SIDES: tuple[Side, ...] = get_args(Side)
_HOLDS: Mapping[str, Forced | None] = {"open": "open", "close": "close", "auto": None}


def create_admin(
    *,
    runtime: Runtime,
    metrics: Metrics,
    seen: SeenShare,
    rollback_files: RollbackFiles,
    feed: Feed,
    readiness: Callable[[], str | None],
    refusal: Callable[[], str | None],
    token: str,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    version: str,
    rng: RandomBits | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Starlette:
    """The ASGI app of the admin port. `readiness` gives None when ready, else why not, in one word;
    `refusal` gives None while changes are taken, else where to go with them.

    `clock` is epoch seconds, `monotonic` the clock that `seen` goes by; an empty `token` is no token, and answers to
    wrong ones wait by `sleep`.
    """
    bits = rng or random.SystemRandom()
    admin = _Admin(runtime, metrics, seen, rollback_files, feed, readiness, refusal, clock, monotonic, version)
    app = Starlette(
        routes=admin.routes(),
        middleware=[
            Middleware(
                Guard,
                token=token,
                name_request=lambda candidate: request_id(candidate, True, int(clock() * 1000), bits).decode("ascii"),
                slowdown=Slowdown(monotonic, sleep),
            )
        ],
        exception_handlers={ProxyError: _on_proxy_error, HTTPException: _on_http_error, Exception: _on_surprise},
    )
    app.router.redirect_slashes = False  # a redirect would repeat the Host header, whoever wrote it
    return app


@dataclass(frozen=True, slots=True)
class _Admin:
    runtime: Runtime
    metrics: Metrics
    seen: SeenShare
    rollback_files: RollbackFiles
    feed: Feed
    readiness: Callable[[], str | None]
    refusal: Callable[[], str | None]
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    version: str

    def routes(self) -> list[Route]:
        return [
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/metrics", self.show_metrics, methods=["GET"]),
            Route("/openapi.json", self.show_openapi, methods=["GET"]),
            Route("/.well-known/jwks.json", self.show_keys, methods=["GET"]),
            Route("/api/version", self.show_version, methods=["GET"]),
            Route("/api/seams", self.list_seams, methods=["GET"]),
            Route("/api/seams/{name}", self.show_seam, methods=["GET"]),
            Route("/api/seams/{name}/shift", self.shift, methods=["POST"]),
            Route("/api/seams/{name}/rollback", self.rollback, methods=["POST"]),
            Route("/api/seams/{name}/resume", self.resume, methods=["POST"]),
            Route("/api/seams/{name}/reset", self.reset, methods=["POST"]),
            Route("/api/seams/{name}/breaker", self.breaker, methods=["POST"]),
            Route("/api/seams/{name}/comparisons", self.comparisons, methods=["GET"]),
            Route("/api/seams/{name}/evidence", self.evidence, methods=["GET"]),
            Route("/api/history", self.history, methods=["GET"]),
            Route("/api/upstreams", self.list_upstreams, methods=["GET"]),
            Route("/api/config", self.show_config, methods=["GET"]),
            Route("/api/reload", self.reload, methods=["POST"]),
            Route("/api/explain", self.explain, methods=["POST"]),
        ]

    # --- the process -------------------------------------------------------------------------------------------------

    async def healthz(self, request: Request) -> Response:
        return reply(request.scope, {"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """With `?verbose` also what the answer rests on. A store that fails does not make the data port unready."""
        word = self.readiness()
        if word is not None:
            raise NotReady(word)
        document: dict[str, Any] = {"status": "ready"}
        if "verbose" in request.query_params:
            document["checks"] = [
                {"name": "config", "ok": True, "detail": self.runtime.fingerprint},
                {"name": "accepting", "ok": True, "detail": ""},
                await self._store_check(),
            ]
        return reply(request.scope, document)

    async def _store_check(self) -> dict[str, Any]:
        try:
            await self.runtime.store.ping()
        except StoreError as error:
            return {"name": "store", "ok": False, "detail": error.detail}
        return {"name": "store", "ok": True, "detail": self.runtime.store_name}

    async def show_metrics(self, request: Request) -> Response:
        return reply_text(request.scope, self.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")

    async def show_openapi(self, request: Request) -> Response:
        return reply(request.scope, openapi(self.version))

    async def show_keys(self, request: Request) -> Response:
        """What identity tokens are signed with; an empty set where there are none."""
        mint = self.runtime.doors.identity.mint
        text = b'{"keys":[]}' if mint is None else mint.jwks()
        return reply_text(request.scope, text, "application/jwk-set+json")

    async def show_version(self, request: Request) -> Response:
        return reply(request.scope, {"version": self.version, "config": self.runtime.fingerprint})

    # --- seams -------------------------------------------------------------------------------------------------------

    async def list_seams(self, request: Request) -> Response:
        states = self.runtime.snapshot.states
        documents = []
        for count, state in enumerate(states.values(), 1):
            documents.append(self._document(state))
            if count % _SLICE == 0:
                await asyncio.sleep(0)  # the data port runs on this loop too
        orphans = sorted(self.runtime.records.keys() - states.keys())
        documents += [orphan_document(name, self.runtime.records[name]) for name in orphans]
        return reply(request.scope, documents)

    async def show_seam(self, request: Request) -> Response:
        name = request.path_params["name"]
        state, record = self.runtime.snapshot.states.get(name), self.runtime.records.get(name)
        if state is not None:
            return _reply_seam(request, self._document(state))
        if record is not None:
            return _reply_seam(request, orphan_document(name, record))
        raise UnknownSeam(f"There is no seam {name!r}; `fig get seams` lists them.")

    async def shift(self, request: Request) -> Response:
        members = await read_members(request, "percent", "stage", "reason")
        wanted, share = members.get("stage"), members.get("percent")
        by = author(request.headers, members, self.clock())
        plan = stage.shift(
            by,
            stage=None if wanted is None else stage.checked_stage(wanted),
            percent=None if share is None else stage.checked_percent(share),
        )
        return await self._advance(request, "shift", by, plan)

    async def rollback(self, request: Request) -> Response:
        members = await read_members(request, "reason")
        by = author(request.headers, members, self.clock())
        before = self.runtime.state(request.path_params["name"])
        _check_version(request, before)
        self._check_open()
        after = await self.runtime.retreat(before.name, by)
        return _reply_seam(request, {**self._document(after), "durable": self.runtime.durable(after.name)})

    async def resume(self, request: Request) -> Response:
        members = await read_members(request, "percent", "reason")
        share = members.get("percent")
        by = author(request.headers, members, self.clock())
        plan = stage.resume(by, None if share is None else stage.checked_percent(share))
        name = self.runtime.state(request.path_params["name"]).name
        if self.rollback_files.exists(name):
            file = self.rollback_files.path(name)
            raise Conflict(f"The file {file} rolls seam {name!r} back: remove it first.")
        return await self._advance(request, "resume", by, plan)

    async def reset(self, request: Request) -> Response:
        members = await read_members(request, "reason")
        by = author(request.headers, members, self.clock())
        return await self._advance(request, "reset", by, stage.reset())

    async def breaker(self, request: Request) -> Response:
        """Of this process only, and not part of the version: replicas and restarts have breakers of their own."""
        members = await read_members(request, "state", "side", "route", "reason")
        forced = _HOLDS[one_of(members.get("state"), "state", tuple(_HOLDS))]
        side = one_of("extracted" if members.get("side") is None else members["side"], "side", _SIDES)
        route = None if members.get("route") is None else _text(members, "route")
        by = author(request.headers, members, self.clock())
        before = self.runtime.state(request.path_params["name"])
        _check_version(request, before)
        self._check_open()
        after = await self.runtime.force_breaker(before.name, side, route, forced, by)
        return _reply_seam(request, self._document(after))

    async def comparisons(self, request: Request) -> Response:
        return await self._compared(request, "comparisons")

    async def evidence(self, request: Request) -> Response:
        return await self._compared(request, "evidence")

    async def _compared(self, request: Request, what: str) -> Response:
        """Told by the comparer's process, also of a seam that is not compared just now."""
        state = self.runtime.state(request.path_params["name"])
        config = state.config
        shadow = config.shadow or Shadow()
        text = await self.feed.ask(what, state.name, rules_mark(config), shadow, known_endpoints(config))
        return reply_text(request.scope, text, "application/json")

    async def _advance(self, request: Request, action: Action, by: Author, plan: stage.Plan) -> Response:
        name = request.path_params["name"]
        version = expected_version(request.headers, self.runtime.state(name).record.version)
        self._check_open()
        state = await self.runtime.advance(name, action, by, plan, version)
        return _reply_seam(request, self._document(state))

    def _check_open(self) -> None:
        """Last, with no await before the change itself."""
        refusal = self.refusal()
        if refusal is not None:
            raise NoChangesHere(refusal)

    def _document(self, state: SeamState) -> dict[str, Any]:
        name, now = state.name, self._now()
        seen = self.seen.seen(name, now.monotonic)
        return seam_document(state, seen, self.runtime.breakers(name), self.runtime.guards.falling_back(name), now)

    def _now(self) -> Now:
        return Now(self.clock(), self.monotonic())

    # --- all seams together ------------------------------------------------------------------------------------------

    async def history(self, request: Request) -> Response:
        limit = _row_limit(request.query_params.get("limit"))
        rows = await self.runtime.history(request.query_params.get("seam") or None, limit)
        return reply(request.scope, [history_document(row) for row in rows])

    async def list_upstreams(self, request: Request) -> Response:
        settings = self.runtime.snapshot.settings
        return reply(request.scope, upstream_documents(self.runtime.upstreams.values(), settings, self.monotonic()))

    async def show_config(self, request: Request) -> Response:
        headers = {"ETag": f'"{self.runtime.fingerprint}"'}
        return reply(request.scope, config_document(self.runtime.snapshot.settings), headers=headers)

    async def reload(self, request: Request) -> Response:
        members = await read_members(request, "reason")
        self._check_open()
        try:
            result = await self.runtime.reload(author(request.headers, members, self.clock()))
        except ConfigError as error:
            raise InvalidConfiguration(error.problems) from error
        return reply(
            request.scope,
            {
                "changed": result.changed,
                "fingerprint": result.fingerprint,
                "overridden": result.overridden,
                "absorbed": result.absorbed,
                "needs_restart": result.needs_restart,
                "warnings": result.warnings,
            },
        )

    async def explain(self, request: Request) -> Response:
        """Also a request that would be refused is answered with 200: the refusal is the explanation."""
        members = await read_members(request, "method", "path", "headers", "client_ip")
        snapshot = self.runtime.snapshot
        method, path = _text(members, "method"), _text(members, "path")
        client = _client_ip(members.get("client_ip"))
        peer = request.client.host if request.client else ""
        try:
            asked = build_request(method, path, _lines(members.get("headers")), peer, snapshot.settings.server)
        except Rejected as error:
            return reply(request.scope, explain_refusal(error))
        trust = Trust(snapshot.settings.server.trusted_proxies)
        return reply(request.scope, explain(snapshot, trust, asked, client, self._breaker_words, self.runtime.doors))

    def _breaker_words(self, key: BreakerKey) -> str | None:
        found = (breaker for rule, breaker in self.runtime.breakers(key[0]) if rule.key == key)
        breaker = next(found, None)
        return None if breaker is None else breaker_words(breaker, self._now())


def _reply_seam(request: Request, document: dict[str, Any]) -> Response:
    return reply(request.scope, document, headers={"ETag": f'"{document["version"]}"'})


def _check_version(request: Request, state: SeamState) -> None:
    """Where a change is not planned from the state, so that nobody else looks. Raises VersionMismatch."""
    current = state.record.version
    if expected_version(request.headers, current) not in (None, current):
        raise VersionMismatch(f"Seam {state.name!r} is at version {current}: look at it again first.")


def _row_limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_ROWS
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= _MAX_ROWS):
        raise BadRequest(f"limit must be a number from 1 to {_MAX_ROWS}, not {text[:20]!r}.")
    return int(text)


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise InvalidChange(f"{name} must be a string, not {reprlib.repr(value)}.")
    return value


def _lines(headers: Any) -> list[tuple[str, str]]:
    """Header lines from an object whose values are strings, or lists of them."""
    if headers is None:
        return []
    if not isinstance(headers, dict):
        raise InvalidChange(f"headers must be an object of names and values, not {type(headers).__name__}.")
    lines = [(name, value) for name, held in headers.items() for value in (held if isinstance(held, list) else [held])]
    for name, value in lines:
        if not isinstance(value, str):
            raise InvalidChange(f"header {name} must be a string or a list of strings, not {reprlib.repr(value)}.")
    return lines


def _client_ip(value: Any) -> str | None:
    try:
        return None if value is None else str(ip_address(_text({"client_ip": value}, "client_ip")))
    except ValueError:
        raise InvalidChange(f"client_ip must be an IP address, not {reprlib.repr(value)}.") from None


async def _on_proxy_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProxyError)
    return refuse(request.scope, error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path, or no such method on it."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        methods = tuple(sorted(allow.split(", ")))
        return refuse(request.scope, MethodNotAllowed(f"{request.method} is not served here.", methods))
    return refuse(request.scope, NotFound("There is nothing here; /openapi.json lists what there is."))


async def _on_surprise(request: Request, error: Exception) -> Response:
    return refuse(request.scope, ProxyError())
