"""Pictures of prompts by a base, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipelines.bases.base import Base
from pipelines.bases.family import Family
from pipelines.bases.loop import Guidance, decode, denoise, noise_of
from pipelines.core.errors import KaleidoError
from pipelines.core.memory import is_out_of_memory, out_of_memory
from pipelines.models.pixels import to_pixels
from pipelines.models.shapes import read_shape


@dataclass(frozen=True)
class Picture:
    """The size and manner of pictures.

    Attributes:
        height: Pixels.
        width: Pixels.
        guidance: Steps and scale.
        negative: Negative prompt; None for the usual null condition.
        batch_size: Pictures drawn together; they depend on it by rounding alone.
    """

    height: int
    width: int
    guidance: Guidance
    negative: str | None = None
    batch_size: int = 1


def parse_size(family: Family, pipe: Any, text: str) -> tuple[int, int]:
    """Read the size of pictures.

    Args:
        family: The base's family.
        pipe: Its pipeline; the base's own size is taken if the text is empty.
        text: ``1024``, or ``1024x768``: width and height in pixels.

    Returns:
        Height and width in pixels.

    Raises:
        KaleidoError: If the text is no size, or not one that the base can draw.
    """
    if not text:
        side = family.default_side(pipe)
        return side, side
    shape = read_shape(text)
    if shape is None:
        hint = "Give a side or width and height in pixels: 1024, or 1024x768."
        raise KaleidoError(f"--size {text}", "it is not a size.", hint, code="bad-option")
    height, width = shape
    multiple = family.multiple
    if height % multiple or width % multiple or not height or not width:
        near = "x".join(str(max(1, round(side / multiple)) * multiple) for side in (width, height))
        raise KaleidoError(
            f"--size {text}",
            f"{family.title} draws sides that are multiples of {multiple} pixels.",
            f"The nearest is {near}.",
            code="bad-option",
        )
    return height, width


def draw(
    base: Base,
    prompts: Sequence[str],
    seeds: Sequence[int],
    picture: Picture,
    z: Sequence[str] | None = None,
) -> Iterator[np.ndarray]:
    """Draw a picture of each prompt.

    Args:
        base: The base.
        prompts: One per picture.
        seeds: One per picture; its noise depends on nothing else.
        picture: Size and manner.
        z: The text of z of each picture, which the base's adapter reads.

    Yields:
        uint8 (height, width, 3).

    Raises:
        KaleidoError: If the memory runs out.
    """
    shape = base.family.latent_shape(base.pipe, picture.height, picture.width)
    try:
        with torch.no_grad():
            guided = picture.guidance.cfg != 1.0
            null = base.family.null(base.pipe, picture.negative) if guided else None
            if null is not None and base.adapter is not None and z is not None:
                null |= base.adapter.null()
        for start in range(0, len(prompts), picture.batch_size):
            chunk = slice(start, start + picture.batch_size)
            with torch.no_grad():
                condition = base.family.encode(base.pipe, prompts[chunk])
                if base.adapter is not None and z is not None:
                    condition |= base.adapter.read(base.adapter.tokenize(z[chunk]))
            noise, generators = noise_of(seeds[chunk], shape)
            latents = denoise(base, condition, null, noise, picture.guidance, generators)
            yield from to_pixels(decode(base, latents))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "Give --batch-size 1, a smaller --size, or --offload model or layer."
        raise out_of_memory(base.folder.name, hint) from error
    finally:
        base.pipe.maybe_free_model_hooks()
