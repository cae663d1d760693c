"""The private surface of uvicorn that fig stands on. When an upgrade breaks it, this says what changed."""

from __future__ import annotations

import asyncio
import inspect
from typing import cast

import uvicorn
from uvicorn.server import ServerState

from proxy.config.model import Limits, ServerTimeouts
from proxy.wire.edge import Edge, EdgeProtocol, Handler
from proxy.wire.timer import TimerWheel


class Recorder(asyncio.Protocol):
    """A protocol class that only notes how it was built."""

    built: list[dict[str, object]] = []  # noqa: RUF012  uvicorn builds the class, so the class has to remember

    def __init__(self, **arguments: object) -> None:
        self.built.append(arguments)


def config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app=lambda: app,
        factory=True,
        http=Recorder,
        interface="asgi3",
        lifespan="off",
        ws="none",
        proxy_headers=False,
        log_config=None,
    )


def test_a_protocol_is_built_with_the_arguments_that_the_edge_takes() -> None:
    edge = Edge(cast(Handler, object()), Limits(), ServerTimeouts(), TimerWheel())
    made = config(edge)
    server = uvicorn.Server(made)

    async def connect() -> None:
        made.load()
        server.lifespan = made.lifespan_class(made)
        server.config.port = 0
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        while not Recorder.built:  # noqa: ASYNC110  uvicorn builds it: there is nobody to set an event
            await asyncio.sleep(0)
        writer.close()
        for listener in server.servers:
            listener.close()
        assert EdgeProtocol(**Recorder.built[0]).shared is edge  # type: ignore[arg-type]  # unknown names are a TypeError

    asyncio.run(connect())


def test_the_server_has_what_the_data_server_overrides_and_reads() -> None:
    assert inspect.iscoroutinefunction(uvicorn.Server.shutdown)
    assert list(inspect.signature(uvicorn.Server.shutdown).parameters) == ["self", "sockets"]
    assert inspect.iscoroutinefunction(uvicorn.Server.startup)
    assert list(inspect.signature(uvicorn.Server.startup).parameters) == ["self", "sockets"]
    assert callable(uvicorn.Server.capture_signals)
    assert isinstance(ServerState().connections, set)
    server = uvicorn.Server(config(object()))
    assert server.should_exit is False
    assert server.force_exit is False
