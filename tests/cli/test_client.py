from __future__ import annotations

import pytest

from tests.support.cli import Command
from tests.support.origin import Origin, saying


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{", "JSON"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", "302"),
        (b"HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]", "500"),
        (b"SSH-2.0-OpenSSH\r\n", "valid answer"),
    ],
)
def test_another_server_at_that_port_is_told_apart(offline: Command, answer: bytes, word: str) -> None:
    origin = Origin(saying(answer, close=True))
    try:
        result = offline("get", "seams", "--admin", origin.url)
    finally:
        origin.close()
    assert (result.exit_code, result.stdout) == (1, "")
    assert word in result.stderr
    assert "fig's admin port" in result.stderr
