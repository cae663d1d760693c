"""Doors of a configuration that needs nobody to talk to: issuers with files, limits in memory, no sessions."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NoReturn

from proxy.admission.door_maker import DoorMaker, Makers
from proxy.admission.doors import Doors
from proxy.config.model import Settings


def _never(*_: Any) -> NoReturn:
    raise AssertionError("this configuration needs somebody to talk to")


def door_maker(clock: Callable[[], float] = lambda: 0.0) -> DoorMaker:
    return DoorMaker(Makers(_never, _never, _never, clock))


def make_doors(settings: Settings) -> Generator[None, None, Doors]:
    return door_maker().making(settings)
