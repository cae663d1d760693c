"""Errors as values: what crosses a process border must arrive whole."""

from __future__ import annotations

import pickle
import re

import pytest

from proxy import errors
from proxy.errors import ConfigError, Problem, ProxyError


def _drawn() -> list[tuple[str, str, str, str, str]]:
    """(class, what it hangs from, status, cause, fault) of each row of the docstring's tree; fault as inherited."""
    lines = (errors.__doc__ or "").splitlines()
    head = next(line for line in lines if line.split() == ["ProxyError", "status", "cause", "fault"])
    status, cause, fault = (head.index(word) for word in ("status", "cause", "fault"))
    rows: list[tuple[str, str, str, str, str]] = []
    above = [("ProxyError", "")]
    for line in lines[lines.index(head) + 1 :]:
        match = re.match(r"    ([│ ]*)[├└]── (\w+)", line)
        if match is None:
            break
        del above[1 + len(match[1]) // 4 :]
        whose = line[fault:].split("(")[0].strip() or above[-1][1]
        rows.append((match[2], above[-1][0], line[status:cause].strip(), line[cause:fault].strip(), whose))
        above.append((match[2], whose))
    return rows


@pytest.mark.parametrize(("name", "parent", "status", "cause", "fault"), _drawn())
def test_the_tree_in_the_docstring_is_true(name: str, parent: str, status: str, cause: str, fault: str) -> None:
    error = vars(errors)[name]
    assert issubclass(error, vars(errors)[parent])
    assert issubclass(error, ProxyError)
    assert (status or str(error.status), cause.split("(")[0].strip() or error.cause) == (str(error.status), error.cause)
    assert error.fault == fault


def test_the_tree_in_the_docstring_was_read() -> None:
    assert {"Rejected", "BodyCut", "ConnectFailed", "BreakerOpen", "StoreError"} <= {row[0] for row in _drawn()}


@pytest.mark.parametrize("kind", [errors.BreakerOpen, errors.BulkheadFull, errors.NoHealthyEndpoint])
def test_an_upstream_that_is_not_asked_has_received_nothing(kind: type[errors.Unavailable]) -> None:
    assert (kind().retryable, kind().retry_after_s, kind(retry_after_s=12.5).retry_after_s) == (True, 1.0, 12.5)


def test_a_configuration_error_reads_the_same_after_a_process_border() -> None:
    error = ConfigError((Problem("fig.yaml", 1, 2, "FIG006", "unknown key"), Problem("fig.yaml", 3, 4, "FIG007", "no")))
    copy = pickle.loads(pickle.dumps(error))
    assert copy.problems == error.problems
    assert str(copy) == "fig.yaml:1:2 FIG006 unknown key\nfig.yaml:3:4 FIG007 no"
