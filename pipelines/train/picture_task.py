"""What the phases of training a visual tokenizer share: batches, and the error of pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.core.images import decode_image
from pipelines.core.record import Record
from pipelines.models.fsq import FsqModel
from pipelines.models.pixels import to_tensor
from pipelines.models.tokenizer import Tokenizer
from pipelines.train.noise import Noise
from pipelines.train.stream import RecordStream
from pipelines.train.stream_task import StreamTask


class ImageTask(StreamTask):
    """The image batches of all phases."""

    def __init__(self, tokenizer: Tokenizer, stream: RecordStream) -> None:
        super().__init__(stream)
        self._tokenizer = tokenizer

    def blocks(self) -> list[nn.Module]:
        """Return the levels of encoder and decoder."""
        network = self._tokenizer.model
        if isinstance(network, FsqModel):
            return [*network.encoder, *network.decoder]
        return [*network.encoder.down_blocks, *network.decoder.up_blocks]

    def batch(self, start: int, count: int) -> torch.Tensor:
        """Return images in [-1, 1], (n, 3, side, side)."""
        return images_of(self._stream.batch(start, count))


class FsqTask(ImageTask):
    """First phase by finite scalar quantization: train encoder and decoder; nothing else learns."""

    def __init__(self, tokenizer: Tokenizer, stream: RecordStream) -> None:
        super().__init__(tokenizer, stream)
        self.model = tokenizer.model

    def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
        """Compute the reconstruction and edge error; gradients pass through the rounding."""
        states = self._tokenizer.states(batch)
        with torch.no_grad():
            entries = self._tokenizer.entries(self._tokenizer.quantize(states))
        drawn = self._tokenizer.pictures(states + (entries - states).detach())
        return reconstruction_error(drawn, batch)


class DecoderTask(ImageTask):
    """Second phase: train only the decoder, on fixed codes.

    In the first phase the decoder had to follow a moving codebook. Ids keep their meaning.
    """

    def __init__(self, tokenizer: Tokenizer, stream: RecordStream) -> None:
        super().__init__(tokenizer, stream)
        self.model = network = tokenizer.model
        fixed = (
            (network.encoder, network.to_code)
            if isinstance(network, FsqModel)
            else (network.encoder, network.quant_conv, network.quantize)
        )
        for part in fixed:
            part.requires_grad_(False)

    def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
        """Compute the reconstruction and edge error."""
        with torch.autocast(
            batch.device.type, enabled=False
        ):  # the same ids that extraction writes
            entries = self._tokenizer.entries(self._tokenizer.encode(batch))
        return reconstruction_error(self._tokenizer.pictures(entries), batch)


def reconstruction_error(drawn: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Compute L1 + L2 of the pixels plus L1 of neighbour differences, which keeps edges sharp.

    Args:
        drawn: (n, 3, height, width).
        images: The same shape, in [-1, 1].
    """
    error = drawn - images
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.square().mean() + edges


def images_of(records: Sequence[Record]) -> torch.Tensor:
    """Return the pictures of records in [-1, 1], (n, 3, side, side).

    Raises:
        KaleidoError: If they differ in shape.
    """
    # `record.pixels` would keep the decoded image in memory as long as the record.
    images = [decode_image(record.image, record.key) for record in records]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise KaleidoError(
            ", ".join(f"{width} x {height}" for height, width, _ in sorted(shapes)),
            "these pictures differ in shape, but training needs squares of one size.",
            'Write the data again with data.fit = "pad" or "crop".',
            "bad-data",
        )
    return to_tensor(np.stack(images))
