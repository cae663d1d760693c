"""A script for an Origin that publishes keys, and says something else when it is told to."""

from __future__ import annotations

import threading

from tests.support.key_server import answered
from tests.support.origin import Connection


class Publisher:
    """`answer` is the whole response to every request; while `open` is cleared they all wait for it."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.open = threading.Event()
        self.open.set()

    def publish(self, keys: bytes) -> None:
        self.answer = answered(keys)

    def __call__(self, connection: Connection) -> None:
        if connection.read() is not None:
            self.open.wait(60)
            connection.send(self.answer)
