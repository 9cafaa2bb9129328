"""Loading visual tokenizers, and encoding pictures with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch.nn.functional import normalize

from pipelines.core.batches import in_batches
from pipelines.extract.tokenizers.base import TokenizerRef, VisualTokenizer
from pipelines.extract.tokenizers.codecs import Codec, build
from pipelines.extract.tokenizers.weights import read_weights
from pipelines.models.device import compute_device, in_fp32
from pipelines.models.hub import loading_error, require_finite
from pipelines.models.offline import without_network
from pipelines.models.pixels import to_tensor
from pipelines.models.safe_folder import require_safe_folder
from pipelines.models.tokenizer import Tokenizer

TOGETHER = 8
"""Pictures per batch on a GPU."""


def load_tokenizer(ref: TokenizerRef) -> VisualTokenizer:
    """Load a tokenizer's weights, onto the GPU if there is one.

    Raises:
        KaleidoError: If the folder does not hold the model that its configuration names.
    """
    if ref.family == "own":
        return OwnTokenizer(Tokenizer.load(ref.folder))
    require_safe_folder(ref.folder)
    try:
        with without_network(str(ref.folder)):
            codec = build(ref)
            missing, _ = codec.network.load_state_dict(read_weights(ref.folder), strict=False)
            if missing:
                raise KeyError(f"{len(missing)} weights are missing, among them {missing[0]}")
            require_finite(codec.network, ref.folder)
            return PretrainedTokenizer(codec)
    except Exception as error:  # the libraries raise whatever their many classes raise
        needs = "It needs config.json and the weights that belong to it, as safetensors."
        raise loading_error(error, ref.folder, "tokenizer", needs) from error


class OwnTokenizer:
    """A tokenizer that `kaleido train tokenizer` made, on the GPU if there is one."""

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
    """A tokenizer of another library.

    Args:
        codec: Its network with its weights, which is moved to the GPU if there is one.
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
        return self._codec.preprocessing.refusal(height, width)

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
        pictures = (self._codec.preprocessing.prepare(image) for image in images)
        for _, alike in groupby(pictures, key=lambda picture: picture.shape):
            yield from map(torch.stack, in_batches(alike, self._together))


def nearest(states: torch.Tensor, entries: torch.Tensor, normalised: bool) -> torch.Tensor:
    """The nearest entry's id of each vector (VQ-VAE, arXiv 1711.00937, eq. 1).

    Args:
        states: (width, rows, columns).
        entries: (codebook size, width).
        normalised: Compare directions only (ViT-VQGAN, arXiv 2110.04627).

    Returns:
        int64 (rows, columns).
    """
    vectors = states.movedim(0, -1)
    if normalised:
        vectors, entries = normalize(vectors, dim=-1), normalize(entries, dim=-1)
    # |s - e|² without |s|², which is the same for all entries.
    return (entries.square().sum(1) - 2.0 * vectors @ entries.T).argmin(-1)
