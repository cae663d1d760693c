"""A connect that arrives at fig itself is given up, however the endpoint is spelled."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.errors import Loop
from proxy.wire.headers import Shapes
from proxy.wire.pool import EndpointPool
from proxy.wire.timer import TimerWheel


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("own", "asked", "family", "circle"),
    [
        ("127.0.0.1", "127.0.0.1", socket.AF_INET, True),
        ("0.0.0.0", "127.0.0.1", socket.AF_INET, True),
        pytest.param("::", "::1", socket.AF_INET6, True, marks=pytest.mark.skipif(not _has_ipv6(), reason="no IPv6")),
        ("::", "127.0.0.1", socket.AF_INET, False),  # two sockets may share a port so
        ("0.0.0.0", "127.0.0.7", socket.AF_INET, False),  # like another machine: we connect from 127.0.0.1
        ("127.0.0.7", "127.0.0.1", socket.AF_INET, False),
    ],
)
def test_the_other_end_is_fig_where_it_is_the_address_that_we_connect_from(
    own: str, asked: str, family: socket.AddressFamily, circle: bool
) -> None:
    async def attempt(port: int, own_port: int) -> str:
        pool = EndpointPool(
            asked,
            port,
            TimerWheel(),
            connect_s=5,
            body_s=1,
            keepalive_s=4,
            shapes=Shapes(),
            own_addresses=frozenset({(own, own_port)}),
        )
        try:
            connection = await pool.connect()
        except Loop:
            return "circle" if pool.in_use == 0 else "circle, and its place is lost"
        connection.abort()
        await asyncio.sleep(0)
        return "connected"

    with socket.create_server((asked, 0), family=family) as listener:
        port = listener.getsockname()[1]
        assert asyncio.run(attempt(port, port)) == ("circle" if circle else "connected")
        assert asyncio.run(attempt(port, port + 1)) == "connected"
