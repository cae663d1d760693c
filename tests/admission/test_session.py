"""The session bridge: what an answer of the monolith means, how long it is good, how seldom the monolith is asked."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Coroutine
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission.auth_rules import is_scope
from proxy.admission.session import (
    INACTIVE_S,
    LONGEST_SID,
    MOST_ASKED,
    MOST_BYTES,
    MOST_ENTRIES,
    PAUSE_S,
    Known,
    SessionRule,
    Sessions,
    SessionUnreachable,
    principal_in,
)
from proxy.messages import Principal, RequestHead

NOW = 1_800_000_000.0
ALICE = Principal("7", ("orders:write",), session=True)
ANSWER = b'{"active": true, "sub": "7", "scopes": ["orders:write"]}'
INACTIVE = b'{"active": false}'


class Monolith:
    """Answers when it is told to, and counts what it was asked. `now` is both clocks, `wall` ahead of it by NOW."""

    def __init__(self, *answers: bytes | Exception, slow: bool = False) -> None:
        self.asked: list[str] = []
        self.answers = list(answers)
        self.gate = asyncio.Event()
        self.now = 100.0
        if not slow:
            self.gate.set()

    async def ask(self, sid: str) -> bytes:
        self.asked.append(sid)
        await self.gate.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sessions(self, cache_s: float = 30.0, most: int = MOST_ENTRIES) -> Sessions:
        rule = SessionRule("SHOPSESSID", cache_s)
        return Sessions(rule, self.ask, clock=lambda: NOW + self.now, monotonic=lambda: self.now, most=most)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def head(cookie: bytes | None) -> RequestHead:
    fields = {} if cookie is None else {b"cookie": cookie}
    return RequestHead("GET", b"/", b"shop.test", [], fields, 0, False, "192.0.2.1", "https")


async def failed(sessions: Sessions, sid: bytes = b"s1") -> str:
    with pytest.raises(SessionUnreachable) as error:
        await sessions.look_up(sid)
    return str(error.value)


def reachable(thing: object) -> list[object]:
    """All that it holds, but for what a program is made of."""
    found: dict[int, object] = {}
    waiting = [thing]
    while waiting:
        one = waiting.pop()
        if id(one) not in found and not isinstance(one, type | ModuleType | FunctionType | BuiltinFunctionType):
            found[id(one)] = one
            waiting += gc.get_referents(one)
    return list(found.values())


# --- the cookie ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cookie", "value"),
    [
        (None, None),
        (b"SHOPSESSID=", None),
        (b'SHOPSESSID=""', None),
        (b"OTHER=1", None),
        (b"XSHOPSESSID=1", None),
        (b"a=SHOPSESSID=1", None),
        (b"SHOPSESSID=9f2", b"9f2"),
        (b'a=1; SHOPSESSID="9f2"; b=2', b"9f2"),
    ],
)
def test_the_cookie_is_read(cookie: bytes | None, value: bytes | None) -> None:
    async def work() -> None:
        assert Monolith(ANSWER).sessions().read(head(cookie)) == value

    run(work())


def test_what_is_no_name_of_a_cookie_is_refused() -> None:
    async def work() -> None:
        with pytest.raises(ValueError, match="SHOP SESSID"):
            Sessions(SessionRule("SHOP SESSID"), Monolith(ANSWER).ask)

    run(work())


@pytest.mark.parametrize("sid", [b"", b"x" * (LONGEST_SID + 1), b"\xc3\xa4", b"a\tb", b"a\x7f", b"a\n"])
def test_what_cannot_be_a_session_is_never_asked_about(sid: bytes) -> None:
    async def work() -> None:
        monolith = Monolith(ANSWER)
        sessions = monolith.sessions()
        assert sessions.known(sid) == Known(None)
        assert await sessions.look_up(sid) is None
        assert not monolith.asked

    run(work())


def test_the_longest_session_is_asked_about() -> None:
    async def work() -> None:
        monolith = Monolith(ANSWER)
        assert await monolith.sessions().look_up(b"~" * LONGEST_SID) == ALICE
        assert monolith.asked == ["~" * LONGEST_SID]

    run(work())


# --- what an answer means --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "principal"),
    [
        (ANSWER, ALICE),
        (b'{"active":true,"sub":7}', Principal("7", session=True)),
        (b'{"active":true,"sub":"anna \xc3\xa4"}', Principal("anna ä", session=True)),
        (b'{"active":true,"sub":"7","scope":"b a b"}', Principal("7", ("b", "a"), session=True)),
        (b'{"active":true,"sub":"7","scope":"b","scopes":["a","b"]}', Principal("7", ("b", "a"), session=True)),
        (b'{"active":true,"sub":"7","scope":"a\\r\\nX-Admin: 1"}', Principal("7", ("1",), session=True)),
        (b'{"active":true,"sub":"7","scopes":["a b",7,"\\u0000","c"]}', Principal("7", ("c",), session=True)),
        (b'{"active":true,"sub":"7","exp":1800000200.5}', Principal("7", expires_s=1_800_000_200.5, session=True)),
        (b'{"active":true,"sub":"7","client_id":"x","more":{"a":[1]}}', Principal("7", session=True)),
        (INACTIVE, None),
        (b'{"active":false,"sub":null}', None),
    ],
)
def test_a_good_answer(answer: bytes, principal: Principal | None) -> None:
    assert principal_in(answer) == principal


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>Sign in</html>",
        b"[]",
        b"null",
        b"{}",
        b'{"active":"true","sub":"7"}',
        b'{"active":1,"sub":"7"}',
        b'{"active":0}',
        b'{"active":null}',
        b'{"sub":"7"}',
        b'{"active":true}',
        b'{"active":true,"sub":""}',
        b'{"active":true,"sub":null}',
        b'{"active":true,"sub":true}',
        b'{"active":true,"sub":7.0}',
        b'{"active":true,"sub":["7"]}',
        b'{"active":true,"sub":" 7"}',
        b'{"active":true,"sub":"7\\r\\nX-Admin: 1"}',
        b'{"active":true,"sub":"a\\u0085b"}',
        b'{"active":true,"sub":"\\ud800"}',
        b'{"active":true,"sub":"7","scope":["a"]}',
        b'{"active":true,"sub":"7","scopes":"a"}',
        b'{"active":true,"sub":"7","exp":"1800000200"}',
        b'{"active":true,"sub":"7","exp":true}',
        b'{"active":true,"sub":"7","exp":null}',
        b'{"active":true,"sub":"7","exp":NaN}',
        b'{"active":true,"sub":"7","exp":1e999}',
        b'{"active":true,"sub":"7","exp":1' + b"0" * 400 + b"}",
        b'{"active":true,"sub":' + b"1" * 5000 + b"}",
        b'{"active":false,"active":true,"sub":"7"}',
        b'{"active":true,"sub":"7","sub":"1"}',
        b'{"active":true,"sub":"7","more":{"a":1,"a":2}}',
        b'{"active":true,"sub":"7","more":' + b"[" * 5000 + b"]" * 5000 + b"}",
        ANSWER + b" " * MOST_BYTES,
        b'\xff\xfe{"active":true}',
    ],
    ids=lambda answer: answer[:48].decode("latin-1"),
)
def test_nonsense_is_the_fault_of_the_monolith_and_no_end_of_the_session(answer: bytes) -> None:
    with pytest.raises(SessionUnreachable, match="answer"):
        principal_in(answer)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.sampled_from("ab"), scalars)
members = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("active", "sub", "scope", "scopes", "exp", "more"), json_values)
)


@given(members | members.map(lambda found: {**found, "active": True, "sub": "7"}), st.binary(max_size=3))
def test_any_answer_is_a_principal_that_headers_carry_or_the_monolith_at_fault(
    found: dict[str, Any], tail: bytes
) -> None:
    try:
        principal = principal_in(json.dumps(found).encode() + tail)
    except SessionUnreachable:
        return
    assert principal is None or (found["active"] is True and principal.session)
    if principal is not None:
        assert principal.subject == str(found["sub"]).strip() != ""
        assert not {"\r", "\n", "\0"} & set(principal.subject) and principal.subject.encode()
        assert all(map(is_scope, principal.scopes)) and len(set(principal.scopes)) == len(principal.scopes)
        assert (principal.issuer, principal.api_key) == ("", "")


# --- how long it is good ---------------------------------------------------------------------------------------------


def test_an_active_session_is_asked_about_again_after_its_time() -> None:
    async def work() -> None:
        monolith = Monolith(ANSWER, INACTIVE)
        sessions = monolith.sessions(30.0)
        assert sessions.known(b"s1") is None
        assert await sessions.look_up(b"s1") == ALICE
        monolith.now += 29.9
        assert sessions.known(b"s1") == Known(ALICE)
        assert await sessions.look_up(b"s1") == ALICE and len(monolith.asked) == 1
        monolith.now += 0.1
        assert sessions.known(b"s1") is None
        assert await sessions.look_up(b"s1") is None and len(monolith.asked) == 2
        assert sessions.known(b"s1") == Known(None)

    run(work())


def test_an_active_session_is_not_kept_beyond_its_end() -> None:
    async def work() -> None:
        monolith = Monolith(b'{"active":true,"sub":"7","exp":%d}' % (NOW + 110), ANSWER)
        sessions = monolith.sessions(30.0)
        assert await sessions.look_up(b"s1") == Principal("7", expires_s=NOW + 110, session=True)
        monolith.now += 9.9
        assert sessions.known(b"s1") is not None
        monolith.now += 0.1
        assert sessions.known(b"s1") is None
        assert await sessions.look_up(b"s1") == ALICE  # the monolith has prolonged it

    run(work())


def test_a_session_that_has_ended_is_not_active_whatever_the_monolith_says() -> None:
    async def work() -> None:
        monolith = Monolith(b'{"active":true,"sub":"7","exp":%d}' % (NOW + 100))
        sessions = monolith.sessions()
        assert await sessions.look_up(b"s1") is None
        assert sessions.known(b"s1") == Known(None)

    run(work())


@pytest.mark.parametrize(("cache_s", "kept_s"), [(30.0, INACTIVE_S), (2.0, 2.0)])
def test_who_logs_in_is_soon_no_stranger(cache_s: float, kept_s: float) -> None:
    async def work() -> None:
        monolith = Monolith(INACTIVE, ANSWER)
        sessions = monolith.sessions(cache_s)
        assert await sessions.look_up(b"s1") is None
        monolith.now += kept_s - 0.1
        assert sessions.known(b"s1") == Known(None)
        monolith.now += 0.1
        assert sessions.known(b"s1") is None
        assert await sessions.look_up(b"s1") == ALICE
        assert sessions.known(b"s1") == Known(ALICE)

    run(work())


def test_the_time_counts_from_the_question() -> None:
    async def work() -> None:
        monolith = Monolith(ANSWER, slow=True)
        sessions = monolith.sessions(30.0)
        waiter = asyncio.create_task(sessions.look_up(b"s1"))
        await settle()
        monolith.now += 20
        monolith.gate.set()
        assert await waiter == ALICE
        monolith.now += 9.9
        assert sessions.known(b"s1") == Known(ALICE)
        monolith.now += 0.1
        assert sessions.known(b"s1") is None

    run(work())


def test_nothing_is_kept_where_nothing_may_be() -> None:
    async def work() -> None:
        monolith = Monolith(ANSWER)
        sessions = monolith.sessions(0.0)
        assert await sessions.look_up(b"s1") == ALICE
        assert sessions.known(b"s1") is None
        assert await sessions.look_up(b"s1") == ALICE and len(monolith.asked) == 2

    run(work())


# --- how often the monolith is asked ---------------------------------------------------------------------------------


def test_one_question_is_in_the_air_however_many_wait() -> None:
    async def work() -> None:
        monolith = Monolith(ANSWER, slow=True)
        sessions = monolith.sessions()
        waiters = [asyncio.create_task(sessions.look_up(b"s%d" % (number % 2))) for number in range(200)]
        await settle()
        assert monolith.asked == ["s0", "s1"]
        monolith.gate.set()
        assert await asyncio.gather(*waiters) == [ALICE] * 200
        assert monolith.asked == ["s0", "s1"] and sessions.asked == 2

    run(work())


def test_who_gives_up_leaves_the_question_to_the_others() -> None:
    async def work() -> None:
        monolith = Monolith(ANSWER, slow=True)
        sessions = monolith.sessions()
        first, second = (asyncio.create_task(sessions.look_up(b"s1")) for _ in range(2))
        await settle()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        monolith.gate.set()
        assert await second == ALICE and len(monolith.asked) == 1

    run(work())


@pytest.mark.parametrize("answer", [ANSWER, ConnectionError("refused")])
def test_a_question_that_nobody_waits_for_any_more_ends_quietly(answer: bytes | Exception) -> None:
    async def work() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        monolith = Monolith(answer, slow=True)
        sessions = monolith.sessions()
        waiters = [asyncio.create_task(sessions.look_up(b"s%d" % number)) for number in range(MOST_ASKED)]
        await settle()
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        monolith.gate.set()
        await settle()
        monolith.now += PAUSE_S
        monolith.answers = [ANSWER]
        assert await sessions.look_up(b"s0") == ALICE
        assert await sessions.look_up(b"another") == ALICE  # all places are free again
        assert not complaints

    run(work())


def test_an_outage_is_not_made_worse() -> None:
    async def work() -> None:
        monolith = Monolith(ConnectionError("refused"), TimeoutError(), b"<html>", ANSWER)
        sessions = monolith.sessions()
        assert await failed(sessions) == "refused"
        for _ in range(100):
            assert sessions.known(b"s1") is None
            assert await failed(sessions) == "refused"
        assert len(monolith.asked) == 1
        assert await failed(sessions, b"s2") == "no answer in time"
        monolith.now += PAUSE_S
        assert "JSON object" in await failed(sessions)
        monolith.now += PAUSE_S
        assert await sessions.look_up(b"s1") == ALICE
        assert len(monolith.asked) == 4

    run(work())


def test_a_failure_ends_nobody_before_his_time() -> None:
    async def work() -> None:
        monolith = Monolith(ANSWER, ConnectionError("refused"))
        sessions = monolith.sessions(30.0)
        await sessions.look_up(b"s1")
        await failed(sessions, b"s2")
        monolith.now += 29.9
        assert await sessions.look_up(b"s1") == ALICE
        monolith.now += 0.1
        assert await failed(sessions) == "refused"

    run(work())


def test_all_who_wait_are_told_of_the_failure() -> None:
    async def work() -> None:
        monolith = Monolith(ConnectionError(), slow=True)
        sessions = monolith.sessions()
        waiters = [asyncio.create_task(sessions.look_up(b"s1")) for _ in range(3)]
        await settle()
        monolith.gate.set()
        found = await asyncio.gather(*waiters, return_exceptions=True)
        assert [str(error) for error in found] == ["ConnectionError"] * 3
        assert len({id(error) for error in found}) == 3 and len(monolith.asked) == 1

    run(work())


def test_invented_cookies_have_so_many_questions_and_no_more() -> None:
    async def work() -> None:
        monolith = Monolith(INACTIVE, slow=True)
        sessions = monolith.sessions()
        waiters = [asyncio.create_task(sessions.look_up(b"s%d" % number)) for number in range(MOST_ASKED)]
        await settle()
        assert "already" in await failed(sessions, b"one more")
        late = asyncio.create_task(sessions.look_up(b"s0"))  # it asks nothing more
        await settle()
        assert len(monolith.asked) == MOST_ASKED
        monolith.gate.set()
        assert await asyncio.gather(late, *waiters) == [None] * (MOST_ASKED + 1)
        assert await sessions.look_up(b"one more") is None  # without a pause: nobody was asked

    run(work())


def test_invented_cookies_push_nobody_out() -> None:
    async def work() -> None:
        monolith = Monolith(ANSWER)
        sessions = monolith.sessions(most=100)
        for number in range(100):
            await sessions.look_up(b"good%d" % number)
        monolith.answers = [INACTIVE]
        for number in range(101):
            await sessions.look_up(b"bad%d" % number)
        monolith.answers = [ConnectionError("refused")]
        for number in range(101):
            await failed(sessions, b"away%d" % number)
        assert all(sessions.known(b"good%d" % number) == Known(ALICE) for number in range(100))
        assert sessions.known(b"bad0") is None and sessions.known(b"bad100") == Known(None)
        monolith.answers = [ANSWER]
        sessions.known(b"good0")
        await sessions.look_up(b"good100")
        assert sessions.known(b"good0") == Known(ALICE)  # it was used, so another had to go
        assert sessions.known(b"good1") is None

    run(work())


def test_the_cookie_itself_is_kept_nowhere() -> None:
    async def work() -> None:
        monolith = Monolith(ANSWER, INACTIVE, ConnectionError("refused"))
        sessions = monolith.sessions()
        await sessions.look_up(b"very-secret-1")
        await sessions.look_up(b"very-secret-2")
        await failed(sessions, b"very-secret-3")
        monolith.asked.clear()
        monolith.answers.clear()  # the error has been where the cookie was
        held = reachable(sessions)
        assert any(isinstance(thing, bytes) for thing in held) and ALICE in held
        assert not [thing for thing in held if isinstance(thing, bytes | str) and "very-secret" in repr(thing)]

    run(work())
