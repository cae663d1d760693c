"""What fig counts, before and after: metrics by their labels, and the places of an upstream's pool."""

from __future__ import annotations

import re
from collections import Counter

from tests.support.fig import Fig

_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def samples(fig: Fig) -> Counter[tuple[str, frozenset[tuple[str, str]]]]:
    found: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()
    for line in fig.call("GET", "/metrics").text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match is not None:
            found[match[1], frozenset(_LABEL.findall(match[2] or ""))] += float(match[3])  # type: ignore[assignment]
    return found


class Tally:
    """Counters from now on. A sample is written as `name{label="value"}`; labels that it does not name are summed."""

    def __init__(self, fig: Fig) -> None:
        self._fig = fig
        self._before = samples(fig)

    def grown(self, sample: str) -> float:
        match = _SAMPLE.fullmatch(f"{sample} 0")
        assert match is not None, sample
        labels = set(_LABEL.findall(match[2] or ""))
        now = samples(self._fig)
        return sum(
            value - self._before[key] for key, value in now.items() if key[0] == match[1] and labels <= set(key[1])
        )


def pool(fig: Fig, upstream: str) -> tuple[int, int]:
    """Connections (in use, idle) over all endpoints of an upstream."""
    for found in fig.call("GET", "/api/upstreams").json():
        if found["name"] == upstream:
            places = found["endpoints"]
            return sum(place["in_use"] for place in places), sum(place["idle"] for place in places)
    raise AssertionError(f"no upstream {upstream}")
