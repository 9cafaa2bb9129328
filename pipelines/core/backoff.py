"""Pauses between repetitions of a request that may succeed later."""

from __future__ import annotations

import email.utils
import time
from datetime import UTC


def retry_after(header: str | None, most: float) -> float | None:
    """Read a ``Retry-After`` header: seconds, or a date.

    Args:
        header: Its value; None if there is none.
        most: The longest pause that is kept, in seconds; no longer one is returned.

    Returns:
        Seconds from now, from 0 to `most`; None if the header is absent or neither.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        # One that ends with -0000 has no zone, and is in UTC.
        seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time()
    return min(max(seconds, 0.0), most) if seconds == seconds else None


def jitter(attempt: int, base: float, share: float, most: float = 60.0) -> float:
    """Return the pause before a repetition: exponential back-off with full jitter.

    Clients that fail together then do not come back together.
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter

    Args:
        attempt: Number of the repetition, from 0.
        base: Longest pause before the first one, in seconds; it doubles with each.
        share: A random number from 0 to 1.
        most: Longest pause of all, in seconds.
    """
    return share * min(most, base * 2.0 ** min(attempt, 30))
