"""`python -m legacy_monolith.cron reprice`: the nightly job. Writes SQL directly, past the app and its modules."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .database import Database

# Scarce goods rise by ten cents, plenty falls by ten cents. Float arithmetic, so prices pick up noise.
REPRICE = """
UPDATE products
SET price = price + CASE WHEN s.on_hand < 20 THEN 0.1 ELSE -0.1 END, updated = :now, updated_by = 'cron'
FROM stock s
WHERE s.product_id = products.id AND active = 'Y' AND price > 1 AND (s.on_hand < 20 OR s.on_hand > 70)
"""


def reprice(database: Database, now: float) -> int:
    """How many prices changed."""
    with database.write() as connection:
        return connection.execute(REPRICE, {"now": int(now)}).rowcount


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m legacy_monolith.cron", description="Corner Shop's nightly jobs.")
    parser.add_argument("job", choices=["reprice"])
    parser.add_argument("--db", type=Path, default=Path("var/shop.db"))
    args = parser.parse_args()
    if not args.db.exists():
        sys.stderr.write(f"{args.db}: no such file; start `python -m legacy_monolith --db {args.db}` once to make it\n")
        return 1
    database = Database(args.db)
    changed = reprice(database, time.time())
    database.close()
    sys.stdout.write(f"repriced {changed} products\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
