"""`fig replay` against two real servers on loopback, and the lines that it reads."""

from __future__ import annotations

import io
import itertools
import json
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.main import fig
from proxy.cli.replay_calls import COPY_BYTES, Lane, Side
from proxy.cli.replay_lines import Line, Skipped, Unreadable, read_line, read_lines
from proxy.cli.replay_tally import endpoint_of
from proxy.shadow.suggest import suggested_rule
from tests.support.cli import Command
from tests.support.origin import Connection, Origin, Request

Handler = Callable[[Connection, Request], None]

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "


def answering(body: str | bytes, status: str = "200 OK", media: str = "application/json", fields: str = "") -> Handler:
    data = body.encode() if isinstance(body, str) else body

    def answer(connection: Connection, request: Request) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {len(data)}\r\n{fields}\r\n"
        connection.send(head.encode() + (b"" if request.line.startswith("HEAD ") else data))

    return answer


def making(body: Callable[[], Any]) -> Handler:
    """JSON, new with each answer."""
    return lambda connection, request: answering(json.dumps(body()))(connection, request)


def hang(connection: Connection, request: Request) -> None:
    connection.recv()  # until the client gives up


def drip(connection: Connection, request: Request) -> None:
    """An answer that never ends, and never pauses for long."""
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not connection.eof:
        connection.sock.sendall(b"1\r\nx\r\n")
        time.sleep(0.02)


def only_continue(connection: Connection, request: Request) -> None:
    while True:
        connection.sock.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
        time.sleep(0.02)


def reset(connection: Connection, request: Request) -> None:
    connection.reset()


@dataclass
class Service:
    """Answers by path; what it does not know is an object that is always the same."""

    handlers: dict[str, Handler] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.origin = Origin(self._serve)

    @property
    def url(self) -> str:
        return self.origin.url

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.origin.requests]

    def _serve(self, connection: Connection) -> None:
        while (request := connection.read()) is not None:
            handler = self.handlers.get(request.target.partition("?")[0], answering('{"id": 7, "price": "9.90"}'))
            handler(connection, request)


@pytest.fixture
def legacy() -> Iterator[Service]:
    service = Service()
    yield service
    service.origin.close()


@pytest.fixture
def extracted() -> Iterator[Service]:
    service = Service()
    yield service
    service.origin.close()


@pytest.fixture
def replay(legacy: Service, extracted: Service, tmp_path: Path) -> Callable[..., Result]:
    def run(lines: str | bytes, *args: object) -> Result:
        path = tmp_path / "lines.txt"
        path.write_bytes(lines.encode() if isinstance(lines, str) else lines)
        sides = () if "--legacy" in args else ("--legacy", legacy.url, "--extracted", extracted.url)
        return Command()("replay", path, *sides, *args)

    return run


Replay = Callable[..., Result]


def document(result: Result) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(result.stdout)
    return read


