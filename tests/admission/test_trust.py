"""Whose word counts about where a request came from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission.trust import Trust

TRUST = Trust(["10.0.0.0/8", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "chain", "client"),
    [
        ("203.0.113.1", b"6.6.6.6", "203.0.113.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", b"203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", b"6.6.6.6, 203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", b"203.0.113.5, 10.1.1.1", "203.0.113.5"),
        ("10.0.0.1", b"6.6.6.6, junk, 10.1.1.1", "10.1.1.1"),
        ("10.0.0.1", b"203.0.113.5:4711", "203.0.113.5"),
        ("2001:db8::1", b"[2001:4860::8]:443", "2001:4860::8"),
        ("::ffff:10.0.0.1", b"203.0.113.5", "203.0.113.5"),
        ("unix", b"203.0.113.5", "unix"),
    ],
)
def test_the_chain_is_read_from_the_right_through_trusted_hops_only(
    peer: str, chain: bytes | None, client: str
) -> None:
    assert TRUST.client_ip(peer, chain) == client


@given(st.binary(max_size=80))
def test_without_trusted_proxies_nothing_is_believed(chain: bytes) -> None:
    assert Trust([]).client_ip("203.0.113.1", chain) == "203.0.113.1"


@given(st.binary(max_size=80))
def test_any_chain_gives_an_address(chain: bytes) -> None:
    assert TRUST.client_ip("10.0.0.1", chain)
