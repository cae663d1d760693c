"""`python -m legacy_monolith`: the shop on one port, its file seeded at the first start."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from pathlib import Path

import uvicorn

from .app import create_app
from .database import Database
from .identity import Identities, rule_of
from .seed import first_start
from .shop import Shop


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m legacy_monolith", description="Corner Shop, the sample monolith.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--db", type=Path, default=Path("var/shop.db"), help="SQLite file; made and seeded if missing")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    try:
        rule = rule_of(os.environ, "SHOP")
    except ValueError as why:
        sys.stderr.write(f"{why}\n")
        return 2
    database = Database(args.db)
    first_start(database)
    uvicorn.run(
        create_app(
            Shop(database, time.time, lambda: secrets.token_hex(16)),
            Identities(rule) if rule else None,
            os.environ.get("SHOP_INTROSPECTION_TOKEN", ""),
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
