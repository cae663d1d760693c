"""`python -m demo`: reads flags, starts everything, plays the scene, stops everything. The exit code says how it went.

0 all promises held · 1 one did not, or something failed · 2 usage · 130 interrupted before the end
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from rich.console import Console

from demo.client import HOST
from demo.processes import Failed, Ports, Troupe, taken
from demo.scene import SEAM, Promise, Scene, Service
from demo.screen import Screen
from demo.traffic import CLIENTS, USERS, Phase, Tally, Traffic

Result = TypeVar("Result")

INTERRUPTED = 130
KEEP_RATE = 20.0
KEEP_TURN_S = 60.0
PORTS = {  # flag and attribute → default, who listens there
    "port": (8080, "fig"),
    "admin_port": (9901, "fig's admin API"),
    "monolith_port": (8000, "the monolith"),
    "catalog_port": (8101, "the catalog service"),
}


def arguments(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description="A seam of a sample shop moved and taken back.")
    parser.add_argument("--keep", action="store_true", help="leave it running afterwards, with a little traffic")
    parser.add_argument("--short", action="store_true", help="only there and back: nothing compared, nobody killed")
    parser.add_argument("--step-seconds", type=float, default=4.0, metavar="S", help="how long each step lasts (4)")
    parser.add_argument("--rate", type=float, default=300.0, metavar="N", help="requests a second (300)")
    for name, (port, owner) in PORTS.items():
        default = environ.get(_variable(name), str(port))  # a string: argparse checks it like a flag's value
        text = f"port of {owner} ({port}, or ${_variable(name)})"
        parser.add_argument(_flag(name), type=_port, default=default, metavar="N", help=text)
    args = parser.parse_args(argv)
    if len({getattr(args, name) for name in PORTS}) < len(PORTS):
        parser.error("every port must be a different one")
    if args.rate <= 0 or args.step_seconds <= 0:
        parser.error("--rate and --step-seconds must be above 0")
    return args


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return f"FIG_DEMO_{name.upper()}"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port (1-65535)")
    return int(text)


def ports_in_the_way(args: argparse.Namespace) -> list[str]:
    """A sentence for every port that somebody else has."""
    return [
        f"port {getattr(args, name)} ({owner}) is taken: free it, or choose another with"
        f" {_flag(name)} N (make demo ARGS='{_flag(name)} N') or {_variable(name)}=N"
        for name, (_, owner) in PORTS.items()
        if taken(getattr(args, name))
    ]


async def perform(args: argparse.Namespace, folder: Path, screen: Screen) -> int:
    """Raises Failed. Whatever happens, no child outlives it."""
    ports = Ports(args.monolith_port, args.catalog_port, args.port, args.admin_port)
    async with Troupe(folder, ports) as troupe:
        begun = time.monotonic()
        screen.say("starting the monolith, the catalog service and fig …")
        await troupe.start()
        screen.say(opening(ports, args.rate, time.monotonic() - begun))
        traffic = Traffic(ports.data, SEAM, args.rate, Phase(Tally(), None))
        service = Service(*(partial(deed, SEAM) for deed in (troupe.kill, troupe.revive, troupe.mend)))
        scene = Scene(traffic, troupe.fig, service, ports.data, screen, args.step_seconds, args.short)
        customers = asyncio.create_task(traffic.run())
        try:
            promises = await undisturbed(scene.play(), troupe, customers)
            code = report(screen, promises, troupe, time.monotonic() - begun)
            if args.keep:
                screen.say(farewell(ports, folder))
                with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how this is meant to end
                    await undisturbed(stay(traffic), troupe, customers)
        finally:
            screen.close_table()
            await _cancelled(customers)
    return code


async def undisturbed(work: Coroutine[Any, Any, Result], troupe: Troupe, customers: asyncio.Task[None]) -> Result:
    """The result of `work`, unless a child dies or the traffic breaks down first. Raises Failed."""
    task, death = asyncio.create_task(work), asyncio.create_task(troupe.death())
    try:
        done, _ = await asyncio.wait((task, death, customers), return_when=asyncio.FIRST_COMPLETED)
        if death in done:
            raise death.result()
        if task not in done:
            customers.result()
        return await task
    finally:
        await _cancelled(task, death)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def stay(traffic: Traffic) -> NoReturn:
    """A trickle of customers for whoever tries commands; nothing is judged any more."""
    traffic.rate = KEEP_RATE
    while True:
        traffic.phase = Phase(Tally(), None)
        await asyncio.sleep(KEEP_TURN_S)


def opening(ports: Ports, rate: float, seconds: float) -> str:
    return (
        f"ready after {seconds:.1f} s: shop at http://{HOST}:{ports.data}, admin at {ports.admin_url}\n"
        f"{len(USERS)} users on {CLIENTS} connections, {rate:g} requests/s; the seam `{SEAM}` is reading products\n"
    )


def report(screen: Screen, promises: Sequence[Promise], troupe: Troupe, seconds: float) -> int:
    screen.say()
    for promise in promises:
        detail = f" ({promise.detail})" if promise.detail else ""
        screen.say(f"{'✔' if promise.kept else '✘'} {promise.text}{detail}")
    broken = [promise.text for promise in promises if not promise.kept]
    if broken:
        screen.say(f"\nNOT HELD: {'; '.join(broken)}\n{troupe.tail('fig')}")
        return 1
    screen.say(f"\nall {len(promises)} promises held, {seconds:.0f} s")
    return 0


def farewell(ports: Ports, folder: Path) -> str:
    beside = Path(sys.executable).parent / "fig"
    fig = "fig" if shutil.which("fig") else os.path.relpath(beside)
    return f"""
still running until Ctrl-C, with {KEEP_RATE:g} requests/s; logs and configuration in {folder}
  export FIG_ADMIN_URL={ports.admin_url}
  {fig} get seams -w
  {fig} shift {SEAM} 25 --reason 'a look around'
  {fig} explain GET /api/products/7 -H 'X-User-Id: u0001'
  {fig} rollback {SEAM}
  {fig} resume {SEAM}
  {fig} history {SEAM}
  curl -i http://{HOST}:{ports.data}/api/products/7 -H 'X-User-Id: u0001'
  curl http://{HOST}:{ports.admin}/metrics
"""


async def run(args: argparse.Namespace, screen: Screen) -> int:
    """Performs in a temporary folder. SIGINT, SIGTERM and SIGHUP end it in order: 130."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    with tempfile.TemporaryDirectory(prefix="fig-demo-") as folder:
        try:
            return await perform(args, Path(folder), screen)
        except asyncio.CancelledError:
            screen.say("interrupted, everything is stopped")
            return INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv, os.environ)
    in_the_way = ports_in_the_way(args)
    for sentence in in_the_way:
        print(f"error: {sentence}", file=sys.stderr)
    if in_the_way:
        return 1
    try:
        with Screen(Console()) as screen:
            return asyncio.run(run(args, screen))
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
