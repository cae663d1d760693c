"""`python -m extracted_services.catalog`: the composition root. Reads flags and environment, starts the server."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import httpx
import uvicorn

from .app import create_app
from .backfill import keep_trying
from .domain import Money, exact, rounding_bug
from .service import Catalog
from .store import Store

BUGS: Mapping[str, Callable[[Money], Money]] = {"": exact, "rounding": rounding_bug}


def address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as why:
        raise argparse.ArgumentTypeError(f"{text!r}: {why}") from why
    if url.scheme not in ("http", "https") or not url.host:
        raise argparse.ArgumentTypeError(f"{text!r} is no http:// or https:// address")
    return url


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m extracted_services.catalog", description="The catalog service.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8101, help="0 takes a free one")
    parser.add_argument("--db", type=Path, default=Path("var/catalog.db"), help="SQLite file; made if missing")
    parser.add_argument("--backfill-from", type=address, metavar="URL", help="the monolith whose products to read")
    return parser.parse_args()


def filler(url: httpx.URL, store: Store) -> Callable[[], Awaitable[None]]:
    async def fill() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
            await keep_trying(client, store)

    return fill


def main() -> int:
    args, bug = arguments(), os.environ.get("CATALOG_BUG", "")
    if bug not in BUGS:
        sys.stderr.write(f"CATALOG_BUG={bug}: unknown; leave it unset or use `rounding`\n")
        return 2
    store = Store(args.db)
    uvicorn.run(
        create_app(
            Catalog(store, time.time, BUGS[bug]),
            fill=filler(args.backfill_from, store) if args.backfill_from else None,
            close=store.close,
        ),
        host=args.host,
        port=args.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
