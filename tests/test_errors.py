"""Errors as values: what crosses a process border must arrive whole."""

from __future__ import annotations

import pickle

from proxy.errors import ConfigError, Problem


def test_a_configuration_error_reads_the_same_after_a_process_border() -> None:
    error = ConfigError((Problem("fig.yaml", 1, 2, "FIG006", "unknown key"), Problem("fig.yaml", 3, 4, "FIG007", "no")))
    copy = pickle.loads(pickle.dumps(error))
    assert copy.problems == error.problems
    assert str(copy) == "fig.yaml:1:2 FIG006 unknown key\nfig.yaml:3:4 FIG007 no"
