from __future__ import annotations

import httpx
import pytest

from extracted_services.catalog.acl import Untranslatable
from extracted_services.catalog.backfill import backfill, keep_trying
from extracted_services.catalog.store import Store
from legacy_monolith.cron import reprice


class CutAfter(httpx.AsyncBaseTransport):
    """The line to the monolith goes dead after so many answers."""

    def __init__(self, answers, transport):
        self.left = answers
        self.transport = transport

    def client(self):
        return httpx.AsyncClient(transport=self, base_url="http://shop.test")

    async def handle_async_request(self, request):
        self.left -= 1
        if self.left < 0:
            raise httpx.ConnectError("gone", request=request)
        return await self.transport.handle_async_request(request)


@pytest.fixture
def line(monolith):
    return lambda answers: CutAfter(answers, httpx.ASGITransport(monolith))


@pytest.fixture
def cut_after(line):
    return lambda answers: line(answers).client()


def answering(**reply):
    return httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _request: httpx.Response(**reply)), base_url="http://shop.test"
    )


def versions(store):
    return {number: store.product(number).version for number in range(1, 63)}


def test_every_row_arrives(run, browser, store):
    assert run(backfill(browser.client, store, page_size=25)) == 62
    assert store.product(62).sku == "SKU-0062"


def test_a_second_run_changes_nothing_that_is_equal(run, browser, filled):
    assert run(backfill(browser.client, filled)) == 62
    assert set(versions(filled).values()) == {1}


def test_a_second_run_brings_what_the_nightly_job_changed(run, browser, filled, database, clock):
    changed = reprice(database, clock.now)
    run(backfill(browser.client, filled))
    assert sum(version == 2 for version in versions(filled).values()) == changed


def test_a_product_edited_here_is_never_overwritten(run, browser, catalog, filled):
    catalog.put("/v2/products/7", json={"name": "Beaker"}, headers={"if-match": "*"})
    run(backfill(browser.client, filled))
    assert filled.product(7).name == "Beaker"


@pytest.mark.parametrize("answers", range(7))
def test_a_run_cut_off_anywhere_goes_on_where_it_was(run, store, cut_after, answers):
    with pytest.raises(httpx.ConnectError):
        run(backfill(cut_after(answers), store, page_size=10))
    assert (store.backfill_cursor(), store.is_backfilled()) == (answers * 10, False)
    assert run(backfill(cut_after(99), store, page_size=10)) == 62 - answers * 10
    assert store.is_backfilled()


def test_a_refresh_cut_off_leaves_it_ready(run, filled, cut_after):
    with pytest.raises(httpx.ConnectError):
        run(backfill(cut_after(3), filled, page_size=10))
    assert filled.is_backfilled()


def test_progress_outlives_the_process(run, tmp_path, cut_after):
    first = Store(tmp_path / "kept.db")
    with pytest.raises(httpx.ConnectError):
        run(backfill(cut_after(2), first, page_size=10))
    first.close()
    second = Store(tmp_path / "kept.db")
    assert run(backfill(cut_after(99), second)) == 42
    second.close()


@pytest.mark.parametrize(
    "reply",
    [
        {"status_code": 200, "text": "<html>"},
        {"status_code": 200, "json": []},
        {"status_code": 200, "json": {"rows": []}},
        {"status_code": 200, "json": {"rows": [], "next": 0}},
        {"status_code": 200, "json": {"rows": [{"id": 1}], "next": None}},
    ],
)
def test_an_export_that_makes_no_sense_is_refused_and_stores_nothing(run, store, reply):
    with pytest.raises(Untranslatable):
        run(backfill(answering(**reply), store))
    assert (store.backfill_cursor(), store.is_backfilled()) == (0, False)


def test_it_is_tried_again_until_the_monolith_is_there(run, store, line):
    dead, pauses = line(0), []

    async def sleep(pause_s):
        pauses.append(pause_s)
        dead.left = 99 if len(pauses) == 6 else 0

    run(keep_trying(dead.client(), store, sleep))
    assert pauses == [0.2, 0.5, 1.0, 2.0, 5.0, 5.0]
    assert store.is_backfilled()
