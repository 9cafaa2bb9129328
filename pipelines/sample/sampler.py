"""Sampling x ~ p(x|z,c): the flow is integrated with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pipelines.core.errors import KaleidoError
from pipelines.models.conditioning import Conditioning
from pipelines.models.device import in_fp32
from pipelines.models.diffusion import Diffusion
from pipelines.models.guidance import guide
from pipelines.models.shapes import choose_shape
from pipelines.sample.integrate import OWN_SAMPLERS, OnStep, Predict, integrate
from pipelines.sample.schedulers import find_scheduler, set_up
from pipelines.sample.speed import hastened
from pipelines.workspace.settings import SampleSettings


def require_sampler(name: str) -> None:
    """Refuse a sampler that is unknown, or unfit for our models, before anything is drawn.

    Raises:
        KaleidoError: With the reason, and the names that are known.
    """
    if name not in OWN_SAMPLERS:
        find_scheduler(name)


@torch.inference_mode()
@in_fp32()
def draw_images(
    model: Diffusion,
    conditioning: Conditioning,
    seeds: Sequence[int],
    settings: SampleSettings,
    negative: Conditioning | None = None,
    on_step: OnStep | None = None,
    scheduler: Any = None,
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
            ``sampler``, ``steps`` and ``speed``.
        negative: What guidance leads away from, one row per image; None for the null condition.
        on_step: Called after every step; the images go on from what it returns.
        scheduler: A scheduler of diffusers, in place of ``settings.sampler``.

    Returns:
        uint8 (n, height, width, 3).

    Raises:
        KaleidoError: If guidance would begin below the level at which it ends, the model was not
            trained on the size, or the sampler is unknown.
    """
    if settings.cfg_begin < settings.cfg_end:
        raise KaleidoError(
            f"sample.cfg_begin = {settings.cfg_begin:g}",
            f"noise falls while an image is drawn, and sample.cfg_end = {settings.cfg_end:g} is "
            "above it: no step would be guided.",
            "Set sample.cfg_begin above sample.cfg_end, or sample.cfg to 1.",
            code="bad-setting",
        )
    shape, device = choose_shape(settings.size, model.sizes), conditioning.tokens.device
    # Generated on the CPU, so that a seed gives the same noise on every device.
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    x = torch.stack([torch.randn(*model.canvas(shape), generator=each) for each in generators])
    x = x.to(device)
    away = model.context.null(len(x)) if negative is None else negative
    predict = _guided(model, conditioning, away, x, settings)
    if scheduler is None and settings.sampler in OWN_SAMPLERS:
        # On the CPU: a GPU rounds differently, and by default one level equals `cfg_end`.
        levels = model.shift(torch.linspace(1.0, 0.0, settings.steps + 1))
        guided = [settings.cfg_end <= level <= settings.cfg_begin for level in levels.tolist()]
        regimes = None if settings.sampler == "euler" else guided
        return model.pictures(integrate(predict, x, levels, on_step, regimes))
    chosen = find_scheduler(settings.sampler) if scheduler is None else scheduler
    solver = set_up(chosen, model.shift, settings.steps)
    return model.pictures(solver.integrate(predict, x, generators, on_step))


def _guided(
    model: Diffusion,
    conditioning: Conditioning,
    away: Conditioning,
    images: torch.Tensor,
    settings: SampleSettings,
) -> Predict:
    """Return the prediction of x̂ from x at a level, guided where the settings say so."""
    count, forward = len(images), hastened(model, settings.speed)
    prepared = model.prepare(conditioning, images)
    null = model.prepare(away, images) if settings.cfg != 1.0 else None

    def predict(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        sigma = level.expand(count).to(x.device)
        clean = forward(x, sigma, prepared)
        if null is not None and settings.cfg_end <= level <= settings.cfg_begin:
            # Unbounded, strong guidance leaves the range of pixel values and saturates the image
            # ("static thresholding", Imagen, arXiv 2205.11487, section 2.3).
            clean = guide(clean, forward(x, sigma, null), settings.cfg)
            clean = clean.clamp(-1.0, 1.0) if model.bounded else clean
        return clean

    return predict
