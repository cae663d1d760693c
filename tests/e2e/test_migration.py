"""A seam is moved, taken back and kept there, under load, over restarts and crashes."""

from __future__ import annotations

import signal
import time
from hashlib import blake2b
from pathlib import Path

import httpx
import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.load import Background, Load, NamedOrigin
from tests.support.wire import until

Sides = tuple[NamedOrigin, NamedOrigin]


def text(config: str, percent: float = 50, store: str = "sqlite:var/fig.db") -> str:
    return config.replace("PERCENT", str(percent)).replace("STORE", store)


def side_of(fig: Fig, user: str, client: httpx.Client) -> str:
    answer = client.get(f"http://127.0.0.1:{fig.port}/api/x", headers={"X-User-Id": user})
    assert answer.status_code == 200
    assert answer.headers["x-fig-side"] == answer.text
    return answer.text


def sides_of(fig: Fig, users: list[str]) -> list[str]:
    """The same for many, on one connection."""
    found = []
    with RawClient(fig.address) as client:
        for user in users:
            answer = client.get("/api/x", f"X-User-Id: {user}")
            assert answer.status == 200
            assert answer.value("x-fig-side") == answer.body.decode()
            found.append(answer.body.decode())
    return found


def independent(user: str, percent: float) -> str:
    """The formula as the documentation gives it, written without the proxy's code."""
    digest = blake2b(user.encode(), key=b"api", digest_size=8).digest()
    return "extracted" if int.from_bytes(digest, "big") % 10000 < round(percent * 100) else "legacy"


