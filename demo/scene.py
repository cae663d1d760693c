"""The play: a seam compared until its bug is found and mended; moved from 0 to 100 %, rolled back, resumed; then its
service dies at half of the traffic.

Each step is one `fig` command, then some seconds of traffic that are judged by what the command promised. Knows no
process.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from demo.client import Answer, Connection, NoAnswer
from demo.screen import Row, Screen
from demo.traffic import Phase, Tally, Traffic

SEAM = "catalog"
REFRESH_S = 0.25
BREAKER_S = 20.0  # for the breaker to come to where it must
COMPARED_S = 1.2  # for the last samples to be compared
SETTLE_S = 0.1  # for what is still under way when a step is over

Fig = Callable[[Sequence[str]], Awaitable[str]]
Deed = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Service:
    """How the service of the seam is killed, started again, and rid of its bug."""

    kill: Deed
    revive: Deed
    mend: Deed


@dataclass(frozen=True, slots=True)
class Step:
    """`command` None: nothing is typed, the seam is as its file says. `percent` is the share asked for."""

    command: tuple[str, ...] | None
    percent: float
    rising: bool = True
    short: str = ""

    @property
    def label(self) -> str:
        return self.short or ("(as in the file)" if self.command is None else " ".join(("fig", *self.command)))


SHADOW = Step(("shift", SEAM, "--stage", "shadow"), 0, short="fig … --stage shadow")
ROLLBACK = Step(("rollback", SEAM), 0, rising=False)
RESUME = Step(("resume", SEAM), 100)
HALF = Step(("shift", SEAM, "50"), 50, rising=False)
STEPS = (
    Step(None, 0),
    Step(("shift", SEAM, "10"), 10),
    Step(("shift", SEAM, "50"), 50),
    Step(("shift", SEAM, "100"), 100),
    ROLLBACK,
    RESUME,
)


@dataclass(frozen=True, slots=True)
class Promise:
    """`detail` is the number behind it, or what broke it."""

    text: str
    kept: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Record:
    step: Step
    tally: Tally


class Scene:
    """Plays STEPS on running traffic, and unless it is `short` the comparison after the first and the outage after the
    last. `fig` runs one command line."""

    def __init__(
        self, traffic: Traffic, fig: Fig, service: Service, port: int, screen: Screen, step_s: float, short: bool
    ) -> None:
        self._traffic = traffic
        self._fig = fig
        self._service = service
        self._port = port
        self._screen = screen
        self._step_s = step_s
        self._short = short
        self._moving = Tally()
        self._sides: dict[str, str] | None = {}
        self._records: list[Record] = []

    async def play(self) -> tuple[Promise, ...]:
        """Raises processes.Failed when a command fails."""
        shop: tuple[Promise, ...] = ()
        compared: tuple[Promise, ...] = ()
        for step in STEPS:
            await self._play(step)
            if step.command is None and not self._short:
                compared = await self._play_comparison()
            if step.percent == 50:
                shop = await rest_of_the_shop(self._port), await one_login(self._port)
        outage = () if self._short else tuple(outage_promises(*await self._play_outage()))
        self._screen.begin(Row("while it moved", None, self._moving))
        self._screen.finish()
        self._screen.close_table()
        return (*promises(self._records, self._moving), *compared, *outage, *shop)

    async def _play_comparison(self) -> tuple[Promise, ...]:
        """All traffic stays at the monolith; the catalog answers beside it, first with its bug."""
        await self._play(SHADOW)
        found = await self._told("compare", SEAM)
        mending = self._watch("catalog is mended", SHADOW.percent)
        await self._service.mend()
        await self._rest(self._step_s / 2)
        self._screen.finish()
        before = await self._told("report", SEAM, "--html", os.devnull)
        growing = self._watch("compared again", SHADOW.percent)
        await self._rest(self._step_s)
        self._screen.finish()
        after = await self._told("report", SEAM, "--html", os.devnull)
        self._records += [Record(SHADOW, mending), Record(SHADOW, growing)]
        return bug_found(found), evidence_grows(found, before, after)

    async def _told(self, *command: str) -> Any:
        await asyncio.sleep(COMPARED_S)
        return json.loads(await self._fig((*command, "-o", "json")))

    async def _play_outage(self) -> tuple[Tally, Tally, tuple[bool, bool]]:
        """What was met while the service was dead and after it came back, and whether its breaker opened and closed."""
        await self._play(HALF)
        dead = self._watch(f"kill -9 {SEAM}", None)
        await self._service.kill()
        opened = await self._breaker("open")
        await self._rest(self._step_s)
        self._screen.finish()
        waking = self._watch(f"{SEAM} starts again", None)
        await self._service.revive()
        closed = await self._breaker("closed")
        self._screen.finish()
        self._moving.add(waking)
        back = self._watch("it is back", HALF.percent)
        await self._rest(self._step_s)
        self._traffic.phase = Phase(self._moving, None)
        await asyncio.sleep(SETTLE_S)
        self._screen.finish()
        return dead, back, (opened, closed)

    def _watch(self, label: str, percent: float | None) -> Tally:
        tally = Tally()
        self._traffic.phase = Phase(tally, percent)
        self._screen.begin(Row(label, percent, tally))
        return tally

    async def _breaker(self, wanted: str) -> bool:
        """Whether the breaker of the seam comes to that state in time."""
        for _ in range(round(BREAKER_S / REFRESH_S)):
            document = json.loads(await self._fig(("get", "seam", SEAM, "-o", "json")))
            if document["breakers"][0]["state"] == wanted:
                return True
            await self._rest(REFRESH_S)
        return False

    async def _rest(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / REFRESH_S))):
            await asyncio.sleep(REFRESH_S)
            self._screen.refresh()

    async def _play(self, step: Step) -> None:
        self._sides = (self._sides or {}) if step.rising else None
        if step.command is not None:
            self._traffic.phase = Phase(self._moving, None, self._sides)
            await self._fig(step.command)
        tally = Tally()
        self._traffic.phase = Phase(tally, step.percent, self._sides)
        self._records.append(Record(step, tally))
        self._screen.begin(Row(step.label, step.percent, tally))
        await self._rest(self._step_s)
        self._traffic.phase = Phase(self._moving, None, self._sides)
        await asyncio.sleep(SETTLE_S)
        self._screen.finish()


def promises(records: Sequence[Record], moving: Tally) -> Iterator[Promise]:
    """What a migration has to hold, and whether it did."""
    tallies = [*(record.tally for record in records), moving]
    by_step = {record.step: record.tally for record in records}
    requests = sum(tally.requests for tally in tallies)
    failed = sum(tally.failed for tally in tallies)
    yield _promise("no request failed", tallies, failed, f"{requests:,} requests")
    moved_back = sum(tally.moved_back for tally in tallies)
    yield _promise("nobody moved back while the share rose", tallies, moved_back, "")
    contradicted = sum(tally.contradicted for tally in tallies)
    yield _promise("the origins say the same as fig about who answered", tallies, contradicted, "")
    shares = [record.tally for record in records if record.step not in (ROLLBACK, RESUME)]
    misplaced = sum(tally.misplaced for tally in shares)
    yield _promise("each user was on the side that the published hash gives", shares, misplaced, "")
    for step, text in (
        (ROLLBACK, "after the rollback's answer nothing reached the extracted side"),
        (RESUME, "resume brought the former share back"),
    ):
        tally = by_step[step]
        yield _promise(text, [tally], tally.misplaced, f"{tally.requests:,} requests")
    silent = [record.step.label for record in records if not record.tally.requests]
    yield Promise("there was traffic at every step", not silent, ", ".join(silent))


def bug_found(comparisons: Any) -> Promise:
    """The planted bug rounds prices: the report must name the price first, with an example."""
    text = "comparing found the planted bug and named the field"
    first = next(iter(comparisons["differences"]), None)
    if first is None:
        return Promise(text, False, f"nothing differs: {comparisons['totals']}")
    values = [value for exemplar in first["exemplars"] for value in exemplar["differences"]]
    shown = next((value for value in values if value["path"] == first["path"]), None)
    example = "no example" if shown is None else f"{_shown(shown['legacy'])} became {_shown(shown['extracted'])}"
    kept = shown is not None and first["path"] in ("body:$.price", "body:$.items[*].price")
    return Promise(text, kept, f"{first['path']} in {first['count']:,} requests, such as {example}")


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value.get("value", value["hash"]))


def evidence_grows(bug: Any, before: Any, after: Any) -> Promise:
    """A mended service has an epoch of its own, in which nothing differs."""
    text = "mended, nothing differs any more, and the evidence grows"
    totals, evidence = after["comparisons"]["totals"], after["evidence"]
    first, last = before["evidence"], evidence
    kept = (
        totals["mismatch"] == 0
        and after["comparisons"]["epoch"] != bug["epoch"]
        and 0 < first["samples"] < last["samples"]
        and first["percent"] < last["percent"]
    )
    told = f"{totals['match']:,} alike, {totals['mismatch']:,} not; {evidence['verdict']}({evidence['reason']})"
    return Promise(text, kept, f"{told}, the meter from {first['percent']:.1f} % to {last['percent']:.1f} %")


def outage_promises(dead: Tally, back: Tally, breaker: tuple[bool, bool]) -> Iterator[Promise]:
    """What a service that dies must not do to anybody."""
    saved = f"{dead.fallbacks:,} of {dead.requests:,} requests answered by the monolith instead"
    yield _promise("the catalog was killed and nobody noticed", [dead], dead.failed + (not dead.fallbacks), saved)
    yield Promise("its breaker opened and closed by itself", all(breaker), "" if all(breaker) else f"{breaker}")
    yield _promise("its share came back with it", [back], back.failed + back.misplaced, f"{back.requests:,} requests")


def _promise(text: str, tallies: Sequence[Tally], broken: int, detail: str) -> Promise:
    if not broken:
        return Promise(text, True, detail)
    trouble = [sentence for tally in tallies for sentence in tally.trouble]
    return Promise(text, False, "; ".join((f"{broken:,} times", *trouble[:3])))


async def rest_of_the_shop(port: int) -> Promise:
    """What no seam claims keeps working through fig: log in, buy a mug, find the order again."""
    text = "the rest of the shop keeps working"
    connection = Connection(port)
    try:
        login = await connection.ask("POST", "/login", FORM, b"email=ada%40shop.example&password=ada-secret")
        cookie = {"Cookie": login.fields.get("set-cookie", "").partition(";")[0]}
        me = await connection.ask("GET", login.fields.get("location", "/nowhere"), cookie)
        bought = await connection.ask("POST", "/api/checkout", cookie | JSON, MUG)
        order = _member(bought, "order_id")
        orders = await connection.ask("GET", f"/api/orders/{order}", cookie)
    except NoAnswer as error:
        return Promise(text, False, str(error))
    finally:
        connection.close()
    told = f"login {login.status}, me {me.status}, checkout {bought.status} {order}, order {orders.status}"
    kept = (login.status, me.status, bought.status, orders.status) == (302, 200, 200, 200)
    return Promise(text, kept and _member(orders, "order_id") == order != "-", told)


async def one_login(port: int) -> Promise:
    """The monolith's session opens a page of the new service, which knows no session: fig asks the monolith whose it
    is, and vouches for him with a token of its own."""
    text = "who is logged in at the monolith is known to the new service"
    connection = Connection(port)
    try:
        cookies = [{}, *[await _login(connection, who) for who in (b"ada", b"grace")]]
        read = await connection.ask("GET", STAFF_PAGE, cookies[2])
        change = {**JSON, "If-Match": read.fields.get("etag", "")}
        answers = [await connection.ask("PUT", STAFF_PAGE, change | cookie, b"{}") for cookie in cookies]
    except NoAnswer as error:
        return Promise(text, False, str(error))
    finally:
        connection.close()
    found = [answer.status for answer in answers]
    told = f"stranger {found[0]}, customer {found[1]}, staff {found[2]}"
    return Promise(text, read.status == 200 and found == [401, 403, 200], told)


async def _login(connection: Connection, who: bytes) -> dict[str, str]:
    answer = await connection.ask("POST", "/login", FORM, b"email=%b%%40shop.example&password=%b-secret" % (who, who))
    return {"Cookie": answer.fields.get("set-cookie", "").partition(";")[0]}


STAFF_PAGE = "/v2/products/7"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
MUG = b'{"items":[{"product_id":7,"qty":1}],"card":"tok_ok","fulfilment":"pickup"}'


def _member(answer: Answer, name: str) -> str:
    try:
        return str(json.loads(answer.body).get(name, "-"))
    except (ValueError, AttributeError):
        return "-"
