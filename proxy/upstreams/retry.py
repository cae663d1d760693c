"""How often, and how soon, an upstream is asked again. Knows no request: what may be repeated is judged by others."""

from __future__ import annotations

import calendar
import random
import re
import time

_TOKEN = 10_000  # in hundredths of a percent of a request, so that sums are exact
_MOST = 3 * _TOKEN
_DEEPEST = -512 * _TOKEN  # as many as a pool keeps connections


class RetryBudget:
    """Of one upstream: a token bucket that starts and ends at 3. Each request deposits a share of a token, each further
    attempt takes one. So over any stretch of time the further attempts are at most that share of its requests, and 3.

    A request whose kept connection had ended is sent again on credit: it was hardly received, and must not be lost for
    want of a token. If that is answered the token comes back; if not, no further attempt is granted until requests have
    paid the debt, so that an upstream that fails altogether gets no more in the end.

    `attempts` counts those granted, `refused` those not.
    """

    def __init__(self) -> None:
        self.attempts = 0
        self.refused = 0
        self._held = _MOST

    def __repr__(self) -> str:
        return f"<RetryBudget {self.tokens:g} tokens>"

    @property
    def tokens(self) -> float:
        """At most 3; below 0 in debt."""
        return self._held / _TOKEN

    def deposit(self, percent: float) -> None:
        """A request began. `percent` (0-100) counts to two decimals; what is finer is dropped."""
        if self._held < _MOST:
            # 0.57 * 100 is 56.99999999999999
            self._held = min(_MOST, self._held + int(percent * 100 + 1e-9))

    def withdraw(self) -> bool:
        """Whether a further attempt may be made; it then counts as made."""
        if self._held < _TOKEN:
            self.refused += 1
            return False
        self._held -= _TOKEN
        self.attempts += 1
        return True

    def borrow(self) -> bool:
        """A token on credit, for a request whose kept connection had ended. False where too many are owed."""
        if self._held <= _DEEPEST:
            return False
        self._held -= _TOKEN
        return True

    def give_back(self) -> None:
        """What was sent on credit has been answered."""
        self._held = min(_MOST, self._held + _TOKEN)


def backoff_s(attempt: int, rng: random.Random) -> float:
    """Seconds before further attempt number `attempt` (from 1): anywhere from 0 to 25 ms, doubled with each, up to
    250 ms. "Full Jitter" of Marc Brooker, "Exponential Backoff And Jitter" (AWS, 2015), with the numbers of Envoy."""
    return rng.random() * min(0.25, 0.025 * 2.0 ** (attempt - 1))


# RFC 9110 5.6.7, in the order in which one meets them; a weekday is not compared with its date.
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_WEEKDAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_FORMS = tuple(
    re.compile(form.encode("ascii"))
    for form in (
        rf"{_WEEKDAY}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
        rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
        rf"{_WEEKDAY} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
    )
)


def retry_after_s(value: bytes | None, now: float) -> float | None:
    """Seconds that a `Retry-After` asks to wait, from `now` in epoch seconds; never negative, infinite where it is
    beyond all numbers. A delay or an HTTP-date in any of its three forms (RFC 9110 10.2.3, 5.6.7); None where there is
    none or it is neither."""
    if value is None:
        return None
    text = value.strip(b" \t")
    if text.isdigit():
        return float(text)  # not int(), which refuses more than 4,300 digits
    at = _http_date(text, now)
    return None if at is None else max(0.0, at - now)


def _http_date(text: bytes, now: float) -> float | None:
    """Epoch seconds; None where it is not a date."""
    for form in _FORMS:
        match = form.fullmatch(text)
        if match is not None:
            break
    else:
        return None
    year, month = int(match["year"]), _MONTHS.index(match["month"].decode("ascii")) + 1
    if len(match["year"]) == 2:
        first = time.gmtime(now).tm_year - 49  # at most 50 years ahead
        year = first + (year - first) % 100
    day, hour, minute, second = (int(match[part]) for part in ("day", "hour", "minute", "second"))
    # A 60th second is a leap second.
    if year == 0 or not 1 <= day <= calendar.monthrange(year, month)[1] or hour > 23 or minute > 59 or second > 60:
        return None
    return float(calendar.timegm((year, month, day, hour, minute, second)))
