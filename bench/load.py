"""The requests that are sent, and wrk that sends as many as it can. Knows no proxy."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.origin import SMALL, UPLOAD
from bench.process import find
from bench.tokens import USERS

WRK_MISSING = "wrk is not installed, so no throughput and no CPU time: apt-get install wrk"


@dataclass(frozen=True, slots=True)
class Payload:
    """What one request asks for. `tokens`: how many different ones go with the requests in turn, 0 for none."""

    name: str
    path: str
    method: str = "GET"
    body_bytes: int = 0
    tokens: int = 0


GET_SMALL = Payload("get-311", SMALL)
GET_LARGE = Payload("get-1m", "/bench/1m")
PAYLOADS = (
    GET_SMALL,
    Payload("get-16k", "/bench/16k"),
    GET_LARGE,
    Payload("post-16k", UPLOAD, "POST", 16 * 1024),
)
GET_ONE_TOKEN = Payload("get-311-one-token", SMALL, tokens=1)
GET_TOKENS = Payload(f"get-311-{USERS}-tokens", SMALL, tokens=USERS)


def get_small_requests() -> list[bytes]:
    """One whole GET of the small body for each user."""
    return [
        f"GET {SMALL} HTTP/1.1\r\nHost: bench.test\r\nx-user-id: user-{user}\r\n\r\n".encode()
        for user in range(1, USERS + 1)
    ]


@dataclass(frozen=True, slots=True)
class Load:
    """What came back within `seconds`. `failed`: broken connections, timeouts, statuses other than 2xx and 3xx."""

    requests: int
    seconds: float
    failed: int


# The requests are made once: at 50,000 a second the script would else be the slowest part.
_SCRIPT = """
local requests, at = {}, 0

function init(args)
  local method, path, size, users = args[1], args[2], tonumber(args[3]), tonumber(args[4])
  local tokens, wanted = {}, tonumber(args[5])
  if wanted > 0 then
    for token in io.lines(args[6]) do tokens[#tokens + 1] = token end
  end
  local body = size > 0 and string.rep("x", size) or nil
  for user = 1, users do
    local headers = {["Host"] = "bench.test", ["x-user-id"] = "user-" .. user}
    if wanted > 0 then headers["Authorization"] = "Bearer " .. tokens[(user - 1) % wanted + 1] end
    requests[user] = wrk.format(method, path, headers, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("bench %d %d %d\\n", summary.requests, summary.duration, failed))
end
"""


class Wrk:
    """One thread. `folder` takes the script and the tokens."""

    def __init__(self, program: str, folder: Path, tokens: Sequence[str]) -> None:
        self._program = program
        self._script = folder / "wrk.lua"
        self._script.write_text(_SCRIPT)
        self._tokens = folder / "tokens"
        self._tokens.write_text("".join(f"{token}\n" for token in tokens))

    def run(self, url: str, payload: Payload, connections: int, seconds: int) -> Load:
        """Raises RuntimeError when wrk fails or does not end."""
        options = ("-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "30s", "-s", str(self._script))
        args = (payload.method, payload.path, payload.body_bytes, USERS, payload.tokens, self._tokens)
        command = [self._program, *options, url, "--", *map(str, args)]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"wrk did not end within {seconds + 30} s") from error
        if result.returncode != 0:
            raise RuntimeError(f"wrk ended with {result.returncode}: {(result.stderr or result.stdout).strip()}")
        return parse(result.stdout)


def parse(output: str) -> Load:
    """The line that the script's `done` wrote. Raises RuntimeError where there is none."""
    for line in output.splitlines():
        if line.startswith("bench "):
            requests, microseconds, failed = map(int, line.split()[1:])
            return Load(requests, microseconds / 1e6, failed)
    raise RuntimeError(f"wrk said nothing to be read: {output.strip()[-500:]}")


def find_wrk() -> str | None:
    return find("wrk")
