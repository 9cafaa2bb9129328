"""Diffusion p(x|z,c): conditioner and denoiser, which are trained, saved and used together."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipelines.core.files import replacing_folder, sha256_file
from pipelines.core.fingerprint import fingerprint
from pipelines.models.conditioning import Conditioner, Conditioning
from pipelines.models.denoiser.attention import Grid
from pipelines.models.denoiser.base import Denoiser
from pipelines.models.denoiser.nested import NestedConditioning, NestedUNet2DModel
from pipelines.models.denoiser.network import KaleidoTransformer2DModel, PreparedConditioning
from pipelines.models.hub import read_config
from pipelines.models.latent_space import AutoencoderRef, LatentSpace
from pipelines.models.loading import load_network
from pipelines.models.metadata import (
    other_version,
    read_metadata,
    require_types,
    write_metadata,
)
from pipelines.models.pixels import to_pixels
from pipelines.models.prior import Prior
from pipelines.models.safe_folder import require_safe_folder, require_weights
from pipelines.models.shapes import Shape, read_shape, write_shape
from pipelines.workspace.settings import DiffusionSettings

_METADATA_TYPES: dict[str, type] = {
    "z_kinds": list,
    "prior": str,
    "images_seen": int,
    "drawn_kinds": list,
    "noise_shift": float,
    "shapes": list,
    "autoencoder": str,
}

NESTED = ("outer_channels", "outer_blocks", "inner_channels", "inner_blocks", "inner_attention")
"""Settings of ``[diffusion]`` for the nested U-Net alone."""

TIME_SCALE = 1000.0
"""The denoiser's timestep is the noise level σ in [0, 1] times this."""


def default_noise_shift(image_size: int, space: str = "pixels") -> float:
    """Return the noise shift for images of a size in pixels, see `Diffusion.shift`.

    In a latent space it is that of Stable Diffusion 3 and Sana, 3 at 1024 pixels (arXiv 2403.03206,
    section 5.3.2), less for smaller pictures and at least 1: a value of it stands for many pixels,
    over which the noise is averaged already.

    In pixels it grows with the side up to 64 pixels, where 4 was measured to keep layouts best.
    From there it stays, until at 256 pixels the shift of "simple diffusion" (arXiv 2301.11093,
    section 3.1), side / 64, overtakes it. More would starve the levels that draw details: with
    16 at 256 pixels the last of 30 steps leads from σ = 0.36 to 0 (with 4 from 0.12), and of
    all training levels 2.6 % (10 %) lie below 0.3.
    """
    if space == "latents":
        return max(1.0, 3.0 * image_size / 1024)
    return max(image_size / 64, min(image_size / 16, 4.0))


