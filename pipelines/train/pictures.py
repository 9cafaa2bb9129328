"""The pictures of a denoiser's training: their shapes, what is cut away, and z moved along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import Progress
from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.latents.crop import WHOLE, crop_z
from pipelines.models.denoiser.convolutions import NORM_GROUPS
from pipelines.models.latent_space import AutoencoderRef, encoding_options
from pipelines.models.pixels import pixels_of, to_tensor
from pipelines.models.shapes import (
    bucket_shapes,
    crop_region,
    nearest_shape,
    smallest_step,
    write_shape,
)
from pipelines.train.stream import RecordStream
from pipelines.workspace.reader import latent_manifest
from pipelines.workspace.settings import AdapterSettings, DiffusionSettings
from pipelines.workspace.workspace import IMAGE_LATENTS, Workspace


def open_stream(
    workspace: Workspace,
    settings: DiffusionSettings,
    ref: AutoencoderRef | None,
    progress: Progress,
) -> RecordStream:
    """Return the training records, in the order of `arrange`.

    Args:
        workspace: Where they are.
        settings: Kinds of z, sizes, and the batch, which holds one shape.
        ref: The autoencoder in whose latent space is drawn; None for pixels.
        progress: Told what is lost.

    Raises:
        InputMissing: If data, latents or image latents are missing.
        KaleidoError: If sizes do not fit, image latents were made with other settings, or z has
            visual tokens and a picture would be cropped.
    """
    check_sizes(settings, 1 if ref is None else ref.factor)
    if ref is not None:
        _require_encodings(workspace, settings, ref)
    stream = RecordStream(
        workspace, settings.z_kinds, settings.seed, images=ref is None, encoded=ref is not None
    )
    factor = 1 if ref is None else ref.factor
    arrange(stream, settings, progress, smallest_step(settings) * factor)
    return stream


def _require_encodings(
    workspace: Workspace, settings: DiffusionSettings, ref: AutoencoderRef
) -> None:
    wanted = encoding_options(ref, settings)
    for shard in workspace.data_shards():
        made = latent_manifest(workspace, shard, IMAGE_LATENTS).options
        changed = [name for name, value in wanted.items() if made.get(name) != value]
        if changed:
            raise KaleidoError(
                str(workspace.latents(IMAGE_LATENTS) / shard.name),
                f"the image latents were made with another {' and '.join(changed)}.",
                "Run `kaleido extract image-latents` with the settings of this training.",
                code="model-mismatch",
            )


def arrange(
    stream: RecordStream,
    settings: DiffusionSettings | AdapterSettings,
    progress: Progress,
    step: int,
) -> None:
    """Order the records by the shapes at which their pictures are trained, and say what is lost.

    Args:
        stream: The records.
        settings: Sizes, and the batch, which holds one shape.
        progress: Told of it.
        step: Divides all sides of pictures.

    Raises:
        KaleidoError: If z has visual tokens and a picture would be cropped.
    """
    stream.arrange(bucket_shapes(settings.image_size, step, settings.aspect), settings.batch_size)
    counts = stream.picture_sizes()
    nearest = {size: nearest_shape(size, stream.shapes) for size in counts}
    cropped = [size for size, shape in nearest.items() if crop_region(size, shape) != WHOLE]
    if cropped and "tokens" in settings.z_kinds:
        width, height = cropped[0]
        raise KaleidoError(
            "tokens",
            f"a picture of {width} x {height} pixels would be cropped to "
            f"{write_shape(nearest[cropped[0]])}, and visual tokens cannot be cropped with it.",
            'Write the data again with data.fit = "crop" or "pad", or leave tokens out with --z.',
            code="model-mismatch",
        )
    small = sum(
        count
        for size, count in counts.items()
        if min(size[0] / nearest[size][1], size[1] / nearest[size][0]) < 1
    )
    if small:
        progress.message(
            f"{small:,} of {counts.total():,} pictures are smaller than they are trained at, and "
            "are enlarged"
        )
    if len(stream.shapes) > 1:
        progress.message(f"Sizes: {', '.join(map(write_shape, stream.shapes))}")


def check_sizes(settings: DiffusionSettings, factor: int = 1) -> None:
    """Raise KaleidoError unless the denoiser's sizes suit each other.

    Args:
        settings: The sizes.
        factor: Pixels along a side of one value that the denoiser draws.
    """
    if settings.architecture == "nested-unet":
        return _check_nested(settings, factor)
    side, patch = settings.image_size, settings.patch_size
    if patch % 2 or side % (patch * factor):
        unit = f" of {factor} x {factor} pixels" if factor > 1 else ""
        raise KaleidoError(
            f"diffusion.patch_size = {patch}",
            f"patches need an even side{unit} that divides diffusion.image_size = {side}.",
            "Set it to 2." if factor > 1 else "Set it to 4 or 8.",
            code="bad-setting",
        )
    channels = {
        "diffusion.pixel_channels": settings.pixel_channels,
        "diffusion.heads x diffusion.head_dim": settings.heads * settings.head_dim,
    }
    for name, count in channels.items():
        if count % NORM_GROUPS:
            raise KaleidoError(
                f"{name} = {count}",
                f"channels are normalised in {NORM_GROUPS} groups.",
                f"Set a multiple of {NORM_GROUPS}.",
                code="bad-setting",
            )


def _check_nested(settings: DiffusionSettings, factor: int) -> None:
    names = ("outer_channels", "outer_blocks", "inner_channels", "inner_blocks", "inner_attention")
    outer, outer_blocks, inner, inner_blocks, attention = (getattr(settings, n) for n in names)
    step = smallest_step(settings) * factor
    widths = [width for width, layers in zip(inner, attention, strict=False) if layers]
    problems = {
        "outer_blocks": (len(outer_blocks) != len(outer), "it needs one number for each level."),
        "inner_blocks": (len(inner_blocks) != len(inner), "it needs one number for each level."),
        "inner_attention": (len(attention) != len(inner), "it needs one number for each level."),
        "heads": (any(width % settings.heads for width in widths), "heads divide the channels."),
        "outer_channels": (any(w % NORM_GROUPS for w in outer), "it needs multiples of 8."),
        "inner_channels": (any(w % NORM_GROUPS for w in inner), "it needs multiples of 8."),
        "image_size": (settings.image_size % step != 0, f"the levels divide by {step}."),
    }
    for name, (broken, why) in problems.items():
        if broken:
            value = getattr(settings, name)
            what = f"diffusion.{name} = {list(value) if isinstance(value, tuple) else value}"
            hint = "See docs/how-to/nested-unet.md."
            raise KaleidoError(what, why, hint, code="bad-setting")


def read_pictures(
    stream: RecordStream,
    seed: int,
    start: int,
    count: int,
    encoded: bool = False,
    centred: bool = False,
) -> tuple[torch.Tensor, list[Record]]:
    """Read pictures at their shape, and the records with z moved along.

    Args:
        stream: The records, arranged.
        seed: Source of where pictures are cut: what has to go lies on a random side, which follows
            from the position. Image latents are of the middle.
        start: The first position.
        count: Number of records, all of one shape.
        encoded: Whether image latents are wanted.
        centred: Whether pictures are cut in the middle as well, so that each is always the same.

    Returns:
        (count, channels, height, width) and the records.
    """
    pictures, records = [], []
    for position, record in enumerate(stream.batch(start, count), start):
        shape = stream.shape(position)
        across, down = generator(seed, "crop", position).random(2).tolist()
        at = (0.5, 0.5) if encoded or centred else (across, down)
        region = crop_region(stream.picture_size(position), shape, at)
        pictures.append(stream.encoding(position) if encoded else pixels_of(record, shape, region))
        records.append(replace(record, latents=crop_z(record.latents, region)))
    stacked = np.stack(pictures)
    return torch.from_numpy(stacked).float() if encoded else to_tensor(stacked), records
