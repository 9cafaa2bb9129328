"""What the networks of p(x|z,c) share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from torch import nn

from pipelines.models.conditioning import Conditioning


class Denoiser(ModelMixin, ConfigMixin, ABC):
    """A network that predicts the clean image from a noisy one, c and z.

    A subclass registers ``sample_size``, ``in_channels``, ``num_attention_heads`` and
    ``context_dim`` in its config.

    Attributes:
        naming: The head of the word loss, from a place's states to the width of the context.
    """

    naming: nn.Module

    @property
    @abstractmethod
    def stride(self) -> int:
        """Pixels along a side of one place of the innermost map."""

    @property
    def ratio(self) -> int:
        """Sides of the full resolution over those of the lowest that it draws; 1 if only one."""
        return 1

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Return the modules that hold most of the activations."""

    @abstractmethod
    def prepare(self, conditioning: Conditioning, shape: tuple[int, int] | None = None) -> Any:
        """Compute everything that does not depend on the noise level.

        Args:
            conditioning: Tokens of c and z.
            shape: Height and width of the image in pixels; by default a square of `sample_size`.

        Returns:
            A value whose ``repeat(times)`` repeats all rows in their order.
        """

    def forward(self, noisy: torch.Tensor, timestep: torch.Tensor, prepared: Any) -> torch.Tensor:
        """Predict the clean image.

        Args:
            noisy: Noisy images x_t, (n, in_channels, height, width), of the prepared shape.
            timestep: Noise level t of each image, (n,), from 0 (clean) to 1000 (noise).
            prepared: From `prepare`, n rows.

        Returns:
            The predicted clean images x̂, as `noisy`.
        """
        return self._predict(noisy, timestep, prepared)[0][0]

    def predict_with_words(
        self, noisy: torch.Tensor, timestep: torch.Tensor, prepared: Any
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Predict the clean images and word embeddings of each place; only training needs both.

        Args:
            noisy: As for `forward`.
            timestep: As for `forward`.
            prepared: As for `forward`.

        Returns:
            x̂ of each resolution that is predicted, the full one first, and embeddings
            (n, places, context_dim) for `pipelines.models.word_loss`.
        """
        clean, states = self._predict(noisy, timestep, prepared)
        return clean, self.naming(states)

    @abstractmethod
    def _predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, prepared: Any
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return x̂ of each resolution, and the places' last states, (n, places, width)."""
