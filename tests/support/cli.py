"""`fig` as a function, and an admin port behind a real socket for it to talk to."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field

import uvicorn
from click.testing import CliRunner, Result
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.cli.main import fig
from tests.support.admin import AdminPort

VARIABLES = ("FIG_ADMIN_URL", "FIG_ADMIN_TOKEN", "FIG_CONFIG", "FIG_ACTOR")


@dataclass
class Command:
    """Runs `fig ARGS` with `env` and none of the caller's own FIG_ variables."""

    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *args: object, **env: str) -> Result:
        clean: dict[str, str | None] = dict.fromkeys(VARIABLES, None)
        return CliRunner().invoke(fig, [str(arg) for arg in args], env={**clean, **self.env, **env})


class Listener:
    """A free loopback port, served by a thread of its own. `app` is replaced as tests come and go."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(
            uvicorn.Config(self._answer, interface="asgi3", loop="asyncio", lifespan="off", ws="none", log_config=None)
        )
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.server.run([self.socket])

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()


@dataclass
class Served:
    """An AdminPort behind a socket."""

    admin: AdminPort
    url: str

    def command(self, **env: str) -> Command:
        return Command({"FIG_ADMIN_URL": self.url, "FIG_ACTOR": "ana", **env})


def fig_command(*args: str) -> list[str]:
    """To run `fig ARGS` as a process."""
    return [sys.executable, "-m", "proxy.cli.main", *args]


def on_terminal(url: str, *args: str, columns: int = 200, status: int = 0) -> bytes:
    """Everything that the command writes to its terminal. It must end with this status."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "FIG_ADMIN_URL": url, "TERM": "xterm", "COLUMNS": str(columns)}
    process = subprocess.Popen(fig_command(*args), stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 65536):
            text += chunk
    except OSError:  # Linux: the other side has closed
        pass
    os.close(ours)
    assert process.wait(20) == status, text.decode()
    return text
