"""What a product is and how it may change. Pure: no I/O, no clock, no HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

MAX_AMOUNT = 10_000_000
CURRENCIES = ("USD",)
WRITABLE = ("name", "description", "images", "attributes", "category", "price")
ATTRIBUTES = ("sku", "tags", "active")
SURROGATES = re.compile("[\ud800-\udfff]")


class Invalid(ValueError):
    """A change that breaks a rule. The text names the field and the rule."""


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` is in hundredths: 1999 USD is $19.99."""

    amount: int
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Product:
    """`updated_at` is seconds since the epoch. `version` rises by one at every change."""

    id: int
    sku: str
    name: str
    description: str | None
    category: str
    tags: tuple[str, ...]
    images: tuple[str, ...]
    active: bool
    price: Money
    updated_at: int
    version: int = 1


def revised(product: Product, change: Mapping[str, object], now: int) -> Product:
    """The next version. Fields that `change` leaves out keep their value; raises Invalid."""
    attributes = mapping("attributes", change.get("attributes", {}))
    known("", change, ("id", *WRITABLE))
    known("attributes.", attributes, ATTRIBUTES)
    if change.get("id", str(product.id)) != str(product.id):
        raise Invalid(f"id: is {product.id} and cannot change")
    if attributes.get("sku", product.sku) != product.sku:
        raise Invalid(f"attributes.sku: is {product.sku} and cannot change")
    description = change.get("description", product.description)
    return replace(
        product,
        name=text("name", change.get("name", product.name)),
        description=None if description is None else text("description", description, empty=True),
        category=text("category", change.get("category", product.category)),
        tags=tags(attributes.get("tags", product.tags)),
        images=texts("images", change.get("images", product.images)),
        active=flag("attributes.active", attributes.get("active", product.active)),
        price=money(change["price"]) if "price" in change else product.price,
        updated_at=now,
        version=product.version + 1,
    )


def known(prefix: str, fields: Mapping[str, object], names: tuple[str, ...]) -> None:
    for field in fields:
        if field not in names:
            raise Invalid(f"{prefix}{field}: unknown field; known are {', '.join(names)}")


def money(value: object) -> Money:
    fields = mapping("price", value)
    amount, currency = fields.get("amount"), fields.get("currency", "USD")
    if type(amount) is not int or not 0 <= amount <= MAX_AMOUNT:
        raise Invalid(f"price.amount: {amount!r} is not a whole number of cents from 0 to {MAX_AMOUNT}")
    if not isinstance(currency, str) or currency not in CURRENCIES:
        raise Invalid(f"price.currency: {currency!r} is not one of {', '.join(CURRENCIES)}")
    return Money(amount, currency)


def tags(value: object) -> tuple[str, ...]:
    result = texts("attributes.tags", value)
    if any("," in tag for tag in result):
        raise Invalid("attributes.tags: a tag holds no comma, for older clients read tags as one comma-separated text")
    return result


def texts(field: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise Invalid(f"{field}: {value!r} is not a list")
    return tuple(text(field, item) for item in value)


def text(field: str, value: object, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty) or SURROGATES.search(value):
        raise Invalid(f"{field}: {value!r} is not a text")
    return value


def flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"{field}: {value!r} is not true or false")
    return value


def mapping(field: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise Invalid(f"{field}: {value!r} is not an object")
    return value


def exact(price: Money) -> Money:
    return price


def rounding_bug(price: Money) -> Money:
    """The planted mistake: prices to the nearest ten cents. Makes a comparison with the monolith find something."""
    return replace(price, amount=(price.amount + 5) // 10 * 10)
