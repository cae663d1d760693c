"""The instances of services, and which of them live. Pure: no I/O, and `now` (seconds, monotonic) comes with each call.

Nothing happens between calls. Whether an instance lives follows from `good_until` and `now`, and a change is counted
when somebody looks: what came and went while nobody looked has not been seen by anybody.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

MAX_MEMBERS = 4096


class Unknown(LookupError):
    pass


class Full(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Service:
    """One instance. `id` is unique over all names."""

    id: str
    name: str
    address: str
    port: int
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """To be passed every `ttl_s`, else the instance is critical; after `remove_after_s` of that it is removed."""

    ttl_s: float
    remove_after_s: float = math.inf
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    service: Service
    check: Check | None
    good_until: float

    def gone_at(self) -> float:
        return self.good_until + (self.check.remove_after_s if self.check else math.inf)

    def passing(self, now: float) -> bool | None:
        """None without a check: such an instance always counts as living."""
        return now < self.good_until if self.check else None


@dataclass(frozen=True, slots=True)
class View:
    """The instances of one name, by id, each with `passing`. `index` rises when `entries` change: not before `until`,
    if nobody calls."""

    index: int
    entries: tuple[tuple[Service, bool | None], ...] = ()
    until: float = math.inf


class Members:
    """`first_index` is where indexes begin; one that is later than those of the run before keeps them rising."""

    def __init__(self, first_index: int = 1, limit: int = MAX_MEMBERS) -> None:
        self._limit = limit
        self._members: dict[str, Member] = {}
        self._shown: dict[str, View] = {}
        self._index = self._last_emptied = first_index

    def register(self, service: Service, check: Check | None, now: float) -> None:
        """Replaces an instance of the same id, whatever its name was. Raises Full."""
        for emptied in self._shown.keys() - self.names(now).keys():
            self.look(emptied, now)  # and its view is kept no longer
        if service.id not in self._members and len(self._members) >= self._limit:
            raise Full(f"{self._limit} instances are registered, which is the limit: deregister some first")
        good_until = now + (check.ttl_s if check.passing else 0) if check else math.inf
        self._members[service.id] = Member(service, check, good_until)

    def passed(self, service_id: str, now: float) -> bool:
        """Its check. True if the instance was critical until now. Raises Unknown."""
        member = self._members.get(service_id)
        if member is None or member.check is None or now >= member.gone_at():
            raise Unknown(f"no instance {service_id!r} with a check is registered: register it again")
        self._members[service_id] = replace(member, good_until=now + member.check.ttl_s)
        return not member.passing(now)

    def deregister(self, service_id: str) -> None:
        """Raises Unknown."""
        if self._members.pop(service_id, None) is None:
            raise Unknown(f"no instance {service_id!r} is registered: there is nothing to take away")

    def look(self, name: str, now: float) -> View:
        """A name that nobody bears has no entries, and the index of the last time that a name lost its last one."""
        found = sorted((m for m in self._alive(now) if m.service.name == name), key=lambda m: m.service.id)
        entries = tuple((m.service, m.passing(now)) for m in found)
        until = min((m.good_until if now < m.good_until else m.gone_at() for m in found), default=math.inf)
        shown = self._shown.pop(name, None) or View(self._last_emptied)
        if entries == shown.entries:
            view = replace(shown, until=until)
        else:
            self._index += 1
            view = View(self._index, entries, until)
        if entries:
            self._shown[name] = view
        else:
            self._last_emptied = view.index
        return view

    def names(self, now: float) -> dict[str, list[str]]:
        """Every name with the tags of all its instances."""
        tags: dict[str, set[str]] = {}
        for member in self._alive(now):
            tags.setdefault(member.service.name, set()).update(member.service.tags)
        return {name: sorted(tags[name]) for name in sorted(tags)}

    def _alive(self, now: float) -> Iterator[Member]:
        for member in tuple(self._members.values()):
            if now < member.gone_at():
                yield member
            else:
                del self._members[member.service.id]
