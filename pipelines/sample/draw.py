"""From a caption to samples: z is drawn first, without guidance, then x with guidance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
import torch

from pipelines.core.batches import in_batches
from pipelines.core.errors import KaleidoError
from pipelines.latents.sequence import order_kinds, require_kinds, z_from_text, z_to_text
from pipelines.latents.text import LatentError
from pipelines.latents.tokens import Tokens
from pipelines.models.conditioning import Conditioning, States
from pipelines.models.prior import Prior
from pipelines.sample.bundle import Bundle
from pipelines.sample.candidates import ChosenZ, Wanted
from pipelines.sample.control import UNCONTROLLED, Control, draw_controlled_z
from pipelines.sample.decode import ROWS
from pipelines.sample.integrate import OnStep
from pipelines.sample.sampler import draw_images
from pipelines.sample.seeds import seeds_of
from pipelines.workspace.settings import SampleSettings


@dataclass(frozen=True)
class Sample:
    """One generated image.

    Attributes:
        caption: The caption it was drawn for.
        index: Its number among the samples of this caption, from 0.
        z: The latent as text; empty for a baseline.
        pixels: uint8 (height, width, 3).
        rejected: How many z were drawn for it and not taken, see `draw_sound_z`.
        redrawn: How often z and picture were drawn anew, each time with seeds one higher.
    """

    caption: str
    index: int
    z: str
    pixels: np.ndarray
    rejected: int = 0
    redrawn: int = 0


def draw(bundle: Bundle, caption: str, settings: SampleSettings) -> Iterator[Sample]:
    """Draw ``settings.n`` samples of one caption, see `draw_each`."""
    return next(draw_each(bundle, [caption], settings))


def draw_each(
    bundle: Bundle,
    captions: Sequence[str],
    settings: SampleSettings,
    control: Control = UNCONTROLLED,
) -> Iterator[Iterator[Sample]]:
    """Draw ``settings.n`` samples of each caption, as they are asked for.

    z and noise of sample i are derived from (seed, caption, i) alone, and do not depend on the
    other captions.

    Yields:
        The samples of a caption, drawn batch by batch.
    """
    numbers = range(settings.n)
    for caption, chosen in draw_z_each(
        bundle.prior, captions, bundle.z_kinds, settings, settings.n, control
    ):
        yield _draw_images_of(bundle, caption, chosen, settings, numbers)


def draw_z_each(
    prior: Prior,
    captions: Sequence[str],
    kinds: Sequence[str],
    settings: SampleSettings,
    count: int,
    control: Control = UNCONTROLLED,
) -> Iterator[tuple[str, list[ChosenZ]]]:
    """Draw sound z of each caption, of as many captions together as fill groups of `ROWS`.

    Args:
        prior: The prior.
        captions: The captions.
        kinds: Kinds of z, in order; none for a baseline.
        settings: Seed and decoding; ``n`` has no effect.
        count: Number of z for each caption.
        control: What z must hold.

    Yields:
        A caption and its z; empty ones without kinds.
    """
    for group in in_batches(captions, captions_together(count)):
        chosen = [ChosenZ("")] * (len(group) * count)
        if kinds:
            encoded = [encode_caption(prior, caption) for caption in group]
            wanted = [
                Wanted(caption, states, index)
                for caption, states in zip(group, encoded, strict=True)
                for index in range(count)
            ]
            chosen = draw_controlled_z(prior, wanted, kinds, settings, control)
        yield from zip(group, in_batches(chosen, count), strict=True)


def captions_together(count: int) -> int:
    """Return of how many captions z are drawn together, `count` of each: they fill groups."""
    return ROWS // gcd(count, ROWS)


def draw_some(
    bundle: Bundle,
    caption: str,
    settings: SampleSettings,
    numbers: Sequence[int],
    control: Control = UNCONTROLLED,
) -> Iterator[Sample]:
    """Draw some of a caption's samples, by number; the bundle has z."""
    encoded = encode_caption(bundle.prior, caption)
    wanted = [Wanted(caption, encoded, number) for number in numbers]
    chosen = draw_controlled_z(bundle.prior, wanted, bundle.z_kinds, settings, control)
    yield from _draw_images_of(bundle, caption, chosen, settings, numbers)


def draw_from_z(
    bundle: Bundle,
    caption: str,
    texts: Sequence[str],
    settings: SampleSettings,
    indices: Sequence[int] | None = None,
) -> Iterator[Sample]:
    """Draw one sample for each given z, for example an edited one.

    The noise of sample i is that of `draw`, so a change of z is the only change between the two.

    Args:
        bundle: The models; not a baseline.
        caption: The caption that the prior reads before z.
        texts: One z per sample as text, for example from ``samples.jsonl``. Kinds may come in any
            order, and the typed forms of `Latent.from_text` are accepted; each z is rewritten as
            the prior writes it, and `Sample.z` is the rewritten one.
        settings: Sampler and guidance; ``n`` and the decoding have no effect.
        indices: The numbers of the samples whose noise is used; by default 0, 1, 2 …

    Raises:
        KaleidoError: If a z does not parse, breaks the rules of a kind, or has kinds or tokens
            that the models were not trained on.
    """
    canonical = [canonical_z(bundle, text, index) for index, text in enumerate(texts)]
    numbers = range(len(texts)) if indices is None else indices
    given = [ChosenZ(text) for text in canonical]
    yield from _draw_images_of(bundle, caption, given, settings, numbers)


