"""The registry over HTTP. Knows no rule: members.py decides who lives, consul.py reads and writes Consul's shapes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from . import consul
from .members import Full, Members, Unknown, View

MAX_BODY_BYTES = 65536
STATUS = {consul.Invalid: 400, Unknown: 404, Full: 503}


class Agent:
    """`clock()` is monotonic seconds. After `close` nothing waits any more."""

    def __init__(self, members: Members, clock: Callable[[], float]) -> None:
        self._members = members
        self._clock = clock
        self._waiting: set[asyncio.Event] = set()
        self._closed = False

    def routes(self) -> list[Route]:
        return [
            Route("/v1/agent/service/register", self.register, methods=["PUT"]),
            Route("/v1/agent/check/pass/service:{id}", self.passed, methods=["PUT"]),
            Route("/v1/agent/service/deregister/{id}", self.deregister, methods=["PUT"]),
            Route("/v1/health/service/{name}", self.health),
            Route("/v1/catalog/services", self.services),
            Route("/healthz", self.alive),
            Route("/readyz", self.alive),
        ]

    def close(self) -> None:
        self._closed = True
        self._wake()

    async def register(self, request: Request) -> Response:
        try:
            body = json.loads(await read(request))
        except (ValueError, RecursionError):
            raise consul.Invalid("the body is not JSON: send an object with Name, Address and Port") from None
        self._members.register(*consul.registration(body), self._clock())
        self._wake()
        return Response()

    async def passed(self, request: Request) -> Response:
        if self._members.passed(request.path_params["id"], self._clock()):
            self._wake()
        return Response()

    async def deregister(self, request: Request) -> Response:
        self._members.deregister(request.path_params["id"])
        self._wake()
        return Response()

    async def health(self, request: Request) -> Response:
        """With the `index` of the last answer it waits for a newer one; any other index is answered at once."""
        name, query, now = request.path_params["name"], request.query_params, self._clock()
        index = consul.index(query.get("index") or "0")
        wait_s = min(consul.duration("wait", query.get("wait") or consul.DEFAULT_WAIT), consul.LONGEST_WAIT_S)
        view = self._members.look(name, now)
        if index == view.index:
            view = await self._newer(name, index, now + wait_s, request)
        answer = consul.health(view, passing=query.get("passing", "false") not in ("false", "0"))
        return JSONResponse(answer, headers={"x-consul-index": str(view.index)})

    async def services(self, _request: Request) -> Response:
        return JSONResponse(self._members.names(self._clock()))

    async def alive(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _newer(self, name: str, index: int, until: float, request: Request) -> View:
        """As soon as somebody changes it or a TTL runs out; else at `until`, or when the client has gone."""
        woken = asyncio.Event()
        gone = asyncio.ensure_future(disconnect(request))
        gone.add_done_callback(lambda _: woken.set())
        self._waiting.add(woken)
        try:
            while True:
                woken.clear()
                now = self._clock()
                view = self._members.look(name, now)
                if view.index != index or now >= until or self._closed or gone.done():
                    return view
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), min(until, view.until) - now)
        finally:
            self._waiting.discard(woken)
            gone.cancel()

    def _wake(self) -> None:
        for woken in self._waiting:
            woken.set()


async def read(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is longer than {MAX_BODY_BYTES} bytes: register one instance a call")
    return body


async def disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def refuse(_request: Request, why: Exception) -> Response:
    return PlainTextResponse(str(why), STATUS[type(why)])


def create_app(agent: Agent) -> Starlette:
    return Starlette(routes=agent.routes(), exception_handlers=dict.fromkeys(STATUS, refuse))
