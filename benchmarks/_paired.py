"""Time functions in alternation, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def in_turns(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time each function once per round, after one round that fills caches.

    Args:
        works: Name -> function.
        rounds: Rounds that count.
        clock: `time.process_time` counts the process's own CPU seconds, on a busy machine.

    Returns:
        Name -> seconds, one value per round.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            start = clock()
            work()
            if turn:
                times[name].append(clock() - start)
    return times


def show(times: Mapping[str, list[float]], reference: str, unit: str, count: int) -> None:
    """Print the raw seconds of each function, its rate, and its speed relative to `reference`.

    Args:
        times: From `in_turns`.
        reference: The name whose speed is 1; the ratio is the median over rounds.
        unit: Name of the items counted, in the plural.
        count: Items per round.
    """
    for name, values in times.items():
        ratios = [r / v for r, v in zip(times[reference], values, strict=True)]
        raw = " ".join(f"{value:.3g}" for value in values)
        rate = count / statistics.median(values)
        print(f"{name:32} {rate:9,.0f} {unit}/s {statistics.median(ratios):6.2f} x   s: {raw}")
