"""From which networks."""

from __future__ import annotations

import pytest

from proxy.admission.access import AccessList

_ALLOW, _DENY = ("10.0.0.0/8", "2001:db8::/32"), ("10.66.0.0/16", "2001:db8:bad::/48")


@pytest.mark.parametrize(
    ("client_ip", "admitted"),
    [
        ("10.1.2.3", True),
        ("10.66.2.3", False),
        ("11.0.0.1", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:10.66.0.1", False),
        ("2001:db8::1", True),
        ("2001:db8:bad::1", False),
        ("2001:db9::1", False),
        ("unix", False),
        ("", False),
    ],
)
def test_deny_wins_over_allow(client_ip: str, admitted: bool) -> None:
    assert AccessList.of(_ALLOW, _DENY).admits(client_ip) is admitted


def test_an_empty_allow_is_everybody_but_those_denied() -> None:
    nets = AccessList.of((), ("192.0.2.0/24", "fe80::/10"))
    assert nets.admits("198.51.100.1")
    assert nets.admits("::1")
    assert not nets.admits("192.0.2.200")
    assert not nets.admits("fe80::1%eth0")


def test_whom_nobody_can_place_is_kept_out() -> None:
    assert not AccessList.of((), ("192.0.2.0/24",)).admits("not an address")
