"""`python -m legacy_monolith`: the shop on one port, its file seeded at the first start."""

from __future__ import annotations

import argparse
import secrets
import time
from pathlib import Path

import uvicorn

from .app import create_app
from .database import Database
from .seed import first_start
from .shop import Shop


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m legacy_monolith", description="Corner Shop, the sample monolith.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--db", type=Path, default=Path("var/shop.db"), help="SQLite file; made and seeded if missing")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    database = Database(args.db)
    first_start(database)
    uvicorn.run(
        create_app(Shop(database, time.time, lambda: secrets.token_hex(16))),
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


if __name__ == "__main__":
    main()
