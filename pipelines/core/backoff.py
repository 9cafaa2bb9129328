"""Pauses between repetitions of a request that may succeed later."""

from __future__ import annotations


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
