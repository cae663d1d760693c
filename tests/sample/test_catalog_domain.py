from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extracted_services.catalog.acl import Untranslatable, cents, legacy_product, product_from_export
from extracted_services.catalog.domain import Invalid, Money, Product, revised, rounding_bug

MUG = Product(
    id=7,
    sku="SKU-0007",
    name="Mug",
    description=None,
    category="kitchen",
    tags=("kitchen", "gift"),
    images=("/img/0007.jpg",),
    active=True,
    price=Money(1999),
    updated_at=1_795_426_330,
    version=4,
)


def test_a_change_makes_the_next_version_and_keeps_what_it_leaves_out():
    changed = revised(MUG, {"price": {"amount": 2150, "currency": "USD"}}, now=1_800_000_000)
    assert (changed.price, changed.version, changed.updated_at) == (Money(2150), 5, 1_800_000_000)
    assert (changed.name, changed.tags, changed.images) == (MUG.name, MUG.tags, MUG.images)
    assert MUG.version == 4


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prize": 1}, "prize"),
        ({"id": "8"}, "id"),
        ({"name": ""}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"description": 1}, "description"),
        ({"category": None}, "category"),
        ({"images": "a.jpg"}, "images"),
        ({"images": [1]}, "images"),
        ({"price": 19.99}, "price"),
        ({"price": {"amount": 19.99}}, "price.amount"),
        ({"price": {"amount": True}}, "price.amount"),
        ({"price": {"amount": -1}}, "price.amount"),
        ({"price": {"amount": 1, "currency": "EUR"}}, "price.currency"),
        ({"attributes": []}, "attributes"),
        ({"attributes": {"sku": "SKU-0008"}}, "attributes.sku"),
        ({"attributes": {"colour": "red"}}, "attributes.colour"),
        ({"attributes": {"active": "Y"}}, "attributes.active"),
        ({"attributes": {"tags": ["a,b"]}}, "attributes.tags"),
    ],
)
def test_a_broken_rule_is_named_by_its_field(change, field):
    with pytest.raises(Invalid, match=rf"^{field}:"):
        revised(MUG, change, now=0)


@given(st.integers(min_value=0, max_value=10_000_000))
def test_every_price_in_cents_survives_the_monoliths_float(amount):
    assert cents(amount / 100) == amount


@given(st.integers(min_value=100, max_value=1_000_000), st.integers(min_value=1, max_value=30))
def test_the_noise_of_many_nightly_jobs_is_not_a_cent(amount, nights):
    price = amount / 100
    for _ in range(nights):
        price += 0.1
    assert cents(price) == amount + 10 * nights


def test_the_planted_bug_is_off_by_at_most_a_nickel_and_not_always_zero():
    assert [rounding_bug(Money(amount)).amount for amount in (1999, 2000, 2004, 2005)] == [2000, 2000, 2000, 2010]


def test_the_legacy_shape_is_the_monoliths():
    assert legacy_product(MUG) == {
        "id": 7,
        "sku": "SKU-0007",
        "name": "Mug",
        "price": 19.99,
        "category": "kitchen",
        "tags": "kitchen,gift",
        "img": "/img/0007.jpg",
        "active": "Y",
        "updated": "11/23/2026 04:32",
    }


@pytest.mark.parametrize(
    "row", [{}, {"id": 7}, {"id": 7, "sku": "S", "name": "N", "descr": None, "category": "c", "tags": "", "img": None,
                            "active": "Y", "price": "dear", "updated": 1}]
)  # fmt: skip
def test_a_row_that_is_no_product_is_named(row):
    with pytest.raises(Untranslatable, match=f"exported product {row.get('id')}"):
        product_from_export(row)
