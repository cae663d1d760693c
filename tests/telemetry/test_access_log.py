"""Access lines, error lines, and the writer that never makes anybody wait."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.access_log import (
    AccessEntry,
    AccessLog,
    CombinedLine,
    Descriptor,
    ErrorLog,
    Format,
    JsonLine,
    LineWriter,
    redacted,
)

ROOT = Path(__file__).parents[2]
COMBINED = re.compile(rb'\S+ - - \[[^]]+\] "[^"]*" \d{3} \d+ "[^"]*" "[^"]*"\n')
PLAIN: dict[str, Any] = {
    "at": 1763911111.1234,
    "request_id": b"018f2a3b-aaaa-7bbb-8ccc-123456789012",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "client": "203.0.113.9",
    "method": "GET",
    "path": b"/api/products/42?page=2",
    "version": "1.1",
    "status": 200,
    "bytes_in": 7,
    "bytes_out": 311,
    "duration_s": 0.0123456,
    "upstream_s": 0.01,
    "seam": "catalog",
    "route": "/api/products/{id}",
    "side": "extracted",
    "upstream": "catalog",
    "reason": "bucket",
    "cause": None,
    "fallback": None,
    "attempts": 1,
    "user_agent": b"curl/8.5",
    "referer": b"https://shop.example/",
}


def entry(**changes: Any) -> AccessEntry:
    return AccessEntry(**{**PLAIN, **changes})


def written(log_format: Format, *entries: AccessEntry) -> bytes:
    sink: list[bytes] = []
    log = AccessLog(log_format, sink.append)
    for each in entries:
        log.log(each)
    log.close(5)
    return b"".join(sink)


class TestJson:
    def test_has_every_field_in_order(self) -> None:
        line = json.loads(JsonLine()(entry()))
        assert list(line.items()) == [
            ("ts", "2025-11-23T15:18:31.123Z"),
            ("request_id", "018f2a3b-aaaa-7bbb-8ccc-123456789012"),
            ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
            ("client", "203.0.113.9"),
            ("method", "GET"),
            ("path", "/api/products/42?page=2"),
            ("status", 200),
            ("bytes_in", 7),
            ("bytes_out", 311),
            ("dur_ms", 12.346),
            ("upstream_ms", 10.0),
            ("seam", "catalog"),
            ("side", "extracted"),
            ("upstream", "catalog"),
            ("reason", "bucket"),
            ("cause", None),
            ("fallback", None),
            ("attempts", 1),
            ("ua", "curl/8.5"),
        ]

    def test_what_did_not_happen_is_null(self) -> None:
        nothing = dict.fromkeys(("upstream_s", "side", "upstream", "reason", "user_agent"))
        line = json.loads(JsonLine()(entry(**nothing, cause="no_route")))
        assert [line[key] for key in ("upstream_ms", "side", "upstream", "reason", "ua")] == [None] * 5
        assert line["cause"] == "no_route"

    @pytest.mark.parametrize(
        ("at", "ts"),
        [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (1.005, "1970-01-01T00:00:01.005Z"),
            (1763911111.9996, "2025-11-23T15:18:32.000Z"),
        ],
    )
    def test_time_is_utc_to_the_nearest_millisecond(self, at: float, ts: str) -> None:
        assert json.loads(JsonLine()(entry(at=at)))["ts"] == ts

    def test_each_line_has_its_own_time(self) -> None:
        line = JsonLine()
        seconds = [json.loads(line(entry(at=at)))["ts"][-7:] for at in (1.001, 1.002, 1.002, 2.001, 1.001)]
        assert seconds == ["01.001Z", "01.002Z", "01.002Z", "02.001Z", "01.001Z"]

    def test_bytes_that_are_no_text_stand_escaped(self) -> None:
        line = json.loads(
            JsonLine()(entry(path=b"/caf\xc3\xa9/\xff", user_agent=b"\x1b[31m\n\x9b", request_id=b"\xfe"))
        )
        assert (line["path"], line["ua"], line["request_id"]) == ("/caf\\xc3\\xa9/\\xff", "\x1b[31m\n\\x9b", "\\xfe")

    def test_a_lone_surrogate_breaks_no_line(self) -> None:
        assert json.loads(JsonLine()(entry(client="\udcff")))["client"] == "\udcff"

    @given(st.binary(), st.binary(), st.text(), st.floats(0, 4e9))
    def test_is_always_one_line(self, path: bytes, agent: bytes, seam: str, at: float) -> None:
        line = JsonLine()(entry(path=path, user_agent=agent, request_id=agent, seam=seam, at=at))
        assert json.loads(line)["seam"] == seam
        assert line.endswith(b"}\n")
        assert not re.search(rb"[\x00-\x1f]", line[:-1])


class TestCombined:
    def test_is_the_format_of_nginx(self) -> None:
        assert CombinedLine()(entry()) == (
            b'203.0.113.9 - - [23/Nov/2025:15:18:31 +0000] "GET /api/products/42?page=2 HTTP/1.1" 200 311 '
            b'"https://shop.example/" "curl/8.5"\n'
        )

    def test_absent_fields_are_dashes(self) -> None:
        assert CombinedLine()(entry(user_agent=None, referer=b"")).endswith(b' 200 311 "-" "-"\n')

    def test_nothing_forges_a_line_or_a_field(self) -> None:
        line = CombinedLine()(entry(path=b'/a" 200 1 "-" "-"\n1.2.3.4', user_agent=b"\\\x00\x7f\xff\x1b"))
        assert b'"GET /a\\x22 200 1 \\x22-\\x22 \\x22-\\x22\\x0A1.2.3.4 HTTP/1.1"' in line
        assert line.endswith(b'"\\x5C\\x00\\x7F\\xFF\\x1B"\n')

    def test_each_line_has_its_own_time(self) -> None:
        line = CombinedLine()
        assert [line(entry(at=at)).split(b" ")[3] for at in (0.0, 59.9, 59.99, 60.0)] == [
            b"[01/Jan/1970:00:00:00",
            b"[01/Jan/1970:00:00:59",
            b"[01/Jan/1970:00:00:59",
            b"[01/Jan/1970:00:01:00",
        ]

    @given(st.binary(), st.binary(), st.binary(), st.text(min_size=1))
    def test_is_always_one_line_of_printable_ascii(
        self, path: bytes, agent: bytes, referer: bytes, method: str
    ) -> None:
        line = CombinedLine()(entry(path=path, user_agent=agent, referer=referer, method=method))
        assert COMBINED.fullmatch(line)
        assert line[:-1].isascii() and line[:-1].decode().isprintable()


class TestRedaction:
    @pytest.mark.parametrize(
        ("target", "logged"),
        [
            (b"/a", b"/a"),
            (b"/a?", b"/a?"),
            (b"/token=1", b"/token=1"),
            (b"/a?page=2&q=code", b"/a?page=2&q=code"),
            (b"/a?token=abc&page=2", b"/a?token=***&page=2"),
            (b"/a?x=1&access_token=a=b==&y=2", b"/a?x=1&access_token=***&y=2"),
            (b"/a?password=p%26q;secret=s&api_key=k&code=c", b"/a?password=***;secret=***&api_key=***&code=***"),
            (b"/a?PassWord=x", b"/a?PassWord=***"),
            (b"/a?to%6ben=x&%43ode=y", b"/a?to%6ben=***&%43ode=***"),
            (b"/a?token=x&token=y", b"/a?token=***&token=***"),
            (b"/a?token=&token&=token", b"/a?token=&token&=token"),
            (b"/a?tokens=x&mytoken=y&zipcode=1", b"/a?tokens=x&mytoken=y&zipcode=1"),
            (b"/a?%=1&%zz=2&\xff=3&code=\xff", b"/a?%=1&%zz=2&\xff=3&code=***"),
        ],
    )
    def test_masks_exactly_the_values_of_sensitive_keys(self, target: bytes, logged: bytes) -> None:
        assert redacted(target) == logged

    @pytest.mark.parametrize("log_format", ["json", "combined"])
    def test_no_secret_reaches_a_line(self, log_format: Format) -> None:
        spoken = entry(path=b"/cb?code=hunter2&state=1", referer=b"https://shop.example/?token=hunter2")
        line = written(log_format, spoken)
        assert b"code=***&state=1" in line
        assert b"hunter2" not in line


class BlockedSink:
    """Takes the first batch and holds it until `release`."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()
        self.batches: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        self.entered.set()
        self.release.wait(30)
        self.batches.append(data)


