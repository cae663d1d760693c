from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.seam_view import history_document, moment


@given(st.integers(0, 4_000_000_000_000))
def test_a_moment_is_rfc_3339_in_utc_to_the_millisecond(at_ms: int) -> None:
    text = moment(at_ms / 1000)
    assert text.endswith("Z")
    assert len(text) == len("2026-03-01T12:00:00.000Z")
    parsed = datetime.fromisoformat(text)
    assert parsed.tzinfo == UTC
    assert abs(parsed.timestamp() - at_ms / 1000) < 0.0011


def test_a_row_keeps_members_that_have_no_time() -> None:
    state = {"stage": "canary", "percent": 5.0, "override": None, "rolled_back": {"at": 0.0, "by": "a", "reason": ""}}
    row = {"id": 1, "at": 0.0, "action": "reload", "before": {}, "after": state}
    shown = history_document(row)
    assert shown["before"] == {}
    assert shown["after"]["rolled_back"] == {"at": "1970-01-01T00:00:00.000Z", "by": "a", "reason": ""}
    assert shown["after"]["override"] is None
    assert state["rolled_back"] == {"at": 0.0, "by": "a", "reason": ""}