def draw_again(
    bundle: Bundle, caption: str, texts: Sequence[str], settings: SampleSettings
) -> np.ndarray:
    """Draw a second image of each z of `draw`, from noise that `draw` does not use.

    Args:
        bundle: The models.
        caption: The caption of the first samples.
        texts: z of the first samples, in their order.
        settings: The settings of the first samples; ``n`` has no effect.

    Returns:
        uint8 (len(texts), height, width, 3).
    """
    seeds = seeds_of(settings, "second noise", caption, range(len(texts)))
    return draw_batch(bundle, encode_caption(bundle.reader, caption), texts, seeds, settings)


@torch.inference_mode()
def encode_caption(prior: Prior, caption: str) -> States:
    """Encode one caption, (1, length, width)."""
    return prior.encode([caption])


def canonical_z(bundle: Bundle, text: str, index: int) -> str:
    """Parse, check and rewrite a z as the prior was trained to read it; see `draw_from_z`."""
    thing = f"z {index}: {text[:60]!r}"
    if not bundle.diffusion.z_kinds:
        raise KaleidoError(thing, "a baseline has no z.", code="model-mismatch")
    try:
        z = z_from_text(text)
        if not z:
            raise LatentError("z", "it is empty.")
    except LatentError as error:
        raise LatentError(thing, f"{error.what}: {error.why}", error.hint) from error
    require_kinds(z, bundle.diffusion.z_kinds, "this model was trained on")
    tokens, shape = z.get("tokens"), bundle.prior.token_shape
    if isinstance(tokens, Tokens) and shape is not None and tokens.shape != shape:
        raise KaleidoError(
            thing,
            f"its tokens have the shape {tuple(tokens.shape)}, the prior's {tuple(shape)}.",
            "Extract them with the visual tokenizer that the prior was trained on.",
            code="model-mismatch",
        )
    return z_to_text({kind: z[kind] for kind in order_kinds(z)})


def _draw_images_of(
    bundle: Bundle,
    caption: str,
    chosen: Sequence[ChosenZ],
    settings: SampleSettings,
    indices: Sequence[int],
) -> Iterator[Sample]:
    """Draw an image for each z, in batches."""
    encoded = encode_caption(bundle.reader, caption)
    seeds = seeds_of(settings, "noise", caption, indices)
    texts = [z.text for z in chosen]
    for start in range(0, len(texts), settings.batch_size):
        chunk = slice(start, start + settings.batch_size)
        pixels = draw_batch(bundle, encoded, texts[chunk], seeds[chunk], settings)
        for place, image in enumerate(pixels, start):
            z = chosen[place]
            yield Sample(caption, indices[place], z.text, image, z.rejected)


@torch.inference_mode()
def draw_batch(
    bundle: Bundle,
    encoded: States,
    texts: Sequence[str],
    seeds: Sequence[int],
    settings: SampleSettings,
    negative: Conditioning | None = None,
    on_step: OnStep | None = None,
    scheduler: Any = None,
) -> np.ndarray:
    """Draw images of given z.

    Args:
        bundle: The models.
        encoded: The reader's encoder states of one caption, (1, length, width).
        texts: One z per image as text; all empty for a baseline.
        seeds: One noise seed per image.
        settings: Sampler and guidance.
        negative: See `draw_images`.
        on_step: See `draw_images`.
        scheduler: See `draw_images`.

    Returns:
        uint8 (n, height, width, 3).
    """
    conditioning = condition_on(bundle, encoded, texts, settings.z_noise)
    model = bundle.diffusion
    return draw_images(model, conditioning, seeds, settings, negative, on_step, scheduler)


@torch.inference_mode()
def condition_on(
    bundle: Bundle, encoded: States, texts: Sequence[str], z_noise: float = 0.0
) -> Conditioning:
    """Join a caption and its z, one row per z; all z of a baseline are empty.

    Args:
        bundle: The models.
        encoded: The reader's encoder states of the caption, (1, length, width).
        texts: One z each.
        z_noise: How much noise the denoiser is told that z has.

    Raises:
        KaleidoError: If it is told of noise, and was not trained with any.
    """
    rows = encoded.expand(torch.zeros(len(texts), dtype=torch.long))
    z = None
    if bundle.z_kinds:
        if z_noise and bundle.diffusion.context.noise_token is None:
            raise KaleidoError(
                f"sample.z_noise = {z_noise:g}",
                "this denoiser was trained without noise on z, and cannot be told of it.",
                "Set sample.z_noise to 0, or train with diffusion.z_noise.",
                code="model-mismatch",
            )
        read = bundle.reader.read_z(texts)
        told = read._replace(noise=torch.full((len(texts),), z_noise))
        z = bundle.reader.z_states(rows, told)
    conditioning: Conditioning = bundle.diffusion.context(rows, z)
    return conditioning
