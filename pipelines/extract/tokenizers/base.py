"""Visual tokenizers: networks that write a picture as a grid of entries of a codebook."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import safe_open
from torch.nn.functional import normalize

from pipelines.core.batches import in_batches
from pipelines.core.errors import KaleidoError
from pipelines.extract.tokenizers.codecs import Codec, build
from pipelines.extract.tokenizers.model import INSIDE, VisualModel, weight_files
from pipelines.models.device import compute_device, in_fp32
from pipelines.models.hub import first_line
from pipelines.models.pixels import to_tensor
from pipelines.models.tokenizer import Tokenizer

TOGETHER = 8
"""Pictures that a GPU sees at once."""


class VisualTokenizer(Protocol):
    """A loaded tokenizer."""

    @property
    def codebook_size(self) -> int:
        """Entries of its codebook; ids are below it."""

    def refusal(self, height: int, width: int) -> str:
        """Why a picture of this size in pixels cannot be written; empty if it can."""

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Write pictures, uint8 (h, w, 3) that are not refused, as ids: int64 (rows, columns)."""


class OwnTokenizer:
    """What `kaleido train tokenizer` made; it is put onto the GPU if there is one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.model.to(compute_device())
        self._tokenizer = tokenizer

    @property
    def codebook_size(self) -> int:
        """See `VisualTokenizer`."""
        return self._tokenizer.codebook_size

    def refusal(self, height: int, width: int) -> str:
        """See `VisualTokenizer`."""
        side = self._tokenizer.image_size
        if (height, width) == (side, side):
            return ""
        return f"the tokenizer reads {side} x {side} pixels; this image has {width} x {height}"

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `VisualTokenizer`."""
        return list(self._tokenizer.encode(to_tensor(np.stack(images))).cpu().numpy())


class PretrainedTokenizer:
    """A tokenizer that others have trained.

    Args:
        codec: Its network, with its weights; it is put onto the GPU if there is one.
    """

    def __init__(self, codec: Codec) -> None:
        self._device = compute_device()
        codec.network.eval().requires_grad_(False).to(self._device)
        self._codec = codec
        # One by one on a CPU: a batch gains nothing there, and its size would change roundings.
        self._together = TOGETHER if self._device.type == "cuda" else 1

    @property
    def codebook_size(self) -> int:
        """See `VisualTokenizer`."""
        return int(self._codec.codebook.num_embeddings)

    def refusal(self, height: int, width: int) -> str:
        """See `VisualTokenizer`."""
        return self._codec.look.refusal(height, width)

    @torch.inference_mode()
    @in_fp32()
    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `VisualTokenizer`."""
        entries = self._codec.codebook.weight
        return [
            nearest(states, entries, self._codec.normalised).cpu().numpy()
            for pictures in self._batches(images)
            for states in self._codec.states(pictures.to(self._device))
        ]

    def _batches(self, images: Sequence[np.ndarray]) -> Iterator[torch.Tensor]:
        pictures = (self._codec.look.prepare(image) for image in images)
        for _, alike in groupby(pictures, key=lambda picture: picture.shape):
            yield from map(torch.stack, in_batches(alike, self._together))


def nearest(states: torch.Tensor, entries: torch.Tensor, normalised: bool) -> torch.Tensor:
    """The nearest entry's id of each vector (VQ-VAE, arXiv 1711.00937, eq. 1).

    Args:
        states: (width, rows, columns).
        entries: (codebook size, width).
        normalised: Whether lengths are left out of account (ViT-VQGAN, arXiv 2110.04627).

    Returns:
        int64 (rows, columns).
    """
    vectors = states.movedim(0, -1)
    if normalised:
        vectors, entries = normalize(vectors, dim=-1), normalize(entries, dim=-1)
    # |s - e|² without |s|², which is the same for all entries.
    return (entries.square().sum(1) - 2.0 * vectors @ entries.T).argmin(-1)


def load(model: VisualModel) -> VisualTokenizer:
    """Load a tokenizer.

    Raises:
        KaleidoError: If the folder does not hold the model that its configuration names.
    """
    if model.family == "own":
        return OwnTokenizer(Tokenizer.load(model.folder))
    try:
        codec = build(model)
        weights = read_weights(model.folder)
        missing, _ = codec.network.load_state_dict(weights, strict=False)
        if missing:
            raise KeyError(f"{len(missing)} weights are missing, {missing[0]} say")
    except Exception as error:  # the libraries raise whatever their many classes raise
        raise KaleidoError(
            str(model.folder),
            f"the tokenizer cannot be loaded ({type(error).__name__}: {first_line(error)}).",
            "It needs config.json and the weights that belong to it, as safetensors.",
        ) from error
    return PretrainedTokenizer(codec)


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read a tokenizer's weights; those of a larger checkpoint around it are left out."""
    weights: dict[str, torch.Tensor] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            inside = [name for name in names if INSIDE in name]
            for name in inside or names:
                weights[name.rpartition(INSIDE)[2]] = file.get_tensor(name)
    return weights
