"""The access log and the error log: one line an exchange, and at most one a second for each kind of failure.

    log(entry) ── format on the caller ──► LineWriter: bounded buffer ──► daemon thread ──► write(bytes)

A log that cannot be written never slows traffic: lines are dropped and counted. Knows no seam and no socket. Secrets
in queries are masked here, for every format, before a line exists.
"""

from __future__ import annotations

import json
import os
import re
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

import orjson

Format = Literal["json", "combined", "off"]

MAX_PENDING_BYTES = 4 * 1024 * 1024
GATHER_S = 0.02
SUPPRESS_S = 1.0
NEWLINE = 0x0A
MASK = b"***"
SENSITIVE_KEYS = frozenset({b"token", b"access_token", b"password", b"secret", b"api_key", b"code"})
# Where none of these occurs no key can match; a key may also hide behind an escape (`to%6ben`).
HINT = re.compile(b"|".join([b"%", *sorted(SENSITIVE_KEYS)]))
SEPARATOR = re.compile(rb"([&;])")
# What nginx escapes in its own `combined`: quote, backslash, controls and every byte from 0x7F.
UNSAFE = re.compile(rb"[^ !#-\[\]-~]")
# Not strftime's %b, which speaks the language of the process.
MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


@dataclass(slots=True)
class AccessEntry:
    """What one exchange leaves behind. `at` is its start in seconds since the epoch; sizes are body bytes.

    `path` is the raw request target with its query, `version` the HTTP version as `1.1`, `status` what the client got
    (499: it left first), `upstream_s` the time from the first attempt to the final head, None where nothing was asked.
    `side` answered; `fallback` is the cause why it was not the side decided on, `attempts` counts over both.
    """

    at: float
    request_id: bytes
    trace_id: str
    client: str
    method: str
    path: bytes
    version: str
    status: int
    bytes_in: int
    bytes_out: int
    duration_s: float
    upstream_s: float | None
    seam: str | None
    route: str | None
    side: str | None
    upstream: str | None
    reason: str | None
    cause: str | None
    fallback: str | None
    attempts: int
    user_agent: bytes | None
    referer: bytes | None


class LineWriter:
    """Lines on their way to a sink that may block or fail. `put` does neither.

    At most `max_pending_bytes` wait, the batch under way included; a line beyond is dropped. `write` gets whole lines,
    many at once, and writes all of them or raises OSError or ValueError (closed file); those lines are dropped then.
    Thread-safe.
    """

    def __init__(
        self, write: Callable[[bytes], None], max_pending_bytes: int = MAX_PENDING_BYTES, gather_s: float = GATHER_S
    ) -> None:
        self._write = write
        self._gather_s = gather_s
        self._max_pending_bytes = max_pending_bytes
        # One array and not a list of lines: each line's memory is free again, and warm, for the next.
        self._batch = bytearray()
        self._lines = 0
        self._pending_bytes = 0
        self._dropped = 0
        self._closing = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._consumer = threading.Thread(target=self._run, name="fig-log", daemon=True)
        self._consumer.start()

    @property
    def dropped(self) -> int:
        """Lines lost since the start: buffer full, sink failed, or closed."""
        return self._dropped

    def put(self, line: bytes) -> None:
        with self._lock:
            pending_bytes = self._pending_bytes + len(line)
            if self._closing or pending_bytes > self._max_pending_bytes:
                self._dropped += 1
                return
            # Only the first line of a batch pays for waking the thread.
            if not self._lines:
                self._changed.notify()
            self._pending_bytes = pending_bytes
            self._batch += line
            self._lines += 1

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most `timeout_s` seconds; then give the rest up as dropped."""
        with self._lock:
            self._closing = True
            self._changed.notify()
        self._consumer.join(timeout_s)
        with self._lock:
            self._dropped += self._take()[1]

    def _run(self) -> None:
        while True:
            with self._lock:
                self._await_batch()
                batch, lines = self._take()
            if not lines:
                return
            lost = 0 if self._written(batch) else lines
            with self._lock:
                self._pending_bytes -= len(batch)
                self._dropped += lost

    def _await_batch(self) -> None:
        """Return when there are lines, or nothing more will come."""
        self._changed.wait_for(lambda: self._lines or self._closing)
        # A moment's wait makes one write of many lines.
        self._changed.wait_for(lambda: self._closing, self._gather_s)

    def _take(self) -> tuple[bytearray, int]:
        taken = self._batch, self._lines
        self._batch, self._lines = bytearray(), 0
        return taken

    def _written(self, batch: bytearray) -> bool:
        try:
            self._write(bytes(batch))
        except (OSError, ValueError):
            return False
        return True


class Descriptor:
    """A sink for LineWriter: writes all bytes to a file descriptor, blocking also where the descriptor does not.

    After a write that failed half-way the next one starts on a line of its own.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._torn = False

    def __call__(self, data: bytes) -> None:
        rest = memoryview(b"\n" + data if self._torn else data)
        while rest:
            try:
                written = os.write(self._fd, rest)
            except BlockingIOError:
                select.select([], [self._fd], [])
                continue
            self._torn = rest[written - 1] != NEWLINE
            rest = rest[written:]


