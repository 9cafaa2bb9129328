"""Timing pieces of work in turns, so that a busy machine slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def in_turns(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time each piece of work once a round, after one round that only fills caches.

    Returns:
        Name -> seconds, a value a round.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - start)
    return times


def show(times: Mapping[str, list[float]], reference: str, unit: str, count: int) -> None:
    """Print each one's raw seconds, its rate, and how many times as fast as `reference` it is.

    Args:
        times: From `in_turns`.
        reference: Whose speed is 1; the ratio is the median of the rounds' ratios.
        unit: What is counted, in the plural.
        count: How many of it a round has.
    """
    for name, values in times.items():
        ratios = [r / v for r, v in zip(times[reference], values, strict=True)]
        raw = " ".join(f"{value:.3g}" for value in values)
        rate = count / statistics.median(values)
        print(f"{name:32} {rate:9,.0f} {unit}/s {statistics.median(ratios):6.2f} x   s: {raw}")
