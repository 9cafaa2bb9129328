"""Latents of common autoencoders, as mix-ins of families."""

from __future__ import annotations

from typing import Any

import torch


def mode_of(encoded: Any) -> torch.Tensor:
    """Return the mode of what an autoencoder's ``encode`` gives."""
    found = getattr(encoded, "latent_dist", None)
    mode: torch.Tensor = encoded.latent if found is None else found.mode()
    return mode


class KlLatents:
    """A mix-in of families with an `AutoencoderKL` whose latents are shifted and scaled."""

    def latent_shape(self, pipe: Any, height: int, width: int) -> tuple[int, int, int]:
        """See `Family.latent_shape`."""
        factor = pipe.vae_scale_factor
        return pipe.vae.config.latent_channels, height // factor, width // factor

    def to_latents(self, pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
        """See `Family.to_latents`."""
        shift, scale = _shift_and_scale(pipe.vae, pixels)
        return (mode_of(pipe.vae.encode(pixels)) - shift) * scale

    def to_pixels(self, pipe: Any, latents: torch.Tensor) -> torch.Tensor:
        """See `Family.to_pixels`."""
        shift, scale = _shift_and_scale(pipe.vae, latents)
        decoded: torch.Tensor = pipe.vae.decode(latents / scale + shift, return_dict=False)[0]
        return decoded


def _shift_and_scale(vae: Any, like: torch.Tensor) -> tuple[Any, Any]:
    config = vae.config
    means, deviations = config.get("latents_mean"), config.get("latents_std")
    if means is None or deviations is None:
        return config.get("shift_factor") or 0.0, config.scaling_factor
    shift = torch.tensor(means, device=like.device, dtype=like.dtype).view(1, -1, 1, 1)
    scale = torch.tensor(deviations, device=like.device, dtype=like.dtype).view(1, -1, 1, 1)
    return shift, config.scaling_factor / scale


class FrameLatents:
    """A mix-in of families with an autoencoder of videos, whose channels are normalised one by one.

    A picture is one frame.
    """

    def latent_shape(self, pipe: Any, height: int, width: int) -> tuple[int, int, int]:
        """See `Family.latent_shape`."""
        factor = pipe.vae_scale_factor
        return pipe.vae.config.z_dim, height // factor, width // factor

    def to_latents(self, pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
        """See `Family.to_latents`."""
        mean, deviation = _of_channels(pipe.vae, pixels)
        return (mode_of(pipe.vae.encode(pixels.unsqueeze(2)))[:, :, 0] - mean) / deviation

    def to_pixels(self, pipe: Any, latents: torch.Tensor) -> torch.Tensor:
        """See `Family.to_pixels`."""
        mean, deviation = _of_channels(pipe.vae, latents)
        frames = (latents * deviation + mean).unsqueeze(2)
        decoded: torch.Tensor = pipe.vae.decode(frames, return_dict=False)[0]
        return decoded[:, :, 0]


def _of_channels(vae: Any, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of the channels, each (1, channels, 1, 1)."""
    mean, deviation = (
        torch.tensor(values, device=like.device, dtype=like.dtype).view(1, -1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, deviation
