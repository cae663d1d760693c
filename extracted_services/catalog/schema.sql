CREATE TABLE IF NOT EXISTS products (
  id          INTEGER PRIMARY KEY,
  sku         TEXT NOT NULL UNIQUE,
  name        TEXT NOT NULL,
  description TEXT,
  category    TEXT NOT NULL,
  tags        TEXT NOT NULL,                      -- JSON array of text
  images      TEXT NOT NULL,                      -- JSON array of text
  active      INTEGER NOT NULL CHECK (active IN (0, 1)),
  amount      INTEGER NOT NULL CHECK (amount >= 0),  -- hundredths of the currency
  currency    TEXT NOT NULL,
  updated_at  INTEGER NOT NULL,                   -- seconds since the epoch
  version     INTEGER NOT NULL,
  edited      INTEGER NOT NULL DEFAULT 0          -- 1: written here, so a backfill leaves it alone
);

CREATE INDEX IF NOT EXISTS products_by_category ON products (category);

-- One row: how far the backfill has come, and whether it ever came to the end.
CREATE TABLE IF NOT EXISTS backfill (
  id       INTEGER PRIMARY KEY CHECK (id = 1),
  after_pk INTEGER NOT NULL,
  complete INTEGER NOT NULL
);
INSERT OR IGNORE INTO backfill VALUES (1, 0, 0);
