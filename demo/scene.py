"""The play: a seam from 0 to 100 %, rolled back, resumed, and what must hold all the while. Knows no process.

Each step is one `fig` command, then some seconds of traffic that are judged by what the command promised.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from demo.client import Answer, Connection, NoAnswer
from demo.screen import Row, Screen
from demo.traffic import Phase, Tally, Traffic

SEAM = "catalog"
REFRESH_S = 0.25
SETTLE_S = 0.1  # for what is still under way when a step is over

Fig = Callable[[Sequence[str]], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Step:
    """`command` None: nothing is typed, the seam is as its file says. `percent` is the share asked for."""

    command: tuple[str, ...] | None
    percent: float
    rising: bool = True

    @property
    def label(self) -> str:
        return "(as in the file)" if self.command is None else " ".join(("fig", *self.command))


ROLLBACK = Step(("rollback", SEAM), 0, rising=False)
RESUME = Step(("resume", SEAM), 100)
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
    """Plays STEPS on running traffic. `fig` runs one command line."""

    def __init__(self, traffic: Traffic, fig: Fig, port: int, screen: Screen, step_s: float) -> None:
        self._traffic = traffic
        self._fig = fig
        self._port = port
        self._screen = screen
        self._step_s = step_s
        self._moving = Tally()
        self._sides: dict[str, str] | None = {}
        self._records: list[Record] = []

    async def play(self) -> tuple[Promise, ...]:
        """Raises processes.Failed when a command fails."""
        shop: Promise | None = None
        for step in STEPS:
            await self._play(step)
            if step.percent == 50:
                shop = await rest_of_the_shop(self._port)
        self._screen.begin(Row("while it moved", None, self._moving))
        self._screen.finish()
        self._screen.close_table()
        assert shop is not None
        return (*promises(self._records, self._moving), shop)

    async def _play(self, step: Step) -> None:
        self._sides = (self._sides or {}) if step.rising else None
        if step.command is not None:
            self._traffic.phase = Phase(self._moving, None, self._sides)
            await self._fig(step.command)
        tally = Tally()
        self._traffic.phase = Phase(tally, step.percent, self._sides)
        self._records.append(Record(step, tally))
        self._screen.begin(Row(step.label, step.percent, tally))
        for _ in range(max(1, round(self._step_s / REFRESH_S))):
            await asyncio.sleep(REFRESH_S)
            self._screen.refresh()
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


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
MUG = b'{"items":[{"product_id":7,"qty":1}],"card":"tok_ok","fulfilment":"pickup"}'


def _member(answer: Answer, name: str) -> str:
    try:
        return str(json.loads(answer.body).get(name, "-"))
    except (ValueError, AttributeError):
        return "-"
