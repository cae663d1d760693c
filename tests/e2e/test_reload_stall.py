"""Compiling thousands of seams does not hold requests up."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.fig import Fig
from tests.support.load import Background, Load, NamedOrigin


def large(config: str, percent: int, seams: int) -> str:
    more = "".join(
        f"  seam{number}:\n    extracted: new\n    percent: {percent}\n    sticky_by: [client_ip]\n"
        f'    routes: [{{path: "/svc{number}/{{id}}", params: {{id: "[0-9]+"}}}}, {{path: /svc{number}}}]\n'
        for number in range(seams)
    )
    return config.replace("PERCENT", str(percent)).replace("STORE", "memory:") + more


def test_a_reload_of_2000_seams_does_not_stall_traffic(
    tmp_path: Path, config: str, sides: tuple[NamedOrigin, NamedOrigin], background: Background
) -> None:
    with Fig(tmp_path, large(config, 10, 2000)) as fig:
        load = Load(fig.port, 2)
        running = background.start(load.run())
        time.sleep(0.5)
        fig.write(large(config, 20, 2000))
        started = time.monotonic()
        assert fig.call("POST", "/api/reload").status_code == 200
        assert fig.call("GET", "/api/seams/seam7").json()["percent"] == 20
        ended = time.monotonic()
        time.sleep(0.2)
        load.stopping = True
        running.result(10)
    assert load.failures == []
    during = sorted(one.received - one.sent for one in load.done if one.sent < ended and one.received > started)
    # Loading and compiling take about a second of CPU, on a busy machine more; held up means that a request waited for
    # a good part of it.
    limit_s = max(0.25, (ended - started) / 4)
    assert during[-1] < limit_s, f"the longest of {len(during)} requests took {during[-1]:.3f} s"
    assert during[len(during) * 99 // 100] < limit_s / 5
