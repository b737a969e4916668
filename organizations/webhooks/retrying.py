"""When a delivery that failed is tried again: ten tries over three days, further apart each time.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#deliverability-and-reliability
"""

import random
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SCHEDULE = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 72000)
)
"""The pause after each failed try: 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 20 hours."""

LONGEST = timedelta(days=3)
"""After the first try; whatever is not delivered by then is given up."""

JITTER = 0.1
"""The part of a pause by which it is longer or shorter, so that not all come back at once."""


def next_try(
    attempts: int, *, first: datetime, now: datetime, after: timedelta | None = None
) -> datetime | None:
    """Return when to try again after so many failed tries, or None when it is given up.

    ``after`` is how long the receiver itself asked to be left alone.
    """
    if attempts > len(SCHEDULE):
        return None
    pause = SCHEDULE[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    at = now + max(pause, after or timedelta())
    end = first + LONGEST
    if now >= end:
        return None
    return min(at, end)


def read_retry_after(text: str, *, now: datetime) -> timedelta | None:
    """Return how long a ``Retry-After`` header asks for, up to a day; None when it says nothing.

    RFC 9110, section 10.2.3: seconds, or a date.
    """
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        asked = timedelta(seconds=int(text))
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError):
            return None
        asked = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    return min(max(asked, timedelta()), timedelta(days=1))
