"""Drawing x ~ p(x|z,c) with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from pipelines.models.conditioning import Conditioning
from pipelines.models.device import in_fp32
from pipelines.models.diffusion import Diffusion
from pipelines.models.pixels import to_pixels


def guide(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance, g · (cond − uncond) + uncond (arXiv 2207.12598; Kaleido eq. 8).

    Args:
        conditional: Prediction under (z, c).
        unconditional: Prediction under the null condition, which drops both.
        scale: g; 1 is plain conditional sampling.
    """
    return unconditional + scale * (conditional - unconditional)


@torch.inference_mode()
@in_fp32()
def draw_images(
    model: Diffusion,
    conditioning: Conditioning,
    seeds: Sequence[int],
    cfg: float,
    steps: int,
    cfg_end: float = 0.0,
) -> np.ndarray:
    """Integrate the flow from noise to images by Euler's method, in steps that the model shifts.

    Guidance is applied to x̂; at one noise level the velocity is linear in it, so this is
    guidance of the velocity. It is applied while noise is strong: what a picture shows is decided
    there, and later guidance only exaggerates edges and colours ("Applying guidance in a limited
    interval", arXiv 2404.07724).

    Args:
        model: Context and denoiser.
        conditioning: One row an image.
        seeds: One seed an image; its noise depends on nothing else.
        cfg: Guidance scale g.
        steps: Euler steps.
        cfg_end: Noise level in [0, 1] below which steps are not guided.

    Returns:
        uint8 (n, side, side, 3).
    """
    side, device = model.image_size, conditioning.tokens.device
    x = torch.stack([_noise(seed, side) for seed in seeds]).to(device)
    count = len(x)
    context = model.prepare(conditioning)
    null = model.prepare(model.context.null(count)) if cfg != 1.0 else None

    def predict(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        sigma = level.expand(count).to(device)
        clean = model(x, sigma, context)
        if null is not None and level >= cfg_end:
            # Without a limit, strong guidance leaves the range of pixels and burns the image out
            # ("static thresholding", Imagen, arXiv 2205.11487, section 2.3).
            clean = guide(clean, model(x, sigma, null), cfg).clamp(-1.0, 1.0)
        return clean

    # On the CPU: a GPU rounds otherwise, and with the default settings a level is `cfg_end` itself.
    levels = model.shift(torch.linspace(1.0, 0.0, steps + 1))
    return to_pixels(integrate(predict, x, levels))


def integrate(
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    levels: torch.Tensor,
) -> torch.Tensor:
    """Follow the flow from noisy images to clean ones by Euler's method.

    Args:
        predict: Gives x̂ of x at a noise level, a scalar tensor.
        x: Images at the first level, (n, 3, side, side).
        levels: Noise levels in [0, 1], falling; the last is 0 for clean images.

    Returns:
        Images at the last level.
    """
    for level, following in zip(levels[:-1], levels[1:], strict=True):
        clean = predict(x, level)
        x = clean + (following / level) * (x - clean)
    return x


def _noise(seed: int, side: int) -> torch.Tensor:
    # Always drawn on the CPU, so that a seed means the same noise on every device.
    return torch.randn(3, side, side, generator=torch.Generator().manual_seed(seed))
