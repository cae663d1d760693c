"""Line ends before a status line belong to no answer: neither its fields nor its framing change."""

from __future__ import annotations

import pytest

from tests.support.client import RawClient
from tests.support.origin import Origin, saying

HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@pytest.mark.parametrize("between", [b"", b"\r\n", b"\r\n\r\n", b"\n", b"\r\n\r\n\r\n"])
@pytest.mark.parametrize("before", [b"", HINT], ids=["first", "after an interim answer"])
def test_line_ends_before_an_answer_change_nothing(
    client: RawClient, origin: Origin, before: bytes, between: bytes
) -> None:
    origin.behave = saying(before + between + b"HTTP/1.1 200 O:K\r\nX-A: b\r\nContent-Length: 2\r\n\r\nok")
    answer = client.get()
    assert (answer.status, answer.body, answer.value("content-length")) == (200, b"ok", "2")
    assert answer.value("x-a") == "b"
    assert not any(" " in name for name, _ in answer.fields)