class AccessLog:
    """One line an exchange in the `format`; `off` writes none and needs no thread."""

    def __init__(
        self, format: Format, write: Callable[[bytes], None], max_pending_bytes: int = MAX_PENDING_BYTES
    ) -> None:
        self._writer = None if format == "off" else LineWriter(write, max_pending_bytes)
        self._line: Callable[[AccessEntry], bytes] = CombinedLine() if format == "combined" else JsonLine()

    @property
    def enabled(self) -> bool:
        """False for `off`: the caller need not make entries."""
        return self._writer is not None

    @property
    def dropped(self) -> int:
        """Lines lost since the start."""
        return 0 if self._writer is None else self._writer.dropped

    def log(self, entry: AccessEntry) -> None:
        """Enter the exchange. Never blocks and never raises."""
        if self._writer is not None:
            self._writer.put(self._line(entry))

    def close(self, timeout_s: float) -> None:
        """Flush for at most `timeout_s` seconds; later entries are dropped."""
        if self._writer is not None:
            self._writer.close(timeout_s)


class JsonLine:
    """An entry as one JSON object. Bytes that are not ASCII stand as `\\xHH`, as in `combined`."""

    def __init__(self) -> None:
        self._timestamp = Rfc3339()

    def __call__(self, entry: AccessEntry) -> bytes:
        agent, upstream_s = entry.user_agent, entry.upstream_s
        return _json_line(
            {
                "ts": self._timestamp(entry.at),
                "request_id": entry.request_id.decode("ascii", "backslashreplace"),
                "trace_id": entry.trace_id,
                "client": entry.client,
                "method": entry.method,
                "path": redacted(entry.path).decode("ascii", "backslashreplace"),
                "status": entry.status,
                "bytes_in": entry.bytes_in,
                "bytes_out": entry.bytes_out,
                "dur_ms": int(entry.duration_s * 1e6 + 0.5) / 1000,
                "upstream_ms": None if upstream_s is None else int(upstream_s * 1e6 + 0.5) / 1000,
                "seam": entry.seam,
                "side": entry.side,
                "upstream": entry.upstream,
                "reason": entry.reason,
                "cause": entry.cause,
                "fallback": entry.fallback,
                "attempts": entry.attempts,
                "ua": None if agent is None else agent.decode("ascii", "backslashreplace"),
            }
        )


class CombinedLine:
    """An entry in the format `combined` of nginx and Apache, in UTC."""

    def __init__(self) -> None:
        self._second = 0
        self._time = b""

    def __call__(self, entry: AccessEntry) -> bytes:
        request = b"%b %b HTTP/%b" % (_raw(entry.method), redacted(entry.path), _raw(entry.version))
        return b'%b - - [%b] "%b" %d %d "%b" "%b"\n' % (
            _escaped(_raw(entry.client)),
            self._time_local(int(entry.at)),
            _escaped(request),
            entry.status,
            entry.bytes_out,
            _escaped(redacted(entry.referer or b"-")),
            _escaped(entry.user_agent or b"-"),
        )

    def _time_local(self, second: int) -> bytes:
        if second != self._second or not self._time:
            year, month, day, hour, minute, whole = time.gmtime(second)[:6]
            self._second = second
            self._time = b"%02d/%b/%d:%02d:%02d:%02d +0000" % (day, MONTHS[month - 1], year, hour, minute, whole)
        return self._time


class Rfc3339:
    """UTC time to the millisecond as text. Under load many lines share one, so the last is kept."""

    def __init__(self) -> None:
        self._at_ms = -1
        self._text = ""

    def __call__(self, at: float) -> str:
        at_ms = int(at * 1000 + 0.5)
        if at_ms != self._at_ms:
            second, ms = divmod(at_ms, 1000)
            self._at_ms, self._text = at_ms, time.strftime(f"%Y-%m-%dT%H:%M:%S.{ms:03}Z", time.gmtime(second))
        return self._text


@dataclass(slots=True)
class _Silence:
    since: float
    suppressed: int


class ErrorLog:
    """At most one line a second for each (cause, upstream), with the number left out since the line before.

    `write` is called in `log` itself: give it `LineWriter.put` where the sink may block. `clock` tells seconds since
    the epoch. Both words of the pair come from fig and its configuration, so the memory is bounded.
    """

    def __init__(self, write: Callable[[bytes], None], clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock
        self._timestamp = Rfc3339()
        self._silences: dict[tuple[str, str | None], _Silence] = {}

    def log(self, cause: str, upstream: str | None, detail: str) -> None:
        """Write the line `{ts, level, cause, upstream, detail, suppressed}`, or count it."""
        now = self._clock()
        silence = self._silences.get((cause, upstream))
        # A clock that was set back must not silence a failure for long.
        if silence is not None and 0 <= now - silence.since < SUPPRESS_S:
            silence.suppressed += 1
            return
        self._silences[cause, upstream] = _Silence(now, 0)
        words = {"ts": self._timestamp(now), "level": "error", "cause": cause, "upstream": upstream}
        self._write(_json_line({**words, "detail": detail, "suppressed": silence.suppressed if silence else 0}))


def redacted(target: bytes) -> bytes:
    """A target or URL with the values of SENSITIVE_KEYS in its query masked. Keys count decoded, in any letter case."""
    path, mark, query = target.partition(b"?")
    if not query or HINT.search(query.lower()) is None:
        return target
    return path + mark + b"".join(map(_masked, SEPARATOR.split(query)))


def _masked(pair: bytes) -> bytes:
    key, _, value = pair.partition(b"=")
    return key + b"=" + MASK if value and unquote_to_bytes(key).lower() in SENSITIVE_KEYS else pair


def _json_line(words: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(words, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # A lone surrogate in a str: the standard library escapes what orjson refuses.
        return json.dumps(words).encode() + b"\n"


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _escaped(raw: bytes) -> bytes:
    return UNSAFE.sub(_hex, raw)


def _hex(found: re.Match[bytes]) -> bytes:
    return b"\\x%02X" % found[0][0]