class Diffusion(nn.Module):
    """Context and denoiser as one module.

    Args:
        conditioner: Joins c and z.
        denoiser: Predicts the clean image.
        z_kinds: Kinds that z may hold, in order; empty for a baseline of p(x|c).
        prior: `Prior.identity` of the prior whose states it reads.
        images_seen: Records that it was trained on, counted with repetition.
        drawn_kinds: Those of `z_kinds` that are drawn by default; None for all.
        noise_shift: See `shift`; None for a model that was saved before it was recorded.
        shapes: Sizes that it was trained on, as ``384x256``, the most frequent first; None for
            squares of `image_size`.
        space: The latent space in which it draws; None for pixels.

    Attributes:
        shapes: Heights and widths in pixels.
    """

    def __init__(
        self,
        conditioner: Conditioner,
        denoiser: Denoiser,
        z_kinds: Sequence[str],
        prior: str,
        images_seen: int = 0,
        drawn_kinds: Sequence[str] | None = None,
        noise_shift: float | None = None,
        shapes: Sequence[str] | None = None,
        space: LatentSpace | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.context, self.denoiser = conditioner, denoiser
        self.z_kinds, self.prior, self.images_seen = tuple(z_kinds), prior, images_seen
        self.drawn_kinds = self.z_kinds if drawn_kinds is None else tuple(drawn_kinds)
        side = self.image_size
        read = [shape for shape in map(read_shape, shapes or ()) if shape]
        self.shapes: tuple[Shape, ...] = tuple(read) or ((side, side),)
        self.noise_shift = unrecorded_noise_shift(side)
        if noise_shift is not None:
            self.noise_shift = noise_shift

    @classmethod
    def load(cls, folder: Path, hint: str = "Run `kaleido train diffusion` first.") -> Diffusion:
        """Load a model that `save` wrote.

        Args:
            folder: A folder with ``context/``, ``denoiser/`` and ``kaleido.json``; and with
                ``autoencoder/``, if it draws in a latent space.
            hint: How to get one, for the error.

        Raises:
            InputMissing: If the folder holds no model.
            KaleidoError: If it is damaged or unsafe, or a model of another version of Kaleido.
        """
        metadata = read_metadata(folder, "trained diffusion model", hint)
        require_types(folder, metadata, **_METADATA_TYPES)
        require_safe_folder(folder)
        conditioner = load_network(Conditioner, folder / "context")
        found = read_config(folder / "denoiser", "a denoiser").get("_class_name")
        nested = found == NestedUNet2DModel.__name__
        network = NestedUNet2DModel if nested else KaleidoTransformer2DModel
        denoiser = load_network(network, folder / "denoiser")
        identity = metadata.pop("autoencoder", "")
        space = LatentSpace.load(folder / "autoencoder", identity) if identity else None
        try:
            return cls(conditioner, denoiser, **metadata, space=space).eval()
        except TypeError as error:  # it lacks metadata
            raise other_version(folder) from error

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write configs and safetensors; the model itself keeps its precision."""
        metadata = {
            "z_kinds": list(self.z_kinds),
            "prior": self.prior,
            "images_seen": self.images_seen,
            "drawn_kinds": list(self.drawn_kinds),
            "noise_shift": self.noise_shift,
            "shapes": [write_shape(shape) for shape in self.shapes],
        }
        parts = ["context", "denoiser"]
        with replacing_folder(folder) as fresh:
            if self.space is not None:
                metadata["autoencoder"] = self.space.identity
                self.space.network.save_pretrained(fresh / "autoencoder")
                parts.append("autoencoder")
            for name, part in (("context", self.context), ("denoiser", self.denoiser)):
                # Cast only if needed: diffusers warns about every cast.
                cast = part if part.dtype == dtype else deepcopy(part).to(dtype)
                cast.save_pretrained(fresh / name)
            write_metadata(fresh, metadata)
            require_weights(fresh, *parts)

    @property
    def config(self) -> dict[str, dict[str, Any]]:
        """Sizes of conditioner and denoiser."""
        parts = {"context": self.context.config, "denoiser": self.denoiser.config}
        # Keys with a leading "_" are diffusers' own: class, version, folder.
        return {
            part: {key: value for key, value in config.items() if not key.startswith("_")}
            for part, config in parts.items()
        }

    def blocks(self) -> list[nn.Module]:
        """Return the denoiser's blocks, which hold most of the activations."""
        return self.denoiser.blocks()

    @property
    def image_size(self) -> int:
        """Side of square images in pixels."""
        return int(self.denoiser.config.sample_size) * self._factor

    @property
    def _factor(self) -> int:
        return 1 if self.space is None else self.space.factor

    @property
    def sizes(self) -> tuple[Shape, ...]:
        """Heights and widths that it draws, the usual one first.

        Those of training, and for a nested U-Net those of the inner one.
        """
        ratio = self.denoiser.ratio
        inner = ((height // ratio, width // ratio) for height, width in self.shapes)
        return tuple(dict.fromkeys([*self.shapes, *inner]))

    @property
    def bounded(self) -> bool:
        """Whether what is drawn lies in [-1, 1], as pixels do."""
        return self.space is None

    def canvas(self, shape: Shape) -> tuple[int, int, int]:
        """Return the channels, rows and columns in which images of a height and width are drawn."""
        rows, columns = (side // self._factor for side in shape)
        return int(self.denoiser.config.in_channels), rows, columns

    def pictures(self, drawn: torch.Tensor) -> np.ndarray:
        """Convert what was drawn to uint8 (n, height, width, 3)."""
        if self.space is None:
            return to_pixels(drawn)
        return to_pixels(self.space.to(drawn.device).decode(drawn))

    def grid(self, images: torch.Tensor) -> Grid:
        """Return the rows and columns of the patches of images, (n, channels, height, width)."""
        patch = self.denoiser.stride
        return images.shape[-2] // patch, images.shape[-1] // patch

    def shift(self, time: torch.Tensor) -> torch.Tensor:
        """Shift noise levels towards noise by multiplying their odds σ / (1 − σ).

        Noise averages out over pixels: a flat background shows through it up to σ = 0.98, an
        object of a hundred pixels up to 0.93. What is decided above that, from c and z alone, is
        the whole layout, so training and sampling must spend their time there (Stable Diffusion
        3, arXiv 2403.03206, section 5.3.2, eq. 23).

        Args:
            time: Noise levels in [0, 1]; 0 and 1 stay.
        """
        factor = self.noise_shift
        return (factor * time / (1.0 + (factor - 1.0) * time)).clamp(max=1.0)

    def prepare(
        self, conditioning: Conditioning, images: torch.Tensor | None = None
    ) -> PreparedConditioning | NestedConditioning:
        """Compute the part of the denoiser's work that does not depend on the noise level.

        Args:
            conditioning: From `context`.
            images: What is drawn, (n, channels, height, width), of which only the shape counts; by
                default squares.
        """
        shape = None if images is None else (images.shape[-2], images.shape[-1])
        return self.denoiser.prepare(conditioning, shape)

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor, prepared: Any) -> torch.Tensor:
        """Predict clean images.

        Args:
            noisy: x_σ = (1 − σ) x + σ ε, (n, 3, height, width), x in [-1, 1].
            sigma: Noise levels in [0, 1], (n,).
            prepared: From `prepare`.

        Returns:
            x̂, as `noisy`.
        """
        return self.denoiser(noisy, sigma * TIME_SCALE, prepared)

    def predict_with_words(
        self, noisy: torch.Tensor, sigma: torch.Tensor, prepared: Any
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Predict clean images, and the words that belong to each patch.

        Args:
            noisy: As for `forward`.
            sigma: As for `forward`.
            prepared: As for `forward`.

        Returns:
            x̂ of each resolution that is predicted, the full one first, and (n, patches, width of
            the prior), see `pipelines.models.word_loss`.
        """
        return self.denoiser.predict_with_words(noisy, sigma * TIME_SCALE, prepared)


def unrecorded_noise_shift(image_size: int) -> float:
    """The noise shift of models that were saved before it became a setting."""
    return image_size / 16


def weights_id(folder: Path) -> str:
    """Hash the weights in a diffusion model's folder."""
    return fingerprint([sha256_file(path) for path in sorted(folder.rglob("*.safetensors"))])


def build_diffusion(
    settings: DiffusionSettings,
    prior: Prior,
    z_kinds: Sequence[str],
    space: LatentSpace | AutoencoderRef | None = None,
) -> Diffusion:
    """Build an untrained model; a baseline (no kinds) has the same parameters.

    Args:
        settings: Sizes and noise shift.
        prior: The prior whose states it reads.
        z_kinds: Kinds in order.
        space: The latent space in which it draws; None for pixels. What is only chosen and not
            loaded gives the sizes.
    """
    width = prior.width
    loaded = space if isinstance(space, LatentSpace) else None
    conditioner = Conditioner(
        caption_dim=width, z_dim=2 * width, context_dim=width, z_noise=settings.z_noise > 0
    )
    denoiser = _build_denoiser(settings, width, space)
    shift = settings.noise_shift or default_noise_shift(
        settings.image_size, "pixels" if space is None else "latents"
    )
    return Diffusion(
        conditioner, denoiser, z_kinds, prior.identity, noise_shift=shift, space=loaded
    )


def _build_denoiser(
    settings: DiffusionSettings, width: int, space: LatentSpace | AutoencoderRef | None
) -> Denoiser:
    shared = {
        "sample_size": settings.image_size // (1 if space is None else space.factor),
        "num_attention_heads": settings.heads,
        "context_dim": width,
        "in_channels": 3 if space is None else space.channels,
    }
    if settings.architecture == "nested-unet":
        return NestedUNet2DModel(**shared, **{name: getattr(settings, name) for name in NESTED})
    return KaleidoTransformer2DModel(
        patch_size=settings.patch_size,
        num_layers=settings.layers,
        attention_head_dim=settings.head_dim,
        pixel_channels=settings.pixel_channels,
        **shared,
    )
