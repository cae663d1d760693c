from __future__ import annotations

import asyncio

import pytest

from extracted_services.catalog.app import create_app
from extracted_services.catalog.backfill import backfill
from extracted_services.catalog.domain import rounding_bug
from extracted_services.catalog.service import Catalog

CHEAPER = {"price": {"amount": 1500, "currency": "USD"}}


@pytest.fixture
def put(catalog):
    def put(change, if_match, path="/v2/products/7"):
        return catalog.put(path, json=change, headers={"if-match": if_match})

    return put


def test_v2_has_cents_lists_and_an_etag(catalog):
    reply = catalog.get("/v2/products/7")
    assert reply.headers["etag"] == '"v1"'
    assert reply.json() == {
        "id": "7",
        "name": "Mug",
        "description": "Mug for the kitchen shelf",
        "images": ["/img/0007.jpg"],
        "attributes": {"sku": "SKU-0007", "tags": ["kitchen", "gift"], "active": True},
        "category": "kitchen",
        "price": {"amount": 1999, "currency": "USD"},
    }


def test_an_unknown_product_is_a_problem_404(catalog):
    for name in ("9999", "x", "9" * 30):
        reply = catalog.get(f"/v2/products/{name}")
        assert (reply.status_code, reply.headers["content-type"]) == (404, "application/problem+json")


def test_a_change_with_the_right_etag_answers_the_next_one_and_shows_on_both_shapes(catalog, put):
    reply = put(CHEAPER, '"v1"')
    assert (reply.status_code, reply.headers["etag"]) == (200, '"v2"')
    assert catalog.get("/v2/products/7").json() == reply.json()
    product = catalog.get("/api/products/7").json()
    assert (product["price"], product["updated"]) == (15.0, "11/23/2026 12:00")


@pytest.mark.parametrize("if_match", ['"v2"', 'W/"v1"', '"1"', "v1", ""])
def test_a_change_with_another_etag_is_a_412_and_changes_nothing(catalog, put, if_match):
    reply = put(CHEAPER, if_match)
    assert (reply.status_code, reply.headers["etag"]) == (412, '"v1"')
    assert catalog.get("/v2/products/7").json()["price"]["amount"] == 1999


@pytest.mark.parametrize("if_match", ["*", '"v9", "v1"'])
def test_any_of_the_etags_will_do(put, if_match):
    assert put(CHEAPER, if_match).status_code == 200


def test_a_change_without_if_match_is_a_428(catalog):
    assert catalog.put("/v2/products/7", json=CHEAPER).status_code == 428


def test_what_was_read_can_be_written_back(catalog, put):
    product = catalog.get("/v2/products/7").json()
    assert put(product, '"v1"').json() == product


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[" * 100_000, 400), (b"[]", 422), (b'{"price": {"amount": NaN}}', 422)]
)
def test_a_bad_body_is_a_problem(catalog, body, status):
    reply = catalog.put("/v2/products/7", content=body, headers={"if-match": "*"})
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")


def test_a_change_of_an_unknown_product_is_a_404(put):
    assert put(CHEAPER, "*", path="/v2/products/9999").status_code == 404


def test_of_two_changes_at_once_one_wins(catalog):
    how = {"json": CHEAPER, "headers": {"if-match": '"v1"'}}
    replies = catalog.together(*[("PUT", "/v2/products/7", how)] * 10)
    assert sorted(reply.status_code for reply in replies) == [200] + [412] * 9
    assert catalog.get("/v2/products/7").headers["etag"] == '"v2"'


def test_the_catalog_has_no_word_for_who_buys(catalog, filled):
    paths = ("/v2/products/7", "/api/products/7", "/api/products")
    assert not [path for path in paths if "customer" in catalog.get(path).text]


def test_a_page_that_is_no_number_is_a_400_here(catalog):
    for page in ("x", "9" * 40, "9" * 5000):
        reply = catalog.get(f"/api/products?page={page}")
        assert (reply.status_code, reply.json()["ok"]) == (400, False)


def test_the_planted_bug_shows_in_both_shapes(open_browser, filled, clock):
    catalog = open_browser(create_app(Catalog(filled, clock, rounding_bug)))
    assert catalog.get("/api/products/7").json()["price"] == 20.0
    assert catalog.get("/v2/products/7").json()["price"]["amount"] == 2000


def test_before_the_backfill_it_is_alive_but_neither_ready_nor_answering(open_browser, store, clock):
    catalog = open_browser(create_app(Catalog(store, clock)))
    codes = [catalog.get(path).status_code for path in ("/healthz", "/readyz", "/api/products/7", "/api/products")]
    assert codes == [200, 503, 503, 503]


def test_ready_once_the_backfill_is_complete(open_browser, browser, store, clock, run):
    catalog = open_browser(create_app(Catalog(store, clock)))
    run(backfill(browser.client, store))
    assert [catalog.get(path).status_code for path in ("/readyz", "/api/products/7")] == [200, 200]


def test_the_server_fills_beside_serving_and_closes_at_its_end(run, browser, store, clock):
    done, filled = [], asyncio.Event()

    async def fill():
        done.append(await backfill(browser.client, store))
        filled.set()

    async def serve():
        app = create_app(Catalog(store, clock), fill, lambda: done.append("closed"))
        async with app.router.lifespan_context(app):
            await filled.wait()

    run(serve())
    assert done == [62, "closed"]


def test_a_server_that_stops_in_the_middle_of_filling_stops(run, store, clock):
    done, started = [], asyncio.Event()

    async def fill():
        started.set()
        await asyncio.Event().wait()

    async def serve():
        app = create_app(Catalog(store, clock), fill, lambda: done.append("closed"))
        async with app.router.lifespan_context(app):
            await started.wait()

    run(serve())
    assert done == ["closed"]
