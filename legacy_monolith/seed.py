"""The data of the first start: the same on every machine, computed without clock or chance."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path

from .accounts import hashed
from .database import Database
from .formats import SHOP_ZONE, sql_seconds, total, us_seconds

SCHEMA_VERSION = 1
HOUR_S, DAY_S = 3600, 86_400

# Ids count through in this order: 7 is the Mug, 19 and 20 cost 0.1 and 0.2.
SHELVES = {
    "kitchen": "Plate,Bowl,Fork,Spoon,Knife,Café press,Mug,Teapot,Sieve,Grater,Ladle",
    "office": "Pen,Ink,Notebook,Ruler,Stapler,Folder,Desk lamp,Paper clip,Pencil,Eraser",
    "garden": "Trowel,Rake,Watering can,Seed tray,Gloves,Bird feeder,Hose,Flower pot,Twine,Lantern",
    "toys": "Kite,Yo-yo,Spinning top,Puzzle,Marbles,Teddy bear,Wooden train,Domino,Skipping rope,Ball",
    "books": "Atlas,Cookbook,Dictionary,Fairy tales,Field guide,Crossword,Poems,Almanac,Sketchbook,Diary",
    "bath": "Soap,Sponge,Towel,Robe,Bath salt,Brush,Mirror,Slippers,Candle,Soap dish,Foot stool",
}
PRICES = {7: 19.99, 19: 0.1, 20: 0.2}
ON_HAND = {7: 40}
RETIRED = (31, 62)
FEATURES = {7: "gift", 8: "gift", 60: "gift"}

FIRST_NAMES = (
    *("Grace", "Alan", "Barbara", "Dennis", "Edsger", "Frances"),
    *("Ada", "John", "Katherine", "Linus", "Margaret", "Niklaus"),
)
STAFF = (1,)
OPEN_ORDERS = {39: 2, 40: 2, 41: 3}  # order id → status; the others are shipped, delivered or cancelled
LINES = {40: [(7, 2)], 42: [(7, 2)]}
CUSTOMERS = {42: 7}
STATUSES = {42: 4}

LAST_UPDATE = datetime(2026, 11, 23, 4, 32, 10, tzinfo=SHOP_ZONE).timestamp()
LAST_ORDER = datetime(2026, 11, 22, 18, 1, 0, tzinfo=SHOP_ZONE).timestamp()
ORDER_COUNT = 42


def first_start(database: Database) -> None:
    """Tables, and the data if there is none yet. Killed on the way, the next start completes it."""
    with database.read() as connection:
        connection.executescript(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
    with database.write() as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION:
            sow(connection)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def sow(connection: sqlite3.Connection) -> None:
    connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", customers())
    connection.executemany("INSERT INTO products VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'seed')", products())
    connection.executemany(
        "INSERT INTO stock (product_id, on_hand) VALUES (?, ?)",
        [(product[0], ON_HAND.get(product[0], 12 + product[0] * 37 % 90)) for product in products()],
    )
    prices = {product[0]: product[4] for product in products()}
    for order_id in range(1, ORDER_COUNT + 1):
        sow_order(connection, order_id, prices)


def customers() -> list[tuple[int, str, str, str, str | None, str, int, str, None]]:
    rows = []
    for id_, name in enumerate(FIRST_NAMES, start=1):
        email = f"{name.lower()}@shop.example"
        password = hashed(f"{name.lower()}-secret", salt=f"seed{id_}")
        phone = f"555-01{id_:02d}" if id_ % 3 == 0 else None
        created = sql_seconds(LAST_ORDER - (200 - id_) * DAY_S)
        rows.append((id_, email, password, name, phone, "Y" if id_ % 7 == 0 else "N", int(id_ in STAFF), created, None))
    return rows


def products() -> list[tuple[int, str, str, str | None, float, str, str, str | None, str, int]]:
    rows = []
    named = [(category, name) for category, names in SHELVES.items() for name in names.split(",")]
    for id_, (category, name) in enumerate(named, start=1):
        descr = None if id_ % 9 == 0 else f"{name} for the {category} shelf"
        price = PRICES.get(id_, (199 + id_ * 737 % 4800) / 100)
        tags = f"{category},{FEATURES[id_]}" if id_ in FEATURES else category
        img = None if id_ % 11 == 0 else f"/img/{id_:04d}.jpg"
        updated = int(LAST_UPDATE - abs(id_ - 7) * 5 * HOUR_S)
        active = "N" if id_ in RETIRED else "Y"
        rows.append((id_, f"SKU-{id_:04d}", name, descr, price, category, tags, img, active, updated))
    return rows


def sow_order(connection: sqlite3.Connection, order_id: int, prices: dict[int, float]) -> None:
    lines = LINES.get(order_id, [(8 + order_id % 40, 1 + order_id % 3), (49 + order_id % 10, 1)])
    status = OPEN_ORDERS.get(order_id, STATUSES.get(order_id, (5, 5, 4, 6)[order_id % 4]))
    placed = LAST_ORDER - (ORDER_COUNT - order_id) * DAY_S * 3
    amount = total([(prices[product_id], qty) for product_id, qty in lines])
    customer_id = CUSTOMERS.get(order_id, 1 + order_id * 5 % len(FIRST_NAMES))
    ship_to = None if order_id % 5 == 0 else f"{order_id} Main Street|Springfield|{10_000 + order_id}"
    connection.execute(
        "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)",
        (order_id, customer_id, status, amount, ship_to, us_seconds(placed)),
    )
    connection.executemany(
        "INSERT INTO order_items (order_id, product_id, qty, price) VALUES (?, ?, ?, ?)",
        [(order_id, product_id, qty, prices[product_id]) for product_id, qty in lines],
    )
    connection.execute(
        "INSERT INTO payments (order_id, amount, card, status, at) VALUES (?, ?, 'tok_ok', ?, ?)",
        (order_id, amount, "refunded" if status == 6 else "captured", int(placed)),
    )
    if order_id in OPEN_ORDERS:
        connection.executemany(
            "UPDATE stock SET reserved = reserved + ? WHERE product_id = ?", [(qty, id_) for id_, qty in lines]
        )
