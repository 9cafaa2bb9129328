"""How similar z are to each other: the kernel by which varied z are chosen."""

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

    The result is the mean of what can be compared in all z, so it is positive semidefinite:

    * words of the description: the cosine of their sets;
    * places: the overlap of the grid cells that boxes, or else blobs, cover, counted once whatever
      covers them and once for each label;
    * the palette's colours, and those of elements by label: their overlap, in which similar
      colours count partially;
    * the palette's heaviest colour, mostly the background's;
    * visual tokens: the share of equal ids.

    Args:
        pool: n z, each by kind.

    Returns:
        float64 (n, n), values from 0 to 1; all ones if the z have no kind in common.
    """
    kernels = []
    for kinds, kernel in _KERNELS:
        known = [kind for kind in kinds if all(kind in z for z in pool)]
        if pool and known:
            kernels.append(kernel([z[known[0]] for z in pool]))
    if not kernels:
        return np.ones((len(pool), len(pool)))
    return np.asarray(np.mean(kernels, axis=0))


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
    """Compute the overlap of what is covered: by anything, and by each label."""
    lists = [latent for latent in latents if isinstance(latent, Boxes | Blobs)]
    names = dict.fromkeys(item.label for latent in lists for item in latent.items)
    layers = {name: index for index, name in enumerate(names, 1)}
    cover = np.zeros((len(lists), 1 + len(layers), CELLS, CELLS))
    for index, latent in enumerate(lists):
        for item in latent.items:
            rect = latent.rect(tuple(getattr(item, name) for name in latent.number_names))
            for layer in (0, layers[item.label]):
                np.maximum(cover[index, layer], _coverage(rect), out=cover[index, layer])
    rows = cover.reshape(len(lists), -1)
    sums = rows.sum(1)
    shared = np.array([np.minimum(row, rows).sum(1) for row in rows])
    # The Jaccard index of fuzzy sets, which is positive semidefinite as well.
    return np.asarray(shared / (sums[:, None] + sums - shared))


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


def _backgrounds(latents: Sequence[Latent]) -> np.ndarray:
    """Compare the heaviest colours of palettes, which mostly are those of the background."""
    palettes = [latent.items for latent in latents if isinstance(latent, Palette)]
    heaviest = [max(items, key=lambda colour: colour.weight) for items in palettes]
    return _nearness(np.stack([colour.oklab for colour in heaviest]))


def _colours(latents: Sequence[Latent]) -> np.ndarray:
    """Compare the main colours of elements with equal labels."""
    lists = [latent.items for latent in latents if isinstance(latent, Colours)]
    items = [item for each in lists for item in each]
    labs = np.array([hex_to_oklab(item.hexes[0]) for item in items])
    names = np.array([item.label for item in items])
    return _overlaps(labs, np.ones(len(items)), [len(each) for each in lists], names)


def _nearness(labs: np.ndarray) -> np.ndarray:
    """Return the similarity of every pair of colours, OKLab (m, 3) -> (m, m)."""
    distance = np.linalg.norm(labs[:, None] - labs[None], axis=2)
    return np.asarray(0.5 ** ((distance / REACH) ** 2))


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
    alike = _nearness(labs) * np.outer(weight, weight)
    if names is not None:
        alike = alike * (names[:, None] == names[None])
    membership = np.eye(len(counts))[np.repeat(np.arange(len(counts)), counts)]
    inner = membership.T @ alike @ membership
    scale = np.sqrt(np.diag(inner))
    return np.asarray(inner / np.outer(scale, scale))


_KERNELS = (
    (("description",), _words),
    (("boxes", "blobs"), _layouts),
    (("colours",), _colours),
    (("tokens",), _grids),
    (("palette",), _palettes),
    (("palette",), _backgrounds),
)
"""What is compared: kinds, of which the first that all z have is read, and the kernel."""
