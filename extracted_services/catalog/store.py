"""Products in SQLite. Knows rows and transactions, no rule and no HTTP. Safe over threads: one connection, one lock."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .domain import Money, Product

COLUMNS = "id, sku, name, description, category, tags, images, active, amount, currency, updated_at, version"

# A row that was edited here is newer than any export; an equal one keeps its version, so that ETags stay good.
IMPORT = f"""
INSERT INTO products ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
  sku = excluded.sku, name = excluded.name, description = excluded.description, category = excluded.category,
  tags = excluded.tags, images = excluded.images, active = excluded.active, amount = excluded.amount,
  currency = excluded.currency, updated_at = excluded.updated_at, version = products.version + 1
WHERE edited = 0
  AND (products.sku, products.name, products.description, products.category, products.tags, products.images,
       products.active, products.amount, products.currency, products.updated_at)
  IS NOT (excluded.sku, excluded.name, excluded.description, excluded.category, excluded.tags, excluded.images,
          excluded.active, excluded.amount, excluded.currency, excluded.updated_at)
"""

REPLACE = """
UPDATE products SET name = ?, description = ?, category = ?, tags = ?, images = ?, active = ?, amount = ?,
  currency = ?, updated_at = ?, version = ?, edited = 1
WHERE id = ? AND version = ?
"""


def to_row(product: Product) -> tuple[object, ...]:
    labels = (json.dumps(product.tags), json.dumps(product.images))
    head = (product.id, product.sku, product.name, product.description, product.category, *labels)
    return (*head, product.active, product.price.amount, product.price.currency, product.updated_at, product.version)


def from_row(row: sqlite3.Row) -> Product:
    return Product(
        id=row["id"],
        sku=row["sku"],
        name=row["name"],
        description=row["description"],
        category=row["category"],
        tags=tuple(json.loads(row["tags"])),
        images=tuple(json.loads(row["images"])),
        active=bool(row["active"]),
        price=Money(row["amount"], row["currency"]),
        updated_at=row["updated_at"],
        version=row["version"],
    )


def like(words: str) -> str:
    """LIKE pattern for `words` anywhere, with no wildcards of the caller's (ESCAPE '!')."""
    for special in "!%_":
        words = words.replace(special, "!" + special)
    return f"%{words}%"


class Store:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.executescript(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def product(self, product_id: int) -> Product | None:
        with self._lock:
            row = self._connection.execute(f"SELECT {COLUMNS} FROM products WHERE id = ?", (product_id,)).fetchone()
        return None if row is None else from_row(row)

    def in_category(self, category: str | None, limit: int, offset: int) -> tuple[list[Product], int]:
        """One page of what is sold, by id, and how many there are in all. None is every category."""
        return self._page("(? IS NULL OR category = ?)", (category, category), limit, offset)

    def matching(self, words: str, limit: int, offset: int) -> tuple[list[Product], int]:
        pattern = like(words)
        return self._page(
            "(name LIKE ? ESCAPE '!' OR description LIKE ? ESCAPE '!')", (pattern, pattern), limit, offset
        )

    def replace(self, product: Product, expected_version: int) -> bool:
        """False when the stored version is no longer `expected_version`."""
        values = to_row(product)[2:]
        with self._lock:
            return self._connection.execute(REPLACE, (*values, product.id, expected_version)).rowcount == 1

    def import_page(self, products: Sequence[Product], after_pk: int, complete: bool) -> None:
        """Rows and progress in one transaction. Once complete, always complete: a second run only refreshes."""
        with self._transaction() as connection:
            connection.executemany(IMPORT, [to_row(product) for product in products])
            connection.execute("UPDATE backfill SET after_pk = ?, complete = complete OR ?", (after_pk, complete))

    def backfill_cursor(self) -> int:
        """The key after which the next page begins; 0 is the start."""
        with self._lock:
            return int(self._connection.execute("SELECT after_pk FROM backfill").fetchone()["after_pk"])

    def is_backfilled(self) -> bool:
        with self._lock:
            return bool(self._connection.execute("SELECT complete FROM backfill").fetchone()["complete"])

    def _page(self, where: str, values: tuple[object, ...], limit: int, offset: int) -> tuple[list[Product], int]:
        query = f"FROM products WHERE active = 1 AND {where}"
        with self._lock:
            total = self._connection.execute(f"SELECT count(*) {query}", values).fetchone()[0]
            rows = self._connection.execute(
                f"SELECT {COLUMNS} {query} ORDER BY id LIMIT ? OFFSET ?", (*values, limit, offset)
            ).fetchall()
        return [from_row(row) for row in rows], total

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
