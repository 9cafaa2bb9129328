"""Ideogram 4, whose prompts are JSON with boxes and colours: z is its own language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from warnings import catch_warnings, filterwarnings

import torch

from pipelines.bases.families.flux2_klein import patch_statistics
from pipelines.bases.family import Condition, Family
from pipelines.bases.latents import mode_of
from pipelines.core.errors import KaleidoError

PATCH = 2
SPREAD = 1.5
"""Standard deviation of the logit-normal noise levels, the pipeline's default; their mean is 0."""


class Ideogram4(Family):
    """See the module docstring. Without a prompt a network of its own predicts, from pixels alone.

    Latents are normalised 2 x 2 patches, their channels by (row, column, channel).
    """

    name = "ideogram4"
    title = "Ideogram 4"
    pipelines = ("Ideogram4Pipeline",)
    cfg, steps = 7.0, 48
    side = 2048
    text_limit = 2048
    dialect = "ideogram4"
    licence = "non-commercial"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`. Text comes first in a sequence and does not see the picture."""
        self.require_whole(pipe, prompts)
        with catch_warnings():  # diffusers calls transformers by an argument's older name
            filterwarnings("ignore", "`past_key_values` is deprecated", FutureWarning)
            states, _, _, roles = pipe.encode_prompt(
                prompt=list(prompts),
                grid_h=1,
                grid_w=1,
                max_sequence_length=self.text_limit,
                device=pipe._execution_device,
            )
        text = slice(0, self.text_limit)
        return {"states": states[:, text], "length": (roles[:, text] != 0).sum(1)}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`."""
        if negative is not None:
            why = f"{self.title} has no negative prompts: without a prompt another network draws."
            raise KaleidoError("--negative", why, "Leave it out.", code="bad-option")
        width = pipe.transformer.config.llm_features_dim
        return {
            "states": torch.zeros(1, 0, width, device=pipe._execution_device),
            "length": torch.zeros(1, dtype=torch.long),
        }

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        width = pipe.transformer.config.llm_features_dim
        length = torch.full((count,), self.text_limit)
        return {"states": like.new_zeros(count, self.text_limit, width), "length": length}

    def latent_shape(self, pipe: Any, height: int, width: int) -> tuple[int, int, int]:
        """See `Family.latent_shape`."""
        factor = pipe.vae_scale_factor * PATCH
        return pipe.transformer.config.in_channels, height // factor, width // factor

    def to_latents(self, pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
        """See `Family.to_latents`."""
        found = mode_of(pipe.vae.encode(pixels))
        n, c, h, w = found.shape
        split = found.view(n, c, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 3, 5, 1, 2, 4)
        mean, deviation = patch_statistics(pipe, found)
        return (split.reshape(n, c * PATCH**2, h // PATCH, w // PATCH) - mean) / deviation

    def to_pixels(self, pipe: Any, latents: torch.Tensor) -> torch.Tensor:
        """See `Family.to_pixels`."""
        n, c, h, w = latents.shape
        mean, deviation = patch_statistics(pipe, latents)
        split = (latents * deviation + mean).view(n, PATCH, PATCH, c // PATCH**2, h, w)
        whole = split.permute(0, 3, 4, 1, 5, 2).reshape(n, c // PATCH**2, h * PATCH, w * PATCH)
        decoded: torch.Tensor = pipe.vae.decode(whole, return_dict=False)[0]
        return decoded

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`. The network counts time from noise, and predicts the opposite."""
        states = condition["states"].to(x.dtype)
        n, text, width = states.shape
        pixels = x.flatten(2).transpose(1, 2)
        places, segments, roles = pipe._prepare_ids(
            condition["length"].tolist(), *x.shape[-2:], text, x.device
        )
        network = pipe.transformer if text else pipe.unconditional_transformer
        found = network(
            hidden_states=torch.cat([pixels.new_zeros(n, text, pixels.shape[-1]), pixels], 1),
            timestep=(1 - time).to(x.dtype),
            encoder_hidden_states=torch.cat(
                [states, states.new_zeros(n, pixels.shape[1], width)], 1
            ),
            position_ids=places,
            segment_ids=segments,
            indicator=roles,
            return_dict=False,
        )[0]
        return -found[:, text:].transpose(1, 2).reshape(x.shape)

    def timesteps(self, pipe: Any, steps: int, shape: Sequence[int]) -> torch.Tensor:
        """See `Family.timesteps`."""
        from diffusers.pipelines.ideogram4.pipeline_ideogram4 import (
            _logit_normal_sigmas,
            _resolution_aware_mu,
        )

        height, width = (side * pipe.vae_scale_factor * PATCH for side in shape[-2:])
        levels = _logit_normal_sigmas(steps, _resolution_aware_mu(height, width, 0.0), SPREAD)
        pipe.scheduler.set_timesteps(sigmas=levels.tolist(), device=pipe._execution_device)
        return pipe.scheduler.timesteps

    def template(self, pipe: Any, prompt: str) -> str:
        """See `Family.template`."""
        content = [{"type": "text", "text": prompt}]
        text: str = pipe.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return text
