"""The use cases of the catalog. Knows no HTTP and no SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from .domain import Money, Product, exact, revised
from .store import Store


class NoSuchProduct(Exception):
    pass


class StaleVersion(Exception):
    """Somebody else changed the product first. `current` is the version that stands now."""

    def __init__(self, current: int) -> None:
        super().__init__(f"the product is at version {current}: read it again and repeat the change")
        self.current = current


class NotBackfilled(Exception):
    """Before the first backfill is complete every answer would be wrong, so there is none."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """`now()` is seconds since the epoch. `shown` is what a price goes through on its way out."""

    store: Store
    now: Callable[[], float]
    shown: Callable[[Money], Money] = exact

    def product(self, product_id: int | None) -> Product:
        """Raises NoSuchProduct, also for None: what cannot be read as an id names nothing."""
        return self._shown(self._stored(product_id))

    def in_category(self, category: str | None, limit: int, offset: int) -> tuple[list[Product], int]:
        self._need_backfill()
        products, total = self.store.in_category(category, limit, offset)
        return [self._shown(product) for product in products], total

    def search(self, words: str, limit: int, offset: int) -> tuple[list[Product], int]:
        self._need_backfill()
        products, total = self.store.matching(words, limit, offset)
        return [self._shown(product) for product in products], total

    def change(self, product_id: int | None, versions: frozenset[int] | None, change: Mapping[str, object]) -> Product:
        """Only if the stored version is one of `versions` (None: any). Raises NoSuchProduct, StaleVersion, Invalid."""
        current = self._stored(product_id)
        if versions is not None and current.version not in versions:
            raise StaleVersion(current.version)
        product = revised(current, change, int(self.now()))
        if not self.store.replace(product, current.version):
            raise StaleVersion(self._stored(product_id).version)
        return self._shown(product)

    def is_ready(self) -> bool:
        return self.store.is_backfilled()

    def _stored(self, product_id: int | None) -> Product:
        self._need_backfill()
        product = None if product_id is None else self.store.product(product_id)
        if product is None:
            raise NoSuchProduct("no such product")
        return product

    def _shown(self, product: Product) -> Product:
        return replace(product, price=self.shown(product.price))

    def _need_backfill(self) -> None:
        if not self.is_ready():
            raise NotBackfilled("the catalog has no data yet: start it with --backfill-from and the monolith's address")
