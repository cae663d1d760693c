"""Catalog: the products of the shop as a bounded context of its own. Knows no other service and no proxy."""
