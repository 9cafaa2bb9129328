"""Sampling x ~ p(x|z,c): the flow is integrated with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from pipelines.core.errors import KaleidoError
from pipelines.models.conditioning import Conditioning
from pipelines.models.device import in_fp32
from pipelines.models.diffusion import Diffusion
from pipelines.models.guidance import guide
from pipelines.models.shapes import choose_shape
from pipelines.workspace.settings import SampleSettings

OnStep = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]
"""Receives a step's number, its noise level and the images after it; returns the images."""


@torch.inference_mode()
@in_fp32()
def draw_images(
    model: Diffusion,
    conditioning: Conditioning,
    seeds: Sequence[int],
    settings: SampleSettings,
    negative: Conditioning | None = None,
    on_step: OnStep | None = None,
) -> np.ndarray:
    """Generate images by integrating the flow from noise.

    Guidance is applied to x̂; at one noise level the velocity is linear in x̂, so this is guidance
    of the velocity. It can be limited to an interval of noise levels ("Applying guidance in a
    limited interval", arXiv 2404.07724): above ``cfg_begin`` it reduces diversity, below
    ``cfg_end`` it only exaggerates edges and colours.

    Args:
        model: Context and denoiser.
        conditioning: One row per image.
        seeds: One seed per image; its noise depends on nothing else.
        settings: ``size``, ``cfg`` (the scale g; 1 is no guidance), ``cfg_begin``, ``cfg_end``,
            ``sampler`` and ``steps``.
        negative: What guidance leads away from, one row per image; None for the null condition.
        on_step: Called after every step; the images go on from what it returns.

    Returns:
        uint8 (n, height, width, 3).

    Raises:
        KaleidoError: If guidance would begin below the level at which it ends, or the model was
            not trained on the size.
    """
    if settings.cfg_begin < settings.cfg_end:
        raise KaleidoError(
            f"sample.cfg_begin = {settings.cfg_begin:g}",
            f"noise falls while an image is drawn, and sample.cfg_end = {settings.cfg_end:g} is "
            "above it: no step would be guided.",
            "Set sample.cfg_begin above sample.cfg_end, or sample.cfg to 1.",
            code="bad-setting",
        )
    shape, device = choose_shape(settings.size, model.shapes), conditioning.tokens.device
    x = torch.stack([_noise(seed, model.canvas(shape)) for seed in seeds]).to(device)
    count = len(x)
    prepared = model.prepare(conditioning, x)
    away = model.context.null(count) if negative is None else negative
    null = model.prepare(away, x) if settings.cfg != 1.0 else None

    def predict(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        sigma = level.expand(count).to(device)
        clean = model(x, sigma, prepared)
        if null is not None and settings.cfg_end <= level <= settings.cfg_begin:
            # Unbounded, strong guidance leaves the range of pixel values and saturates the image
            # ("static thresholding", Imagen, arXiv 2205.11487, section 2.3).
            clean = guide(clean, model(x, sigma, null), settings.cfg)
            clean = clean.clamp(-1.0, 1.0) if model.bounded else clean
        return clean

    # On the CPU: a GPU rounds differently, and by default one level equals `cfg_end`.
    levels = model.shift(torch.linspace(1.0, 0.0, settings.steps + 1))
    guided = [settings.cfg_end <= level <= settings.cfg_begin for level in levels.tolist()]
    regimes = None if settings.sampler == "euler" else guided
    return model.pictures(integrate(predict, x, levels, on_step, regimes))


def integrate(
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
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


def _noise(seed: int, canvas: tuple[int, int, int]) -> torch.Tensor:
    # Generated on the CPU, so that a seed gives the same noise on every device.
    return torch.randn(*canvas, generator=torch.Generator().manual_seed(seed))
