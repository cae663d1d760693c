"""`python -m demo` as a newcomer runs it: what it shows, what it exits with, and that nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from demo.processes import taken
from demo.scene import SEAM
from demo.traffic import USERS, bucket

ROOT = Path(__file__).parents[2]
FLAGS = ("--port", "--admin-port", "--monolith-port", "--catalog-port")


@pytest.fixture
def ports() -> dict[str, int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in FLAGS]
        return {flag: probe.getsockname()[1] for flag, probe in zip(FLAGS, probes, strict=True)}


@contextmanager
def demo(ports: dict[str, int], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    flags = [word for flag, port in ports.items() for word in (flag, str(port))]
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", *flags, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def read_until(process: subprocess.Popen[str], beginning: str) -> str:
    """What was printed up to and with the line that begins so."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(beginning):
            return "".join(lines)
    raise AssertionError(f"no line begins with {beginning!r}")


def children(process: subprocess.Popen[str]) -> dict[str, int]:
    """Process ids of the demo's children by a word of their command line."""
    found = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        found[words[2]] = int(pid)
    return found


def test_a_seam_goes_there_and_back_and_every_promise_holds(ports: dict[str, int]) -> None:
    with demo(ports, "--step-seconds", "0.7") as process:
        output, errors = process.communicate(timeout=90)
    assert (process.returncode, errors) == (0, ""), output + errors
    steps = {line[:21].strip(): line[21:].split() for line in output.splitlines() if "%" in line}
    shares = {
        "(as in the file)": "0%",
        "fig shift catalog 10": "10%",
        "fig shift catalog 50": "50%",
        "fig shift catalog 100": "100%",
        "fig rollback catalog": "0%",
        "fig resume catalog": "100%",
    }
    assert {name: steps[name][0] for name in shares} == shares
    for asked, seen, sent, ok, *_, moved_back, failed in (steps[name] for name in shares):
        assert abs(int(seen[:-1]) - int(asked[:-1])) <= 10
        assert sent == ok != "0"
        assert (moved_back, failed) == ("0", "0")
    assert "✘" not in output
    assert "login 302, me 200, checkout 200 ORD-000043, order 200" in output
    assert steps["it is back"][0] == "50%"
    assert "✔ the catalog was killed and nobody noticed" in output
    assert "✔ its breaker opened and closed by itself" in output
    assert "✔ comparing found the planted bug and named the field (body:$.price in" in output
    assert "✔ mended, nothing differs any more, and the evidence grows" in output
    assert "(stranger 401, customer 403, staff 200)" in output
    assert "all 14 promises held" in output
    assert not any(taken(port) for port in ports.values())


def test_a_promise_that_breaks_is_named_and_the_exit_code_is_1(ports: dict[str, int]) -> None:
    with demo(ports, "--step-seconds", "0.6", "--short") as process:
        read_until(process, "fig shift catalog 10")
        with httpx.Client(base_url=f"http://127.0.0.1:{ports['--admin-port']}", trust_env=False) as admin:
            while admin.get("/api/seams/catalog").json()["percent"] != 50:
                pass
            admin.post("/api/seams/catalog/shift", json={"percent": 0}).raise_for_status()
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "✘ each user was on the side that the published hash gives" in output
    (broken,) = (line for line in output.splitlines() if line.startswith("NOT HELD: "))
    assert "each user was on the side that the published hash gives" in broken
    assert "promises held" not in output


def test_a_taken_port_is_named_with_its_flag_before_anything_starts(ports: dict[str, int]) -> None:
    with socket.create_server(("127.0.0.1", ports["--catalog-port"])), demo(ports) as process:
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert output == ""
    assert f"port {ports['--catalog-port']} (the catalog service) is taken" in errors
    assert "--catalog-port N" in errors
    assert "FIG_DEMO_CATALOG_PORT" in errors


def test_ports_come_from_the_environment_too(ports: dict[str, int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        environ = {**os.environ, "FIG_DEMO_ADMIN_PORT": str(port)}
        flags = [word for flag in FLAGS if flag != "--admin-port" for word in (flag, str(ports[flag]))]
        command = [sys.executable, "-m", "demo", *flags]
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"port {port} (fig's admin API) is taken" in done.stderr


@pytest.mark.parametrize("victim", ["proxy.cli.main", "extracted_services.catalog"])
def test_when_a_child_dies_the_demo_says_so_and_stops_the_others(ports: dict[str, int], victim: str) -> None:
    with demo(ports, "--step-seconds", "0.5", "--short") as process:
        read_until(process, "you type")
        os.kill(children(process)[victim], signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "died with status -9" in errors
    assert not any(taken(port) for port in ports.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_every_child(ports: dict[str, int], number: signal.Signals) -> None:
    with demo(ports, "--step-seconds", "30") as process:
        read_until(process, "you type")
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert output.endswith("interrupted, everything is stopped\n")
    assert not any(taken(port) for port in ports.values())


def test_keep_leaves_it_running_with_commands_to_try_until_ctrl_c(ports: dict[str, int]) -> None:
    with demo(ports, "--step-seconds", "0.3", "--short", "--keep") as process:
        output = read_until(process, "  curl http")
        url = f"http://127.0.0.1:{ports['--port']}/api/products/7"
        admin = f"http://127.0.0.1:{ports['--admin-port']}/api/seams/{SEAM}/shift"
        httpx.post(admin, json={"percent": 50}, trust_env=False).raise_for_status()
        moved, stayed = (next(user for user in USERS if (bucket(SEAM, user) < 5000) is half) for half in (True, False))
        for user, side in ((moved, "extracted"), (stayed, "legacy")):
            answer = httpx.get(url, headers={"X-User-Id": user}, trust_env=False)
            assert answer.headers["x-fig-side"] == side
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert f"FIG_ADMIN_URL=http://127.0.0.1:{ports['--admin-port']}" in output
    assert (process.returncode, errors) == (0, "")
    assert not any(taken(port) for port in ports.values())
