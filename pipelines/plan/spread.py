"""Choose a diverse subset from a larger pool.

The subset approximates the mode of a determinantal point process (Kulesza and Taskar, arXiv
1207.6083) over a matrix of similarities: by greedy choice (Chen et al., arXiv 1709.05135), then by
exchange. The determinant is the squared volume that the chosen items span, so an item that is
similar to a chosen one adds little.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 20
"""Passes of exchange over the chosen items, at most; a few are enough."""


def choose(kernel: np.ndarray, count: int) -> list[int]:
    """Choose a subset with a large determinant.

    Args:
        kernel: Similarity, (n, n), positive semidefinite.
        count: Number of items to choose, at most n.

    Returns:
        Indices; ties go to the lower index. Items that add no volume come last.
    """
    matrix = np.asarray(kernel, np.float64)
    n = len(matrix)
    gain = np.diag(matrix).copy()
    rows = np.zeros((0, n))
    chosen: list[int] = []
    for _ in range(min(count, n)):
        open_gain = np.where(np.isin(np.arange(n), chosen), -np.inf, gain)
        best = int(np.argmax(open_gain))
        if open_gain[best] < 1e-12:
            rest = [index for index in range(n) if index not in chosen]
            return chosen + rest[: count - len(chosen)]
        # Append one row to the Cholesky factor of the chosen submatrix.
        row = (matrix[best] - rows[:, best] @ rows) / np.sqrt(gain[best])
        rows = np.vstack([rows, row])
        gain = gain - row**2
        chosen.append(best)
    return _exchanged(matrix, chosen)


def _exchanged(matrix: np.ndarray, chosen: list[int]) -> list[int]:
    """Replace chosen items by others as long as that raises the determinant."""
    chosen = list(chosen)
    for _ in range(ROUNDS):
        before = list(chosen)
        for place in range(len(chosen)):
            rest = chosen[:place] + chosen[place + 1 :]
            factor = np.linalg.cholesky(matrix[np.ix_(rest, rest)])
            gain = np.diag(matrix) - (np.linalg.solve(factor, matrix[rest]) ** 2).sum(0)
            gain[rest] = -np.inf
            best = int(np.argmax(gain))
            if gain[best] > gain[chosen[place]] * (1 + 1e-9):
                chosen[place] = best
        if chosen == before:
            break
    return chosen


def effective_number(kernel: np.ndarray) -> float:
    """Return the effective number of distinct items, the Vendi score (arXiv 2210.02410).

    The exponential of the von Neumann entropy of K / n, from 1 (all equal) to n.

    Args:
        kernel: Similarity with ones on the diagonal, (n, n), n >= 1.
    """
    values = np.linalg.eigvalsh(kernel / len(kernel))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))
