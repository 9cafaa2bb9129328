"""Pair the items of two lists that describe the same objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

FirstT = TypeVar("FirstT")
SecondT = TypeVar("SecondT")


def aligned(
    first: Sequence[FirstT], second: Sequence[SecondT], same: Callable[[FirstT, SecondT], bool]
) -> dict[int, int]:
    """Find the longest pairing of two lists without crossing pairs (longest common subsequence).

    Since pairs do not cross, a merged list keeps the order of both.

    Args:
        first: Items of one list.
        second: Items of the other.
        same: Whether two items may be paired.

    Returns:
        Index in `first` -> index in `second`, in ascending order.
    """
    rows, columns = len(first), len(second)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            if same(first[i], second[j]):
                best[i][j] = max(best[i][j], 1 + best[i + 1][j + 1])
    pairs: dict[int, int] = {}
    i = j = 0
    while i < rows and j < columns:
        if same(first[i], second[j]) and best[i][j] == 1 + best[i + 1][j + 1]:
            pairs[i] = j
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs
