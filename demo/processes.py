"""Shop, service and fig as child processes: started together, waited for, stopped together. Knows no traffic."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.client import HOST, Connection, NoAnswer

ROOT = Path(__file__).parent.parent
READY_S = 30.0
POLL_S = 0.05
STOP_S = 10.0
TAIL_LINES = 15
ADDRESS = re.compile(re.escape(HOST) + r":([0-9]+)")
# An audience does not wait half a minute for a probe.
FASTER = (("window_s: 10", "window_s: 2"), ("open_s: 30", "open_s: 2"), ("max_per_s: 50", "max_per_s: 1000"))
BUG = {"CATALOG_BUG": "rounding"}
DIFFERENT = 4


class Failed(Exception):
    """The demo cannot go on. Says why, with the last words of who failed."""


@dataclass(frozen=True, slots=True)
class Ports:
    monolith: int
    catalog: int
    data: int
    admin: int

    @property
    def admin_url(self) -> str:
        return f"http://{HOST}:{self.admin}"


@dataclass(frozen=True, slots=True)
class Child:
    """A process, the file with its standard error, and the port whose /readyz tells when it is up."""

    name: str
    process: Process
    log: Path
    ready_port: int

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join(f"  {self.name} | {line}" for line in lines) or f"  {self.name} | (said nothing)"


def taken(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return True
    return False


def write_config(folder: Path, ports: Ports) -> Path:
    """The sample shop's own configuration, with this run's addresses, a breaker that probes sooner, and everything
    compared."""
    moved = {"8000": ports.monolith, "8101": ports.catalog, "8080": ports.data, "9901": ports.admin}
    text = (ROOT / "config" / "proxy.yaml").read_text()
    for slow, fast in FASTER:
        text = text.replace(slow, fast)
    path = folder / "proxy.yaml"
    path.write_text(ADDRESS.sub(lambda match: f"{HOST}:{moved.get(match[1], match[1])}", text))
    return path


def identity_rules(prefix: str, port: int) -> dict[str, str]:
    """How a service of the shop is told whom to believe about who comes: the gateway at `port`."""
    values = {
        "JWKS": f"http://{HOST}:{port}/.well-known/fig-jwks.json",
        "ISSUER": "corner-shop-gateway",
        "AUDIENCE": "corner-shop",
    }
    return {f"{prefix}_IDENTITY_{name}": value for name, value in values.items()}


class Troupe:
    """All children of one run. An async context: leaving it stops whoever is still there."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self._folder = folder
        self._ports = ports
        self._children: list[Child] = []
        self._meant: set[Process] = set()
        self._vouched = identity_rules("CATALOG", ports.data)
        self._started: dict[str, tuple[Sequence[str], int]] = {}

    async def __aenter__(self) -> Troupe:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start all three and wait until each is ready. Raises Failed."""
        folder, ports = self._folder, self._ports
        shop = ["legacy_monolith", "--port", str(ports.monolith), "--db", str(folder / "shop.db")]
        backfill = ["--backfill-from", f"http://{HOST}:{ports.monolith}"]
        catalog = ["extracted_services.catalog", "--port", str(ports.catalog), "--db", str(folder / "catalog.db")]
        serve = ["proxy.cli.main", "serve", str(write_config(folder, ports))]
        await self._spawn("monolith", shop, ports.monolith, identity_rules("SHOP", ports.data))
        await self._spawn("catalog", catalog + backfill, ports.catalog, BUG | self._vouched)
        await self._spawn("fig", serve, ports.admin)
        for child in self._children:
            await self._ready(child)

    async def kill(self, name: str) -> None:
        """As a machine dies: at once. Nobody is told of this death."""
        child = next(child for child in self._children if child.name == name)
        self._meant.add(child.process)
        child.process.kill()
        await child.process.wait()
        self._children.remove(child)

    async def mend(self, name: str) -> None:
        """Stop it in order and start it again without its bug. Raises Failed."""
        child = next(child for child in self._children if child.name == name)
        self._meant.add(child.process)
        await _end(child.process)
        self._children.remove(child)
        await self.revive(name)

    async def revive(self, name: str) -> None:
        """Start again what was killed, and wait until it is ready. Raises Failed."""
        await self._spawn(name, *self._started[name], self._vouched)
        await self._ready(self._children[-1])

    async def _spawn(
        self, name: str, arguments: Sequence[str], ready_port: int, environ: Mapping[str, str] | None = None
    ) -> None:
        self._started[name] = arguments, ready_port
        log = self._folder / f"{name}.log"
        with log.open("ab") as errors, (self._folder / f"{name}.out").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                cwd=ROOT,
                stdin=DEVNULL,
                stdout=output,
                stderr=errors,
                env={**os.environ, **(environ or {})},
                start_new_session=True,  # a Ctrl-C is for us: we stop them in order
            )
        self._children.append(Child(name, process, log, ready_port))

    async def _ready(self, child: Child) -> None:
        connection = Connection(child.ready_port)
        try:
            async with asyncio.timeout(READY_S):
                while not await _says_ready(connection):
                    if child.process.returncode is not None:
                        raise Failed(f"{child.name} ended with status {child.process.returncode}:\n{child.tail()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise Failed(f"{child.name} is not ready after {READY_S:g} s:\n{child.tail()}") from None
        finally:
            connection.close()

    async def death(self) -> Failed:
        """Returns when a child ends that nobody asked to."""
        while True:
            dead = [child for child in self._children if child.process.returncode is not None]
            for child in dead:
                if child.process not in self._meant:
                    return Failed(f"{child.name} died with status {child.process.returncode}:\n{child.tail()}")
            await asyncio.sleep(POLL_S)

    def tail(self, name: str) -> str:
        return "\n".join(child.tail() for child in self._children if child.name == name)

    async def stop(self) -> None:
        """fig first, so that it never loses an upstream; whoever does not go is killed."""
        for child in reversed(self._children):
            await _end(child.process)
        self._children.clear()

    async def fig(self, arguments: Sequence[str]) -> str:
        """Run `fig …` as a person would and return what it printed; that something differs is no failure. Raises
        Failed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "proxy.cli.main",
            *arguments,
            cwd=ROOT,
            env={"FIG_ACTOR": "demo", **os.environ, "FIG_ADMIN_URL": self._ports.admin_url},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            output, errors = await process.communicate()
        finally:
            await _end(process)
        if process.returncode not in (0, DIFFERENT):
            raise Failed(f"`fig {' '.join(arguments)}` ended with {process.returncode}:\n{errors.decode()}")
        return output.decode()


async def _says_ready(connection: Connection) -> bool:
    try:
        return (await connection.ask("GET", "/readyz")).status == 200
    except NoAnswer:
        return False


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
