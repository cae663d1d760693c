from __future__ import annotations

import pytest

HOME = {"street": "1 Elm|Street", "city": "Springfield", "zip": "10001"}
MUGS = {"items": [{"product_id": 7, "qty": 2}], "card": "tok_ok", "ship_to": HOME, "fulfilment": "delivery"}
NOISE = {
    "items": [{"product_id": 19, "qty": 1}, {"product_id": 20, "qty": 1}],
    "card": "tok_ok",
    "fulfilment": "pickup",
}


@pytest.fixture
def ada(browser):
    browser.login("ada")
    return browser


def shelf(browser, sku="SKU-0007"):
    return browser.get(f"/api/stock/{sku}").json()


def test_stock_is_asked_by_sku(browser):
    assert shelf(browser) == {"sku": "SKU-0007", "on_hand": 40, "reserved": 2}
    assert shelf(browser, "SKU-9999") == {"ok": False, "error": "no such sku"}


def test_an_old_order_is_there(ada):
    assert ada.get("/api/orders/ORD-000042").json() == {
        "order_id": "ORD-000042",
        "customerId": 7,
        "status": 4,
        "orderDate": "11/22/2026 18:01:00",
        "paid": 1795388460,
        "total": 39.98,
        "shipTo": "42 Main Street|Springfield|10042",
        "lines": [{"product_id": 7, "name": "Mug", "qty": 2, "price": 19.99}],
    }


def test_checkout_makes_an_order_and_reserves_its_stock(ada):
    assert ada.post("/api/checkout", json=MUGS).json() == {"ok": True, "order_id": "ORD-000043", "total": 39.98}
    order = ada.get("/api/orders/ORD-000043").json()
    assert (order["status"], order["orderDate"], order["paid"]) == (2, "11/23/2026 12:00:00", 1795453200)
    assert order["shipTo"] == "1 Elm Street|Springfield|10001"
    assert shelf(ada)["reserved"] == 4


def test_money_is_float_with_its_noise(ada):
    assert ada.post("/api/checkout", json=NOISE).content == (
        b'{"ok":true,"order_id":"ORD-000043","total":0.30000000000000004}'
    )


def test_an_order_picked_up_has_no_address(ada):
    ada.post("/api/checkout", json=NOISE)
    assert "shipTo" not in ada.get("/api/orders/ORD-000043").json()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"card": "tok_decline"}, "card declined"),
        ({"items": []}, "basket is empty"),
        ({"items": [{"product_id": 7, "qty": 39}]}, "product 7 is out of stock"),
        ({"items": [{"product_id": 7, "qty": 38}, {"product_id": 7, "qty": 1}]}, "product 7 is out of stock"),
        ({"items": [{"product_id": 7, "qty": 1}, {"product_id": 31, "qty": 1}]}, "product 31 is not for sale"),
        ({"items": [{"product_id": 10**30, "qty": 1}]}, f"product {10**30} is not for sale"),
        ({"items": [{"product_id": 7, "qty": 0}]}, "qty 0 is not between 1 and 999"),
        ({"items": [{"product_id": 7, "qty": True}]}, "qty True is not between 1 and 999"),
        ({"ship_to": {"city": "Springfield"}}, "ship_to needs street, city and zip"),
    ],
)
def test_a_refused_checkout_is_a_200_and_leaves_nothing_behind(ada, change, error):
    before = ada.get("/api/orders").json()
    reply = ada.post("/api/checkout", json=MUGS | change)
    assert (reply.status_code, reply.json()) == (200, {"ok": False, "error": error})
    assert shelf(ada)["reserved"] == 2
    assert ada.get("/api/orders").json() == before


def test_checkout_needs_a_session(browser):
    assert browser.post("/api/checkout", json=MUGS).json() == {"ok": False, "error": "not logged in"}


@pytest.mark.parametrize("body", ["{", "[]", '{"items": []', "{}"])
def test_a_body_that_is_no_basket_ends_on_the_error_page(ada, body):
    reply = ada.post("/api/checkout", content=body)
    assert (reply.status_code, reply.headers["content-type"]) == (500, "text/html; charset=utf-8")


def test_sixty_buyers_of_the_last_mugs_get_exactly_what_is_there(ada):
    one = MUGS | {"items": [{"product_id": 7, "qty": 1}]}
    replies = ada.together(*[("POST", "/api/checkout", {"json": one})] * 60)
    refusals = [reply.json()["error"] for reply in replies if not reply.json()["ok"]]
    sold = [reply.json()["order_id"] for reply in replies if reply.json()["ok"]]
    assert (len(sold), len(set(sold))) == (38, 38)
    assert refusals == ["product 7 is out of stock"] * 22
    assert shelf(ada) == {"sku": "SKU-0007", "on_hand": 40, "reserved": 40}


def test_reading_goes_on_while_a_writer_holds_the_file(ada, database):
    with database.write() as connection:
        connection.execute("UPDATE stock SET on_hand = 0, reserved = 0 WHERE product_id = 7")
        assert shelf(ada)["on_hand"] == 40
    assert shelf(ada)["on_hand"] == 0


def test_orders_are_listed_in_rowid_order_and_only_ones_own(ada):
    orders = ada.get("/api/orders").json()["orders"]
    assert [order["order_id"] for order in orders] == ["ORD-000006", "ORD-000018", "ORD-000030", "ORD-000042"]
    assert {order["customerId"] for order in orders} == {7}


def test_somebody_elses_order_does_not_exist(ada):
    no = {"ok": False, "error": "no such order"}
    for ref in ("ORD-000041", "ORD-999999", "42", "ORD-x", "01JD8Z"):
        assert ada.get(f"/api/orders/{ref}").json() == no
        assert ada.post(f"/api/orders/{ref}/cancel").json() == no


def test_cancel_gives_back_stock_and_money_once(ada):
    ada.post("/api/checkout", json=MUGS)
    assert ada.post("/api/orders/ORD-000043/cancel").json() == {"ok": True}
    order = ada.get("/api/orders/ORD-000043").json()
    assert (order["status"], "paid" in order, shelf(ada)["reserved"]) == (6, False, 2)
    again = ada.post("/api/orders/ORD-000043/cancel").json()
    assert again == {"ok": False, "error": "order is already shipped or cancelled"}
    assert shelf(ada)["reserved"] == 2


def test_a_shipped_order_is_not_cancelled(ada):
    assert ada.post("/api/orders/ORD-000042/cancel").json()["ok"] is False
    assert ada.get("/api/orders/ORD-000042").json()["status"] == 4
