"""Image latents: each picture as an autoencoder of diffusers encodes it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from pipelines.core.batches import in_batches
from pipelines.core.record import Record
from pipelines.core.stage import Ok, Outcome, Stage, StageSpec
from pipelines.latents.image_latents import ImageLatents

if TYPE_CHECKING:
    from pipelines.models.latent_space import AutoencoderRef, LatentSpace
    from pipelines.workspace.settings import DiffusionSettings

TOGETHER = 4
"""Pictures of one shape that a GPU encodes at a time."""


class ImageLatentsStage(Stage):
    """pixels -> `ImageLatents`, at the shape at which the picture is trained.

    What is cut away to reach it lies on both sides alike, so a picture is encoded once.

    Args:
        ref: The autoencoder.
        settings: ``diffusion.image_size``, ``aspect`` and ``patch_size``.
    """

    def __init__(self, ref: AutoencoderRef, settings: DiffusionSettings) -> None:
        from pipelines.models.latent_space import encoding_options
        from pipelines.models.shapes import bucket_shapes

        self._ref = ref
        self._space: LatentSpace | None = None
        options = encoding_options(ref, settings)
        self._shapes = bucket_shapes(settings.image_size, options["step"], settings.aspect)
        self.spec = StageSpec(
            name="image-latents",
            version=1,
            output=ImageLatents.kind,
            batch_size=16,
            options=options,
        )

    def setup(self) -> None:
        """Load the autoencoder."""
        from pipelines.models.device import compute_device
        from pipelines.models.latent_space import LatentSpace

        self._space = LatentSpace.load(self._ref.folder, self._ref.identity).to(compute_device())

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Encode each record's picture."""
        if self._space is None:
            raise RuntimeError("setup() comes before the first batch")
        import torch
        from PIL import Image

        from pipelines.models.device import compute_device
        from pipelines.models.pixels import fit_pixels, to_tensor
        from pipelines.models.shapes import nearest_shape

        device = compute_device()
        # One by one on a CPU: a batch gains nothing there, and its size would change roundings.
        together = TOGETHER if device.type == "cuda" else 1
        pictures = []
        for record in records:
            image = Image.fromarray(record.pixels)
            pictures.append(fit_pixels(image, nearest_shape(image.size, self._shapes)))
        encoded: list[np.ndarray] = []
        for _, alike in groupby(pictures, key=lambda pixels: pixels.shape):
            for batch in in_batches(alike, together):
                found = self._space.encode(to_tensor(np.stack(batch)).to(device))
                encoded += list(found.to(torch.float16).cpu().numpy())
        return [Ok(ImageLatents(values)) for values in encoded]
