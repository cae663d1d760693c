"""The comparer's process and the pipe to it. Bounded: what does not fit is refused, and nobody waits.

The process is started when it is first needed, ends with fig, and is started again when it dies, each time later. What
it had not written down is lost then, and so is what was on its way; nothing else changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import orjson

from proxy.child import start_child
from proxy.config.model import Shadow
from proxy.errors import ComparerAway
from proxy.routing.shadowing import ShadowRule
from proxy.shadow.answer import Answer
from proxy.shadow.frames import FrameReader, to_comparer
from proxy.shadow.sample import Sample, answer_to_plain

log = logging.getLogger("proxy")

_MAX_BUFFERED = 16 * 1024 * 1024
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_CALM_S = 60.0  # a process that lived that long died of something new
_ANSWER_S = 10.0
_END_S = 5.0
_STUCK_TICKS = 60

Settled = Callable[[int, str, str, str], None]


class Feed:
    """`ledger` is the file that the comparer keeps, None for memory. `settled(number, seam, verdict, class)` and
    `again(number)` are told what it says; `starts` counts its processes."""

    def __init__(self, ledger: Path | None, monotonic: Callable[[], float]) -> None:
        self.settled: Settled = _nobody
        self.again_wanted: Callable[[int], None] = _nobody
        self.starts = 0
        self._ledger = ledger
        self._monotonic = monotonic
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._silent = 0
        self._told: dict[str, tuple[str, Shadow]] = {}
        self._questions: dict[int, asyncio.Future[bytes]] = {}
        self._question = 0
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._closing = False

    @property
    def alive(self) -> bool:
        return self._transport is not None

    # --- to the comparer ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to keep a process. Does nothing where one is kept already."""
        if self._keeper is None and not self._closing:
            self._keeper = asyncio.ensure_future(self._keep())

    def put(self, rule: ShadowRule, sample: Sample) -> str | None:
        """Hand a sample over; else the word for why not."""
        if self._transport is None:
            self.start()
            return "comparer_away"
        if self._transport.get_write_buffer_size() > _MAX_BUFFERED:
            return "comparer_busy"
        self._tell(rule)
        self._transport.write(to_comparer("sample", sample.to_plain()))
        return None

    def again(self, number: int, candidate: Answer | None, control: Answer | None) -> None:
        """Both as they answered the second time; None where they did not."""
        if self._transport is not None:
            self._transport.write(to_comparer("again", number, answer_to_plain(candidate), answer_to_plain(control)))

    def note(self, rule: ShadowRule, traffic: Mapping[str, int], lost: Mapping[str, int]) -> bool:
        """Requests by endpoint, and samples lost by class, since the last time. False: nobody heard."""
        if self._transport is None:
            return False
        if self._transport.get_write_buffer_size() > _MAX_BUFFERED:
            return False
        self._tell(rule)
        self._transport.write(to_comparer("traffic", {rule.seam: traffic}) + to_comparer("lost", {rule.seam: lost}))
        return True

    async def ask(self, what: str, seam: str, mark: str, config: Shadow, known: Collection[str]) -> bytes:
        """The comparer's answer as JSON text. Raises ComparerAway."""
        self.start()
        try:
            async with asyncio.timeout(_ANSWER_S):
                while self._transport is None:  # it may be gone again before a waiter hears that it was there
                    await self._ready.wait()
                if self._transport.get_write_buffer_size() > _MAX_BUFFERED:
                    raise ComparerAway("The comparer does not keep up; repeat it in a moment.")
                self._explain(seam, mark, config)
                self._question += 1
                question = self._question
                answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
                self._questions[question] = answer
                try:
                    self._transport.write(to_comparer("ask", question, what, seam, sorted(known)))
                    return await answer
                finally:
                    del self._questions[question]
        except TimeoutError:
            raise ComparerAway("The comparer did not answer in time; repeat it in a moment.") from None

    def tick(self) -> None:
        """Once a second, as often as the process says that it lives. Ticks are counted, not seconds: where fig itself
        was stopped for a while, what came meanwhile is heard first."""
        self._silent += 1
        if self._process is not None and self._silent > _STUCK_TICKS:
            log.error("the comparer has said nothing for %d s: it is ended", _STUCK_TICKS)
            self._silent = 0
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _tell(self, rule: ShadowRule) -> None:
        self._explain(rule.seam, rule.mark, rule.config)

    def _explain(self, seam: str, mark: str, config: Shadow) -> None:
        """The rules of a seam, where the process does not know them yet."""
        told = self._told.get(seam)
        if told is not None and told[0] == mark and told[1] is config:
            return
        self._told[seam] = (mark, config)
        assert self._transport is not None
        self._transport.write(to_comparer("seam", seam, mark, options(config)))

    # --- from the comparer -------------------------------------------------------------------------------------------

    def hear(self, frame: bytes) -> None:
        self._silent = 0
        message: dict[str, Any] = orjson.loads(frame)
        if "settled" in message:
            self.settled(message["settled"], message["seam"], message["verdict"], message["class"])
        elif "again" in message:
            self.again_wanted(message["again"])
        elif "answer" in message:
            waiting = self._questions.get(message["answer"])
            if waiting is not None and not waiting.done():
                waiting.set_result(orjson.dumps(message["body"]))

    # --- its life ----------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._closing:
            began = self._monotonic()
            try:
                status = await self._live()
            except OSError as error:
                status = f"it cannot be started: {error.strerror or error}"
            if self._closing:
                return
            if self._monotonic() - began > _CALM_S:
                pause_s = _FIRST_PAUSE_S
            log.error("the comparer ended (%s); it is started again in %g s", status, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    async def _live(self) -> str:
        """One process from its start to its end; says how it ended."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            gone: asyncio.Future[None] = loop.create_future()
            transport, _ = await loop.create_connection(lambda: _Pipe(self, gone), sock=ours)
            self._transport = transport  # the pipe takes what comes before the process reads it
            self._told.clear()
            self._ready.set()
            try:
                process = await self._spawn(theirs)
            except BaseException:
                self._lose()
                transport.abort()
                raise
        self.starts += 1
        self._process, self._silent = process, 0
        try:
            await gone
        finally:
            self._lose()
            transport.abort()
            await self._end(process)
        return f"status {process.returncode}"

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        return await start_child(
            "proxy.shadow.worker",
            str(theirs.fileno()),
            "-" if self._ledger is None else str(self._ledger),
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,  # what a terminal sends to fig is fig's to act on
        )

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """It ends by itself once the pipe is closed and all is written down."""
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _lose(self) -> None:
        self._transport = self._process = None
        self._ready.clear()
        for waiting in self._questions.values():
            if not waiting.done():
                waiting.set_exception(ComparerAway("The comparer ended; repeat it in a moment."))

    async def close(self) -> None:
        """Returns once the process has written everything down and ended."""
        self._closing = True
        keeper, transport = self._keeper, self._transport
        if keeper is None:
            return
        hang_up: asyncio.TimerHandle | None = None
        if transport is not None:
            transport.close()  # once all that waits is written, which a process that hangs never takes
            hang_up = asyncio.get_running_loop().call_later(_END_S, transport.abort)
        else:
            keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        if hang_up is not None:
            hang_up.cancel()


class _Pipe(asyncio.Protocol):
    def __init__(self, feed: Feed, gone: asyncio.Future[None]) -> None:
        self._feed = feed
        self._gone = gone
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._feed.hear(frame)
        except (ValueError, KeyError, TypeError) as error:
            log.error("the comparer said what cannot be understood: %s", error)
            assert self._transport is not None
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None)


def options(config: Shadow) -> dict[str, Any]:
    """What the comparer needs of a seam's block."""
    return {
        "compare": config.compare,
        "store_values": list(config.store_values),
        "version_header": config.version_header,
        "control_percent": config.control_percent,
        "gate": config.gate.model_dump(mode="json"),
    }


def _nobody(*_: Any) -> None:
    """Nobody listens yet."""