class TestLineWriter:
    def test_writes_by_itself_without_a_close(self) -> None:
        sink, arrived = list[bytes](), threading.Event()
        writer = LineWriter(lambda data: (sink.append(data), arrived.set())[0])
        writer.put(b"one\n")
        assert arrived.wait(10)
        arrived.clear()
        writer.put(b"two\n")
        assert arrived.wait(10)
        writer.close(5)
        assert sink == [b"one\n", b"two\n"]

    def test_close_flushes_everything_in_order(self) -> None:
        sink: list[bytes] = []
        writer = LineWriter(sink.append)
        lines = [b"%d\n" % number for number in range(5000)]
        for line in lines:
            writer.put(line)
        writer.close(5)
        assert (b"".join(sink), writer.dropped) == (b"".join(lines), 0)

    def test_a_blocked_sink_delays_nobody_and_costs_only_what_exceeds_the_bound(self) -> None:
        sink = BlockedSink()
        writer = LineWriter(sink, max_pending_bytes=100)
        writer.put(b"x" * 39 + b"\n")
        assert sink.entered.wait(10)
        started = time.monotonic()
        for _ in range(1000):
            writer.put(b"y" * 29 + b"\n")
        assert time.monotonic() - started < 1
        assert writer.dropped == 998
        sink.release.set()
        writer.close(5)
        assert [len(batch) for batch in sink.batches] == [40, 60]
        assert writer.dropped == 998

    def test_room_comes_back_once_a_batch_is_written(self) -> None:
        sink: list[bytes] = []
        writer = LineWriter(sink.append, max_pending_bytes=10)
        while len(sink) < 3:
            writer.put(b"nine byte\n")
        writer.close(5)
        assert set(sink) == {b"nine byte\n"}

    def test_close_gives_up_on_a_blocked_sink_in_time_and_counts_the_rest(self) -> None:
        sink = BlockedSink()
        writer = LineWriter(sink)
        writer.put(b"held\n")
        assert sink.entered.wait(10)
        writer.put(b"waiting\n")
        writer.close(0.01)
        assert writer.dropped == 1
        sink.release.set()

    @pytest.mark.parametrize("error", [OSError("disk full"), ValueError("closed file")])
    def test_a_failing_sink_costs_its_lines_and_no_others(self, error: Exception) -> None:
        sink, failed, broken = list[bytes](), threading.Event(), [True]

        def write(data: bytes) -> None:
            if broken:
                broken.clear()
                failed.set()
                raise error
            sink.append(data)

        writer = LineWriter(write)
        writer.put(b"lost\n")
        assert failed.wait(10)
        writer.put(b"kept\n")
        writer.close(5)
        assert (sink, writer.dropped) == ([b"kept\n"], 1)

    def test_a_closed_writer_counts_what_it_is_given(self) -> None:
        sink: list[bytes] = []
        writer = LineWriter(sink.append)
        writer.close(5)
        writer.put(b"late\n")
        writer.close(5)
        assert (sink, writer.dropped) == ([], 1)

    def test_lines_of_many_threads_stay_whole(self) -> None:
        sink: list[bytes] = []
        writer = LineWriter(sink.append)
        threads = [threading.Thread(target=lambda: [writer.put(b"abc\n") for _ in range(500)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.close(5)
        assert b"".join(sink) == b"abc\n" * 2000


TORN = """
import os, resource, sys
from proxy.telemetry.access_log import Descriptor

fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
write = Descriptor(fd)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
for attempt in range(2):
    try:
        write(b"first\\nsecond\\n")
    except OSError:
        pass
    else:
        sys.exit("the disk was not full")
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
write(b"third\\n")
write(b"fourth\\n")
"""


class TestDescriptor:
    def test_a_line_torn_by_a_full_disk_does_not_swallow_the_next(self, tmp_path: Path) -> None:
        path = tmp_path / "access.log"
        subprocess.run([sys.executable, "-c", TORN, str(path)], cwd=ROOT, check=True, timeout=30)
        assert path.read_bytes() == b"first\nseco\nthird\nfourth\n"

    def test_writes_more_than_a_pipe_holds_even_where_it_does_not_block(self) -> None:
        read, write = os.pipe()
        os.set_blocking(write, False)
        heard = bytearray()

        def listen() -> None:
            while chunk := os.read(read, 1 << 16):
                heard.extend(chunk)

        listener = threading.Thread(target=listen)
        listener.start()
        Descriptor(write)(b"line\n" * 100_000)
        os.close(write)
        listener.join(10)
        os.close(read)
        assert heard == b"line\n" * 100_000

    def test_a_closed_reader_is_an_error_for_the_writer_to_count(self) -> None:
        read, write = os.pipe()
        os.close(read)
        log = AccessLog("json", Descriptor(write))
        log.log(entry())
        log.close(5)
        os.close(write)
        assert log.dropped == 1


class TestAccessLog:
    def test_json_and_combined_write_their_lines(self) -> None:
        assert written("json", entry(), entry()) == JsonLine()(entry()) * 2
        assert written("combined", entry(), entry()) == CombinedLine()(entry()) * 2

    def test_off_writes_nothing_and_starts_no_thread(self) -> None:
        threads = threading.active_count()
        sink: list[bytes] = []
        log = AccessLog("off", sink.append)
        log.log(entry())
        assert threading.active_count() == threads
        log.close(5)
        assert (sink, log.dropped) == ([], 0)

    def test_counts_the_lines_beyond_its_bound(self) -> None:
        log = AccessLog("json", list[bytes]().append, max_pending_bytes=10)
        log.log(entry())
        log.close(5)
        assert log.dropped == 1


class FakeClock:
    def __init__(self) -> None:
        self.now = 1763911111.5

    def __call__(self) -> float:
        return self.now


class TestErrorLog:
    def story(self, *moments: tuple[float, str, str | None]) -> list[tuple[str, str | None, int]]:
        """Log (seconds since the start, cause, upstream) and return (cause, upstream, suppressed) of each line."""
        sink, clock = list[bytes](), FakeClock()
        log, start = ErrorLog(sink.append, clock), clock.now
        for after_s, cause, upstream in moments:
            clock.now = start + after_s
            log.log(cause, upstream, "refused")
        lines = [json.loads(line) for line in sink]
        return [(line["cause"], line["upstream"], line["suppressed"]) for line in lines]

    def test_a_line_names_time_cause_upstream_and_detail(self) -> None:
        sink: list[bytes] = []
        ErrorLog(sink.append, FakeClock()).log("connect_failed", "catalog", "refused\n\x1b[0m")
        assert sink[0].count(b"\n") == 1
        assert json.loads(sink[0]) == {
            "ts": "2025-11-23T15:18:31.500Z",
            "level": "error",
            "cause": "connect_failed",
            "upstream": "catalog",
            "detail": "refused\n\x1b[0m",
            "suppressed": 0,
        }

    def test_a_burst_is_one_line_and_the_next_tells_how_many_it_was(self) -> None:
        burst = [(number / 100, "connect_failed", "catalog") for number in range(100)]
        assert self.story(*burst, (1.0, "connect_failed", "catalog"), (2.5, "connect_failed", "catalog")) == [
            ("connect_failed", "catalog", 0),
            ("connect_failed", "catalog", 99),
            ("connect_failed", "catalog", 0),
        ]

    def test_another_cause_or_upstream_is_not_held_back(self) -> None:
        told = self.story((0, "loop", None), (0, "connect_failed", "a"), (0, "connect_failed", "b"), (0, "loop", None))
        assert told == [("loop", None, 0), ("connect_failed", "a", 0), ("connect_failed", "b", 0)]

    def test_a_clock_set_back_silences_nothing(self) -> None:
        assert len(self.story((0, "loop", None), (-3600, "loop", None), (-3599.5, "loop", None))) == 2
