"""What clients of the catalog seam rely on: held by whoever answers, and answered alike."""

from __future__ import annotations

import pytest

LISTS = [
    "/api/products",
    "/api/products/",
    "/api/products?page=",
    "/api/products?page=1",
    "/api/products?page=2",
    "/api/products?page=4",
    "/api/products?page=0",
    "/api/products?page=-3",
    "/api/products?page=1000000",
    "/api/products?page=1&page=3",
    "/api/products?category=toys",
    "/api/products?category=",
    "/api/products?category=none",
    "/api/products?category=odd%20%26%20ends&page=1",
    "/api/search",
    "/api/search?q=",
    "/api/search?q=mug",
    "/api/search?q=MUG",
    "/api/search?q=100%25",
    "/api/search?q=%25",
    "/api/search?q=_",
    "/api/search?q=!",
    "/api/search?q=Z%C3%BCrich",
    "/api/search?q=z%C3%9Crich",
    "/api/search?q=O'Hara&page=1",
    "/api/search?q=shelf&page=3",
    "/api/search/?q=caf%C3%A9",
    "/api/search?q=%FF",
]
UNKNOWN = ["/api/products/0", "/api/products/9999", "/api/products/" + "9" * 30]


def without_price(body):
    items = body.get("items", [body])
    return [{name: value for name, value in item.items() if name != "price"} for item in items]


def prices(body):
    return [item["price"] for item in body.get("items", [body]) if "price" in item]


def test_a_product_has_these_fields(ask):
    reply = ask("GET", "/api/products/7")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert list(reply.json()) == [
        *("id", "sku", "name", "descr", "price"),
        *("category", "tags", "img", "active", "updated"),
    ]


def test_an_id_may_have_leading_zeros(ask):
    assert ask("GET", "/api/products/007").json()["id"] == 7


@pytest.mark.parametrize("path", UNKNOWN)
def test_an_unknown_product_is_a_200_that_says_no(ask, path):
    reply = ask("GET", path)
    assert (reply.status_code, reply.json()) == (200, {"ok": False, "error": "no such product"})


def test_pages_hold_twenty_and_together_everything_sold_once(ask):
    pages = [ask("GET", f"/api/products?page={page}").json() for page in (1, 2, 3, 4, 5)]
    ids = [item["id"] for page in pages for item in page["items"]]
    assert [len(page["items"]) for page in pages] == [20, 20, 20, 2, 0]
    assert ids == sorted(set(ids))
    assert {page["total"] for page in pages} == {len(ids)}


def test_search_takes_its_text_literally(ask):
    assert [item["id"] for item in ask("GET", "/api/search?q=100%25").json()["items"]] == [63]
    assert ask("GET", "/api/search?q=_").json() == {"items": [], "total": 0}


def test_reading_is_all_that_get_and_head_do(ask):
    before = ask("GET", "/api/products").content
    for method in ("GET", "HEAD"):
        for path in ("/api/products", "/api/products/7", "/api/search?q=mug"):
            assert ask(method, path).status_code == 200
    assert ask("GET", "/api/products").content == before


def test_other_methods_are_not_part_of_the_seam(ask):
    assert ask("DELETE", "/api/products/7").status_code == 405
    assert ask("POST", "/api/search").status_code == 405


@pytest.mark.parametrize("number", range(1, 64))
def test_every_product_is_answered_with_the_same_bytes(ask_monolith, ask_catalog, number):
    old, new = ask_monolith("GET", f"/api/products/{number}"), ask_catalog("GET", f"/api/products/{number}")
    assert (new.status_code, new.headers["content-type"]) == (old.status_code, old.headers["content-type"])
    assert new.content == old.content


@pytest.mark.parametrize("path", [*LISTS, *UNKNOWN, "/api/products/65", "/api/products/65/", "/api/products/x"])
def test_every_answer_is_the_same_but_for_the_noise_of_float_prices(ask_monolith, ask_catalog, path):
    old, new = ask_monolith("GET", path), ask_catalog("GET", path)
    assert (new.status_code, new.headers["content-type"]) == (old.status_code, old.headers["content-type"])
    assert without_price(new.json()) == without_price(old.json())
    assert prices(new.json()) == pytest.approx(prices(old.json()), abs=0.005)
    assert new.json().get("total") == old.json().get("total")


@pytest.mark.parametrize("path", ["/api/products", "/api/products/7", "/api/search?q=mug"])
def test_head_promises_what_get_gives(ask_monolith, ask_catalog, path):
    lengths = {ask("HEAD", path).headers["content-length"] for ask in (ask_monolith, ask_catalog)}
    assert lengths == {str(len(ask_monolith("GET", path).content))}


def test_the_known_differences_are_still_there(ask_monolith, ask_catalog):
    """Each is a row of the catalog's README. One that is gone should leave the README as well."""
    assert [ask("GET", "/api/products?page=x").status_code for ask in (ask_monolith, ask_catalog)] == [500, 400]
    assert [ask("GET", "/api/products/64").json()["price"] for ask in (ask_monolith, ask_catalog)] == [0.1 + 0.2, 0.3]
    powered = ["x-powered-by" in ask("GET", "/api/products/7").headers for ask in (ask_monolith, ask_catalog)]
    assert powered == [True, False]