def fields(result: Result) -> list[tuple[str, str, str, int]]:
    differences = document(result)["differences"]
    return [(one["endpoint"], one["path"], one["class"], one["count"]) for one in differences]


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_all_alike_is_exit_0(replay: Replay, legacy: Service, extracted: Service) -> None:
    result = replay("# products\n/api/products/7?full=1\n\nHEAD /api/products/8\n", "-o", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = document(result)
    assert (found["totals"], found["differences"]) == ({"match": 2, "mismatch": 0, "uncounted": 0}, [])
    assert sorted(legacy.targets) == sorted(extracted.targets) == ["/api/products/7?full=1", "/api/products/8"]


def test_both_sides_get_the_same_request(replay: Replay, legacy: Service, extracted: Service) -> None:
    replay("/a", "-H", "X-User-Id: 7", "-H", "accept: text/html", "--control-percent", "0")
    (one,), (other,) = legacy.origin.requests, extracted.origin.requests
    assert one.head == other.head
    assert one.values("host") == [legacy.url.removeprefix("http://")]
    assert (one.values("x-user-id"), one.values("accept")) == (["7"], ["text/html"])
    assert one.value("accept-encoding") == "gzip, identity"
    replay("/a", "-H", "Host: shop.example")
    assert {request.value("host") for request in legacy.origin.requests[1:]} == {"shop.example"}


def test_a_path_of_the_url_stands_before_each_path(replay: Replay, legacy: Service, extracted: Service) -> None:
    sides = ("--legacy", f"{legacy.url}/old/", "--extracted", f"{extracted.url}/v2")
    assert replay("/a/../b//c?x=%2f%7e", *sides).exit_code == 0
    assert set(legacy.targets) == {"/old/a/../b//c?x=%2f%7e"}  # as it was written: nothing is spelt anew
    assert set(extracted.targets) == {"/v2/a/../b//c?x=%2f%7e"}


def test_no_cookie_is_kept_and_no_redirect_followed(replay: Replay, legacy: Service, extracted: Service) -> None:
    moved = answering("", "302 Found", fields="Location: /elsewhere\r\nSet-Cookie: session=1; Path=/\r\n")
    legacy.handlers["/old"] = extracted.handlers["/old"] = moved
    result = replay("/old\n/old\n/a\n", "--concurrency", "1")
    assert result.exit_code == 0
    assert "/elsewhere" not in legacy.targets + extracted.targets
    assert [request.value("cookie") for request in legacy.origin.requests + extracted.origin.requests] == [None] * (
        len(legacy.targets) + len(extracted.targets)
    )


def test_a_redirect_to_itself_is_seen_as_a_client_would(replay: Replay, legacy: Service, extracted: Service) -> None:
    for service, base in ((legacy, ""), (extracted, "/v2")):
        location = f"Location: {service.url}{base}/items/1\r\n"
        service.handlers[f"{base}/items"] = answering("", "301 Moved", fields=location)
    sides = ("--legacy", legacy.url, "--extracted", f"{extracted.url}/v2")
    assert replay("/items", *sides, "-H", "Host: shop.example").exit_code == 0
    extracted.handlers["/v2/items"] = answering("", "301 Moved", fields="Location: /items/2\r\n")
    result = replay("/items", *sides, "-o", "json")
    assert (result.exit_code, fields(result)) == (4, [("GET /items", "header:location", "header", 1)])


def test_nothing_of_the_environment_counts(legacy: Service, extracted: Service, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("/a\n")
    nobody = "http://127.0.0.1:9"
    command = Command({"HTTP_PROXY": nobody, "ALL_PROXY": nobody, "FIG_ADMIN_URL": nobody})
    assert command("replay", path, "--legacy", legacy.url, "--extracted", extracted.url).exit_code == 0


def test_a_file_may_come_by_stdin(legacy: Service, extracted: Service) -> None:
    args = ["replay", "-", "--legacy", legacy.url, "--extracted", extracted.url, "-o", "json"]
    result = CliRunner().invoke(fig, args, input="GET /a\nGET /b\n")
    assert (result.exit_code, document(result)["requests"]) == (0, 2)


def test_an_access_log_is_replayed_but_for_what_writes(replay: Replay, legacy: Service) -> None:
    log = (
        '192.0.2.1 - - [28/Nov/2026:08:00:00 +0000] "GET /api/products/7 HTTP/1.1" 200 311 "-" "curl/8"\n'
        '192.0.2.1 - ana [28/Nov/2026:08:00:01 +0000] "POST /api/cart HTTP/1.1" 201 12 "-" "curl/8"\n'
        '192.0.2.1 - - [28/Nov/2026:08:00:02 +0000] "\\x16\\x03\\x01" 400 0 "-" "-"\n'
    )
    result = replay(log, "--control-percent", "0")
    assert (result.exit_code, legacy.targets) == (0, ["/api/products/7"])
    assert "Skipped:     POST 1" in result.stdout
    assert result.stderr == "warning: line 3: the log holds no request there\n"


def test_the_limit_is_of_requests(replay: Replay, extracted: Service) -> None:
    assert replay("POST /x\n" + "/a\n" * 50, "--limit", "3").exit_code == 0
    assert len(extracted.targets) == 3


# --- what is found ---------------------------------------------------------------------------------------------------


def price(extracted: Service) -> str:
    """A wrong price for every third of 30 products; their lines."""
    for number in range(30):
        wrong = f'{{"id": {number}, "price": "{"9.91" if number % 3 == 0 else "9.90"}"}}'
        extracted.handlers[f"/api/products/{number}"] = answering(wrong)
    return "".join(f"/api/products/{number}\n" for number in range(30))


@pytest.fixture
def priced(legacy: Service, extracted: Service) -> str:
    for number in range(30):
        legacy.handlers[f"/api/products/{number}"] = answering(f'{{"id": {number}, "price": "9.90"}}')
    return price(extracted)


def test_a_planted_difference_is_named_counted_and_shown(replay: Replay, priced: str) -> None:
    result = replay(priced, "-o", "json")
    assert (result.exit_code, result.stderr) == (4, "")
    found = document(result)
    assert found["totals"] == {"match": 20, "mismatch": 10, "uncounted": 0}
    (one,) = found["differences"]
    assert (one["endpoint"], one["path"], one["class"]) == ("GET /api/products/{id}", "body:$.price", "value")
    assert (one["severity"], one["count"], one["exemplars"][0]["line"]) == ("mismatch", 10, 1)
    (difference,) = one["exemplars"][0]["differences"]
    assert difference["legacy"]["hash"] != difference["extracted"]["hash"]
    assert "9.9" not in result.stdout


def test_as_text_it_stands_beside_one_another(replay: Replay, priced: str) -> None:
    text = replay(priced, "--show-values").stdout
    assert "Requests:    30: 20 match · 10 mismatch · 0 uncounted" in text
    assert "GET /api/products/{id}  body:$.price  value  mismatch  10" in text
    assert "GET /api/products/0 · line 1" in text
    (line,) = [line for line in text.splitlines() if '"9.91"' in line]
    assert line.index('"9.90"') < line.index('"9.91"')
    assert "9.9" not in replay(priced).stdout


def test_what_legacy_does_not_answer_alike_twice_is_forgiven(
    replay: Replay, legacy: Service, extracted: Service
) -> None:
    numbers = itertools.count(1)
    for service in (legacy, extracted):
        service.handlers["/n"] = making(lambda: {"id": str(uuid.uuid4()), "at": time.time(), "n": next(numbers)})
    result = replay("/n\n" * 20, "-o", "json")
    assert (result.exit_code, fields(result)) == (0, [])
    noise = {one["path"]: one for one in document(result)["noise"]}
    assert noise["body:$.id"]["standing"] == "noisy"
    assert noise["body:$.id"]["rule"] == {"ignore": ["$.id"]}
    assert noise["body:$.id"]["differed"] == 20


def test_what_goes_beyond_noise_is_not(replay: Replay, legacy: Service, extracted: Service) -> None:
    legacy.handlers["/n"] = making(lambda: {"id": str(uuid.uuid4())})
    extracted.handlers["/n"] = making(lambda: {"id": None})
    result = replay("/n", "-o", "json")
    assert (result.exit_code, fields(result)) == (4, [("GET /n", "body:$.id", "type", 1)])


def test_with_no_control_every_difference_counts(replay: Replay, legacy: Service, extracted: Service) -> None:
    for service in (legacy, extracted):
        service.handlers["/n"] = making(lambda: {"id": str(uuid.uuid4())})
    result = replay("/n\n/n\n", "-o", "json", "--control-percent", "0")
    assert (result.exit_code, fields(result)) == (4, [("GET /n", "body:$.id", "value", 2)])
    assert (len(legacy.targets), document(result)["noise"]) == (2, [])


def test_a_share_is_asked_twice_from_the_start(replay: Replay, legacy: Service, extracted: Service) -> None:
    result = replay("/a\n" * 40, "-o", "json", "--control-percent", "50")
    twice = document(result)["second_controls"]
    assert 10 < twice < 30
    assert (len(legacy.targets), len(extracted.targets)) == (40 + twice, 40)


def test_the_suggested_rules_do_excuse_it(replay: Replay, legacy: Service, extracted: Service, tmp_path: Path) -> None:
    shuffling, letters = random.Random(7), list("abcdefgh")
    for service in (legacy, extracted):
        service.handlers["/n"] = making(lambda: {"tags": shuffling.sample(letters, 8), "odd.name": shuffling.random()})
    shown = replay("/n\n" * 20).stdout
    rules = tmp_path / "rules.yaml"
    rules.write_text(shown.partition("for `shadow.compare`:")[2])
    assert "unordered: {" in rules.read_text()
    result = replay("/n\n" * 20, "-o", "json", "--rules", rules, "--control-percent", "0")
    assert (result.exit_code, fields(result)) == (0, [])


# --- bad answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [hang, drip, only_continue])
def test_an_answer_that_never_ends_is_given_up_in_time(replay: Replay, extracted: Service, held: Handler) -> None:
    extracted.handlers["/slow"] = held
    begin = time.monotonic()
    result = replay("/slow\n/a\n/slow\n/b\n", "-o", "json", "--timeout-s", "0.4", "--concurrency", "1")
    assert time.monotonic() - begin < 5
    found = document(result)
    assert (result.exit_code, found["totals"]) == (4, {"match": 2, "mismatch": 0, "uncounted": 2})
    assert found["unanswered"] == {"legacy": {}, "extracted": {"timeout": 2}}
    assert fields(result) == [("GET /slow", "answer", "timeout", 2)]


def test_a_legacy_that_hangs_is_no_evidence_against_the_other(replay: Replay, legacy: Service) -> None:
    legacy.handlers["/slow"] = hang
    result = replay("/slow\n/a\n", "--timeout-s", "0.4")
    assert result.exit_code == 0
    assert "No answer:   legacy timeout 1" in result.stdout


@pytest.mark.parametrize(
    "broken",
    [
        reset,
        lambda connection, request: connection.send(b"SSH-2.0-OpenSSH\r\n\r\n"),
        lambda connection, request: (connection.send(HEAD.encode() + b"99\r\n\r\n{"), connection.reset()),
        lambda connection, request: connection.send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"),
    ],
)
def test_an_answer_that_breaks_off_is_counted(replay: Replay, extracted: Service, broken: Handler) -> None:
    extracted.handlers["/x"] = broken
    result = replay("/x\n/a\n", "-o", "json")
    assert result.exit_code == 4
    assert document(result)["unanswered"]["extracted"] == {"broken": 1}


def test_a_huge_body_is_hashed_to_its_end(replay: Replay, legacy: Service, extracted: Service) -> None:
    data = b"\x00\xff" * (4 * COPY_BYTES)
    other = data[:-1] + b"\x00"
    legacy.handlers["/big"] = answering(data, media="application/octet-stream")
    extracted.handlers["/big"] = answering(data, media="application/octet-stream")
    assert replay("/big").exit_code == 0
    extracted.handlers["/big"] = answering(other, media="application/octet-stream")
    result = replay("/big", "-o", "json")
    assert (result.exit_code, fields(result)) == (4, [("GET /big", "body", "opaque", 1)])
    assert document(result)["differences"][0]["exemplars"][0]["extracted"]["length"] == len(data)


def test_no_more_than_the_copy_of_a_body_is_kept(legacy: Service) -> None:
    import asyncio

    legacy.handlers["/big"] = answering(b"x" * (COPY_BYTES + 1))

    async def ask() -> Any:
        async with Lane(Side.of(legacy.url), [(b"Host", b"a.b")], b"http://a.b", False, 5) as lane:
            return await lane.ask("GET", b"/big")

    answer = asyncio.run(ask())
    assert (len(answer.body), answer.truncated, answer.length) == (COPY_BYTES, True, COPY_BYTES + 1)
    assert len(answer.sha256) == 32


def test_invalid_utf_8_is_found_and_harms_no_terminal(replay: Replay, extracted: Service) -> None:
    extracted.handlers["/u"] = answering(b'{"id": "\xff\x1b[2J"}')
    result = replay("/u", "--show-values")
    assert result.exit_code == 4
    assert "decode_error" in result.stdout
    assert "\x1b" not in result.stdout


def test_control_characters_and_markup_of_a_service_are_shown_as_text(
    replay: Replay, legacy: Service, extracted: Service
) -> None:
    legacy.handlers["/u"] = answering(json.dumps({"\x1b]0;x\x07[red]": "a"}))
    extracted.handlers["/u"] = answering(json.dumps({"\x1b]0;x\x07[red]": "\x1b[2J\u202e[/red]"}))
    result = replay("/u", "--show-values")
    assert result.exit_code == 4
    assert "[red]" in result.stdout
    assert result.stdout.replace("\n", "").isprintable()


def test_a_side_that_is_down_is_exit_1(replay: Replay, legacy: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    result = replay("/a\n/b\n", "--legacy", legacy.url, "--extracted", nobody, "-o", "json")
    assert result.exit_code == 1
    assert "nothing could be compared: no answer (extracted unreachable 2)" in result.stderr
    assert document(result)["unanswered"] == {"legacy": {}, "extracted": {"unreachable": 2}}


@pytest.mark.parametrize("lines", ["", "# nothing\n", "POST /a\nDELETE /b\n", "what is this\n"])
def test_a_file_without_requests_is_exit_1(replay: Replay, lines: str) -> None:
    result = replay(lines)
    assert result.exit_code == 1
    assert "no GET or HEAD request" in result.stderr


def test_both_in_error_is_no_comparison(replay: Replay, legacy: Service, extracted: Service) -> None:
    legacy.handlers["/e"] = extracted.handlers["/e"] = answering("{}", "500 Oops")
    result = replay("/e")
    assert result.exit_code == 1
    assert "no pair counts (both_error 1)" in result.stderr


def test_some_are_asked_at_once(replay: Replay, legacy: Service, extracted: Service) -> None:
    together = threading.Barrier(4)

    def meet(connection: Connection, request: Request) -> None:
        together.wait(5)
        answering("{}")(connection, request)

    legacy.handlers["/m"] = extracted.handlers["/m"] = meet
    assert replay("/m\n" * 2, "--concurrency", "2", "--control-percent", "0").exit_code == 0


# --- what was given --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://ana:pass-word@127.0.0.1:1", "user or password"),
        ("http://ana@127.0.0.1:1", "user or password"),
        ("http://@127.0.0.1:1", "user or password"),
        ("ftp://127.0.0.1", "http://"),
        ("127.0.0.1:8000", "http://"),
        ("http://", "http://"),
        ("http://127.0.0.1:port", "URL"),
        ("http://127.0.0.1/a?b=1", "query"),
        ("http://127.0.0.1/a?", "query"),
        ("http://127.0.0.1/#a", "query"),
    ],
)
def test_what_is_no_side_is_a_usage_error(replay: Replay, extracted: Service, url: str, word: str) -> None:
    result = replay("/a", "--legacy", url, "--extracted", extracted.url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--legacy" in result.stderr
    assert word in result.stderr
    assert "pass-word" not in result.stderr


@pytest.mark.parametrize(
    "header",
    ["nonsense", ": x", "a b: c", "X: a\r\nY: b", "X: \x00", "Content-Length: 5", "Transfer-Encoding: chunked"],
)
def test_what_is_no_header_is_a_usage_error(replay: Replay, header: str) -> None:
    result = replay("/a", "-H", header)
    assert (result.exit_code, result.stdout) == (2, "")


def test_host_is_one(replay: Replay) -> None:
    assert replay("/a", "-H", "Host: a", "-H", "host: b").exit_code == 2


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    result = Command()("replay", tmp_path / "nope", "--legacy", "http://a", "--extracted", "http://b")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nope" in result.stderr


@pytest.mark.parametrize(
    "rules",
    [
        "numeric: {$.price: {abs: 0.05}}\ncoerce: {$.price: decimal}",
        "compare:\n  numeric: {$.price: {abs: 0.05}}\n  coerce: {$.price: decimal}",
        '{"compare": {"ignore": ["$.price"]}}',
        'ignore: ["${FIELD:-$.price}"]',
    ],
)
def test_rules_come_from_a_file(replay: Replay, priced: str, tmp_path: Path, rules: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(rules)
    assert replay(priced, "--rules", path).exit_code == 0


def test_a_list_of_paths_is_a_list(replay: Replay, legacy: Service, extracted: Service, tmp_path: Path) -> None:
    legacy.handlers["/t"], extracted.handlers["/t"] = answering('{"t": [1, 2]}'), answering('{"t": [2, 1]}')
    path = tmp_path / "rules.yaml"
    path.write_text("unordered: [$.t]")
    assert replay("/t").exit_code == 4
    assert replay("/t", "--rules", path).exit_code == 0


@pytest.mark.parametrize("rules", ["", "compare:\n"])
def test_rules_may_be_none(replay: Replay, priced: str, tmp_path: Path, rules: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(rules)
    assert replay(priced, "--rules", path).exit_code == 4


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        ("ignored: [$.a]", "did you mean 'ignore'"),
        ("ignore: $.a", "list of texts"),
        ("- ignore", "mapping"),
        ("ignore: [", "YAML"),
        ("ignore: [$.a]\nignore: [$.b]", "ignore"),
        ("ignore: ['${NOT_SET_ANYWHERE}']", "NOT_SET_ANYWHERE"),
    ],
)
def test_rules_that_are_not_valid_are_exit_3(replay: Replay, tmp_path: Path, rules: str, word: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(rules)
    result = replay("/a", "--rules", path)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "rules.yaml" in result.stderr
    assert word in result.stderr


def test_rules_that_are_not_there_are_exit_3(replay: Replay, tmp_path: Path) -> None:
    result = replay("/a", "--rules", tmp_path / "nope.yaml")
    assert result.exit_code == 3
    assert "nope.yaml cannot be read" in result.stderr


# --- lines -----------------------------------------------------------------------------------------------------------

LOGGED = b'192.0.2.1 - - [28/Nov/2026:08:00:00 +0000] "%b" 200 311 "-" "a \\"b\\" [c]"'


@pytest.mark.parametrize(
    ("text", "method", "target"),
    [
        (b"/", "GET", b"/"),
        (b"  /a?b=c&d  \r\n", "GET", b"/a?b=c&d"),
        (b"GET /a", "GET", b"/a"),
        (b"HEAD   /a HTTP/1.1", "HEAD", b"/a"),
        (b"https://shop.example:8443/a?b#c", "GET", b"/a?b"),
        (b"http://shop.example", "GET", b"/"),
        (b"GET http://shop.example?x", "GET", b"/?x"),
        ("/caf\xe9".encode(), "GET", b"/caf%C3%A9"),
        (LOGGED % b"GET /a HTTP/1.1", "GET", b"/a"),
        (LOGGED % rb"GET /a?q=\x22b\x22 HTTP/2.0", "GET", b'/a?q="b"'),
        (LOGGED % rb"GET /a?q=\"b\"\\ HTTP/1.1", "GET", b'/a?q="b"\\'),
        (LOGGED % rb"GET /caf\xC3\xA9 HTTP/1.1", "GET", b"/caf%C3%A9"),
        (LOGGED % b"GET /a", "GET", b"/a"),
        (b'2001:db8::1 - Ana Lee [28/Nov/2026:08:00:00 +0000] "HEAD /a HTTP/1.1" 200 -', "HEAD", b"/a"),
        (b"shop.example:443 " + LOGGED % b"GET /a HTTP/1.1", "GET", b"/a"),
    ],
)
def test_a_line_is_a_request(text: bytes, method: str, target: bytes) -> None:
    assert read_line(3, text) == Line(3, method, target)


@pytest.mark.parametrize("text", [b"", b"  \t\r\n", b"# /a", b"   #"])
def test_a_line_says_nothing(text: bytes) -> None:
    assert read_line(1, text) is None


@pytest.mark.parametrize(
    ("text", "method"),
    [(b"POST /a", "POST"), (b"OPTIONS *", "OPTIONS"), (LOGGED % b"CONNECT a:443 HTTP/1.1", "CONNECT")],
)
def test_a_line_is_skipped_for_its_method(text: bytes, method: str) -> None:
    assert read_line(1, text) == Skipped(1, method)


@pytest.mark.parametrize(
    "text",
    [b"a", b"get /a", b"GET", b"GET a", b"/a b", b"/a#b", b"/a\x00", b"GET /a b c", LOGGED % b"-",
     LOGGED % rb"\x16\x03", LOGGED % rb"GET /a\x0d\x0aX:1 HTTP/1.1", b"\xff\xfe/\x00a\x00"],
)  # fmt: skip
def test_a_line_cannot_be_read(text: bytes) -> None:
    assert isinstance(read_line(1, text), Unreadable)


@given(st.binary(max_size=200))
def test_whatever_a_line_holds_it_is_read_or_not(text: bytes) -> None:
    read = read_line(1, text)
    if isinstance(read, Line):
        assert read.target.startswith(b"/")
        assert all(0x21 <= byte <= 0x7E for byte in read.target)


def test_lines_are_numbered_and_bounded() -> None:
    file = io.BytesIO(b"\xef\xbb\xbf/a\n\n/" + b"x" * 300_000 + b"\n/b\n" + b" [" * 30_000 + b"\n/c")
    reads = list(read_lines(file))
    assert [(read.number, type(read)) for read in reads] == [
        (1, Line), (3, Unreadable), (4, Line), (5, Unreadable), (6, Line)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "endpoint"),
    [
        (b"/", "GET /"),
        (b"/api/products/7?x=1", "GET /api/products/{id}"),
        (b"/a/3f2a9c64-7f3e-4b11-9a57-0d7a2f1b6c33/b/", "GET /a/{id}/b/"),
        (b"/a/2026-11-28/b", "GET /a/{id}/b"),
        (b"/v2/shoes", "GET /v2/shoes"),
    ],
)
def test_segments_like_ids_have_one_name(target: bytes, endpoint: str) -> None:
    assert endpoint_of("GET", target) == endpoint


@pytest.mark.parametrize(
    ("path", "formats", "rule"),
    [
        ("body:$.a[*].b", ["uuid"], {"ignore": ["$.a[*].b"]}),
        ("body:$.a", ["order"], {"unordered": {"$.a": True}}),
        ("header:x-trace", ["token"], {"ignore": ["header:x-trace"]}),
        ("body:$", ["int"], None),
        ("body", ["text"], None),
        ("status", [], None),
        ("body:$.aaa...", ["text"], None),
    ],
)
def test_a_rule_is_suggested_where_it_excuses_no_more(
    path: str, formats: Sequence[str], rule: dict[str, Any] | None
) -> None:
    assert suggested_rule(path, formats) == rule


def test_a_side_knows_how_it_may_name_itself() -> None:
    side = Side.of("https://Shop.Example:443/v2/")
    assert (side.base, side.authority) == (b"/v2", b"shop.example")
    lines = [(b"Location", b"https://shop.example:443/v2/a"), (b"Location", b"https://else.example/v2/a")]
    assert side.public(lines, b"http://a.b") == (
        (b"Location", b"http://a.b/a"),
        (b"Location", b"https://else.example/v2/a"),
    )
    assert Side.of("http://[::1]:8000").internal.authorities == {b"[::1]:8000"}
    assert httpx.URL("http://[::1]:8000").netloc == Side.of("http://[::1]:8000").authority
