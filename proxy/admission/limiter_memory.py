"""Debts in the memory of this process: exact, bounded, and O(1) a check. Knows no request: keys come from outside.

A key is forgotten only when its debt is paid off, and then nothing is lost by it. So a flood of keys frees nobody. It
does not grow the table either: beyond `most_keys` keys with debt, a new key shares one of `_SHARED` debts with others,
by its hash, until there is room. It may be refused early then, never late; whoever is in the table feels nothing. Each
limit has a table of its own, so that a flood at one seam does not even reach the next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from proxy.admission.rate_limit import NS_PER_S, Asked, Limit, Result, Verdict, count, judge, spare

MOST_KEYS = 65_536  # of one limit: about 16 MiB where all of them have debt
_SHARED = 4096
_SWEPT = 4  # keys looked at for each new one: places are found as long as a quarter of the table is paid off


class MemoryLimiter:
    """`most_keys` bounds the keys of each limit."""

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        self.outcomes: dict[tuple[str, str], int] = {}
        self._most_keys = most_keys
        self._tables: dict[str, _Table] = {}

    def __len__(self) -> int:
        """Keys that are kept, those whose debt is paid off by now included."""
        return sum(len(table) for table in self._tables.values())

    def check(self, asked: Sequence[Asked], now_s: float) -> Verdict:
        """As `Limiter.check`, without waiting."""
        verdict = self.settle(asked, now_s)
        count(self.outcomes, verdict)
        return verdict

    def settle(self, asked: Sequence[Asked], now_s: float) -> Verdict:
        """As `check`, for whoever counts himself."""
        now_ns = round(now_s * NS_PER_S)
        results: list[Result] = []
        places: list[tuple[_Table, str, int]] = []
        allowed = True
        for limit, key in asked:
            table = self._tables.get(limit.id)
            if table is None or table.requests != limit.requests:
                table = self._table(limit)
            now = now_ns * limit.requests
            result = judge(limit, table.debt(key, now, limit.burst_ns))
            if result.short and limit.enforced:
                allowed = False
            results.append(result)
            places.append((table, key, now))
        if not allowed:
            spare(results)
            return Verdict(False, results)
        for result, (table, key, now) in zip(results, places, strict=True):
            if not result.short:
                table.put(key, now, now + result.debt)
        return Verdict(True, results)

    def retain(self, limits: Iterable[Limit]) -> None:
        """A new configuration has taken effect: forget the debts of limits that are no more."""
        kept = {limit.id for limit in limits}
        self._tables = {name: table for name, table in self._tables.items() if name in kept}

    def _table(self, limit: Limit) -> _Table:
        table = self._tables.get(limit.id)
        if table is None:
            table = self._tables[limit.id] = _Table(limit.requests, self._most_keys)
        elif table.requests != limit.requests:
            table.rescale(limit.requests)
        return table


class _Table:
    """When each key of one limit will have paid off its debt, in 1/requests nanoseconds of the monotonic clock."""

    def __init__(self, requests: int, most_keys: int) -> None:
        self.requests = requests
        self._most_keys = most_keys
        # Ordered, not for the order, but because the first of a plain dict takes long to find once many were deleted.
        self._paid: OrderedDict[str, int] = OrderedDict()
        self._shared: dict[int, int] = {}
        self._shared_paid = 0  # when all of them are

    def __len__(self) -> int:
        return len(self._paid) + len(self._shared)

    def debt(self, key: str, now: int, most: int) -> int:
        """At most `most`: what is more, because the limit has become smaller since, is forgiven once and for all."""
        paid = self._paid.get(key)
        if paid is None:
            if not self._shared:
                return 0
            # Its own debt may be in the shared one, from when there was no room.
            paid = self._shared.get(hash(key) % _SHARED, 0)
        debt = paid - now
        if debt <= 0:
            return 0
        if debt > most:
            debt = most
            if key in self._paid:
                self._paid[key] = now + most
        return debt

    def put(self, key: str, now: int, paid: int) -> None:
        if key in self._paid:
            self._paid[key] = paid
            return
        self._sweep(now)
        if len(self._paid) < self._most_keys:
            self._paid[key] = paid
        else:
            self._shared[hash(key) % _SHARED] = paid
            self._shared_paid = max(self._shared_paid, paid)

    def _sweep(self, now: int) -> None:
        """Forget the next few keys that have paid off: a hand goes round the table as long as new keys come."""
        paid = self._paid
        for _ in range(min(_SWEPT, len(paid))):
            key = next(iter(paid))
            if paid[key] <= now:
                del paid[key]
            else:
                paid.move_to_end(key)
        if self._shared and self._shared_paid <= now:
            self._shared.clear()

    def rescale(self, requests: int) -> None:
        """The limit has another number of requests now: the unit of its debts changes, nobody's time does."""
        if requests == 0:
            return  # it blocks for a while, and has no debts of its own
        old, self.requests = self.requests, requests
        if old:
            for key, paid in self._paid.items():
                self._paid[key] = -(-paid * requests // old)
            for slot, paid in self._shared.items():
                self._shared[slot] = -(-paid * requests // old)
            self._shared_paid = -(-self._shared_paid * requests // old)
