-- One file for every module. Who reads and writes what across module lines: README.md, "Seam map".
-- Times: created, order_date are text in two formats; seen, updated, at are seconds since the epoch.

CREATE TABLE IF NOT EXISTS customers (
  id         INTEGER PRIMARY KEY,
  email      TEXT NOT NULL UNIQUE COLLATE NOCASE,
  password   TEXT NOT NULL,                       -- pbkdf2$ITERATIONS$SALT$HEX
  name       TEXT NOT NULL,
  phone      TEXT,
  vip        TEXT NOT NULL DEFAULT 'N',           -- Y | N
  staff      INTEGER NOT NULL DEFAULT 0,          -- 1 | 0
  created    TEXT NOT NULL,                       -- 2026-11-23 04:32:10, UTC
  last_login INTEGER
);

CREATE TABLE IF NOT EXISTS sessions (
  sid         TEXT PRIMARY KEY,
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  seen        INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS products (
  id         INTEGER PRIMARY KEY,
  sku        TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL,
  descr      TEXT,
  price      REAL NOT NULL,
  category   TEXT NOT NULL,
  tags       TEXT NOT NULL DEFAULT '',            -- a,b,c
  img        TEXT,
  active     TEXT NOT NULL DEFAULT 'Y',           -- Y | N
  updated    INTEGER NOT NULL,
  updated_by TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS stock (
  product_id INTEGER PRIMARY KEY REFERENCES products (id),
  on_hand    INTEGER NOT NULL,
  reserved   INTEGER NOT NULL DEFAULT 0,
  CHECK (reserved BETWEEN 0 AND on_hand)
);

CREATE TABLE IF NOT EXISTS orders (
  id          INTEGER PRIMARY KEY,
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  status      INTEGER NOT NULL,                   -- 1 new 2 paid 3 packed 4 shipped 5 delivered 6 cancelled
  total       REAL NOT NULL,
  ship_to     TEXT,                               -- street|city|zip; NULL is picked up in the shop
  order_date  TEXT NOT NULL                       -- 11/22/2026 18:01:00, shop time
);
CREATE INDEX IF NOT EXISTS orders_by_customer ON orders (customer_id);

CREATE TABLE IF NOT EXISTS order_items (
  id         INTEGER PRIMARY KEY,
  order_id   INTEGER NOT NULL REFERENCES orders (id),
  product_id INTEGER NOT NULL REFERENCES products (id),
  qty        INTEGER NOT NULL,
  price      REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS items_by_order ON order_items (order_id);

CREATE TABLE IF NOT EXISTS payments (
  id       INTEGER PRIMARY KEY,
  order_id INTEGER NOT NULL REFERENCES orders (id),
  amount   REAL NOT NULL,
  card     TEXT NOT NULL,
  status   TEXT NOT NULL,                         -- captured | refunded
  at       INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS payments_by_order ON payments (order_id);
