"""The paper's toy example: two classes with two modes each, sampled at increasing guidance.

Every distribution is a mixture of equal Gaussians in the plane, so the optimal denoiser has a
closed form and nothing is trained: any collapse is caused by guidance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipelines.core.seeds import derive
from pipelines.evaluate.metrics.compare import BASELINE, KALEIDO
from pipelines.models.guidance import guide

CLASSES = ("left", "right")
MODES = torch.tensor([[[-2.0, 0.9], [-0.7, -0.9]], [[2.0, 0.9], [0.7, -0.9]]], dtype=torch.float64)
"""(class, mode, 2). The lower modes are close together and so less informative of the class."""

SPREAD = 0.3
"""Standard deviation of a mode."""

SCALES = (1.0, 5.0, 8.0, 25.0)
STEPS = 100


@dataclass(frozen=True)
class Drawn:
    """Samples of one model at one guidance scale.

    Attributes:
        model: ``baseline``, p(x|c), or ``kaleido``, p(z|c) p(x|z,c), z being the mode.
        scale: Guidance scale.
        points: Samples by seed and class, each (n, 2).
    """

    model: str
    scale: float
    points: Sequence[Sequence[torch.Tensor]]

    def entropies(self) -> list[float]:
        """Return the mode entropy of a class in nats for each seed; log 2 if modes are balanced."""
        return [
            sum(_entropy(_nearest(points, c)) for c, points in enumerate(by_class)) / len(CLASSES)
            for by_class in self.points
        ]

    def distances(self) -> list[float]:
        """Return the mean distance to the class's nearest mode for each seed, in modes' SDs."""
        return [
            sum(_distance(points, c) for c, points in enumerate(by_class)) / len(CLASSES)
            for by_class in self.points
        ]


def draw_toy(
    n: int = 500, seeds: Sequence[int] = (0, 1, 2), scales: Sequence[float] = SCALES
) -> list[Drawn]:
    """Sample from both models at all guidance scales.

    Args:
        n: Samples per class and seed.
        seeds: Seeds of the noise and z.
        scales: Guidance scales.
    """
    return [
        Drawn(
            model,
            scale,
            [
                [
                    _draw(model, number, scale, n, derive(seed, "toy", name))
                    for number, name in enumerate(CLASSES)
                ]
                for seed in seeds
            ],
        )
        for scale in scales
        for model in (BASELINE, KALEIDO)
    ]


def clean_estimate(x: torch.Tensor, sigma: float, weights: torch.Tensor) -> torch.Tensor:
    """E[x | x_σ] for x_σ = (1 − σ) x + σ ε and x from a mixture of the modes.

    Args:
        x: x_σ, (n, 2).
        sigma: Noise level in (0, 1].
        weights: (n, classes, modes), the mixture weights of each row.

    Returns:
        (n, 2).
    """
    kept = 1.0 - sigma
    variance = (kept * SPREAD) ** 2 + sigma**2
    gaps = x[:, None, None] - kept * MODES
    logits = weights.log() - gaps.square().sum(-1) / (2.0 * variance)
    shares = logits.flatten(1).softmax(1).view_as(weights)
    means = MODES + kept * SPREAD**2 / variance * gaps
    return (shares[..., None] * means).sum((1, 2))


def _draw(model: str, number: int, scale: float, n: int, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=rng, dtype=torch.float64)
    condition = torch.zeros(n, *MODES.shape[:2], dtype=torch.float64)
    if model == BASELINE:
        condition[:, number] = 1.0
    else:
        z = torch.randint(MODES.shape[1], (n,), generator=rng)  # p(z|c), unguided
        condition[torch.arange(n), number, z] = 1.0
    anything = torch.ones_like(condition)
    levels = torch.linspace(1.0, 0.0, STEPS + 1, dtype=torch.float64).tolist()
    for level, following in zip(levels[:-1], levels[1:], strict=True):
        clean = guide(
            clean_estimate(x, level, condition), clean_estimate(x, level, anything), scale
        )
        x = clean + following / level * (x - clean)
    return x


def _nearest(points: torch.Tensor, number: int) -> torch.Tensor:
    return torch.cdist(points, MODES[number]).argmin(1)


def _distance(points: torch.Tensor, number: int) -> float:
    return float(torch.cdist(points, MODES[number]).min(1).values.mean()) / SPREAD


def _entropy(labels: torch.Tensor) -> float:
    shares = labels.bincount(minlength=MODES.shape[1]) / len(labels)
    return -sum(share * math.log(share) for share in shares.tolist() if share)
