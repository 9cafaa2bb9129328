"""How a base is trained: which noise its latents get, and what it then predicts."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler

from pipelines.bases.base import Base
from pipelines.core.errors import KaleidoError

EDGE = 1e-6
"""Levels this near to 0 and 1 are not drawn: the normal distribution has no values there."""


class Noising:
    """The noise of a base, as its scheduler's configuration says.

    Flows draw σ logit-normally, as diffusers' own training does, and shift it where the
    configuration has a shift that does not depend on the size; other families draw one of their
    discrete timesteps.

    Args:
        base: The base.

    Raises:
        KaleidoError: If the base predicts neither noise nor a velocity.
    """

    def __init__(self, base: Base) -> None:
        config = base.pipe.scheduler.config
        self._flow = base.family.predicts == "velocity"
        self._shift = 1.0
        if self._flow:
            shift = config.get("flow_shift") or config.get("shift") or 1.0
            self._shift = 1.0 if config.get("use_dynamic_shifting") else float(shift)
            return
        self._scheduler = DDPMScheduler.from_config(config)
        self._predicts = self._scheduler.config.prediction_type
        if self._predicts not in ("epsilon", "v_prediction"):
            raise KaleidoError(
                base.folder.name,
                f"it predicts {self._predicts!r}, for which there is no training.",
                "Choose a base that predicts epsilon or v_prediction.",
                code="bad-model",
            )

    def times(self, levels: torch.Tensor) -> torch.Tensor:
        """Return what `Family.predict` takes as time, for uniform levels in [0, 1)."""
        if not self._flow:
            return (levels * self._scheduler.config.num_train_timesteps).long()
        sigma = torch.special.ndtri(levels.clamp(EDGE, 1 - EDGE)).sigmoid()
        return self._shift * sigma / (1 + (self._shift - 1) * sigma)

    def noisy(self, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Return latents with noise."""
        if not self._flow:
            found: torch.Tensor = self._scheduler.add_noise(clean, noise, times)
            return found
        sigma = times.view(-1, 1, 1, 1)
        return (1 - sigma) * clean + sigma * noise

    def target(self, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Return what the base should predict."""
        if self._flow:
            return noise - clean
        if self._predicts == "epsilon":
            return noise
        found: torch.Tensor = self._scheduler.get_velocity(clean, noise, times)
        return found
