"""`python -m extracted_services.catalog`: the composition root. Reads flags and environment, starts the server."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import uvicorn

from .app import create_app
from .backfill import keep_trying
from .domain import Money, exact, rounding_bug
from .identity import Identities, rule_of
from .registration import Instance, Registration
from .service import Catalog
from .serving import ListedServer
from .store import Store

ANY_HOST = ("", "0.0.0.0", "::")
VERSION = "1.0.0"
STARTUP_FAILURE = 3  # uvicorn's own
BUGS: Mapping[str, Callable[[Money], Money]] = {"": exact, "rounding": rounding_bug}


def address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as why:
        raise argparse.ArgumentTypeError(f"{text!r}: {why}") from why
    if url.scheme not in ("http", "https") or not url.host:
        raise argparse.ArgumentTypeError(f"{text!r} is no http:// or https:// address")
    return url


def place(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; IPv6 stands in brackets."""
    host, _, port = text.rpartition(":")
    name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    sound = name not in ANY_HOST and (name != host or ":" not in host) and port.isascii() and port.isdigit()
    if not sound or not 1 <= int(port[:6]) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT that others could connect to, like 10.0.0.7:8101")
    return name, int(port)


def ttl(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.3 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.3 to 3600")
    return seconds


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m extracted_services.catalog", description="The catalog service.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8101, help="0 takes a free one")
    parser.add_argument("--db", type=Path, default=Path("var/catalog.db"), help="SQLite file; made if missing")
    parser.add_argument("--backfill-from", type=address, metavar="URL", help="the monolith whose products to read")
    parser.add_argument("--register", type=address, metavar="URL", help="the registry that others find it by")
    parser.add_argument("--advertise", type=place, metavar="HOST:PORT", help="where; default: where it listens")
    parser.add_argument("--ttl", type=ttl, default=3.0, metavar="SECONDS", help="silent for so long, it is taken out")
    args = parser.parse_args()
    if args.register and not args.advertise:
        if args.port == 0 or args.host in ANY_HOST:
            parser.error(f"--register: nobody can connect to {args.host}:{args.port}: add --advertise HOST:PORT")
        args.advertise = args.host, args.port
    return args


def filler(url: httpx.URL, store: Store) -> Callable[[], Awaitable[None]]:
    async def fill() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
            await keep_trying(client, store)

    return fill


def registration(args: argparse.Namespace, catalog: Catalog) -> Registration:
    host, port = args.advertise
    instance = Instance(host, port, args.ttl)
    return Registration(args.register, instance, catalog.is_ready, lambda line: sys.stderr.write(f"{line}\n"))


def main() -> int:
    args, bug = arguments(), os.environ.get("CATALOG_BUG", "")
    if bug not in BUGS:
        sys.stderr.write(f"CATALOG_BUG={bug}: unknown; leave it unset or use `rounding`\n")
        return 2
    try:
        rule = rule_of(os.environ, "CATALOG")
    except ValueError as why:
        sys.stderr.write(f"{why}\n")
        return 2
    store = Store(args.db)
    catalog = Catalog(store, time.time, BUGS[bug])
    config = uvicorn.Config(
        create_app(
            catalog,
            fill=filler(args.backfill_from, store) if args.backfill_from else None,
            close=store.close,
            identities=Identities(rule) if rule else None,
        ),
        host=args.host,
        port=args.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        server_header=False,
        headers=[("X-Service-Version", f"{VERSION}+{bug}" if bug else VERSION)],
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    server = ListedServer(config, registration(args, catalog)) if args.register else uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else STARTUP_FAILURE


if __name__ == "__main__":
    sys.exit(main())
