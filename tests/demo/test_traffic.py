"""The demo's customers notice what a proxy must not do. The proxy here is a script that does it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from demo.traffic import CLIENTS, USERS, Phase, Tally, Traffic, bucket

Answer = Callable[[str, int], bytes]
USER = re.compile(rb"X-User-Id: (\S+)")
PRODUCT = re.compile(rb"/api/products/(\d+)")


def answer(side: str, number: int, status: str = "200 OK", origin: str | None = None) -> bytes:
    body = b'{"id":%d,"name":"Mug"}' % number if number else b'{"items":[{"id":7}]}'
    powered = "X-Powered-By: CornerShop/2.3\r\n" if (origin or side) == "legacy" else ""
    head = f"HTTP/1.1 {status}\r\nX-Fig-Side: {side}\r\n{powered}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def visited(say: Callable[[str, int, int], bytes], phase: Phase) -> Tally:
    """Two rounds of all users against an origin that says `say(user, product or 0, how often the user came before)`."""

    async def play() -> None:
        came: dict[str, int] = {}
        twice = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while head := await reader.read(65536):
                user, product = USER.search(head), PRODUCT.search(head)
                assert user is not None
                name = user[1].decode()
                writer.write(say(name, int(product[1]) if product else 0, came.get(name, 0)))
                came[name] = came.get(name, 0) + 1
                if len(came) == len(USERS) and min(came.values()) == 2:
                    twice.set()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        traffic = Traffic(server.sockets[0].getsockname()[1], "catalog", 100.0 * CLIENTS, phase)
        customers = asyncio.create_task(traffic.run())
        await asyncio.wait_for(twice.wait(), 30)
        customers.cancel()
        await asyncio.gather(customers, return_exceptions=True)
        server.close()
        await server.wait_closed()

    asyncio.run(play())
    return phase.tally


def by_hash(user: str, percent: float) -> str:
    return "extracted" if bucket("catalog", user) < 100 * percent else "legacy"


def test_a_proxy_that_does_right_is_found_to() -> None:
    tally = visited(lambda user, product, _: answer(by_hash(user, 50), product), Phase(Tally(), 50, {}))
    assert tally.requests >= 2 * len(USERS)
    assert (tally.failed, tally.moved_back, tally.misplaced, tally.contradicted) == (0, 0, 0, 0)
    assert tally.seen_percent == pytest.approx(50, abs=5)


def test_users_that_go_back_are_counted_while_the_share_rises_only() -> None:
    def fickle(user: str, product: int, before: int) -> bytes:
        return answer("legacy" if before else "extracted", product)

    assert visited(fickle, Phase(Tally(), None, {})).moved_back >= len(USERS) - CLIENTS
    assert visited(fickle, Phase(Tally(), None)).moved_back == 0


def test_a_user_on_the_side_that_the_hash_does_not_give_is_counted() -> None:
    tally = visited(lambda user, product, _: answer(by_hash(user, 40), product), Phase(Tally(), 50, {}))
    between = [user for user in USERS if 4000 <= bucket("catalog", user) < 5000]
    assert tally.misplaced >= len(between) > 0


def test_an_origin_that_contradicts_the_proxy_is_counted() -> None:
    def lying(user: str, product: int, before: int) -> bytes:
        return answer("legacy", product, origin="extracted")

    tally = visited(lying, Phase(Tally(), 0, {}))
    assert tally.contradicted == tally.misplaced == tally.requests


@pytest.mark.parametrize("wrong", ["status", "body"])
def test_wrong_answers_are_failures(wrong: str) -> None:
    def failing(user: str, product: int, before: int) -> bytes:
        if wrong == "status":
            return answer("legacy", product, status="502 Bad Gateway")
        return answer("legacy", product + 1000 if product else 1)

    tally = visited(failing, Phase(Tally(), 0, {}))
    assert tally.failed == tally.requests >= 2 * len(USERS)
    assert tally.trouble
