"""What a client is told of its limits (draft-ietf-httpapi-ratelimit-headers-11, RFC 9110 10.2.3). Pure.

Limits that are only observed are not told of: nobody is to slow down for them.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.admission.rate_limit import NS_PER_S, Limit, Result, Verdict
from proxy.messages import Headers


def policy_value(limits: Iterable[Limit]) -> bytes:
    """The value of RateLimit-Policy: it depends on the limits alone. Empty: no such field.

    The window is a whole number of seconds there (3.1.3); the quota of one that is not is told for the next whole one.
    """
    items = []
    for limit in limits:
        if limit.enforced:
            window_s = -(-limit.window_ns // NS_PER_S)
            quota = limit.requests * window_s * NS_PER_S // limit.window_ns
            items.append(f"{_string(limit.name)};q={quota};w={window_s}")
    return ", ".join(items).encode("ascii")


def limit_fields(verdicts: Iterable[Verdict]) -> Headers:
    """RateLimit, and Retry-After where a limit refuses. `verdicts`: all of one request, in order.

    `r` is what could pass at once now; `t` until more than that could: until the burst is there again, or where nothing
    is left, until the next request passes. Retry-After must not lie before the end of any `t` (6), so in a refusal
    those that have room have no `t`. What the store did not tell is left out.
    """
    items: list[str] = []
    passing: list[tuple[int, Result]] = []  # and where they stand in `items`
    wait_ns = -1
    for verdict in verdicts:
        for result in verdict.results:
            if result.debt < 0 or not result.limit.enforced:
                continue
            remaining = result.remaining
            item = f"{_string(result.limit.name)};r={remaining}"
            if result.short:
                wait_ns = max(wait_ns, result.retry_after_ns)
            if remaining == 0:
                item = f"{item};t={_seconds(result.retry_after_ns)}"
            else:
                passing.append((len(items), result))
            items.append(item)
    if wait_ns < 0:
        for place, result in passing:
            items[place] = f"{items[place]};t={_seconds(result.reset_ns)}"
    fields: Headers = []
    if items:
        fields.append((b"RateLimit", ", ".join(items).encode("ascii")))
    if wait_ns >= 0:
        fields.append((b"Retry-After", b"%d" % max(1, _seconds(wait_ns))))
    return fields


def _seconds(ns: int) -> int:
    """Rounded up: whoever comes back then is not refused for a fraction."""
    return -(-ns // NS_PER_S)


def _string(text: str) -> str:
    """A String of RFC 9651 3.3.3; what is not printable ASCII becomes `?`."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
