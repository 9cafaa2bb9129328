"""Compare our metrics with established libraries on equal features.

Fréchet distance and kernel distance against torchmetrics, precision, recall, density and coverage
against prdc, Vendi scores against vendi-score. Prints the largest deviation, relative if the value
exceeds 1; above `LIMIT` it is an error. `nox -s bench -- metric_references`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout

import numpy as np
import torch
from prdc import compute_prdc
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd
from vendi_score import vendi as reference_vendi

from pipelines.evaluate.metrics.diversity import mss, vendi
from pipelines.evaluate.metrics.frechet import Moments, frechet_distance
from pipelines.evaluate.metrics.kernels import KernelMeans, mmd_by_caption
from pipelines.evaluate.metrics.manifolds import Balls, prdc

LIMIT = 1e-3
NEIGHBOURS = 3
Pair = tuple[np.ndarray, np.ndarray]
Values = dict[str, float]


def main() -> None:
    """Print a Markdown table, and fail if a metric deviates."""
    inputs = dict(cases(np.random.default_rng(0)))
    print(f"| metric | {' | '.join(inputs)} |\n|---|{'---:|' * len(inputs)}")
    worst = 0.0
    names = list(ours(*inputs["normal"]))
    table: dict[str, list[str]] = {name: [] for name in names}
    for drawn, real in inputs.values():
        own, theirs = ours(drawn, real), references(drawn, real)
        for name in names:
            gap = abs(own[name] - theirs[name]) / max(abs(theirs[name]), 1.0)
            worst = max(worst, gap)
            table[name].append(f"{gap:.0e}")
    for name, cells in table.items():
        print(f"| {name} | {' | '.join(cells)} |")
    if not worst <= LIMIT:
        sys.exit(f"a deviation of {worst:.1e} is over {LIMIT:g}")


def cases(rng: np.random.Generator) -> Iterator[tuple[str, Pair]]:
    """Yield pairs of drawn and real features."""
    yield "normal", (rng.normal(size=(256, 32)), rng.normal(0.3, 1.2, size=(256, 32)))
    yield "equal sets", (same := rng.normal(size=(200, 16)), same.copy())
    low = rng.normal(size=(2, 150, 4)) @ rng.normal(size=(4, 48))
    yield "singular covariance", (low[0], low[1])
    few = rng.normal(size=(2, 20, 64))
    yield "fewer rows than dimensions", (few[0], few[1])
    copies = np.repeat(rng.normal(size=(20, 16)), 8, axis=0)
    yield "each row eight times", (copies, rng.normal(size=(160, 16)))
    yield "far apart", (rng.normal(size=(100, 16)) + 50.0, rng.normal(size=(100, 16)))


def ours(drawn: np.ndarray, real: np.ndarray) -> Values:
    """Return our metrics."""
    shares = prdc(*(Balls.around(rows, NEIGHBOURS) for rows in (real, drawn)))
    kernels = (KernelMeans.of(rows[None]) for rows in (drawn, real))
    return {
        "Fréchet distance": frechet_distance(Moments.of(drawn), Moments.of(real)),
        "kernel distance": mmd_by_caption(*kernels)[0],
        "precision": shares.precise.mean(),
        "recall": shares.recalled.mean(),
        "density": shares.density.mean(),
        "coverage": shares.covered.mean(),
        "Vendi score": vendi(drawn),
        "Vendi score, order 2": vendi(drawn, 2.0),
        "Vendi score, order ∞": vendi(drawn, np.inf),
        "MSS": mss(drawn),
    }


def references(drawn: np.ndarray, real: np.ndarray) -> Values:
    """Return the libraries' values; no library has MSS, so it is written out."""
    a, b = torch.from_numpy(drawn), torch.from_numpy(real)
    with redirect_stdout(None):  # prdc prints the numbers of rows
        shares = compute_prdc(real, drawn, NEIGHBOURS)
    unit = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    cosines = unit @ unit.T
    pairs = ~np.eye(len(unit), dtype=bool)
    frechet = _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    return {
        "Fréchet distance": float(frechet),
        "kernel distance": float(poly_mmd(b, a)),
        **{name: float(shares[name]) for name in ("precision", "recall", "density", "coverage")},
        "Vendi score": float(reference_vendi.score_K(cosines)),
        "Vendi score, order 2": float(reference_vendi.score_K(cosines, q=2)),
        "Vendi score, order ∞": float(reference_vendi.score_K(cosines, q="inf")),
        "MSS": float(cosines[pairs].mean()),
    }


if __name__ == "__main__":
    main()
