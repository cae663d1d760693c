"""What the environment promises, and that no child sees it again."""

from __future__ import annotations

import pytest

from proxy.inherit import HANDOVER, Inherited, take


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "7", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "42", "LISTEN_FDS": "0"},
        {"LISTEN_PID": "42", "LISTEN_FDS": "x"},
        {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "data"},
    ],
)
def test_what_is_meant_for_somebody_else_is_not_taken(environ: dict[str, str]) -> None:
    left = {**environ, "PATH": "/bin"}
    assert take(left, 42) == Inherited()
    assert left == {"PATH": "/bin"}


def test_a_handover_that_cannot_be_read_says_so() -> None:
    with pytest.raises(Exception, match="unset it"):
        take({HANDOVER: "3,x"}, 42)
