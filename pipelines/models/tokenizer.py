"""Visual tokenizer: encodes images as grids of codebook ids, and decodes them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from diffusers import VQModel
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from pipelines.core.errors import KaleidoError
from pipelines.core.files import replacing_folder, sha256_file
from pipelines.core.fingerprint import fingerprint
from pipelines.models.device import in_fp32
from pipelines.models.fsq import FsqModel
from pipelines.models.hub import read_config
from pipelines.models.loading import load_network
from pipelines.models.metadata import (
    other_version,
    require_types,
    tokenizer_metadata,
    write_metadata,
)
from pipelines.models.safe_folder import require_safe_folder, require_weights
from pipelines.workspace.settings import TokenizerSettings

NORM_GROUPS = 8
"""Groups of the network's group norms; every number of channels must be a multiple."""


class Tokenizer:
    """An autoencoder of patches whose vectors are written as ids; here a diffusers `VQModel`.

    The encoder's vectors are replaced by the nearest entry of a codebook (VQ-VAE, arXiv
    1711.00937, section 3.1; VQGAN, arXiv 2012.09841, is the same with other losses), or rounded
    (`FsqTokenizer`). Patches are folded into channels, because convolutions over all pixels would
    cost many times as much.

    Args:
        model: Has three channels for each pixel of a patch.
        image_size: Side of the images in pixels.
        patch_size: Side of a patch in pixels.
        identity: Hash of the saved weights and metadata; empty if it was never saved. Ids have a
            meaning only to the tokenizer that made them.
    """

    def __init__(
        self, model: VQModel, image_size: int, patch_size: int, identity: str = ""
    ) -> None:
        self.model, self.image_size, self.patch_size = model, image_size, patch_size
        self.identity = identity

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Load a tokenizer that `save` wrote.

        Raises:
            InputMissing: If the folder holds no tokenizer.
            KaleidoError: If it is damaged or unsafe, or of another version of Kaleido.
        """
        metadata = tokenizer_metadata(folder)
        require_types(folder, metadata, image_size=int, patch_size=int, identity=str)
        require_safe_folder(folder)
        try:
            if read_config(folder, "a tokenizer").get("_class_name") == FsqModel.__name__:
                return FsqTokenizer(load_network(FsqModel, folder).eval(), **metadata)
            return Tokenizer(load_network(VQModel, folder).eval(), **metadata)
        except TypeError as error:  # it lacks metadata
            raise other_version(folder) from error

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a diffusers folder (config, safetensors) and ``kaleido.json``.

        `identity` becomes that of the weights as they are written.

        Args:
            folder: Is replaced.
            dtype: Precision of the saved weights; the tokenizer itself keeps its own.
        """
        with replacing_folder(folder) as fresh:
            # Cast only if needed: diffusers warns about every cast.
            cast = self.model if self.model.dtype == dtype else deepcopy(self.model).to(dtype)
            cast.save_pretrained(fresh)
            metadata: dict[str, object] = {
                "image_size": self.image_size,
                "patch_size": self.patch_size,
            }
            weights = [sha256_file(path) for path in sorted(fresh.glob("*.safetensors"))]
            self.identity = fingerprint(weights, metadata)
            metadata["identity"] = self.identity
            write_metadata(fresh, metadata)
            require_weights(fresh)

    @property
    def grid(self) -> int:
        """Rows and columns of ids."""
        return self.image_size // _stride(self.patch_size, self._channels)

    @property
    def _channels(self) -> Sequence[int]:
        channels: Sequence[int] = self.model.config.block_out_channels
        return channels

    @property
    def codebook_size(self) -> int:
        """Number of entries of the codebook; ids are below it."""
        return int(self.model.config.num_vq_embeddings)

    @torch.no_grad()
    @in_fp32()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images as ids.

        Args:
            images: (n, 3, image_size, image_size), in [-1, 1].

        Returns:
            Ids from 0 to ``codebook_size - 1``: int64, (n, grid, grid), rows from the top.

        Raises:
            KaleidoError: If the images have another size.
        """
        if images.shape[1:] != (3, self.image_size, self.image_size):
            raise KaleidoError(
                f"images of shape {tuple(images.shape)}",
                f"the tokenizer was trained on {self.image_size} x {self.image_size} pixels, RGB.",
                "Train it again on these data.",
                code="model-mismatch",
            )
        return self.quantize(self.states(images.to(self.model.device)))

    @torch.no_grad()
    @in_fp32()
    def decode(self, ids: torch.Tensor) -> torch.Tensor:
        """Decode ids into images.

        Args:
            ids: int64, (n, rows, columns), from 0 to ``codebook_size - 1``.

        Returns:
            Images in [-1, 1], (n, 3, image_size, image_size).
        """
        return self.pictures(self.entries(ids.to(self.model.device))).clamp(-1.0, 1.0)

    def states(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images without quantization, fp32 (n, code_dim, grid, grid)."""
        return self.model.encode(pixel_unshuffle(images, self.patch_size)).latents.float()

    @torch.no_grad()
    def quantize(self, states: torch.Tensor) -> torch.Tensor:
        """Find the nearest entry of each vector of `states`, int64 (n, grid, grid)."""
        # In bf16 distances to similar entries would be equal.
        with torch.autocast(states.device.type, enabled=False):
            _, _, (_, _, ids) = self.model.quantize(states.float())
        count, _, rows, columns = states.shape
        return ids.view(count, rows, columns)

    def entries(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up ids (n, grid, grid) in the codebook; the result has the layout of `states`."""
        return self.model.quantize.embedding(ids).permute(0, 3, 1, 2).contiguous()

    def pictures(self, entries: torch.Tensor) -> torch.Tensor:
        """Decode vectors with the layout of `states` into images, fp32, not clamped."""
        patches = self.model.decode(entries, force_not_quantize=True).sample
        return pixel_shuffle(patches, self.patch_size).float()


class FsqTokenizer(Tokenizer):
    """A tokenizer by finite scalar quantization, see `FsqModel`."""

    model: FsqModel

    @property
    def _channels(self) -> Sequence[int]:
        channels: Sequence[int] = self.model.config.channels
        return channels

    @property
    def codebook_size(self) -> int:
        """Number of ids."""
        return self.model.size

    @property
    def reach(self) -> int:
        """Pixels beyond its own square on which an id depends, on each side."""
        return self.model.reach * self.patch_size

    def states(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images without rounding, fp32 (n, values, grid, grid)."""
        return self.model.encode(pixel_unshuffle(images, self.patch_size)).float()

    @torch.no_grad()
    def quantize(self, states: torch.Tensor) -> torch.Tensor:
        """Round `states` to ids, int64 (n, grid, grid)."""
        return self.model.quantize(states.float())

    def entries(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the vectors of ids (n, grid, grid); the result has the layout of `states`."""
        return self.model.entries(ids)

    def pictures(self, entries: torch.Tensor) -> torch.Tensor:
        """Decode vectors with the layout of `states` into images, fp32, not clamped."""
        return pixel_shuffle(self.model.decode(entries), self.patch_size).float()


def build_tokenizer(settings: TokenizerSettings, image_size: int) -> Tokenizer:
    """Build an untrained tokenizer.

    Args:
        settings: Sizes.
        image_size: Side of the images in pixels.

    Raises:
        KaleidoError: If the sizes do not fit each other.
    """
    stride = _stride(settings.patch_size, settings.channels)
    if image_size % stride:
        raise KaleidoError(
            f"images of {image_size} x {image_size} pixels",
            f"one token of the tokenizer covers {stride} x {stride}, which does not divide them.",
            "Change tokenizer.patch_size or tokenizer.channels, or the size of the data.",
            code="model-mismatch",
        )
    values = 3 * settings.patch_size**2
    if settings.quantizer == "fsq":
        network = FsqModel(values, settings.channels, settings.layers, settings.levels)
        return FsqTokenizer(network, image_size, settings.patch_size)
    if any(width % NORM_GROUPS for width in settings.channels):
        raise KaleidoError(
            f"tokenizer.channels = {list(settings.channels)}",
            f"every number of channels must be a multiple of {NORM_GROUPS}.",
            "Round them.",
            code="bad-setting",
        )
    blocks = len(settings.channels)
    model = VQModel(
        in_channels=values,
        out_channels=values,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=tuple(settings.channels),
        layers_per_block=settings.layers,
        latent_channels=settings.channels[-1],
        sample_size=image_size // settings.patch_size,
        num_vq_embeddings=settings.codebook_size,
        norm_num_groups=NORM_GROUPS,
        vq_embed_dim=settings.code_dim,
        mid_block_add_attention=False,
    )
    return Tokenizer(model, image_size, settings.patch_size)


def _stride(patch_size: int, channels: Sequence[int]) -> int:
    """Return the side in pixels of a token's square; each further block halves the grid."""
    return int(patch_size * 2 ** (len(channels) - 1))
