"""The loop that samples every base, in place of the pipelines' own.

The pipelines differ in what a guidance scale means, in whether it acts at all, and in how they
order the rows of a batch. Here the scale is always that of u + g (c − u), conditions are explicit,
and a picture depends on its own prompt, noise and settings alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch

from pipelines.bases.base import Base
from pipelines.bases.family import Condition, repeat, rows
from pipelines.core.errors import KaleidoError
from pipelines.models.guidance import guide


@dataclass(frozen=True)
class Guidance:
    """How to sample.

    Attributes:
        steps: Number of steps.
        cfg: Guidance scale; 1 is no guidance.
        cfg_begin: Noise level, 0 to 1, above which nothing is guided.
        cfg_end: Noise level below which nothing is guided.
    """

    steps: int
    cfg: float
    cfg_begin: float = 1.0
    cfg_end: float = 0.0


OnStep = Callable[[int, torch.Tensor], None]
"""Called after a step with its number and the latents."""


def noise_of(seeds: Sequence[int], shape: Sequence[int]) -> tuple[torch.Tensor, list[Any]]:
    """Draw the noise of pictures, each from its own seed.

    It is drawn on the CPU, so that it is the same on every device; a pipeline that is given the
    same generators draws the same noise.

    Returns:
        Noise, float32 (n, *shape), and the generators, which samplers that add noise continue.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.randn(*shape, generator=each) for each in generators]), generators


@torch.no_grad()
def denoise(
    base: Base,
    condition: Condition,
    null: Condition | None,
    noise: torch.Tensor,
    guidance: Guidance,
    generators: list[Any] | None = None,
    on_step: OnStep | None = None,
) -> torch.Tensor:
    """Sample latents.

    Args:
        base: The base.
        condition: A row per picture.
        null: One row, that of the null condition; None if nothing is guided.
        noise: (n, channels, height, width), standard normal.
        guidance: Steps and scale.
        generators: One per picture, for samplers that add noise.
        on_step: Called after every step.

    Returns:
        Normalised latents, float32, the shape of `noise`.

    Raises:
        KaleidoError: If guidance would begin below the level at which it ends.
    """
    if guidance.cfg_begin < guidance.cfg_end:
        why = "noise falls while an image is drawn, so no step would be guided."
        hint = "Set sample.cfg_begin above sample.cfg_end, or sample.cfg to 1."
        raise KaleidoError(
            f"sample.cfg_begin = {guidance.cfg_begin:g}", why, hint, code="bad-setting"
        )
    family, scheduler = base.family, base.pipe.scheduler
    times = family.timesteps(base.pipe, guidance.steps, noise.shape)
    last = scheduler.config.num_train_timesteps
    opposite = None if null is None or guidance.cfg == 1.0 else repeat(null, rows(condition))
    options = _step_options(scheduler, generators)
    x = noise.to(base.device)
    if family.predicts == "noise":
        x = x * scheduler.init_noise_sigma
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    for number, step_time in enumerate(times):
        level = float(step_time) / last
        time = step_time.expand(len(x))
        time = time if family.predicts == "noise" else (time / last).float()
        seen = scheduler.scale_model_input(x, step_time) if _scales(scheduler) else x
        seen = seen.to(base.denoiser.dtype)
        predicted = base.predict(seen, time, condition).float()
        if opposite is not None and guidance.cfg_end <= level <= guidance.cfg_begin:
            away = base.predict(seen, time, opposite).float()
            guided = guide(predicted, away, guidance.cfg)
            predicted = family.rescale(guided, predicted)
        x = scheduler.step(predicted, step_time, x, return_dict=False, **options)[0]
        if on_step is not None:
            on_step(number, x)
    return x


def _scales(scheduler: Any) -> bool:
    return hasattr(scheduler, "scale_model_input")


def _step_options(scheduler: Any, generators: list[Any] | None) -> dict[str, Any]:
    """Hand each picture's generator to a scheduler that may add noise."""
    if generators is None or "generator" not in signature(scheduler.step).parameters:
        return {}
    return {"generator": generators}


@torch.no_grad()
def decode(base: Base, latents: torch.Tensor) -> torch.Tensor:
    """Decode latents to pictures, float32 (n, 3, height, width), about in [-1, 1]."""
    with _upcast(base.pipe.vae) as vae:
        return base.family.to_pixels(base.pipe, latents.to(vae.dtype)).float()


@torch.no_grad()
def encode(base: Base, pixels: torch.Tensor) -> torch.Tensor:
    """Encode pictures, (n, 3, height, width) in [-1, 1], to normalised latents, float32."""
    with _upcast(base.pipe.vae) as vae:
        return base.family.to_latents(base.pipe, pixels.to(vae.device, vae.dtype)).float()


@contextmanager
def _upcast(vae: Any) -> Iterator[Any]:
    """Let an autoencoder compute in float32 whose configuration asks for it (``force_upcast``).

    SDXL's overflows in half precision.
    """
    dtype = vae.dtype
    upcast = dtype == torch.float16 and bool(vae.config.get("force_upcast"))
    if upcast:
        vae.to(torch.float32)
    try:
        yield vae
    finally:
        if upcast:
            vae.to(dtype)
