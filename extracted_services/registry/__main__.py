"""`python -m extracted_services.registry`: the composition root. Reads flags, starts the server."""

from __future__ import annotations

import argparse
import socket
import sys
import time
from contextlib import suppress

import uvicorn

from .app import Agent, create_app
from .members import Members


class Server(uvicorn.Server):
    """Answers the queries that wait before it waits for them to end."""

    def __init__(self, config: uvicorn.Config, agent: Agent) -> None:
        super().__init__(config)
        self._agent = agent

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._agent.close()
        await super().shutdown(sockets)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m extracted_services.registry", description="The service registry.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8500, help="0 takes a free one")
    args = parser.parse_args()
    # The state is lost with the process, a client's index is not: indexes that begin with the time go on rising.
    agent = Agent(Members(first_index=int(time.time() * 1000)), time.monotonic)
    config = uvicorn.Config(
        create_app(agent),
        host=args.host,
        port=args.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        server_header=False,
        limit_concurrency=4096,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    server = Server(config, agent)
    with suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else 3  # uvicorn's own code


if __name__ == "__main__":
    sys.exit(main())
