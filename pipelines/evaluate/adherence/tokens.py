"""Measure whether a picture has the tokens of z, by encoding it with the workspace's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipelines.core.errors import InputMissing
from pipelines.core.progress import Progress
from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.adherence.z_text import latent_of
from pipelines.latents.tokens import Tokens
from pipelines.models.device import compute_device
from pipelines.models.pixels import to_pixels, to_square_tensor
from pipelines.models.registry import tokenizer_folder
from pipelines.models.tokenizer import Tokenizer
from pipelines.workspace.reader import token_makers
from pipelines.workspace.workspace import Workspace


class Retokenizer:
    """Encode drawn pictures with the workspace's tokenizer.

    Attributes:
        name: ``vq@`` and the first 8 hexadecimal digits of the tokenizer's hash, part of the name
            of every token metric.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.model.to(compute_device())
        self._tokenizer = tokenizer
        self.name = f"vq@{tokenizer.identity[:8]}"

    def tokens(self, image: np.ndarray) -> Tokens:
        """Encode a picture, uint8 (height, width, 3), as tokens."""
        return Tokens.of_grid(self._ids(image[None])[0], self._tokenizer.codebook_size)

    def read(self, images: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """Encode pictures, and the tokenizer's own reconstructions of their z.

        Args:
            images: uint8 (n, side, side, 3), resized to the tokenizer's input size.
            texts: The z of each picture.

        Returns:
            int32 (n, 2, cells): the ids of each picture, and the ids of z decoded and encoded by
            the tokenizer at the same size, which are the ceiling. The latter are -1 where z has no
            tokens of this grid.
        """
        drawn = self._ids(images)
        again = np.full_like(drawn, -1)
        grids = {i: z.ids for i, text in enumerate(texts) if (z := latent_of(text, Tokens))}
        known = [i for i, ids in grids.items() if len(ids) == drawn[i].size]
        if known:
            ids = torch.tensor([grids[i] for i in known]).reshape(-1, *drawn.shape[1:])
            pictures = to_pixels(self._tokenizer.decode(ids))
            again[known] = self._ids(to_pixels(to_square_tensor(pictures, images.shape[1])))
        return np.stack([drawn, again], axis=1).reshape(len(images), 2, -1)

    def _ids(self, images: np.ndarray) -> np.ndarray:
        pixels = to_square_tensor(images, self._tokenizer.image_size)
        return self._tokenizer.encode(pixels).cpu().numpy().astype(np.int32)


def shipped_retokenizer() -> Retokenizer:
    """Load the embedded tokenizer."""
    return Retokenizer(Tokenizer.load(embedded_path("tokenizer")))


def retokenizer(workspace: Workspace, progress: Progress) -> Retokenizer | None:
    """Load the tokenizer of the workspace's tokens; print a message and return None if unusable."""
    folder = tokenizer_folder(workspace)
    try:
        tokenizer = Tokenizer.load(folder)
    except InputMissing:
        progress.message(f"Token adherence is not measured: {folder} has no tokenizer.")
        return None
    if token_makers(workspace.latents("tokens").glob("*.tar")) - {tokenizer.identity}:
        progress.message(
            f"Token adherence is not measured: the tokenizer in {folder} did not write these "
            "tokens, or was trained again since. Run `kaleido extract tokens` to update them."
        )
        return None
    return Retokenizer(tokenizer)


def token_adherence(texts: Sequence[str], ids: np.ndarray) -> dict[str, float]:
    """Compare tokens with pictures; picture i was drawn from text i.

    Args:
        texts: The z of each picture.
        ids: Ids of the pictures, from `Retokenizer.read`.

    Returns:
        ``tokens``, the share of z's ids that the encoded picture reproduces, and
        ``tokens.reconstructed``, the same for the tokenizer's own reconstruction of z. NaN without
        tokens.
    """
    shares = [
        (ids[i] == np.array(z.ids)).mean(1)
        for i, text in enumerate(texts)
        if (z := latent_of(text, Tokens)) and len(z.ids) == ids.shape[2]
    ]
    means = np.mean(shares, axis=0) if shares else np.full(2, np.nan)
    return {"tokens": float(means[0]), "tokens.reconstructed": float(means[1])}
