from __future__ import annotations

from dataclasses import replace


def test_a_product_is_replaced_only_at_the_version_that_was_expected(filled):
    mug = filled.product(7)
    assert filled.replace(replace(mug, name="Beaker", version=2), expected_version=1)
    assert not filled.replace(replace(mug, name="Goblet", version=2), expected_version=1)
    assert filled.product(7).name == "Beaker"


def test_what_is_stored_comes_back_whole(filled):
    mug = replace(filled.product(7), description=None, tags=("a", "ü"), images=(), active=False, version=2)
    filled.replace(mug, expected_version=1)
    assert filled.product(7) == mug


def test_a_page_counts_everything_it_is_a_page_of(filled):
    products, total = filled.in_category("toys", limit=3, offset=2)
    assert ([product.id for product in products], total) == ([34, 35, 36], 10)
