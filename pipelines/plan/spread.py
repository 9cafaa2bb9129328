"""Choose a diverse subset of z from a larger pool.

The subset approximates the mode of a determinantal point process (Kulesza and Taskar, arXiv
1207.6083) whose kernel is the similarity of the z, by greedy maximisation (Chen et al., arXiv
1709.05135). The determinant is the squared volume spanned by the chosen z, so a z that is similar
to a chosen one adds little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipelines.latents.base import Latent, Rect
from pipelines.latents.blobs import Blobs
from pipelines.latents.boxes import Boxes
from pipelines.latents.colours import Colours
from pipelines.latents.description import Description
from pipelines.latents.oklab import hex_to_oklab
from pipelines.latents.palette import Palette
from pipelines.latents.text import GRID
from pipelines.latents.tokens import Tokens

CELLS = 8
"""Cells per side of the grid on which places are compared."""

REACH = 0.15
"""OKLab distance at which two colours have similarity 0.5: that of red and orange."""


def similarity(pool: Sequence[Mapping[str, Latent]]) -> np.ndarray:
    """Compute the similarity of every pair of z.

    Every kind has a kernel with ones on the diagonal: for descriptions, the cosine of word sets;
    for boxes and blobs, the cosine of covered grid cells per label times that of counts; for
    visual tokens, the share of equal ids; for palettes and for colours of equal labels, the
    overlap, in which similar colours count partially. The result is the mean over the kinds that
    all z have, so it is positive semidefinite.

    Args:
        pool: n z, each by kind.

    Returns:
        float64 (n, n), values from 0 to 1; all ones if the z have no kind in common.
    """
    kernels = [
        kernel([z[kind] for z in pool])
        for kind, kernel in _KERNELS.items()
        if pool and all(kind in z for z in pool)
    ]
    if not kernels:
        return np.ones((len(pool), len(pool)))
    return np.asarray(np.mean(kernels, axis=0))


def choose(kernel: np.ndarray, count: int, quality: np.ndarray | None = None) -> list[int]:
    """Choose a subset with a large determinant greedily.

    Args:
        kernel: Similarity, (n, n), positive semidefinite.
        count: Number of items to choose, at most n.
        quality: log q of each item, (n,), for the kernel q_i S_ij q_j; None for equal quality.

    Returns:
        Indices in the order of choice; ties go to the lower index. Items that add no volume come
        last, by quality.
    """
    n = len(kernel)
    weights = np.ones(n) if quality is None else np.exp(quality - np.max(quality))
    matrix = np.asarray(kernel, np.float64) * np.outer(weights, weights)
    gain = np.diag(matrix).copy()
    rows = np.zeros((0, n))
    chosen: list[int] = []
    for _ in range(min(count, n)):
        open_gain = np.where(np.isin(np.arange(n), chosen), -np.inf, gain)
        best = int(np.argmax(open_gain))
        if open_gain[best] < 1e-12:
            rest = [index for index in np.argsort(-weights, kind="stable") if index not in chosen]
            return chosen + [int(index) for index in rest[: count - len(chosen)]]
        # Append one row to the Cholesky factor of the chosen submatrix.
        row = (matrix[best] - rows[:, best] @ rows) / np.sqrt(gain[best])
        rows = np.vstack([rows, row])
        gain = gain - row**2
        chosen.append(best)
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


def _cosines(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units = rows / np.where(lengths > 0, lengths, 1)
    matrix: np.ndarray = np.clip(units @ units.T, 0.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def _words(latents: Sequence[Latent]) -> np.ndarray:
    texts = [latent.text.lower().split() for latent in latents if isinstance(latent, Description)]
    known = {word: index for index, word in enumerate(dict.fromkeys(w for t in texts for w in t))}
    rows = np.zeros((len(texts), len(known)))
    for row, text in zip(rows, texts, strict=True):
        row[[known[word] for word in text]] = 1.0
    return _cosines(rows)


def _layouts(latents: Sequence[Latent]) -> np.ndarray:
    """Multiply the similarities of positions and of counts per label.

    The z of one caption mostly have the same counts, which then change nothing.
    """
    lists = [latent for latent in latents if isinstance(latent, Boxes | Blobs)]
    names = dict.fromkeys(item.label for latent in lists for item in latent.items)
    labels = {name: index for index, name in enumerate(names)}
    cover = np.zeros((len(lists), len(labels), CELLS, CELLS))
    counts = np.zeros((len(lists), len(labels)))
    for index, latent in enumerate(lists):
        for item in latent.items:
            label = labels[item.label]
            rect = latent.rect(tuple(getattr(item, name) for name in latent.number_names))
            counts[index, label] += 1
            np.maximum(cover[index, label], _coverage(rect), out=cover[index, label])
    return _cosines(cover.reshape(len(lists), -1)) * _cosines(counts)


def _coverage(rect: Rect) -> np.ndarray:
    """Return the share of each cell that a rectangle covers, (CELLS, CELLS)."""
    x1, y1, x2, y2 = (value * CELLS for value in rect)
    edges = np.arange(CELLS)
    across = np.clip(np.minimum(x2, edges + 1) - np.maximum(x1, edges), 0, 1)
    down = np.clip(np.minimum(y2, edges + 1) - np.maximum(y1, edges), 0, 1)
    return np.outer(down, across)


def _grids(latents: Sequence[Latent]) -> np.ndarray:
    grids = [latent for latent in latents if isinstance(latent, Tokens)]
    if len({grid.shape for grid in grids}) != 1:
        return np.eye(len(grids))
    ids = np.array([grid.ids for grid in grids])
    return np.asarray((ids[:, None] == ids[None]).mean(axis=2))


def _palettes(latents: Sequence[Latent]) -> np.ndarray:
    palettes = [latent.items for latent in latents if isinstance(latent, Palette)]
    labs = np.concatenate([[colour.oklab for colour in items] for items in palettes])
    # By the root of its share, or else the background would outweigh all objects.
    weight = np.array([(colour.weight / GRID) ** 0.5 for items in palettes for colour in items])
    return _overlaps(labs, weight, [len(items) for items in palettes])


def _colours(latents: Sequence[Latent]) -> np.ndarray:
    """Compare the main colours of elements with equal labels."""
    lists = [latent.items for latent in latents if isinstance(latent, Colours)]
    items = [item for each in lists for item in each]
    labs = np.array([hex_to_oklab(item.hexes[0]) for item in items])
    names = np.array([item.label for item in items])
    return _overlaps(labs, np.ones(len(items)), [len(each) for each in lists], names)


def _overlaps(
    labs: np.ndarray, weight: np.ndarray, counts: Sequence[int], names: np.ndarray | None = None
) -> np.ndarray:
    """Compute the overlap of sets of colours, in which similar colours count partially.

    Args:
        labs: OKLab of all colours, set by set, (m, 3).
        weight: Their weights, (m,).
        counts: Number of colours of each of n sets.
        names: Names of the colours; different ones are not similar.

    Returns:
        (n, n), ones on the diagonal.
    """
    distance = np.linalg.norm(labs[:, None] - labs[None], axis=2)
    alike = 0.5 ** ((distance / REACH) ** 2) * np.outer(weight, weight)
    if names is not None:
        alike = alike * (names[:, None] == names[None])
    membership = np.eye(len(counts))[np.repeat(np.arange(len(counts)), counts)]
    inner = membership.T @ alike @ membership
    scale = np.sqrt(np.diag(inner))
    return np.asarray(inner / np.outer(scale, scale))


_KERNELS = {
    "description": _words,
    "boxes": _layouts,
    "blobs": _layouts,
    "colours": _colours,
    "tokens": _grids,
    "palette": _palettes,
}
