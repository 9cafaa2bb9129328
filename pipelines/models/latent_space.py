"""The latent space of an image autoencoder of diffusers, in which a denoiser may draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch

from pipelines.core.errors import KaleidoError
from pipelines.models.device import in_fp32
from pipelines.models.hub import model_folder, model_identity, read_config, require_finite
from pipelines.models.loading import load_network
from pipelines.models.safe_folder import require_safe_folder
from pipelines.models.shapes import smallest_step
from pipelines.workspace.settings import DiffusionSettings

WHAT = "an image autoencoder"

CLASSES = ("AutoencoderKL", "AutoencoderDC")
"""Classes of diffusers that are read. Both encode single pictures, without a condition."""

TILED_PIXELS = 1024 * 1024
"""Pictures of more pixels are decoded in tiles, so that memory does not grow with them."""


@dataclass(frozen=True)
class AutoencoderRef:
    """An autoencoder that is chosen but not loaded.

    Attributes:
        name: What the user called it.
        identity: Hash of weights and configuration.
        folder: Holds both.
    """

    name: str
    identity: str
    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its configuration."""
        return read_config(self.folder, WHAT)

    @property
    def factor(self) -> int:
        """Pixels along a side of one value of the latent space."""
        return _factor(self.config)

    @property
    def channels(self) -> int:
        """Channels of the latent space."""
        return int(self.config["latent_channels"])


def find_autoencoder(name: str) -> AutoencoderRef:
    """Find an autoencoder.

    Args:
        name: The folder of one, or of a pipeline of diffusers with one in ``vae/``, or the name of
            either on the hub.

    Raises:
        KaleidoError: If there is no such folder, or it is of another class, damaged or unsafe.
    """
    folder = model_folder(name)
    if (folder / "model_index.json").is_file():
        folder = folder / "vae"
    config = read_config(folder, WHAT)
    found = config.get("_class_name")
    if found not in CLASSES:
        raise KaleidoError(
            name,
            f"{found or 'this'} is no autoencoder that is read.",
            f"Use one of diffusers' {' or '.join(CLASSES)}, such as those of Stable Diffusion XL, "
            "Stable Diffusion 3, FLUX or Sana.",
            code="bad-model",
        )
    return AutoencoderRef(name, model_identity(folder), folder)


def chosen_autoencoder(settings: DiffusionSettings) -> AutoencoderRef:
    """Find the autoencoder of ``diffusion.autoencoder``.

    Raises:
        KaleidoError: If none is named, or as `find_autoencoder`.
    """
    if not settings.autoencoder:
        raise KaleidoError(
            "--autoencoder",
            "no autoencoder is named, whose latent space it would be.",
            "Name one: a folder, or on the hub madebyollin/sdxl-vae-fp16-fix (8 x 8 pixels become "
            "4 values) or mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers (32 x 32 become 32).",
            code="bad-option",
        )
    return find_autoencoder(settings.autoencoder)


def encoding_options(ref: AutoencoderRef, settings: DiffusionSettings) -> dict[str, Any]:
    """Return what image latents depend on: the autoencoder and the shapes of pictures."""
    return {
        "autoencoder": ref.identity,
        "image_size": settings.image_size,
        "aspect": settings.aspect,
        "step": smallest_step(settings) * ref.factor,
    }


class LatentSpace:
    """An autoencoder, ready to encode and decode pictures.

    Latents are shifted and scaled as the autoencoder's configuration says, to a spread of about 1:
    by ``latents_mean`` and ``latents_std`` of each channel where it has them, else by
    ``shift_factor``, and by ``scaling_factor``. It always computes in fp32: some autoencoders
    overflow in half precision (``force_upcast``), and pictures are encoded once.

    Args:
        network: An `AutoencoderKL` or `AutoencoderDC`.
        identity: Hash of its weights and configuration.

    Attributes:
        network: The network.
        identity: The hash.
        channels: Channels of the latent space.
        factor: Pixels along a side of one value.
    """

    def __init__(self, network: Any, identity: str) -> None:
        self.network, self.identity = network, identity
        config = network.config
        self.channels, self.factor = int(config["latent_channels"]), _factor(config)
        self._scale = float(config.get("scaling_factor") or 1.0)
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is None or std is None:
            mean, std = [float(config.get("shift_factor") or 0.0)], [1.0]
        self._mean = torch.tensor(mean).view(1, -1, 1, 1)
        self._std = torch.tensor(std).view(1, -1, 1, 1)

    @classmethod
    def load(cls, folder: Path, identity: str) -> Self:
        """Load an autoencoder in fp32.

        Raises:
            KaleidoError: If the folder is damaged or unsafe, or holds another model.
        """
        import diffusers

        name = read_config(folder, WHAT).get("_class_name")
        if name not in CLASSES:
            raise KaleidoError(str(folder), f"{name} is no {WHAT[3:]}.", code="bad-model")
        require_safe_folder(folder)
        network = load_network(getattr(diffusers, name), folder)
        require_finite(network, folder)
        return cls(network.eval().requires_grad_(False), identity)

    def to(self, device: torch.device) -> Self:
        """Move the network to a device."""
        self.network.to(device)
        return self

    @torch.inference_mode()
    @in_fp32()
    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Encode pictures: the mode of their distribution, without noise.

        Args:
            pictures: (n, 3, height, width) in [-1, 1], on the network's device; `factor` divides
                both sides.

        Returns:
            (n, channels, height / factor, width / factor).
        """
        encoded = self.network.encode(pictures)
        found = encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mode()
        mean, std = self._mean.to(found), self._std.to(found)
        return (found - mean) / std * self._scale

    @torch.inference_mode()
    @in_fp32()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode what `encode` returns, one picture at a time, large ones in tiles.

        Returns:
            (n, 3, height, width); values may lie somewhat outside of [-1, 1].
        """
        pixels = latents.shape[-1] * latents.shape[-2] * self.factor**2
        if pixels > TILED_PIXELS:
            self.network.enable_tiling()
        else:
            self.network.disable_tiling()
        mean, std = self._mean.to(latents), self._std.to(latents)
        plain = latents / self._scale * std + mean
        # One by one: memory stays that of one picture, and no picture depends on its batch.
        return torch.cat([self.network.decode(each[None]).sample for each in plain])


def _factor(config: Mapping[str, Any]) -> int:
    """Return the pixels along a side of one latent value, from an autoencoder's configuration."""
    if config.get("_class_name") == "AutoencoderDC" or "encoder_block_out_channels" in config:
        return int(2 ** (len(config["encoder_block_out_channels"]) - 1))
    return int(2 ** (len(config["block_out_channels"]) - 1))