def test_shares_are_right_nobody_moves_back_and_processes_agree(tmp_path: Path, config: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    users = [f"user-{number}" for number in range(2000)]
    moved: set[str] = set()
    with (
        Fig(tmp_path / "a", text(config, 0)) as first,
        Fig(tmp_path / "b", text(config, 0)) as second,
    ):
        for percent in (1, 5, 10, 25, 50, 100):
            assert first.shift("api", percent).status_code == 200
            assert second.shift("api", percent).status_code == 200
            now = {user for user, side in zip(users, sides_of(first, users), strict=True) if side == "extracted"}
            assert now == {user for user in users if independent(user, percent) == "extracted"}
            assert abs(len(now) / len(users) * 100 - percent) <= 3
            assert moved <= now
            moved = now
            sample = users[::10]
            assert sides_of(second, sample) == [independent(user, percent) for user in sample]


def test_reload_shift_and_rollback_under_load_lose_nothing(
    tmp_path: Path, config: str, sides: Sides, background: Background
) -> None:
    old, new = sides
    with Fig(tmp_path, text(config, 10)) as fig:
        load = Load(fig.port, 64)
        running = background.start(load.run())
        time.sleep(0.5)
        assert fig.shift("api", 60).status_code == 200
        time.sleep(0.3)
        fig.write(text(config, 20).replace("timeout_s: 10", "timeout_s: 9"))
        assert fig.call("POST", "/api/reload").status_code == 200  # the file watch may have been first
        assert fig.call("GET", "/api/config").json()["server"]["drain"]["timeout_s"] == 9
        time.sleep(0.3)
        answer = fig.call("POST", "/api/seams/api/rollback", reason="test")
        answered = time.monotonic()
        assert answer.status_code == 200
        time.sleep(0.5)
        load.stopping = True
        running.result(10)
    assert (load.failures, load.refused_connects, load.not_accepted) == ([], 0, 0)
    assert len(load.done) > 500
    assert any(one.side == "extracted" for one in load.done)
    assert [one for one in load.done if one.sent > answered and one.side != "legacy"] == []
    assert [arrival for arrival in new.arrivals if arrival.sent > answered] == []
    assert any(arrival.sent > answered for arrival in old.arrivals)


def test_a_rollback_holds_over_reload_restart_and_crash(tmp_path: Path, config: str) -> None:
    fig = Fig(tmp_path, text(config, 100)).start()
    try:
        with httpx.Client(trust_env=False) as client:
            assert side_of(fig, "u", client) == "extracted"
            answer = fig.call("POST", "/api/seams/api/rollback", reason="latch").json()
            assert answer["durable"] is True
            assert (answer["stage"], answer["percent"]) == ("legacy", 0)
            assert side_of(fig, "u", client) == "legacy"
            fig.write(text(config, 90))
            assert fig.call("POST", "/api/reload").status_code == 200
            assert side_of(fig, "u", client) == "legacy"
        assert fig.stop() == 0
        fig.start()
        with httpx.Client(trust_env=False) as client:
            assert side_of(fig, "u", client) == "legacy"
        fig.kill()
        fig.start()
        with httpx.Client(trust_env=False) as client:
            assert side_of(fig, "u", client) == "legacy"
            assert fig.shift("api", 50).status_code == 409
            assert fig.call("POST", "/api/seams/api/resume", reason="ok").json()["percent"] == 90
    finally:
        fig.stop()


def test_sigterm_under_load_answers_every_accepted_request(
    tmp_path: Path, config: str, sides: Sides, background: Background
) -> None:
    old, new = sides
    old.delay_s = new.delay_s = 0.05
    fig = Fig(tmp_path, text(config, 50)).start()
    load = Load(fig.port, 64)
    running = background.start(load.run())
    time.sleep(0.7)
    fig.signal(signal.SIGTERM)
    assert fig.process is not None
    assert fig.process.wait(15) == 0
    load.stopping = True
    running.result(10)
    assert load.failures == []
    assert len(load.done) > 200
    assert load.refused_connects > 0  # it did stop accepting
    assert load.not_accepted <= 1  # the instant between the last accept and the close


def test_readyz_says_draining_while_requests_finish(
    tmp_path: Path, config: str, sides: Sides, background: Background
) -> None:
    sides[0].delay_s = 1.0
    fig = Fig(tmp_path, text(config, 0)).start()
    load = Load(fig.port, 1)
    running = background.start(load.run())
    time.sleep(0.2)
    fig.signal(signal.SIGTERM)
    time.sleep(0.2)
    answer = fig.call("GET", "/readyz")
    assert answer.status_code == 503
    load.stopping = True
    running.result(10)
    assert load.failures == []
    assert fig.stop() == 0


def test_a_rollback_file_works_without_the_admin_port(tmp_path: Path, config: str) -> None:
    with Fig(tmp_path, text(config, 100)) as fig, httpx.Client(trust_env=False) as client:
        assert side_of(fig, "u", client) == "extracted"
        folder = tmp_path / "var" / "rollback"
        folder.mkdir(parents=True)
        (folder / "api").write_text("the pager went off\n")
        deadline = time.monotonic() + 2
        while side_of(fig, "u", client) != "legacy":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        seam = fig.call("GET", "/api/seams/api").json()
        assert seam["rolled_back"]["reason"] == "the pager went off"
        assert fig.call("POST", "/api/seams/api/resume", reason="x").status_code == 409
        (folder / "api").unlink()
        assert fig.call("POST", "/api/seams/api/resume", reason="x").status_code == 200
        assert side_of(fig, "u", client) == "extracted"


@pytest.mark.parametrize("in_place", [True, False])
def test_a_changed_file_takes_effect_by_itself(tmp_path: Path, config: str, in_place: bool) -> None:
    with Fig(tmp_path, text(config, 0)) as fig, httpx.Client(trust_env=False) as client:
        assert side_of(fig, "u", client) == "legacy"
        if in_place:
            fig.config.write_text(fig.config.read_text().replace("percent: 0", "percent: 100"))
        else:
            fig.write(text(config, 100))
        deadline = time.monotonic() + 5
        while side_of(fig, "u", client) != "extracted":
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_bad_file_keeps_the_old_configuration_and_says_so(tmp_path: Path, config: str) -> None:
    with Fig(tmp_path, text(config, 0)) as fig, httpx.Client(trust_env=False) as client:
        fig.write(text(config, 100).replace("percent: 100", "percent: 300"))
        answer = fig.call("POST", "/api/reload")
        assert answer.status_code == 422
        assert "percent" in answer.text
        assert side_of(fig, "u", client) == "legacy"
        assert "fig_config_last_reload_successful 0.0" in fig.call("GET", "/metrics").text
        fig.signal(signal.SIGHUP)
        time.sleep(0.1)
        fig.write(text(config, 100))
        assert fig.call("POST", "/api/reload").status_code == 200
        assert side_of(fig, "u", client) == "extracted"
        assert "fig_config_last_reload_successful 1.0" in fig.call("GET", "/metrics").text


def test_an_equal_file_is_a_no_op(tmp_path: Path, config: str) -> None:
    with Fig(tmp_path, text(config, 50)) as fig:
        fig.write("# a comment\n" + text(config, 50))
        answer = fig.call("POST", "/api/reload")
        assert (answer.status_code, answer.json()["changed"]) == (200, False)


def test_a_yaml_edit_loses_to_an_override_until_it_equals_it(tmp_path: Path, config: str) -> None:
    with Fig(tmp_path, text(config, 10)) as fig:
        fig.shift("api", 40)
        fig.write(text(config, 30))
        assert fig.call("POST", "/api/reload").status_code == 200
        assert fig.call("GET", "/api/seams/api").json()["percent"] == 40
        assert until(lambda: "fig reset api" in fig.errors())
        fig.write(text(config, 40))
        assert fig.call("POST", "/api/reload").status_code == 200
        seam = fig.call("GET", "/api/seams/api").json()
        assert (seam["percent"], seam["override"]) == (40, None)
        assert fig.call("GET", "/api/history?seam=api").json()[0]["action"] == "absorb"
