"""Integrating the flow from noise to images, with a model that predicts clean images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

OWN_SAMPLERS = ("euler", "dpm++")
"""Samplers that `integrate` is; any other is a scheduler of diffusers."""

OnStep = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]
"""Receives a step's number, its noise level and the images after it; returns the images."""

Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Predicts clean images from noisy ones, (1 − σ) x + σ ε, at a level σ, a scalar tensor."""


def integrate(
    predict: Predict,
    x: torch.Tensor,
    levels: torch.Tensor,
    on_step: OnStep | None = None,
    regimes: Sequence[bool] | None = None,
) -> torch.Tensor:
    """Integrate the flow from noisy images to clean ones.

    The velocity at level σ is (x − x̂) / σ, so a step to σ' keeps the share σ' / σ of x − x̂: Euler's
    method. The second-order method, DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2), does the same
    with x̂ extrapolated from the last two predictions to the middle of the step, on the axis of
    λ = log((1 − σ) / σ). λ is infinite at both ends, so the steps next to them are Euler's.

    Args:
        predict: Predicts x̂ from x at a noise level, a scalar tensor.
        x: Images at the first level, (n, channels, height, width).
        levels: Noise levels in [0, 1], descending; the last is 0 for clean images.
        on_step: Called after every step; the images go on from what it returns.
        regimes: For each level whether it is guided; predictions of two regimes do not lie on one
            curve, so none is extrapolated from the other. None for Euler's method.

    Returns:
        Images at the last level.
    """
    last: torch.Tensor | None = None
    for step, (level, following) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        clean = aim = predict(x, level)
        if last is not None and _is_smooth(levels, step, regimes):
            before, here, after = levels[step - 1 : step + 2].double().logit().neg()
            aim = clean + float((after - here) / (here - before) / 2) * (clean - last)
        x = aim + (following / level) * (x - aim)
        last = clean
        if on_step is not None:
            x = on_step(step, level, x)
    return x


def _is_smooth(levels: torch.Tensor, step: int, regimes: Sequence[bool] | None) -> bool:
    """Whether a step may be of second order: its neighbours are finite and of one regime."""
    if regimes is None or levels[step - 1] >= 1 or levels[step + 1] <= 0:
        return False
    return regimes[step] == regimes[step - 1]
