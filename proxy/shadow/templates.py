"""Path templates of JSON places: `$.items[*].price`, `$.by_id{*}.name`. Knows no rule and compares nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from proxy.shadow.places import member_text

ITEMS: Final = object()
"""The step to an element of an array."""

Link = tuple[Any, Any, Any, Any] | None
"""A place as the walk came by it: (link of the container, name or ITEMS, the container on both sides)."""

_MOST_NAMES = 50
_MOST_CHARACTERS = 1000
_ID: Final = re.compile(
    r"-?\d+|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\d{4}-\d\d(?:-\d\d(?:[T ].{0,30})?)?"
    r"|(?=[a-f]*\d)(?:[0-9a-f]{16,}|[0-9A-F]{16,})|.{101,}",
    re.DOTALL,
)


def is_map(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether the names of an object (on both sides) are data: more than 50, or all of them ids, dates or longer than
    100 characters."""
    names = {*one, *other}
    return len(names) > _MOST_NAMES or (bool(names) and all(_ID.fullmatch(name) for name in names))


class Templates:
    """The templates of one pair of documents; what is decided of an object is kept while its walk lasts."""

    def __init__(self) -> None:
        self._maps: dict[tuple[int, int], bool] = {}

    def text(self, link: Link) -> str:
        """Such as `body:$.a[*]`."""
        parts: list[str] = []
        while link is not None:
            above, name, one, other = link
            parts.append("[*]" if name is ITEMS else "{*}" if self._is_map(one, other) else member_text(name))
            link = above
        path = "body:$" + "".join(reversed(parts))
        return path if len(path) <= _MOST_CHARACTERS else path[: _MOST_CHARACTERS - 3] + "..."

    def _is_map(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        pair = (id(one), id(other))
        known = self._maps.get(pair)
        if known is None:
            known = self._maps[pair] = is_map(one, other)
        return known
