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
    """Generate images by integrating the flow from noise with Euler's method.

    Guidance is applied to x̂; at one noise level the velocity is linear in x̂, so this is guidance
    of the velocity. It can be limited to an interval of noise levels ("Applying guidance in a
    limited interval", arXiv 2404.07724): above ``cfg_begin`` it reduces diversity, below
    ``cfg_end`` it only exaggerates edges and colours.

    Args:
        model: Context and denoiser.
        conditioning: One row per image.
        seeds: One seed per image; its noise depends on nothing else.
        settings: ``size``, ``cfg`` (the scale g; 1 is no guidance), ``cfg_begin``, ``cfg_end`` and
            ``steps``.
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
    return model.pictures(integrate(predict, x, levels, on_step))


def integrate(
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    levels: torch.Tensor,
    on_step: OnStep | None = None,
) -> torch.Tensor:
    """Integrate the flow from noisy images to clean ones with Euler's method.

    The velocity at level σ is (x − x̂) / σ, so a step to σ' keeps the share σ' / σ of x − x̂.

    Args:
        predict: Predicts x̂ from x at a noise level, a scalar tensor.
        x: Images at the first level, (n, channels, height, width).
        levels: Noise levels in [0, 1], descending; the last is 0 for clean images.
        on_step: Called after every step; the images go on from what it returns.

    Returns:
        Images at the last level.
    """
    for step, (level, following) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        clean = predict(x, level)
        x = clean + (following / level) * (x - clean)
        if on_step is not None:
            x = on_step(step, level, x)
    return x


def _noise(seed: int, canvas: tuple[int, int, int]) -> torch.Tensor:
    # Generated on the CPU, so that a seed gives the same noise on every device.
    return torch.randn(*canvas, generator=torch.Generator().manual_seed(seed))
