from __future__ import annotations

import pytest

from legacy_monolith.cron import reprice


def price(browser, product_id):
    return browser.get(f"/api/products/{product_id}").json()["price"]


def test_a_product_has_csv_tags_a_letter_for_a_flag_and_a_local_time_to_the_minute(browser):
    assert browser.get("/api/products/7").json() == {
        "id": 7,
        "sku": "SKU-0007",
        "name": "Mug",
        "descr": "Mug for the kitchen shelf",
        "price": 19.99,
        "category": "kitchen",
        "tags": "kitchen,gift",
        "img": "/img/0007.jpg",
        "active": "Y",
        "updated": "11/23/2026 04:32",
    }


def test_a_product_without_text_or_picture_lacks_the_fields(browser):
    assert "descr" not in browser.get("/api/products/9").json()
    assert "img" not in browser.get("/api/products/11").json()


def test_the_list_has_what_is_sold_in_rowid_order_twenty_a_page(browser):
    pages = [browser.get(f"/api/products?page={page}").json() for page in (1, 2, 3, 4)]
    ids = [item["id"] for page in pages for item in page["items"]]
    assert [len(page["items"]) for page in pages] == [20, 20, 20, 0]
    assert {page["total"] for page in pages} == {60}
    assert ids == [number for number in range(1, 62) if number != 31]


def test_what_is_no_longer_sold_can_still_be_looked_at(browser):
    assert browser.get("/api/products/31").json()["active"] == "N"


def test_a_category_narrows_the_list(browser):
    page = browser.get("/api/products?category=toys").json()
    assert page["total"] == 10
    assert {item["category"] for item in page["items"]} == {"toys"}
    assert browser.get("/api/products?category=cars").json() == {"items": [], "total": 0}


@pytest.mark.parametrize(
    ("words", "total"), [("MUG", 1), ("kitchen", 10), ("Café", 1), ("%", 0), ("_", 0), ("!", 0), ("", 60)]
)
def test_search_looks_into_name_and_description_for_the_plain_text(browser, words, total):
    assert browser.get("/api/search", params={"q": words}).json()["total"] == total


@pytest.mark.parametrize("name", ["9999", "0", "-1", "x", "7x", "٧", "9" * 30])
def test_an_unknown_product_is_a_200_that_says_no(browser, name):
    reply = browser.get(f"/api/products/{name}")
    assert (reply.status_code, reply.json()) == (200, {"ok": False, "error": "no such product"})


def test_what_nobody_thought_of_is_an_html_page(browser):
    reply = browser.get("/api/products?page=x")
    assert (reply.status_code, reply.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "<h1>500 Internal Server Error</h1>" in reply.text


@pytest.mark.parametrize(
    "path", ["/api/products", "/api/products/7", "/api/search?q=mug", "/api/stock/SKU-0007", "/api/me", "/api/orders"]
)
def test_every_route_has_a_twin_with_a_slash_at_its_end(browser, path):
    browser.login("ada")
    page, _, query = path.partition("?")
    plain, twin = browser.get(path), browser.get(f"{page}/?{query}")
    assert (twin.status_code, twin.content) == (200, plain.content)


def test_every_reply_says_what_it_is_powered_by(browser):
    for path in ("/api/products/7", "/api/products?page=x", "/nowhere", "/internal/export/nothing", "/readyz"):
        assert browser.get(path).headers["x-powered-by"] == "CornerShop/2.3", path


def test_staff_change_a_price(browser, clock):
    browser.login("grace")
    clock.advance(60)
    assert browser.put("/api/products/7", json={"price": 21.5}).json() == {"ok": True}
    product = browser.get("/api/products/7").json()
    assert (product["price"], product["updated"]) == (21.5, "11/23/2026 12:01")


def test_customers_do_not_change_a_price(browser):
    assert browser.put("/api/products/7", json={"price": 1}).json() == {"ok": False, "error": "not logged in"}
    browser.login("ada")
    assert browser.put("/api/products/7", json={"price": 1}).json() == {"ok": False, "error": "staff only"}
    assert price(browser, 7) == 19.99


@pytest.mark.parametrize(
    "body", ['{"price": NaN}', '{"price": -1}', '{"price": 0}', '{"price": true}', '{"price": "1"}']
)
def test_a_price_that_is_none_is_refused(browser, body):
    browser.login("grace")
    assert browser.put("/api/products/7", content=body).json()["ok"] is False
    assert price(browser, 7) == 19.99


def test_the_nightly_job_writes_past_the_app_and_leaves_noise_behind(browser, database, clock):
    cheap = {item["id"]: item["price"] for item in browser.get("/api/products").json()["items"]}
    changed = reprice(database, clock.now)
    noisy = [number for number in range(1, 62) if len(str(price(browser, number))) > 6]
    assert changed > 10
    assert noisy
    assert price(browser, 7) == cheap[7]
    with database.read() as connection:
        by = {row["updated_by"] for row in connection.execute("SELECT DISTINCT updated_by FROM products")}
    assert by == {"seed", "cron"}
