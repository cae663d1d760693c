from __future__ import annotations

import pytest

from legacy_monolith.database import Database
from legacy_monolith.seed import first_start


def exported(browser, table, limit):
    rows, after_pk = [], 0
    while after_pk is not None:
        page = browser.get(f"/internal/export/{table}?after_pk={after_pk}&limit={limit}").json()
        rows += page["rows"]
        after_pk = page["next"]
    return rows


@pytest.mark.parametrize("limit", [1, 31, 62, 500])
def test_pages_of_any_size_give_every_row_once(browser, limit):
    rows = exported(browser, "products", limit)
    assert [row["id"] for row in rows] == list(range(1, 63))


def test_rows_are_raw_with_nulls_and_epoch_seconds(browser):
    row = exported(browser, "products", 100)[8]
    assert (row["descr"], row["active"], type(row["updated"])) == (None, "Y", int)


@pytest.mark.parametrize("table", ["stock", "customers", "orders", "order_items", "payments"])
def test_the_other_tables_are_exported_without_secrets(browser, table):
    rows = exported(browser, table, 40)
    assert rows
    assert not {"password", "card", "sid"} & set(rows[0])


@pytest.mark.parametrize("table", ["sessions", "sqlite_master", "products;--"])
def test_nothing_else_is_exported(browser, table):
    assert browser.get(f"/internal/export/{table}").status_code == 404


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
def test_what_came_through_a_proxy_finds_no_export(browser, header):
    assert browser.get("/internal/export/customers", headers={header: "1.1 fig"}).status_code == 404


def test_the_probes_are_green(browser):
    assert [browser.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_not_ready_when_the_file_has_no_shop_in_it(browser, database):
    with database.write() as connection:
        connection.execute("ALTER TABLE products RENAME TO gone")
    reply = browser.get("/readyz")
    assert (reply.status_code, reply.json()["error"]) == (503, "shop database: no such table: products")


def test_a_second_start_keeps_what_was_written(database):
    with database.write() as connection:
        connection.execute("DELETE FROM order_items")
    first_start(database)
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM order_items").fetchone()[0] == 0
        assert connection.execute("SELECT count(*) FROM products").fetchone()[0] == 62


def test_the_data_is_the_same_on_every_first_start(database, tmp_path):
    other = Database(tmp_path / "folder" / "other.db")
    first_start(other)
    with database.read() as one, other.read() as two:
        assert list(one.iterdump()) == list(two.iterdump())
    other.close()


def test_reserved_stock_is_what_open_orders_hold(database):
    query = """
        SELECT s.product_id FROM stock s WHERE s.reserved != (
          SELECT coalesce(sum(i.qty), 0) FROM order_items i JOIN orders o ON o.id = i.order_id
          WHERE i.product_id = s.product_id AND o.status < 4)
    """
    with database.read() as connection:
        assert connection.execute(query).fetchall() == []
