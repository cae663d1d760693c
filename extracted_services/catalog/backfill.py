"""Reads the monolith's export into the store, page by page. Killed anywhere, it goes on where it was."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import chain, repeat

import httpx

from .acl import Untranslatable, product_from_export
from .domain import Product
from .store import Store

log = logging.getLogger(__name__)

PAUSES_S = (0.2, 0.5, 1.0, 2.0)
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Page:
    """`following` is the key after which the next page begins; None at the end."""

    products: tuple[Product, ...]
    following: int | None


async def backfill(client: httpx.AsyncClient, store: Store, page_size: int = 200) -> int:
    """How many rows were read. After a complete run the next one starts anew and refreshes what was not edited here.

    Raises httpx.HTTPError when the export cannot be had and Untranslatable when it makes no sense.
    """
    after_pk: int | None = await asyncio.to_thread(store.backfill_cursor)
    count = 0
    while after_pk is not None:
        page = await read_page(client, after_pk, page_size)
        await asyncio.to_thread(store.import_page, page.products, page.following or 0, page.following is None)
        count += len(page.products)
        after_pk = page.following
    return count


async def read_page(client: httpx.AsyncClient, after_pk: int, limit: int) -> Page:
    reply = await client.get("/internal/export/products", params={"after_pk": after_pk, "limit": limit})
    reply.raise_for_status()
    try:
        body = reply.json()
        rows, following = body["rows"], body["next"]
    except (ValueError, KeyError, TypeError) as why:
        raise Untranslatable(f"{reply.url} is no export page: {why!r}") from why
    if following is not None and not (type(following) is int and following > after_pk):
        raise Untranslatable(f"{reply.url} says next is {following!r}: not a key after {after_pk}")
    return Page(tuple(product_from_export(row) for row in rows), following)


async def keep_trying(
    client: httpx.AsyncClient, store: Store, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Until it has worked once: the monolith may start later than we do."""
    for pause_s in chain(PAUSES_S, repeat(LONGEST_PAUSE_S)):
        try:
            count = await backfill(client, store)
        except (httpx.HTTPError, sqlite3.Error, Untranslatable) as why:
            log.warning("backfill from %s failed, next try in %s s: %r", client.base_url, pause_s, why)
            await sleep(pause_s)
        else:
            log.info("backfill from %s complete: %d products", client.base_url, count)
            return
