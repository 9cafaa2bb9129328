"""From a caption to samples: z first, unguided, then x, guided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipelines.core.seeds import derive
from pipelines.models.conditioning import States
from pipelines.sample.bundle import Bundle
from pipelines.sample.decode import draw_z
from pipelines.sample.sampler import draw_images
from pipelines.workspace.settings import SampleSettings


@dataclass(frozen=True)
class Sample:
    """One drawn image.

    Attributes:
        caption: What was asked for.
        index: Its number among the samples of this caption, from 0.
        z: The latent as text; empty for a baseline.
        pixels: uint8 (side, side, 3).
    """

    caption: str
    index: int
    z: str
    pixels: np.ndarray


def draw(bundle: Bundle, caption: str, options: SampleSettings) -> Iterator[Sample]:
    """Draw samples of one caption, batch after batch.

    The caption is encoded once. Sample i's z and noise follow from (seed, caption, i) alone.
    """
    with torch.inference_mode():
        encoded = bundle.prior.encode([caption])
    keys = [f"{index}:{caption}" for index in range(options.n)]
    texts = [""] * options.n
    if bundle.z_kinds:
        seeds = [derive(options.seed, "z", key) for key in keys]
        texts = draw_z(
            bundle.prior, encoded, bundle.z_kinds, seeds, options.temperature, options.top_p
        )
    for start in range(0, options.n, options.batch_size):
        chunk = range(start, min(start + options.batch_size, options.n))
        pixels = draw_given(
            bundle,
            encoded,
            [texts[index] for index in chunk],
            [derive(options.seed, "noise", keys[index]) for index in chunk],
            options,
        )
        for index, image in zip(chunk, pixels, strict=True):
            yield Sample(caption, index, texts[index], image)


def draw_again(
    bundle: Bundle, caption: str, texts: Sequence[str], options: SampleSettings
) -> np.ndarray:
    """Draw a second picture of each z of `draw`, from noise that `draw` does not use.

    Args:
        bundle: Models.
        caption: What was asked for.
        texts: z of the first samples, in their order.
        options: As they were drawn; `n` does not matter.

    Returns:
        uint8 (len(texts), side, side, 3).
    """
    with torch.inference_mode():
        encoded = bundle.prior.encode([caption])
    keys = [f"{index}:{caption}" for index in range(len(texts))]
    seeds = [derive(options.seed, "second noise", key) for key in keys]
    return draw_given(bundle, encoded, texts, seeds, options)


@torch.inference_mode()
def draw_given(
    bundle: Bundle,
    caption: States,
    texts: Sequence[str],
    seeds: Sequence[int],
    options: SampleSettings,
) -> np.ndarray:
    """Draw images for given z.

    Args:
        bundle: Models.
        caption: Encoder states of one caption, (1, length, width).
        texts: One z an image, as text; all empty for a baseline.
        seeds: One noise seed an image.
        options: Guidance and steps.

    Returns:
        uint8 (n, side, side, 3).
    """
    rows = caption.expand(torch.zeros(len(texts), dtype=torch.long))
    z = None
    if bundle.z_kinds:
        z = bundle.prior.z_states(rows, bundle.prior.read_z(texts))
    conditioning = bundle.diffusion.context(rows, z)
    return draw_images(
        bundle.diffusion, conditioning, seeds, options.cfg, options.steps, options.cfg_end
    )
